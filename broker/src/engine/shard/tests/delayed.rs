//! Exchanges of type x-delayed-message.

use super::client::*;
use super::world::{Peer, World, everywhere};
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
