//! What clients send and read, as bytes, for the engine benches.

use amq_protocol::protocol::{AMQPClass, basic, channel, connection, exchange, queue};
use amq_protocol::types::{FieldTable, LongString, ShortString};
use broker::engine::wire::basic::{
    HotMethod, Publish, decode_content_header, decode_hot, encode_content, encode_hot,
};
use broker::engine::wire::frame::{FrameKind, RawFrame, split_frame};
use broker::engine::wire::properties::{Properties, PropertyParts, encode_properties};
use broker::limits::{FRAME_LEN_MAX, TABLE_DEPTH_MAX};

pub(crate) const CHANNEL: u16 = 1;
const CORRELATION_ID: &[u8] = b"00000000";
/// Where the delivery tag lies in a basic.ack frame: after frame head, class and method id.
pub(crate) const ACK_TAG_AT: usize = 7 + 4;
pub(crate) const ACK_FRAME_LEN: usize = ACK_TAG_AT + 8 + 1 + 1;

/// Any class's method, so that `World::call` takes them all.
pub(crate) struct Method(pub(crate) AMQPClass);

impl From<connection::AMQPMethod> for Method {
    fn from(method: connection::AMQPMethod) -> Method {
        Method(AMQPClass::Connection(method))
    }
}

impl From<channel::AMQPMethod> for Method {
    fn from(method: channel::AMQPMethod) -> Method {
        Method(AMQPClass::Channel(method))
    }
}

impl From<exchange::AMQPMethod> for Method {
    fn from(method: exchange::AMQPMethod) -> Method {
        Method(AMQPClass::Exchange(method))
    }
}

impl From<queue::AMQPMethod> for Method {
    fn from(method: queue::AMQPMethod) -> Method {
        Method(AMQPClass::Queue(method))
    }
}

impl From<basic::AMQPMethod> for Method {
    fn from(method: basic::AMQPMethod) -> Method {
        Method(AMQPClass::Basic(method))
    }
}

pub(crate) fn start_ok() -> connection::StartOk {
    connection::StartOk {
        client_properties: FieldTable::default(),
        mechanism: ShortString::from("PLAIN"),
        response: LongString::from("\0guest\0guest"),
        locale: ShortString::from("en_US"),
    }
}

pub(crate) fn tune_ok() -> connection::TuneOk {
    connection::TuneOk {
        channel_max: 2047,
        frame_max: FRAME_LEN_MAX,
        heartbeat: 0,
    }
}

/// By the default exchange.
pub(crate) fn publish(routing_key: &[u8], reply_to: Option<&[u8]>, body: &[u8]) -> Vec<u8> {
    let mut properties = Vec::new();
    encode_properties(&mut properties, Some(CORRELATION_ID), reply_to, None);
    publish_to(b"", routing_key, &properties, body)
}

pub(crate) fn publish_to(
    exchange: &[u8],
    routing_key: &[u8],
    properties: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let method = HotMethod::Publish(Publish {
        exchange,
        routing_key,
        mandatory: false,
        immediate: false,
    });
    let parts = PropertyParts([properties, &[], &[]]);
    let mut out = Vec::new();
    encode_hot(&mut out, CHANNEL, &method);
    encode_content(&mut out, CHANNEL, parts, body, FRAME_LEN_MAX);
    out
}

pub(crate) fn encode_ack(out: &mut Vec<u8>) {
    let method = HotMethod::Ack {
        delivery_tag: 0,
        multiple: false,
    };
    let before = out.len();
    encode_hot(out, CHANNEL, &method);
    assert_eq!(out.len() - before, ACK_FRAME_LEN);
}

pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = RawFrame<'_>> {
    std::iter::from_fn(move || {
        let frame = split_frame(bytes, FRAME_LEN_MAX).expect("the engine sends whole frames")?;
        bytes = &bytes[frame.frame_len()..];
        Some(frame)
    })
}

pub(crate) fn delivered_reply_to(bytes: &[u8]) -> Vec<u8> {
    let mut delivered = frames(bytes);
    let method = delivered.next().expect("the request was delivered");
    let is_delivery = matches!(decode_hot(method.payload), Ok(Some(HotMethod::Deliver(_))));
    assert!(is_delivery, "the worker gets a delivery");
    let header = delivered.next().expect("a header follows a delivery");
    assert_eq!(header.kind, FrameKind::Header);
    let (_, header) = decode_content_header(header.payload).expect("our own encoding");
    let properties = Properties::walk(header.properties, TABLE_DEPTH_MAX).expect("our own list");
    properties.reply_to().expect("a request has one").to_vec()
}

pub(crate) fn short_string(bytes: &[u8]) -> ShortString {
    let text = std::str::from_utf8(bytes).expect("names in a bench are ASCII");
    ShortString::from(text)
}
