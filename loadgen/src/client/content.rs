//! Content as it arrives: a method, a header, body frames (AMQP 0-9-1 4.2.6).

use super::fault::Fault;
use crate::recorder::Timing;
use broker::engine::wire::arguments::{self, Value};
use broker::engine::wire::basic::{CLASS_BASIC, Deliver, Return, decode_content_header};
use broker::engine::wire::properties::Properties;
use broker::limits::TABLE_DEPTH_MAX;
use std::time::Duration;

/// Larger content is none of ours; it must not be taken into memory.
const CONTENT_LEN_MAX: u64 = 128 << 20;

/// One delivered message, borrowed from the receive buffer and from the assembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub delivery_tag: u64,
    /// The broker may have delivered it before.
    pub redelivered: bool,
    /// Empty if the message has none.
    pub correlation: &'a [u8],
    /// Empty if the message has none.
    pub reply_to: &'a [u8],
    /// The broker's own answer, in place of a worker's.
    pub status: Option<u16>,
    /// Where the broker says that the call's time went.
    pub timing: Option<Timing>,
    pub body: &'a [u8],
}

/// Content that has come in whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Delivered(Delivery<'a>),
    Returned {
        code: u16,
        correlation: &'a [u8],
    },
    /// Nobody listens to the request's subject (NATS).
    NoResponders {
        correlation: &'a [u8],
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deliver {
        delivery_tag: u64,
        redelivered: bool,
    },
    Return {
        code: u16,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    AwaitHeader {
        kind: Kind,
    },
    /// Invariant: `body_left > 0`.
    AwaitBody {
        kind: Kind,
        body_left: u64,
    },
}

/// Where one channel stands between a deliver or return and its last body octet. The buffers are
/// kept from message to message, so that the usual one costs no allocation.
#[derive(Debug)]
pub struct Assembly {
    state: State,
    correlation: Vec<u8>,
    reply_to: Vec<u8>,
    status: Option<u16>,
    timing: Option<Timing>,
    /// Body octets of earlier frames; unused if the body comes in one.
    body: Vec<u8>,
}

impl Assembly {
    pub fn new() -> Assembly {
        Assembly {
            state: State::Idle,
            correlation: Vec::new(),
            reply_to: Vec::new(),
            status: None,
            timing: None,
            body: Vec::new(),
        }
    }

    pub fn handle_deliver(&mut self, deliver: &Deliver<'_>) -> Result<(), Fault> {
        self.open(Kind::Deliver {
            delivery_tag: deliver.delivery_tag,
            redelivered: deliver.redelivered,
        })
    }

    pub fn handle_return(&mut self, returned: &Return<'_>) -> Result<(), Fault> {
        self.open(Kind::Return {
            code: returned.reply_code,
        })
    }

    pub fn handle_header(&mut self, payload: &[u8]) -> Result<Option<Content<'_>>, Fault> {
        let State::AwaitHeader { kind } = self.state else {
            return Err(Fault::Malformed {
                what: "content header without a method",
            });
        };
        let malformed = Fault::Malformed {
            what: "content header",
        };
        let Ok((CLASS_BASIC, header)) = decode_content_header(payload) else {
            return Err(malformed);
        };
        let Ok(properties) = Properties::walk(header.properties, TABLE_DEPTH_MAX) else {
            return Err(malformed);
        };
        if header.body_len > CONTENT_LEN_MAX {
            return Err(Fault::Unsupported {
                what: "a body larger than any that was sent",
            });
        }
        self.correlation.clear();
        self.correlation
            .extend_from_slice(properties.correlation_id().unwrap_or_default());
        self.reply_to.clear();
        self.reply_to
            .extend_from_slice(properties.reply_to().unwrap_or_default());
        self.status = properties.headers().and_then(status_in);
        self.timing = properties.headers().and_then(timing_in);
        self.body.clear();
        if header.body_len == 0 {
            self.state = State::Idle;
            return Ok(Some(self.content(kind, &[])));
        }
        self.state = State::AwaitBody {
            kind,
            body_left: header.body_len,
        };
        Ok(None)
    }

    pub fn handle_body<'s>(&'s mut self, payload: &'s [u8]) -> Result<Option<Content<'s>>, Fault> {
        let State::AwaitBody { kind, body_left } = self.state else {
            return Err(Fault::Malformed {
                what: "body frame without a header",
            });
        };
        let Some(body_left) = body_left.checked_sub(payload.len() as u64) else {
            return Err(Fault::Malformed {
                what: "body longer than its header says",
            });
        };
        if body_left == 0 && self.body.is_empty() {
            self.state = State::Idle;
            return Ok(Some(self.content(kind, payload)));
        }
        self.body.extend_from_slice(payload);
        if body_left > 0 {
            self.state = State::AwaitBody { kind, body_left };
            return Ok(None);
        }
        self.state = State::Idle;
        Ok(Some(self.content(kind, &self.body)))
    }

    fn open(&mut self, kind: Kind) -> Result<(), Fault> {
        let State::Idle = self.state else {
            return Err(Fault::Malformed {
                what: "method inside content",
            });
        };
        self.state = State::AwaitHeader { kind };
        Ok(())
    }

    fn content<'s>(&'s self, kind: Kind, body: &'s [u8]) -> Content<'s> {
        match kind {
            Kind::Deliver {
                delivery_tag,
                redelivered,
            } => Content::Delivered(Delivery {
                delivery_tag,
                redelivered,
                correlation: &self.correlation,
                reply_to: &self.reply_to,
                status: self.status,
                timing: self.timing,
                body,
            }),
            Kind::Return { code } => Content::Returned {
                code,
                correlation: &self.correlation,
            },
        }
    }
}

fn timing_in(headers: &[u8]) -> Option<Timing> {
    let micros = |name: &[u8]| match arguments::find(headers, name) {
        Some(Value::Integer(micros)) => u64::try_from(micros).ok().map(Duration::from_micros),
        _ => None,
    };
    Some(Timing {
        queued: micros(b"x-rpc-queued-us")?,
        worker: micros(b"x-rpc-worker-us")?,
        whole: micros(b"x-rpc-whole-us")?,
    })
}

fn status_in(headers: &[u8]) -> Option<u16> {
    match arguments::find(headers, b"x-rpc-status") {
        Some(Value::Integer(status)) => u16::try_from(status).ok(),
        _ => None,
    }
}
