//! The methods that a connection sends before its first call, and what its peers are called.

use crate::arguments::ReplyStyle;
use amq_protocol::protocol::{AMQPClass, basic, channel, connection, queue};
use amq_protocol::types::{AMQPValue, FieldTable, LongString};

/// What replies are addressed to before the broker puts in the true address.
pub const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

pub const WORKER_TAG: &str = "worker";
pub const REQUESTER_TAG: &str = "requester";

/// Who connects, to what, and for which part in the calls.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub username: String,
    pub password: String,
    pub vhost: String,
    pub purpose: Purpose,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Declares `queue` and answers what comes from it.
    Worker {
        queue: String,
        is_auto_ack: bool,
        prefetch: u16,
    },
    /// Publishes to `queue`.
    Requester {
        queue: String,
        reply: ReplyStyle,
        is_mandatory: bool,
    },
}

/// Unlike any other run's, so that runs do not take each other's requests.
pub fn queue_name(run: u32, index: u32) -> String {
    format!("loadgen.{run:08x}.{index}")
}

/// A step of the set-up on the open channel: one method, one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Qos,
    Declare,
    Consume,
}

impl Purpose {
    /// The step after `step` (`None`: the first), or `None` if all are done.
    pub fn step_after(&self, step: Option<Step>) -> Option<Step> {
        let (has_qos, has_declare) = match self {
            Purpose::Worker { prefetch, .. } => (*prefetch > 0, true),
            Purpose::Requester { reply, .. } => (false, *reply == ReplyStyle::Queue),
        };
        match step {
            None if has_qos => Some(Step::Qos),
            None | Some(Step::Qos) if has_declare => Some(Step::Declare),
            None | Some(Step::Qos | Step::Declare) => Some(Step::Consume),
            Some(Step::Consume) => None,
        }
    }

    /// `callback_queue` is the name that the broker gave to the requester's own queue.
    pub fn method(&self, step: Step, callback_queue: &str) -> AMQPClass {
        match step {
            Step::Qos => self.qos(),
            Step::Declare => self.declare(),
            Step::Consume => self.consume(callback_queue),
        }
    }

    fn qos(&self) -> AMQPClass {
        let prefetch_count = match self {
            Purpose::Worker { prefetch, .. } => *prefetch,
            Purpose::Requester { .. } => 0,
        };
        AMQPClass::Basic(basic::AMQPMethod::Qos(basic::Qos {
            prefetch_count,
            global: false,
        }))
    }

    fn declare(&self) -> AMQPClass {
        let (queue, exclusive) = match self {
            Purpose::Worker { queue, .. } => (queue.as_str(), false),
            Purpose::Requester { .. } => ("", true),
        };
        AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
            queue: queue.into(),
            passive: false,
            durable: false,
            exclusive,
            // The run's last consumer takes the queue with it, even if the run is killed.
            auto_delete: true,
            nowait: false,
            arguments: FieldTable::default(),
        }))
    }

    fn consume(&self, callback_queue: &str) -> AMQPClass {
        let (queue, tag, no_ack) = match self {
            Purpose::Worker {
                queue, is_auto_ack, ..
            } => (queue.as_str(), WORKER_TAG, *is_auto_ack),
            Purpose::Requester {
                reply: ReplyStyle::Direct,
                ..
            } => (DIRECT_REPLY_TO, REQUESTER_TAG, true),
            Purpose::Requester {
                reply: ReplyStyle::Queue,
                ..
            } => (callback_queue, REQUESTER_TAG, true),
        };
        AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume {
            queue: queue.into(),
            consumer_tag: tag.into(),
            no_local: false,
            no_ack,
            exclusive: false,
            nowait: false,
            arguments: FieldTable::default(),
        }))
    }
}

pub fn start_ok(settings: &Settings) -> AMQPClass {
    let mut capabilities = FieldTable::default();
    for name in ["authentication_failure_close", "consumer_cancel_notify"] {
        capabilities.insert(name.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    for (name, value) in [
        ("product", "loadgen"),
        ("version", env!("CARGO_PKG_VERSION")),
    ] {
        properties.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    let response = format!("\0{}\0{}", settings.username, settings.password);
    AMQPClass::Connection(connection::AMQPMethod::StartOk(connection::StartOk {
        client_properties: properties,
        mechanism: "PLAIN".into(),
        response: LongString::from(response),
        locale: "en_US".into(),
    }))
}

pub fn tune_ok(tuned: connection::TuneOk) -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::TuneOk(tuned))
}

pub fn open(settings: &Settings) -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Open(connection::Open {
        virtual_host: settings.vhost.as_str().into(),
    }))
}

pub fn channel_open() -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}))
}

pub fn channel_close_ok() -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))
}

pub fn flow_ok(active: bool) -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::FlowOk(channel::FlowOk { active }))
}

pub fn close() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Close(connection::Close {
        reply_code: 200,
        reply_text: "done".into(),
        class_id: 0,
        method_id: 0,
    }))
}

pub fn close_ok() -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}))
}
