//! A queue: messages that wait, messages handed out, and who consumes.
//!
//! It does not know connections: who can take a message now is the shard's decision.

mod blocks;
mod calls;
mod consumers;
mod death;
mod dispatch;
mod line;
mod requests;

pub use calls::{Ended, Marks, Record, Underway, Worker};
pub use consumers::{Consumer, ConsumerKey, Consumers, Token};
pub use death::{Death, Reason, queues_of_cycle};

use super::address::{CallKey, QueueAddress, VhostIndex};
use super::message::{Content, Message};
use super::name::Name;
use super::rules::{self, Dispatch, Overflow, Rules};
use super::time::Timestamp;
use super::topology::QueueAttributes;
use crate::limits::MESSAGE_OVERHEAD;
use calls::Calls;
use line::Waiting;
use slab::Slab;
use std::collections::BTreeSet;
use std::num::NonZero;

/// A message with its place in the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    pub message: Message,
    pub place: Place,
}

/// What a queue knows of a message beside its content.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its original position: it comes back here when it is requeued.
    pub sequence: u64,
    /// [`Timestamp::NEVER`]: its time has no end.
    pub expires_at: Timestamp,
    /// 1, and one more each time that it came back after it had been handed out. The value that it
    /// never has is what keeps mail small.
    pub attempt: NonZero<u32>,
    /// At most the queue's highest; 0 where there are none.
    pub priority: u8,
}

impl Place {
    pub fn is_redelivered(&self) -> bool {
        self.return_count() > 0
    }

    pub fn return_count(&self) -> u32 {
        self.attempt.get() - 1
    }
}

// What a waiting message costs beside its octets; see `results/waiting`.
const _: () = assert!(size_of::<Queued>() <= 64);

/// A message handed out that must be acknowledged.
#[derive(Debug)]
struct Unacked {
    queued: Queued,
    /// `None` for basic.get.
    consumer: Option<ConsumerKey>,
}

/// What becomes of a message that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Acknowledged.
    Done,
    /// Rejected without requeue.
    Rejected,
    /// Back to its position, flagged redelivered.
    Requeue,
    /// It never reached the client: back to its position as it was.
    Undelivered,
}

/// Invariant: a position is in one of `waiting` and `unacked`; `kept_len` is the sum over both of
/// octets and `MESSAGE_OVERHEAD`, `waiting_len` that of the bodies in `waiting`. What `pop` would
/// give is not the request of a call that has ended.
#[derive(Debug)]
pub struct Queue {
    pub name: Name,
    pub vhost: VhostIndex,
    pub address: QueueAddress,
    pub attributes: QueueAttributes,
    /// False for server-named exclusive queues: no other shard knows the name.
    pub is_listed: bool,
    pub consumers: Consumers,
    /// `None`: it only keeps messages.
    rules: Option<Box<Rules>>,
    /// Created with the first one.
    calls: Option<Box<Calls>>,
    /// Replies that are awaited here, by their correlation ids.
    awaited: BTreeSet<(Name, CallKey)>,
    waiting: Waiting,
    waiting_len: usize,
    unacked: Slab<Unacked>,
    next_sequence: u64,
    kept_len: usize,
    /// When it was declared, read by basic.get or left by its last consumer.
    pub last_used: Timestamp,
    /// When the shard looks after it again, if that is due at all.
    pub alarm: Option<Timestamp>,
}

impl Queue {
    pub fn new(
        (name, vhost): (Name, VhostIndex),
        address: QueueAddress,
        attributes: QueueAttributes,
        rules: Option<Box<Rules>>,
        now: Timestamp,
    ) -> Queue {
        let single_active = rules
            .as_ref()
            .is_some_and(|rules| rules.single_active_consumer);
        let mut consumers = Consumers::new(single_active);
        consumers.dispatch = dispatch_of(rules.as_deref());
        Queue {
            name,
            vhost,
            address,
            attributes,
            is_listed: true,
            consumers,
            waiting: Waiting::new(rules.as_ref().and_then(|rules| rules.priority_max)),
            rules,
            calls: None,
            awaited: BTreeSet::new(),
            waiting_len: 0,
            unacked: Slab::new(),
            next_sequence: 0,
            kept_len: 0,
            last_used: now,
            alarm: None,
        }
    }

    /// Its policy is another one now. What its arguments alone decide stays as it is; a new time
    /// without use begins now, as in RabbitMQ.
    pub fn set_rules(&mut self, rules: Option<Box<Rules>>, now: Timestamp) {
        let expires = |rules: &Option<Box<Rules>>| rules.as_ref().and_then(|rules| rules.expires);
        if expires(&rules) != expires(&self.rules) {
            self.last_used = now;
        }
        self.consumers.dispatch = dispatch_of(rules.as_deref());
        self.rules = rules;
    }

    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_deref()
    }

    /// Messages that wait; those handed out are not counted, nor requests of calls that are over.
    pub fn message_count(&self) -> usize {
        self.waiting.len() - self.calls_over()
    }

    /// Messages handed out that are not settled.
    pub fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Octets that all its messages hold, overhead included.
    pub fn kept_len(&self) -> usize {
        self.kept_len
    }

    /// Gives a new message the position behind all others.
    #[inline]
    pub fn admit(&mut self, content: &Content<'_>, message: Message, now: Timestamp) -> Queued {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut place = Place {
            sequence,
            expires_at: Timestamp::NEVER,
            attempt: NonZero::<u32>::MIN,
            priority: 0,
        };
        if self.rules.is_some() || content.properties.has_expiration() || content.call.is_some() {
            self.judge(&mut place, content, now);
        }
        Queued { message, place }
    }

    #[cold]
    fn judge(&self, place: &mut Place, content: &Content<'_>, now: Timestamp) {
        let rules = self.rules.as_deref();
        place.expires_at = rules::expires_at(rules, content.properties.expiration_ms(), now);
        if let Some(token) = content.call() {
            place.expires_at = place.expires_at.min(token.deadline);
        }
        if let Some(max) = rules.and_then(|rules| rules.priority_max) {
            place.priority = content.properties.priority().min(max);
        }
    }

    /// A new message waits.
    #[inline]
    pub fn push(&mut self, queued: Queued) {
        self.kept_len += cost(&queued.message);
        self.waiting_len += queued.message.body_len();
        self.waiting.push(queued);
    }

    /// The message in front. The caller owns it then: it counts no more unless it is held.
    #[inline]
    pub fn pop(&mut self) -> Option<Queued> {
        if self.calls.is_some() {
            return self.pop_request();
        }
        let queued = self.waiting.pop()?;
        self.forget_waiting(&queued);
        Some(queued)
    }

    /// A message in front whose time is over.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<Queued> {
        loop {
            let queued = self.waiting.pop_expired(now)?;
            self.forget_waiting(&queued);
            let is_over = self.calls_over() > 0 && self.is_over(&queued);
            self.pass_over();
            if !is_over {
                return Some(queued);
            }
        }
    }

    /// The message in front if there are more than there may be, and new ones are not refused.
    pub fn pop_overflow(&mut self) -> Option<Queued> {
        let rules = self.rules.as_deref()?;
        let is_over = rules.overflow() == Overflow::DropHead
            && rules.is_over(self.message_count(), self.waiting_len);
        is_over.then(|| self.pop()).flatten()
    }

    /// Must one more message of `body_len` octets be refused?
    pub fn refuses(&self, body_len: usize) -> bool {
        let Some(rules) = self.rules.as_deref() else {
            return false;
        };
        rules.overflow() != Overflow::DropHead
            && rules.is_over(self.message_count() + 1, self.waiting_len + body_len)
    }

    /// Keeps a message that is being handed out until it is settled with the key returned.
    pub fn hold(&mut self, queued: Queued, consumer: Option<ConsumerKey>) -> u32 {
        self.kept_len += cost(&queued.message);
        let key = self.unacked.insert(Unacked { queued, consumer });
        u32::try_from(key).expect("memory ends before the keys do")
    }

    /// Ends what `hold` began: the message is done with.
    #[inline]
    pub fn acknowledge(&mut self, key: u32) {
        match self.calls {
            None => drop(self.release(key)),
            Some(_) => self.acknowledge_request(key),
        }
    }

    /// Ends what `hold` began. A message that the queue gives up comes back with the reason.
    pub fn settle(&mut self, key: u32, settlement: Settlement) -> Option<(Queued, Reason)> {
        let mut queued = self.release(key);
        match settlement {
            Settlement::Done => {
                self.request_acknowledged(&queued);
                return None;
            }
            Settlement::Rejected => return Some((queued, Reason::Rejected)),
            Settlement::Undelivered => {}
            Settlement::Requeue => {
                if self.calls.is_some() && self.is_done_with(&queued) {
                    return None;
                }
                queued.place.attempt = queued.place.attempt.saturating_add(1);
                let limit = self.rules.as_ref().and_then(|rules| rules.delivery_limit);
                if let Some(limit) = limit {
                    if queued.place.return_count() > limit {
                        return Some((queued, Reason::DeliveryLimit));
                    }
                    queued.message = death::with_delivery_count(&queued);
                }
            }
        }
        self.requeue(queued);
        None
    }

    #[inline]
    fn release(&mut self, key: u32) -> Queued {
        let unacked = self.unacked.remove(key as usize);
        self.kept_len -= cost(&unacked.queued.message);
        if let Some(key) = unacked.consumer {
            self.consumers.settle(key);
        }
        unacked.queued
    }

    /// Puts a message back to its original position.
    pub fn requeue(&mut self, queued: Queued) {
        if self.calls.is_some() {
            if self.is_done_with(&queued) {
                return;
            }
            self.request_came_back(&queued);
        }
        self.kept_len += cost(&queued.message);
        self.waiting_len += queued.message.body_len();
        self.waiting.put_back(queued);
    }

    /// Drops the messages that wait and says how many.
    pub fn purge(&mut self) -> usize {
        let count = self.message_count();
        while self.pop().is_some() {}
        count
    }

    /// When the message in front will be given up.
    #[inline]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.waiting.next_expiry()
    }

    /// When something is due without anybody asking: a message's end, or the queue's own.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let end = self.end_of_disuse();
        let expiry = self.waiting.next_expiry();
        [end, expiry].into_iter().flatten().min()
    }

    /// When it has been without use for as long as it may.
    pub fn end_of_disuse(&self) -> Option<Timestamp> {
        let expires = self.rules.as_deref()?.expires?;
        self.consumers
            .is_empty()
            .then(|| self.last_used.plus(expires))
    }

    fn forget_waiting(&mut self, queued: &Queued) {
        self.kept_len -= cost(&queued.message);
        self.waiting_len -= queued.message.body_len();
    }

    pub fn invariants(&self) {
        let unacked = self.unacked.iter().map(|(_, unacked)| &unacked.queued);
        let all: Vec<&Queued> = self.waiting.iter().chain(unacked).collect();
        let kept_len: usize = all.iter().map(|queued| cost(&queued.message)).sum();
        assert_eq!(self.kept_len, kept_len);
        let waiting_len: usize = self.waiting.iter().map(|q| q.message.body_len()).sum();
        assert_eq!(self.waiting_len, waiting_len);
        let sequences: BTreeSet<u64> = all.iter().map(|queued| queued.place.sequence).collect();
        assert_eq!(sequences.len(), all.len(), "each message is in one place");
        self.waiting.invariants();
        self.consumers.invariants();
        self.request_invariants();
    }
}

fn dispatch_of(rules: Option<&Rules>) -> Dispatch {
    rules.and_then(|rules| rules.dispatch).unwrap_or_default()
}

fn cost(message: &Message) -> usize {
    message.len() + MESSAGE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::super::wire::properties::PropertyParts;
    use super::*;

    fn push(queue: &mut Queue, body: &[u8], properties: &[u8]) {
        let content = Content {
            exchange: b"",
            routing_key: b"q",
            properties: PropertyParts([properties, b"", b""]),
            body,
            shared: None,
            call: None,
        };
        let queued = queue.admit(&content, Message::from(&content), Timestamp(0));
        queue.push(queued);
    }

    fn queue_of(bodies: &[&[u8]]) -> Queue {
        queue_with(Rules::default(), bodies)
    }

    fn queue_with(rules: Rules, bodies: &[&[u8]]) -> Queue {
        let address = QueueAddress {
            shard: 0,
            index: 0,
            generation: 1,
        };
        let attributes = QueueAttributes {
            durable: false,
            auto_delete: false,
            exclusive: None,
            arguments: None,
        };
        let mut queue = Queue::new(
            (Name::from("q"), VhostIndex(0)),
            address,
            attributes,
            None,
            Timestamp(0),
        );
        queue.waiting = Waiting::new(rules.priority_max);
        queue.rules = Some(Box::new(rules));
        bodies
            .iter()
            .for_each(|body| push(&mut queue, body, b"\0\0"));
        queue
    }

    fn drain(queue: &mut Queue) -> Vec<(Vec<u8>, bool)> {
        let popped = std::iter::from_fn(|| queue.pop());
        popped
            .map(|q| (q.message.content().body.to_vec(), q.place.is_redelivered()))
            .collect()
    }

    #[test]
    fn requeued_messages_return_to_their_original_positions_flagged() {
        let mut queue = queue_of(&[b"a", b"b", b"c", b"d"]);
        let held: Vec<u32> = (0..3)
            .map(|_| {
                let queued = queue.pop().expect("ready");
                queue.hold(queued, None)
            })
            .collect();
        queue.settle(held[2], Settlement::Requeue);
        queue.settle(held[0], Settlement::Undelivered);
        queue.settle(held[1], Settlement::Done);
        queue.invariants();
        let expected = [
            (b"a".to_vec(), false),
            (b"c".to_vec(), true),
            (b"d".to_vec(), false),
        ];
        assert_eq!(drain(&mut queue), expected);
        assert_eq!(queue.kept_len(), 0);
    }

    #[test]
    fn purge_counts_only_what_waits() {
        let mut queue = queue_of(&[b"a", b"b", b"c"]);
        let queued = queue.pop().expect("ready");
        let held = queue.hold(queued, None);
        assert_eq!(queue.purge(), 2);
        queue.invariants();
        assert!(queue.kept_len() > 0);
        queue.settle(held, Settlement::Done);
        assert_eq!(queue.kept_len(), 0);
    }

    fn body(queued: &Queued) -> Vec<u8> {
        queued.message.content().body.to_vec()
    }

    #[test]
    fn the_highest_priority_goes_first_and_too_high_is_the_highest() {
        let rules = Rules {
            priority_max: Some(5),
            ..Rules::default()
        };
        let mut queue = queue_with(rules, &[b"none"]);
        for (body, priority) in [(b"1", 1), (b"5", 5), (b"3", 3), (b"9", 9), (b"0", 0)] {
            push(&mut queue, body, &[0x08, 0, priority]);
        }
        queue.invariants();
        let first = queue.pop().expect("waits");
        assert_eq!((body(&first), first.place.priority), (b"5".to_vec(), 5));
        // Returned, it is before those of its priority and behind none.
        let held = queue.hold(first, None);
        queue.settle(held, Settlement::Requeue);
        queue.invariants();
        let bodies: Vec<Vec<u8>> = drain(&mut queue)
            .into_iter()
            .map(|(body, _)| body)
            .collect();
        assert_eq!(bodies, [&b"5"[..], b"9", b"3", b"1", b"none", b"0"]);
    }

    #[test]
    fn what_is_too_much_goes_from_the_front_or_is_refused() {
        let rules = Rules {
            length_max: Some(2),
            body_len_max: Some(10),
            ..Rules::default()
        };
        let mut queue = queue_with(rules.clone(), &[b"a", b"bb", b"ccc"]);
        assert_eq!(queue.pop_overflow().map(|q| body(&q)), Some(b"a".to_vec()));
        assert!(queue.pop_overflow().is_none());
        push(&mut queue, &[b'd'; 11], b"\0\0");
        while queue.pop_overflow().is_some() {}
        assert!(
            queue.is_empty(),
            "one that is too long by itself goes as well"
        );
        assert!(!queue.refuses(usize::MAX / 2));
        let refusing = Rules {
            overflow: Some(Overflow::RejectPublish),
            ..rules
        };
        let queue = queue_with(refusing, &[b"a"]);
        assert!(!queue.refuses(9));
        assert!(queue.refuses(10));
    }

    #[test]
    fn time_ends_in_front_only() {
        let mut queue = queue_of(&[]);
        push(&mut queue, b"long", b"\x01\0\x03100");
        push(&mut queue, b"short", b"\x01\0\x0210");
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        assert_eq!(queue.next_deadline(), Some(at(100)));
        assert!(queue.pop_expired(at(99)).is_none());
        assert!(queue.pop_expired(at(100)).is_some());
        assert_eq!(queue.next_deadline(), Some(at(10)));
        assert!(queue.pop_expired(at(100)).is_some());
        assert_eq!(queue.next_deadline(), None);
        assert_eq!(queue.kept_len(), 0);
    }
}
