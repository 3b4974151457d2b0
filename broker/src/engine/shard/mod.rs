//! The whole broker as one thread sees it.
//!
//! A request's way: `handle_bytes` → `execute` → `publish` → `deliver` (or `replies`) → the
//! receiver's outbound; across shards a `Mail` lies between the last two. `settle` is the way back
//! of acknowledgements, `requests` what is asked of a queue wherever it lives, `registrar` how
//! names become known to all shards.

mod answers;
mod bind;
mod called;
mod calls;
mod census;
mod consume;
mod consumer_arguments;
mod content;
mod copies;
mod dead_letters;
mod declare;
mod delayed;
mod deliver;
mod exchanges;
mod execute;
mod forward;
mod lifecycle;
mod mail;
mod overtaking;
mod policies;
mod pressure;
mod publish;
mod registrar;
mod replies;
mod requests;
mod services;
mod session;
mod settings;
mod settle;
mod slow_calls;
mod timers;
mod transact;

pub use census::Census;
pub use mail::{Mail, Outbox, RemoteDelivery};
pub use services::{Percentiles, ServiceReport, WorkerReport};
pub use settings::{Settings, User};

use super::address::{ConnectionAddress, QueueAddress, Sealer, VhostIndex};
use super::buffer::Batch;
use super::call::{Book, Sampler, Services};
use super::connection::{Connection, Phase};
use super::name::Name;
use super::queue::Queue;
use super::time::Timestamp;
use super::topology::Topology;
use crate::limits::{LETTER_COUNT_PER_TURN, Limits};
use ahash::RandomState;
use dead_letters::Letters;
use delayed::Delayed;
use mail::Neighbours;
use pressure::Pressure;
use registrar::Registrar;
use services::Inquiries;
use slab::Slab;
use slow_calls::SlowCalls;
use std::collections::VecDeque;
use std::net::SocketAddr;
use timers::Timers;

/// Index of a connection within its shard. It is not reused before `handle_released`.
pub type Slot = u32;

/// What the shell must do; in order.
#[derive(Debug)]
pub enum Output {
    /// There are bytes to send: `take_outbound` when no send is in flight for this connection.
    Send(Slot),
    /// Stop receiving from this connection (what has been received already is still handled).
    PauseReading(Slot),
    ResumeReading(Slot),
    /// Send what is left in the outbound, then shut the socket down, wait for its operations to
    /// end, close it and call `handle_released`.
    Close(Slot),
    /// The same without sending what is left.
    Abort(Slot),
    Log(LogEvent),
}

/// For the log, one line each.
#[derive(Debug)]
pub struct LogEvent {
    pub is_warning: bool,
    pub text: String,
}

#[derive(Debug)]
pub struct Shard {
    index: u16,
    settings: Settings,
    sealer: Sealer,
    /// The time of the `handle_*` that is being executed.
    now: Timestamp,
    latest_generation: u64,
    connections: Slab<Connection>,
    queues: Slab<Queue>,
    /// Of each virtual host.
    topologies: Vec<Topology>,
    registrar: Registrar,
    neighbours: Neighbours,
    pressure: Pressure,
    timers: Timers,
    delayed: Delayed,
    letters: Letters,
    /// Calls that connections of this shard have made.
    book: Book,
    /// Replies that came behind the end of their calls.
    late_reply_count: u64,
    sampler: Sampler,
    /// What is measured of calls to queues of this shard.
    services: Services,
    inquiries: Inquiries,
    slow_calls: SlowCalls,
    agenda: Agenda,
}

/// What a `handle_*` leaves to be done before it returns, and what it leaves to the shell.
#[derive(Debug, Default)]
struct Agenda {
    limits: Limits,
    /// Queues that may have both a message and a consumer with credit.
    queues: Vec<QueueAddress>,
    /// Channels with confirms to send: slot and number.
    confirms: Vec<(Slot, u16)>,
    /// Connections whose peer let too much pile up.
    overflowing: Vec<Slot>,
    /// Connections with a wait that has ended.
    resuming: Vec<Slot>,
    /// Virtual hosts whose services somebody has asked about.
    inquiries: Vec<VhostIndex>,
    /// Room for a routing result, reused.
    routed: Vec<QueueAddress>,
    outputs: VecDeque<Output>,
}

impl Agenda {
    fn has_work(&self) -> bool {
        // One sum and one branch: asked in every turn, and nearly always in vain.
        let Agenda {
            queues,
            confirms,
            overflowing,
            resuming,
            inquiries,
            ..
        } = self;
        let lists = queues.len() | confirms.len() | overflowing.len() | resuming.len();
        lists | inquiries.len() != 0
    }

    /// Something was pushed to the connection's outbound.
    #[inline]
    fn touch(&mut self, connection: &mut Connection) {
        let slot = connection.address.slot;
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.outputs.push_back(Output::Send(slot));
        }
        let unsent_len = connection.outbound.unsent_len();
        if unsent_len >= self.limits.unsent_len_high {
            connection.waits.unsent = true;
            if unsent_len >= self.limits.unsent_len_max {
                self.overflowing.push(slot);
            }
        }
    }

    fn log(&mut self, is_warning: bool, text: String) {
        self.outputs
            .push_back(Output::Log(LogEvent { is_warning, text }));
    }
}

impl Shard {
    /// Asserts `index < count`, and limits at which nothing hangs.
    pub fn new(index: u16, count: u16, settings: Settings) -> Shard {
        assert!(index < count, "a shard's index is below their count");
        let limits = settings.limits;
        assert!(limits.is_sound(), "{limits:?}");
        let [a, b] = [&settings.secret[..8], &settings.secret[8..]]
            .map(|half| u64::from_le_bytes(half.try_into().expect("eight octets")));
        let hash_keys = RandomState::with_seeds(a, b, !a, !b);
        let topologies = settings.vhosts.iter().map(|vhost| {
            let name = Name::from(vhost.as_str());
            let policies = settings.policies.iter().filter(|(other, _)| other == vhost);
            let policies = policies.map(|(_, policy)| policy.clone());
            Topology::new(name, hash_keys.clone(), limits).with_policies(policies)
        });
        Shard {
            index,
            sealer: Sealer::new(settings.secret),
            now: Timestamp::default(),
            latest_generation: 0,
            connections: Slab::new(),
            queues: Slab::new(),
            topologies: topologies.collect(),
            registrar: Registrar::default(),
            neighbours: Neighbours::new(index, count, limits.outbox_count_max),
            pressure: Pressure::new(index, count, settings.queued_len_max),
            timers: Timers::default(),
            delayed: Delayed::default(),
            letters: Letters::default(),
            book: Book::default(),
            late_reply_count: 0,
            sampler: Sampler::new(settings.calls_measured_per_second, a ^ u64::from(index)),
            services: Services::default(),
            inquiries: Inquiries::default(),
            slow_calls: SlowCalls::default(),
            agenda: Agenda {
                limits,
                ..Agenda::default()
            },
            settings,
        }
    }

    /// A connection was accepted. `None`: refused (too many); the shell just closes it.
    pub fn handle_accepted(&mut self, peer: SocketAddr, now: Timestamp) -> Option<Slot> {
        self.now = now;
        let share = self.connection_share();
        if self.connections.len() >= share {
            self.agenda.log(
                true,
                format!("connection from {peer} refused: limit reached"),
            );
            return None;
        }
        let generation = self.take_generation();
        let entry = self.connections.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("connections are limited in number");
        let address = ConnectionAddress {
            shard: self.index,
            slot,
            generation,
        };
        entry.insert(Connection::new(address, peer, now));
        self.schedule(slot);
        Some(slot)
    }

    /// Octets arrived.
    pub fn handle_bytes(&mut self, slot: Slot, bytes: &[u8], now: Timestamp) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.last_received = now;
        if connection.phase == Phase::Gone {
            return;
        }
        if connection.backlog.is_empty() {
            let executed = self.execute(slot, bytes);
            let connection = &mut self.connections[slot as usize];
            if connection.phase != Phase::Gone {
                connection.backlog.extend_from_slice(&bytes[executed..]);
                self.overtake(slot);
            }
        } else {
            connection.backlog.extend_from_slice(bytes);
            self.execute_backlog(slot);
        }
        self.finish();
        self.regulate_reading(slot);
    }

    /// `len` octets that `take_outbound` gave out have been sent.
    pub fn handle_sent(&mut self, slot: Slot, len: usize, now: Timestamp) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.outbound.sent(len);
        if !connection.is_drained(&self.settings.limits) || connection.phase == Phase::Gone {
            return;
        }
        if std::mem::take(&mut connection.is_starved) {
            self.unpark_connection(slot);
        }
        if self.connections[slot as usize].owes_credit {
            self.return_credit(slot);
        }
        self.release_withheld(slot);
        let waits = &mut self.connections[slot as usize].waits;
        if std::mem::take(&mut waits.unsent) {
            self.resume(slot);
        }
        self.finish();
    }

    /// The peer closed its side, or the socket failed (`error` for the log). The engine answers
    /// with `Output::Abort` (also when it was closing already).
    pub fn handle_disconnected(&mut self, slot: Slot, error: Option<String>, now: Timestamp) {
        self.now = now;
        let Some(connection) = self.connections.get(slot as usize) else {
            return;
        };
        if connection.phase == Phase::Gone {
            self.agenda.outputs.push_back(Output::Abort(slot));
            return;
        }
        let expected = matches!(connection.phase, Phase::Closing { .. });
        let reason = error.unwrap_or_else(|| "closed by the peer without a goodbye".into());
        let reason = if expected {
            "closed by us".into()
        } else {
            reason
        };
        self.leave(slot, Output::Abort(slot), &reason);
        self.finish();
    }

    /// The socket is closed: the slot may be used again.
    pub fn handle_released(&mut self, slot: Slot) {
        let connection = self.connections.remove(slot as usize);
        self.timers.cancel_connection(slot, connection.timer);
        assert!(
            connection.phase == Phase::Gone,
            "only what was closed is released"
        );
    }

    pub fn handle_mail(&mut self, from: u16, mail: Mail, now: Timestamp) {
        self.now = now;
        self.execute_mail(from, mail);
        self.finish();
    }

    pub fn handle_deadline(&mut self, now: Timestamp) {
        self.now = now;
        self.check_timers();
        self.release_delayed();
        self.finish();
    }

    /// The process is asked to stop: every connection gets connection.close 320.
    pub fn handle_shutdown(&mut self, now: Timestamp) {
        self.now = now;
        self.shut_down();
        self.finish();
    }

    #[inline]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.agenda.outputs.pop_front()
    }

    /// Swaps the outbound bytes of a connection for `empty` (a buffer to be filled next).
    pub fn take_outbound(&mut self, slot: Slot, empty: Vec<u8>) -> Batch {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return empty.into();
        };
        connection.is_dirty = false;
        connection.last_sent = self.now;
        connection.outbound.take(empty)
    }

    /// Mail for the neighbour with this index. `None` for our own.
    pub fn outbox(&mut self, to: u16) -> Option<&mut Outbox> {
        self.neighbours.outbox(to)
    }

    /// The shell moved mail out of the outboxes: who waited for room there goes on.
    pub fn handle_outbox_room(&mut self, now: Timestamp) {
        let has_waiting = !self.neighbours.waiting.is_empty() || self.letters.count() > 0;
        if !has_waiting || !self.neighbours.has_room() {
            return;
        }
        self.now = now;
        for slot in std::mem::take(&mut self.neighbours.waiting) {
            if let Some(connection) = self.connections.get_mut(slot as usize) {
                connection.waits.outbox = false;
                self.resume(slot);
            }
        }
        self.finish();
    }

    /// When `handle_deadline` wants to be called next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let letters = self.has_letters_to_post().then_some(self.now);
        let delayed = self.delayed.next();
        let delayed = delayed.filter(|_| !self.neighbours.has_full());
        [self.timers.next(), delayed, letters]
            .into_iter()
            .flatten()
            .min()
    }

    /// Connections that still hold a slot: zero after a shutdown means all is flushed.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Walks everything and asserts every type's invariant; for tests and the simulator.
    pub fn invariants(&self) {
        self.connections
            .iter()
            .for_each(|(_, connection)| connection.invariants(&self.settings.limits));
        self.queues.iter().for_each(|(_, queue)| queue.invariants());
        let kept_len: usize = self.queues.iter().map(|(_, queue)| queue.kept_len()).sum();
        self.delayed.invariants();
        self.letters.invariants();
        let others_len = self.delayed.kept_len() + self.letters.kept_len();
        self.pressure.invariants(kept_len + others_len);
    }

    /// Does what the call has left to do, until nothing more comes of it.
    fn finish(&mut self) {
        let mut letter_count = 0;
        loop {
            while self.agenda.has_work() {
                while let Some(queue) = self.agenda.queues.pop() {
                    self.run_queue(queue);
                }
                self.flush_confirms();
                if let Some(slot) = self.agenda.overflowing.pop() {
                    self.leave(slot, Output::Abort(slot), "its peer does not read");
                }
                if let Some(slot) = self.agenda.resuming.pop() {
                    self.execute_resumed(slot);
                }
                if let Some(vhost) = self.agenda.inquiries.pop() {
                    self.begin_inquiry(vhost);
                }
            }
            if letter_count < LETTER_COUNT_PER_TURN && self.has_letters_to_post() {
                letter_count += 1;
                self.post_next();
            } else if !self.announce_pressure() {
                return;
            }
        }
    }

    /// A wait of the connection has ended. What it executes then may end another one's wait, and
    /// so on along a chain that peers choose: it is done from `finish`, not from here.
    fn resume(&mut self, slot: Slot) {
        self.agenda.resuming.push(slot);
    }

    fn execute_resumed(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get(slot as usize) else {
            return;
        };
        let may_go_on = connection.may_execute() || connection.may_overtake();
        if may_go_on && !connection.backlog.is_empty() {
            self.execute_backlog(slot);
        }
        self.regulate_reading(slot);
    }

    /// Stops reading from a connection with too much to execute, and takes it up again.
    fn regulate_reading(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        if connection.phase == Phase::Gone {
            return;
        }
        let is_full = connection.is_backlog_full(&self.settings.limits);
        if is_full && !connection.is_reading_paused {
            connection.is_reading_paused = true;
            self.agenda.outputs.push_back(Output::PauseReading(slot));
        } else if connection.is_reading_paused && !is_full {
            connection.is_reading_paused = false;
            connection.last_received = self.now;
            self.agenda.outputs.push_back(Output::ResumeReading(slot));
        }
    }

    /// A connection that has produced mail waits if its neighbour's outbox is full.
    fn wait_for_outbox(&mut self, slot: Slot, to: u16) {
        if !self.neighbours.is_full(to) {
            return;
        }
        let waits = &mut self.connections[slot as usize].waits;
        if !std::mem::replace(&mut waits.outbox, true) {
            self.neighbours.waiting.push(slot);
        }
    }

    /// Connections that this shard may have: all shards' shares make up the maximum.
    fn connection_share(&self) -> usize {
        let (count_max, shards) = (
            self.settings.connection_count_max,
            self.neighbours.shard_count(),
        );
        count_max / shards + usize::from(usize::from(self.index) < count_max % shards)
    }

    fn take_generation(&mut self) -> u64 {
        self.latest_generation += 1;
        self.latest_generation
    }

    #[inline]
    fn topology(&self, vhost: VhostIndex) -> &Topology {
        &self.topologies[usize::from(vhost.0)]
    }

    #[inline]
    fn vhost_of(&self, slot: Slot) -> VhostIndex {
        self.connections[slot as usize].vhost
    }

    /// The names that a connection knows.
    fn topology_of(&self, slot: Slot) -> &Topology {
        self.topology(self.vhost_of(slot))
    }

    /// The local queue with this address, if it still exists.
    fn queue(&self, address: QueueAddress) -> Option<&Queue> {
        let queue = self.queues.get(address.index as usize);
        queue.filter(|queue| queue.address == address)
    }

    /// The same.
    #[inline]
    fn queue_mut(&mut self, address: QueueAddress) -> Option<&mut Queue> {
        debug_assert_eq!(address.shard, self.index);
        self.queues
            .get_mut(address.index as usize)
            .filter(|queue| queue.address == address)
    }
}

#[cfg(test)]
mod tests;
