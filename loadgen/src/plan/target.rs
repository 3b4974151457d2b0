//! What is called, out of its URL.

use crate::arguments::{AckMode, AmqpArguments, Dispatch, LoadArguments, ReplyStyle};
use amq_protocol::uri::{AMQPScheme, AMQPUri};
use percent_encoding::percent_decode_str;
use std::time::Duration;
use url::Url;

/// Request queues: each requester keeps a request's front for each of its own.
const QUEUE_COUNT_MAX: u32 = 100_000;

/// Each worker keeps one such message, ready to be sent.
const HEAP_LEN_MAX: usize = 1 << 20;

#[derive(Clone, Debug)]
pub enum Target {
    Amqp(AmqpTarget),
    Nats(NatsTarget),
    Relay { address: String },
}

#[derive(Clone)]
pub struct AmqpTarget {
    pub address: String,
    pub vhost: String,
    pub username: String,
    pub password: String,
    pub reply: ReplyStyle,
    pub ack: AckMode,
    pub prefetch: u16,
    pub queue_count: u32,
    pub is_mandatory: bool,
    pub is_persistent: bool,
    pub is_confirmed: bool,
    pub follow: Follow,
    pub rules: QueueRules,
    /// Octets of the messages that workers leave lying.
    pub heap: Option<usize>,
}

/// What the broker is to do for each call beside passing messages on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follow {
    /// End it if no worker will.
    pub errors: bool,
    /// Time that it has, in whole milliseconds.
    pub deadline: Option<Duration>,
    /// Its queue refuses what would come too late.
    pub is_shed: bool,
    /// Workers fill its memory.
    pub is_heaped: bool,
    /// Say where the time went.
    pub timing: bool,
}

/// What the broker is to do with the calls of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueRules {
    pub dispatch: Option<Dispatch>,
    pub sheds: bool,
}

#[derive(Clone)]
pub struct NatsTarget {
    pub address: String,
    /// Empty if the URL has none.
    pub username: String,
    /// Without it the user name is a token.
    pub password: Option<String>,
    pub subject_count: u32,
}

/// Without the password, or the token.
impl std::fmt::Debug for NatsTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsTarget")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Without the password.
impl std::fmt::Debug for AmqpTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmqpTarget")
            .field("address", &self.address)
            .field("vhost", &self.vhost)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Errors: one sentence for the person who typed the URL or the options.
    pub fn new(url: &str, amqp: &AmqpArguments, load: &LoadArguments) -> Result<Target, String> {
        match url.split_once("://") {
            Some(("amqp", _)) => AmqpTarget::new(url, amqp, load).map(Target::Amqp),
            Some(("nats", _)) => NatsTarget::new(url, amqp, load).map(Target::Nats),
            Some(("relay", address)) => Target::new_relay(address, load),
            Some(("amqps", _)) => Err("TLS is not supported: use amqp://".to_owned()),
            Some(("tls", _)) => Err("TLS is not supported: use nats://".to_owned()),
            _ => Err(format!("{url}: not an amqp://, nats:// or relay:// URL")),
        }
    }

    pub fn new_relay(address: &str, load: &LoadArguments) -> Result<Target, String> {
        if load.workers != load.requesters {
            return Err("a relay pairs them: --workers must equal --requesters".to_owned());
        }
        if load.requesters > u32::from(u16::MAX) {
            return Err("a relay numbers its pairs with 16 bits: too many --requesters".to_owned());
        }
        Ok(Target::Relay {
            address: address.to_owned(),
        })
    }

    pub fn address(&self) -> &str {
        match self {
            Target::Amqp(target) => &target.address,
            Target::Nats(target) => &target.address,
            Target::Relay { address } => address,
        }
    }
}

impl AmqpTarget {
    fn new(url: &str, amqp: &AmqpArguments, load: &LoadArguments) -> Result<AmqpTarget, String> {
        let uri: AMQPUri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        debug_assert_eq!(uri.scheme, AMQPScheme::AMQP);
        if amqp.prefetch > 0 && amqp.ack == AckMode::Auto {
            return Err("--prefetch has a meaning only with --ack manual".to_owned());
        }
        let queue_count = amqp.queues.unwrap_or(load.workers);
        if !(1..=QUEUE_COUNT_MAX).contains(&queue_count) {
            return Err(format!("--queues must be between 1 and {QUEUE_COUNT_MAX}"));
        }
        Ok(AmqpTarget {
            address: format!("{}:{}", uri.authority.host, uri.authority.port),
            vhost: uri.vhost,
            username: uri.authority.userinfo.username,
            password: uri.authority.userinfo.password,
            reply: amqp.reply,
            ack: amqp.ack,
            prefetch: amqp.prefetch,
            queue_count,
            is_mandatory: amqp.mandatory,
            is_persistent: amqp.persistent,
            is_confirmed: amqp.confirm,
            follow: follow(amqp)?,
            heap: amqp.heap,
            rules: QueueRules {
                dispatch: amqp.dispatch,
                sheds: amqp.rpc_shed,
            },
        })
    }
}

fn follow(amqp: &AmqpArguments) -> Result<Follow, String> {
    let deadline = amqp.deadline;
    if deadline.is_some_and(|deadline| deadline.subsec_nanos() % 1_000_000 != 0) {
        return Err("--deadline is told to the broker in whole milliseconds".to_owned());
    }
    for (name, is_given) in [
        ("--rpc-errors", amqp.rpc_errors),
        ("--rpc-timing", amqp.rpc_timing),
    ] {
        if is_given && amqp.reply != ReplyStyle::Direct {
            let why = "the broker answers no other calls";
            return Err(format!("{name} needs --reply direct: {why}"));
        }
    }
    if deadline.is_some() && !amqp.rpc_errors {
        return Err("--deadline needs --rpc-errors, or its calls would end in silence".to_owned());
    }
    if amqp.heap.is_some() && !amqp.rpc_errors {
        return Err("--heap needs --rpc-errors, or requests would wait for room".to_owned());
    }
    if amqp
        .heap
        .is_some_and(|len| !(1..=HEAP_LEN_MAX).contains(&len))
    {
        return Err(format!(
            "--heap must be between 1 and {HEAP_LEN_MAX} octets"
        ));
    }
    if amqp.rpc_shed && deadline.is_none() {
        return Err("--rpc-shed needs --deadline: no other call comes too late".to_owned());
    }
    Ok(Follow {
        errors: amqp.rpc_errors,
        deadline,
        is_shed: amqp.rpc_shed,
        is_heaped: amqp.heap.is_some(),
        timing: amqp.rpc_timing,
    })
}

/// The port that a nats:// URL without one means.
const NATS_PORT: u16 = 4222;

impl NatsTarget {
    fn new(text: &str, amqp: &AmqpArguments, load: &LoadArguments) -> Result<NatsTarget, String> {
        refuse_for_nats(amqp)?;
        let url: Url = text.parse().map_err(|error| format!("{text}: {error}"))?;
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(format!("{text}: names no host"));
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(format!("{text}: a nats:// URL ends with the port"));
        }
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        Ok(NatsTarget {
            address: format!("{host}:{}", url.port().unwrap_or(NATS_PORT)),
            username: decode(url.username()),
            password: url.password().map(decode),
            subject_count: queue_count(amqp, load)?,
        })
    }
}

fn queue_count(amqp: &AmqpArguments, load: &LoadArguments) -> Result<u32, String> {
    let queue_count = amqp.queues.unwrap_or(load.workers);
    if queue_count == 0 || queue_count > load.workers {
        return Err("--queues must be at least 1 and at most --workers".to_owned());
    }
    Ok(queue_count)
}

/// NATS has subjects in place of queues, and nothing in place of the rest.
fn refuse_for_nats(amqp: &AmqpArguments) -> Result<(), String> {
    let options = [
        ("--reply", amqp.reply != ReplyStyle::Direct),
        ("--ack", amqp.ack != AckMode::Auto),
        ("--prefetch", amqp.prefetch > 0),
        ("--mandatory", amqp.mandatory),
        ("--persistent", amqp.persistent),
        ("--confirm", amqp.confirm),
        ("--rpc-errors", amqp.rpc_errors),
        ("--deadline", amqp.deadline.is_some()),
        ("--rpc-shed", amqp.rpc_shed),
        ("--rpc-timing", amqp.rpc_timing),
        ("--heap", amqp.heap.is_some()),
        ("--dispatch", amqp.dispatch.is_some()),
    ];
    match options.into_iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(format!(
            "{name} belongs to AMQP: NATS has no such choice, leave it out with nats://"
        )),
        None => Ok(()),
    }
}
