//! Alternate exchanges: what no binding wants goes on, and further on, until somebody wants it.

use super::client::*;
use super::exchanges::{bind_exchange, delete_exchange, reached, table};
use super::world::everywhere;
use amq_protocol::protocol::exchange;
use amq_protocol::types::{AMQPValue, FieldTable};

fn with_alternate(name: &str, kind: &str, alternate: &str) -> exchange::Declare {
    exchange::Declare {
        arguments: table(&[("alternate-exchange", alternate)]),
        ..declare_exchange(name, kind)
    }
}

#[test]
fn what_no_binding_wants_goes_along_the_alternates_and_circles_end() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        for (name, alternate) in [("one", "two"), ("two", "three"), ("three", "one")] {
            let lines = world.ask(b, 1, with_alternate(name, "direct", alternate));
            assert_eq!(lines, ["1 exchange.declare-ok"]);
        }
        world.ask(a, 1, bind("q", "three", "k"));
        for (publisher, reader) in [(a, b), (b, a)] {
            let peers = (publisher, reader);
            assert_eq!(reached(world, peers, ("one", "k"), &[], &["q"]), ["q"]);
            assert!(reached(world, peers, ("one", "z"), &[], &["q"]).is_empty());
        }
        for name in ["one", "two", "three"] {
            world.ask(b, 1, delete_exchange(name));
        }
    });
}

#[test]
fn an_alternate_may_be_internal_or_missing_and_come_later() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        world.ask(a, 1, with_alternate("e", "topic", "later"));
        assert!(reached(world, (a, b), ("e", "k"), &[], &["q"]).is_empty());
        let internal = exchange::Declare {
            internal: true,
            ..declare_exchange("later", "fanout")
        };
        world.ask(b, 1, internal);
        world.ask(b, 1, bind("q", "later", ""));
        assert_eq!(reached(world, (a, b), ("e", "k"), &[], &["q"]), ["q"]);
        world.ask(b, 1, delete_exchange("later"));
        assert!(reached(world, (a, b), ("e", "k"), &[], &["q"]).is_empty());
        world.ask(b, 1, delete_exchange("e"));
    });
}

#[test]
fn an_exchange_behind_another_has_its_own_alternate() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        world.ask(a, 1, declare("r"));
        world.ask(a, 1, with_alternate("first", "fanout", "net"));
        world.ask(a, 1, with_alternate("second", "direct", "net"));
        world.ask(a, 1, declare_exchange("dead end", "direct"));
        world.ask(a, 1, declare_exchange("net", "fanout"));
        world.ask(b, 1, bind("r", "net", ""));
        // A binding wanted it, even if nothing came of that.
        world.ask(b, 1, bind_exchange("dead end", "first", ""));
        let queues = ["q", "r"];
        assert!(reached(world, (a, b), ("first", "k"), &[], &queues).is_empty());
        world.ask(b, 1, bind_exchange("second", "first", ""));
        world.ask(b, 1, bind("q", "first", ""));
        assert_eq!(reached(world, (a, b), ("first", "k"), &[], &queues), queues);
        for name in ["first", "second", "dead end", "net"] {
            world.ask(b, 1, delete_exchange(name));
        }
    });
}

#[test]
fn an_alternate_is_a_string_and_stays_what_it_was() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(b, 1, with_alternate("e", "direct", "alt"));
        world.ask(b, 1, declare_exchange("plain", "direct"));
        let lines = world.ask(a, 1, with_alternate("e", "direct", "alt"));
        assert_eq!(lines, ["1 exchange.declare-ok"]);
        let other = |value| {
            let mut arguments = FieldTable::default();
            arguments.insert("alternate-exchange".into(), value);
            exchange::Declare {
                arguments,
                ..declare_exchange("f", "direct")
            }
        };
        let inequivalent = "inequivalent arg 'alternate-exchange' for exchange";
        for (declare, text) in [
            (
                declare_exchange("e", "direct"),
                format!(
                    "{inequivalent} 'e' in vhost '/': received none but current is the value \
                     'alt' of type 'longstr'"
                ),
            ),
            (
                with_alternate("e", "direct", "x"),
                format!("{inequivalent} 'e' in vhost '/': received 'x' but current is 'alt'"),
            ),
            (
                with_alternate("plain", "direct", "x"),
                format!(
                    "{inequivalent} 'plain' in vhost '/': received the value 'x' of type \
                     'longstr' but current is none"
                ),
            ),
            (
                other(AMQPValue::LongInt(5)),
                "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'f' in vhost '/'"
                    .into(),
            ),
            (
                other(AMQPValue::LongString("x".repeat(256).into())),
                "invalid value for arg 'alternate-exchange' in exchange 'f' in vhost '/'".into(),
            ),
        ] {
            let expected = format!("1 channel.close 406 40.10 PRECONDITION_FAILED - {text}");
            assert_eq!(world.ask(a, 1, declare), [expected]);
            world.reopen(a, 1);
        }
        world.ask(a, 1, delete_exchange("e"));
        world.ask(a, 1, delete_exchange("plain"));
    });
}

#[test]
fn arguments_that_no_exchange_knows_are_passed_over() {
    everywhere(|world| {
        let a = world.connect(1);
        for arguments in [table(&[("x-unknown", "1")]), FieldTable::default()] {
            let declare = exchange::Declare {
                arguments,
                ..declare_exchange("e", "direct")
            };
            assert_eq!(world.ask(a, 1, declare), ["1 exchange.declare-ok"]);
        }
        world.ask(a, 1, delete_exchange("e"));
    });
}
