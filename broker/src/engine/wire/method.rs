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

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::protocol::{channel, connection, queue};

    const QUEUE_DECLARE: &[u8] = b"\x00\x32\x00\x0a\x00\x00\x01q\x0a\x00\x00\x00\x04\x02ttV";

    fn malformed(class_id: u16, method_id: u16) -> Result<AMQPClass, MethodError> {
        Err(MethodError::Malformed {
            class_id,
            method_id,
        })
    }

    #[test]
    fn a_cold_method_is_decoded() {
        let Ok(AMQPClass::Queue(queue::AMQPMethod::Declare(declare))) =
            decode_method(QUEUE_DECLARE, 1)
        else {
            panic!("not queue.declare");
        };
        assert_eq!(declare.queue.as_str(), "q");
        assert!(declare.durable && declare.auto_delete && !declare.exclusive);
        assert!(declare.arguments.contains_key("tt"));
    }

    #[test]
    fn a_method_cut_short_or_with_octets_to_spare_is_malformed() {
        for len in 4..QUEUE_DECLARE.len() {
            assert_eq!(
                decode_method(&QUEUE_DECLARE[..len], 1),
                malformed(50, 10),
                "{len} octets"
            );
        }
        assert_eq!(
            decode_method(&[QUEUE_DECLARE, b"\x00"].concat(), 1),
            malformed(50, 10)
        );
        assert_eq!(decode_method(b"\x00\x32\x00", 1), malformed(0, 0));
    }

    #[test]
    fn what_is_not_in_the_protocol_is_unknown() {
        for (class_id, method_id) in [(0, 0), (50, 12), (60, 0), (11, 10), (85, 12), (90, 40)] {
            let payload = [u16::to_be_bytes(class_id), u16::to_be_bytes(method_id)].concat();
            let error = Err(MethodError::Unknown {
                class_id,
                method_id,
            });
            assert_eq!(decode_method(&payload, 1), error);
        }
    }

    #[test]
    fn tables_too_deep_are_malformed() {
        let nested = b"\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x06\x00F\x00\x00\x00\x00";
        assert_eq!(decode_method(nested, 1), malformed(50, 10));
        assert!(decode_method(nested, 2).is_ok());
    }

    #[test]
    fn strings_that_are_not_utf_8_are_malformed() {
        let name = b"\x00\x32\x00\x0a\x00\x00\x01\xff\x00\x00\x00\x00\x00";
        assert_eq!(decode_method(name, 1), malformed(50, 10));
        let key = b"\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x03\x01\xffV";
        assert_eq!(decode_method(key, 1), malformed(50, 10));
    }

    #[test]
    fn a_method_is_appended_as_one_frame() {
        let mut out = b"before".to_vec();
        let close_ok =
            AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}));
        encode_method(&mut out, 0, &close_ok);
        assert_eq!(
            out,
            b"before\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\xce"
        );
    }

    #[test]
    fn a_long_reply_text_is_cut_between_characters() {
        assert_eq!(short_string("NOT_FOUND").as_str(), "NOT_FOUND");
        assert_eq!(short_string(&"x".repeat(1000)).as_str().len(), 255);
        // 85 characters of three octets fill it; 63 of "a€" make 252, then "a" fits and "€" not.
        assert_eq!(short_string(&"€".repeat(100)).as_str().len(), 255);
        assert_eq!(short_string(&"a€".repeat(100)).as_str().len(), 253);
        let close = channel::Close {
            reply_code: 404,
            reply_text: short_string(&"x".repeat(1000)),
            class_id: 50,
            method_id: 10,
        };
        let close = AMQPClass::Channel(channel::AMQPMethod::Close(close));
        let mut out = Vec::new();
        encode_method(&mut out, 1, &close);
        assert_eq!(decode_method(&out[7..out.len() - 1], 1), Ok(close));
    }
}
