//! Too much: memory in queues, peers that do not read, neighbours that do not keep up.

use super::super::Settings;
use super::client::*;
use super::world::{End, Layout, Peer, World, everywhere_with, settings};
use crate::limits::Limits;
use amq_protocol::protocol::connection;
use std::time::Duration;

/// Three messages of `MIDDLING` octets per shard at most, whatever the count of shards.
fn little() -> Settings {
    Settings {
        queued_len_max: 9000,
        ..settings()
    }
}

const MIDDLING: usize = 1000;

const SHIPPED: Limits = Limits::SHIPPED;

fn fill_until_blocked(world: &mut World, peer: Peer, queue: &str) -> usize {
    for count in 1..20 {
        world.publish(peer, queue, &"x".repeat(MIDDLING));
        world.run();
        if world
            .lines(peer)
            .iter()
            .any(|line| line.starts_with("0 blocked"))
        {
            return count;
        }
    }
    panic!("never blocked")
}

#[test]
fn whose_messages_must_be_kept_waits_while_queues_are_full() {
    everywhere_with(&little(), |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        let unknowing = Hello {
            capabilities: &[],
            ..Hello::default()
        };
        let unknowing = world.connect_as(0, &unknowing);
        world.ask(owner, 1, declare("q"));
        let count = fill_until_blocked(world, publisher, "q");
        world.publish(publisher, "q", "later");
        world.publish(unknowing, "q", "kept");
        world.run();
        world.publish(unknowing, "q", "later");
        world.run();
        assert!(world.lines(unknowing).is_empty());
        let expected = [format!("1 declare-ok q {} 0", count + 1)];
        assert_eq!(world.ask(owner, 1, passive("q")), expected);
        // Whoever frees memory is not held up.
        world.ask(owner, 1, qos(1, false));
        world.call(owner, 1, consume("q", "t"));
        let mut bodies = Vec::new();
        loop {
            let deliveries = world.contents(owner);
            let Some(delivery) = deliveries.first() else {
                break;
            };
            assert_eq!(deliveries.len(), 1);
            bodies.push(delivery.text());
            world.call(owner, 1, ack(delivery.delivery_tag()));
        }
        assert_eq!(bodies.len(), count + 3);
        assert_eq!(bodies.iter().filter(|body| *body == "later").count(), 2);
        assert_eq!(world.lines(publisher), ["0 unblocked"]);
        assert!(world.lines(unknowing).is_empty());
    });
}

#[test]
fn messages_that_pass_through_are_not_held_up() {
    everywhere_with(&little(), |world| {
        let (requester, worker, filler) = (world.connect(0), world.connect(1), world.connect(2));
        world.ask(worker, 1, declare("idle"));
        world.ask(worker, 1, declare("busy"));
        fill_until_blocked(world, filler, "idle");
        world.ask(worker, 1, consume_auto("busy", "w"));
        let name = world_reply_name(world, requester);
        for _ in 0..20 {
            world.publish(requester, "busy", "2+2");
            world.run();
            assert_eq!(world.bodies(worker), ["2+2"]);
            world.publish(worker, &name, "4");
            world.run();
            assert_eq!(world.bodies(requester), ["4"]);
        }
        world.ask(worker, 1, delete("idle"));
        assert_eq!(world.lines(filler), ["0 unblocked"]);
    });
}

/// Asking for one's name keeps a message, and waits while memory is short: here the name is heard
/// from a request that passes through.
fn world_reply_name(world: &mut World, requester: Peer) -> String {
    world.open(requester, 2);
    world.ask(requester, 1, consume_auto(REPLY_TO, "t"));
    world.ask(requester, 2, declare("own"));
    world.ask(requester, 2, consume_auto("own", "o"));
    world.publish_with(requester, 1, to("", "own"), &with_reply_to(REPLY_TO), "");
    world.run();
    world.contents(requester).remove(0).reply_to()
}

#[test]
fn a_slow_reader_is_delivered_what_it_can_take_and_then_the_rest() {
    everywhere_with(&settings(), |world| {
        if world.layout.piece_len != usize::MAX {
            return;
        }
        for no_ack in [false, true] {
            let (publisher, reader) = (world.connect(0), world.connect(1));
            world.ask(publisher, 1, declare("q"));
            let mut consume = consume("q", "t");
            consume.no_ack = no_ack;
            world.ask(reader, 1, consume);
            world.set_deaf(reader, true);
            let count = 200;
            for number in 0..count {
                let body = format!("{number:05}{}", "x".repeat(9_995));
                world.publish(publisher, "q", &body);
            }
            world.run();
            let lines = world.ask(publisher, 1, passive("q"));
            let waiting = lines[0].split(' ').nth(3).expect("a count");
            let sent = count - waiting.parse::<usize>().expect("a count");
            let high = SHIPPED.unsent_len_high;
            assert!(sent * 10_000 >= high);
            assert!(sent * 10_000 <= high + SHIPPED.transit_len_max + 20_000);
            world.set_deaf(reader, false);
            world.run();
            let numbers: Vec<usize> = world
                .contents(reader)
                .iter()
                .map(|c| {
                    String::from_utf8_lossy(&c.body[..5])
                        .parse()
                        .expect("a number")
                })
                .collect();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
            world.disconnect(reader);
            world.ask(publisher, 1, delete("q"));
        }
    });
}

#[test]
fn a_requester_that_never_reads_is_closed_and_nobody_else_notices() {
    for layout in [Layout::ONE, Layout::TWO] {
        let world = &mut World::new(layout);
        let (deaf, worker, other) = (world.connect(0), world.connect(1), world.connect(2));
        let (name, others) = (world.reply_name(deaf), world.reply_name(other));
        world.set_deaf(deaf, true);
        let body = vec![b'x'; 1 << 20];
        let mut count = 0;
        while world.end_of(deaf).is_none() {
            world.publish_with(worker, 1, to("", &name), &Default::default(), &body);
            world.publish(worker, &others, "4");
            world.run();
            assert_eq!(world.bodies(other), ["4"]);
            count += 1;
            assert!(count <= SHIPPED.unsent_len_max / body.len() + 1);
        }
        assert_eq!(world.end_of(deaf), Some(End::Aborted));
        assert!(count >= SHIPPED.unsent_len_max / body.len());
        assert!(world.lines(worker).is_empty());
        world.end();
    }
}

#[test]
fn who_does_not_read_is_not_executed() {
    for layout in [Layout::ONE, Layout::TWO] {
        let world = &mut World::new(layout);
        let (peer, other) = (world.connect(0), world.connect(1));
        let name = world.reply_name(peer);
        world.ask(other, 1, declare("q"));
        world.set_deaf(peer, true);
        world.publish_with(
            other,
            1,
            to("", &name),
            &Default::default(),
            vec![0; SHIPPED.unsent_len_high],
        );
        world.run();
        world.publish(peer, "q", "x");
        world.run();
        assert_eq!(world.ask(other, 1, passive("q")), ["1 declare-ok q 0 0"]);
        world.set_deaf(peer, false);
        world.run();
        assert_eq!(world.ask(other, 1, passive("q")), ["1 declare-ok q 1 0"]);
        world.end();
    }
}

#[test]
fn a_neighbour_that_does_not_keep_up_stops_only_who_writes_to_it() {
    let world = &mut World::new(Layout::TWO);
    let (producer, owner, bystander) = (world.connect(0), world.connect(1), world.connect(2));
    world.ask(owner, 1, declare("far"));
    world.ask(bystander, 1, declare("near"));
    world.set_mailbox_full(0, 1, true);
    let count = SHIPPED.outbox_count_max + 1000;
    for number in 0..count {
        world.publish(producer, "far", &number.to_string());
    }
    world.run();
    let outbox = world.shards[0].outbox(1).expect("a neighbour");
    assert_eq!(outbox.ordinary.len(), SHIPPED.outbox_count_max);
    world.publish(bystander, "near", "x");
    world.run();
    assert_eq!(
        world.ask(bystander, 1, get_auto("near")),
        ["1 get-ok 1 /near x 0"]
    );
    world.set_mailbox_full(0, 1, false);
    world.run();
    let expected = [format!("1 declare-ok far {count} 0")];
    assert_eq!(world.ask(owner, 1, passive("far")), expected);
    world.end();
}

#[test]
fn who_waits_for_memory_hears_the_shutdown_and_may_leave() {
    everywhere_with(&little(), |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        fill_until_blocked(world, publisher, "q");
        world.publish(publisher, "q", &"x".repeat(300_000));
        world.run();
        let now = world.now;
        world
            .shards
            .iter_mut()
            .for_each(|shard| shard.handle_shutdown(now));
        world.run();
        assert!(world.lines(publisher)[0].starts_with("0 connection.close 320"));
        world.call(publisher, 0, connection::CloseOk {});
        world.advance(Duration::ZERO);
        assert_eq!(world.end_of(publisher), Some(End::Closed));
    });
}

#[test]
fn workers_free_the_memory_that_their_replies_need() {
    // Enough that one message more is not yet far over the limit.
    let settings = Settings {
        queued_len_max: 20_000,
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (publisher, worker, requester) = (world.connect(0), world.connect(1), world.connect(2));
        world.ask(worker, 1, declare("requests"));
        world.ask(requester, 1, declare("replies"));
        let count = fill_until_blocked(world, publisher, "requests");
        world.ask(worker, 1, qos(1, false));
        world.call(worker, 1, consume("requests", "w"));
        let mut answered = 0;
        for _ in 0..count {
            for delivery in world.contents(worker) {
                // Nobody takes the reply yet: it must be kept.
                world.publish(worker, "replies", "4");
                world.call(worker, 1, ack(delivery.delivery_tag()));
                answered += 1;
            }
            while world.ask(requester, 1, get_auto("replies")) != ["1 get-empty"] {}
        }
        assert_eq!(answered, count);
        assert_eq!(world.lines(publisher), ["0 unblocked"]);
    });
}

#[test]
fn deliveries_from_other_shards_do_not_end_a_connection_that_reads() {
    let mut settings = settings();
    settings.limits.unsent_len_high = 3000;
    settings.limits.unsent_len_low = 1000;
    settings.limits.unsent_len_max = 20_000;
    everywhere_with(&settings, |world| {
        let (publisher, reader) = (world.connect(0), world.connect(1));
        let count = 50;
        for number in 0..count {
            let queue = format!("q{number}");
            world.ask(publisher, 1, declare(&queue));
            world.ask(reader, 1, consume(&queue, &queue));
        }
        world.set_deaf(reader, true);
        for number in 0..count {
            world.publish(publisher, &format!("q{number}"), &"x".repeat(MIDDLING));
        }
        world.run();
        assert_eq!(world.end_of(reader), None);
        world.set_deaf(reader, false);
        world.run();
        assert_eq!(world.contents(reader).len(), count);
        // What is withheld when the channel ends goes back, and is not marked.
        world.set_deaf(reader, true);
        for number in 0..count {
            world.publish(publisher, &format!("q{number}"), &"y".repeat(MIDDLING));
        }
        world.run();
        world.disconnect(reader);
        world.run();
        for number in 0..count {
            world.call(publisher, 1, get_auto(&format!("q{number}")));
            world.call(publisher, 1, get_auto(&format!("q{number}")));
            assert_eq!(world.contents(publisher).len(), 2, "both came back");
        }
    });
}
