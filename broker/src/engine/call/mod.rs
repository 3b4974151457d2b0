//! Calls that the broker follows: from a request that asked for it to the one reply that ends it.
//!
//! What is here knows no queues and no connections. A call is kept by its caller's shard in a
//! [`Book`], and is over when it is struck out there: that is what makes every call end once,
//! whoever else wants to end it later. Its queue's shard and its worker's know it by what its reply
//! address says.

mod book;
mod served;
mod status;
mod wishes;

pub use book::{Book, Call};
pub use served::Served;
pub use status::Status;
pub use wishes::Wishes;

use super::message::{Content, Message};
use super::time::Timestamp;
use super::wire::arguments::{self, Value};
use super::wire::properties::{Properties, PropertyParts, encode_properties};
use crate::limits::TABLE_DEPTH_MAX;

/// Why a call is over, to its queue and its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// By its worker's reply, or by the broker's for want of one; `is_final`: nobody would get
    /// another one.
    Answered {
        is_final: bool,
    },
    /// Its request is left to the queue, where its time is over too.
    DeadlinePassed,
    Cancelled,
    /// The caller has left; `purges`: its request shall not be handed out.
    CallerGone {
        purges: bool,
    },
}

impl CallEnd {
    /// What a worker is told of it. `None`: nothing, it knows.
    pub fn event(self) -> Option<&'static str> {
        match self {
            CallEnd::Answered { .. } => None,
            CallEnd::DeadlinePassed => Some("deadline-passed"),
            CallEnd::Cancelled => Some("cancelled"),
            CallEnd::CallerGone { .. } => Some("caller-gone"),
        }
    }
}

/// The header that tells a worker how long its caller will wait, in milliseconds.
const REMAINING_MS: &[u8] = b"x-rpc-remaining-ms";

/// A request as its worker gets it: with what is left of its time, if that has an end.
pub fn stamped(message: &Message, now: Timestamp) -> Message {
    let content = message.content();
    let Some(token) = content.call() else {
        return message.clone();
    };
    if token.deadline == Timestamp::NEVER {
        return message.clone();
    }
    let remaining_ms = token.deadline.since(now).as_millis();
    let remaining_ms = Value::Integer(i64::try_from(remaining_ms).unwrap_or(i64::MAX));
    let walked = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX);
    let properties = walked.expect("walked when the message was published");
    let mut headers = Vec::new();
    let others = arguments::raw_entries(properties.headers().unwrap_or_default());
    for (_, entry) in others.filter(|(key, _)| *key != REMAINING_MS) {
        headers.extend_from_slice(entry);
    }
    arguments::push_entry(&mut headers, REMAINING_MS, &remaining_ms);
    message.with_properties(&properties.rewritten(&headers, true))
}

/// The properties of what the broker itself says of a call: the caller's correlation id, and
/// headers, given as the inside of their table.
pub fn properties_of(correlation_id: &[u8], headers: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    let correlation_id = (!correlation_id.is_empty()).then_some(correlation_id);
    encode_properties(&mut list, correlation_id, None, None);
    let walked = Properties::walk(&list, TABLE_DEPTH_MAX);
    walked.expect("encoded just now").rewritten(headers, true)
}

/// Those of what a worker's control consumer hears: the call that came with this delivery tag is
/// over.
pub fn over_properties(correlation_id: &[u8], event: &str, request_tag: u64) -> Vec<u8> {
    let mut headers = Vec::new();
    let event = Value::LongString(event.as_bytes());
    arguments::push_entry(&mut headers, b"x-rpc-event", &event);
    let request_tag = Value::Integer(i64::try_from(request_tag).unwrap_or(i64::MAX));
    arguments::push_entry(&mut headers, b"x-rpc-delivery-tag", &request_tag);
    properties_of(correlation_id, &headers)
}

/// Content that the broker itself sends.
pub fn own_content<'a>(routing_key: &'a [u8], properties: &'a [u8]) -> Content<'a> {
    Content {
        exchange: b"",
        routing_key,
        properties: PropertyParts([properties, &[], &[]]),
        body: b"",
        shared: None,
        call: None,
    }
}
