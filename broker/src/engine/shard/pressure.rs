//! Memory that queues hold, and what happens at its limit: connections whose messages had to be
//! kept are not read, after connection.blocked. Messages that pass through are not held up.

use super::mail::Mail;
use super::{Shard, Slot};
use crate::engine::address::ConnectionAddress;
use crate::engine::connection::Phase;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod, Blocked, Unblocked};

#[derive(Debug)]
pub(super) struct Pressure {
    index: usize,
    /// Octets that this shard's queues hold.
    queued_len: usize,
    queued_len_max: usize,
    /// Which shards are over their limit, as far as they have said.
    high: Vec<bool>,
    /// Connections that wait for it to end.
    waiting: Vec<Slot>,
}

impl Pressure {
    /// `queued_len_max` is of the whole process.
    pub(super) fn new(index: u16, count: u16, queued_len_max: usize) -> Pressure {
        Pressure {
            index: index.into(),
            queued_len: 0,
            queued_len_max: queued_len_max / usize::from(count),
            high: vec![false; count.into()],
            waiting: Vec::new(),
        }
    }

    /// A queue's holding went from `before` to `after` octets.
    #[inline]
    pub(super) fn account(&mut self, before: usize, after: usize) {
        self.queued_len = self.queued_len + after - before;
    }

    #[inline]
    pub(super) fn is_over(&self, shard: u16) -> bool {
        let shard = usize::from(shard);
        self.high[shard] || (shard == self.index && self.queued_len >= self.queued_len_max)
    }

    pub(super) fn invariants(&self, queued_len: usize) {
        assert_eq!(self.queued_len, queued_len);
    }
}

impl Shard {
    /// A local queue had to keep the connection's message: it waits if we are over our limit.
    pub(super) fn kept_here(&mut self, slot: Slot) {
        if self.pressure.is_over(self.index) {
            // Said before anybody waits, or its end would not be noticed.
            self.announce_pressure();
            self.wait_for_memory(slot);
        }
    }

    /// A queue of another shard had to keep the message of a connection of ours.
    pub(super) fn kept_there(&mut self, publisher: ConnectionAddress, shard: u16) {
        let connection = self.connections.get(publisher.slot as usize);
        let is_same = connection.is_some_and(|connection| {
            connection.address == publisher && connection.phase == Phase::Open
        });
        if is_same && self.pressure.is_over(shard) {
            self.wait_for_memory(publisher.slot);
        }
    }

    fn wait_for_memory(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        if std::mem::replace(&mut connection.waits.memory, true) {
            return;
        }
        self.pressure.waiting.push(slot);
        if connection.capabilities.connection_blocked {
            let blocked = Blocked {
                reason: "queues hold too much memory".into(),
            };
            let method = AMQPClass::Connection(AMQPMethod::Blocked(blocked));
            connection.outbound.push_method(0, &method);
            self.agenda.touch(connection);
        }
    }

    /// Tells all shards when ours goes over its limit, and when it is well below again. True if
    /// connections that waited for that have gone on.
    pub(super) fn announce_pressure(&mut self) -> bool {
        let Pressure {
            index,
            queued_len,
            queued_len_max,
            ref high,
            ..
        } = self.pressure;
        let is_high = match high[index] {
            false => queued_len >= queued_len_max,
            true => queued_len > queued_len_max / 10 * 8,
        };
        if is_high == high[index] {
            return false;
        }
        self.pressure.high[index] = is_high;
        self.neighbours.send_all(|| Mail::Pressure { is_high });
        let what = if is_high { "over" } else { "below" };
        let text = format!("queues are {what} their memory limit: {queued_len} octets");
        self.agenda.log(is_high, text);
        if !is_high {
            self.end_memory_waits();
        }
        !is_high
    }

    pub(super) fn neighbour_pressure(&mut self, from: u16, is_high: bool) {
        self.pressure.high[usize::from(from)] = is_high;
        if !is_high {
            self.end_memory_waits();
        }
    }

    /// Whose next message must be kept by a shard that is still over its limit waits again.
    fn end_memory_waits(&mut self) {
        for slot in std::mem::take(&mut self.pressure.waiting) {
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                continue;
            };
            if !std::mem::take(&mut connection.waits.memory) || connection.phase != Phase::Open {
                continue;
            }
            if connection.capabilities.connection_blocked {
                let method = AMQPClass::Connection(AMQPMethod::Unblocked(Unblocked {}));
                connection.outbound.push_method(0, &method);
                self.agenda.touch(connection);
            }
            self.resume(slot);
        }
    }
}
