//! How channels and connections end, in order and not. What they held goes back to its queues.

use super::channel::{ChannelView, Effect, PUBLISH, QueueRef, Verdict};
use super::{Conn, Oracle, Place};
use crate::wire::Ids;
use broker::engine::time::Timestamp;
use broker::limits::HANDSHAKE_TIME_MAX;
use std::ops::RangeInclusive;
use std::time::Duration;

impl Oracle {
    /// The broker has been told that the peer is gone.
    pub fn peer_ended(&mut self, conn: Conn) {
        self.end_connection(conn, Some(self.now));
    }

    /// The broker ends the connection: that needs a reason.
    pub fn broker_ended(&mut self, conn: Conn, has_unsent: bool, now: Timestamp) {
        let view = &self.conns[conn];
        let silence = Duration::from_secs(view.heartbeat_s.into()) * 2;
        let is_silent = view.heartbeat_s > 0 && now >= view.last_heard.plus(silence);
        let is_slow = !view.is_open && now >= view.accepted_at.plus(HANDSHAKE_TIME_MAX);
        // Too much for a peer that does not read, or the word that it was too much.
        let is_stuck = has_unsent && (self.is_short_of_room || self.is_short_of_assembly);
        let is_explained = view.has_ended || view.is_refused || view.wild.is_some();
        let is_asked = self.is_shutting_down && !view.is_open;
        if !(is_explained || is_silent || is_slow || is_stuck || is_asked) {
            self.fail(format!("c{conn} is ended for no reason"));
        }
        self.end_connection(conn, None);
    }

    pub(super) fn end_connection(&mut self, conn: Conn, at: Option<Timestamp>) {
        let numbers: Vec<u16> = self.conns[conn].channels.keys().copied().collect();
        numbers
            .into_iter()
            .for_each(|number| self.end_channel(conn, number, at));
        let view = &mut self.conns[conn];
        view.has_ended = true;
        for queue in &view.no_ack_queues {
            self.queues[*queue].is_lossy = true;
        }
        let owned = self
            .queues
            .iter_mut()
            .filter(|queue| queue.owner == Some(conn));
        owned.for_each(|queue| queue.is_gone = true);
    }

    /// channel.close is sent: the first act that is still open must be one that explains it.
    pub(super) fn channel_refused(&mut self, conn: Conn, number: u16, (code, ids): (u16, Ids)) {
        self.tally.channel_errors += 1;
        let view = self.channel_mut(conn, number);
        if std::mem::replace(&mut view.is_refused, true) {
            return self.fail(format!("c{conn}/{number} is closed twice"));
        }
        if !view.has_ended {
            let held_too_much = (code, ids) == (506, PUBLISH) && view.was_ever_stopped;
            let mut failed = None;
            // Who wants no answer may have been executed before, unnoticed.
            for pending in &view.pending {
                if pending.explains(code, ids) {
                    let first = failed.map_or(pending.sequence, |(first, _)| first);
                    failed = Some((first, pending.sequence));
                }
                if pending.wants_something() {
                    break;
                }
            }
            match failed {
                Some((first, last)) => self.failed_within(conn, number, first..=last),
                None if held_too_much => {}
                None => self.fail(format!(
                    "c{conn}/{number} is closed for no reason: {code} {ids:?}"
                )),
            }
        }
        self.end_channel(conn, number, None);
        self.channel_mut(conn, number).pending.clear();
    }

    /// One of these acts failed: what came before was executed, what came behind never will be.
    fn failed_within(&mut self, conn: Conn, number: u16, acts: RangeInclusive<u64>) {
        self.executed(conn, number, acts.start() - 1);
        let view = self.channel_mut(conn, number);
        for (sequence, message) in std::mem::take(&mut view.publishes) {
            self.messages[message].is_void |= sequence > *acts.end();
        }
    }

    /// The channel ends, whoever ended it: what it held goes back, what it said last is unsure.
    /// `at`: `None` if it may have ended long before this could be seen.
    pub(super) fn end_channel(&mut self, conn: Conn, number: u16, at: Option<Timestamp>) {
        let view = self.channel_mut(conn, number);
        if std::mem::replace(&mut view.has_ended, true) {
            return;
        }
        let place = view.place;
        let holds = std::mem::take(&mut view.holds);
        let acks = std::mem::take(&mut view.acks);
        for queue in self.queues_may_get_back(conn, number) {
            let queue = &mut self.queues[queue];
            queue.is_unread |= queue.owner.is_some();
            queue.has_unseen_returns = true;
        }
        holds
            .values()
            .for_each(|hold| self.release(hold, place, at));
        for (_, message, copy) in acks {
            let copy = &mut self.messages[message].copies[copy];
            copy.done = None;
            copy.is_unsure = true;
            self.queues[copy.queue].had_returns = true;
        }
    }

    /// What is on its way to the channel's consumers may go back to the queues, which are returned.
    pub(super) fn queues_may_get_back(&mut self, conn: Conn, number: u16) -> Vec<usize> {
        let view = self.channel_mut(conn, number);
        let consumed = view.consumers.values().map(|consumer| consumer.queue);
        let asked = view.pending.iter().map(|pending| match pending.effect {
            Effect::AddConsumer { queue, .. } | Effect::Get { queue, .. } => queue,
            _ => QueueRef::Loose,
        });
        let followed = consumed.chain(asked).filter_map(|queue| match queue {
            QueueRef::Followed(queue) => Some(queue),
            QueueRef::Loose => None,
        });
        let queues: Vec<usize> = followed.collect();
        for queue in &queues {
            self.queues[*queue].had_returns = true;
            self.queues[*queue].had_bounces = true;
        }
        queues
    }

    /// An error may have ended the channel that its peer has not seen yet.
    pub(super) fn may_have_failed(&self, place: Place) -> bool {
        let conn = &self.conns[place.conn];
        let may_fail = |view: &ChannelView| {
            let mut pending = view.pending.iter();
            view.was_ever_stopped || pending.any(|it| it.verdict != Verdict::Fine)
        };
        conn.wild.is_some() || conn.channels.get(&place.channel).is_some_and(may_fail)
    }
}
