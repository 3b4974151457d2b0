//! Who gets which message when, and what becomes of it: order, prefetch, acknowledgement.

use super::client::*;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::{Ack, Consume};
use amq_protocol::protocol::channel;
use amq_protocol::types::{AMQPValue, FieldTable};

/// `count` messages, "0" and up, published to `q`.
pub fn fill(world: &mut World, peer: Peer, count: usize) {
    for number in 0..count {
        world.publish(peer, "q", &number.to_string());
    }
    world.run();
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn order_is_kept_from_channel_to_queue_to_consumer() {
    everywhere(|world| {
        let (publisher, consumer) = (world.connect(0), world.connect(1));
        let owner = world.connect(2);
        world.ask(owner, 1, declare("q"));
        fill(world, publisher, 5);
        world.send(consumer, 1, consume_auto("q", "t"));
        for number in 5..20 {
            world.publish(publisher, "q", &number.to_string());
        }
        world.run();
        assert_eq!(world.bodies(consumer), numbers(0..20));
    });
}

#[test]
fn prefetch_is_never_exceeded_and_always_used() {
    everywhere(|world| {
        let (publisher, consumer) = (world.connect(0), world.connect(1));
        world.ask(publisher, 1, declare("q"));
        fill(world, publisher, 10);
        assert_eq!(world.ask(consumer, 1, qos(3, false)), ["1 qos-ok"]);
        world.ask(consumer, 1, consume("q", "t"));
        // consume() has taken the first lines: what is outstanding is 1 to 3.
        world.call(consumer, 1, ack(2));
        assert_eq!(world.bodies(consumer), ["3"]);
        let multiple = true;
        let delivery_tag = 4;
        world.call(
            consumer,
            1,
            Ack {
                delivery_tag,
                multiple,
            },
        );
        assert_eq!(world.bodies(consumer), ["4", "5", "6"]);
        // A limit is each consumer's own, and of consumers to come.
        world.ask(consumer, 1, qos(1, false));
        world.call(consumer, 1, consume("q", "u"));
        assert_eq!(world.bodies(consumer), ["7"]);
        world.call(consumer, 1, ack(5));
        assert_eq!(world.bodies(consumer), ["8"]);
    });
}

#[test]
fn a_global_prefetch_limits_the_channel_exactly() {
    everywhere(|world| {
        let (a, b, consumer) = (world.connect(0), world.connect(1), world.connect(1));
        world.ask(a, 1, declare("q"));
        world.ask(b, 1, declare("r"));
        world.ask(consumer, 1, qos(3, true));
        world.ask(consumer, 1, consume("q", "t"));
        world.ask(consumer, 1, consume("r", "u"));
        fill(world, a, 10);
        for number in 10..20 {
            world.publish(b, "r", &number.to_string());
        }
        world.run();
        let mut seen = 0;
        let mut outstanding: Vec<u64> = Vec::new();
        for _ in 0..40 {
            let deliveries = world.contents(consumer);
            seen += deliveries.len();
            outstanding.extend(deliveries.iter().map(|delivery| delivery.delivery_tag()));
            assert_eq!(outstanding.len(), 3.min(20 - (seen - outstanding.len())));
            if outstanding.is_empty() {
                break;
            }
            let at = world.dice.roll(outstanding.len());
            let tag = outstanding.swap_remove(at);
            world.call(consumer, 1, ack(tag));
        }
        assert_eq!(seen, 20);
        assert_eq!(world.ask(a, 1, passive("q")), ["1 declare-ok q 0 1"]);
    });
}

#[test]
fn a_global_prefetch_may_be_lifted_and_lowered() {
    everywhere(|world| {
        let (publisher, consumer) = (world.connect(0), world.connect(1));
        world.ask(publisher, 1, declare("q"));
        world.ask(consumer, 1, qos(1, true));
        world.ask(consumer, 1, consume("q", "t"));
        fill(world, publisher, 6);
        assert_eq!(world.bodies(consumer), ["0"]);
        world.call(consumer, 1, qos(2, true));
        assert_eq!(world.bodies(consumer), ["1"]);
        world.call(consumer, 1, qos(0, true));
        assert_eq!(world.bodies(consumer), numbers(2..6));
        world.call(consumer, 1, qos(2, true));
        for number in 6..9 {
            world.publish(publisher, "q", &number.to_string());
        }
        for tag in 1..=4 {
            world.call(consumer, 1, ack(tag));
            assert!(world.bodies(consumer).is_empty());
        }
        world.call(consumer, 1, ack(5));
        assert_eq!(world.bodies(consumer), ["6"]);
        // A get is not counted.
        world.call(consumer, 1, get("q"));
        assert_eq!(world.bodies(consumer), ["7"]);
        world.call(consumer, 1, ack(6));
        assert_eq!(world.bodies(consumer), ["8"]);
    });
}

#[test]
fn requests_of_a_worker_that_dies_go_to_the_others_in_order_and_flagged() {
    everywhere(|world| {
        for dies_by in 0..4 {
            let publisher = world.connect(0);
            let (worker, other) = (world.connect(1), world.connect(2));
            world.ask(publisher, 1, declare("q"));
            world.ask(worker, 1, qos(3, false));
            world.ask(worker, 1, consume("q", "w"));
            fill(world, publisher, 5);
            assert_eq!(world.bodies(worker), numbers(0..3));
            world.call(worker, 1, ack(1));
            world.contents(worker);
            match dies_by {
                0 => world.disconnect(worker),
                1 => world.call(worker, 1, channel::Close::default()),
                // 406: the broker closes the channel.
                2 => world.call(worker, 1, ack(99)),
                // 504: the broker closes the connection.
                _ => world.call(worker, 9, ack(1)),
            }
            world.run();
            world.call(other, 1, consume_auto("q", "o"));
            let expected = [
                "1 consume-ok o",
                "1 deliver o 1! /q 1",
                "1 deliver o 2! /q 2",
                "1 deliver o 3! /q 3",
                "1 deliver o 4 /q 4",
            ];
            assert_eq!(world.lines(other), expected);
            world.ask(publisher, 1, delete("q"));
        }
    });
}

#[test]
fn deliveries_in_transit_to_a_consumer_that_dies_are_not_lost() {
    everywhere(|world| {
        for no_ack in [false, true] {
            let (publisher, worker) = (world.connect(0), world.connect(1));
            let other = world.connect(2);
            world.ask(publisher, 1, declare("q"));
            world.ask(
                worker,
                1,
                Consume {
                    no_ack,
                    ..consume("q", "w")
                },
            );
            for number in 0..6 {
                world.publish(publisher, "q", &number.to_string());
            }
            let steps = world.dice.roll(30);
            world.run_steps(steps);
            let reached = world.contents(worker).len();
            world.disconnect(worker);
            world.run();
            world.call(other, 1, consume_auto("q", "o"));
            let deliveries = world.contents(other);
            let bodies: Vec<String> = deliveries.iter().map(|d| d.text()).collect();
            if no_ack {
                assert_eq!(bodies, numbers(reached..6));
                assert!(deliveries.iter().all(|delivery| !delivery.redelivered()));
            } else {
                assert_eq!(bodies, numbers(0..6));
                let flagged = deliveries.iter().filter(|d| d.redelivered()).count();
                assert_eq!(flagged, reached);
            }
            world.ask(publisher, 1, delete("q"));
        }
    });
}

#[test]
fn after_cancel_ok_nothing_is_delivered_and_nothing_is_lost() {
    everywhere(|world| {
        for no_ack in [false, true] {
            let (publisher, worker) = (world.connect(0), world.connect(1));
            world.ask(publisher, 1, declare("q"));
            world.ask(
                worker,
                1,
                Consume {
                    no_ack,
                    ..consume("q", "w")
                },
            );
            for number in 0..8 {
                world.publish(publisher, "q", &number.to_string());
            }
            let steps = world.dice.roll(20);
            world.run_steps(steps);
            world.send(worker, 1, cancel("w"));
            world.run();
            let lines = world.lines(worker);
            assert_eq!(
                lines.last().map(String::as_str),
                Some("1 cancel-ok w"),
                "{lines:?}"
            );
            let reached = lines.len() - 1;
            let expected = [format!("1 declare-ok q {} 0", 8 - reached)];
            assert_eq!(world.ask(publisher, 1, passive("q")), expected);
            world.disconnect(worker);
            world.ask(publisher, 1, delete("q"));
        }
    });
}

#[test]
fn consumers_take_turns_and_higher_priorities_come_first() {
    everywhere(|world| {
        let publisher = world.connect(0);
        world.ask(publisher, 1, declare("q"));
        let prior = |tag: &str, priority: i32| {
            let mut arguments = FieldTable::default();
            arguments.insert("x-priority".into(), AMQPValue::LongInt(priority));
            Consume {
                arguments,
                ..consume("q", tag)
            }
        };
        let (low, high) = (world.connect(2), [world.connect(1), world.connect(2)]);
        for peer in [low, high[0], high[1]] {
            world.ask(peer, 1, qos(2, false));
        }
        world.ask(low, 1, consume("q", "low"));
        world.ask(high[0], 1, prior("high", 5));
        world.ask(high[1], 1, prior("high", 5));
        fill(world, publisher, 7);
        assert_eq!(world.bodies(high[0]), ["0", "2"]);
        assert_eq!(world.bodies(high[1]), ["1", "3"]);
        assert_eq!(world.bodies(low), ["4", "5"]);
        world.call(high[1], 1, ack(1));
        assert_eq!(world.bodies(high[1]), ["6"]);
    });
}

#[test]
fn with_flow_off_nothing_is_delivered_until_it_is_on() {
    everywhere(|world| {
        for no_ack in [false, true] {
            let (publisher, consumer) = (world.connect(0), world.connect(1));
            world.ask(publisher, 1, declare("q"));
            world.ask(
                consumer,
                1,
                Consume {
                    no_ack,
                    ..consume("q", "t")
                },
            );
            for number in 0..5 {
                world.publish(publisher, "q", &number.to_string());
            }
            let steps = world.dice.roll(12);
            world.run_steps(steps);
            world.call(consumer, 1, flow(false));
            let lines = world.lines(consumer);
            assert_eq!(
                lines.last().map(String::as_str),
                Some("1 flow-ok false"),
                "{lines:?}"
            );
            let reached = lines.len() - 1;
            let expected = [format!("1 declare-ok q {} 1", 5 - reached)];
            assert_eq!(world.ask(publisher, 1, passive("q")), expected);
            world.call(consumer, 1, flow(true));
            assert_eq!(world.bodies(consumer), numbers(reached..5));
            world.disconnect(consumer);
            world.ask(publisher, 1, delete("q"));
        }
    });
}
