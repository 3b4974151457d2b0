//! Policies, set on any shard, and the queues that follow them.

use super::client::*;
use super::world::{Layout, World, everywhere};
use crate::engine::name::Name;
use crate::engine::rules::{ApplyTo, Definition, Policy, PolicyValue};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::confirm;
use std::time::Duration;

fn number(number: i64) -> PolicyValue {
    PolicyValue::Integer(number)
}

fn text(text: &str) -> PolicyValue {
    PolicyValue::Text(text.into())
}

fn policy(
    (name, pattern): (&str, &str),
    priority: i32,
    definition: &[(&str, PolicyValue)],
) -> Policy {
    let definition = Definition::parse(definition.iter().map(|(key, value)| (*key, value)));
    let definition = definition.expect("a good definition");
    let policy = Policy::new(
        Name::from(name),
        pattern,
        ApplyTo::All,
        priority,
        definition,
    );
    policy.expect("a good pattern")
}

/// On the last shard, to be applied by all.
fn set(world: &mut World, policy: Policy) {
    let now = world.now;
    let shard = world.shards.last_mut().expect("at least one");
    shard
        .handle_set_policy("/", policy, now)
        .expect("the vhost is there");
    world.run();
}

fn clear(world: &mut World, name: &str) {
    let now = world.now;
    let shard = world.shards.last_mut().expect("at least one");
    shard
        .handle_clear_policy("/", Name::from(name), now)
        .expect("the vhost is there");
    world.run();
}

#[test]
fn what_is_too_much_by_a_policy_goes_at_once() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("work.a"));
        world.call(owner, 1, declare("other"));
        world.call(owner, 1, declare("dead"));
        for body in ["1", "2", "3"] {
            world.publish(publisher, "work.a", body);
            world.publish(publisher, "other", body);
        }
        world.run();
        let definition = [
            ("max-length", number(1)),
            ("dead-letter-exchange", text("")),
            ("dead-letter-routing-key", text("dead")),
        ];
        set(world, policy(("short", "^work\\."), 0, &definition));
        world.lines(owner);
        assert_eq!(
            world.ask(owner, 1, passive("work.a")),
            ["1 declare-ok work.a 1 0"]
        );
        assert_eq!(
            world.ask(owner, 1, passive("other")),
            ["1 declare-ok other 3 0"]
        );
        assert_eq!(
            world.ask(owner, 1, passive("dead")),
            ["1 declare-ok dead 2 0"]
        );
        // Declared later, it applies as well; cleared, it does no more.
        world.call(owner, 1, declare("work.b"));
        world.publish(publisher, "work.b", "1");
        world.publish(publisher, "work.b", "2");
        world.run();
        world.lines(owner);
        assert_eq!(
            world.ask(owner, 1, passive("work.b")),
            ["1 declare-ok work.b 1 0"]
        );
        clear(world, "short");
        world.publish(publisher, "work.b", "3");
        world.run();
        assert_eq!(
            world.ask(owner, 1, passive("work.b")),
            ["1 declare-ok work.b 2 0"]
        );
        for shard in &world.shards {
            assert_eq!(shard.policies("/").map(<[Policy]>::len), Some(0));
            assert!(shard.policies("nowhere").is_none());
        }
    });
}

#[test]
fn of_several_policies_the_highest_applies_alone() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("q"));
        set(world, policy(("low", "q"), 1, &[("max-length", number(1))]));
        set(
            world,
            policy(("high", "q"), 2, &[("message-ttl", number(50))]),
        );
        for body in ["1", "2"] {
            world.publish(publisher, "q", body);
        }
        world.run();
        world.lines(owner);
        assert_eq!(world.ask(owner, 1, passive("q")), ["1 declare-ok q 2 0"]);
        world.advance(Duration::from_millis(50));
        assert_eq!(world.ask(owner, 1, passive("q")), ["1 declare-ok q 0 0"]);
    });
}

#[test]
fn publishers_everywhere_hear_of_a_queue_that_refuses_by_policy() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("q"));
        let definition = [
            ("max-length", number(1)),
            ("overflow", text("reject-publish")),
        ];
        set(world, policy(("refuse", "q"), 0, &definition));
        world.call(publisher, 1, confirm::Select::default());
        world.lines(publisher);
        for said in ["1 ack 1", "1 nack 2"] {
            world.publish(publisher, "q", "x");
            world.run();
            assert_eq!(world.lines(publisher), [said]);
        }
        clear(world, "refuse");
        world.publish(publisher, "q", "x");
        world.run();
        assert_eq!(world.lines(publisher), ["1 ack 3"]);
    });
}

#[test]
fn what_was_confirmed_is_kept_while_a_policy_spreads() {
    for (overflow, kept, dead) in [("reject-publish", 3, 0), ("reject-publish-dlx", 1, 3)] {
        let definition = [
            ("max-length", number(1)),
            ("overflow", text(overflow)),
            ("dead-letter-exchange", text("")),
            ("dead-letter-routing-key", text("dead")),
        ];
        let mut world = World::new(Layout {
            shard_count: 3,
            places: [0, 1, 2, 0],
            ..Layout::ONE
        });
        let (owner, publisher) = (world.connect(1), world.connect(2));
        world.call(owner, 1, declare("q"));
        world.call(owner, 1, declare("dead"));
        world.call(publisher, 1, confirm::Select::default());
        world.lines(publisher);
        world.lines(owner);
        // The queue's shard hears of the policy, the publisher's does not yet.
        world.set_mailbox_full(0, 2, true);
        set(&mut world, policy(("refuse", "^q$"), 0, &definition));
        for _ in 0..3 {
            world.publish(publisher, "q", "x");
        }
        world.run();
        assert_eq!(world.lines(publisher), ["1 ack 3 multiple"]);
        world.set_mailbox_full(0, 2, false);
        world.run();
        world.publish(publisher, "q", "x");
        world.run();
        assert_eq!(world.lines(publisher), ["1 nack 4"]);
        for (queue, count) in [("q", kept), ("dead", dead)] {
            let line = format!("1 declare-ok {queue} {count} 0");
            assert_eq!(world.ask(owner, 1, passive(queue)), [line]);
        }
    }
}

#[test]
fn a_queue_expires_by_policy() {
    everywhere(|world| {
        let owner = world.connect(0);
        world.call(owner, 1, declare("q"));
        world.advance(Duration::from_millis(200));
        set(world, policy(("end", "q"), 0, &[("expires", number(100))]));
        // The time begins with the policy.
        world.advance(Duration::from_millis(99));
        let count_of_q = |world: &World| {
            let queues = world.shards.iter().flat_map(|shard| shard.queues.iter());
            queues
                .filter(|(_, queue)| queue.name.as_bytes() == b"q")
                .count()
        };
        assert_eq!(count_of_q(world), 1);
        world.advance(Duration::from_millis(1));
        world.lines(owner);
        let lines = world.ask(owner, 1, passive("q"));
        assert!(lines[0].contains("404"), "{lines:?}");
    });
}

#[test]
fn an_exchange_has_an_alternate_by_policy() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("rest"));
        world.call(owner, 1, bind("rest", "amq.fanout", ""));
        world.call(owner, 1, declare_exchange("e", "direct"));
        let definition = [("alternate-exchange", text("amq.fanout"))];
        set(world, policy(("rest", "^e$"), 0, &definition));
        let none = AMQPProperties::default();
        world.publish_with(publisher, 1, mandatory("e", "nobody"), &none, "x");
        world.run();
        assert!(world.lines(publisher).is_empty());
        world.call(owner, 1, get_auto("rest"));
        assert_eq!(world.bodies(owner), ["x"]);
        clear(world, "rest");
        world.publish_with(publisher, 1, mandatory("e", "nobody"), &none, "y");
        world.run();
        assert_eq!(world.lines(publisher), ["1 return 312 NO_ROUTE e/nobody y"]);
    });
}

#[test]
fn a_policy_ends_no_queue_that_is_still_being_declared() {
    let world = &mut World::new(Layout::TWO);
    let (first, second) = (world.connect(0), world.connect(1));
    // The policy and the other's queue become known between the declare and its outcome.
    world.set_mailbox_full(1, 0, true);
    world.send(second, 1, declare("q"));
    world.run();
    let now = world.now;
    let expires = policy(("end", "q"), 0, &[("expires", number(1))]);
    let set = world.shards[0].handle_set_policy("/", expires, now);
    set.expect("the vhost is there");
    world.call(first, 1, declare("q"));
    world.advance(Duration::from_millis(5));
    world.set_mailbox_full(1, 0, false);
    world.run();
    world.end();
}

#[test]
fn what_was_confirmed_is_kept_where_no_letter_could_be_sent() {
    let world = &mut World::new(Layout::TWO);
    let (publisher, owner) = (world.connect(0), world.connect(1));
    world.call(owner, 1, declare("q"));
    world.call(publisher, 1, confirm::Select::default());
    world.lines(publisher);
    world.set_mailbox_full(1, 0, true);
    let definition = [
        ("max-length", number(0)),
        ("overflow", text("reject-publish-dlx")),
    ];
    let now = world.now;
    world.set_mailbox_full(0, 1, true);
    world.publish(publisher, "q", "x");
    world.run();
    assert_eq!(world.lines(publisher), ["1 ack 1"]);
    let full = policy(("full", "q"), 0, &definition);
    let set = world.shards[0].handle_set_policy("/", full, now);
    set.expect("the vhost is there");
    world.set_mailbox_full(1, 0, false);
    world.set_mailbox_full(0, 1, false);
    world.run();
    world.lines(owner);
    let lines = world.ask(owner, 1, passive("q"));
    assert_eq!(lines, ["1 declare-ok q 1 0"]);
}
