//! The hot methods of class basic, and content: borrowed decoding, direct encoding.
//!
//! Everything else goes through `method`, which uses `amq-protocol`.

use super::cursor::Malformed;
use super::properties::PropertyParts;

pub const CLASS_BASIC: u16 = 60;
pub const METHOD_QOS: u16 = 10;
pub const METHOD_CONSUME: u16 = 20;
pub const METHOD_PUBLISH: u16 = 40;
pub const METHOD_RETURN: u16 = 50;
pub const METHOD_DELIVER: u16 = 60;
pub const METHOD_GET: u16 = 70;
pub const METHOD_GET_OK: u16 = 71;
pub const METHOD_ACK: u16 = 80;
pub const METHOD_REJECT: u16 = 90;
pub const METHOD_NACK: u16 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub mandatory: bool,
    pub immediate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    pub consumer_tag: &'a [u8],
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetOk<'a> {
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub message_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return<'a> {
    pub reply_code: u16,
    pub reply_text: &'a [u8],
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

/// A method of class basic that is decoded without `amq-protocol`, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotMethod<'a> {
    Publish(Publish<'a>),
    Deliver(Deliver<'a>),
    Return(Return<'a>),
    GetOk(GetOk<'a>),
    Ack {
        delivery_tag: u64,
        multiple: bool,
    },
    Nack {
        delivery_tag: u64,
        multiple: bool,
        requeue: bool,
    },
    Reject {
        delivery_tag: u64,
        requeue: bool,
    },
}

/// The payload of a content header frame: class (always basic), weight 0, body length, properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    pub body_len: u64,
    /// Property flags and property list, verbatim and not yet walked.
    pub properties: &'a [u8],
}

/// The (class, method) ids at the front of a method payload.
pub fn method_ids(_payload: &[u8]) -> Result<(u16, u16), Malformed> {
    todo!()
}

/// Decodes a method payload if it is one of [`HotMethod`]; `None` if it is any other method.
/// Octets left over after the last argument are malformed.
pub fn decode_hot(_payload: &[u8]) -> Result<Option<HotMethod<'_>>, Malformed> {
    todo!()
}

/// Errors: too short, or weight other than 0. Returns (class id, header) so that the caller can
/// refuse other classes with its own code.
pub fn decode_content_header(_payload: &[u8]) -> Result<(u16, ContentHeader<'_>), Malformed> {
    todo!()
}

/// One whole method frame. Short strings over 255 octets cannot occur: the caller's names come
/// from decoded short strings (asserted).
pub fn encode_hot(_out: &mut Vec<u8>, _channel: u16, _method: &HotMethod<'_>) {
    todo!()
}

/// One content header frame and the body frames, none of them longer than `frame_max` octets
/// (overhead included). A zero-length body has no body frame.
pub fn encode_content(
    _out: &mut Vec<u8>,
    _channel: u16,
    _properties: PropertyParts<'_>,
    _body: &[u8],
    _frame_max: u32,
) {
    todo!()
}

pub fn encode_heartbeat(_out: &mut Vec<u8>) {
    todo!()
}
