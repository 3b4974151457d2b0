//! Messages whose time ends, and queues that nobody uses.

use super::client::*;
use super::world::{World, everywhere};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::queue;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn expiring(ms: &str) -> AMQPProperties {
    AMQPProperties::default().with_expiration(ms.into())
}

#[test]
fn the_smaller_of_the_queues_and_the_messages_time_counts() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare_with("q", &[("x-message-ttl", int(100))]));
        for (body, expiration) in [("queue's", "200"), ("own", "50")] {
            world.publish_with(publisher, 1, to("", "q"), &expiring(expiration), body);
            world.advance(99 * MS);
            assert_eq!(count(world, "q"), usize::from(body == "queue's"));
            world.advance(MS);
            assert_eq!(count(world, "q"), 0, "{body}");
        }
        world.publish_with(publisher, 1, to("", "q"), &expiring("50"), "own");
        world.advance(49 * MS);
        let own = world.ask(owner, 1, get_auto("q"));
        assert_eq!(own.last().map(String::as_str), Some("1 get-ok 1 /q own 0"));
    });
}

/// Messages that wait, asked in a way that uses no queue.
fn count(world: &World, name: &str) -> usize {
    let found = world.shards.iter().flat_map(|shard| shard.queues.iter());
    let found: Vec<usize> = found
        .filter(|(_, queue)| queue.name.as_bytes() == name.as_bytes())
        .map(|(_, queue)| queue.message_count())
        .collect();
    assert_eq!(found.len(), 1, "one queue has this name");
    found[0]
}

#[test]
fn a_message_with_no_time_at_all_reaches_only_who_waits_for_it() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare_with("q", &[("x-message-ttl", int(0))]));
        world.publish(publisher, "q", "too early");
        world.run();
        assert_eq!(count(world, "q"), 0);
        world.call(owner, 1, consume_auto("q", "t"));
        world.publish(publisher, "q", "in time");
        world.run();
        assert_eq!(world.bodies(owner), ["in time"]);
    });
}

#[test]
fn what_comes_back_keeps_its_time() {
    everywhere(|world| {
        let (owner, worker) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("q"));
        world.call(worker, 1, consume("q", "t"));
        world.publish_with(owner, 1, to("", "q"), &expiring("100"), "x");
        world.advance(50 * MS);
        assert_eq!(world.bodies(worker), ["x"]);
        world.call(worker, 1, cancel("t"));
        world.call(worker, 1, nack(1, false, true));
        world.advance(49 * MS);
        assert_eq!(count(world, "q"), 1);
        world.advance(MS);
        assert_eq!(count(world, "q"), 0);
        // Handed out, its time does not end.
        world.publish_with(owner, 1, to("", "q"), &expiring("100"), "y");
        world.run();
        assert_eq!(
            world.ask(worker, 1, get("q")),
            ["1 cancel-ok t", "1 get-ok 2 /q y 0"]
        );
        world.advance(1000 * MS);
        assert!(world.ask(worker, 1, ack(2)).is_empty());
    });
}

#[test]
fn a_worker_never_gets_what_is_over() {
    everywhere(|world| {
        let (owner, worker) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("q"));
        for (body, ms) in [("a", "10"), ("b", "1000"), ("c", "10")] {
            world.publish_with(owner, 1, to("", "q"), &expiring(ms), body);
        }
        world.run();
        world.now = world.now.plus(20 * MS);
        world.call(worker, 1, consume_auto("q", "t"));
        assert_eq!(world.bodies(worker), ["b"]);
    });
}

#[test]
fn a_great_many_end_in_several_turns() {
    everywhere(|world| {
        if world.layout.piece_len != usize::MAX {
            return;
        }
        let (owner, other) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare_with("q", &[("x-message-ttl", int(50))]));
        for _ in 0..2 * crate::limits::EXPIRED_COUNT_PER_TURN + 1 {
            world.publish(other, "q", "x");
        }
        world.run();
        world.now = world.now.plus(60 * MS);
        world.publish(other, "q", "late");
        world.advance(MS);
        assert_eq!(world.ask(other, 1, get_auto("q")), ["1 get-ok 1 /q late 0"]);
    });
}

#[test]
fn a_wrong_expiration_is_refused_in_rabbitmqs_words() {
    everywhere(|world| {
        let peer = world.connect(0);
        world.call(peer, 1, declare("q"));
        for (expiration, what) in [
            ("abc", "no_integer"),
            ("-1", "{value_negative,-1}"),
            ("1.5", "{leftover_string,\".5\"}"),
        ] {
            world.lines(peer);
            world.publish_with(peer, 1, to("", "q"), &expiring(expiration), "x");
            world.run();
            let expected = format!("invalid expiration '{expiration}': {what}");
            let expected = format!("1 channel.close 406 60.40 PRECONDITION_FAILED - {expected}");
            assert_eq!(world.lines(peer), [expected]);
            world.reopen(peer, 1);
        }
    });
}

#[test]
fn a_queue_without_use_is_deleted_in_time() {
    everywhere(|world| {
        let (owner, other) = (world.connect(0), world.connect(1));
        let expiring = declare_with("q", &[("x-expires", int(100))]);
        let step = 60 * MS;
        world.call(owner, 1, expiring.clone());
        world.advance(step);
        // Declared again, read, looked at: used. Published to: not.
        world.call(other, 1, expiring.clone());
        world.advance(step);
        world.call(other, 1, get_auto("q"));
        world.advance(step);
        world.call(owner, 1, passive("q"));
        world.advance(step);
        world.call(other, 1, consume_auto("q", "t"));
        world.advance(10 * step);
        world.call(other, 1, cancel("t"));
        world.advance(step);
        world.publish(owner, "q", "x");
        world.lines(other);
        world.advance(39 * MS);
        assert_eq!(count(world, "q"), 1);
        world.advance(MS);
        let lines = world.ask(other, 1, passive("q"));
        let expected = "1 channel.close 404 50.10 NOT_FOUND - no queue 'q' in vhost '/'";
        assert_eq!(lines, [expected]);
        assert_eq!(
            world.ask(owner, 1, declare("q")).pop(),
            Some("1 declare-ok q 0 0".into())
        );
    });
}

#[test]
fn a_callback_queue_may_expire_and_its_owner_outlive_it() {
    everywhere(|world| {
        let (owner, other) = (world.connect(0), world.connect(1));
        let declare = queue::Declare {
            exclusive: true,
            ..declare_with("", &[("x-expires", int(100))])
        };
        let lines = world.ask(owner, 1, declare);
        let name = lines[0].split(' ').nth(2).expect("a name").to_string();
        world.advance(100 * MS);
        world.publish_with(
            other,
            1,
            mandatory("", &name),
            &AMQPProperties::default(),
            "x",
        );
        world.run();
        assert_eq!(
            world.lines(other),
            [format!("1 return 312 NO_ROUTE /{name} x")]
        );
    });
}
