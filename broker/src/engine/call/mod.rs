//! Calls that the broker follows: from a request that asked for it to the one reply that ends it.
//!
//! What is here knows no queues and no connections. A call is kept by its caller's shard in a
//! [`Book`], and is over when it is struck out there: that is what makes every call end once,
//! whoever else wants to end it later. Its queue's shard and its worker's know it by what its reply
//! address says.

mod book;
mod sampler;
mod served;
mod service;
mod status;
mod wishes;

pub use book::{Book, Call, ReplyPath};
pub use sampler::Sampler;
pub use served::Served;
pub use service::{Service, Services, Times};
pub use status::Status;
pub use wishes::Wishes;

use super::message::{Content, Message};
use super::time::Timestamp;
use super::wire::arguments::{self, Value};
use super::wire::properties::{Properties, PropertyParts, encode_properties};
use crate::limits::TABLE_DEPTH_MAX;
use std::fmt;
use std::time::Duration;

/// Why a call is over, to its queue and its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// By its worker's reply; `is_final`: nobody would get another one.
    Answered {
        is_final: bool,
    },
    /// It cannot succeed; `is_final`: its caller has been told so, and would get no reply.
    Failed {
        status: Status,
        is_final: bool,
    },
    /// Its request is left to the queue, where its time is over too.
    DeadlinePassed,
    Cancelled,
    /// The caller has left; `purges`: its request shall not be handed out.
    CallerGone {
        purges: bool,
    },
    /// Nobody asked to follow it, and that was long enough.
    Unanswered,
}

/// The same, to those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Answered,
    /// By the broker, with this code.
    Failed(u16),
    CallerGone,
    Unanswered,
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Outcome {
        Outcome::Failed(status.code())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered => f.write_str("answered"),
            Outcome::Failed(code) => code.fmt(f),
            Outcome::CallerGone => f.write_str("caller-gone"),
            Outcome::Unanswered => f.write_str("unanswered"),
        }
    }
}

impl CallEnd {
    /// What a worker is told of it. `None`: nothing, it knows.
    pub fn event(self) -> Option<&'static str> {
        match self {
            CallEnd::Answered { .. } | CallEnd::Failed { .. } | CallEnd::Unanswered => None,
            CallEnd::DeadlinePassed => Some("deadline-passed"),
            CallEnd::Cancelled => Some("cancelled"),
            CallEnd::CallerGone { .. } => Some("caller-gone"),
        }
    }

    pub fn outcome(self) -> Outcome {
        match self {
            CallEnd::Answered { .. } => Outcome::Answered,
            CallEnd::Failed { status, .. } => status.into(),
            CallEnd::DeadlinePassed => Status::DeadlinePassed.into(),
            CallEnd::Cancelled => Status::Cancelled.into(),
            CallEnd::CallerGone { .. } => Outcome::CallerGone,
            CallEnd::Unanswered => Outcome::Unanswered,
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
    message.with_properties(&with_headers(&properties, &[(REMAINING_MS, remaining_ms)]))
}

/// A reply's properties, with where the time of its call went, in microseconds.
pub fn timed(properties: &Properties<'_>, times: &Times) -> Vec<u8> {
    let us = |time: Duration| Value::Integer(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    let worker = times.worker().unwrap_or_default();
    let entries = [
        (&b"x-rpc-queued-us"[..], us(times.queued())),
        (b"x-rpc-worker-us", us(worker)),
        (b"x-rpc-whole-us", us(times.whole())),
    ];
    with_headers(properties, &entries)
}

/// A property list with these headers, in place of others with their keys.
fn with_headers(properties: &Properties<'_>, entries: &[(&[u8], Value<'_>)]) -> Vec<u8> {
    let mut headers = Vec::new();
    let others = arguments::raw_entries(properties.headers().unwrap_or_default());
    for (_, entry) in others.filter(|(key, _)| entries.iter().all(|(other, _)| other != key)) {
        headers.extend_from_slice(entry);
    }
    for (key, value) in entries {
        arguments::push_entry(&mut headers, key, value);
    }
    properties.rewritten(&headers, true)
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

/// The properties of an answer in JSON.
pub fn json_properties(correlation_id: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    let correlation_id = (!correlation_id.is_empty()).then_some(correlation_id);
    encode_properties(&mut list, correlation_id, None, None);
    let walked = Properties::walk(&list, TABLE_DEPTH_MAX);
    walked
        .expect("encoded just now")
        .with_content_type(b"application/json")
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
