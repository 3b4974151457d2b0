//! Shards, the mail between them and the sockets around them, in memory and in invented time.
//!
//! What is served next (which peer's octets, which lane of which neighbour) is drawn from a seed,
//! so that a scenario runs in many orders and every one of them can be repeated.

use super::super::{Mail, Output, Settings, Shard, Slot};
use super::heard::{Ear, Heard};
pub use super::scenario::*;
use crate::engine::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// As a lane of the shell's mailboxes, it takes only so much.
const MAILBOX_COUNT_MAX: usize = 256;

/// A peer of one of the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer(pub usize);

/// How a connection ended: what the engine told the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Aborted,
}

/// A socket and what stands at its other end.
struct Socket {
    shard: u16,
    slot: Slot,
    /// What the peer has written and the broker not yet received.
    written: VecDeque<u8>,
    ear: Ear,
    is_deaf: bool,
    is_paused: bool,
    end: Option<End>,
}

/// What is served next.
enum Next {
    Octets(usize),
    Mail { from: u16, to: u16, lane: usize },
}

pub struct World {
    pub layout: Layout,
    pub now: Timestamp,
    pub shards: Vec<Shard>,
    pub dice: Dice,
    pub logs: Vec<String>,
    sockets: Vec<Socket>,
    by_slot: BTreeMap<(u16, Slot), usize>,
    /// Mailboxes: urgent and ordinary of each ordered pair of shards.
    lanes: BTreeMap<(u16, u16, usize), VecDeque<Mail>>,
    /// Mailboxes that take nothing: the mail stays in the outbox.
    full: Vec<(u16, u16)>,
}

impl World {
    pub fn new(layout: Layout) -> World {
        World::with(layout, settings())
    }

    pub fn with(layout: Layout, settings: Settings) -> World {
        let count = layout.shard_count;
        World {
            layout,
            now: Timestamp(1_000_000_000),
            shards: (0..count)
                .map(|index| Shard::new(index, count, settings.clone()))
                .collect(),
            dice: Dice::new(layout.seed),
            logs: Vec::new(),
            sockets: Vec::new(),
            by_slot: BTreeMap::new(),
            lanes: BTreeMap::new(),
            full: Vec::new(),
        }
    }

    /// A socket that says nothing yet. `None`: refused.
    pub fn accept(&mut self, place: usize, address: &str) -> Option<Peer> {
        let shard = self.layout.places[place];
        let address: SocketAddr = address.parse().expect("an address");
        let slot = self.shards[usize::from(shard)].handle_accepted(address, self.now);
        let slot = slot?;
        self.by_slot.insert((shard, slot), self.sockets.len());
        self.sockets.push(Socket {
            shard,
            slot,
            written: VecDeque::new(),
            ear: Ear::default(),
            is_deaf: false,
            is_paused: false,
            end: None,
        });
        self.drain_outputs();
        Some(Peer(self.sockets.len() - 1))
    }

    /// The peer writes; the broker receives it in `run`.
    pub fn write(&mut self, peer: Peer, bytes: &[u8]) {
        self.sockets[peer.0].written.extend(bytes);
    }

    /// What the peer has heard since the last time.
    pub fn heard(&mut self, peer: Peer) -> Vec<Heard> {
        std::mem::take(&mut self.sockets[peer.0].ear.heard)
    }

    /// The same, one line each, as in "1 deliver tag 7! exchange/key body".
    pub fn lines(&mut self, peer: Peer) -> Vec<String> {
        self.heard(peer).iter().map(Heard::line).collect()
    }

    pub fn largest_frame(&self, peer: Peer) -> usize {
        self.sockets[peer.0].ear.largest_frame
    }

    pub fn end_of(&self, peer: Peer) -> Option<End> {
        self.sockets[peer.0].end
    }

    pub fn is_paused(&self, peer: Peer) -> bool {
        self.sockets[peer.0].is_paused
    }

    /// Octets written that the broker has not received.
    pub fn unreceived_len(&self, peer: Peer) -> usize {
        self.sockets[peer.0].written.len()
    }

    /// A deaf peer reads nothing.
    pub fn set_deaf(&mut self, peer: Peer, is_deaf: bool) {
        self.sockets[peer.0].is_deaf = is_deaf;
        self.drain_outputs();
        if !is_deaf {
            self.flush(peer.0);
        }
    }

    /// The socket breaks.
    pub fn disconnect(&mut self, peer: Peer) {
        let socket = &mut self.sockets[peer.0];
        socket.written.clear();
        if socket.end.is_none() {
            let shard = usize::from(socket.shard);
            self.shards[shard].handle_disconnected(socket.slot, None, self.now);
        }
        self.drain_outputs();
    }

    /// The mailbox takes nothing until it is set back.
    pub fn set_mailbox_full(&mut self, from: u16, to: u16, is_full: bool) {
        self.full.retain(|pair| *pair != (from, to));
        if is_full {
            self.full.push((from, to));
        }
    }

    /// Serves whatever is there, in an order drawn from the seed, until nothing is.
    pub fn run(&mut self) {
        self.drain_outputs();
        while self.step() {}
        self.shards.iter().for_each(Shard::invariants);
    }

    /// Serves at most `count` things.
    pub fn run_steps(&mut self, count: usize) {
        self.drain_outputs();
        for _ in 0..count {
            self.step();
        }
        self.shards.iter().for_each(Shard::invariants);
    }

    fn step(&mut self) -> bool {
        let mut choices = Vec::new();
        for (at, socket) in self.sockets.iter().enumerate() {
            if socket.end.is_none() && !socket.is_paused && !socket.written.is_empty() {
                choices.push(Next::Octets(at));
            }
        }
        for (&(from, to, lane), mails) in &self.lanes {
            if !mails.is_empty() {
                choices.push(Next::Mail { from, to, lane });
            }
        }
        if choices.is_empty() {
            return false;
        }
        match choices.swap_remove(self.dice.roll(choices.len())) {
            Next::Octets(at) => self.receive(at),
            Next::Mail { from, to, lane } => {
                let mails = self.lanes.get_mut(&(from, to, lane)).expect("listed above");
                let mail = mails.pop_front().expect("listed above");
                self.shards[usize::from(to)].handle_mail(from, mail, self.now);
            }
        }
        self.drain_outputs();
        true
    }

    fn receive(&mut self, at: usize) {
        let socket = &mut self.sockets[at];
        let len = socket.written.len().min(self.layout.piece_len);
        let bytes: Vec<u8> = socket.written.drain(..len).collect();
        self.shards[usize::from(socket.shard)].handle_bytes(socket.slot, &bytes, self.now);
    }

    /// Does what the shell does after each turn.
    fn drain_outputs(&mut self) {
        loop {
            let mut is_quiet = true;
            for index in 0..self.layout.shard_count {
                while let Some(output) = self.shards[usize::from(index)].poll_output() {
                    is_quiet = false;
                    self.carry_out(index, output);
                }
                is_quiet &= !self.move_mail(index);
                self.shards[usize::from(index)].handle_outbox_room(self.now);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, shard: u16, output: Output) {
        let slot = match output {
            Output::Log(event) => return self.logs.push(event.text),
            Output::Send(slot)
            | Output::PauseReading(slot)
            | Output::ResumeReading(slot)
            | Output::Close(slot)
            | Output::Abort(slot) => slot,
        };
        let Some(&at) = self.by_slot.get(&(shard, slot)) else {
            // As the shell does: what is left for a socket that is gone is passed over.
            return;
        };
        match output {
            Output::Send(_) => self.flush(at),
            Output::PauseReading(_) => self.sockets[at].is_paused = true,
            Output::ResumeReading(_) => self.sockets[at].is_paused = false,
            Output::Close(_) => {
                self.flush(at);
                self.release(at, End::Closed);
            }
            Output::Abort(_) => self.release(at, End::Aborted),
            Output::Log(_) => {}
        }
    }

    fn flush(&mut self, at: usize) {
        let socket = &mut self.sockets[at];
        if socket.is_deaf || socket.end.is_some() {
            return;
        }
        let shard = &mut self.shards[usize::from(socket.shard)];
        let bytes = shard.take_outbound(socket.slot, Vec::new()).into_bytes();
        if !bytes.is_empty() {
            socket.ear.hear(&bytes);
            shard.handle_sent(socket.slot, bytes.len(), self.now);
        }
    }

    fn release(&mut self, at: usize, end: End) {
        let socket = &mut self.sockets[at];
        socket.end = Some(end);
        self.by_slot.remove(&(socket.shard, socket.slot));
        self.shards[usize::from(socket.shard)].handle_released(socket.slot);
    }

    /// Whether any mail was moved.
    fn move_mail(&mut self, from: u16) -> bool {
        let mut has_moved = false;
        for to in 0..self.layout.shard_count {
            if self.full.contains(&(from, to)) {
                continue;
            }
            if let Some(outbox) = self.shards[usize::from(from)].outbox(to) {
                for (lane, mails) in [&mut outbox.urgent, &mut outbox.ordinary]
                    .into_iter()
                    .enumerate()
                {
                    let mailbox = self.lanes.entry((from, to, lane)).or_default();
                    let room = MAILBOX_COUNT_MAX - mailbox.len();
                    let count = mails.len().min(room);
                    has_moved |= count > 0;
                    mailbox.extend(mails.drain(..count));
                }
            }
        }
        has_moved
    }

    /// Lets time pass, with every deadline on its way.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now.plus(duration);
        self.run();
        for _ in 0..10_000 {
            let due = self.shards.iter().filter_map(Shard::next_deadline).min();
            let Some(due) = due.filter(|due| *due <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(due);
            for shard in &mut self.shards {
                if shard.next_deadline().is_some_and(|due| due <= self.now) {
                    shard.handle_deadline(self.now);
                }
            }
            self.run();
        }
        panic!("deadlines that never pass");
    }

    /// Everybody leaves, well-behaved or not, and nothing but shared queues is left.
    pub fn end(&mut self) {
        self.full.clear();
        self.run();
        for at in 0..self.sockets.len() {
            self.sockets[at].is_deaf = false;
            if self.sockets[at].end.is_none() {
                self.disconnect(Peer(at));
            }
        }
        self.run();
        super::leftovers::assert_nothing_is_left(self);
    }
}

/// A scenario that fails says where it did.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {:?}", self.layout);
        }
    }
}
