//! Class queue: queues come and go, under names of their own or of ours.

use super::registrar::{Outcome, Then};
use super::requests::RequestKind;
use super::{Shard, Slot};
use crate::engine::address::{
    ChannelAddress, QueueAddress, ReplyName, VhostIndex, parse_reply_name,
};
use crate::engine::channel::Pending;
use crate::engine::name::Name;
use crate::engine::queue::Queue;
use crate::engine::rules::QueueArguments;
use crate::engine::topology::{Change, Changed, QueueAttributes, QueueEntry, Topology};
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::queue;

impl Shard {
    pub(super) fn queue_method(
        &mut self,
        slot: Slot,
        number: u16,
        method: queue::AMQPMethod,
    ) -> Result<(), Violation> {
        use queue::AMQPMethod;
        match method {
            AMQPMethod::Declare(declare) => self.declare_queue(slot, number, &declare),
            AMQPMethod::Bind(bind) => {
                let key = bind.routing_key.as_str();
                let names = (bind.queue.as_str(), bind.exchange.as_str(), key);
                let reply = AMQPMethod::BindOk(queue::BindOk {});
                let reply = (!bind.nowait).then(|| Box::new(AMQPClass::Queue(reply)));
                self.bind(slot, number, names, bind.arguments, reply, true)
            }
            AMQPMethod::Unbind(bind) => {
                let key = bind.routing_key.as_str();
                let names = (bind.queue.as_str(), bind.exchange.as_str(), key);
                let reply = AMQPMethod::UnbindOk(queue::UnbindOk {});
                let reply = Some(Box::new(AMQPClass::Queue(reply)));
                self.bind(slot, number, names, bind.arguments, reply, false)
            }
            AMQPMethod::Purge(purge) => {
                refuse_reply_name(purge.queue.as_str())?;
                let (name, queue) = self.resolve(slot, number, purge.queue.as_str())?;
                let pending = Pending::Purge {
                    no_wait: purge.nowait,
                };
                self.request((slot, number), pending, queue, name, RequestKind::Purge);
                Ok(())
            }
            AMQPMethod::Delete(delete) => self.delete(slot, number, &delete),
            _ => Err(out_of_order()),
        }
    }

    fn declare_queue(
        &mut self,
        slot: Slot,
        number: u16,
        declare: &queue::Declare,
    ) -> Result<(), Violation> {
        let asked = declare.queue.as_str();
        let no_wait = declare.nowait;
        if let Some(reply_name) = parse_reply_name(asked.as_bytes()) {
            return self.declare_reply_name(slot, number, (asked, reply_name), no_wait);
        }
        if declare.passive {
            // Not the latest queue: as RabbitMQ, which looks for one without a name.
            if asked.is_empty() {
                return Err(self.topology_of(slot).no_queue(b""));
            }
            let (name, queue) = self.resolve(slot, number, asked)?;
            self.inspect(slot, number, (name, queue), no_wait, None);
            return Ok(());
        }
        let arguments = queue_arguments(declare, self.topology_of(slot))?;
        let connection = self.connections[slot as usize].address;
        let attributes = QueueAttributes {
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            exclusive: declare.exclusive.then_some(connection),
            arguments,
        };
        if asked.is_empty() {
            return self.declare_server_named(slot, number, attributes, no_wait);
        }
        let name = Name::from(asked);
        let vhost = self.vhost_of(slot);
        let topology = self.topology(vhost);
        if let Some(entry) = topology.queue(name.as_bytes()) {
            if !entry.attributes.is_locked_for(connection) {
                topology.check_queue(&name, &entry.attributes, &attributes)?;
            }
            let queue = entry.address;
            self.inspect(slot, number, (name, queue), no_wait, Some(attributes));
            return Ok(());
        }
        if let Some(queue) = self.sealer.open_queue(name.as_bytes(), vhost) {
            self.inspect(slot, number, (name, queue), no_wait, None);
            return Ok(());
        }
        if name.as_bytes().starts_with(b"amq.") {
            return Err(reserved("queue", &name));
        }
        self.declare_named(slot, number, name, attributes, no_wait);
        Ok(())
    }

    pub(super) fn declare_named(
        &mut self,
        slot: Slot,
        number: u16,
        name: Name,
        attributes: QueueAttributes,
        no_wait: bool,
    ) {
        let vhost = self.vhost_of(slot);
        let queue = self.create_queue(vhost, Some(name.clone()), attributes, true);
        self.propose_queue(slot, number, (name, queue), no_wait);
    }

    /// Exclusive ones are nobody else's business: no other shard hears of them.
    fn declare_server_named(
        &mut self,
        slot: Slot,
        number: u16,
        attributes: QueueAttributes,
        no_wait: bool,
    ) -> Result<(), Violation> {
        let count_max = self.settings.limits.queue_count_max;
        if self.queues.len() >= count_max {
            let text = format!("more than {count_max} queues on a shard");
            return Err(Violation::channel(ReplyCode::ResourceError, text));
        }
        // Publishers on other shards must know of a queue that may refuse their messages.
        let is_listed = attributes.exclusive.is_none() || attributes.may_reject();
        let queue = self.create_queue(self.vhost_of(slot), None, attributes, is_listed);
        let name = self.queues[queue.index as usize].name.clone();
        if is_listed {
            self.propose_queue(slot, number, (name, queue), no_wait);
        } else {
            let channel = self.connections[slot as usize].channel_mut(number);
            let to = channel.expect("open, as the caller has checked").address;
            self.keep_exclusive(to, queue);
            self.schedule_queue(queue);
            self.declare_ok(to, &name, (0, 0), no_wait);
        }
        Ok(())
    }

    /// Makes a local queue that nobody knows of yet. `name`: `None` for a server-named one.
    fn create_queue(
        &mut self,
        vhost: VhostIndex,
        name: Option<Name>,
        attributes: QueueAttributes,
        is_listed: bool,
    ) -> QueueAddress {
        let generation = self.take_generation();
        let entry = self.queues.vacant_entry();
        let index = u32::try_from(entry.key()).expect("memory ends before the keys do");
        let address = QueueAddress {
            shard: self.index,
            index,
            generation,
        };
        let name = name.unwrap_or_else(|| self.sealer.queue_name(address, vhost));
        let topology = &self.topologies[usize::from(vhost.0)];
        let rules = topology.rules_for(&name, &attributes, is_listed);
        let mut queue = Queue::new((name, vhost), address, attributes, rules, self.now);
        queue.is_listed = is_listed;
        entry.insert(queue);
        address
    }

    fn propose_queue(
        &mut self,
        slot: Slot,
        number: u16,
        (name, queue): (Name, QueueAddress),
        no_wait: bool,
    ) {
        let attributes = self.queues[queue.index as usize].attributes.clone();
        let entry = QueueEntry {
            address: queue,
            attributes,
        };
        let change = Change::DeclareQueue {
            name: name.clone(),
            entry,
        };
        self.propose_for(
            slot,
            number,
            change,
            Then::QueueDeclared {
                name,
                queue,
                no_wait,
            },
        );
    }

    /// The registrar has spoken on a queue that we made ready. Others may have heard before us, so
    /// it may be gone again.
    pub(super) fn queue_declared(
        &mut self,
        origin: Option<ChannelAddress>,
        outcome: Outcome,
        (name, queue): (Name, QueueAddress),
        no_wait: bool,
    ) {
        let now = self.now;
        let attributes = self.queue_mut(queue).map(|queue| {
            queue.last_used = now;
            queue.attributes.clone()
        });
        let is_exclusive = attributes.as_ref().is_some_and(|it| it.exclusive.is_some());
        // Its time without use begins here: what nobody knows of may be withdrawn, but not end.
        if matches!(outcome, Ok(Changed::Applied | Changed::Unchanged)) {
            self.schedule_queue(queue);
        }
        match (outcome, origin) {
            (Ok(Changed::Applied | Changed::Unchanged), Some(origin)) => {
                if is_exclusive {
                    self.keep_exclusive(origin, queue);
                }
                self.declare_ok(origin, &name, (0, 0), no_wait);
            }
            // Its declarer is gone: an exclusive queue goes too, another one stays.
            (Ok(Changed::Applied | Changed::Unchanged), None) => {
                if is_exclusive {
                    self.delete_queue(queue, None);
                }
            }
            (Ok(Changed::Exists(entry)), origin) => {
                self.withdraw(queue);
                if let Some(origin) = origin {
                    let found = (name, entry.address);
                    self.inspect(origin.slot, origin.channel, found, no_wait, attributes);
                }
            }
            (Err(violation), origin) => {
                self.withdraw(queue);
                if let Some(origin) = origin {
                    self.fail_late(origin, violation);
                }
            }
        }
    }

    /// A queue that was made ready and is not wanted; nobody has heard of it.
    fn withdraw(&mut self, queue: QueueAddress) {
        if self.queue(queue).is_none() {
            return;
        }
        let withdrawn = self.queues.remove(queue.index as usize);
        self.timers.cancel_queue(queue.index, withdrawn.alarm);
    }

    fn keep_exclusive(&mut self, owner: ChannelAddress, queue: QueueAddress) {
        self.connections[owner.slot as usize]
            .exclusive_queues
            .push(queue);
    }

    pub(super) fn declare_ok(
        &mut self,
        to: ChannelAddress,
        name: &Name,
        (message_count, consumer_count): (usize, usize),
        no_wait: bool,
    ) {
        let Some(channel) = self.channel_mut(to) else {
            return;
        };
        if parse_reply_name(name.as_bytes()).is_none() {
            channel.latest_queue = name.clone();
        }
        if no_wait {
            return;
        }
        let declare_ok = queue::AMQPMethod::DeclareOk(queue::DeclareOk {
            queue: name.to_string().into(),
            message_count: u32::try_from(message_count).unwrap_or(u32::MAX),
            consumer_count: u32::try_from(consumer_count).unwrap_or(u32::MAX),
        });
        self.send(to.slot, to.channel, AMQPClass::Queue(declare_ok));
    }

    /// queue.declare of what exists: its counts, if the asker may use it. `declared`: what to
    /// declare anew if it turns out to be gone.
    fn inspect(
        &mut self,
        slot: Slot,
        number: u16,
        (name, queue): (Name, QueueAddress),
        no_wait: bool,
        declared: Option<QueueAttributes>,
    ) {
        let pending = Pending::DeclareQueue {
            name: name.clone(),
            no_wait,
            declared,
        };
        self.request((slot, number), pending, queue, name, RequestKind::Inspect);
    }

    /// queue.declare of a direct reply-to name asks whether somebody waits for replies there.
    fn declare_reply_name(
        &mut self,
        slot: Slot,
        number: u16,
        (asked, reply_name): (&str, ReplyName<'_>),
        no_wait: bool,
    ) -> Result<(), Violation> {
        let channel = self.connections[slot as usize].channel_mut(number);
        let origin = channel.expect("open, as the caller has checked").address;
        let name = Name::from(asked);
        let ReplyName::Full { opaque } = reply_name else {
            self.declare_ok(origin, &name, (0, 1), no_wait);
            return Ok(());
        };
        let to = self.sealer.open_reply(opaque);
        let to = to.ok_or_else(|| self.topology_of(slot).no_queue(asked.as_bytes()))?;
        // Not a queue, but the question travels like one for a queue.
        let place = QueueAddress {
            shard: to.channel.shard,
            index: 0,
            generation: 0,
        };
        let pending = Pending::DeclareReply {
            name: name.clone(),
            no_wait,
        };
        self.request(
            (slot, number),
            pending,
            place,
            name,
            RequestKind::InspectReply { to },
        );
        Ok(())
    }

    fn delete(&mut self, slot: Slot, number: u16, delete: &queue::Delete) -> Result<(), Violation> {
        refuse_reply_name(delete.queue.as_str())?;
        let no_wait = delete.nowait;
        match self.resolve(slot, number, delete.queue.as_str()) {
            Ok((name, queue)) => {
                let (if_unused, if_empty) = (delete.if_unused, delete.if_empty);
                let kind = RequestKind::Delete {
                    if_unused,
                    if_empty,
                };
                let pending = Pending::DeleteQueue { no_wait };
                self.request((slot, number), pending, queue, name, kind);
            }
            // As in RabbitMQ: what is not there has been deleted.
            Err(_) if !delete.queue.as_str().is_empty() => {
                self.delete_ok(slot, number, 0, no_wait);
            }
            Err(violation) => return Err(violation),
        }
        Ok(())
    }

    pub(super) fn delete_ok(&mut self, slot: Slot, number: u16, count: usize, no_wait: bool) {
        if !no_wait {
            let message_count = u32::try_from(count).unwrap_or(u32::MAX);
            let delete_ok = queue::AMQPMethod::DeleteOk(queue::DeleteOk { message_count });
            self.send(slot, number, AMQPClass::Queue(delete_ok));
        }
    }

    /// A queue's name and place. An empty name is the channel's latest queue.
    /// Errors: 404.
    pub(super) fn resolve(
        &mut self,
        slot: Slot,
        number: u16,
        asked: &str,
    ) -> Result<(Name, QueueAddress), Violation> {
        let name = match asked {
            "" => {
                let channel = self.connections[slot as usize].channel(number);
                channel
                    .expect("open, as the caller has checked")
                    .latest_queue
                    .clone()
            }
            _ => Name::from(asked),
        };
        if name.is_empty() {
            let text = "no previously declared queue";
            return Err(Violation::channel(ReplyCode::NotFound, text));
        }
        let vhost = self.vhost_of(slot);
        match self.address_of(vhost, name.as_bytes()) {
            Some(address) => Ok((name, address)),
            None => Err(self.topology(vhost).no_queue(name.as_bytes())),
        }
    }
}

/// Errors: 406.
fn queue_arguments(
    declare: &queue::Declare,
    topology: &Topology,
) -> Result<Option<Box<QueueArguments>>, Violation> {
    if declare.arguments.inner().is_empty() {
        return Ok(None);
    }
    let queue = topology.queue_text(declare.queue.as_str().as_bytes());
    match QueueArguments::parse(&declare.arguments, &queue) {
        Ok(arguments) => Ok(arguments.map(Box::new)),
        Err(text) => Err(Violation::channel(ReplyCode::PreconditionFailed, text)),
    }
}

pub(super) fn reserved(what: &str, name: &Name) -> Violation {
    let text = format!("{what} name '{name}' contains reserved prefix 'amq.*'");
    Violation::channel(ReplyCode::AccessRefused, text)
}

/// What only servers say, in RabbitMQ's words.
pub(super) fn out_of_order() -> Violation {
    Violation::connection(ReplyCode::CommandInvalid, "unimplemented method")
}

/// A reply name is no queue: it cannot be bound, purged or deleted.
pub(super) fn refuse_reply_name(name: &str) -> Result<(), Violation> {
    if parse_reply_name(name.as_bytes()).is_some() {
        let text = format!("'{name}' is a direct reply-to name");
        return Err(Violation::channel(ReplyCode::AccessRefused, text));
    }
    Ok(())
}
