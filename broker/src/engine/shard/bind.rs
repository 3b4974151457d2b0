//! Bindings of queues to exchanges.

use super::declare::refuse_reply_name;
use super::registrar::Then;
use super::requests::RequestKind;
use super::{Shard, Slot};
use crate::engine::address::VhostIndex;
use crate::engine::channel::Pending;
use crate::engine::exchange::{Binding, Destination};
use crate::engine::name::Name;
use crate::engine::topology::Change;
use crate::engine::violation::Violation;
use crate::engine::wire::method;
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::{BINDING_ARGUMENT_COUNT_MAX, BINDING_ARGUMENTS_LEN_MAX};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::types::FieldTable;

impl Shard {
    pub(super) fn bind(
        &mut self,
        slot: Slot,
        number: u16,
        (queue, exchange, key): (&str, &str, &str),
        arguments: FieldTable,
        reply: Option<Box<AMQPClass>>,
        is_bind: bool,
    ) -> Result<(), Violation> {
        refuse_reply_name(queue)?;
        let shortcut = queue.is_empty() && key.is_empty();
        let resolved = self.resolve(slot, number, queue);
        if let (Err(violation), "") = (&resolved, queue) {
            return Err(violation.clone());
        }
        if exchange.is_empty() {
            return Err(default_exchange());
        }
        let source = Name::from(exchange);
        if is_bind {
            self.topology_of(slot).expect_exchange(&source)?;
        }
        let (name, queue) = match resolved {
            Ok(resolved) => resolved,
            Err(violation) if is_bind => return Err(violation),
            Err(_) => {
                self.unbound_already(slot, number, reply);
                return Ok(());
            }
        };
        let binding = Binding {
            destination: Destination::Queue(queue),
            routing_key: if shortcut {
                name.clone()
            } else {
                Name::from(key)
            },
            arguments: method::encode_table(&arguments).into(),
        };
        if is_bind {
            check_binding_arguments(&arguments, &binding)?;
        } else if !self.topology_of(slot).has_binding(&source, &binding) {
            self.unbound_already(slot, number, reply);
            return Ok(());
        }
        let connection = self.connections[slot as usize].address;
        let topology = self.topology_of(slot);
        let exclusive = match topology.queue(name.as_bytes()) {
            Some(entry) => entry.attributes.exclusive,
            None if queue.shard == self.index => {
                let queue = self.queue(queue);
                queue
                    .ok_or_else(|| topology.no_queue(name.as_bytes()))?
                    .attributes
                    .exclusive
            }
            // A server-named exclusive queue on another shard is not ours: which error it is,
            // only that shard knows.
            None => {
                self.request(
                    (slot, number),
                    Pending::Refusal,
                    queue,
                    name,
                    RequestKind::Inspect,
                );
                return Ok(());
            }
        };
        if exclusive.is_some_and(|owner| owner != connection) {
            return Err(topology.locked_queue(name.as_bytes()));
        }
        let binding = Box::new(binding);
        let change = match is_bind {
            true => Change::Bind { source, binding },
            false => Change::Unbind { source, binding },
        };
        self.propose_for(slot, number, change, Then::Reply(reply));
        Ok(())
    }

    /// What is not there is unbound. Whoever was told of a binding has it in the copy of its shard.
    pub(super) fn unbound_already(
        &mut self,
        slot: Slot,
        number: u16,
        reply: Option<Box<AMQPClass>>,
    ) {
        if let Some(reply) = reply {
            self.send(slot, number, *reply);
        }
    }

    /// A binding may have been on its way while its queue was deleted: nobody else would remove it.
    pub(super) fn unbind_if_gone(&mut self, vhost: VhostIndex, change: &Change) {
        if let Change::Bind { binding, .. } = change
            && let Destination::Queue(address) = binding.destination
            && address.shard == self.index
            && self.queue_mut(address).is_none()
        {
            let change = Change::DeleteQueue {
                name: None,
                address,
            };
            self.propose(vhost, change, None, Then::Nothing);
        }
    }
}

/// Errors: 406 for what would cost every message, or every shard, too much.
pub(super) fn check_binding_arguments(
    arguments: &FieldTable,
    binding: &Binding,
) -> Result<(), Violation> {
    let refused = |text| Err(Violation::channel(ReplyCode::PreconditionFailed, text));
    let count = arguments.inner().len();
    if count > BINDING_ARGUMENT_COUNT_MAX {
        return refused(format!(
            "more than {BINDING_ARGUMENT_COUNT_MAX} binding arguments"
        ));
    }
    if binding.arguments.len() > BINDING_ARGUMENTS_LEN_MAX {
        let text = format!("binding arguments of more than {BINDING_ARGUMENTS_LEN_MAX} octets");
        return refused(text);
    }
    Ok(())
}

pub(super) fn default_exchange() -> Violation {
    let text = "operation not permitted on the default exchange";
    Violation::channel(ReplyCode::AccessRefused, text)
}
