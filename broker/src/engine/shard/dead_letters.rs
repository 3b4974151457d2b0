//! Messages that a queue gives up: expired, pushed out, rejected, or back too often. They go to
//! the queue's dead letter exchange, if it has one, and from there on like any message.

use super::Shard;
use super::copies::Copies;
use crate::engine::address::{QueueAddress, VhostIndex};
use crate::engine::message::Message;
use crate::engine::name::Name;
use crate::engine::queue::{Death, Queue, Queued, Reason, queues_of_cycle};
use crate::engine::rules::DeadLetters;
use crate::engine::time::Timestamp;
use crate::engine::wire::properties::Properties;
use crate::limits::{EXPIRED_COUNT_PER_TURN, MESSAGE_OVERHEAD, TABLE_DEPTH_MAX};
use std::collections::VecDeque;

/// A message on its way from a queue that gave it up.
#[derive(Debug)]
struct DeadLetter {
    vhost: VhostIndex,
    queue: Name,
    reason: Reason,
    message: Message,
    to: DeadLetters,
}

/// Dead letters that wait to be sent on. What one leads to may push out others, and so on along
/// chains that peers choose: they are routed from `finish`, not where they were given up, and only
/// so many in a turn.
///
/// Invariant: `kept_len` is the sum over all letters of octets and `MESSAGE_OVERHEAD`.
#[derive(Debug, Default)]
pub(super) struct Letters {
    waiting: VecDeque<DeadLetter>,
    kept_len: usize,
    /// A message that has no publisher is being routed: what it pushes out is its doing.
    is_following: bool,
    /// Some were dropped since the last time that none waited.
    has_dropped: bool,
}

impl DeadLetter {
    fn cost(&self) -> usize {
        self.message.len() + MESSAGE_OVERHEAD
    }
}

impl Letters {
    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn kept_len(&self) -> usize {
        self.kept_len
    }

    pub(super) fn invariants(&self) {
        let kept_len: usize = self.waiting.iter().map(DeadLetter::cost).sum();
        assert_eq!(self.kept_len, kept_len);
        assert!(!self.is_following);
    }
}

impl Shard {
    /// The queue owns the message no more, and nobody else does.
    pub(super) fn give_up(&mut self, address: QueueAddress, queued: Queued, reason: Reason) {
        if queued.message.is_call() {
            self.given_up(address, &queued, reason);
        }
        let Some(queue) = self.queue_mut(address) else {
            return;
        };
        if let Some(to) = queue.rules().and_then(|rules| rules.dead_letters.clone()) {
            let letter = DeadLetter {
                vhost: queue.vhost,
                queue: queue.name.clone(),
                reason,
                message: queued.message,
                to,
            };
            self.keep_letter(letter);
        }
    }

    fn keep_letter(&mut self, letter: DeadLetter) {
        let letters = &mut self.letters;
        let len_max = self.settings.limits.letters_len_max;
        if letters.is_following && letters.kept_len >= len_max {
            if !std::mem::replace(&mut letters.has_dropped, true) {
                let text = format!(
                    "dead letters lead to more and more of them: {} wait, {} octets; further ones \
                     are dropped, first those of queue '{}'",
                    letters.waiting.len(),
                    letters.kept_len,
                    letter.queue
                );
                self.agenda.log(true, text);
            }
            return;
        }
        let cost = letter.cost();
        letters.kept_len += cost;
        letters.waiting.push_back(letter);
        self.pressure.account(0, cost);
    }

    /// Are there dead letters to be sent on now? While an outbox is full they wait: nobody else
    /// would.
    pub(super) fn has_letters_to_post(&self) -> bool {
        !self.letters.waiting.is_empty() && !self.neighbours.has_full()
    }

    /// Sends on the dead letter that has waited longest. What it leads to comes next, before all
    /// others: so however much that is, little of it waits.
    pub(super) fn post_next(&mut self) {
        let Some(letter) = self.letters.waiting.pop_front() else {
            return;
        };
        let cost = letter.cost();
        self.letters.kept_len -= cost;
        self.pressure.account(cost, 0);
        let others = self.letters.waiting.len();
        self.follow(|shard| shard.post(letter));
        let more = self.letters.waiting.len() - others;
        self.letters.waiting.rotate_right(more);
        self.letters.has_dropped &= !self.letters.waiting.is_empty();
    }

    /// Routes what has no publisher whom memory or room could be refused.
    pub(super) fn follow(&mut self, route: impl FnOnce(&mut Shard)) {
        let before = std::mem::replace(&mut self.letters.is_following, true);
        route(self);
        self.letters.is_following = before;
    }

    /// Gives up what is in front and whose time is over, up to a limit. False: there is more, and
    /// the next turn goes on with it.
    #[inline]
    pub(super) fn drop_expired(&mut self, address: QueueAddress) -> bool {
        let queue = &self.queues[address.index as usize];
        match queue.next_expiry() {
            Some(expiry) if expiry <= self.now => self.drop_many_expired(address),
            _ => true,
        }
    }

    #[cold]
    fn drop_many_expired(&mut self, address: QueueAddress) -> bool {
        for _ in 0..EXPIRED_COUNT_PER_TURN {
            let Some(queued) = self.take(address, |queue, now| queue.pop_expired(now)) else {
                return true;
            };
            self.give_up(address, queued, Reason::Expired);
        }
        self.schedule_queue(address);
        false
    }

    /// Gives up what is too much.
    #[inline]
    pub(super) fn drop_overflow(&mut self, address: QueueAddress) {
        while let Some(queued) = self.take(address, |queue, _| queue.pop_overflow()) {
            self.give_up(address, queued, Reason::MaxLength);
        }
    }

    fn take(
        &mut self,
        address: QueueAddress,
        pop: impl FnOnce(&mut Queue, Timestamp) -> Option<Queued>,
    ) -> Option<Queued> {
        let queue = &mut self.queues[address.index as usize];
        let before = queue.kept_len();
        let queued = pop(queue, self.now);
        self.pressure.account(before, queue.kept_len());
        queued
    }

    /// Sends a dead letter to wherever its exchange leads. An exchange that is not there, or leads
    /// nowhere, or only round in a circle, is the end of it.
    fn post(&mut self, letter: DeadLetter) {
        let time_s = self.settings.started_at_s + self.now.0 / 1_000_000_000;
        let death = Death {
            queue: letter.queue.as_bytes(),
            reason: letter.reason,
            time_s,
        };
        let message = death.letter(&letter.message, &letter.to);
        let content = message.content();
        let walked = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX);
        let properties = walked.expect("walked when the message was published");
        let headers = properties.headers().unwrap_or_default();
        let copies = Copies::named_in(headers).ok().flatten();
        let copies = copies.as_ref().map_or(&[][..], |copies| &copies.keys);
        if let Some(delay) = self.delay_of(letter.vhost, content.exchange, &properties) {
            let copies = copies.iter().map(|key| Name::from(*key)).collect();
            return self.hold_back(letter.vhost, message, copies, delay);
        }
        let in_circle = queues_of_cycle(headers);
        let mut in_circle: Vec<QueueAddress> = in_circle
            .filter_map(|name| self.address_of(letter.vhost, name))
            .collect();
        in_circle.sort_unstable();
        self.forward(letter.vhost, &message, copies, &in_circle);
    }
}
