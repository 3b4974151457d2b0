//! A peer that hangs up while it is not read: what it wrote and nobody read is lost, and its slot
//! comes back as if it had been read.

use super::super::ring::RingSettings;
use super::peer::{self, Peer};
use super::small_rings::{Dice, TWO_OF_EACH};
use super::stand::{LEAST, Stand};
use std::time::Duration;

const BODY_LEN: usize = 50_000;
/// Two bodies.
const QUEUED_LEN_MAX: usize = 2 * BODY_LEN;
/// What is kept, what waits in the connection, and a little in its socket: an end behind more than
/// that takes in would stay with the peer.
const COUNT: usize = 5;
/// The same where what is fetched must not be kept but waits to be sent.
const DEAF_COUNT: usize = 9;

#[derive(Clone, Copy, Debug)]
enum Act {
    Reset,
    StopWriting,
    Leave,
}

fn hang_up(mut peer: Peer, act: Act, left: &mut Vec<Peer>) {
    match act {
        Act::Reset => peer.reset(),
        Act::StopWriting => {
            peer.stop_writing();
            // Its socket stays open: nothing but the half-closing is there to be noticed.
            left.push(peer);
        }
        Act::Leave => drop(peer),
    }
}

fn with_each(test: impl Fn(&RingSettings, Act)) {
    for settings in [LEAST, TWO_OF_EACH, RingSettings::default()] {
        for act in [Act::Reset, Act::StopWriting, Act::Leave] {
            eprintln!("{act:?} with {settings:?}");
            test(&settings, act);
        }
    }
}

/// Its messages wait for memory, and so many of them that it is not read.
fn blocked_peer(stand: &mut Stand) -> Peer {
    let mut peer = stand.connect();
    let flood = peer::publish("q", &[7; BODY_LEN]).repeat(COUNT);
    peer.say(&[peer::hello(), peer::declare("q"), flood].concat());
    stand.turn_until(&mut [&mut peer], |stand, peers| {
        stand.is_paused(0) && peers[0].has_said_all()
    });
    // The last receive ends.
    (0..5).for_each(|_| stand.turn());
    peer
}

#[test]
fn a_peer_that_hangs_up_while_it_is_not_read_is_gone_at_once() {
    with_each(|settings, act| {
        let mut stand = Stand::with_memory(settings, QUEUED_LEN_MAX);
        let peer = blocked_peer(&mut stand);
        let mut left = Vec::new();
        hang_up(peer, act, &mut left);
        stand.expect_empty();
    });
}

#[test]
fn a_deaf_peer_that_hangs_up_while_it_is_not_read_is_gone_at_once() {
    with_each(|settings, act| {
        let mut stand = Stand::new(settings);
        let mut peer = stand.connect_narrow();
        let work = [peer::publish("q", &[7; BODY_LEN]), peer::get("q")].concat();
        let flood = work.repeat(DEAF_COUNT);
        peer.say(&[peer::hello(), peer::declare("q"), flood].concat());
        peer.read_len = 0;
        stand.turn_until(&mut [&mut peer], |stand, peers| {
            stand.is_paused(0) && peers[0].has_said_all()
        });
        let mut left = Vec::new();
        hang_up(peer, act, &mut left);
        stand.expect_empty();
    });
}

#[test]
fn a_peer_that_is_read_again_loses_nothing_that_it_wrote_before_it_hung_up() {
    with_each(|settings, act| {
        if matches!(act, Act::Reset) {
            return;
        }
        let mut stand = Stand::with_memory(settings, QUEUED_LEN_MAX);
        let mut publisher = blocked_peer(&mut stand);
        publisher.say(&peer::publish("q", b"the last"));
        publisher.look();
        let mut consumer = stand.connect();
        consumer.say(&[peer::hello(), peer::consume("q")].concat());
        let mut peers = [&mut publisher, &mut consumer];
        stand.turn_until(&mut peers, |stand, _| !stand.is_paused(0));
        let mut left = Vec::new();
        hang_up(publisher, act, &mut left);
        stand.turn_until(&mut [&mut consumer], |stand, _| {
            stand.drive.shard.connection_count() == 1
        });
        let expected_len = COUNT * BODY_LEN + b"the last".len();
        stand.turn_until(&mut [&mut consumer], |_, peers| {
            peers[0].bodies().len() == expected_len
        });
        assert!(consumer.bodies().ends_with(b"the last"));
        drop(consumer);
        stand.expect_empty();
    });
}

#[test]
fn whenever_reading_is_paused_and_resumed_a_hang_up_is_noticed_once() {
    for seed in 1..=20 {
        with_each(|settings, act| {
            let mut dice = Dice(seed * 0x9E37_79B9);
            let mut stand = Stand::new(settings);
            let mut peer = stand.connect();
            peer.say(&[peer::hello(), peer::declare("q")].concat());
            let hangs_up_after = dice.below(40);
            let (mut peer, mut left) = (Some(peer), Vec::new());
            for step in 0..40 {
                if step == hangs_up_after
                    && let Some(peer) = peer.take()
                {
                    hang_up(peer, act, &mut left);
                }
                match dice.below(4) {
                    0 => stand.drive.sockets.pause(0),
                    1 => stand.drive.sockets.resume(0),
                    2 => peer.iter_mut().for_each(|peer| {
                        peer.say(&peer::publish("q", b"?"));
                        peer.look();
                    }),
                    _ => stand.turn(),
                }
            }
            stand.expect_empty();
        });
    }
}

#[test]
fn a_closing_that_begins_while_the_peer_is_not_read_is_not_taken_for_a_hang_up() {
    for settings in [LEAST, TWO_OF_EACH, RingSettings::default()] {
        let mut stand = Stand::with_memory(&settings, QUEUED_LEN_MAX);
        let mut peer = blocked_peer(&mut stand);
        stand.drive.shard.handle_shutdown(stand.now);
        for _ in 0..10 {
            peer.look();
            stand.turn();
            stand.pass(Duration::from_secs(3));
        }
        stand.turn_until(&mut [&mut peer], |_, peers| peers[0].has_ended);
        assert_eq!(peer.last_method(), Some(peer::CONNECTION_CLOSE));
        stand.expect_empty();
    }
}
