//! What queues with rules may do with messages, as far as it can be told from outside: the time of
//! a message, how often it comes back, who is active, what goes first.
//!
//! A queue hands out when nobody looks, and octets come later. So a message is too late only if its
//! receiver had it back, or asked, or everybody rested, when its time was over already; which of
//! two goes first, and who was dropped for whom, is told of those only that waited at rest.
//!
//! Not judged: how many waited at any one time (only that a queue never had more than it may hold
//! in its whole life), how much later than its end a message goes, in which order letters come,
//! which of several queues refused, and all that happens in queues that come and go.

use super::channel::QueueRef;
use super::message::{Copy, Message};
use super::{Oracle, Place};
use crate::rules::Overflow;
use broker::engine::time::Timestamp;

/// As many queues as letters may pass unseen.
const DEPTH: usize = 4;

impl Oracle {
    /// A message has arrived for its queues.
    pub(super) fn enters(&mut self, id: usize) {
        let now = self.now;
        let message = &mut self.messages[id];
        message.arrived_at = now;
        for copy in &mut message.copies {
            copy.since = now;
            let view = &mut self.queues[copy.queue];
            view.entered_count += 1;
            view.entered_len += message.body_len as u64;
        }
    }

    /// Its time must not have been over when it was handed out.
    pub(super) fn check_lifetime(
        &mut self,
        (id, at): (usize, usize),
        place: Place,
        redelivered: bool,
        asked_at: Option<Timestamp>,
    ) {
        let message = &self.messages[id];
        let copy = &message.copies[at];
        let view = &self.queues[copy.queue];
        let Some(lifetime) = message.lifetime_in(&view.rules, &copy.deaths) else {
            return;
        };
        // By when it was in the queue, for all that is known.
        let is_same_shard = message
            .from
            .is_some_and(|from| self.conns[from.conn].shard == view.shard);
        let executed_at = message
            .certain_at
            .filter(|_| is_same_shard && copy.deaths.is_empty());
        let had_arrived = |settled_at: &Timestamp| {
            message.is_certain && message.arrived_at <= *settled_at && copy.deaths.is_empty()
        };
        let rested_at = self.settled_at.filter(had_arrived);
        let there_at = [executed_at, copy.first_sent_at, rested_at];
        let Some(there_at) = there_at.into_iter().flatten().min() else {
            return;
        };
        // Since when it can have been handed out. What an ended channel was sent last may have come
        // from the queue before others had it.
        let end = there_at.plus(lifetime);
        let came_back_at = copy.returned_at.filter(|_| redelivered);
        let is_late = |handed_at: Option<Timestamp>| handed_at.is_some_and(|at| end < at);
        let name = &view.name;
        let text = format!("m{id} comes out of {name}, its time was over: {message:?}");
        if is_late(asked_at) {
            self.fail(text);
        } else if is_late(came_back_at) {
            self.suspect(text, vec![place]);
        }
    }

    pub(super) fn check_delivery_count(
        &mut self,
        (id, at): (usize, usize),
        place: Place,
        redelivered: bool,
        count: Option<u64>,
    ) {
        let copy = &self.messages[id].copies[at];
        let view = &self.queues[copy.queue];
        let Some(limit) = view.rules.delivery_limit else {
            return;
        };
        let (name, sent_count) = (&view.name, copy.sent_count);
        if sent_count > u64::from(limit) {
            let text = format!("m{id} comes out of {name} {sent_count} times and again");
            return self.fail(text);
        }
        if !redelivered {
            return;
        }
        // Those that nobody saw count as well.
        let is_right = count.is_some_and(|count| sent_count <= count && count <= limit.into());
        if !is_right {
            let text = format!("m{id} of {name} says {count:?}, it came {sent_count} times");
            self.suspect(text, vec![place]);
        }
    }

    /// One consumer gets all until it leaves.
    pub(super) fn check_active(&mut self, place: Place, tag: &str, queue: QueueRef) {
        let QueueRef::Followed(queue) = queue else {
            return;
        };
        // What was handed out before it left may be sent late.
        let is_leaving = self.is_leaving(place, tag);
        let view = &mut self.queues[queue];
        if !view.rules.is_single_active || is_leaving {
            return;
        }
        let before = view.active.replace((place, tag.to_string()));
        let Some((active, active_tag)) = before else {
            return;
        };
        if (active, active_tag.as_str()) == (place, tag) || self.is_leaving(active, &active_tag) {
            return;
        }
        let name = &self.queues[queue].name;
        let text = format!("{name} serves {place:?} '{tag}', {active:?} '{active_tag}' is active");
        self.suspect(text, vec![active, place]);
    }

    fn is_leaving(&self, place: Place, tag: &str) -> bool {
        let view = self.conns[place.conn].channels.get(&place.channel);
        self.has_ended(place) || view.is_none_or(|view| !view.consumes(tag))
    }

    /// Of what waited at rest the highest goes first.
    pub(super) fn check_priority(&mut self, place: Place, tag: &str, id: usize) {
        let (Some(settled_at), Some(_)) = (self.settled_at, self.serving_at) else {
            return;
        };
        let message = &self.messages[id];
        let view = self.conns[place.conn].channels.get_mut(&place.channel);
        let Some(consumer) = view.and_then(|view| view.consumers.get_mut(tag)) else {
            return;
        };
        let QueueRef::Followed(queue) = consumer.queue else {
            return;
        };
        if message.arrived_at > settled_at {
            return;
        }
        let priority = message.priority_in(&self.queues[queue].rules);
        let latest = consumer.served_priority.replace(priority);
        if latest.is_some_and(|latest| latest < priority) {
            let name = &self.queues[queue].name;
            let text = format!("m{id} of {name} has priority {priority}, and waits for {latest:?}");
            self.fail(text);
        }
    }

    /// At rest, somebody may still be about to see its letter.
    pub(super) fn may_have_ended(&self, message: &Message, copy: &Copy) -> bool {
        let rules = &self.queues[copy.queue].rules;
        let has_rules = rules.has_limit() || rules.delivery_limit.is_some();
        has_rules && self.is_gone_by_rules(message, copy)
            || message.lifetime_in(rules, &copy.deaths).is_some()
            || rules.letters.is_some() && has_rules
    }

    /// All has been served: may the copy, which nobody has taken, be gone?
    pub(super) fn is_gone_by_rules(&self, message: &Message, copy: &Copy) -> bool {
        self.may_vanish(message, (copy.queue, &copy.deaths), DEPTH)
    }

    /// What is too much goes from the front: whatever waited at rest was behind it.
    pub(super) fn check_overflows(&mut self) {
        let (Some(settled_at), Some(serving_at)) = (self.settled_at, self.serving_at) else {
            return;
        };
        for (queue, view) in self.queues.iter().enumerate() {
            let rules = &view.rules;
            let is_judged = rules.has_limit() && rules.overflow == Overflow::DropHead;
            if !is_judged || rules.priority_max.is_some() || view.had_bounces || view.is_lossy {
                continue;
            }
            let copies = self.messages.iter().filter_map(|message| {
                let mut copies = message.copies.iter();
                let copy = copies.find(|it| it.queue == queue && it.deaths.is_empty())?;
                let is_judged = message.is_certain && !message.is_void;
                (is_judged && message.arrived_at <= settled_at).then_some((message, copy))
            });
            let copies: Vec<_> = copies.collect();
            let stayed = |copy: &Copy| copy.first_sent_at.is_some_and(|at| at >= serving_at);
            let dropped = |message: &Message, copy: &Copy| {
                let has_time = message.lifetime_in(rules, &[]).is_some();
                !copy.was_sent() && !copy.is_unsure && !has_time
            };
            for (early, _) in copies.iter().filter(|(_, copy)| stayed(copy)) {
                let mut late = copies.iter().filter(|(late, copy)| {
                    late.from == early.from && late.order > early.order && dropped(late, copy)
                });
                if let Some((late, _)) = late.next() {
                    let text = format!("{} drops {late:?} instead of {early:?}", view.name);
                    self.failure.get_or_insert(text);
                    return;
                }
            }
        }
    }
}
