//! How a change of the names that all shards know comes about.
//!
//! The registrar shard checks and orders changes, all others apply them and say so; only then is
//! the client answered, so whoever heard of a name can use it on any shard.

use super::mail::Mail;
use super::requests::DeletedQueue;
use super::{Shard, Slot};
use crate::engine::address::{ChannelAddress, QueueAddress, VhostIndex};
use crate::engine::channel::Pending;
use crate::engine::name::Name;
use crate::engine::topology::{Change, Changed};
use crate::engine::violation::Violation;
use amq_protocol::protocol::AMQPClass;
use slab::Slab;
use std::collections::BTreeMap;

const REGISTRAR: u16 = 0;

pub type Outcome = Result<Changed, Violation>;

#[derive(Debug, Default)]
pub(super) struct Registrar {
    /// Ours, until we hear of their outcome.
    proposals: Slab<Proposal>,
    /// Registrar only: changes that not all shards have applied yet, by version.
    spreading: BTreeMap<u64, Spreading>,
    latest_version: u64,
}

#[derive(Debug)]
struct Proposal {
    /// The channel that waits for it, if one does.
    origin: Option<ChannelAddress>,
    then: Then,
}

/// What to do once a change is known everywhere.
#[derive(Debug)]
pub(super) enum Then {
    /// Answer with this method; `None`: the client did not want an answer.
    Reply(Option<Box<AMQPClass>>),
    /// The queue was made ready before; answer queue.declare.
    QueueDeclared {
        name: Name,
        queue: QueueAddress,
        no_wait: bool,
    },
    QueueDeleted(Box<DeletedQueue>),
    Nothing,
}

#[derive(Debug)]
struct Spreading {
    shard: u16,
    proposal: u32,
    /// Shards that have not applied it yet.
    missing_count: usize,
}

impl Registrar {
    /// Proposals whose outcome is not known, and changes that not all shards have applied.
    pub(super) fn pending_count(&self) -> usize {
        self.proposals.len() + self.spreading.len()
    }
}

impl Shard {
    /// A change that a local channel asked for; its connection waits for the outcome.
    pub(super) fn propose_for(&mut self, slot: Slot, number: u16, change: Change, then: Then) {
        let connection = &mut self.connections[slot as usize];
        connection.waits.answer = true;
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        channel.pending = Some(Pending::Change);
        let origin = channel.address;
        let vhost = connection.vhost;
        self.propose(vhost, change, Some(origin), then);
    }

    pub(super) fn propose(
        &mut self,
        vhost: VhostIndex,
        change: Change,
        origin: Option<ChannelAddress>,
        then: Then,
    ) {
        let key = self.registrar.proposals.insert(Proposal { origin, then });
        let proposal = u32::try_from(key).expect("at most a few per connection");
        if self.index == REGISTRAR {
            self.register((self.index, proposal), vhost, change);
        } else {
            let change = Box::new(change);
            self.neighbours.send(
                REGISTRAR,
                Mail::Propose {
                    proposal,
                    vhost,
                    change,
                },
            );
        }
    }

    /// Registrar: checks a change and passes it on to all.
    pub(super) fn register(
        &mut self,
        (shard, proposal): (u16, u32),
        vhost: VhostIndex,
        change: Change,
    ) {
        let delaying = self.delaying_exchange_in(vhost, &change);
        let outcome = self.topologies[usize::from(vhost.0)].apply(&change);
        let others = self.neighbours.shard_count() - 1;
        if outcome == Ok(Changed::Applied) {
            self.follow_change(vhost, &change, delaying);
        }
        if outcome != Ok(Changed::Applied) || others == 0 {
            return self.conclude(shard, proposal, outcome);
        }
        self.registrar.latest_version += 1;
        let version = self.registrar.latest_version;
        let spreading = Spreading {
            shard,
            proposal,
            missing_count: others,
        };
        self.registrar.spreading.insert(version, spreading);
        self.neighbours.send_all(|| Mail::Apply {
            version,
            vhost,
            change: Box::new(change.clone()),
        });
        self.unbind_if_gone(vhost, &change);
    }

    pub(super) fn apply(
        &mut self,
        (registrar, version): (u16, u64),
        vhost: VhostIndex,
        change: &Change,
    ) {
        let delaying = self.delaying_exchange_in(vhost, change);
        let applied = self.topologies[usize::from(vhost.0)].apply(change);
        assert!(
            applied == Ok(Changed::Applied),
            "all copies go through the same states"
        );
        self.neighbours.send(registrar, Mail::Applied { version });
        self.follow_change(vhost, change, delaying);
        self.unbind_if_gone(vhost, change);
    }

    /// The exchange that a change deletes, if it may hold messages back.
    fn delaying_exchange_in(&self, vhost: VhostIndex, change: &Change) -> Option<Name> {
        let Change::DeleteExchange { name, .. } = change else {
            return None;
        };
        let exchange = self.topology(vhost).exchange(name.as_bytes());
        let is_delayed = exchange.is_some_and(|exchange| exchange.attributes.is_delayed);
        is_delayed.then(|| name.clone())
    }

    /// This shard's part in a change that has been applied.
    fn follow_change(&mut self, vhost: VhostIndex, change: &Change, delaying: Option<Name>) {
        if change.is_of_policies() {
            self.follow_policies(vhost);
        }
        if let Some(deleted) = delaying {
            self.drop_delayed(vhost, deleted.as_bytes());
        }
    }

    /// Registrar: one more shard has applied a change.
    pub(super) fn applied(&mut self, version: u64) {
        let spreading = self.registrar.spreading.get_mut(&version);
        let spreading = spreading.expect("each shard applies a change once");
        spreading.missing_count -= 1;
        if spreading.missing_count == 0 {
            let (shard, proposal) = (spreading.shard, spreading.proposal);
            self.registrar.spreading.remove(&version);
            self.conclude(shard, proposal, Ok(Changed::Applied));
        }
    }

    fn conclude(&mut self, shard: u16, proposal: u32, outcome: Outcome) {
        if shard == self.index {
            self.handle_outcome(proposal, outcome);
        } else {
            let outcome = Box::new(outcome);
            self.neighbours
                .send(shard, Mail::Outcome { proposal, outcome });
        }
    }

    /// Back at the proposer, perhaps within the very call that proposed.
    pub(super) fn handle_outcome(&mut self, proposal: u32, outcome: Outcome) {
        let Proposal { origin, then } = self.registrar.proposals.remove(proposal as usize);
        let origin = origin.filter(|origin| self.channel_mut(*origin).is_some());
        if let Some(origin) = origin {
            let connection = &mut self.connections[origin.slot as usize];
            connection.waits.answer = false;
            if let Some(channel) = connection.channel_mut(origin.channel) {
                channel.pending = None;
            }
        }
        match then {
            Then::Nothing => {}
            Then::Reply(reply) => self.answer_change(origin, outcome, reply),
            Then::QueueDeclared {
                name,
                queue,
                no_wait,
            } => {
                self.queue_declared(origin, outcome, (name, queue), no_wait);
            }
            Then::QueueDeleted(deleted) => self.queue_deleted(*deleted),
        }
        if let Some(origin) = origin {
            self.resume(origin.slot);
        }
    }

    fn answer_change(
        &mut self,
        origin: Option<ChannelAddress>,
        outcome: Outcome,
        reply: Option<Box<AMQPClass>>,
    ) {
        let Some(origin) = origin else { return };
        match (outcome, reply) {
            (Err(violation), _) => self.fail_late(origin, violation),
            (Ok(_), Some(reply)) => self.send(origin.slot, origin.channel, *reply),
            (Ok(_), None) => {}
        }
    }

    /// A violation found after its method left `execute`.
    pub(super) fn fail_late(&mut self, origin: ChannelAddress, violation: Violation) {
        let Some(channel) = self.channel_mut(origin) else {
            return;
        };
        let method = channel.method;
        self.fail(origin.slot, origin.channel, violation.of(method));
    }
}
