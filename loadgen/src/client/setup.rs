//! The methods that a connection sends before its first call, and what its peers are called.

use crate::arguments::ReplyStyle;
use crate::plan::{Follow, QueueRules};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, queue};
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
    /// Declares `queues` and answers what comes from them.
    Worker {
        queues: Vec<String>,
        is_auto_ack: bool,
        prefetch: u16,
        is_persistent: bool,
        /// The queues outlive their last consumer: the worker deletes them when it leaves.
        keeps_queues: bool,
        rules: QueueRules,
        /// Octets of the messages that it leaves lying in a queue of its own.
        heap: Option<usize>,
    },
    /// Publishes to `queues` in turn.
    Requester {
        queues: Vec<String>,
        reply: ReplyStyle,
        is_mandatory: bool,
        is_persistent: bool,
        is_confirmed: bool,
        follow: Follow,
    },
    /// Opens its channel and holds it.
    Bystander,
}

/// Unlike any other run's, so that runs do not take each other's requests.
pub fn queue_name(run: u32, index: u32) -> String {
    format!("loadgen.{run:08x}.{index}")
}

/// A step of the set-up on the open channel: one method, one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Confirm,
    Qos,
    /// A worker's own queue, for what it leaves lying.
    Heap,
    /// Of the queue with this index.
    Declare(usize),
    Consume(usize),
}

impl Step {
    pub fn is_answered_by(self, method: &AMQPClass) -> bool {
        match method {
            AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(_)) => self == Step::Confirm,
            AMQPClass::Basic(basic::AMQPMethod::QosOk(_)) => self == Step::Qos,
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(_)) => {
                matches!(self, Step::Heap | Step::Declare(_))
            }
            AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(_)) => matches!(self, Step::Consume(_)),
            _ => false,
        }
    }
}

impl Purpose {
    pub fn queues_answered(&self) -> &[String] {
        match self {
            Purpose::Worker { queues, .. } => queues,
            Purpose::Requester { .. } | Purpose::Bystander => &[],
        }
    }

    /// The step after `step` (`None`: the first), or `None` if all are done.
    pub fn step_after(&self, step: Option<Step>) -> Option<Step> {
        match self {
            Purpose::Worker {
                queues,
                prefetch,
                heap,
                ..
            } => match step {
                None if *prefetch > 0 => Some(Step::Qos),
                None | Some(Step::Qos) if heap.is_some() => Some(Step::Heap),
                None | Some(Step::Qos | Step::Heap | Step::Confirm) => Some(Step::Declare(0)),
                Some(Step::Declare(index)) => Some(Step::Consume(index)),
                Some(Step::Consume(index)) => {
                    (index + 1 < queues.len()).then_some(Step::Declare(index + 1))
                }
            },
            Purpose::Requester {
                reply,
                is_confirmed,
                ..
            } => match (step, reply) {
                (None, _) if *is_confirmed => Some(Step::Confirm),
                (None | Some(Step::Confirm), ReplyStyle::Direct) => Some(Step::Consume(0)),
                (None | Some(Step::Confirm), ReplyStyle::Queue) => Some(Step::Declare(0)),
                (Some(Step::Declare(index)), _) => Some(Step::Consume(index)),
                _ => None,
            },
            Purpose::Bystander => None,
        }
    }

    /// `own_queue` is the name that the broker gave to the connection's own queue.
    pub fn method(&self, step: Step, own_queue: &str) -> AMQPClass {
        match step {
            Step::Confirm => confirm_select(),
            Step::Qos => self.qos(),
            Step::Heap => declare("", true, false, FieldTable::default()),
            Step::Declare(index) => self.declare(index),
            Step::Consume(index) => self.consume(index, own_queue),
        }
    }

    fn qos(&self) -> AMQPClass {
        let prefetch_count = match self {
            Purpose::Worker { prefetch, .. } => *prefetch,
            Purpose::Requester { .. } | Purpose::Bystander => 0,
        };
        AMQPClass::Basic(basic::AMQPMethod::Qos(basic::Qos {
            prefetch_count,
            global: false,
        }))
    }

    fn declare(&self, index: usize) -> AMQPClass {
        match self {
            // The run's last consumer takes the queue with it, even if the run is killed.
            Purpose::Worker {
                queues,
                keeps_queues,
                rules,
                ..
            } => declare(&queues[index], false, !keeps_queues, arguments(*rules)),
            Purpose::Requester { .. } | Purpose::Bystander => {
                declare("", true, true, FieldTable::default())
            }
        }
    }

    fn consume(&self, index: usize, own_queue: &str) -> AMQPClass {
        match self {
            Purpose::Worker {
                queues,
                is_auto_ack,
                ..
            } if index == 0 => consume(&queues[0], WORKER_TAG, *is_auto_ack),
            Purpose::Worker {
                queues,
                is_auto_ack,
                ..
            } => consume(
                &queues[index],
                &format!("{WORKER_TAG}.{index}"),
                *is_auto_ack,
            ),
            Purpose::Requester {
                reply: ReplyStyle::Direct,
                ..
            } => consume(DIRECT_REPLY_TO, REQUESTER_TAG, true),
            Purpose::Requester { .. } | Purpose::Bystander => {
                consume(own_queue, REQUESTER_TAG, true)
            }
        }
    }
}

fn arguments(rules: QueueRules) -> FieldTable {
    let mut arguments = FieldTable::default();
    if let Some(dispatch) = rules.dispatch {
        let name = AMQPValue::LongString(dispatch.name().into());
        arguments.insert("x-dispatch".into(), name);
    }
    if rules.sheds {
        arguments.insert("x-rpc-shed".into(), AMQPValue::Boolean(true));
    }
    arguments
}

/// An empty name leaves the choice to the broker.
pub fn declare(
    queue: &str,
    exclusive: bool,
    auto_delete: bool,
    arguments: FieldTable,
) -> AMQPClass {
    AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
        queue: queue.into(),
        passive: false,
        durable: false,
        exclusive,
        auto_delete,
        nowait: false,
        arguments,
    }))
}

pub fn consume(queue: &str, tag: &str, no_ack: bool) -> AMQPClass {
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

/// Without `nowait`, delete-ok follows.
pub fn delete(queue: &str, nowait: bool) -> AMQPClass {
    AMQPClass::Queue(queue::AMQPMethod::Delete(queue::Delete {
        queue: queue.into(),
        if_unused: false,
        if_empty: false,
        nowait,
    }))
}

fn confirm_select() -> AMQPClass {
    AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select {
        nowait: false,
    }))
}

pub fn start_ok(settings: &Settings) -> AMQPClass {
    let mut capabilities = FieldTable::default();
    for name in [
        "authentication_failure_close",
        "connection.blocked",
        "consumer_cancel_notify",
    ] {
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
