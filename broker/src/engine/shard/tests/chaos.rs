//! Legal and not so legal methods from everybody at once, and an audit of what comes of it.

use super::acts::{KEPT, QUEUES};
use super::audit::Audit;
use super::client::*;
use super::world::{Layout, Peer, World};
use amq_protocol::protocol::basic::Recover;
use amq_protocol::protocol::{channel, connection};

const SEED_COUNT: u64 = 400;
const ROUND_COUNT: usize = 40;

pub struct Chaos {
    pub world: World,
    pub audit: Audit,
    pub peers: Vec<Peer>,
    pub latest_id: u64,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        let shard_count = 1 + (seed % 3) as u16;
        let places = [0, 1, 2, 0].map(|place| place % shard_count);
        let piece_len = [usize::MAX, usize::MAX, 60, 9][(seed / 3 % 4) as usize];
        let layout = Layout {
            shard_count,
            places,
            piece_len,
            seed,
        };
        let mut world = World::new(layout);
        world.history = Some(Vec::new());
        let mut chaos = Chaos {
            world,
            audit: Audit::default(),
            peers: Vec::new(),
            latest_id: 0,
        };
        let clerk = chaos.connect(0);
        for queue in ["names", QUEUES[0], QUEUES[1]] {
            chaos.world.call(clerk, 1, declare(queue));
        }
        chaos.consume((clerk, 1), "names", true);
        for place in 0..4 {
            let peer = chaos.connect(place);
            chaos.peers.push(peer);
        }
        chaos
    }

    fn connect(&mut self, place: usize) -> Peer {
        let peer = self.world.connect(place);
        self.world.open(peer, 2);
        for number in [1, 2] {
            self.audit.view((peer, number)).is_open = true;
        }
        peer
    }

    fn round(&mut self) {
        for _ in 0..10 + self.roll(30) {
            self.act();
            if self.roll(6) == 0 {
                let steps = self.roll(30);
                self.world.run_steps(steps);
                self.listen();
            }
        }
        if self.roll(4) == 0 {
            let steps = self.roll(40);
            self.world.run_steps(steps);
            self.listen();
            let at = self.roll(self.peers.len());
            self.leave(at);
        }
        self.world.run();
        self.listen();
        self.audit.end_round();
        if self.roll(3) == 0 {
            self.recover();
        }
        self.repair();
    }

    fn leave(&mut self, at: usize) {
        let peer = self.peers.swap_remove(at);
        self.audit.leave(peer);
        self.world.disconnect(peer);
        self.world.run();
        self.listen();
    }

    fn listen(&mut self) {
        let history = self.world.history.replace(Vec::new()).expect("kept");
        self.audit.hear(history);
    }

    /// On its own: what recover takes back must be known.
    fn recover(&mut self) {
        let place = (self.peers[self.world.dice.roll(self.peers.len())], 1);
        if self.audit.view(place).is_open {
            let tags: Vec<u64> = self.audit.view(place).deliveries.keys().copied().collect();
            tags.into_iter()
                .for_each(|tag| self.audit.settles(place, tag, true));
            self.world.call(place.0, 1, Recover { requeue: true });
            self.listen();
            self.audit.end_round();
        }
    }

    /// Whoever was thrown out comes back.
    fn repair(&mut self) {
        for peer in self.peers.clone() {
            let places = [1, 2].map(|number| (peer, number));
            let closed = places.map(|place| !self.audit.view(place).is_open);
            if closed == [true, true] {
                self.world.call(peer, 0, connection::CloseOk {});
                self.audit.leave(peer);
                self.world.disconnect(peer);
                self.peers.retain(|other| *other != peer);
            } else {
                for (place, is_closed) in places.into_iter().zip(closed) {
                    if is_closed {
                        self.world.send(peer, place.1, channel::CloseOk {});
                        self.world.call(peer, place.1, channel::Open {});
                    }
                }
            }
        }
        while self.peers.len() < 4 {
            let place = self.roll(4);
            let peer = self.connect(place);
            self.peers.push(peer);
        }
        self.world.run();
        self.listen();
        self.audit.end_round();
    }

    fn conclude(mut self) {
        while !self.peers.is_empty() {
            self.leave(0);
        }
        self.audit.end_round();
        let reader = self.world.connect(0);
        let mut left = Vec::new();
        for queue in &QUEUES[..KEPT] {
            while self.world.ask(reader, 1, get_auto(queue)) != ["1 get-empty"] {
                let history = self.world.history.replace(Vec::new()).expect("kept");
                let content = history
                    .into_iter()
                    .filter_map(|(.., heard)| heard.content())
                    .next_back();
                let text = content.expect("a get-ok").text();
                left.extend(
                    text.strip_prefix('m')
                        .map(|id| id.parse::<u64>().expect("m1")),
                );
            }
        }
        self.audit.conclude(&left);
        self.world.end();
    }
}

#[test]
fn nobody_hears_what_is_not_meant_for_it_whatever_happens() {
    for seed in 0..SEED_COUNT {
        let mut chaos = Chaos::new(seed);
        for _ in 0..ROUND_COUNT {
            chaos.round();
        }
        chaos.conclude();
    }
}
