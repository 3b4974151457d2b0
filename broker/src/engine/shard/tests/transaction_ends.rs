//! Transactions whose channel, connection, queue or limit ends, and the word of several shards.

use super::super::Settings;
use super::client::*;
use super::deliveries::fill;
use super::transactions::*;
use super::world::{Layout, Peer, World, everywhere, everywhere_with, settings};
use crate::limits::{Limits, MESSAGE_OVERHEAD};
use amq_protocol::protocol::channel;
use amq_protocol::types::AMQPValue;

/// A channel that has taken "0" to "2" of `q`, has noted what becomes of "0" and "1", and has
/// published one more.
fn unfinished(world: &mut World, owner: Peer) -> Peer {
    world.ask(owner, 1, declare("q"));
    fill(world, owner, 3);
    let peer = transactional(world, 0);
    (0..3).for_each(|_| world.call(peer, 1, get("q")));
    world.heard(peer);
    world.call(peer, 1, ack(1));
    world.call(peer, 1, nack(2, false, false));
    world.publish(peer, "q", "new");
    world.run();
    peer
}

fn assert_rolled_back(world: &mut World, owner: Peer) {
    for expected in ["1! /q 0 2", "2! /q 1 1", "3! /q 2 0"] {
        let lines = world.ask(owner, 1, get_auto("q"));
        assert_eq!(lines, [format!("1 get-ok {expected}")]);
    }
    assert_eq!(world.ask(owner, 1, get_auto("q")), ["1 get-empty"]);
}

#[test]
fn the_end_of_its_channel_or_connection_is_a_rollback() {
    everywhere(|world| {
        for end in 0..3 {
            let owner = world.connect(1);
            let peer = unfinished(world, owner);
            match end {
                0 => world.call(peer, 1, channel::Close::default()),
                1 => world.call(peer, 1, passive("none")),
                _ => world.disconnect(peer),
            }
            world.run();
            assert_rolled_back(world, owner);
        }
    });
}

#[test]
fn a_commit_that_a_full_queue_refuses_in_part_ends_the_channel() {
    everywhere(|world| {
        let owner = world.connect(1);
        let full = [
            ("x-max-length", int(1)),
            ("x-overflow", AMQPValue::LongString("reject-publish".into())),
        ];
        world.ask(owner, 1, declare_with("full", &full));
        world.ask(owner, 1, declare("q"));
        let peer = transactional(world, 0);
        for queue in ["full", "full", "q"] {
            world.publish(peer, queue, "x");
        }
        let refused = "1 channel.close 406 90.20 PRECONDITION_FAILED - partial tx completion";
        assert_eq!(world.ask(peer, 1, COMMIT), [refused]);
        // What was not refused stays.
        for queue in ["full", "q"] {
            let lines = world.ask(owner, 1, passive(queue));
            assert_eq!(lines, [format!("1 declare-ok {queue} 1 0")]);
        }
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, SELECT), ["1 tx.select-ok"]);
        world.publish(peer, "q", "y");
        assert_eq!(world.ask(peer, 1, COMMIT), ["1 commit-ok"]);
    });
}

#[test]
fn a_queue_that_goes_takes_what_was_settled_along() {
    everywhere(|world| {
        let owner = world.connect(1);
        let peer = unfinished(world, owner);
        assert_eq!(world.ask(owner, 1, delete("q")), ["1 delete-ok 0"]);
        assert_eq!(world.ask(peer, 1, COMMIT), ["1 commit-ok"]);
        assert!(world.ask(peer, 1, ack(3)).is_empty());
        assert_eq!(world.ask(peer, 1, ROLLBACK), ["1 rollback-ok"]);
        assert!(world.ask(peer, 1, ack(3)).is_empty());
    });
}

#[test]
fn settled_requests_go_back_once_when_their_consumer_leaves_before_commit() {
    everywhere(|world| {
        let owner = world.connect(1);
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 3);
        let peer = transactional(world, 0);
        world.ask(peer, 1, consume("q", "t"));
        world.call(peer, 1, ack(1));
        world.call(peer, 1, cancel("t"));
        world.heard(peer);
        assert_eq!(world.ask(peer, 1, COMMIT), ["1 commit-ok"]);
        world.call(peer, 1, ack(2));
        world.disconnect(peer);
        world.run();
        assert_eq!(world.ask(owner, 1, passive("q")), ["1 declare-ok q 2 0"]);
    });
}

#[test]
fn a_transaction_that_keeps_too_much_costs_its_channel_and_is_rolled_back() {
    let cost = MESSAGE_OVERHEAD + "q".len() + 2 + "x".len();
    let small = Settings {
        limits: Limits {
            transaction_len_max: 2 * cost,
            ..Limits::SHIPPED
        },
        ..settings()
    };
    everywhere_with(&small, |world| {
        let owner = world.connect(1);
        world.ask(owner, 1, declare("q"));
        let peer = transactional(world, 0);
        world.open(peer, 2);
        world.ask(peer, 2, SELECT);
        let publish = |world: &mut World, number| {
            world.publish_with(peer, number, to("", "q"), &Default::default(), "x");
            world.run();
            world.lines(peer)
        };
        // Both channels together.
        assert!(publish(world, 1).is_empty());
        assert!(publish(world, 2).is_empty());
        let text = format!(
            "more than {} octets in transactions of one connection",
            2 * cost
        );
        let expected = format!("1 channel.close 506 60.40 RESOURCE_ERROR - {text}");
        assert_eq!(publish(world, 1), [expected]);
        // Its end, and a commit, make room.
        for _ in 0..2 {
            assert!(publish(world, 2).is_empty());
            assert_eq!(world.ask(peer, 2, COMMIT), ["2 commit-ok"]);
        }
        assert_eq!(world.ask(owner, 1, passive("q")), ["1 declare-ok q 3 0"]);
    });
}

#[test]
fn commit_is_answered_when_every_shard_has_applied_its_part() {
    let world = &mut World::new(Layout {
        shard_count: 3,
        places: [0, 1, 2, 0],
        ..Layout::ONE
    });
    let owners = [world.connect(0), world.connect(1), world.connect(2)];
    for (owner, name) in owners.into_iter().zip(["a", "b", "c"]) {
        world.ask(owner, 1, declare(name));
    }
    world.publish(owners[2], "c", "old");
    world.run();
    let peer = transactional(world, 3);
    world.open(peer, 2);
    world.call(peer, 1, get("c"));
    world.heard(peer);
    for name in ["a", "b"] {
        world.publish(peer, name, "new");
    }
    world.call(peer, 1, ack(1));
    let counts = |world: &World| [0, 1, 2].map(|at: usize| world.shards[at].census());
    world.set_mailbox_full(2, 0, true);
    // Nothing is executed meanwhile, not on another channel either.
    world.call(peer, 1, COMMIT);
    world.send(peer, 2, delete("a"));
    world.run();
    assert!(world.lines(peer).is_empty());
    let [a, b, c] = counts(world);
    assert_eq!((a.message_count, b.message_count), (1, 1));
    assert_eq!(
        c.queue_unacked_count, 0,
        "applied, but the word is on its way"
    );
    world.set_mailbox_full(2, 0, false);
    world.run();
    assert_eq!(world.lines(peer), ["1 commit-ok", "2 delete-ok 1"]);
    world.end();
}

#[test]
fn whoever_hears_of_commit_ok_finds_all_of_it_done() {
    everywhere(|world| {
        let (near, far) = (world.connect(0), world.connect(1));
        world.ask(near, 1, declare("near"));
        world.ask(far, 1, declare("far"));
        world.publish(near, "near", "x");
        world.run();
        let peer = transactional(world, 2);
        let mut is_near = true;
        for _ in 0..10 {
            // Moves the message to the other queue and leaves a copy of it nowhere.
            let (from, target) = match is_near {
                true => ("near", "far"),
                false => ("far", "near"),
            };
            world.call(peer, 1, get(from));
            let tag = world.contents(peer)[0].delivery_tag();
            world.publish(peer, target, "x");
            world.send(peer, 1, ack(tag));
            let commits = world.dice.roll(3) > 0;
            match commits {
                true => world.send(peer, 1, COMMIT),
                false => world.send(peer, 1, ROLLBACK),
            }
            while world.lines(peer).is_empty() {
                world.run_steps(1);
            }
            let censuses = world.shards.iter().map(|shard| shard.census());
            let counts = censuses.fold((0, 0), |(waiting, held), census| {
                let unacked_count = census.queue_unacked_count;
                (waiting + census.message_count, held + unacked_count)
            });
            assert_eq!(counts, if commits { (1, 0) } else { (0, 1) });
            is_near ^= commits;
            if !commits {
                world.call(peer, 1, nack(tag, false, true));
                world.call(peer, 1, COMMIT);
                world.heard(peer);
            }
        }
    });
}

#[test]
fn a_commit_that_costs_its_channel_is_carried_out_all_the_same() {
    let small = Settings {
        limits: Limits {
            held_reply_count_max: 1,
            ..Limits::SHIPPED
        },
        ..settings()
    };
    everywhere_with(&small, |world| {
        let (owner, clerk) = (world.connect(1), world.connect(2));
        world.ask(owner, 1, declare("q"));
        let peer = world.connect(0);
        let name = world.reply_name(peer);
        fill(world, owner, 1);
        world.ask(peer, 1, SELECT);
        world.call(peer, 1, get("q"));
        let tag = world.contents(peer)[0].delivery_tag();
        world.ask(peer, 1, flow(false));
        // Its own channel holds one reply, not two.
        for key in [&name, &name, "q"] {
            world.publish(peer, key, "x");
        }
        world.call(peer, 1, ack(tag));
        let lines = world.ask(peer, 1, COMMIT);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("1 channel.close 506"), "{lines:?}");
        assert_eq!(world.ask(clerk, 1, get_auto("q")), ["1 get-ok 1 /q x 0"]);
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, passive("q")), ["1 declare-ok q 0 0"]);
    });
}

#[test]
fn a_commit_is_carried_out_although_its_connection_has_gone() {
    everywhere(|world| {
        let owner = world.connect(1);
        let peer = unfinished(world, owner);
        world.send(peer, 1, COMMIT);
        // Its own shard has executed it, perhaps nobody else.
        let census = |world: &World| {
            let censuses = world.shards.iter().map(|shard| shard.census());
            censuses.map(|census| census.transaction_len).sum::<usize>()
        };
        assert!(census(world) > 0);
        while census(world) > 0 {
            world.run_steps(1);
        }
        world.disconnect(peer);
        world.run();
        for expected in ["1! /q 2 1", "2 /q new 0"] {
            let lines = world.ask(owner, 1, get_auto("q"));
            assert_eq!(lines, [format!("1 get-ok {expected}")]);
        }
    });
}
