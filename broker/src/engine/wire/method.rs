//! The cold methods: everything but `basic`'s hot ones, by `amq-protocol` behind this one file.
//!
//! `amq-protocol` recurses into nested tables, so each payload's shape is checked first against a
//! table of argument kinds per method: truncation, trailing octets and depth never reach it.

use amq_protocol::protocol::AMQPClass;

/// Why a method payload was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodError {
    /// Reply code 502 (syntax error).
    Malformed { class_id: u16, method_id: u16 },
    /// No such class or method in AMQP 0-9-1 or RabbitMQ's extensions: reply code 540 or 503.
    Unknown { class_id: u16, method_id: u16 },
}

/// Decodes one whole method payload (class id, method id, arguments).
pub fn decode_method(_payload: &[u8], _table_depth_max: u32) -> Result<AMQPClass, MethodError> {
    todo!()
}

/// Appends one whole method frame.
pub fn encode_method(_out: &mut Vec<u8>, _channel: u16, _method: &AMQPClass) {
    todo!()
}
