//! How a call may end other than by its worker's reply.

use crate::engine::wire::arguments::{Value, push_entry};

/// The numbers are those that HTTP has for the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    NoSuchQueue,
    /// The reply is longer than a body may be.
    ReplyTooLarge,
    QueueFull,
    TooManyCalls,
    /// No worker is free, and there is no memory for what waits.
    MemoryShort,
    /// The caller said that it does not want it any more.
    Cancelled,
    /// The worker's channel or connection ended, and the request is not handed out again.
    WorkerGone,
    /// The worker refused the request.
    Rejected,
    /// The request came back too often.
    DeliveryLimit,
    NoWorker,
    /// The queue was emptied.
    Purged,
    DeadlinePassed,
    /// Less time is left than workers take.
    Shed,
}

impl Status {
    pub fn code(self) -> u16 {
        match self {
            Status::NoSuchQueue => 404,
            Status::ReplyTooLarge => 413,
            Status::QueueFull | Status::TooManyCalls | Status::MemoryShort => 429,
            Status::Cancelled => 499,
            Status::WorkerGone | Status::Rejected | Status::DeliveryLimit => 502,
            Status::NoWorker | Status::Purged => 503,
            Status::DeadlinePassed | Status::Shed => 504,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Status::NoSuchQueue => "no queue for this request",
            Status::ReplyTooLarge => "the reply is too large",
            Status::QueueFull => "the queue is full",
            Status::TooManyCalls => "too many calls in flight on this connection",
            Status::MemoryShort => "queues hold too much memory",
            Status::Cancelled => "the caller cancelled the call",
            Status::WorkerGone => "the worker is gone",
            Status::Rejected => "the worker rejected the request",
            Status::DeliveryLimit => "the request came back too often",
            Status::NoWorker => "nobody consumes from this queue",
            Status::Purged => "the queue was purged",
            Status::DeadlinePassed => "the deadline has passed",
            Status::Shed => "too little time is left for a worker",
        }
    }

    /// The inside of the headers table of a reply that says so.
    pub fn headers(self) -> Vec<u8> {
        let mut headers = Vec::new();
        let code = Value::Integer(self.code().into());
        push_entry(&mut headers, b"x-rpc-status", &code);
        let text = Value::LongString(self.text().as_bytes());
        push_entry(&mut headers, b"x-rpc-text", &text);
        headers
    }
}
