//! Class exchange: exchanges come, are bound to each other, and go.

use super::bind::{check_binding_arguments, default_exchange};
use super::declare::{out_of_order, reserved};
use super::registrar::Then;
use super::{Shard, Slot};
use crate::engine::exchange::{
    Binding, DELAYED_TYPE, Destination, ExchangeAttributes, ExchangeType, HashOn,
};
use crate::engine::name::Name;
use crate::engine::rules::type_name;
use crate::engine::topology::{Change, Topology};
use crate::engine::violation::Violation;
use crate::engine::wire::method;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::exchange;
use amq_protocol::types::{AMQPValue, FieldTable};

impl Shard {
    pub(super) fn exchange_method(
        &mut self,
        slot: Slot,
        number: u16,
        method: exchange::AMQPMethod,
    ) -> Result<(), Violation> {
        use exchange::AMQPMethod::{Bind, Declare, Delete, Unbind};
        use exchange::{AMQPMethod, BindOk, DeleteOk, UnbindOk};
        let (change, no_wait, reply) = match method {
            Declare(declare) => return self.declare_exchange(slot, number, &declare),
            Delete(delete) => {
                let name = changeable_exchange(delete.exchange.as_str(), self.topology_of(slot))?;
                let change = Change::DeleteExchange {
                    name,
                    if_unused: delete.if_unused,
                };
                (change, delete.nowait, AMQPMethod::DeleteOk(DeleteOk {}))
            }
            Bind(bind) => {
                let (source, binding) = exchange_binding(
                    bind.destination.as_str(),
                    bind.source.as_str(),
                    bind.routing_key.as_str(),
                    &bind.arguments,
                )?;
                check_binding_arguments(&bind.arguments, &binding)?;
                let reply = AMQPMethod::BindOk(BindOk {});
                (Change::Bind { source, binding }, bind.nowait, reply)
            }
            Unbind(bind) => {
                let (source, binding) = exchange_binding(
                    bind.destination.as_str(),
                    bind.source.as_str(),
                    bind.routing_key.as_str(),
                    &bind.arguments,
                )?;
                let reply = AMQPMethod::UnbindOk(UnbindOk {});
                (Change::Unbind { source, binding }, bind.nowait, reply)
            }
            _ => return Err(out_of_order()),
        };
        let reply = (!no_wait).then(|| Box::new(AMQPClass::Exchange(reply)));
        self.propose_for(slot, number, change, Then::Reply(reply));
        Ok(())
    }

    fn declare_exchange(
        &mut self,
        slot: Slot,
        number: u16,
        declare: &exchange::Declare,
    ) -> Result<(), Violation> {
        let declare_ok = exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {});
        let declare_ok = AMQPClass::Exchange(declare_ok);
        let name = Name::from(declare.exchange.as_str());
        if name.is_empty() {
            return Err(default_exchange());
        }
        let topology = self.topology_of(slot);
        let existing = topology.exchange(name.as_bytes());
        if declare.passive {
            existing.ok_or_else(|| topology.no_exchange(name.as_bytes()))?;
            if !declare.nowait {
                self.send(slot, number, declare_ok);
            }
            return Ok(());
        }
        let attributes = exchange_attributes(declare, topology)?;
        match existing {
            Some(existing) => topology.check_exchange(&name, &existing.attributes, &attributes)?,
            None if name.as_bytes().starts_with(b"amq.") => {
                return Err(reserved("exchange", &name));
            }
            None => {}
        }
        let reply = (!declare.nowait).then(|| Box::new(declare_ok));
        let change = Change::DeclareExchange { name, attributes };
        self.propose_for(slot, number, change, Then::Reply(reply));
        Ok(())
    }
}

fn exchange_attributes(
    declare: &exchange::Declare,
    topology: &Topology,
) -> Result<ExchangeAttributes, Violation> {
    let is_delayed = declare.kind.as_str() == DELAYED_TYPE;
    let exchange_type = match is_delayed {
        true => delayed_type(declare)?,
        false => exchange_type(declare.kind.as_str())?,
    };
    let hash_on = match exchange_type {
        ExchangeType::ConsistentHash => hash_on(declare, topology)?,
        _ => HashOn::RoutingKey,
    };
    Ok(ExchangeAttributes {
        exchange_type,
        is_delayed,
        durable: declare.durable,
        auto_delete: declare.auto_delete,
        internal: declare.internal,
        alternate: name_argument(declare, "alternate-exchange", topology)?,
        hash_on,
    })
}

/// Errors: 503.
fn exchange_type(name: &str) -> Result<ExchangeType, Violation> {
    ExchangeType::parse(name).ok_or_else(|| {
        let text = format!("unknown exchange type '{name}'");
        Violation::connection(ReplyCode::CommandInvalid, text)
    })
}

/// What an exchange that delays does with messages in the end. Errors: 406, 503.
fn delayed_type(declare: &exchange::Declare) -> Result<ExchangeType, Violation> {
    let refused = |text: &str| Err(Violation::channel(ReplyCode::PreconditionFailed, text));
    match declare.arguments.inner().get("x-delayed-type") {
        Some(AMQPValue::LongString(name)) if name.as_bytes() == DELAYED_TYPE.as_bytes() => {
            refused("Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'")
        }
        Some(AMQPValue::LongString(name)) => {
            exchange_type(&String::from_utf8_lossy(name.as_bytes()))
        }
        _ => refused("Invalid argument, 'x-delayed-type' must be an existing exchange type"),
    }
}

/// Errors: 406 for what is hashed by two things, or by one that nobody knows.
fn hash_on(declare: &exchange::Declare, topology: &Topology) -> Result<HashOn, Violation> {
    let header = name_argument(declare, "hash-header", topology)?;
    let property = name_argument(declare, "hash-property", topology)?;
    let text = match (header, property) {
        (None, None) => return Ok(HashOn::RoutingKey),
        (Some(header), None) => return Ok(HashOn::Header(header)),
        (None, Some(property)) => match property.as_bytes() {
            b"message_id" => return Ok(HashOn::MessageId),
            b"correlation_id" => return Ok(HashOn::CorrelationId),
            b"timestamp" => return Ok(HashOn::Timestamp),
            _ => format!("Unsupported property: {property}"),
        },
        (Some(_), Some(_)) => "hash-header and hash-property are mutually exclusive".into(),
    };
    Err(Violation::channel(ReplyCode::PreconditionFailed, text))
}

/// Errors: 406 for what is no short string.
fn name_argument(
    declare: &exchange::Declare,
    key: &str,
    topology: &Topology,
) -> Result<Option<Name>, Violation> {
    let Some(value) = declare.arguments.inner().get(key) else {
        return Ok(None);
    };
    let fault = match value {
        AMQPValue::LongString(text) if text.as_bytes().len() <= 255 => {
            return Ok(Some(Name::from(text.as_bytes())));
        }
        AMQPValue::LongString(_) => "value",
        other => &format!("type '{}'", type_name(other)),
    };
    let exchange = topology.exchange_text(declare.exchange.as_str().as_bytes());
    let text = format!("invalid {fault} for arg '{key}' in {exchange}");
    Err(Violation::channel(ReplyCode::PreconditionFailed, text))
}

fn exchange_binding(
    destination: &str,
    source: &str,
    routing_key: &str,
    arguments: &FieldTable,
) -> Result<(Name, Box<Binding>), Violation> {
    if destination.is_empty() || source.is_empty() {
        return Err(default_exchange());
    }
    let destination = Destination::Exchange(Name::from(destination));
    let binding = Binding {
        destination,
        routing_key: Name::from(routing_key),
        arguments: method::encode_table(arguments).into(),
    };
    Ok((Name::from(source), Box::new(binding)))
}

/// Errors: 403 for the default exchange and the predeclared ones.
fn changeable_exchange(name: &str, topology: &Topology) -> Result<Name, Violation> {
    match name {
        "" => Err(default_exchange()),
        name if name.starts_with("amq.") => {
            let exchange = topology.exchange_text(name.as_bytes());
            let text = format!("deletion of system {exchange} not allowed");
            Err(Violation::channel(ReplyCode::AccessRefused, text))
        }
        name => Ok(Name::from(name)),
    }
}
