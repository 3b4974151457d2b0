//! Rings that are always full: no free buffer to receive into, more completions than the queue
//! holds, more operations than one submission takes.

use super::super::ring::RingSettings;
use super::peer::{self, CONNECTION_CLOSE_OK, Peer};
use super::stand::{LEAST, Stand};
use std::time::Duration;

pub(super) const TWO_OF_EACH: RingSettings = RingSettings {
    submission_entries: 2,
    completion_entries: 2,
    receive_buffer_count: 2,
    receive_buffer_len: 100,
};

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|index| ((index + seed) % 251) as u8).collect()
}

/// Declares a queue, puts a message there, asks for it, and leaves.
fn whole_life(queue: &str, body: &[u8]) -> Vec<u8> {
    [
        peer::hello(),
        peer::declare(queue),
        peer::publish(queue, body),
        peer::get(queue),
        peer::close(),
    ]
    .concat()
}

#[test]
fn many_peers_that_speak_at_once_are_all_served_by_the_smallest_ring() {
    const COUNT: usize = 60;
    for settings in [LEAST, TWO_OF_EACH] {
        let mut stand = Stand::new(&settings);
        let mut peers: Vec<_> = (0..COUNT).map(|_| stand.connect()).collect();
        let body = |number| pattern(number, 40 * number);
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.say(&whole_life(&format!("q{number}"), &body(number)));
            peer.look();
        }
        let mut borrowed: Vec<_> = peers.iter_mut().collect();
        let all_ended = |_: &Stand, peers: &[&mut Peer]| peers.iter().all(|peer| peer.has_ended);
        stand.turn_until(&mut borrowed, all_ended);
        for (number, peer) in peers.iter().enumerate() {
            assert!(peer.bodies() == body(number), "peer {number}");
            assert_eq!(peer.last_method(), Some(CONNECTION_CLOSE_OK));
        }
        drop(peers);
        stand.expect_empty();
    }
}

#[test]
fn long_messages_pass_narrow_sockets_whole_while_a_bystander_is_served() {
    const LEN: usize = 500_000;
    for settings in [LEAST, RingSettings::default()] {
        let mut stand = Stand::new(&settings);
        let mut bystander = stand.connect();
        bystander.say(&[peer::hello(), peer::declare("b")].concat());
        let mut narrow = stand.connect_narrow();
        narrow.read_len = 3000;
        let body = pattern(0, LEN);
        narrow.say(&[peer::hello(), peer::declare("n")].concat());
        for _ in 0..2 {
            narrow.say(&[peer::publish("n", &body), peer::get("n")].concat());
        }
        let mut served_count = 0;
        while narrow.bodies().len() < 2 * LEN {
            bystander.say(&[peer::publish("b", b"?"), peer::get("b")].concat());
            served_count += 1;
            stand.turn_until(&mut [&mut bystander, &mut narrow], |_, peers| {
                peers[0].bodies().len() == served_count
            });
        }
        assert!(narrow.bodies() == [body.clone(), body].concat());
        assert!(served_count > 10, "served {served_count} times meanwhile");
        drop((narrow, bystander));
        stand.expect_empty();
    }
}

#[test]
fn a_peer_that_is_not_read_until_it_reads_loses_nothing() {
    const LEN: usize = 60_000;
    const COUNT: usize = 12;
    for settings in [LEAST, TWO_OF_EACH, RingSettings::default()] {
        let mut stand = Stand::new(&settings);
        let mut peer = stand.connect_narrow();
        peer.say(&[peer::hello(), peer::declare("q")].concat());
        for round in 0..4 {
            let body = pattern(round, LEN);
            let work = [peer::publish("q", &body), peer::get("q")].concat();
            peer.say(&work.repeat(COUNT));
            peer.read_len = 0;
            stand.turn_until(&mut [&mut peer], |stand, _| stand.is_paused(0));
            peer.heard.clear();
            peer.read_len = 5000;
            stand.turn_until(&mut [&mut peer], |_, peers| {
                peers[0].heard.len() > COUNT * LEN && peers[0].bodies().len() == COUNT * LEN
            });
            assert!(peer.bodies() == body.repeat(COUNT), "round {round}");
        }
        drop(peer);
        stand.expect_empty();
    }
}

/// Xorshift: what is done is the same in every run of a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Somebody comes, speaks, reads, stalls, leaves or breaks, or time passes.
fn act(dice: &mut Dice, stand: &mut Stand, peers: &mut Vec<Peer>) {
    const PEER_COUNT_MAX: usize = 12;
    if peers.len() < PEER_COUNT_MAX && dice.below(4) == 0 {
        let mut peer = match dice.below(2) {
            0 => stand.connect(),
            _ => stand.connect_narrow(),
        };
        let body = pattern(0, dice.below(3) * dice.below(40_000));
        let queue = format!("q{}", dice.below(3));
        let work = [peer::publish(&queue, &body), peer::get(&queue)].concat();
        let work = work.repeat(1 + dice.below(4));
        peer.say(&[peer::hello(), peer::declare(&queue), work].concat());
        if dice.below(2) == 0 {
            peer.say(&peer::close());
        }
        peers.push(peer);
    }
    if dice.below(100) == 0 {
        stand.pass(Duration::from_millis(700));
    }
    if peers.is_empty() {
        return;
    }
    let at = dice.below(peers.len());
    match dice.below(60) {
        0 => peers[at].reset(),
        1 => peers[at].stop_writing(),
        2 => drop(peers.swap_remove(at)),
        3 => peers[at].read_len = 0,
        4..=20 => peers[at].write(1 + dice.below(300)),
        _ => peers[at].look(),
    }
    peers.retain(|peer| !peer.has_ended);
}

#[test]
fn whatever_peers_do_no_slot_is_lost_or_given_back_twice() {
    for seed in 1..=6 {
        eprintln!("seed {seed}");
        let (mut dice, mut peers) = (Dice(seed * 0x9E37_79B9), Vec::new());
        let settings = [LEAST, TWO_OF_EACH, RingSettings::default()][seed as usize % 3];
        let mut stand = Stand::new(&settings);
        for step in 0..1500 {
            act(&mut dice, &mut stand, &mut peers);
            if dice.below(3) == 0 {
                stand.drive.sockets.ring.turn(Some(Duration::ZERO)).unwrap();
                stand.drive.serve(stand.now);
            }
            if step % 100 == 0 {
                stand.drive.shard.invariants();
            }
        }
        drop(peers);
        for _ in 0..10 {
            stand.turn();
            stand.pass(Duration::from_secs(3));
        }
        stand.expect_empty();
    }
}
