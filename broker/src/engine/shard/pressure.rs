//! Memory that queues hold, and who waits at its limit: connections whose messages had to be kept,
//! after connection.blocked. Messages that pass through are not held up, nor is what `overtaking`
//! lets by.
//!
//! Workers wait later than others: their acknowledgements, and the requests that they take, free
//! memory, and those come on the very connections that their replies go out on.

use super::mail::Mail;
use super::{Shard, Slot};
use crate::engine::address::ConnectionAddress;
use crate::engine::connection::{Parked, Phase};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod, Blocked, Unblocked};

/// How full the queues of a shard are. Each level is left only well below where it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Low,
    /// At the limit: publishers wait.
    High,
    /// At one and a half times the limit, which only replies can reach: workers wait too.
    /// Once the replies have been read, requests alone keep no shard at this level.
    Full,
}

#[derive(Debug)]
pub(super) struct Pressure {
    index: usize,
    /// Octets that this shard's queues hold.
    queued_len: usize,
    /// At least one octet: empty queues are never at their limit.
    queued_len_max: usize,
    /// Of each shard, as far as they have said.
    levels: Vec<Level>,
    /// Of them.
    highest: Level,
    /// Connections that wait for every level to be below the one given.
    waiting: Vec<(Slot, Level)>,
}

impl Pressure {
    /// `queued_len_max` is of the whole process.
    pub(super) fn new(index: u16, count: u16, queued_len_max: usize) -> Pressure {
        Pressure {
            index: index.into(),
            queued_len: 0,
            queued_len_max: (queued_len_max / usize::from(count)).max(1),
            levels: vec![Level::Low; count.into()],
            highest: Level::Low,
            waiting: Vec::new(),
        }
    }

    /// A queue's holding went from `before` to `after` octets.
    #[inline]
    pub(super) fn account(&mut self, before: usize, after: usize) {
        self.queued_len = self.queued_len + after - before;
    }

    /// Must the publishers of messages that we keep be told? As soon as any shard is at its limit:
    /// what is kept here may go on to there, as a dead letter or when its delay is over.
    pub(super) fn is_high(&self) -> bool {
        self.highest >= Level::High || self.queued_len >= self.queued_len_max
    }

    fn set_level(&mut self, shard: usize, level: Level) {
        self.levels[shard] = level;
        self.highest = self.levels.iter().copied().max().unwrap_or(Level::Low);
    }

    fn level(&self) -> Level {
        let (len, max) = (self.queued_len, self.queued_len_max);
        match self.levels[self.index] {
            Level::Low if len < max => Level::Low, // first: nearly always
            _ if len >= max + max / 2 => Level::Full,
            Level::Full if len > max / 4 * 5 => Level::Full,
            _ if len <= max / 10 * 8 => Level::Low,
            _ => Level::High,
        }
    }

    pub(super) fn invariants(&self, queued_len: usize) {
        assert_eq!(self.queued_len, queued_len);
    }
}

impl Shard {
    /// A local queue had to keep the connection's message.
    pub(super) fn kept_here(&mut self, slot: Slot) {
        if self.pressure.is_high() {
            // Said before anybody waits, or its end would not be noticed.
            self.announce_pressure();
            self.wait_for_memory(slot);
        }
    }

    /// A queue of another shard had to keep the message of a connection of ours.
    pub(super) fn kept_there(&mut self, publisher: ConnectionAddress) {
        let connection = self.connections.get(publisher.slot as usize);
        let is_same = connection.is_some_and(|connection| {
            connection.address == publisher && connection.phase == Phase::Open
        });
        if is_same {
            self.wait_for_memory(publisher.slot);
        }
    }

    fn wait_for_memory(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        let stopped_at = if connection.is_worker() {
            Level::Full
        } else {
            Level::High
        };
        if self.pressure.highest < stopped_at || connection.is_leaving {
            return;
        }
        if std::mem::replace(&mut connection.waits.memory, true) {
            return;
        }
        self.pressure.waiting.push((slot, stopped_at));
        if connection.capabilities.connection_blocked {
            let blocked = Blocked {
                reason: "queues hold too much memory".into(),
            };
            let method = AMQPClass::Connection(AMQPMethod::Blocked(blocked));
            connection.outbound.push_method(0, &method);
            self.agenda.touch(connection);
        }
    }

    /// Tells all shards when our level changes. True if connections that waited for that have gone
    /// on.
    pub(super) fn announce_pressure(&mut self) -> bool {
        let index = self.pressure.index;
        let (before, level) = (self.pressure.levels[index], self.pressure.level());
        if level == before {
            return false;
        }
        self.pressure.set_level(index, level);
        self.neighbours.send_all(|| Mail::Pressure { level });
        let what = match level {
            Level::Low => "below their memory limit",
            Level::High => "at their memory limit",
            Level::Full => "far over their memory limit",
        };
        let text = format!("queues are {what}: {} octets", self.pressure.queued_len);
        self.agenda.log(level > before, text);
        if level < before {
            self.end_memory_waits();
        }
        level < before
    }

    pub(super) fn neighbour_pressure(&mut self, from: u16, level: Level) {
        self.pressure.set_level(from.into(), level);
        self.end_memory_waits();
    }

    fn end_memory_waits(&mut self) {
        let highest = self.pressure.highest;
        let is_over = |&mut (_, stopped_at): &mut (Slot, Level)| stopped_at > highest;
        let over: Vec<(Slot, Level)> = self.pressure.waiting.extract_if(.., is_over).collect();
        for (slot, _) in over {
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                continue;
            };
            if !std::mem::take(&mut connection.waits.memory) || connection.phase != Phase::Open {
                continue;
            }
            connection.parked = Parked::default();
            if connection.capabilities.connection_blocked {
                let method = AMQPClass::Connection(AMQPMethod::Unblocked(Unblocked {}));
                connection.outbound.push_method(0, &method);
                self.agenda.touch(connection);
            }
            self.resume(slot);
        }
    }
}
