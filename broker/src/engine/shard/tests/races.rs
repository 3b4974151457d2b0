//! Names that come and go on several shards at once.

use super::client::*;
use super::world::{Layout, World, everywhere};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{channel, queue};
use std::time::Duration;

fn auto_delete(name: &str) -> queue::Declare {
    queue::Declare {
        auto_delete: true,
        ..declare(name)
    }
}

/// Two shards, the peers of places 0 and 1 on different ones, and many orders of mail.
fn in_many_orders(scenario: impl Fn(&mut World)) {
    for seed in 0..200 {
        let places = if seed % 2 == 0 {
            [0, 1, 0, 1]
        } else {
            [1, 0, 1, 0]
        };
        let mut world = World::new(Layout {
            places,
            seed,
            ..Layout::TWO
        });
        scenario(&mut world);
        world.end();
    }
}

#[test]
fn a_queue_declared_on_two_shards_at_once_is_one_queue() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.send(a, 1, declare("q"));
        world.send(b, 1, declare("q"));
        world.run();
        assert_eq!(world.lines(a), ["1 declare-ok q 0 0"]);
        assert_eq!(world.lines(b), ["1 declare-ok q 0 0"]);
        world.publish(a, "q", "from a");
        world.publish(b, "q", "from b");
        world.run();
        assert_eq!(world.ask(a, 1, passive("q")), ["1 declare-ok q 2 0"]);
        assert_eq!(world.ask(b, 1, passive("q")), ["1 declare-ok q 2 0"]);
    });
}

#[test]
fn a_queue_that_nobody_knows_of_yet_does_not_expire() {
    let mut world = World::new(Layout::TWO);
    let (a, b) = (world.connect(0), world.connect(1));
    let expiring = || declare_with("q", &[("x-expires", int(10))]);
    world.set_mailbox_full(0, 1, true);
    world.send(a, 1, expiring());
    world.run();
    world.send(b, 1, expiring());
    world.advance(Duration::from_millis(20));
    assert_eq!(world.lines(b), [""; 0]);
    world.set_mailbox_full(0, 1, false);
    world.run();
    assert_eq!(world.lines(a), ["1 declare-ok q 0 0"]);
    assert_eq!(world.lines(b), ["1 declare-ok q 0 0"]);
    world.advance(Duration::from_millis(10));
    let gone = "1 channel.close 404 50.10 NOT_FOUND - no queue 'q' in vhost '/'";
    assert_eq!(world.ask(a, 1, passive("q")), [gone]);
    world.end();
}

#[test]
fn of_two_different_declarations_at_once_one_is_refused() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.send(a, 1, declare("q"));
        world.send(b, 1, auto_delete("q"));
        world.run();
        let mut lines = [world.lines(a), world.lines(b)].concat();
        lines.sort();
        assert!(lines[0].starts_with("1 channel.close 406 50.10 PRECONDITION_FAILED - inequiv"));
        assert_eq!(lines[1], "1 declare-ok q 0 0");
    });
}

#[test]
fn of_two_exclusive_declarations_at_once_one_is_refused() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        let exclusive = queue::Declare {
            exclusive: true,
            ..declare("q")
        };
        world.send(a, 1, exclusive.clone());
        world.send(b, 1, exclusive);
        world.run();
        let mut lines = [world.lines(a), world.lines(b)].concat();
        lines.sort();
        assert!(lines[0].starts_with("1 channel.close 405 50.10 RESOURCE_LOCKED - cannot obtain"));
        assert_eq!(lines[1], "1 declare-ok q 0 0");
    });
}

#[test]
fn a_queue_may_be_deleted_before_its_declarer_is_answered() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.send(a, 1, declare("q"));
        for _ in 0..8 {
            world.send(b, 1, delete("q"));
        }
        world.run();
        assert_eq!(world.lines(a), ["1 declare-ok q 0 0"]);
        assert_eq!(world.lines(b).len(), 8);
    });
}

#[test]
fn declaring_anew_what_is_being_deleted_gives_a_queue() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.call(a, 1, declare("q"));
        world.lines(a);
        world.send(a, 1, delete("q"));
        world.send(b, 1, declare("q"));
        world.send(b, 1, passive("q"));
        world.run();
        assert_eq!(world.lines(a), ["1 delete-ok 0"]);
        let lines = world.lines(b);
        assert_eq!(lines[0], "1 declare-ok q 0 0");
    });
}

#[test]
fn an_auto_delete_queue_may_be_declared_anew_after_its_last_consumer() {
    everywhere(|world| {
        let peer = world.connect(0);
        for round in 0..3 {
            world.send(peer, 1, auto_delete("q"));
            world.send(peer, 1, consume("q", "t"));
            world.send(peer, 1, cancel("t"));
            world.send(peer, 1, auto_delete("q"));
            world.send(peer, 1, consume("q", "t"));
            world.send(peer, 1, channel::Close::default());
            world.send(peer, 1, channel::Open {});
            world.run();
            assert_eq!(
                world.lines(peer),
                [
                    "1 declare-ok q 0 0",
                    "1 consume-ok t",
                    "1 cancel-ok t",
                    "1 declare-ok q 0 0",
                    "1 consume-ok t",
                    "1 channel.close-ok",
                    "1 channel.open-ok",
                ],
                "round {round}"
            );
        }
    });
}

#[test]
fn a_queue_that_dies_while_it_is_bound_leaves_no_binding() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        let exclusive = queue::Declare {
            exclusive: true,
            ..declare("")
        };
        world.call(a, 1, exclusive);
        world.call(b, 1, declare("shared"));
        world.send(a, 1, bind("", "amq.fanout", ""));
        world.send(a, 1, bind("shared", "amq.fanout", ""));
        world.send(b, 1, delete("shared"));
        let steps = world.dice.roll(12);
        world.run_steps(steps);
        world.disconnect(a);
        world.run();
    });
}

#[test]
fn a_declarer_that_leaves_before_the_answer_leaves_no_exclusive_queue() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.send(
            a,
            1,
            queue::Declare {
                exclusive: true,
                ..declare("q")
            },
        );
        let steps = world.dice.roll(6);
        world.run_steps(steps);
        world.disconnect(a);
        world.run();
        assert_eq!(world.ask(b, 1, declare("q")), ["1 declare-ok q 0 0"]);
    });
}

#[test]
fn messages_to_a_queue_that_is_being_deleted_are_dropped_or_returned() {
    in_many_orders(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.call(a, 1, declare("q"));
        world.call(
            b,
            1,
            amq_protocol::protocol::confirm::Select { nowait: false },
        );
        world.lines(b);
        world.send(a, 1, delete("q"));
        for _ in 0..4 {
            world.publish_with(b, 1, mandatory("", "q"), &AMQPProperties::default(), "x");
        }
        world.run();
        let lines = world.lines(b);
        let last_ack = lines.iter().rposition(|line| line.contains("ack"));
        assert_eq!(last_ack, Some(lines.len() - 1), "{lines:?}");
    });
}
