//! Class tx: publishes and settlements that take effect together at tx.commit, or not at all.
//!
//! Each shard concerned applies its part as a whole, and tx.commit-ok is said when all have:
//! whoever hears of it finds the messages in their queues. The connection executes nothing
//! meanwhile.

use super::declare::out_of_order;
use super::mail::Mail;
use super::publish::Fate;
use super::{Shard, Slot};
use crate::engine::address::{
    ChannelAddress, ConnectionAddress, QueueAddress, ReplyAddress, ReplyName, VhostIndex,
    parse_reply_name,
};
use crate::engine::channel::{Channel, Commit, Delivery, KeptPublish, Pending, Route};
use crate::engine::exchange::Routing;
use crate::engine::message::{Content, Message};
use crate::engine::name::Name;
use crate::engine::queue::Settlement;
use crate::engine::violation::Violation;
use crate::engine::wire::properties::Properties;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::tx::{AMQPMethod, CommitOk, RollbackOk, SelectOk};
use std::collections::BTreeMap;
use std::iter;

/// What one shard has to do for a transaction: publishes, then settlements, as in RabbitMQ.
#[derive(Debug)]
pub struct CommitPart {
    publisher: ConnectionAddress,
    publishes: Vec<PartPublish>,
    settlements: Vec<(QueueAddress, u32, Settlement)>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct PartOutcome {
    /// Mandatory publishes that found somebody, by their places in the transaction.
    reached: Vec<u32>,
    /// A full queue did not take what was for it.
    is_refused: bool,
}

#[derive(Debug)]
struct PartPublish {
    /// Its place in the transaction if the publisher must hear whether it reached anybody.
    mandatory: Option<u32>,
    target: Target,
    message: Message,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Queue(QueueAddress),
    /// Direct reply-to.
    Requester(ReplyAddress),
}

impl Target {
    fn shard(self) -> u16 {
        match self {
            Target::Queue(queue) => queue.shard,
            Target::Requester(to) => to.channel.shard,
        }
    }
}

impl CommitPart {
    fn new(publisher: ConnectionAddress) -> CommitPart {
        CommitPart {
            publisher,
            publishes: Vec::new(),
            settlements: Vec::new(),
        }
    }
}

impl Shard {
    pub(super) fn tx_method(
        &mut self,
        slot: Slot,
        number: u16,
        method: AMQPMethod,
    ) -> Result<(), Violation> {
        let refused = |text| Err(Violation::channel(ReplyCode::PreconditionFailed, text));
        let channel = self.connections[slot as usize].channel_mut(number);
        let channel: &mut Channel = channel.expect("open, as the caller has checked");
        let answer = match method {
            AMQPMethod::Select(_) => {
                if !channel.publishing.select_transaction() {
                    return refused("cannot switch from confirm to tx mode");
                }
                AMQPMethod::SelectOk(SelectOk {})
            }
            AMQPMethod::Commit(_) | AMQPMethod::Rollback(_)
                if channel.publishing.transaction().is_none() =>
            {
                return refused("channel is not transactional");
            }
            AMQPMethod::Commit(_) => {
                self.commit(slot, number);
                return Ok(());
            }
            AMQPMethod::Rollback(_) => {
                channel.roll_back();
                AMQPMethod::RollbackOk(RollbackOk {})
            }
            _ => return Err(out_of_order()),
        };
        self.send(slot, number, AMQPClass::Tx(answer));
        Ok(())
    }

    /// A publish on a transactional channel. Errors: 404, 403, 506.
    #[cold] // to most: not into the way of those without a transaction
    pub(super) fn publish_later(
        &mut self,
        (slot, number): (Slot, u16),
        content: &Content<'_>,
        (copies, properties): (&[&[u8]], &Properties<'_>),
        mandatory: bool,
    ) -> Result<(), Violation> {
        let kept_copies = || copies.iter().map(|key| Name::from(*key)).collect();
        let route = match content.exchange {
            b"" => Route::Default {
                copies: kept_copies(),
            },
            exchange => {
                let routing = Routing {
                    routing_key: content.routing_key,
                    copies,
                    properties,
                };
                let mut queues = Vec::new();
                match self.find_queues(self.vhost_of(slot), exchange, &routing, &mut queues)? {
                    None => Route::Queues(queues),
                    Some(delay) => Route::Delayed {
                        delay,
                        copies: kept_copies(),
                    },
                }
            }
        };
        let publish = KeptPublish {
            message: Message::from(content),
            mandatory,
            route,
        };
        let connection = &mut self.connections[slot as usize];
        connection.check_transactions(publish.len(), &self.settings.limits)?;
        let channel = connection.channel_mut(number);
        let transaction = channel.and_then(|channel| channel.publishing.transaction_mut());
        let transaction = transaction.expect("transactional, as the caller has checked");
        transaction.keep(publish);
        Ok(())
    }

    fn commit(&mut self, slot: Slot, number: u16) {
        let connection = &mut self.connections[slot as usize];
        let publisher = connection.address;
        let channel = connection.channel_mut(number);
        let channel: &mut Channel = channel.expect("open, as the caller has checked");
        let to = channel.address;
        let transaction = channel.publishing.transaction_mut();
        let transaction = transaction.expect("transactional, as the caller has checked");
        let (publishes, settlements) = transaction.take();
        let counted = settlements
            .iter()
            .filter(|(delivery, _)| delivery.is_counted);
        let counted_count = u32::try_from(counted.count()).expect("all were counted in 32 bits");
        let vhost = connection.vhost;
        for (delivery, settlement) in &settlements {
            if *settlement != Settlement::Done {
                self.returned(slot, number, delivery.tag);
            }
        }
        let mut parts = BTreeMap::new();
        let unrouted = self.split_publishes((publisher, vhost), publishes, &mut parts);
        split_settlements(publisher, settlements, &mut parts);
        let here = parts.remove(&self.index);
        let missing_count = parts.len() + usize::from(here.is_some());
        let connection = &mut self.connections[slot as usize];
        connection.waits.answer = true;
        let channel = connection.channel_mut(number).expect("looked up above");
        channel.pending = Some(Pending::Commit(Box::new(Commit {
            missing_count,
            unrouted,
            is_refused: false,
            counted_count,
        })));
        for (shard, part) in parts {
            let part = Box::new(part);
            self.neighbours
                .send(shard, Mail::Commit { origin: to, part });
            self.wait_for_outbox(slot, shard);
        }
        match here {
            Some(part) => {
                let outcome = self.apply_part(part);
                self.committed(to, &outcome);
            }
            None if missing_count == 0 => self.conclude_commit(to),
            None => {}
        }
    }

    /// Deals publishes out to the shards of those they are for; gives back the mandatory ones.
    fn split_publishes(
        &mut self,
        (publisher, vhost): (ConnectionAddress, VhostIndex),
        publishes: Vec<KeptPublish>,
        parts: &mut BTreeMap<u16, CommitPart>,
    ) -> BTreeMap<u32, Message> {
        let mut unrouted = BTreeMap::new();
        for (place, publish) in (0..).zip(publishes) {
            let KeptPublish {
                message,
                mandatory,
                route,
            } = publish;
            let route = match route {
                Route::Delayed { delay, copies } => {
                    self.hold_back(vhost, message, copies, delay);
                    self.kept_here(publisher.slot);
                    continue;
                }
                other => other,
            };
            let mandatory = mandatory.then_some(place);
            let mut add = |target: Target| {
                let part = parts.entry(target.shard());
                let part = part.or_insert_with(|| CommitPart::new(publisher));
                part.publishes.push(PartPublish {
                    mandatory,
                    target,
                    message: message.clone(),
                });
            };
            match route {
                Route::Default { copies } => {
                    let routing_key = message.content().routing_key;
                    let keys = copies.iter().map(Name::as_bytes);
                    let keys = keys.filter(|key| *key != routing_key);
                    for key in iter::once(routing_key).chain(keys) {
                        let target = self.default_target(vhost, key);
                        if let Some(Target::Requester(to)) = target
                            && let Some(token) = to.token
                        {
                            self.served(publisher.slot, token.call);
                        }
                        target.into_iter().for_each(&mut add);
                    }
                }
                Route::Queues(queues) => queues.into_iter().map(Target::Queue).for_each(&mut add),
                Route::Delayed { .. } => unreachable!("held back above"),
            }
            if let Some(place) = mandatory {
                unrouted.insert(place, message);
            }
        }
        unrouted
    }

    /// Whom a routing key of the default exchange names at this moment.
    fn default_target(&self, vhost: VhostIndex, routing_key: &[u8]) -> Option<Target> {
        match parse_reply_name(routing_key) {
            Some(ReplyName::Full { opaque }) => {
                self.sealer.open_reply(opaque).map(Target::Requester)
            }
            Some(ReplyName::Bare) => None,
            None => self.address_of(vhost, routing_key).map(Target::Queue),
        }
    }

    /// A part of a transaction on another shard.
    #[cold]
    pub(super) fn commit_part(&mut self, origin: ChannelAddress, part: CommitPart) {
        let outcome = self.apply_part(part);
        let committed = Mail::Committed {
            to: origin,
            outcome,
        };
        self.neighbours.send(origin.shard, committed);
    }

    fn apply_part(&mut self, part: CommitPart) -> PartOutcome {
        let mut outcome = PartOutcome::default();
        for publish in part.publishes {
            let has_reached = match publish.target {
                Target::Queue(queue) => {
                    let fate = self.enqueue_for(part.publisher, queue, &publish.message, false);
                    outcome.is_refused |= fate == Fate::Rejected;
                    fate != Fate::Unroutable
                }
                Target::Requester(ReplyAddress { channel, token }) => {
                    let content = publish.message.content();
                    match token {
                        Some(token) => self.take_call_reply(channel, token, None, &content),
                        None => self.hand_reply(channel, &content),
                    }
                }
            };
            if has_reached {
                outcome.reached.extend(publish.mandatory);
            }
        }
        for (queue, unacked, settlement) in part.settlements {
            self.settle_here(queue, unacked, settlement);
        }
        outcome
    }

    /// One more shard has applied its part.
    #[cold]
    pub(super) fn committed(&mut self, to: ChannelAddress, outcome: &PartOutcome) {
        let Some(channel) = self.channel_mut(to) else {
            return;
        };
        let Some(Pending::Commit(commit)) = &mut channel.pending else {
            unreachable!("nothing else is asked before all parts are applied");
        };
        for place in &outcome.reached {
            commit.unrouted.remove(place);
        }
        commit.is_refused |= outcome.is_refused;
        commit.missing_count -= 1;
        if commit.missing_count == 0 {
            self.conclude_commit(to);
        }
    }

    fn conclude_commit(&mut self, to: ChannelAddress) {
        let Some(channel) = self.channel_mut(to) else {
            return;
        };
        let Some(Pending::Commit(commit)) = channel.pending.take() else {
            unreachable!("the caller has just looked");
        };
        self.connections[to.slot as usize].waits.answer = false;
        // Only here, so that what was requeued is back before the room for it is used.
        self.give_back_room(to.slot, to.channel, commit.counted_count);
        for message in commit.unrouted.values() {
            self.return_unroutable(to.slot, to.channel, &message.content());
        }
        if commit.is_refused {
            // RabbitMQ's words for it. What was not refused stays done.
            let text = "partial tx completion";
            return self.fail_late(to, Violation::channel(ReplyCode::PreconditionFailed, text));
        }
        let commit_ok = AMQPMethod::CommitOk(CommitOk {});
        self.send(to.slot, to.channel, AMQPClass::Tx(commit_ok));
    }
}

/// Deals settlements out to the shards of their queues.
fn split_settlements(
    publisher: ConnectionAddress,
    settlements: Vec<(Delivery, Settlement)>,
    parts: &mut BTreeMap<u16, CommitPart>,
) {
    for (delivery, settlement) in settlements {
        let part = parts.entry(delivery.queue.shard);
        let part = part.or_insert_with(|| CommitPart::new(publisher));
        let settlement = (delivery.queue, delivery.unacked, settlement);
        part.settlements.push(settlement);
    }
}
