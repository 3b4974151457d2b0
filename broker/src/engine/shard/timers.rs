//! Deadlines of connections: one live entry each, looked at again only when it is reached.

use super::{Output, Shard, Slot};
use crate::engine::connection::Verdict;
use crate::engine::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Activity moves a connection's deadline but not its entry: when the entry is reached, the
/// deadline is asked for again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, Slot, u64)>>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Slot, u64)> {
        (self.next()? <= now)
            .then(|| self.heap.pop())
            .flatten()
            .map(|Reverse(entry)| entry)
    }
}

impl Shard {
    /// Makes sure that the connection's next deadline is not missed.
    pub(super) fn schedule(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        let Some(deadline) = connection.next_deadline() else {
            return;
        };
        if connection.timer.is_none_or(|at| deadline < at) {
            connection.timer = Some(deadline);
            let entry = (deadline, slot, connection.address.generation);
            self.timers.heap.push(Reverse(entry));
        }
    }

    pub(super) fn check_timers(&mut self) {
        while let Some((at, slot, generation)) = self.timers.pop_due(self.now) {
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                continue;
            };
            // An entry that an earlier deadline overtook, or of an earlier connection.
            if connection.address.generation != generation || connection.timer != Some(at) {
                continue;
            }
            connection.timer = None;
            let reason = match connection.handle_deadline(self.now) {
                Verdict::Alive => None,
                Verdict::HandshakeTooSlow => Some("handshake took too long"),
                Verdict::PeerSilent => Some("missed heartbeats"),
                Verdict::CloseTooSlow => Some("no connection.close-ok came"),
            };
            if !connection.outbound.is_empty() {
                self.agenda.touch(connection);
            }
            match reason {
                Some(reason) => self.leave(slot, Output::Abort(slot), reason),
                None => self.schedule(slot),
            }
        }
    }
}
