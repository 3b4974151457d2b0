//! The end of a connection: whatever the peer does at whatever stage, the slot comes back once
//! (the engine asserts that) and only when nothing is in flight.

use super::super::ring::RingSettings;
use super::super::socket::Stage;
use super::peer::{self, CONNECTION_CLOSE_OK, Peer};
use super::stand::{LEAST, Stand};
use std::time::Duration;

/// Below what makes the connection's own frames wait, above what narrow sockets take.
const BODY_LEN: usize = 200_000;

const STAGES: [Stage; 4] = [
    Stage::Open,
    Stage::Flushing,
    Stage::Lingering,
    Stage::Joining,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Reset,
    StopWriting,
    /// It does nothing more, not even read.
    FallSilent,
}

/// A deaf peer that is being sent a long message.
fn deaf_peer(stand: &mut Stand) -> Peer {
    let mut peer = stand.connect_narrow();
    let body = [7; BODY_LEN];
    let asked = [
        peer::hello(),
        peer::declare("q"),
        peer::publish("q", &body),
        peer::get("q"),
    ];
    peer.say(&asked.concat());
    peer.read_len = 0;
    stand.turn_until(&mut [&mut peer], |stand, _| stand.is_within_send(0));
    peer
}

/// The same, if its stage allows that.
fn peer_at(stage: Stage, stand: &mut Stand) -> Peer {
    let mut peer = deaf_peer(stand);
    if stage == Stage::Open {
        return peer;
    }
    let mut reached = Stage::Flushing;
    if stage == Stage::Lingering {
        peer.read_len = 64 * 1024;
        reached = Stage::Lingering;
    }
    peer.say(&peer::close());
    stand.turn_until(&mut [&mut peer], |stand, _| stand.stage(0) == Some(reached));
    if stage == Stage::Joining {
        // Its time is over, and so is the time added for having read before.
        while stand.stage(0) == Some(Stage::Flushing) {
            stand.pass(Duration::from_secs(3));
            stand.drive.serve(stand.now);
        }
    }
    peer
}

/// The peer's last act ends the connection.
fn end(stand: &mut Stand, mut peer: Peer, act: Act) {
    match act {
        Act::Reset => peer.reset(),
        Act::StopWriting => peer.stop_writing(),
        Act::FallSilent => {
            for _ in 0..10 {
                stand.turn();
                stand.pass(Duration::from_secs(3));
            }
        }
    }
    stand.expect_empty();
    // The slot is fit for the next one.
    let mut next = stand.connect();
    next.say(&[peer::hello(), peer::declare("r"), peer::close()].concat());
    stand.turn_until(&mut [&mut next], |_, peers| peers[0].has_ended);
    assert_eq!(next.last_method(), Some(CONNECTION_CLOSE_OK));
    drop(next);
    stand.expect_empty();
}

fn at_every_stage(act: Act) {
    for stage in STAGES {
        // An open connection may be silent as long as it likes, and a send in flight to one that
        // has only stopped writing goes on until its time is over.
        let lasts = stage == Stage::Open && act == Act::FallSilent
            || stage == Stage::Flushing && act == Act::StopWriting;
        if !lasts {
            for settings in [LEAST, RingSettings::default()] {
                eprintln!("{act:?} at {stage:?}");
                let mut stand = Stand::new(&settings);
                let peer = peer_at(stage, &mut stand);
                end(&mut stand, peer, act);
            }
        }
    }
}

#[test]
fn a_reset_at_any_stage_ends_the_connection() {
    at_every_stage(Act::Reset);
}

#[test]
fn a_peer_that_stops_writing_at_any_stage_is_let_go() {
    at_every_stage(Act::StopWriting);
}

#[test]
fn a_peer_that_falls_silent_while_closing_is_let_go_in_time() {
    at_every_stage(Act::FallSilent);
}

#[test]
fn a_peer_that_broke_the_protocol_is_let_go_whatever_it_does_then() {
    for act in [Act::Reset, Act::StopWriting, Act::FallSilent] {
        for settings in [LEAST, RingSettings::default()] {
            let mut stand = Stand::new(&settings);
            let mut peer = deaf_peer(&mut stand);
            // Of a kind that no frame has. The broker says why and waits for the answer.
            peer.say(b"\x09\0\0\0\0\0\0\xCE");
            peer.look();
            (0..3).for_each(|_| stand.turn());
            end(&mut stand, peer, act);
        }
    }
}

#[test]
fn who_says_goodbye_and_stops_writing_still_hears_all_that_is_left() {
    for settings in [LEAST, RingSettings::default()] {
        let mut stand = Stand::new(&settings);
        let mut peer = peer_at(Stage::Flushing, &mut stand);
        peer.stop_writing();
        peer.read_len = 1000;
        stand.turn_until(&mut [&mut peer], |_, peers| peers[0].has_ended);
        assert!(peer.bodies() == [7; BODY_LEN], "not the message");
        assert_eq!(peer.last_method(), Some(CONNECTION_CLOSE_OK));
        stand.expect_empty();
    }
}
