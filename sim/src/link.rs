//! A connection between a peer and a shard: two byte pipes, the socket that the shell would have,
//! and how far each side has come.

use crate::dice::Dice;
use crate::oracle::{Act, Oracle};
use crate::trace::Trace;
use crate::wire::{Ear, Heard};
use broker::engine::shard::{Output, Shard, Slot};
use broker::engine::time::Timestamp;
use broker::runtime::turn::Surroundings;
use std::collections::VecDeque;
use std::time::Duration;

/// As long as the shell waits for a peer to read last words.
const FLUSHING_TIME_MAX: Duration = Duration::from_secs(2);

/// In order; a link never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Open,
    /// The engine is done with it; what is left is sent until then.
    Flushing(Timestamp),
    /// The slot is still to be given back.
    Joining,
    Gone,
}

/// What comes behind the last octet of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    HalfClosed,
    Reset,
}

pub struct Link {
    pub shard: u16,
    pub slot: Slot,
    pub stage: Stage,
    pub is_paused: bool,
    /// What the peer wrote and the broker has not received.
    written: VecDeque<u8>,
    written_len: u64,
    arrived_len: u64,
    /// What is meant by it, by the count of octets up to its end.
    acts: VecDeque<(u64, Act)>,
    pub end: Option<PeerEnd>,
    wants_send: bool,
    /// Octets of the send in flight that the kernel has not taken.
    pub in_flight_len: usize,
    ear: Ear,
    emitted_len: u64,
    pub delivered_len: u64,
    pub read_len: u64,
    heard: VecDeque<(u64, Heard)>,
    /// The peer reads nothing.
    pub is_deaf: bool,
    /// Nobody is there any more who could read.
    pub is_orphan: bool,
}

impl Link {
    fn new(shard: u16, slot: Slot) -> Link {
        Link {
            shard,
            slot,
            stage: Stage::Open,
            is_paused: false,
            written: VecDeque::new(),
            written_len: 0,
            arrived_len: 0,
            acts: VecDeque::new(),
            end: None,
            wants_send: false,
            in_flight_len: 0,
            ear: Ear::default(),
            emitted_len: 0,
            delivered_len: 0,
            read_len: 0,
            heard: VecDeque::new(),
            is_deaf: false,
            is_orphan: false,
        }
    }

    /// The peer writes; `act` takes effect when the last octet has arrived.
    pub fn write(&mut self, octets: &[u8], act: Option<Act>) {
        if self.end.is_some() {
            return;
        }
        self.written.extend(octets);
        self.written_len += octets.len() as u64;
        self.acts.extend(act.map(|act| (self.written_len, act)));
    }

    /// A reset loses what has not arrived, from any octet on.
    pub fn end(&mut self, end: PeerEnd, dice: &mut Dice) {
        if self.end.is_some() {
            return;
        }
        if end == PeerEnd::Reset {
            let left = dice.roll(self.written.len() + 1);
            self.written.truncate(left);
        }
        self.end = Some(end);
    }

    /// The peer reads at most `len_max` octets, and hears what is complete then.
    pub fn read(&mut self, len_max: u64) -> Vec<Heard> {
        self.read_len = self
            .delivered_len
            .min(self.read_len.saturating_add(len_max));
        let mut heard = Vec::new();
        while let Some((end, _)) = self.heard.front()
            && *end <= self.read_len
        {
            heard.extend(self.heard.pop_front().map(|(_, heard)| heard));
        }
        heard
    }

    pub fn has_unread(&self) -> bool {
        !self.is_deaf && self.read_len < self.delivered_len
    }

    /// Octets, or the end of them, for the broker to receive.
    pub fn has_arriving(&self) -> bool {
        let has_some = !self.written.is_empty() && !self.is_paused;
        // A hang-up is noticed whether or not the connection is read.
        self.stage == Stage::Open && (has_some || self.end.is_some())
    }

    /// The kernel can take more of the send in flight.
    pub fn has_room(&self, kernel_len_max: usize) -> bool {
        let unread_len = self.delivered_len - self.read_len;
        let is_sending = matches!(self.stage, Stage::Open | Stage::Flushing(_));
        let has_space = self.is_orphan || unread_len < kernel_len_max as u64;
        is_sending && self.in_flight_len > 0 && has_space
    }

    pub fn written_len(&self) -> usize {
        self.written.len()
    }

    /// The next octets for the broker, and the acts that are complete with them.
    pub fn take(&mut self, len: usize) -> (Vec<u8>, Vec<Act>) {
        let octets: Vec<u8> = self.written.drain(..len).collect();
        self.arrived_len += len as u64;
        let mut acts = Vec::new();
        while let Some((end, _)) = self.acts.front()
            && *end <= self.arrived_len
        {
            acts.extend(self.acts.pop_front().map(|(_, act)| act));
        }
        (octets, acts)
    }

    /// The kernel takes `len` octets. True: the next send may start.
    pub fn deliver(&mut self, len: usize) -> bool {
        self.in_flight_len -= len;
        self.delivered_len += len as u64;
        let has_more = self.wants_send || matches!(self.stage, Stage::Flushing(_));
        self.in_flight_len == 0 && has_more
    }

    /// All that was ever sent has been read.
    pub fn is_read_out(&self) -> bool {
        self.in_flight_len == 0 && self.read_len == self.delivered_len
    }
}

/// All links of a life; a link's index names its connection for good.
#[derive(Default)]
pub struct Links {
    pub all: Vec<Link>,
    /// By shard and slot.
    by_slot: Vec<Vec<Option<usize>>>,
    /// By shard: links to look at when the turn ends.
    dirty: Vec<Vec<usize>>,
}

impl Links {
    pub fn new(shard_count: u16) -> Links {
        Links {
            all: Vec::new(),
            by_slot: vec![Vec::new(); shard_count.into()],
            dirty: vec![Vec::new(); shard_count.into()],
        }
    }

    /// Errors: the slot was given out and not given back.
    pub fn add(&mut self, shard: u16, slot: Slot) -> Result<usize, String> {
        let slots = &mut self.by_slot[usize::from(shard)];
        let at = slot as usize;
        if slots.len() <= at {
            slots.resize(at + 1, None);
        }
        if slots[at].is_some() {
            return Err(format!("slot {slot} of shard {shard} is given out twice"));
        }
        slots[at] = Some(self.all.len());
        self.all.push(Link::new(shard, slot));
        Ok(self.all.len() - 1)
    }

    pub fn release(&mut self, link: usize) {
        let Link { shard, slot, .. } = self.all[link];
        self.all[link].stage = Stage::Gone;
        // What was on its way is lost.
        self.all[link].in_flight_len = 0;
        self.by_slot[usize::from(shard)][slot as usize] = None;
    }

    pub fn mark_dirty(&mut self, link: usize) {
        self.dirty[usize::from(self.all[link].shard)].push(link);
    }

    fn find(&self, shard: u16, slot: Slot) -> Option<usize> {
        *self.by_slot[usize::from(shard)].get(slot as usize)?
    }
}

/// What a shard drains into.
pub struct Around<'a> {
    pub shard: u16,
    pub links: &'a mut Links,
    pub oracle: &'a mut Oracle,
    pub dice: &'a mut Dice,
    pub trace: &'a mut Trace,
    /// Neighbours to be woken.
    pub rung: &'a mut Vec<u16>,
}

impl Surroundings for Around<'_> {
    fn execute(&mut self, _: &mut Shard, output: Output, now: Timestamp) {
        let slot = match output {
            Output::Log(ref event) => {
                return self.trace.note(format_args!("  log {}", event.text));
            }
            Output::Send(slot)
            | Output::PauseReading(slot)
            | Output::ResumeReading(slot)
            | Output::Close(slot)
            | Output::Abort(slot) => slot,
        };
        let Some(at) = self.links.find(self.shard, slot) else {
            return;
        };
        let link = &mut self.links.all[at];
        match output {
            Output::Send(_) => {
                link.wants_send = true;
                if link.in_flight_len == 0 {
                    self.links.mark_dirty(at);
                }
            }
            Output::PauseReading(_) => link.is_paused = true,
            Output::ResumeReading(_) => link.is_paused = false,
            Output::Close(_) if link.stage == Stage::Open => {
                self.trace
                    .note(format_args!("  c{at} closed by the broker"));
                link.stage = Stage::Flushing(now.plus(FLUSHING_TIME_MAX));
                self.oracle.broker_ended(at, false, now);
                self.links.mark_dirty(at);
            }
            Output::Abort(_) if link.stage == Stage::Open => {
                self.trace
                    .note(format_args!("  c{at} aborted by the broker"));
                let has_unsent = link.in_flight_len > 0 || link.wants_send;
                link.stage = Stage::Joining;
                self.oracle.broker_ended(at, has_unsent, now);
            }
            Output::Close(_) | Output::Abort(_) => {
                self.oracle.fail(format!("c{at} is closed twice"));
            }
            Output::Log(_) => {}
        }
    }

    fn flush(&mut self, shard: &mut Shard, _: Timestamp) -> bool {
        let dirty = std::mem::take(&mut self.links.dirty[usize::from(self.shard)]);
        for at in &dirty {
            self.flush_one(shard, *at);
        }
        !dirty.is_empty()
    }

    fn ring(&mut self, neighbour: u16) {
        self.rung.push(neighbour);
    }
}

impl Around<'_> {
    fn flush_one(&mut self, shard: &mut Shard, at: usize) {
        let link = &mut self.links.all[at];
        let is_flushing = matches!(link.stage, Stage::Flushing(_));
        let may_send = is_flushing || link.stage == Stage::Open && link.wants_send;
        if !may_send || link.in_flight_len > 0 {
            return;
        }
        link.wants_send = false;
        let octets = shard.take_outbound(link.slot, Vec::new()).into_bytes();
        if octets.is_empty() {
            if is_flushing {
                link.stage = Stage::Joining;
            }
            return;
        }
        self.dice.note(&[1, at as u64]);
        self.dice.note_octets(&octets);
        link.in_flight_len = octets.len();
        link.ear.frame_len_max = self.oracle.frame_len_max(at);
        let start = link.emitted_len;
        link.emitted_len += octets.len() as u64;
        match link.ear.hear(&octets) {
            Ok(heard) => {
                for (end, heard) in heard {
                    if self.trace.is_on() {
                        let line = crate::describe::heard(&heard);
                        self.trace.note(format_args!("  c{at} < {line}"));
                    }
                    self.oracle.emitted(at, &heard);
                    link.heard.push_back((start + end as u64, heard));
                }
            }
            Err(error) => self.oracle.fail(format!("c{at} is sent nonsense: {error}")),
        }
    }
}
