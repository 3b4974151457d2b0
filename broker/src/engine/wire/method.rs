//! The cold methods: everything but `basic`'s hot ones, by `amq-protocol` behind this one file.
//!
//! `amq-protocol` recurses into nested tables, so each payload's shape is checked first against a
//! table of argument kinds per method: truncation, trailing octets and depth never reach it.

use super::arguments;
use super::basic::method_ids;
use super::cursor::{Cursor, Malformed};
use super::frame::FRAME_END;
use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::{AMQPClass, gen_class, parse_class};
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::{FieldTable, ShortString};

/// Why a method payload was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodError {
    /// Reply code 502 (syntax error).
    Malformed { class_id: u16, method_id: u16 },
    /// No such class or method in AMQP 0-9-1 or RabbitMQ's extensions: reply code 540 or 503.
    Unknown { class_id: u16, method_id: u16 },
}

/// Decodes one whole method payload (class id, method id, arguments). Strings that the spec
/// wants as UTF-8 and are not are malformed.
pub fn decode_method(payload: &[u8], table_depth_max: u32) -> Result<AMQPClass, MethodError> {
    // A payload too short for its ids is reported as 0, 0, as in a connection.close that was
    // caused by no method.
    let (class_id, method_id) = method_ids(payload).unwrap_or((0, 0));
    let malformed = MethodError::Malformed {
        class_id,
        method_id,
    };
    let Some((_, arguments)) = payload.split_at_checked(4) else {
        return Err(malformed);
    };
    let Some(layout) = layout(class_id, method_id) else {
        return Err(MethodError::Unknown {
            class_id,
            method_id,
        });
    };
    check_arguments(arguments, layout, table_depth_max).map_err(|_| malformed)?;
    match parse_class(payload) {
        Ok(([], method)) => Ok(method),
        _ => Err(malformed),
    }
}

/// The inside of a field table (the octets after its length).
pub fn encode_table(table: &FieldTable) -> Vec<u8> {
    let context = WriteContext::from(Vec::new());
    let written = gen_field_table(table)(context).expect("writing to a Vec cannot fail");
    written.into_inner().0.split_off(4)
}

/// Appends one whole method frame. Names longer than a short string cannot occur: the type
/// `ShortString` refuses them (see [`short_string`] for texts).
pub fn encode_method(out: &mut Vec<u8>, channel: u16, method: &AMQPClass) {
    let [c0, c1] = channel.to_be_bytes();
    out.extend_from_slice(&[1, c0, c1, 0, 0, 0, 0]);
    let payload_at = out.len();
    let context = WriteContext::from(std::mem::take(out));
    let written = gen_class(method)(context).expect("writing to a Vec cannot fail");
    *out = written.into_inner().0;
    let payload_len = u32::try_from(out.len() - payload_at).expect("what we send is below 4 GiB");
    out[payload_at - 4..payload_at].copy_from_slice(&payload_len.to_be_bytes());
    out.push(FRAME_END);
}

/// A text cut to the 255 octets of a short string, between two characters. For reply texts: they
/// quote the peer's names, and converting a longer string with `into` would stop the process.
pub fn short_string(text: &str) -> ShortString {
    let mut cut_len = text.len().min(255);
    while !text.is_char_boundary(cut_len) {
        cut_len -= 1;
    }
    ShortString::from(&text[..cut_len])
}

/// What stands in a method's arguments (AMQP 0-9-1 4.2.5). Neighbouring bits share an octet, and
/// no method has more than eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    U16,
    U32,
    U64,
    Bits,
    ShortString,
    LongString,
    Table,
}

fn check_arguments(arguments: &[u8], layout: &[Kind], depth_max: u32) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(arguments);
    for kind in layout {
        match kind {
            Kind::U8 | Kind::Bits => drop(cursor.take_u8()?),
            Kind::U16 => drop(cursor.take_u16()?),
            Kind::U32 => drop(cursor.take_u32()?),
            Kind::U64 => drop(cursor.take_u64()?),
            Kind::ShortString => drop(cursor.take_short_string()?),
            Kind::LongString => drop(cursor.take_long_string()?),
            Kind::Table => arguments::check_table(cursor.take_long_string()?, depth_max)?,
        }
    }
    cursor.finish()
}

/// The arguments of a method, both directions, hot ones included; `None`: there is no such method.
fn layout(class_id: u16, method_id: u16) -> Option<&'static [Kind]> {
    match class_id {
        10 => connection_layout(method_id),
        20 => channel_layout(method_id),
        30 => access_layout(method_id),
        40 => exchange_layout(method_id),
        50 => queue_layout(method_id),
        60 => basic_layout(method_id),
        // confirm: select, select-ok.
        85 => match method_id {
            10 => Some(&[Kind::Bits]),
            11 => Some(&[]),
            _ => None,
        },
        // tx: select, commit, rollback and what answers them.
        90 => match method_id {
            10 | 11 | 20 | 21 | 30 | 31 => Some(&[]),
            _ => None,
        },
        _ => None,
    }
}

fn connection_layout(method_id: u16) -> Option<&'static [Kind]> {
    use Kind::*;
    Some(match method_id {
        10 => &[U8, U8, Table, LongString, LongString], // start
        11 => &[Table, ShortString, LongString, ShortString], // start-ok
        20 | 21 => &[LongString],                       // secure, secure-ok
        30 | 31 => &[U16, U32, U16],                    // tune, tune-ok
        40 => &[ShortString, ShortString, Bits],        // open
        41 => &[ShortString],                           // open-ok
        50 => &[U16, ShortString, U16, U16],            // close
        60 => &[ShortString],                           // blocked
        70 => &[LongString, ShortString],               // update-secret
        51 | 61 | 71 => &[],                            // close-ok, unblocked, update-secret-ok
        _ => return None,
    })
}

fn channel_layout(method_id: u16) -> Option<&'static [Kind]> {
    use Kind::*;
    Some(match method_id {
        10 => &[ShortString],                // open
        11 => &[LongString],                 // open-ok
        20 | 21 => &[Bits],                  // flow, flow-ok
        40 => &[U16, ShortString, U16, U16], // close
        41 => &[],                           // close-ok
        _ => return None,
    })
}

fn access_layout(method_id: u16) -> Option<&'static [Kind]> {
    use Kind::*;
    Some(match method_id {
        10 => &[ShortString, Bits], // request
        11 => &[U16],               // request-ok
        _ => return None,
    })
}

fn exchange_layout(method_id: u16) -> Option<&'static [Kind]> {
    use Kind::*;
    Some(match method_id {
        10 => &[U16, ShortString, ShortString, Bits, Table], // declare
        20 => &[U16, ShortString, Bits],                     // delete
        // bind, unbind
        30 | 40 => &[U16, ShortString, ShortString, ShortString, Bits, Table],
        11 | 21 | 31 | 51 => &[], // declare-ok, delete-ok, bind-ok, unbind-ok
        _ => return None,
    })
}

fn queue_layout(method_id: u16) -> Option<&'static [Kind]> {
    use Kind::*;
    Some(match method_id {
        10 => &[U16, ShortString, Bits, Table], // declare
        11 => &[ShortString, U32, U32],         // declare-ok
        20 => &[U16, ShortString, ShortString, ShortString, Bits, Table], // bind
        50 => &[U16, ShortString, ShortString, ShortString, Table], // unbind
        30 | 40 => &[U16, ShortString, Bits],   // purge, delete
        31 | 41 => &[U32],                      // purge-ok, delete-ok
        21 | 51 => &[],                         // bind-ok, unbind-ok
        _ => return None,
    })
}

fn basic_layout(method_id: u16) -> Option<&'static [Kind]> {
    use Kind::*;
    Some(match method_id {
        10 => &[U32, U16, Bits],                                   // qos
        20 => &[U16, ShortString, ShortString, Bits, Table],       // consume
        30 => &[ShortString, Bits],                                // cancel
        21 | 31 => &[ShortString],                                 // consume-ok, cancel-ok
        40 => &[U16, ShortString, ShortString, Bits],              // publish
        50 => &[U16, ShortString, ShortString, ShortString],       // return
        60 => &[ShortString, U64, Bits, ShortString, ShortString], // deliver
        70 => &[U16, ShortString, Bits],                           // get
        71 => &[U64, Bits, ShortString, ShortString, U32],         // get-ok
        72 => &[ShortString],                                      // get-empty
        80 | 90 | 120 => &[U64, Bits],                             // ack, reject, nack
        100 | 110 => &[Bits],                                      // recover-async, recover
        11 | 111 => &[],                                           // qos-ok, recover-ok
        _ => return None,
    })
}
