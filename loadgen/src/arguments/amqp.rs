//! How a call uses AMQP; other protocols have no such choice.

use super::units::parse_duration;
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub struct AmqpArguments {
    /// How replies travel: direct reply-to, one exclusive callback queue per requester, or one per
    /// call (declared, consumed from, named in the request, deleted after the reply: all of that
    /// is the call)
    #[arg(long, value_enum, default_value_t = ReplyStyle::Direct, help_heading = "AMQP")]
    pub reply: ReplyStyle,
    /// Whether workers acknowledge requests themselves, after the reply
    #[arg(long, value_enum, default_value_t = AckMode::Auto, help_heading = "AMQP")]
    pub ack: AckMode,
    /// Unacknowledged requests that a worker may hold, 0 for no limit (with --ack manual)
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "AMQP")]
    pub prefetch: u16,
    /// Request queues [default: as many as workers]
    ///
    /// With more queues than workers, worker j answers queues j, j + workers, …; with more than
    /// requesters, requester i calls queues i, i + requesters, … in turn.
    #[arg(long, value_name = "N", help_heading = "AMQP")]
    pub queues: Option<u32>,
    /// Publish requests as mandatory: one without a queue is reported by its name, not as lost
    #[arg(long, help_heading = "AMQP")]
    pub mandatory: bool,
    /// Publish requests and replies as persistent (delivery mode 2)
    #[arg(long, help_heading = "AMQP")]
    pub persistent: bool,
    /// Have the broker confirm each request; what it refuses or leaves open is an error
    #[arg(long, help_heading = "AMQP")]
    pub confirm: bool,
    /// Ask the broker to end each call that no worker will (header x-rpc-errors; Rondo only)
    ///
    /// Its answers are counted by their status. Those that a killed worker or --deadline explains
    /// spoil nothing; but then every call must have an end, and none may be lost with a worker.
    #[arg(long, help_heading = "AMQP")]
    pub rpc_errors: bool,
    /// Time that each call has (header x-rpc-deadline-ms); with --rpc-errors
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "AMQP")]
    pub deadline: Option<Duration>,
    /// Have the broker refuse calls that would come too late (queue argument x-rpc-shed); with
    /// --deadline, which its early answers then count as
    #[arg(long, help_heading = "AMQP")]
    pub rpc_shed: bool,
    /// Workers publish a message of so many octets with each reply, to a queue that nobody reads,
    /// until the broker tells them to wait (connection.blocked); with --rpc-errors
    ///
    /// The calls must go on all the same. Requests that the broker has no room to keep may end with
    /// 429.
    #[arg(long, value_name = "OCTETS", help_heading = "AMQP")]
    pub heap: Option<usize>,
    /// Have the broker say in each reply where its call's time went (header x-rpc-timing; Rondo
    /// only)
    #[arg(long, help_heading = "AMQP")]
    pub rpc_timing: bool,
    /// Which worker of a queue gets a call (queue argument x-dispatch; Rondo only)
    #[arg(long, value_enum, help_heading = "AMQP")]
    pub dispatch: Option<Dispatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispatch {
    RoundRobin,
    LeastOutstanding,
    Fastest,
}

impl Dispatch {
    /// As on the command line and in the queue's arguments.
    pub fn name(self) -> &'static str {
        match self {
            Dispatch::RoundRobin => "round-robin",
            Dispatch::LeastOutstanding => "least-outstanding",
            Dispatch::Fastest => "fastest",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyStyle {
    Direct,
    Queue,
    QueuePerCall,
}

impl ReplyStyle {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ReplyStyle::Direct => "direct",
            ReplyStyle::Queue => "queue",
            ReplyStyle::QueuePerCall => "queue-per-call",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    Auto,
    Manual,
}
