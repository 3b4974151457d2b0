//! Small worlds whose every number is known.

use super::super::{Census, Settings, Shard};
use super::client::*;
use super::world::{Layout, Peer, World, settings};
use crate::engine::time::Timestamp;
use crate::limits::MESSAGE_OVERHEAD;
use amq_protocol::protocol::{channel, confirm};

/// Of a message with a body of one octet to the queue `q`: key, empty properties, body.
const COST: usize = MESSAGE_OVERHEAD + 4;

/// Frame, method and an empty long string.
const OPEN_OK_LEN: usize = 8 + 4 + 4;

fn idle() -> Census {
    Census {
        is_idle: true,
        ..Census::default()
    }
}

fn one_channel() -> Census {
    Census {
        connection_count: 1,
        channel_count: 1,
        ..idle()
    }
}

fn assert_censuses(world: &World, expected: [Census; 2]) {
    assert_eq!([0, 1].map(|at: usize| world.shards[at].census()), expected);
}

/// Everybody leaves, and the queues too.
fn end(world: &mut World, peers: [Peer; 2], queues: &[&str]) {
    for (from, to) in [(0, 1), (1, 0)] {
        world.set_mailbox_full(from, to, false);
    }
    for peer in peers {
        world.disconnect(peer);
    }
    world.run();
    let clerk = world.connect(0);
    for queue in queues {
        world.call(clerk, 1, delete(queue));
    }
    world.end();
    assert_censuses(world, [idle(), idle()]);
}

#[test]
fn consumers_and_deliveries_are_counted_at_both_ends() {
    let world = &mut World::new(Layout::TWO);
    assert_censuses(world, [idle(), idle()]);
    let (owner, reader) = (world.connect(0), world.connect(1));
    world.ask(owner, 1, declare("q"));
    let mut own = declare("");
    own.exclusive = true;
    world.ask(owner, 1, own);
    world.ask(owner, 1, consume_auto(REPLY_TO, "t"));
    world.ask(reader, 1, qos(2, false));
    world.ask(reader, 1, consume("q", "u"));
    for _ in 0..3 {
        world.publish(owner, "q", "x");
    }
    world.run();
    let with_queues = Census {
        reply_consumer_count: 1,
        queue_count: 2,
        exclusive_queue_count: 1,
        queue_consumer_count: 1,
        queue_unacked_count: 2,
        message_count: 1,
        queued_len: 3 * COST,
        transit_len_max: 2 * COST,
        ..one_channel()
    };
    let with_consumer = Census {
        channel_consumer_count: 1,
        consumer_count_max: 1,
        channel_unacked_count: 2,
        ..one_channel()
    };
    assert_censuses(world, [with_queues, with_consumer.clone()]);
    // What is settled behind a delivery that is not keeps its place, but counts no more.
    world.call(reader, 1, ack(2));
    let unacked = world.shards[1].census().channel_unacked_count;
    assert_eq!(unacked, 2, "the third came for the second");
    world.call(reader, 1, ack(3));
    assert_eq!(world.shards[1].census().channel_unacked_count, 1);
    end(world, [owner, reader], &["q"]);
}

#[test]
fn what_waits_for_another_shard_is_counted() {
    let world = &mut World::new(Layout::TWO);
    let (asker, owner) = (world.connect(0), world.connect(1));
    world.ask(owner, 1, declare("far"));
    world.ask(asker, 1, confirm::Select { nowait: false });
    world.set_mailbox_full(0, 1, true);
    world.publish_with(asker, 1, mandatory("", "far"), &Default::default(), "x");
    world.send(asker, 1, declare("new"));
    world.write(asker, b"\x08\0\0");
    world.run();
    let waiting = Census {
        queue_count: 1,
        unconfirmed_count: 1,
        // Its proposer, and the registrar until all have applied it.
        proposal_count: 2,
        waiting_count: 1,
        backlog_len: 3,
        backlog_len_max: 3,
        outbox_count: 2,
        outbox_count_max: 2,
        ..one_channel()
    };
    let untold = Census {
        queue_count: 1,
        ..one_channel()
    };
    assert_censuses(world, [waiting, untold]);
    let [registrar, other] = [0, 1].map(|at: usize| world.shards[at].topology_listing());
    assert_eq!(
        registrar.len(),
        other.len() + 1,
        "it has still to hear of the new one"
    );
    end(world, [asker, owner], &["far", "new"]);
}

#[test]
fn what_piles_up_for_want_of_memory_or_of_a_reader_is_counted() {
    let little = Settings {
        queued_len_max: 2 * COST,
        ..settings()
    };
    let world = &mut World::with(Layout::TWO, little);
    let (publisher, requester) = (world.connect(0), world.connect(1));
    world.ask(publisher, 1, declare("q"));
    world.ask(requester, 1, consume_auto(REPLY_TO, "t"));
    world.ask(requester, 1, flow(false));
    // Half a message: its properties are two octets of flags.
    let frames = publish_frames(1, to("", "q"), &Default::default(), &[7; 50], 20);
    world.write(requester, &frames[..3].concat());
    world.run();
    world.set_deaf(requester, true);
    world.send(requester, 2, channel::Open {});
    world.publish(publisher, "q", "x");
    world.run();
    let blocked = Census {
        queue_count: 1,
        message_count: 1,
        queued_len: COST,
        waiting_count: 1,
        memory_waiting_count: 1,
        ..one_channel()
    };
    let deaf = Census {
        connection_count: 1,
        channel_count: 2,
        reply_consumer_count: 1,
        assembly_len: 52,
        assembly_len_max: 52,
        unsent_len: OPEN_OK_LEN,
        unsent_len_max: OPEN_OK_LEN,
        ..idle()
    };
    assert_censuses(world, [blocked, deaf]);
    end(world, [publisher, requester], &["q"]);
}

#[test]
fn held_replies_are_counted_by_channel() {
    let world = &mut World::new(Layout::TWO);
    let (requester, worker) = (world.connect(0), world.connect(1));
    let name = world.reply_name(requester);
    world.ask(requester, 1, flow(false));
    for count in 1..4 {
        world.publish(worker, &name, "x");
        world.run();
        let holding = Census {
            reply_consumer_count: 1,
            held_reply_count_max: count,
            ..one_channel()
        };
        assert_censuses(world, [holding, one_channel()]);
    }
    end(world, [requester, worker], &[]);
}

#[test]
fn a_shard_is_idle_once_its_outputs_are_taken() {
    let mut shard = Shard::new(0, 1, settings());
    let address = "127.0.0.1:5000".parse().expect("an address");
    let slot = shard.handle_accepted(address, Timestamp(1)).expect("room");
    assert!(shard.census().is_idle);
    shard.handle_bytes(slot, b"AMQP\0\0\x09\x01", Timestamp(2));
    assert!(!shard.census().is_idle);
    while shard.poll_output().is_some() {}
    assert!(shard.census().is_idle);
}

#[test]
fn the_listing_of_names_is_the_same_on_all_shards() {
    let world = &mut World::new(Layout::TWO);
    let (peer, other) = (world.connect(0), world.connect(1));
    let predeclared = world.shards[0].topology_listing().len();
    world.ask(other, 1, declare("q"));
    world.ask(peer, 1, declare_exchange("e", "topic"));
    world.ask(peer, 1, bind("q", "e", "a.#"));
    world.ask(peer, 1, bind("q", "amq.headers", ""));
    let [listing, others] = [0, 1].map(|at: usize| world.shards[at].topology_listing());
    assert_eq!(listing, others);
    assert_eq!(listing.len(), predeclared + 4);
    let of = |what: &str| listing.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((of("queue "), of("exchange "), of("binding ")), (1, 7, 2));
    world.ask(peer, 1, delete("q"));
    assert_eq!(world.shards[1].topology_listing().len(), predeclared + 1);
    world.end();
}
