//! One life, from its seed: it is prepared in peace, goes wild, calms down, is served to its end,
//! and everybody leaves. After each part the judge looks at what must be true by then.

use crate::dice::Dice;
use crate::link::{PeerEnd, Stage};
use crate::oracle::{Leftovers, Rest, Tally};
use crate::peer::{Kind, Peer};
use crate::rules::{GRAVE, Rules};
use crate::swarm::{Overrides, Swarm};
use crate::trace::Trace;
use crate::world::World;
use broker::engine::shard::Census;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

/// Rounds in which everybody does what it can, until the world must be at rest.
const ROUND_COUNT_MAX: usize = 20_000;

/// Below half of the shortest heartbeat, so that time itself ends nobody who is alive.
const TIME_STEP: Duration = Duration::from_millis(400);

/// Long enough for every deadline of those that are leaving.
const LEAVING_STEPS: usize = 14;

pub struct Outcome {
    pub seed: u64,
    pub swarm: Swarm,
    /// What must not be, and in which step.
    pub failure: Option<(String, usize)>,
    /// Of everything that happened, in order.
    pub fingerprint: u64,
    /// The last events, if they were asked for.
    pub trace: Vec<String>,
    pub tally: Tally,
}

struct Life {
    world: World,
    /// The first ones are clerks, one for each shard.
    peers: Vec<Peer>,
    step: usize,
}

/// Lives the life of a seed. `trace_len`: how many of the last events to keep.
pub fn live(seed: u64, overrides: &Overrides, trace_len: usize) -> Outcome {
    note_panics();
    let mut dice = Dice::new(seed);
    let swarm = Swarm::draw(&mut dice, overrides);
    let world = World::new(seed, swarm, dice, Trace::new(trace_len));
    let mut life = Life {
        world,
        peers: Vec::new(),
        step: 0,
    };
    PANIC.set(Some(String::new()));
    let lived = panic::catch_unwind(AssertUnwindSafe(|| life.live()));
    let text = PANIC.take().unwrap_or_default();
    if lived.is_err() {
        life.world.oracle.fail(format!("panic: {text}"));
    }
    let Life {
        mut world, step, ..
    } = life;
    let failure = world.oracle.take_failure().map(|text| (text, step));
    Outcome {
        seed,
        failure,
        fingerprint: world.dice.fingerprint(),
        trace: world.trace.into_lines(),
        tally: world.oracle.tally,
        swarm: world.swarm,
    }
}

thread_local! {
    /// The text of the panic that ends the life on this thread; `None`: none is lived.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A life that panics is a failure like others: its text is kept, not printed.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANIC.with(|panic| match &mut *panic.borrow_mut() {
                Some(text) => *text = info.to_string(),
                None => otherwise(info),
            });
        }));
    });
}

impl Life {
    fn live(&mut self) {
        type Part = fn(&mut Life);
        let parts: [Part; 5] = [
            Life::prepare,
            Life::go_wild,
            Life::calm_down,
            Life::serve_the_rest,
            Life::leave,
        ];
        for part in parts {
            part(self);
            if self.world.oracle.failure().is_some() {
                return;
            }
            self.world.check_invariants();
        }
    }

    fn prepare(&mut self) {
        let world = &mut self.world;
        let shard_count = world.swarm.shard_count;
        for shard in 0..shard_count {
            let mut clerk = Peer::new(Kind::Clerk);
            clerk.arrive(world, Some(shard));
            self.peers.push(clerk);
        }
        self.settle(false);
        for clerk in &mut self.peers {
            clerk.open_channel(&mut self.world);
        }
        self.settle(false);
        let queue_count = self.world.swarm.queue_count;
        let mut places = vec![Vec::new(); shard_count.into()];
        for queue in 0..=queue_count {
            let World { dice, swarm, .. } = &mut self.world;
            let shard = dice.roll(shard_count.into());
            places[shard].push(queue);
            let name = format!("s{queue}");
            let (name, rules) = match queue == queue_count {
                true => (GRAVE.to_string(), Rules::of_grave(dice, &swarm.rates)),
                false => {
                    let rules = Rules::of_lasting(dice, &swarm.rates, &name);
                    (name, rules)
                }
            };
            let note = format_args!("{name} on shard {shard}: {rules:?}");
            self.world.trace.note(note);
            self.world.oracle.lasting_queue(name, shard as u16, rules);
        }
        for (clerk, queues) in self.peers.iter_mut().zip(&places) {
            clerk.declare_lasting(&mut self.world, queues);
        }
        self.settle(false);
        self.world.oracle.check_rest(Rest::Quiet);
        let kinds = self.world.swarm.kinds;
        for _ in 0..self.world.swarm.peer_count {
            let kind = self.world.dice.weighted(&kinds).unwrap_or(0);
            self.peers.push(Peer::new(Kind::ALL[kind]));
        }
        if self.world.dice.one_in(2) {
            self.let_peers_in();
        }
    }

    /// Whoever comes now comes in peace.
    fn let_peers_in(&mut self) {
        for peer in self.peers.iter_mut().filter(|peer| peer.is_away()) {
            peer.arrive(&mut self.world, None);
        }
        self.settle(false);
        for peer in self.peers.iter_mut().filter(|peer| peer.is_open()) {
            if peer.kind != Kind::Clerk {
                peer.open_channel(&mut self.world);
            }
        }
        self.settle(false);
    }

    fn go_wild(&mut self) {
        for step in 0..self.world.swarm.step_count {
            self.step = step;
            self.step();
            if step % 8 == 0 {
                self.world.check_invariants();
                self.check_limits();
            }
            if self.world.oracle.failure().is_some() {
                return;
            }
        }
    }

    fn step(&mut self) {
        self.meet_faults();
        match self.world.dice.roll(100) {
            0..40 => {
                let at = self.some_peer();
                let peer = &mut self.peers[at];
                if peer.is_away() {
                    if self.world.dice.one_in(4) {
                        peer.arrive(&mut self.world, None);
                    }
                    return;
                }
                for _ in 0..1 + self.world.dice.roll(6) {
                    peer.act(&mut self.world);
                }
            }
            40..65 => {
                let at = self.some_peer();
                self.read(at);
            }
            65..97 => {
                let shard = self.world.dice.roll(self.world.hosts.len());
                if self.world.is_runnable(shard) {
                    self.world.turn(shard);
                }
            }
            _ => {
                let pause_us_max = self.world.swarm.pause_us_max;
                let time = Duration::from_micros(self.world.dice.roll(pause_us_max) as u64);
                self.world.pass_time(time);
                let at = self.some_peer();
                self.peers[at].heartbeat(&mut self.world);
            }
        }
    }

    fn some_peer(&mut self) -> usize {
        self.world.dice.roll(self.peers.len())
    }

    fn read(&mut self, at: usize) {
        let len_max = match self.world.dice.roll(4) {
            0 => 1 + self.world.dice.roll(30) as u64,
            _ => u64::MAX,
        };
        let link = self.peers[at].link;
        if link.is_some_and(|link| !self.world.links.all[link].is_deaf) {
            self.peers[at].read(&mut self.world, len_max);
        }
    }

    fn meet_faults(&mut self) {
        let faults = self.world.swarm.faults;
        let world = &mut self.world;
        let at = world.dice.roll(self.peers.len());
        let peer = &mut self.peers[at];
        let link = peer.link.filter(|_| peer.kind != Kind::Clerk);
        if let Some(link) = link {
            if world.dice.per_mille(faults.cut) {
                peer.vanish(world, PeerEnd::Reset);
            } else if world.dice.per_mille(faults.half_close) {
                peer.vanish(world, PeerEnd::HalfClosed);
            } else if world.dice.per_mille(faults.garbage) {
                peer.babble(world);
            } else if world.dice.per_mille(faults.deafen) {
                let link = &mut world.links.all[link];
                link.is_deaf = !link.is_deaf;
            }
        }
        if world.dice.per_mille(faults.hold_mail) {
            world.toggle_lane();
        }
        if world.dice.per_mille(faults.stall) {
            world.stall();
        }
        if world.dice.per_mille(faults.jump) {
            let time = Duration::from_millis(world.dice.roll(20_000) as u64);
            world.pass_time(time);
        }
    }

    fn calm_down(&mut self) {
        self.world.calm();
        self.settle(true);
        if self.census().iter().all(|census| census.waiting_count == 0) {
            self.world.oracle.settled();
        }
        for peer in &mut self.peers {
            if peer.is_doomed() {
                peer.vanish(&mut self.world, PeerEnd::Reset);
            }
        }
        self.let_time_pass(5);
        // Whoever is blocked is judged when there is memory again.
        let is_full = self.is_full();
        self.world
            .oracle
            .check_rest(if is_full { Rest::Full } else { Rest::Quiet });
        self.check_limits();
    }

    fn serve_the_rest(&mut self) {
        self.world.oracle.serving();
        self.peers[0].serve(&mut self.world);
        self.settle(true);
        self.let_time_pass(5);
        let is_full = self.is_full();
        self.world
            .oracle
            .check_rest(if is_full { Rest::Full } else { Rest::Served });
        self.world.check_no_mail_waits();
        for census in self.census() {
            let may_wait = if is_full {
                census.memory_waiting_count
            } else {
                0
            };
            let is_at_rest = census.is_idle && census.waiting_count <= may_wait;
            let is_on_its_way = census.token_count + census.unsent_len + census.outbox_count;
            if !is_at_rest || is_on_its_way > 0 {
                self.world.oracle.fail(format!("no rest: {census:?}"));
            }
        }
    }

    /// Queues that nobody reads hold so much that publishers must wait: none of those that last
    /// has anything then.
    fn is_full(&self) -> bool {
        let share = self.world.swarm.queued_len_max / self.world.hosts.len();
        self.census()
            .iter()
            .any(|census| census.queued_len > share / 10 * 8)
    }

    fn leave(&mut self) {
        if self.world.dice.one_in(4) {
            self.world.shut_down();
        }
        for peer in &mut self.peers {
            match self.world.dice.roll(3) {
                0 if peer.is_open() => peer.close_connection(&mut self.world),
                1 => peer.vanish(&mut self.world, PeerEnd::HalfClosed),
                _ => peer.vanish(&mut self.world, PeerEnd::Reset),
            }
        }
        self.let_time_pass(LEAVING_STEPS);
        // Who is blocked is not heard, but its hanging up is.
        for peer in &mut self.peers {
            peer.vanish(&mut self.world, PeerEnd::Reset);
        }
        // Queues that nobody uses any more end as well.
        self.let_time_pass(3);
        if self.world.oracle.failure().is_some() {
            return;
        }
        let census = self.census();
        let shards = self.world.hosts.iter().map(|host| &host.shard);
        let topologies = shards.map(|shard| shard.topology_listing()).collect();
        let leftovers = Leftovers {
            census: &census,
            topologies,
            swarm: &self.world.swarm,
        };
        self.world.oracle.check_leftovers(&leftovers);
        self.world.check_no_mail_waits();
    }

    fn let_time_pass(&mut self, step_count: usize) {
        for _ in 0..step_count {
            for peer in &mut self.peers {
                peer.heartbeat(&mut self.world);
            }
            self.settle(true);
            self.world.pass_time(TIME_STEP);
            self.settle(true);
        }
    }

    /// Everybody does what it can until nobody can do anything. `winds_up`: peers finish what they
    /// have begun.
    fn settle(&mut self, winds_up: bool) {
        for _ in 0..ROUND_COUNT_MAX {
            if self.world.oracle.failure().is_some() {
                return;
            }
            let mut is_busy = false;
            for shard in 0..self.world.hosts.len() {
                if self.world.is_runnable(shard) {
                    self.world.turn(shard);
                    is_busy = true;
                }
            }
            for peer in &mut self.peers {
                let link = peer.link.map(|link| &self.world.links.all[link]);
                let is_over = link.is_some_and(|link| link.stage == Stage::Gone);
                if is_over || link.is_some_and(|link| link.has_unread()) {
                    peer.read(&mut self.world, u64::MAX);
                    is_busy = true;
                }
                if winds_up {
                    is_busy |= peer.wind_up(&mut self.world);
                }
            }
            if !is_busy {
                return;
            }
        }
        self.world
            .oracle
            .fail("the world does not come to rest".into());
    }

    fn census(&self) -> Vec<Census> {
        self.world
            .hosts
            .iter()
            .map(|host| host.shard.census())
            .collect()
    }

    fn check_limits(&mut self) {
        for census in self.census() {
            self.world.oracle.check_limits(&census, &self.world.swarm);
        }
    }
}
