//! Deadlines of connections and queues: one entry each, looked at again only when it is reached.

use super::{Output, Shard, Slot};
use crate::engine::address::{CallKey, QueueAddress};
use crate::engine::connection::Verdict;
use crate::engine::time::Timestamp;
use std::collections::BTreeSet;

/// Whose deadline it is. Its owner knows the time of the entry, and takes it out when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Connection(Slot),
    /// Index within the shard.
    Queue(u32),
    /// The same.
    Call(u32),
}

/// What happens moves a deadline but not its entry, unless to an earlier time: when the entry is
/// reached, the deadline is asked for again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<(Timestamp, Owner)>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.entries.first().map(|(at, _)| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<Owner> {
        (self.next()? <= now)
            .then(|| self.entries.pop_first())
            .flatten()
            .map(|(_, owner)| owner)
    }

    /// Makes sure that `deadline` is not missed; `entry` is the time of the owner's entry.
    fn set(&mut self, owner: Owner, entry: &mut Option<Timestamp>, deadline: Option<Timestamp>) {
        if let Some(deadline) = deadline
            && entry.is_none_or(|at| deadline < at)
        {
            self.cancel(owner, *entry);
            *entry = Some(deadline);
            self.entries.insert((deadline, owner));
        }
    }

    fn cancel(&mut self, owner: Owner, entry: Option<Timestamp>) {
        if let Some(at) = entry {
            self.entries.remove(&(at, owner));
        }
    }

    /// The connection has ended.
    pub(super) fn cancel_connection(&mut self, slot: Slot, entry: Option<Timestamp>) {
        self.cancel(Owner::Connection(slot), entry);
    }

    /// The call has ended.
    pub(super) fn cancel_call(&mut self, index: u32, entry: Option<Timestamp>) {
        self.cancel(Owner::Call(index), entry);
    }

    /// The queue has ended.
    pub(super) fn cancel_queue(&mut self, index: u32, entry: Option<Timestamp>) {
        self.cancel(Owner::Queue(index), entry);
    }
}

impl Shard {
    /// Makes sure that the connection's next deadline is not missed.
    pub(super) fn schedule(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        let deadline = connection.next_deadline();
        self.timers
            .set(Owner::Connection(slot), &mut connection.timer, deadline);
    }

    /// The same for a local queue, if there still is one.
    pub(super) fn schedule_queue(&mut self, address: QueueAddress) {
        let queue = self.queues.get_mut(address.index as usize);
        if let Some(queue) = queue.filter(|queue| queue.address == address) {
            let deadline = queue.next_deadline();
            self.timers
                .set(Owner::Queue(address.index), &mut queue.alarm, deadline);
        }
    }

    /// The same for a call.
    pub(super) fn schedule_call(&mut self, key: CallKey, deadline: Timestamp) {
        if let Some(call) = self.book.get_mut(key) {
            self.timers
                .set(Owner::Call(key.index), &mut call.alarm, Some(deadline));
        }
    }

    pub(super) fn check_timers(&mut self) {
        while let Some(owner) = self.timers.pop_due(self.now) {
            match owner {
                Owner::Connection(slot) => self.check_connection(slot),
                Owner::Queue(index) => self.check_queue(index),
                Owner::Call(index) => self.check_call(index),
            }
        }
    }

    fn check_connection(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
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

    /// A queue that nobody has used for too long goes; of any other the messages whose time is
    /// over.
    fn check_queue(&mut self, index: u32) {
        let queue = &mut self.queues[index as usize];
        queue.alarm = None;
        let address = queue.address;
        if queue.end_of_disuse().is_some_and(|end| end <= self.now) {
            self.delete_queue(address, None);
        } else {
            self.agenda.queues.push(address);
            self.schedule_later(address);
        }
    }

    /// What is due is on the agenda already: only what comes later is.
    fn schedule_later(&mut self, address: QueueAddress) {
        let due = self.queues[address.index as usize].next_deadline();
        if due.is_some_and(|due| due > self.now) {
            self.schedule_queue(address);
        }
    }
}
