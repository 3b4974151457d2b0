//! What must be true when the world is at rest: nothing is asked, confirmed, promised or blocked
//! in vain, and nothing is left of who has gone.

use super::message::Route;
use super::{Conn, Oracle, QueueRef};
use crate::peer::LOOSE_QUEUES;
use crate::swarm::Swarm;
use broker::engine::name::Name;
use broker::engine::shard::Census;
use std::collections::BTreeSet;

/// What all shards hold, when only shared names may be left.
pub struct Leftovers<'a> {
    pub census: &'a [Census],
    pub topologies: Vec<Vec<String>>,
    pub swarm: &'a Swarm,
}

/// Everything written has arrived, everything sent has been taken, and nobody is faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Publishers may wait for memory.
    Full,
    Quiet,
    /// Somebody has taken all that waited in queues, and settled it.
    Served,
}

impl Oracle {
    pub fn check_rest(&mut self, rest: Rest) {
        let is_served = rest == Rest::Served;
        for conn in 0..self.conns.len() {
            if !self.conns[conn].has_ended && rest != Rest::Full {
                self.check_connection(conn, is_served);
            }
        }
        self.check_suspicions();
        if is_served {
            self.check_overflows();
        }
        let consumed = self.consumed_queues();
        for id in 0..self.messages.len() {
            if let Err(what) = self.check_message(id, rest, &consumed) {
                self.fail(format!("m{id} {what}: {:?}", self.messages[id]));
            }
        }
    }

    fn check_connection(&mut self, conn: Conn, is_served: bool) {
        let view = &self.conns[conn];
        if view.wild.is_some() {
            return;
        }
        if view.is_blocked {
            self.fail(format!("c{conn} is still blocked"));
        }
        let numbers: Vec<u16> = self.conns[conn].channels.keys().copied().collect();
        for number in numbers {
            let view = self.channel_mut(conn, number);
            if view.has_ended {
                self.fail(format!("c{conn}/{number} is never closed"));
                continue;
            }
            if let Some(pending) = view.unanswered() {
                let text = format!("c{conn}/{number} is never told: {pending:?}");
                return self.fail(text);
            }
            if !view.unconfirmed.is_empty() {
                let text = format!("c{conn}/{number} is not confirmed: {:?}", view.unconfirmed);
                return self.fail(text);
            }
            if is_served && !view.holds.is_empty() {
                let text = format!("c{conn}/{number} is not done with {:?}", view.holds);
                return self.fail(text);
            }
            self.executed_all(conn, number);
        }
    }

    fn check_suspicions(&mut self) {
        for suspicion in std::mem::take(&mut self.suspicions) {
            let has_ended = suspicion
                .unless_ended
                .iter()
                .any(|place| self.has_ended(*place));
            let returns = suspicion.unless_returns.map(|queue| &self.queues[queue]);
            let is_spent = |(id, at): (usize, usize)| {
                let copy = &self.messages[id].copies[at];
                let queue = &self.queues[copy.queue];
                let limit = queue.rules.delivery_limit.map_or(u64::MAX, u64::from);
                queue.has_unseen_returns || copy.sent_count > limit
            };
            if suspicion.unless_spent.is_some_and(is_spent) {
                continue;
            }
            if !has_ended && !returns.is_some_and(|queue| queue.had_returns || queue.is_gone) {
                return self.fail(suspicion.text);
            }
        }
    }

    fn check_message(
        &self,
        id: usize,
        rest: Rest,
        consumed: &BTreeSet<usize>,
    ) -> Result<(), &'static str> {
        let message = &self.messages[id];
        if !message.is_certain || message.is_void {
            return Ok(());
        }
        let is_told = message.from.is_some_and(|from| !self.has_ended(from));
        if message.must_return && !message.is_returned && is_told {
            return Err("is not returned");
        }
        match message.route {
            // Who waits for memory may not have been able to say channel.flow(true).
            Route::Direct(to) if rest != Rest::Full => {
                let is_over = message.is_delivered || message.is_returned;
                if !is_over && !self.may_have_left(to) {
                    return Err("never reaches its requester");
                }
            }
            _ => {}
        }
        for copy in &message.copies {
            let queue = &self.queues[copy.queue];
            let mut holders = copy.holders.iter();
            if holders
                .clone()
                .filter(|place| !self.has_ended(**place))
                .count()
                > 1
            {
                return Err("is at several");
            }
            let is_held = holders.any(|place| !self.has_ended(*place));
            let is_over = copy.died.is_some() || copy.is_refused;
            let is_known = copy.done.is_some() || is_held || copy.is_unsure || is_over;
            let is_excused = queue.is_gone || queue.is_lossy || queue.is_unread;
            let is_waiting = !is_known && !is_excused && !message.is_returned;
            match rest {
                Rest::Quiet
                    if is_waiting
                        && consumed.contains(&copy.queue)
                        && !self.may_have_ended(message, copy) =>
                {
                    return Err("waits, and a consumer with room for it too");
                }
                Rest::Served if is_waiting && !self.is_gone_by_rules(message, copy) => {
                    return Err("is lost");
                }
                Rest::Served if self.is_letter_lost(message, copy) => {
                    return Err("is rejected, and its letter is lost");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Followed queues of which somebody consumes who is done with all that it has got.
    fn consumed_queues(&self) -> BTreeSet<usize> {
        let conns = self
            .conns
            .iter()
            .filter(|conn| !conn.has_ended && conn.wild.is_none());
        let channels = conns.flat_map(|conn| conn.channels.values());
        let idle = channels.filter(|view| !view.has_ended && view.holds.is_empty());
        let consumers = idle.flat_map(|view| view.consumers.values());
        let queues = consumers.filter_map(|consumer| match consumer.queue {
            QueueRef::Followed(queue) => Some(queue),
            QueueRef::Loose => None,
        });
        queues.collect()
    }

    /// A limit must hold at any time.
    pub fn check_limits(&mut self, census: &Census, swarm: &Swarm) {
        let limits = &swarm.limits;
        // What one frame, or one message, may add to what was just below the limit.
        let message_len = swarm.body_len_max + 4096;
        let slack = 2 * message_len + limits.outbox_count_max.min(64) * message_len;
        let checks = [
            (
                "consumers",
                census.consumer_count_max,
                limits.consumer_count_max,
            ),
            (
                "held replies",
                census.held_reply_count_max,
                limits.held_reply_count_max,
            ),
            (
                "unsent",
                census.unsent_len_max,
                limits.unsent_len_max + slack,
            ),
            (
                "transit",
                census.transit_len_max,
                limits.transit_len_max + message_len,
            ),
            (
                "unfinished",
                census.assembly_len_max as usize,
                limits.assembly_len_max as usize,
            ),
        ];
        for (what, count, max) in checks {
            if count > max {
                self.fail(format!("{count} {what}, {max} are allowed"));
            }
        }
    }

    /// All connections are gone and released.
    pub fn check_leftovers(&mut self, leftovers: &Leftovers<'_>) {
        for (index, census) in leftovers.census.iter().enumerate() {
            let counts = [
                ("connections", census.connection_count),
                ("channels", census.channel_count),
                ("reply consumers", census.reply_consumer_count),
                ("consumers of channels", census.channel_consumer_count),
                ("consumers of queues", census.queue_consumer_count),
                ("deliveries of channels", census.channel_unacked_count),
                ("deliveries of queues", census.queue_unacked_count),
                ("unconfirmed", census.unconfirmed_count),
                ("exclusive queues", census.exclusive_queue_count),
                ("proposals", census.proposal_count),
                ("waits", census.waiting_count),
                ("backlog octets", census.backlog_len),
                ("unsent octets", census.unsent_len),
                ("mails", census.outbox_count),
            ];
            for (what, count) in counts {
                if count > 0 {
                    self.fail(format!("{count} {what} are left on shard {index}"));
                }
            }
            if !census.is_idle {
                self.fail(format!("shard {index} has something left to do"));
            }
        }
        let first = &leftovers.topologies[0];
        for (index, topology) in leftovers.topologies.iter().enumerate() {
            if topology != first {
                self.fail(format!("shard {index} knows other names than shard 0"));
            }
        }
        let swarm = leftovers.swarm;
        for (name, rules) in LOOSE_QUEUES.iter().zip(&swarm.loose_rules) {
            let start = format!("queue {:?} ", Name::from(*name));
            if rules.expires.is_some() && first.iter().any(|line| line.starts_with(&start)) {
                self.fail(format!("{name} is there for ever"));
            }
        }
        let limits = &swarm.limits;
        let names = [
            ("queue", limits.queue_count_max),
            ("exchange", limits.exchange_count_max),
            ("binding", limits.binding_count_max),
        ];
        for (what, max) in names {
            let count = first.iter().filter(|line| line.starts_with(what)).count();
            if count > max {
                self.fail(format!("{count} names of kind {what}, {max} are allowed"));
            }
        }
        let live = |conn: &super::ConnView| !conn.is_released;
        if self.conns.iter().any(live) {
            self.fail("a connection is never released".into());
        }
    }
}
