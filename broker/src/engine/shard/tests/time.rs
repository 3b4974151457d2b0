//! What the passing of time does: heartbeats, the dead, the slow.

use super::super::Settings;
use super::client::*;
use super::world::{End, Peer, World, everywhere, everywhere_with, settings};
use crate::limits::{CLOSE_TIME_MAX, HANDSHAKE_TIME_MAX};
use amq_protocol::protocol::connection;
use std::time::Duration;

const HEARTBEAT: &[u8] = b"\x08\0\0\0\0\0\0\xce";
const INTERVAL: Duration = Duration::from_secs(10);

fn beating() -> Hello {
    Hello {
        tune_ok: connection::TuneOk {
            heartbeat: 10,
            ..Hello::default().tune_ok
        },
        ..Hello::default()
    }
}

/// Lets time pass, with a heartbeat of the peer's now and then.
fn advance_alive(world: &mut World, peer: Peer, intervals: u32) {
    for _ in 0..intervals {
        world.advance(INTERVAL);
        world.write(peer, HEARTBEAT);
        world.run();
    }
}

#[test]
fn heartbeats_are_sent_at_half_the_interval() {
    everywhere(|world| {
        let peer = world.connect_as(0, &beating());
        let step = Duration::from_millis(1);
        world.advance(INTERVAL / 2 - step);
        assert!(world.lines(peer).is_empty());
        world.advance(step);
        assert_eq!(world.lines(peer), ["heartbeat"]);
        world.write(peer, HEARTBEAT);
        world.advance(INTERVAL);
        assert_eq!(world.lines(peer), ["heartbeat", "heartbeat"]);
        // Whatever else is sent will do.
        world.advance(INTERVAL / 4);
        assert_eq!(world.ask(peer, 1, qos(1, false)), ["1 qos-ok"]);
        world.advance(INTERVAL / 2 - step);
        assert!(world.lines(peer).is_empty());
        world.advance(step);
        assert_eq!(world.lines(peer), ["heartbeat"]);
    });
}

#[test]
fn a_peer_silent_for_two_intervals_is_dead() {
    everywhere(|world| {
        let (peer, other) = (world.connect_as(0, &beating()), world.connect(1));
        world.ask(other, 1, declare("q"));
        world.publish(other, "q", "x");
        world.ask(peer, 1, consume("q", "t"));
        let step = Duration::from_millis(1);
        for _ in 0..3 {
            world.advance(INTERVAL * 2 - step);
            // A single octet is a sign of life.
            world.write(peer, &HEARTBEAT[..4]);
            world.run();
            world.write(peer, &HEARTBEAT[4..]);
            world.run();
        }
        assert_eq!(world.end_of(peer), None);
        world.advance(INTERVAL * 2 - step);
        assert_eq!(world.end_of(peer), None);
        world.advance(step);
        assert_eq!(world.end_of(peer), Some(End::Aborted));
        assert_eq!(world.ask(other, 1, get_auto("q")), ["1 get-ok 1! /q x 0"]);
    });
}

#[test]
fn without_heartbeats_nobody_is_judged() {
    everywhere(|world| {
        let peer = world.connect(0);
        world.advance(Duration::from_secs(100_000));
        assert!(world.lines(peer).is_empty());
        assert_eq!(world.ask(peer, 1, declare("q")), ["1 declare-ok q 0 0"]);
    });
}

#[test]
fn a_peer_that_we_do_not_read_is_not_judged_but_still_told_that_we_live() {
    let mut little = Settings {
        queued_len_max: 3000,
        ..settings()
    };
    little.limits.parked_len_max = 2000;
    everywhere_with(&little, |world| {
        if world.layout.piece_len != usize::MAX {
            return;
        }
        let (peer, other) = (world.connect_as(0, &beating()), world.connect(1));
        world.ask(other, 1, declare("q"));
        for _ in 0..4 {
            world.publish(peer, "q", &"x".repeat(1000));
            world.run();
        }
        assert!(world.lines(peer)[0].starts_with("0 blocked"));
        for _ in 0..4 {
            world.publish(peer, "q", &"x".repeat(1000));
            world.run();
        }
        world.write(peer, HEARTBEAT);
        world.run();
        assert!(world.is_paused(peer) && world.unreceived_len(peer) > 0);
        world.advance(INTERVAL * 6);
        assert_eq!(world.end_of(peer), None);
        assert_eq!(world.lines(peer).len(), 12);
        world.ask(other, 1, delete("q"));
        assert_eq!(world.lines(peer), ["0 unblocked"]);
        assert!(!world.is_paused(peer) && world.unreceived_len(peer) == 0);
        world.advance(INTERVAL * 2);
        assert_eq!(world.end_of(peer), Some(End::Aborted));
    });
}

#[test]
fn a_handshake_has_its_time() {
    everywhere(|world| {
        let hello = Hello::default();
        for progress in 0..4 {
            let peer = world.accept(0, hello.address).expect("room");
            world.advance(HANDSHAKE_TIME_MAX / 2);
            if progress > 0 {
                world.write(peer, b"AMQP\0\0\x09\x01");
            }
            if progress > 1 {
                world.send(peer, 0, hello.start_ok());
            }
            if progress > 2 {
                world.send(peer, 0, hello.tune_ok.clone());
            }
            world.advance(HANDSHAKE_TIME_MAX / 2 - Duration::from_millis(1));
            assert_eq!(world.end_of(peer), None);
            world.advance(Duration::from_millis(1));
            assert_eq!(world.end_of(peer), Some(End::Aborted));
        }
    });
}

#[test]
fn a_peer_that_does_not_answer_our_close_is_left() {
    everywhere(|world| {
        let peer = world.connect_as(0, &beating());
        world.call(peer, 9, declare("q"));
        world.advance(CLOSE_TIME_MAX - Duration::from_millis(1));
        assert_eq!(world.end_of(peer), None);
        world.advance(Duration::from_millis(1));
        assert_eq!(world.end_of(peer), Some(End::Aborted));
    });
}

#[test]
fn an_open_connection_may_live_for_long() {
    everywhere(|world| {
        if world.layout.seed > 1 {
            return;
        }
        let peer = world.connect_as(0, &beating());
        advance_alive(world, peer, 1000);
        assert_eq!(world.lines(peer).len(), 2000);
        assert_eq!(world.end_of(peer), None);
    });
}

#[test]
fn at_shutdown_everybody_is_told_and_nobody_is_waited_for() {
    everywhere(|world| {
        let (peer, silent, deaf) = (world.connect(0), world.connect(1), world.connect(2));
        let stranger = world.accept(1, "127.0.0.1:1").expect("room");
        world.set_deaf(deaf, true);
        let now = world.now;
        world
            .shards
            .iter_mut()
            .for_each(|shard| shard.handle_shutdown(now));
        world.run();
        let expected = "0 connection.close 320 0.0 CONNECTION_FORCED - broker forced connection \
                        closure with reason 'shutdown'";
        assert_eq!(world.lines(peer), [expected]);
        assert_eq!(world.lines(silent), [expected]);
        assert_eq!(world.end_of(stranger), Some(End::Closed));
        world.call(peer, 0, connection::CloseOk {});
        assert_eq!(world.end_of(peer), Some(End::Closed));
        assert_eq!(world.end_of(silent), None);
        world.advance(CLOSE_TIME_MAX);
        assert_eq!(world.end_of(silent), Some(End::Aborted));
        assert_eq!(world.end_of(deaf), Some(End::Aborted));
        assert!(
            world
                .shards
                .iter()
                .all(|shard| shard.connection_count() == 0)
        );
    });
}
