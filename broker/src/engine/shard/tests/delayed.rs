//! Exchanges of type x-delayed-message.

use super::super::Settings;
use super::client::*;
use super::world::{Peer, World, everywhere, everywhere_with, settings};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{confirm, exchange, tx};
use amq_protocol::types::{AMQPValue, FieldTable};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn declare_delayed(name: &str, delayed_type: &str) -> exchange::Declare {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-delayed-type".into(),
        AMQPValue::LongString(delayed_type.into()),
    );
    exchange::Declare {
        arguments,
        ..declare_exchange(name, "x-delayed-message")
    }
}

fn with_delay(ms: i64) -> AMQPProperties {
    let mut headers = FieldTable::default();
    headers.insert("x-delay".into(), int(ms));
    AMQPProperties::default().with_headers(headers)
}

/// The owner's queue `q` behind the delaying exchange `d`.
fn prepare(world: &mut World, owner: Peer) {
    world.call(owner, 1, declare_delayed("d", "topic"));
    world.call(owner, 1, declare("q"));
    world.call(owner, 1, bind("q", "d", "k.*"));
    world.call(owner, 1, consume_auto("q", "t"));
    world.lines(owner);
}

#[test]
fn a_message_arrives_when_its_delay_is_over() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        prepare(world, owner);
        world.call(publisher, 1, confirm::Select::default());
        world.lines(publisher);
        for (ms, body) in [(200, "late"), (100, "soon"), (0, "now"), (-5, "past")] {
            let properties = with_delay(ms);
            world.publish_with(publisher, 1, mandatory("d", "k.x"), &properties, body);
            world.run();
        }
        // Held back is confirmed.
        let acks = ["1 ack 1", "1 ack 2", "1 ack 3", "1 ack 4"];
        assert_eq!(world.lines(publisher), acks);
        assert_eq!(world.bodies(owner), ["now", "past"]);
        world.advance(99 * MS);
        assert!(world.bodies(owner).is_empty());
        world.advance(MS);
        let soon = world.contents(owner).remove(0);
        let headers = soon.properties.headers().clone().expect("headers");
        assert_eq!(
            (soon.text(), &headers.inner()["x-delay"]),
            ("soon".into(), &int(-100))
        );
        world.advance(100 * MS);
        assert_eq!(world.bodies(owner), ["late"]);
    });
}

#[test]
fn what_its_exchange_did_not_outlive_is_dropped() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        prepare(world, owner);
        world.publish_with(publisher, 1, to("d", "k.x"), &with_delay(100), "x");
        world.run();
        let delete = exchange::Delete {
            exchange: "d".into(),
            ..exchange::Delete::default()
        };
        assert_eq!(world.ask(owner, 1, delete), ["1 exchange.delete-ok"]);
        let held_back = world
            .shards
            .iter()
            .map(|shard| shard.census().delayed_count);
        assert_eq!(held_back.sum::<usize>(), 0, "at once");
        world.advance(200 * MS);
        assert!(world.lines(owner).is_empty());
    });
}

#[test]
fn a_publisher_that_leaves_leaves_its_messages() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        prepare(world, owner);
        world.publish_with(publisher, 1, to("d", "k.x"), &with_delay(100), "x");
        world.run();
        world.disconnect(publisher);
        world.advance(100 * MS);
        assert_eq!(world.bodies(owner), ["x"]);
    });
}

#[test]
fn in_a_transaction_the_delay_begins_with_the_commit() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        prepare(world, owner);
        world.call(publisher, 1, tx::Select {});
        world.publish_with(publisher, 1, to("d", "k.x"), &with_delay(100), "x");
        world.advance(150 * MS);
        world.call(publisher, 1, tx::Commit {});
        world.advance(99 * MS);
        assert!(world.bodies(owner).is_empty());
        world.advance(MS);
        assert_eq!(world.bodies(owner), ["x"]);
    });
}

#[test]
fn the_type_behind_it_must_be_one() {
    everywhere(|world| {
        let peer = world.connect(0);
        let no_type = declare_exchange("d", "x-delayed-message");
        let itself = declare_delayed("d", "x-delayed-message");
        for (declare, text) in [
            (
                no_type,
                "'x-delayed-type' must be an existing exchange type",
            ),
            (
                itself,
                "'x-delayed-message' can't be used for 'x-delayed-type'",
            ),
        ] {
            let text = format!("PRECONDITION_FAILED - Invalid argument, {text}");
            let lines = world.ask(peer, 1, declare);
            assert_eq!(lines, [format!("1 channel.close 406 40.10 {text}")]);
            world.reopen(peer, 1);
        }
        world.ask(peer, 1, declare_delayed("d", "topic"));
        let lines = world.ask(peer, 1, declare_delayed("d", "direct"));
        let text = "PRECONDITION_FAILED - inequivalent arg 'x-delayed-type' for exchange 'd' in \
                    vhost '/': received 'direct' but current is 'topic'";
        assert_eq!(lines, [format!("1 channel.close 406 40.10 {text}")]);
        world.reopen(peer, 1);
        let lines = world.ask(peer, 1, declare_exchange("d", "topic"));
        let text = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'd' in vhost '/': \
                    received 'topic' but current is 'x-delayed-message'";
        assert_eq!(lines, [format!("1 channel.close 406 40.10 {text}")]);
        let peer = world.connect(1);
        let lines = world.ask(peer, 1, declare_delayed("e", "nonsense"));
        let text = "COMMAND_INVALID - unknown exchange type 'nonsense'";
        assert_eq!(lines, [format!("0 connection.close 503 40.10 {text}")]);
    });
}

#[test]
fn nothing_is_held_back_for_longer_than_a_message_may_live() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        prepare(world, owner);
        world.publish_with(publisher, 1, to("d", "k.x"), &with_delay(i64::MAX), "x");
        world.run();
        let due = world.shards.iter().filter_map(|it| it.delayed.next()).min();
        let longest = Duration::from_millis(crate::limits::LIFETIME_MS_MAX);
        assert_eq!(due, Some(world.now.plus(longest)));
        let delete = exchange::Delete {
            exchange: "d".into(),
            ..exchange::Delete::default()
        };
        world.ask(owner, 1, delete);
    });
}

#[test]
fn a_dead_letter_that_is_held_back_keeps_its_further_keys() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        prepare(world, owner);
        let arguments = [
            ("x-dead-letter-exchange", AMQPValue::LongString("d".into())),
            ("x-max-length", int(0)),
        ];
        world.call(owner, 1, declare_with("dying", &arguments));
        let mut headers = FieldTable::default();
        headers.insert("x-delay".into(), int(100));
        let keys = vec![AMQPValue::LongString("k.copy".into())];
        headers.insert("CC".into(), AMQPValue::FieldArray(keys.into()));
        let properties = AMQPProperties::default().with_headers(headers);
        world.publish_with(publisher, 1, to("", "dying"), &properties, "x");
        world.run();
        world.lines(owner);
        world.advance(100 * MS);
        assert_eq!(world.bodies(owner), ["x"]);
    });
}

/// Two messages per shard at most.
fn little() -> Settings {
    Settings {
        queued_len_max: 6000,
        ..settings()
    }
}

fn is_blocked(world: &mut World, peer: Peer) -> bool {
    let lines = world.lines(peer);
    lines.iter().any(|line| line.starts_with("0 blocked"))
}

#[test]
fn what_is_held_back_or_goes_on_counts_as_memory() {
    let body = "x".repeat(1000);
    everywhere_with(&little(), |world| {
        let (owner, publisher, other) = (world.connect(1), world.connect(0), world.connect(0));
        world.call(owner, 1, declare_delayed("d", "topic"));
        world.call(owner, 1, declare("q"));
        world.call(owner, 1, bind("q", "d", "k.*"));
        // Held back for a moment, and then in a queue that may be another shard's.
        let mut count = 0;
        while !is_blocked(world, publisher) {
            count += 1;
            assert!(count < 20, "never blocked");
            world.publish_with(publisher, 1, to("d", "k.x"), &with_delay(1), &body);
            world.run();
            world.advance(MS);
        }
        // The same in a transaction.
        world.call(other, 1, tx::Select {});
        world.publish_with(other, 1, to("d", "k.x"), &with_delay(100_000), &body);
        world.call(other, 1, tx::Commit {});
        assert!(is_blocked(world, other));
        world.call(owner, 1, purge("q"));
        let delete = exchange::Delete {
            exchange: "d".into(),
            ..exchange::Delete::default()
        };
        world.call(owner, 1, delete);
        let lines = world.lines(other);
        assert_eq!(lines.last().map(String::as_str), Some("0 unblocked"));
    });
}
