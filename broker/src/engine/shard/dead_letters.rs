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
use crate::limits::{EXPIRED_COUNT_PER_TURN, TABLE_DEPTH_MAX};

/// A message on its way from a queue that gave it up. What it leads to may push out others, and so
/// on along a chain that peers choose: it is routed from `finish`, not where it was given up.
#[derive(Debug)]
pub(super) struct DeadLetter {
    vhost: VhostIndex,
    queue: Name,
    reason: Reason,
    message: Message,
    to: DeadLetters,
}

impl Shard {
    /// The queue owns the message no more, and nobody else does.
    pub(super) fn give_up(&mut self, address: QueueAddress, queued: Queued, reason: Reason) {
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
            self.agenda.dead_letters.push_back(letter);
        }
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
    pub(super) fn post(&mut self, letter: DeadLetter) {
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
        if let Some(delay) = self.delay_of(letter.vhost, content.exchange, &properties) {
            return self.hold_back(letter.vhost, message, Vec::new(), delay);
        }
        let headers = properties.headers().unwrap_or_default();
        let copies = Copies::named_in(headers).ok().flatten();
        let copies = copies.as_ref().map_or(&[][..], |copies| &copies.keys);
        let in_circle = queues_of_cycle(headers);
        let mut in_circle: Vec<QueueAddress> = in_circle
            .filter_map(|name| self.address_of(letter.vhost, name))
            .collect();
        in_circle.sort_unstable();
        self.forward(letter.vhost, &message, copies, &in_circle);
    }
}
