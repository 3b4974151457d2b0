//! A channel: content being assembled, consumers, what awaits acknowledgement, confirms, a
//! transaction.
//!
//! It knows neither its connection nor queues; it keeps the addresses that the shard needs.

mod assembly;
mod confirm;
mod limiter;
mod publishing;
mod transaction;
mod unacked;

pub use assembly::{Assembly, Published};
pub use confirm::{Confirm, Verdict};
pub use limiter::Limiter;
pub use publishing::Publishing;
pub use transaction::{Commit, KeptPublish, Route, Transaction};
pub use unacked::{Delivery, UnackedDeliveries};

use super::address::{CallKey, ChannelAddress, QueueAddress, REPLY_TO, REPLY_TO_LAVINMQ, Sealer};
use super::message::Message;
use super::name::Name;
use super::queue::ConsumerKey;
use super::topology::QueueAttributes;
use super::violation::MethodId;
use crate::limits::Limits;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A consumer as its channel knows it.
#[derive(Debug)]
pub struct ChannelConsumer {
    pub tag: Name,
    pub queue: QueueAddress,
    /// `None` until the queue's shard has answered.
    pub key: Option<ConsumerKey>,
    /// Octets delivered from another shard for which credit has not gone back yet.
    pub credit_owed: usize,
}

/// The consumer of `amq.rabbitmq.reply-to`.
#[derive(Debug)]
pub struct ReplyConsumer {
    pub tag: Name,
    name: EncodedName,
    name_lavinmq: EncodedName,
}

/// A full reply name as an encoded short string, ready to be spliced into a header.
#[derive(Clone, Copy, Debug)]
pub struct EncodedName {
    octets: [u8; EncodedName::LEN_MAX],
    len: usize,
}

impl EncodedName {
    const LEN_MAX: usize = 64;

    fn of(name: &Name) -> EncodedName {
        let name = name.as_bytes();
        let mut octets = [0; EncodedName::LEN_MAX];
        octets[0] = u8::try_from(name.len()).expect("a name is a short string");
        octets[1..=name.len()].copy_from_slice(name);
        EncodedName {
            octets,
            len: name.len() + 1,
        }
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// A method whose answer comes from elsewhere; the connection executes nothing until it is there.
#[derive(Debug)]
pub enum Pending {
    /// The registrar's answer; what to do then is kept with the proposal.
    Change,
    /// `declared`: to be declared anew should it be gone.
    DeclareQueue {
        name: Name,
        no_wait: bool,
        declared: Option<QueueAttributes>,
    },
    /// queue.declare of a full reply name.
    DeclareReply {
        name: Name,
        no_wait: bool,
    },
    /// An operation on another connection's queue, about to be refused by that queue's shard.
    Refusal,
    Consume {
        handle: u32,
        no_wait: bool,
    },
    Cancel {
        tag: Name,
        no_wait: bool,
    },
    Get,
    Purge {
        no_wait: bool,
    },
    DeleteQueue {
        no_wait: bool,
    },
    Commit(Box<Commit>),
}

#[derive(Debug)]
pub struct Channel {
    pub address: ChannelAddress,
    /// We sent channel.close: everything but its close-ok is ignored.
    pub is_closing: bool,
    /// The latest method executed, for error reports.
    pub method: MethodId,
    pub pending: Option<Pending>,
    pub assembly: Assembly,
    pub consumers: Slab<ChannelConsumer>,
    tags: BTreeMap<Name, u32>,
    pub reply_consumer: Option<ReplyConsumer>,
    /// The tag of the consumer that hears which calls are over.
    pub control_consumer: Option<Name>,
    /// Direct replies that wait for channel.flow(true), and their octets.
    held_replies: VecDeque<Message>,
    held_len: usize,
    pub unacked: UnackedDeliveries,
    next_delivery_tag: u64,
    /// For consumers to come.
    pub prefetch: u16,
    pub limiter: Limiter,
    pub publishing: Publishing,
    /// What an empty queue name means.
    pub latest_queue: Name,
    /// Its calls that have not ended, by their correlation ids.
    pub calls: BTreeSet<(Name, CallKey)>,
}

impl Channel {
    pub fn new(address: ChannelAddress) -> Channel {
        Channel {
            address,
            is_closing: false,
            method: MethodId::default(),
            pending: None,
            assembly: Assembly::Idle,
            consumers: Slab::new(),
            tags: BTreeMap::new(),
            reply_consumer: None,
            control_consumer: None,
            held_replies: VecDeque::new(),
            held_len: 0,
            unacked: UnackedDeliveries::default(),
            next_delivery_tag: 1,
            prefetch: 0,
            limiter: Limiter::default(),
            publishing: Publishing::default(),
            latest_queue: Name::default(),
            calls: BTreeSet::new(),
        }
    }

    #[inline]
    pub fn take_delivery_tag(&mut self) -> u64 {
        self.next_delivery_tag += 1;
        self.next_delivery_tag - 1
    }

    /// The tag that `take_delivery_tag` will give.
    pub fn next_delivery_tag(&self) -> u64 {
        self.next_delivery_tag
    }

    pub fn has_tag(&self, tag: &[u8]) -> bool {
        self.tags.contains_key(tag)
            || self
                .reply_consumer
                .as_ref()
                .is_some_and(|reply| reply.tag.as_bytes() == tag)
            || self
                .control_consumer
                .as_ref()
                .is_some_and(|control| control.as_bytes() == tag)
    }

    /// The tag must be new.
    pub fn add_consumer(&mut self, consumer: ChannelConsumer) -> u32 {
        let tag = consumer.tag.clone();
        let handle = u32::try_from(self.consumers.insert(consumer)).expect("limited in number");
        let previous = self.tags.insert(tag, handle);
        assert!(previous.is_none(), "consumer tags are unique on a channel");
        handle
    }

    pub fn consumer_by_tag(&self, tag: &[u8]) -> Option<u32> {
        self.tags.get(tag).copied()
    }

    pub fn remove_consumer(&mut self, handle: u32) -> ChannelConsumer {
        let consumer = self.consumers.remove(handle as usize);
        self.tags.remove(&consumer.tag);
        consumer
    }

    /// The consumer with this handle, if it is still the one that the queue means.
    pub fn consumer_mut(
        &mut self,
        handle: u32,
        queue: QueueAddress,
        key: ConsumerKey,
    ) -> Option<&mut ChannelConsumer> {
        let consumer = self.consumers.get_mut(handle as usize)?;
        (consumer.queue == queue && consumer.key == Some(key)).then_some(consumer)
    }

    pub fn set_reply_consumer(&mut self, tag: Name, sealer: &Sealer) {
        let encoded = |spelling| EncodedName::of(&sealer.reply_name(spelling, self.address));
        let (name, name_lavinmq) = (encoded(REPLY_TO), encoded(REPLY_TO_LAVINMQ));
        self.reply_consumer = Some(ReplyConsumer {
            tag,
            name,
            name_lavinmq,
        });
    }

    /// For a publish whose `reply_to` is `bare`: the encoded full name to put in its place.
    /// `Ok(None)`: leave it as it is. `Err`: there is no reply consumer.
    #[inline]
    pub fn reply_name(&self, bare: Option<&[u8]>) -> Result<Option<EncodedName>, NoReplyConsumer> {
        let is_lavinmq = match bare {
            Some(REPLY_TO) => false,
            Some(REPLY_TO_LAVINMQ) => true,
            _ => return Ok(None),
        };
        let reply = self.reply_consumer.as_ref().ok_or(NoReplyConsumer)?;
        Ok(Some(if is_lavinmq {
            reply.name_lavinmq
        } else {
            reply.name
        }))
    }

    /// Has it made a call with this correlation id that has not ended?
    pub fn has_call(&self, correlation_id: &[u8]) -> bool {
        let from = (Name::from(correlation_id), CallKey::MIN);
        let next = self.calls.range(from..).next();
        next.is_some_and(|(other, _)| other.as_bytes() == correlation_id)
    }

    /// Keeps a direct reply for later. False: too many are kept already.
    pub fn hold_reply(&mut self, reply: Message, limits: &Limits) -> bool {
        let held_len = self.held_len + reply.len();
        let is_full = self.held_replies.len() >= limits.held_reply_count_max
            || (held_len > limits.held_reply_len_max && !self.held_replies.is_empty());
        if !is_full {
            self.held_len = held_len;
            self.held_replies.push_back(reply);
        }
        !is_full
    }

    pub fn held_reply_count(&self) -> usize {
        self.held_replies.len()
    }

    pub fn take_held_replies(&mut self) -> VecDeque<Message> {
        self.held_len = 0;
        std::mem::take(&mut self.held_replies)
    }

    /// Undoes what the transaction keeps: publishes are dropped, deliveries outstanding again.
    pub fn roll_back(&mut self) {
        if let Some(transaction) = self.publishing.transaction_mut() {
            let (_, settlements) = transaction.take();
            self.unacked
                .put_back(settlements.into_iter().map(|(delivery, _)| delivery));
        }
    }

    /// Deliveries that its peer holds; those settled in a transaction until it is committed.
    pub fn held_count(&self) -> usize {
        let noted = self.publishing.transaction();
        self.unacked.count() + noted.map_or(0, Transaction::settlement_count)
    }

    /// Those that count against the channel's prefetch.
    pub fn limited_count(&self) -> usize {
        let noted = self.publishing.transaction();
        self.unacked.limited_count() + noted.map_or(0, Transaction::limited_count)
    }

    /// Octets that its transaction keeps.
    pub fn transaction_len(&self) -> usize {
        let transaction = self.publishing.transaction();
        transaction.map_or(0, Transaction::publishes_len)
    }

    pub fn invariants(&self, limits: &Limits) {
        assert_eq!(self.tags.len(), self.consumers.len());
        for (handle, consumer) in &self.consumers {
            assert_eq!(self.tags.get(&consumer.tag), Some(&(handle as u32)));
        }
        self.unacked.invariants(self.next_delivery_tag);
        if let Some(transaction) = self.publishing.transaction() {
            transaction.invariants();
        }
        assert!(self.held_replies.len() <= limits.held_reply_count_max);
        assert!(self.held_replies.is_empty() || !self.limiter.is_flowing());
    }
}

/// A publish asked for a direct reply on a channel that does not consume any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReplyConsumer;

/// Content that cannot go on; each kind has its own reply code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// A frame of another kind than the next one must be.
    Unexpected { expected: &'static str },
    /// 406, as RabbitMQ: the channel only.
    BodyTooLarge { body_len: u64, body_len_max: u64 },
    /// More body octets than the header announced.
    BodyOverrun,
    /// The content header names another class than basic.
    WrongClass { class_id: u16 },
}
