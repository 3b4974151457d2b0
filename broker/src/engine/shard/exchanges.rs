//! Class exchange: exchanges come, are bound to each other, and go.

use super::bind::{check_binding_arguments, default_exchange};
use super::declare::{out_of_order, reserved};
use super::registrar::Then;
use super::{Shard, Slot};
use crate::engine::exchange::{Binding, Destination, ExchangeAttributes, ExchangeType};
use crate::engine::name::Name;
use crate::engine::topology::Change;
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::exchange;
use amq_protocol::types::FieldTable;

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
                let name = changeable_exchange(delete.exchange.as_str())?;
                let change = Change::DeleteExchange {
                    name,
                    if_unused: delete.if_unused,
                };
                (change, delete.nowait, AMQPMethod::DeleteOk(DeleteOk {}))
            }
            Bind(bind) => {
                let (destination, source) = (bind.destination.as_str(), bind.source.as_str());
                let (source, binding) = exchange_binding(
                    destination,
                    source,
                    bind.routing_key.as_str(),
                    bind.arguments,
                )?;
                (
                    Change::Bind { source, binding },
                    bind.nowait,
                    AMQPMethod::BindOk(BindOk {}),
                )
            }
            Unbind(bind) => {
                let (destination, source) = (bind.destination.as_str(), bind.source.as_str());
                let (source, binding) = exchange_binding(
                    destination,
                    source,
                    bind.routing_key.as_str(),
                    bind.arguments,
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
        let attributes = exchange_attributes(declare)?;
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

fn exchange_attributes(declare: &exchange::Declare) -> Result<ExchangeAttributes, Violation> {
    let exchange_type = ExchangeType::parse(declare.kind.as_str()).ok_or_else(|| {
        let text = format!("invalid exchange type '{}'", declare.kind);
        Violation::connection(ReplyCode::CommandInvalid, text)
    })?;
    let is_extension = |key: &str| key == "alternate-exchange" || key.starts_with("x-");
    if let Some((key, _)) = declare
        .arguments
        .into_iter()
        .find(|(key, _)| is_extension(key.as_str()))
    {
        let text = format!("exchange argument '{key}' is not supported");
        return Err(Violation::channel(ReplyCode::PreconditionFailed, text));
    }
    Ok(ExchangeAttributes {
        exchange_type,
        durable: declare.durable,
        auto_delete: declare.auto_delete,
        internal: declare.internal,
    })
}

fn exchange_binding(
    destination: &str,
    source: &str,
    routing_key: &str,
    arguments: FieldTable,
) -> Result<(Name, Box<Binding>), Violation> {
    if destination.is_empty() || source.is_empty() {
        return Err(default_exchange());
    }
    check_binding_arguments(&arguments)?;
    let destination = Destination::Exchange(Name::from(destination));
    let binding = Binding {
        destination,
        routing_key: Name::from(routing_key),
        arguments,
    };
    Ok((Name::from(source), Box::new(binding)))
}

/// Errors: 403 for the default exchange and the predeclared ones.
fn changeable_exchange(name: &str) -> Result<Name, Violation> {
    match name {
        "" => Err(default_exchange()),
        name if name.starts_with("amq.") => Err(reserved("exchange", &Name::from(name))),
        name => Ok(Name::from(name)),
    }
}
