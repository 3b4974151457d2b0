//! Exchanges: declared, bound, unbound and gone, on every shard at once; what reaches which queue.

use super::client::*;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};

pub fn delete_exchange(name: &str) -> exchange::Delete {
    exchange::Delete {
        exchange: name.into(),
        ..exchange::Delete::default()
    }
}

pub fn bind_exchange(destination: &str, source: &str, routing_key: &str) -> exchange::Bind {
    exchange::Bind {
        destination: destination.into(),
        source: source.into(),
        routing_key: routing_key.into(),
        ..exchange::Bind::default()
    }
}

pub fn unbind(queue: &str, exchange: &str, routing_key: &str) -> queue::Unbind {
    queue::Unbind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        ..queue::Unbind::default()
    }
}

pub fn table(entries: &[(&str, &str)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), AMQPValue::LongString((*value).into()));
    }
    table
}

/// Publishes and says which of the queues have got a message.
pub fn reached(
    world: &mut World,
    (publisher, reader): (Peer, Peer),
    (exchange, key): (&str, &str),
    headers: &[(&str, &str)],
    queues: &[&str],
) -> Vec<String> {
    let properties = AMQPProperties::default().with_headers(table(headers));
    world.publish_with(publisher, 1, mandatory(exchange, key), &properties, "x");
    world.run();
    let mut reached: Vec<String> = Vec::new();
    for queue in queues {
        while world.ask(reader, 1, get_auto(queue))[0] != "1 get-empty" {
            reached.push((*queue).into());
        }
    }
    let returned = world.lines(publisher);
    let expected = format!("1 return 312 NO_ROUTE {exchange}/{key} x");
    match reached.is_empty() {
        true => assert_eq!(returned, [expected]),
        false => assert!(returned.is_empty()),
    }
    reached
}

#[test]
fn every_type_routes_as_it_should() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        world.ask(b, 1, declare("r"));
        for (exchange, kind) in [("d", "direct"), ("f", "fanout"), ("t", "topic")] {
            let lines = world.ask(a, 1, declare_exchange(exchange, kind));
            assert_eq!(lines, ["1 exchange.declare-ok"]);
        }
        for (queue, exchange, key) in [
            ("q", "d", "k"),
            ("r", "d", "k"),
            ("r", "d", "l"),
            ("q", "f", "whatever"),
            ("r", "f", ""),
            ("q", "t", "a.*"),
            ("q", "t", "a.#"),
            ("r", "t", "*.b.#"),
        ] {
            assert_eq!(world.ask(b, 1, bind(queue, exchange, key)), ["1 bind-ok"]);
        }
        for (place, expected) in [
            (("d", "k"), &["q", "r"][..]),
            (("d", "l"), &["r"]),
            (("d", "m"), &[]),
            (("f", "any"), &["q", "r"]),
            (("t", "a.b"), &["q", "r"]),
            (("t", "a"), &["q"]),
            (("t", "x.b.c"), &["r"]),
            (("t", "x"), &[]),
        ] {
            for (publisher, reader) in [(a, b), (b, a)] {
                let queues = reached(world, (publisher, reader), place, &[], &["q", "r"]);
                assert_eq!(queues, expected, "{place:?}");
            }
        }
        assert_eq!(world.ask(a, 1, unbind("r", "d", "k")), ["1 unbind-ok"]);
        assert_eq!(world.ask(a, 1, unbind("r", "d", "k")), ["1 unbind-ok"]);
        assert_eq!(reached(world, (b, a), ("d", "k"), &[], &["q", "r"]), ["q"]);
        world.ask(b, 1, delete("q"));
        assert!(reached(world, (b, a), ("d", "k"), &[], &["r"]).is_empty());
        for exchange in ["d", "f", "t"] {
            let lines = world.ask(b, 1, delete_exchange(exchange));
            assert_eq!(lines, ["1 exchange.delete-ok"]);
        }
    });
}

#[test]
fn headers_match_all_or_any() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        for (queue, mode) in [("all", "all"), ("any", "any")] {
            world.ask(a, 1, declare(queue));
            let arguments = table(&[("x-match", mode), ("k", "1"), ("l", "2")]);
            let bind = queue::Bind {
                arguments,
                ..bind(queue, "amq.headers", "")
            };
            world.ask(a, 1, bind);
        }
        let queues = ["all", "any"];
        let place = ("amq.headers", "");
        let both = [("k", "1"), ("l", "2"), ("m", "3")];
        assert_eq!(reached(world, (b, a), place, &both, &queues), queues);
        assert_eq!(reached(world, (b, a), place, &both[..1], &queues), ["any"]);
        assert!(reached(world, (b, a), place, &both[2..], &queues).is_empty());
        let arguments = table(&[("x-match", "some")]);
        let bind = queue::Bind {
            arguments,
            ..bind("all", "amq.headers", "")
        };
        assert_eq!(
            world.ask(b, 1, bind),
            [
                "1 channel.close 406 50.20 PRECONDITION_FAILED - Invalid x-match field value \
                 <<\"some\">>; expected all, any, all-with-x, or any-with-x"
            ]
        );
    });
}

#[test]
fn exchanges_bound_in_a_circle_deliver_once() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        for (exchange, kind) in [("one", "fanout"), ("two", "direct"), ("three", "topic")] {
            world.ask(a, 1, declare_exchange(exchange, kind));
        }
        for (destination, source, key) in [
            ("two", "one", ""),
            ("three", "two", "k"),
            ("one", "three", "#"),
        ] {
            let lines = world.ask(b, 1, bind_exchange(destination, source, key));
            assert_eq!(lines, ["1 exchange.bind-ok"]);
        }
        world.ask(b, 1, bind("q", "three", "k"));
        world.ask(b, 1, bind("q", "one", ""));
        assert_eq!(reached(world, (a, b), ("two", "k"), &[], &["q"]), ["q"]);
        assert_eq!(reached(world, (a, b), ("one", "x"), &[], &["q"]), ["q"]);
        assert!(reached(world, (a, b), ("two", "x"), &[], &["q"]).is_empty());
        let unbind = exchange::Unbind {
            destination: "three".into(),
            source: "two".into(),
            routing_key: "k".into(),
            ..exchange::Unbind::default()
        };
        assert_eq!(world.ask(a, 1, unbind), ["1 exchange.unbind-ok"]);
        assert!(reached(world, (a, b), ("two", "k"), &[], &["q"]).is_empty());
        for exchange in ["one", "two", "three"] {
            world.ask(b, 1, delete_exchange(exchange));
        }
    });
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        let auto_delete = |name: &str| exchange::Declare {
            auto_delete: true,
            ..declare_exchange(name, "fanout")
        };
        world.ask(a, 1, declare("q"));
        world.ask(a, 1, auto_delete("near"));
        world.ask(a, 1, auto_delete("far"));
        // far -> near -> q: with q, near goes, and then far.
        world.ask(b, 1, bind_exchange("near", "far", ""));
        world.ask(b, 1, bind("q", "near", ""));
        assert_eq!(reached(world, (a, b), ("far", ""), &[], &["q"]), ["q"]);
        world.ask(b, 1, delete("q"));
        for name in ["near", "far"] {
            for peer in [a, b] {
                let passive = exchange::Declare {
                    passive: true,
                    ..declare_exchange(name, "")
                };
                let text = format!("NOT_FOUND - no exchange '{name}' in vhost '/'");
                assert_eq!(
                    world.ask(peer, 1, passive),
                    [format!("1 channel.close 404 40.10 {text}")]
                );
                world.reopen(peer, 1);
            }
        }
    });
}

#[test]
fn what_cannot_be_done_to_exchanges_is_refused() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(b, 1, declare("q"));
        world.ask(b, 1, declare_exchange("e", "direct"));
        world.ask(b, 1, bind("q", "e", "k"));
        let refused = |world: &mut World, lines: Vec<String>, expected: &str| {
            assert_eq!(lines, [format!("1 channel.close {expected}")]);
            world.reopen(a, 1);
        };
        let default = "ACCESS_REFUSED - operation not permitted on the default exchange";
        let lines = world.ask(a, 1, declare_exchange("", "direct"));
        refused(world, lines, &format!("403 40.10 {default}"));
        let lines = world.ask(a, 1, delete_exchange(""));
        refused(world, lines, &format!("403 40.20 {default}"));
        let lines = world.ask(a, 1, bind("q", "", "k"));
        refused(world, lines, &format!("403 50.20 {default}"));
        let lines = world.ask(a, 1, bind_exchange("", "e", ""));
        refused(world, lines, &format!("403 40.30 {default}"));
        let reserved = "contains reserved prefix 'amq.*'";
        let lines = world.ask(a, 1, declare_exchange("amq.mine", "direct"));
        let text = format!("ACCESS_REFUSED - exchange name 'amq.mine' {reserved}");
        refused(world, lines, &format!("403 40.10 {text}"));
        let lines = world.ask(a, 1, delete_exchange("amq.direct"));
        let text =
            "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed";
        refused(world, lines, &format!("403 40.20 {text}"));
        let inequivalent = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'e' in \
                            vhost '/': received 'fanout' but current is 'direct'";
        let lines = world.ask(a, 1, declare_exchange("e", "fanout"));
        refused(world, lines, &format!("406 40.10 {inequivalent}"));
        let missing = "NOT_FOUND - no exchange 'none' in vhost '/'";
        world.publish_with(a, 1, to("none", "k"), &Default::default(), "x");
        world.run();
        let lines = world.lines(a);
        refused(world, lines, &format!("404 60.40 {missing}"));
        let lines = world.ask(a, 1, bind("q", "none", "k"));
        refused(world, lines, &format!("404 50.20 {missing}"));
        let lines = world.ask(a, 1, bind("nobody", "none", "k"));
        refused(world, lines, &format!("404 50.20 {missing}"));
        let lines = world.ask(a, 1, bind_exchange("nowhere", "none", "k"));
        refused(world, lines, &format!("404 40.30 {missing}"));
        let lines = world.ask(a, 1, unbind("q", "", "q"));
        refused(world, lines, &format!("403 50.50 {default}"));
        let lines = world.ask(a, 1, bind_exchange("none", "e", "k"));
        refused(world, lines, &format!("404 40.30 {missing}"));
        let if_unused = exchange::Delete {
            if_unused: true,
            ..delete_exchange("e")
        };
        let lines = world.ask(a, 1, if_unused);
        refused(
            world,
            lines,
            "406 40.20 PRECONDITION_FAILED - exchange 'e' in vhost '/' in use",
        );
        assert_eq!(
            world.ask(a, 1, delete_exchange("none")),
            ["1 exchange.delete-ok"]
        );
        assert_eq!(
            world.ask(a, 1, delete_exchange("e")),
            ["1 exchange.delete-ok"]
        );
        assert_eq!(
            world.ask(a, 1, declare_exchange("f", "x-of-the-future")),
            [
                "0 connection.close 503 40.10 COMMAND_INVALID - unknown exchange type \
              'x-of-the-future'"
            ]
        );
    });
}

#[test]
fn unbinding_what_is_not_there_is_fine_whatever_is_missing() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        world.ask(a, 1, declare_exchange("e", "headers"));
        let exclusive = queue::Declare {
            exclusive: true,
            ..declare("theirs")
        };
        world.ask(a, 1, exclusive);
        for (queue, exchange) in [
            ("q", "e"),
            ("q", "none"),
            ("none", "e"),
            ("none", "none"),
            ("theirs", "e"),
        ] {
            let unbind = queue::Unbind {
                arguments: table(&[("x-match", "some")]),
                ..unbind(queue, exchange, "k")
            };
            assert_eq!(world.ask(b, 1, unbind), ["1 unbind-ok"]);
        }
        for (destination, source) in [("e", "amq.direct"), ("none", "e"), ("e", "none")] {
            let unbind = exchange::Unbind {
                destination: destination.into(),
                source: source.into(),
                ..exchange::Unbind::default()
            };
            assert_eq!(world.ask(b, 1, unbind), ["1 exchange.unbind-ok"]);
        }
        world.ask(a, 1, bind("theirs", "e", "k"));
        let lines = world.ask(b, 1, unbind("theirs", "e", "k"));
        assert!(lines[0].starts_with("1 channel.close 405 50.50 RESOURCE_LOCKED - "));
        world.ask(a, 1, delete_exchange("e"));
        world.ask(a, 1, delete("q"));
    });
}

#[test]
fn nothing_is_answered_that_was_not_to_be_answered() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        let nowait = true;
        let declare = exchange::Declare {
            nowait,
            ..declare_exchange("e", "fanout")
        };
        let bind_queue = queue::Bind {
            nowait,
            ..bind("q", "e", "")
        };
        let bind = exchange::Bind {
            nowait,
            ..bind_exchange("e", "amq.direct", "k")
        };
        let unbind = |source: &str| exchange::Unbind {
            destination: "e".into(),
            source: source.into(),
            routing_key: "k".into(),
            nowait,
            ..exchange::Unbind::default()
        };
        let passive = exchange::Declare {
            passive: true,
            ..declare.clone()
        };
        world.send(b, 1, declare);
        world.send(b, 1, passive);
        world.send(b, 1, bind_queue);
        world.send(b, 1, bind);
        world.run();
        assert_eq!(
            reached(world, (a, b), ("amq.direct", "k"), &[], &["q"]),
            ["q"]
        );
        world.send(b, 1, unbind("amq.direct"));
        world.send(b, 1, unbind("amq.direct"));
        world.send(b, 1, unbind("none"));
        world.run();
        assert!(reached(world, (a, b), ("amq.direct", "k"), &[], &["q"]).is_empty());
        let delete = |if_unused| exchange::Delete {
            nowait,
            if_unused,
            ..delete_exchange("e")
        };
        assert!(world.ask(b, 1, delete(false)).is_empty());
        assert!(world.ask(b, 1, delete(true)).is_empty());
    });
}

#[test]
fn an_exchange_goes_with_its_bindings_and_leaves_those_of_others() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        world.ask(a, 1, declare("q"));
        for exchange in ["d", "e"] {
            world.ask(a, 1, declare_exchange(exchange, "topic"));
            for key in ["k.*", "k.#", "#"] {
                world.ask(b, 1, bind("q", exchange, key));
            }
        }
        world.ask(a, 1, delete_exchange("d"));
        assert_eq!(world.ask(a, 1, unbind("q", "e", "k.*")), ["1 unbind-ok"]);
        assert_eq!(reached(world, (a, b), ("e", "k.l"), &[], &["q"]), ["q"]);
        world.ask(b, 1, delete("q"));
        assert!(reached(world, (a, b), ("e", "k.l"), &[], &[]).is_empty());
        world.ask(a, 1, delete_exchange("e"));
    });
}

#[test]
fn an_internal_exchange_takes_messages_from_exchanges_only() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        let internal = exchange::Declare {
            internal: true,
            ..declare_exchange("in", "fanout")
        };
        world.ask(a, 1, internal);
        world.ask(a, 1, declare_exchange("out", "fanout"));
        world.ask(a, 1, bind_exchange("in", "out", ""));
        world.ask(b, 1, declare("q"));
        world.ask(b, 1, bind("q", "in", ""));
        assert_eq!(reached(world, (a, b), ("out", ""), &[], &["q"]), ["q"]);
        world.publish_with(b, 1, to("in", ""), &Default::default(), "x");
        world.run();
        assert_eq!(
            world.lines(b),
            [
                "1 channel.close 403 60.40 ACCESS_REFUSED - cannot publish to internal exchange 'in' \
              in vhost '/'"
            ]
        );
    });
}

#[test]
fn bindings_may_be_in_the_making_on_all_shards_at_once() {
    everywhere(|world| {
        let peers = [0, 1, 2].map(|place| world.connect(place));
        for (peer, queue) in peers.into_iter().zip(["q", "r", "s"]) {
            world.send(peer, 1, declare_exchange("e", "fanout"));
            world.send(peer, 1, declare(queue));
            world.send(peer, 1, bind(queue, "e", ""));
            world.send(peer, 1, bind(queue, "e", ""));
        }
        world.run();
        let made = [
            "1 exchange.declare-ok",
            "1 declare-ok",
            "1 bind-ok",
            "1 bind-ok",
        ];
        for peer in peers {
            let lines = world.lines(peer);
            assert!(
                lines
                    .iter()
                    .zip(made)
                    .all(|(line, start)| line.starts_with(start))
            );
            assert_eq!(lines.len(), made.len());
        }
        let queues = ["q", "r", "s"];
        for (publisher, reader) in [(peers[0], peers[2]), (peers[2], peers[1])] {
            assert_eq!(
                reached(world, (publisher, reader), ("e", ""), &[], &queues),
                queues
            );
        }
        world.ask(peers[1], 1, delete_exchange("e"));
    });
}
