//! Messages that an exchange holds back until their time has come. They are kept by the shard of
//! their publisher and routed when they leave: by then everything may have changed.

use super::Shard;
use crate::engine::address::VhostIndex;
use crate::engine::exchange::without_delay;
use crate::engine::message::Message;
use crate::engine::name::Name;
use crate::engine::time::Timestamp;
use crate::engine::wire::properties::Properties;
use crate::limits::{EXPIRED_COUNT_PER_TURN, MESSAGE_OVERHEAD, TABLE_DEPTH_MAX};
use std::collections::BTreeMap;
use std::time::Duration;

/// Invariant: `kept_len` is the sum over all messages of what they cost.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// By when they leave; those of the same moment in the order in which they came.
    messages: BTreeMap<(Timestamp, u64), DelayedMessage>,
    next_place: u64,
    kept_len: usize,
}

#[derive(Debug)]
struct DelayedMessage {
    vhost: VhostIndex,
    message: Message,
    /// Further routing keys.
    copies: Vec<Name>,
}

impl DelayedMessage {
    /// Octets that it holds, overhead included.
    fn cost(&self) -> usize {
        self.message.len() + MESSAGE_OVERHEAD + Name::sum_len(&self.copies)
    }
}

impl Delayed {
    pub(super) fn count(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn kept_len(&self) -> usize {
        self.kept_len
    }

    /// When the first one leaves.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.messages.first_key_value().map(|((at, _), _)| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<DelayedMessage> {
        let first = self.messages.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn invariants(&self) {
        let kept_len: usize = self.messages.values().map(DelayedMessage::cost).sum();
        assert_eq!(self.kept_len, kept_len);
    }
}

impl Shard {
    pub(super) fn hold_back(
        &mut self,
        vhost: VhostIndex,
        message: Message,
        copies: Vec<Name>,
        delay: Duration,
    ) {
        let delayed = DelayedMessage {
            vhost,
            message,
            copies,
        };
        let cost = delayed.cost();
        self.delayed.kept_len += cost;
        self.pressure.account(0, cost);
        let key = (self.now.plus(delay), self.delayed.next_place);
        self.delayed.next_place += 1;
        self.delayed.messages.insert(key, delayed);
    }

    /// The exchange is deleted, and what it holds back with it.
    pub(super) fn drop_delayed(&mut self, vhost: VhostIndex, exchange: &[u8]) {
        let before = self.delayed.kept_len;
        let kept_len = &mut self.delayed.kept_len;
        self.delayed.messages.retain(|_, delayed| {
            let is_of_it = delayed.vhost == vhost && delayed.message.content().exchange == exchange;
            if is_of_it {
                *kept_len -= delayed.cost();
            }
            !is_of_it
        });
        self.pressure.account(before, self.delayed.kept_len);
    }

    /// Routes what is due, up to a limit; the next turn goes on with the rest.
    pub(super) fn release_delayed(&mut self) {
        for _ in 0..EXPIRED_COUNT_PER_TURN {
            if self.neighbours.has_full() {
                return;
            }
            let Some(delayed) = self.delayed.pop_due(self.now) else {
                return;
            };
            let cost = delayed.cost();
            self.delayed.kept_len -= cost;
            self.pressure.account(cost, 0);
            let DelayedMessage {
                vhost,
                message,
                copies,
            } = delayed;
            let content = message.content();
            let walked = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX);
            let properties = walked.expect("walked when the message was published");
            let properties = without_delay(&properties);
            let message = message.readdressed(content.exchange, content.routing_key, &properties);
            let copies: Vec<&[u8]> = copies.iter().map(Name::as_bytes).collect();
            self.follow(|shard| shard.forward(vhost, &message, &copies, &[]));
        }
    }
}
