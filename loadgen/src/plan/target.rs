//! What is called, out of its URL.

use crate::arguments::{AckMode, AmqpArguments, LoadArguments, ReplyStyle};
use amq_protocol::uri::{AMQPScheme, AMQPUri};

#[derive(Clone, Debug)]
pub enum Target {
    Amqp(AmqpTarget),
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
            Some(("relay", address)) => Target::new_relay(address, load),
            Some(("amqps", _)) => Err("TLS is not supported: use amqp://".to_owned()),
            _ => Err(format!("{url}: not an amqp:// or relay:// URL")),
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
        if queue_count == 0 || queue_count > load.workers {
            return Err("--queues must be at least 1 and at most --workers".to_owned());
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
        })
    }
}
