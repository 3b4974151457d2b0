//! What counts against which prefetch, as RabbitMQ counts it: a consumer's own, the channel's, both.

use super::client::*;
use super::deliveries::fill;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::Recover;

/// `count` messages, "0" and up, published to `queue`.
fn fill_queue(world: &mut World, peer: Peer, queue: &str, count: usize) {
    for number in 0..count {
        world.publish(peer, queue, &number.to_string());
    }
    world.run();
}

/// Tags of the consumers that have got something since the last time.
fn receivers(world: &mut World, peer: Peer) -> Vec<String> {
    let lines = world.lines(peer).into_iter();
    let mut tags: Vec<String> = lines
        .filter_map(|line| line.strip_prefix("1 deliver ").map(str::to_string))
        .filter_map(|rest| rest.split(' ').next().map(str::to_string))
        .collect();
    tags.sort();
    tags
}

#[test]
fn a_consumers_own_prefetch_is_that_of_the_moment_it_began() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 10);
        world.ask(peer, 1, qos(1, false));
        world.call(peer, 1, consume("q", "a"));
        assert_eq!(receivers(world, peer), ["a"]);
        world.call(peer, 1, qos(3, false));
        assert!(receivers(world, peer).is_empty());
        world.call(peer, 1, consume("q", "b"));
        assert_eq!(receivers(world, peer), ["b", "b", "b"]);
        world.call(peer, 1, ack(1));
        assert_eq!(receivers(world, peer), ["a"]);
    });
}

#[test]
fn both_limits_hold_at_once_for_consumers_on_two_shards() {
    everywhere(|world| {
        let (a, b, peer) = (world.connect(0), world.connect(1), world.connect(2));
        world.ask(a, 1, declare("q"));
        world.ask(b, 1, declare("r"));
        fill_queue(world, a, "q", 5);
        world.ask(peer, 1, qos(2, false));
        world.ask(peer, 1, qos(3, true));
        world.call(peer, 1, consume("q", "a"));
        assert_eq!(receivers(world, peer), ["a", "a"], "its own limit");
        world.call(peer, 1, consume("r", "b"));
        fill_queue(world, b, "r", 5);
        assert_eq!(receivers(world, peer), ["b"], "the channel's");
        world.call(peer, 1, ack(3));
        assert_eq!(receivers(world, peer), ["b"], "who had room");
        // Both may have the next one, together no more than the channel may.
        world.call(peer, 1, nack(1, false, false));
        assert_eq!(receivers(world, peer).len(), 1);
    });
}

#[test]
fn a_prefetch_for_consumers_to_come_lifts_that_of_the_channel() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 6);
        world.ask(peer, 1, qos(1, true));
        world.call(peer, 1, consume("q", "a"));
        assert_eq!(receivers(world, peer), ["a"]);
        world.call(peer, 1, qos(2, false));
        assert_eq!(receivers(world, peer), ["a"; 5]);
        fill(world, owner, 6);
        receivers(world, peer);
        world.call(peer, 1, consume("q", "b"));
        fill(world, owner, 6);
        let got = receivers(world, peer);
        let by_b = got.iter().filter(|tag| *tag == "b").count();
        assert_eq!((got.len(), by_b), (6, 2), "only the second has a limit");
    });
}

#[test]
fn consumers_without_acknowledgement_wait_for_the_channels_limit_and_do_not_count_for_it() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        for queue in ["q", "r"] {
            world.ask(owner, 1, declare(queue));
        }
        fill_queue(world, owner, "r", 1);
        world.ask(peer, 1, qos(1, true));
        world.call(peer, 1, consume("r", "b"));
        assert_eq!(receivers(world, peer), ["b"]);
        world.call(peer, 1, consume_auto("q", "a"));
        fill(world, owner, 2);
        assert!(receivers(world, peer).is_empty(), "as in RabbitMQ");
        world.call(peer, 1, ack(1));
        assert_eq!(receivers(world, peer), ["a", "a"]);
    });
}

#[test]
fn consumers_without_acknowledgement_and_gets_pass_by_both_limits() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        for queue in ["q", "r"] {
            world.ask(owner, 1, declare(queue));
        }
        world.ask(peer, 1, qos(1, false));
        world.ask(peer, 1, qos(1, true));
        world.call(peer, 1, consume_auto("q", "a"));
        fill(world, owner, 4);
        assert_eq!(receivers(world, peer), ["a"; 4]);
        fill_queue(world, owner, "r", 5);
        for _ in 0..2 {
            world.call(peer, 1, get("r"));
        }
        assert_eq!(world.bodies(peer), ["0", "1"]);
        world.call(peer, 1, consume("r", "b"));
        assert_eq!(receivers(world, peer), ["b"], "gets do not count");
        world.call(peer, 1, get("r"));
        assert_eq!(world.bodies(peer), ["3"], "and are not held up");
    });
}

#[test]
fn what_is_unacknowledged_counts_for_the_channel_after_its_consumer_and_queue_have_gone() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        for queue in ["q", "r"] {
            world.ask(owner, 1, declare(queue));
        }
        fill(world, owner, 2);
        fill_queue(world, owner, "r", 4);
        world.ask(peer, 1, qos(2, true));
        world.call(peer, 1, consume("q", "a"));
        assert_eq!(receivers(world, peer), ["a", "a"]);
        world.call(peer, 1, cancel("a"));
        world.call(peer, 1, consume("r", "b"));
        assert!(receivers(world, peer).is_empty());
        world.ask(owner, 1, delete("q"));
        world.call(peer, 1, ack(1));
        assert_eq!(receivers(world, peer), ["b"]);
    });
}

#[test]
fn what_is_unacknowledged_does_not_count_for_the_next_consumer_of_its_tag() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 6);
        world.ask(peer, 1, qos(2, false));
        for _ in 0..2 {
            world.call(peer, 1, consume("q", "a"));
            assert_eq!(receivers(world, peer), ["a", "a"]);
            world.call(peer, 1, cancel("a"));
        }
    });
}

#[test]
fn a_channels_limit_counts_what_was_delivered_before_it() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        world.ask(owner, 1, declare("q"));
        world.call(peer, 1, consume("q", "a"));
        fill(world, owner, 2);
        assert_eq!(receivers(world, peer).len(), 2);
        world.call(peer, 1, qos(2, true));
        fill(world, owner, 3);
        assert!(receivers(world, peer).is_empty());
        for tag in 1..=3 {
            world.call(peer, 1, ack(tag));
            assert_eq!(receivers(world, peer).len(), 1);
        }
    });
}

#[test]
fn what_is_requeued_under_a_channels_limit_comes_again_first() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 4);
        world.ask(peer, 1, qos(2, true));
        world.call(peer, 1, consume("q", "t"));
        assert_eq!(world.bodies(peer), ["0", "1"]);
        world.call(peer, 1, Recover { requeue: true });
        assert_eq!(world.bodies(peer), ["0", "1"]);
        world.call(peer, 1, nack(4, true, true));
        assert_eq!(world.bodies(peer), ["0", "1"]);
        world.call(peer, 1, nack(5, false, true));
        assert_eq!(world.bodies(peer), ["0"]);
        // In a transaction too.
        world.call(peer, 1, super::transactions::SELECT);
        world.call(peer, 1, nack(7, true, true));
        world.call(peer, 1, super::transactions::COMMIT);
        assert_eq!(world.bodies(peer), ["0", "1"]);
    });
}

#[test]
fn channels_of_a_connection_are_limited_apart() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        world.open(peer, 2);
        world.ask(owner, 1, declare("q"));
        world.ask(peer, 1, qos(1, true));
        world.call(peer, 1, consume("q", "a"));
        fill(world, owner, 6);
        assert_eq!(world.bodies(peer), ["0"]);
        world.call(peer, 2, consume("q", "b"));
        assert_eq!(world.contents(peer).len(), 5);
    });
}
