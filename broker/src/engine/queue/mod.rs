//! A queue: messages that wait, messages handed out, and who consumes.
//!
//! It does not know connections: who can take a message now is the shard's decision.

mod consumers;

pub use consumers::{Consumer, ConsumerKey, Consumers, Token};

use super::address::QueueAddress;
use super::message::Message;
use super::name::Name;
use super::topology::QueueAttributes;
use crate::limits::MESSAGE_OVERHEAD;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A message with its place in the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its original position: it comes back here when it is requeued.
    pub sequence: u64,
    pub redelivered: bool,
    pub message: Message,
}

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
    /// Acknowledged, or rejected without requeue.
    Done,
    /// Back to its position, flagged redelivered.
    Requeue,
    /// It never reached the client: back to its position as it was.
    Undelivered,
}

/// Invariant: `ready` ascends by `sequence`; a sequence is in one of `ready`, `returned` and
/// `unacked`; `kept_len` is the sum over all of octets and `MESSAGE_OVERHEAD`.
#[derive(Debug)]
pub struct Queue {
    pub name: Name,
    pub address: QueueAddress,
    pub attributes: QueueAttributes,
    /// False for server-named exclusive queues: no other shard knows the name.
    pub is_listed: bool,
    pub consumers: Consumers,
    ready: VecDeque<Queued>,
    /// Requeued, by sequence. Apart from `ready`, so that many at once cost no more than few.
    returned: BTreeMap<u64, Queued>,
    unacked: Slab<Unacked>,
    next_sequence: u64,
    kept_len: usize,
}

impl Queue {
    pub fn new(name: Name, address: QueueAddress, attributes: QueueAttributes) -> Queue {
        Queue {
            name,
            address,
            attributes,
            is_listed: true,
            consumers: Consumers::default(),
            ready: VecDeque::new(),
            returned: BTreeMap::new(),
            unacked: Slab::new(),
            next_sequence: 0,
            kept_len: 0,
        }
    }

    /// Messages that wait; those handed out are not counted.
    pub fn message_count(&self) -> usize {
        self.ready.len() + self.returned.len()
    }

    /// Messages handed out that are not settled.
    pub fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.returned.is_empty()
    }

    /// Octets that all its messages hold, overhead included.
    pub fn kept_len(&self) -> usize {
        self.kept_len
    }

    /// The position behind all others.
    pub fn take_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    pub fn push(&mut self, message: Message) {
        let sequence = self.take_sequence();
        self.kept_len += cost(&message);
        self.ready.push_back(Queued {
            sequence,
            redelivered: false,
            message,
        });
    }

    /// The message in front. The caller owns it then: it counts no more unless it is held.
    pub fn pop(&mut self) -> Option<Queued> {
        let queued = match (self.returned.first_entry(), self.ready.front()) {
            (Some(returned), Some(ready)) if *returned.key() > ready.sequence => {
                self.ready.pop_front()?
            }
            (Some(returned), _) => returned.remove(),
            (None, _) => self.ready.pop_front()?,
        };
        self.kept_len -= cost(&queued.message);
        Some(queued)
    }

    /// Keeps a message that is being handed out until it is settled with the key returned.
    pub fn hold(&mut self, queued: Queued, consumer: Option<ConsumerKey>) -> u32 {
        self.kept_len += cost(&queued.message);
        let key = self.unacked.insert(Unacked { queued, consumer });
        u32::try_from(key).expect("memory ends before the keys do")
    }

    /// Ends what `hold` began; the consumer that had the message is returned, if it still is one.
    pub fn settle(&mut self, key: u32, settlement: Settlement) -> Option<ConsumerKey> {
        let Unacked {
            mut queued,
            consumer,
        } = self.unacked.remove(key as usize);
        self.kept_len -= cost(&queued.message);
        if settlement != Settlement::Done {
            queued.redelivered |= settlement == Settlement::Requeue;
            self.requeue(queued);
        }
        consumer.filter(|&key| self.consumers.settle(key))
    }

    /// Puts a message back to its original position.
    pub fn requeue(&mut self, queued: Queued) {
        self.kept_len += cost(&queued.message);
        self.returned.insert(queued.sequence, queued);
    }

    /// Drops the messages that wait and says how many.
    pub fn purge(&mut self) -> usize {
        let ready = std::mem::take(&mut self.ready).into_iter();
        let purged = ready.chain(std::mem::take(&mut self.returned).into_values());
        let mut count = 0;
        for queued in purged {
            count += 1;
            self.kept_len -= cost(&queued.message);
        }
        count
    }

    pub fn invariants(&self) {
        let unacked = self.unacked.iter().map(|(_, unacked)| &unacked.queued);
        let waiting = self.ready.iter().chain(self.returned.values());
        let all: Vec<&Queued> = waiting.chain(unacked).collect();
        let kept_len: usize = all.iter().map(|queued| cost(&queued.message)).sum();
        assert_eq!(self.kept_len, kept_len);
        let sequences: BTreeSet<u64> = all.iter().map(|queued| queued.sequence).collect();
        assert_eq!(sequences.len(), all.len(), "each message is in one place");
        let ascends = |a: &Queued, b: &Queued| a.sequence < b.sequence;
        assert!(self.ready.iter().is_sorted_by(|a, b| ascends(a, b)));
        self.consumers.invariants();
    }
}

fn cost(message: &Message) -> usize {
    message.len() + MESSAGE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::super::message::Content;
    use super::super::wire::properties::PropertyParts;
    use super::*;

    fn message(body: &[u8]) -> Message {
        let properties = PropertyParts([b"\0\0", b"", b""]);
        Message::from(&Content {
            exchange: b"",
            routing_key: b"q",
            properties,
            body,
            shared: None,
        })
    }

    fn queue_of(bodies: &[&[u8]]) -> Queue {
        let address = QueueAddress {
            shard: 0,
            index: 0,
            generation: 1,
        };
        let attributes = QueueAttributes {
            durable: false,
            auto_delete: false,
            exclusive: None,
        };
        let mut queue = Queue::new(Name::from("q"), address, attributes);
        bodies.iter().for_each(|body| queue.push(message(body)));
        queue
    }

    fn drain(queue: &mut Queue) -> Vec<(Vec<u8>, bool)> {
        let popped = std::iter::from_fn(|| queue.pop());
        popped
            .map(|q| (q.message.content().body.to_vec(), q.redelivered))
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
}
