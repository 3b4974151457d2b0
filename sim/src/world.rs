//! Shards with the mail between them and the links around them, in invented time. Every step is
//! drawn from the dice; the engine, the mailboxes and the turn's lines are those that ship.

use crate::dice::Dice;
use crate::link::{Around, Link, Links, PeerEnd, Stage};
use crate::oracle::Oracle;
use crate::swarm::{Pieces, Swarm};
use crate::trace::Trace;
use broker::engine::shard::{Mail, Shard};
use broker::engine::time::Timestamp;
use broker::runtime::mesh::{Lane, Mailboxes};
use broker::runtime::turn;
use std::net::SocketAddr;
use std::time::Duration;

/// Of one connection.
const PIECES_PER_TURN_MAX: usize = 12;

pub struct World {
    pub swarm: Swarm,
    pub dice: Dice,
    pub now: Timestamp,
    pub hosts: Vec<Host>,
    pub links: Links,
    pub oracle: Oracle,
    pub trace: Trace,
}

/// A shard, and where its thread stands.
pub struct Host {
    pub shard: Shard,
    pub mailboxes: Mailboxes<Mail>,
    /// It sleeps in its ring until something completes there.
    is_asleep: bool,
    is_rung: bool,
    stalled_until: Timestamp,
    /// Mail that is there and not seen yet: from whom, by which lane.
    held: Vec<(u16, Lane)>,
}

/// What a shard's ring has to tell.
#[derive(Clone, Copy)]
enum Ready {
    Arriving,
    Sent,
    Joined,
}

impl World {
    pub fn new(seed: u64, swarm: Swarm, dice: Dice, trace: Trace) -> World {
        let count = swarm.shard_count;
        let settings = swarm.settings();
        let mailboxes = Mailboxes::with_capacity(count, swarm.mailbox_capacity);
        let hosts = (0..count).zip(mailboxes).map(|(index, mailboxes)| Host {
            shard: Shard::new(index, count, settings.clone()),
            mailboxes,
            is_asleep: false,
            is_rung: false,
            stalled_until: Timestamp::default(),
            held: Vec::new(),
        });
        let mut world = World {
            hosts: hosts.collect(),
            links: Links::new(count),
            oracle: Oracle::new(&swarm),
            now: Timestamp(1_000_000_000),
            swarm,
            dice,
            trace,
        };
        world.dice.note(&[seed]);
        world
    }

    /// A connection that says nothing yet. `None`: refused.
    pub fn connect(&mut self) -> Option<usize> {
        let shard = self.dice.roll(self.hosts.len()) as u16;
        self.connect_to(shard)
    }

    pub fn connect_to(&mut self, shard: u16) -> Option<usize> {
        let address = SocketAddr::from(([127, 0, 0, 1], 5000));
        let host = &mut self.hosts[usize::from(shard)];
        let slot = host.shard.handle_accepted(address, self.now);
        // The acceptor's doorbell wakes the shard.
        host.is_rung = true;
        let Some(slot) = slot else {
            self.oracle.refused(shard);
            return None;
        };
        match self.links.add(shard, slot) {
            Ok(at) => {
                self.trace
                    .note(format_args!("c{at} connects to shard {shard}"));
                self.oracle.connected(at, shard, self.now);
                Some(at)
            }
            Err(error) => {
                self.oracle.fail(error);
                None
            }
        }
    }

    pub fn end_link(&mut self, at: usize, end: PeerEnd) {
        self.trace.note(format_args!("c{at} ends: {end:?}"));
        self.links.all[at].end(end, &mut self.dice);
    }

    /// Whether the shard has anything to do, as far as its own thread can know.
    pub fn is_runnable(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        if self.now < host.stalled_until {
            return false;
        }
        let is_due = host
            .shard
            .next_deadline()
            .is_some_and(|due| due <= self.now);
        !host.is_asleep || host.is_rung || is_due || self.ready(at).next().is_some()
    }

    fn ready(&self, shard: usize) -> impl Iterator<Item = (usize, Ready)> {
        let kernel_len_max = self.swarm.kernel_len_max;
        let now = self.now;
        let links = self.links.all.iter().enumerate();
        let mine = links.filter(move |(_, link)| usize::from(link.shard) == shard);
        mine.filter_map(move |(at, link)| {
            let is_given_up = matches!(link.stage, Stage::Flushing(until) if until <= now);
            let ready = match link.stage {
                Stage::Joining => Ready::Joined,
                Stage::Flushing(_) if is_given_up => Ready::Joined,
                _ if link.has_arriving() => Ready::Arriving,
                _ if link.has_room(kernel_len_max) => Ready::Sent,
                _ => return None,
            };
            Some((at, ready))
        })
    }

    /// One turn of a shard, with some of what is ready for it.
    pub fn turn(&mut self, at: usize) {
        let time = Duration::from_micros(1 + self.dice.roll(50) as u64);
        self.now = self.now.plus(time);
        self.oracle.now = self.now;
        self.dice.note(&[2, at as u64, self.now.0]);
        if self.trace.is_on() {
            let (now, due) = (self.now.0 / 1000, self.hosts[at].shard.next_deadline());
            let due = due.map(|due| due.0 / 1000);
            self.trace
                .note(format_args!("shard {at} turns at {now} us, due {due:?}"));
        }
        let host = &mut self.hosts[at];
        host.is_rung = false;
        host.is_asleep = false;
        host.mailboxes.wake();
        let ready: Vec<(usize, Ready)> = self.ready(at).collect();
        for (link, ready) in ready {
            if self.dice.one_in(4) {
                continue;
            }
            match ready {
                Ready::Arriving => {
                    for _ in 0..1 + self.dice.roll(PIECES_PER_TURN_MAX) {
                        if self.links.all[link].has_arriving() {
                            self.receive(at, link);
                        }
                    }
                }
                Ready::Sent => self.sent(at, link),
                Ready::Joined => self.release(at, link),
            }
            // Both directions of a socket may be ready.
            if matches!(ready, Ready::Arriving)
                && self.links.all[link].has_room(self.swarm.kernel_len_max)
            {
                self.sent(at, link);
            }
        }
        self.take_mail(at);
        let host = &mut self.hosts[at];
        if host
            .shard
            .next_deadline()
            .is_some_and(|due| due <= self.now)
        {
            host.shard.handle_deadline(self.now);
        }
        self.drain(at);
        let host = &mut self.hosts[at];
        host.is_asleep = host.mailboxes.try_sleep();
    }

    /// As the shell does: what earlier octets led to is executed before the end is.
    fn receive(&mut self, shard: usize, at: usize) {
        let link = &mut self.links.all[at];
        let is_cut_short = link.end == Some(PeerEnd::Reset) && self.dice.one_in(3);
        if link.written_len() == 0 || link.is_paused || is_cut_short {
            let end = link.end.take().unwrap_or(PeerEnd::Reset);
            let error = (end == PeerEnd::Reset).then(|| "connection reset".to_string());
            self.trace
                .note(format_args!("  c{at}: the broker hears of its end"));
            self.execute_outputs(shard);
            if self.links.all[at].stage == Stage::Open {
                self.oracle.peer_ended(at);
                let slot = self.links.all[at].slot;
                self.hosts[shard]
                    .shard
                    .handle_disconnected(slot, error, self.now);
            }
            return;
        }
        let len = piece_len(&mut self.dice, self.swarm.pieces, link);
        let (octets, acts) = link.take(len);
        let slot = link.slot;
        self.dice.note(&[3, at as u64, len as u64]);
        for act in acts {
            if self.trace.is_on() {
                let line = crate::describe::act(&act);
                self.trace.note(format_args!("  c{at} > {line}"));
            }
            self.oracle.arrived(at, act);
        }
        self.oracle.heard_from(at, self.now);
        self.hosts[shard]
            .shard
            .handle_bytes(slot, &octets, self.now);
    }

    fn sent(&mut self, shard: usize, at: usize) {
        let link = &mut self.links.all[at];
        let unread_len = (link.delivered_len - link.read_len) as usize;
        let room = match link.is_orphan {
            true => usize::MAX,
            false => self.swarm.kernel_len_max - unread_len,
        };
        let len_max = link.in_flight_len.min(room);
        let len = match self.dice.roll(3) {
            0 => 1 + self.dice.roll(len_max),
            _ => len_max,
        };
        let may_send_next = link.deliver(len);
        self.dice.note(&[4, at as u64, len as u64]);
        self.hosts[shard]
            .shard
            .handle_sent(link.slot, len, self.now);
        if may_send_next {
            self.links.mark_dirty(at);
        }
    }

    fn release(&mut self, shard: usize, at: usize) {
        let slot = self.links.all[at].slot;
        self.links.release(at);
        self.hosts[shard].shard.handle_released(slot);
        self.oracle.released(at);
    }

    fn take_mail(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let (count_max, now) = (self.swarm.mails_per_turn, self.now);
        if host.held.is_empty() {
            return turn::handle_mail(&mut host.shard, &mut host.mailboxes, count_max, now);
        }
        for lane in Lane::ALL {
            for from in 0..host.mailboxes.count() {
                if !host.held.contains(&(from, lane)) {
                    let place = (from, lane);
                    let mailboxes = &mut host.mailboxes;
                    turn::handle_lane(&mut host.shard, mailboxes, place, count_max, now);
                }
            }
        }
    }

    fn drain(&mut self, at: usize) {
        let mut rung = Vec::new();
        let Host {
            shard, mailboxes, ..
        } = &mut self.hosts[at];
        let mut around = Around {
            shard: at as u16,
            links: &mut self.links,
            oracle: &mut self.oracle,
            dice: &mut self.dice,
            trace: &mut self.trace,
            rung: &mut rung,
        };
        turn::drain(shard, mailboxes, &mut around, self.now);
        for neighbour in rung {
            self.hosts[usize::from(neighbour)].is_rung = true;
        }
    }

    fn execute_outputs(&mut self, at: usize) {
        let mut rung = Vec::new();
        let mut around = Around {
            shard: at as u16,
            links: &mut self.links,
            oracle: &mut self.oracle,
            dice: &mut self.dice,
            trace: &mut self.trace,
            rung: &mut rung,
        };
        turn::execute_outputs(&mut self.hosts[at].shard, &mut around, self.now);
    }

    /// Holds a lane of mail back, or lets it go.
    pub fn toggle_lane(&mut self) {
        let to = self.dice.roll(self.hosts.len());
        let from = self.dice.roll(self.hosts.len()) as u16;
        let lane = self.dice.pick(&Lane::ALL);
        let held = &mut self.hosts[to].held;
        let count = held.len();
        held.retain(|other| *other != (from, lane));
        if held.len() == count {
            held.push((from, lane));
        }
        self.trace
            .note(format_args!("mail held back for shard {to}: {held:?}"));
    }

    pub fn stall(&mut self) {
        let at = self.dice.roll(self.hosts.len());
        let time = Duration::from_millis(1 + self.dice.roll(5000) as u64);
        self.hosts[at].stalled_until = self.now.plus(time);
        self.trace
            .note(format_args!("shard {at} stalls for {time:?}"));
    }

    pub fn pass_time(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.oracle.now = self.now;
        self.trace.note(format_args!("{time:?} pass"));
    }

    /// No fault lasts from here on, and nothing takes for ever.
    pub fn calm(&mut self) {
        self.swarm.pieces = Pieces::Any;
        self.swarm.kernel_len_max = 1 << 20;
        for host in &mut self.hosts {
            host.held.clear();
            host.stalled_until = self.now;
        }
        for link in &mut self.links.all {
            link.is_deaf = false;
        }
    }

    /// Mail in front of a sleeping shard that nobody has rung.
    pub fn check_no_mail_waits(&mut self) {
        for (index, host) in self.hosts.iter_mut().enumerate() {
            if !host.mailboxes.try_sleep() {
                self.oracle
                    .fail(format!("mail waits for shard {index}, which sleeps"));
            }
            host.mailboxes.wake();
            host.is_asleep = false;
        }
    }

    pub fn shut_down(&mut self) {
        self.oracle.shut_down();
        for host in &mut self.hosts {
            host.shard.handle_shutdown(self.now);
            host.is_rung = true;
        }
    }

    pub fn check_invariants(&mut self) {
        self.hosts.iter().for_each(|host| host.shard.invariants());
    }
}

fn piece_len(dice: &mut Dice, pieces: Pieces, link: &Link) -> usize {
    let len = link.written_len();
    match pieces {
        Pieces::Whole => len,
        Pieces::Small(max) => len.min(max),
        Pieces::Any => match dice.roll(3) {
            0 => len,
            1 => 1 + dice.roll(len),
            _ => len.min(1 + dice.roll(20)),
        },
    }
}
