//! The consistent hash exchange, on every shard the same.

use super::client::*;
use super::exchanges::{bind_exchange, delete_exchange, table, unbind};
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::exchange;

fn hash_exchange(name: &str, arguments: &[(&str, &str)]) -> exchange::Declare {
    exchange::Declare {
        arguments: table(arguments),
        ..declare_exchange(name, "x-consistent-hash")
    }
}

/// The bodies that lie in a queue, which has none then.
fn drained(world: &mut World, reader: Peer, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        world.call(reader, 1, get_auto(queue));
        match world.bodies(reader).pop() {
            Some(body) => bodies.push(body),
            None => break,
        }
    }
    bodies.sort();
    bodies
}

#[test]
fn a_key_leads_to_the_same_queue_from_every_shard() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        world.ask(b, 1, declare("r"));
        world.ask(a, 1, hash_exchange("h", &[]));
        world.ask(a, 1, bind("q", "h", "1"));
        assert_eq!(world.ask(b, 1, bind("r", "h", "2")), ["1 bind-ok"]);
        let mut shares = Vec::new();
        for publisher in [a, b] {
            for number in 0..60 {
                let key = format!("key {number}");
                world.publish_with(publisher, 1, to("h", &key), &Default::default(), &key);
            }
            world.run();
            shares.push(["q", "r"].map(|queue| drained(world, b, queue)));
        }
        assert_eq!(shares[0], shares[1]);
        assert!(shares[0].iter().all(|share| share.len() > 5));
        assert_eq!(shares[0].concat().len(), 60);
        world.ask(a, 1, unbind("q", "h", "1"));
        world.ask(a, 1, delete("r"));
        world.publish_with(b, 1, mandatory("h", "k"), &Default::default(), "x");
        world.run();
        assert_eq!(world.lines(b), ["1 return 312 NO_ROUTE h/k x"]);
        world.ask(a, 1, delete_exchange("h"));
    });
}

#[test]
fn a_header_or_a_property_is_hashed_where_that_was_asked_for() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        world.ask(b, 1, declare("r"));
        let header = |text: &str| AMQPProperties::default().with_headers(table(&[("h", text)]));
        let message_id = |text: &str| AMQPProperties::default().with_message_id(text.into());
        let by_header: &dyn Fn(&str) -> AMQPProperties = &header;
        for (key, value, properties) in [
            ("hash-header", "h", by_header),
            ("hash-property", "message_id", &message_id),
        ] {
            world.ask(a, 1, hash_exchange("h", &[(key, value)]));
            // What is hashed need not be said again.
            let lines = world.ask(b, 1, hash_exchange("h", &[]));
            assert_eq!(lines, ["1 exchange.declare-ok"]);
            for queue in ["q", "r"] {
                world.ask(a, 1, bind(queue, "h", "1"));
            }
            for number in 0..40 {
                let text = format!("{}", number % 20);
                let publish = to("h", &format!("key {number}"));
                world.publish_with(b, 1, publish, &properties(&text), &text);
            }
            world.run();
            let shares = ["q", "r"].map(|queue| drained(world, b, queue));
            for share in &shares {
                assert!(!share.is_empty());
                assert!(share.chunks(2).all(|pair| pair[0] == pair[1]), "{share:?}");
            }
            world.ask(a, 1, delete_exchange("h"));
        }
    });
}

#[test]
fn what_cannot_be_hashed_or_weighed_is_refused() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(b, 1, declare("q"));
        world.ask(b, 1, hash_exchange("h", &[]));
        let refused = "PRECONDITION_FAILED -";
        for (arguments, text) in [
            (
                &[("hash-property", "app_id")][..],
                "Unsupported property: app_id",
            ),
            (
                &[("hash-property", "message_id"), ("hash-header", "h")],
                "hash-header and hash-property are mutually exclusive",
            ),
        ] {
            let lines = world.ask(a, 1, hash_exchange("i", arguments));
            assert_eq!(
                lines,
                [format!("1 channel.close 406 40.10 {refused} {text}")]
            );
            world.reopen(a, 1);
        }
        for (key, text) in [
            ("a", "The binding key must be an integer: <<\"a\">>"),
            ("", "The binding key must be an integer: <<>>"),
            ("0", "The binding key must be greater than 0"),
            ("1001", "The binding key must be at most 1000"),
        ] {
            let lines = world.ask(a, 1, bind("q", "h", key));
            assert_eq!(
                lines,
                [format!("1 channel.close 406 50.20 {refused} {text}")]
            );
            world.reopen(a, 1);
            let lines = world.ask(a, 1, unbind("q", "h", key));
            assert_eq!(lines, ["1 unbind-ok"]);
        }
        let lines = world.ask(a, 1, bind_exchange("amq.fanout", "h", "a"));
        let text = "The binding key must be an integer: <<\"a\">>";
        assert_eq!(
            lines,
            [format!("1 channel.close 406 40.30 {refused} {text}")]
        );
        world.ask(b, 1, delete_exchange("h"));
    });
}
