//! What is said of names: that they are not there, that they are locked, that they are something
//! else. RabbitMQ's words, since clients know them.

use super::{QueueAttributes, Topology};
use crate::engine::exchange::ExchangeAttributes;
use crate::engine::name::Name;
use crate::engine::rules::QueueArguments;
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;

impl Topology {
    pub fn no_exchange(&self, name: &[u8]) -> Violation {
        let (name, vhost) = (String::from_utf8_lossy(name), &self.vhost);
        Violation::channel(
            ReplyCode::NotFound,
            format!("no exchange '{name}' in vhost '{vhost}'"),
        )
    }

    pub fn no_queue(&self, name: &[u8]) -> Violation {
        let queue = self.queue_text(name);
        Violation::channel(ReplyCode::NotFound, format!("no {queue}"))
    }

    pub fn locked_queue(&self, name: &[u8]) -> Violation {
        let queue = self.queue_text(name);
        Violation::channel(
            ReplyCode::ResourceLocked,
            format!(
                "cannot obtain exclusive access to locked {queue}. It could be originally \
                 declared on another connection or the exclusive property value does not match \
                 that of the original declaration."
            ),
        )
    }

    /// "queue 'q' in vhost '/'"
    pub fn queue_text(&self, name: &[u8]) -> String {
        let (name, vhost) = (String::from_utf8_lossy(name), &self.vhost);
        format!("queue '{name}' in vhost '{vhost}'")
    }

    /// "exchange 'e' in vhost '/'"
    pub fn exchange_text(&self, name: &[u8]) -> String {
        let (name, vhost) = (String::from_utf8_lossy(name), &self.vhost);
        format!("exchange '{name}' in vhost '{vhost}'")
    }

    /// Errors: 405 for another connection's exclusive queue, 406 for what differs.
    pub fn check_queue(
        &self,
        name: &Name,
        current: &QueueAttributes,
        received: &QueueAttributes,
    ) -> Result<(), Violation> {
        if current.exclusive != received.exclusive {
            return Err(self.locked_queue(name.as_bytes()));
        }
        let inequivalent = |argument, received: bool, current: bool| {
            inequivalent(
                &self.queue_text(name.as_bytes()),
                argument,
                &received.to_string(),
                &current.to_string(),
            )
        };
        if current.durable != received.durable {
            return Err(inequivalent("durable", received.durable, current.durable));
        }
        if current.auto_delete != received.auto_delete {
            return Err(inequivalent(
                "auto_delete",
                received.auto_delete,
                current.auto_delete,
            ));
        }
        let (current, received) = (&current.arguments, &received.arguments);
        match QueueArguments::difference(current.as_deref(), received.as_deref()) {
            None => Ok(()),
            Some((argument, text)) => Err(Violation::channel(
                ReplyCode::PreconditionFailed,
                format!(
                    "inequivalent arg '{argument}' for {}: {text}",
                    self.queue_text(name.as_bytes())
                ),
            )),
        }
    }

    /// Errors: 406 for what differs.
    pub fn check_exchange(
        &self,
        name: &Name,
        current: &ExchangeAttributes,
        received: &ExchangeAttributes,
    ) -> Result<(), Violation> {
        let exchange = self.exchange_text(name.as_bytes());
        let (received_type, current_type) = (received.type_name(), current.type_name());
        if current_type != received_type {
            return Err(inequivalent(&exchange, "type", received_type, current_type));
        }
        if current.exchange_type != received.exchange_type {
            let (received, current) = (received.exchange_type.name(), current.exchange_type.name());
            return Err(inequivalent(&exchange, "x-delayed-type", received, current));
        }
        for (argument, received, current) in [
            ("durable", received.durable, current.durable),
            ("auto_delete", received.auto_delete, current.auto_delete),
            ("internal", received.internal, current.internal),
        ] {
            if received != current {
                let (received, current) = (received.to_string(), current.to_string());
                return Err(inequivalent(&exchange, argument, &received, &current));
            }
        }
        if current.alternate != received.alternate {
            return Err(inequivalent_alternate(&exchange, current, received));
        }
        Ok(())
    }
}

fn inequivalent_alternate(
    exchange: &str,
    current: &ExchangeAttributes,
    received: &ExchangeAttributes,
) -> Violation {
    let whole = |alternate: &Option<Name>| match alternate {
        Some(alternate) => format!("the value '{alternate}' of type 'longstr'"),
        None => "none".into(),
    };
    let comparison = match (&received.alternate, &current.alternate) {
        (Some(received), Some(current)) => {
            format!("received '{received}' but current is '{current}'")
        }
        (received, current) => format!(
            "received {} but current is {}",
            whole(received),
            whole(current)
        ),
    };
    let text = format!("inequivalent arg 'alternate-exchange' for {exchange}: {comparison}");
    Violation::channel(ReplyCode::PreconditionFailed, text)
}

/// `what`: "queue 'q' in vhost '/'".
fn inequivalent(what: &str, argument: &str, received: &str, current: &str) -> Violation {
    Violation::channel(
        ReplyCode::PreconditionFailed,
        format!(
            "inequivalent arg '{argument}' for {what}: received '{received}' but current is \
             '{current}'"
        ),
    )
}
