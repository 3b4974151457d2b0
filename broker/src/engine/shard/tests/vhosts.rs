//! Virtual hosts: the same names, other things.

use super::super::Settings;
use super::client::*;
use super::exchanges::{bind_exchange, delete_exchange};
use super::world::{Peer, World, everywhere_with, settings};
use amq_protocol::protocol::basic::{self, AMQPProperties};
use amq_protocol::protocol::{exchange, queue};

fn two_vhosts() -> Settings {
    Settings {
        vhosts: vec!["/".into(), "other".into()],
        ..settings()
    }
}

fn connect_to(world: &mut World, place: usize, vhost: &'static str) -> Peer {
    let hello = Hello {
        vhost,
        ..Hello::default()
    };
    world.connect_as(place, &hello)
}

#[test]
fn the_same_names_are_other_things() {
    everywhere_with(&two_vhosts(), |world| {
        let here = [0, 1].map(|place| connect_to(world, place, "/"));
        let there = [1, 2].map(|place| connect_to(world, place, "other"));
        world.call(here[0], 1, declare_with("q", &[("x-max-length", int(9))]));
        assert_eq!(world.ask(there[0], 1, declare("q")), ["1 declare-ok q 0 0"]);
        world.call(here[0], 1, declare_exchange("e", "fanout"));
        world.call(there[0], 1, declare_exchange("e", "direct"));
        world.call(here[0], 1, bind("q", "e", ""));
        world.call(there[0], 1, bind("q", "e", "k"));
        for (publisher, body) in [(here[1], "here"), (there[1], "there")] {
            let none = AMQPProperties::default();
            world.publish_with(publisher, 1, to("e", "k"), &none, body);
            world.publish(publisher, "q", body);
        }
        world.run();
        for (peer, body) in [(here[1], "here"), (there[1], "there")] {
            world.call(peer, 1, consume_auto("q", "t"));
            assert_eq!(world.bodies(peer), [body, body]);
        }
        // What ends here stays there.
        world.lines(here[0]);
        world.lines(there[0]);
        assert_eq!(world.ask(here[0], 1, delete("q")), ["1 delete-ok 0"]);
        world.publish(there[1], "q", "still");
        world.run();
        assert_eq!(world.bodies(there[1]), ["still"]);
    });
}

#[test]
fn a_vhost_that_is_not_there_is_refused_by_its_exact_name() {
    everywhere_with(&two_vhosts(), |world| {
        for vhost in ["Other", "other ", "othe", "//", "", "none"] {
            let hello = Hello {
                vhost,
                ..Hello::default()
            };
            let peer = world.greet(0, &hello);
            let text = format!("NOT_ALLOWED - vhost {vhost} not found");
            let expected = format!("0 connection.close 530 10.40 {text}");
            assert_eq!(world.lines(peer).last(), Some(&expected));
        }
    });
}

/// Asserts that each method closes channel 1 with this.
fn assert_refused(world: &mut World, peer: Peer, lines: Vec<String>, expected: &str) {
    let at = |name| format!("{name} in vhost 'other'");
    let expected = expected
        .replace("<q>", &at("queue 'q'"))
        .replace("<e>", &at("exchange 'e'"))
        .replace("<none>", &at("'none'"));
    assert_eq!(lines, [format!("1 channel.close {expected}")]);
    world.reopen(peer, 1);
}

#[test]
fn texts_name_the_vhost() {
    everywhere_with(&two_vhosts(), |world| {
        let owner = connect_to(world, 0, "other");
        let peer = connect_to(world, 1, "other");
        world.call(owner, 1, declare("q"));
        world.call(owner, 1, declare_exchange("e", "direct"));
        world.call(owner, 1, bind("q", "e", "k"));
        let lines = world.ask(peer, 1, passive("none"));
        let text = "404 50.10 NOT_FOUND - no queue <none>";
        assert_refused(world, peer, lines, text);
        let lines = world.ask(peer, 1, consume("none", "t"));
        assert_refused(world, peer, lines, "404 60.20 NOT_FOUND - no queue <none>");
        let lines = world.ask(peer, 1, bind("q", "none", "k"));
        let text = "404 50.20 NOT_FOUND - no exchange <none>";
        assert_refused(world, peer, lines, text);
        let lines = world.ask(peer, 1, bind_exchange("e", "none", "k"));
        let text = "404 40.30 NOT_FOUND - no exchange <none>";
        assert_refused(world, peer, lines, text);
        world.publish_with(peer, 1, to("none", ""), &AMQPProperties::default(), "x");
        world.run();
        let lines = world.lines(peer);
        let text = "404 60.40 NOT_FOUND - no exchange <none>";
        assert_refused(world, peer, lines, text);
        let lines = world.ask(peer, 1, declare_exchange("e", "fanout"));
        let text = "406 40.10 PRECONDITION_FAILED - inequivalent arg 'type' for <e>: \
                    received 'fanout' but current is 'direct'";
        assert_refused(world, peer, lines, text);
        let durable = queue::Declare {
            durable: true,
            ..declare("q")
        };
        let lines = world.ask(peer, 1, durable);
        let text = "406 50.10 PRECONDITION_FAILED - inequivalent arg 'durable' for <q>: \
                    received 'true' but current is 'false'";
        assert_refused(world, peer, lines, text);
        let if_unused = exchange::Delete {
            if_unused: true,
            ..delete_exchange("e")
        };
        let lines = world.ask(peer, 1, if_unused);
        let text = "406 40.20 PRECONDITION_FAILED - <e> in use";
        assert_refused(world, peer, lines, text);
        world.call(owner, 1, consume("q", "t"));
        let if_unused = queue::Delete {
            if_unused: true,
            ..delete("q")
        };
        let lines = world.ask(peer, 1, if_unused);
        let text = "406 50.40 PRECONDITION_FAILED - <q> in use";
        assert_refused(world, peer, lines, text);
        let alone = basic::Consume {
            exclusive: true,
            ..consume("q", "t")
        };
        let lines = world.ask(peer, 1, alone);
        let text = "403 60.20 ACCESS_REFUSED - <q> in exclusive use";
        assert_refused(world, peer, lines, text);
    });
}

#[test]
fn deletions_in_one_vhost_leave_the_other_ones_namesakes_and_bindings() {
    everywhere_with(&two_vhosts(), |world| {
        let here = connect_to(world, 0, "/");
        let there = connect_to(world, 1, "other");
        let passive_exchange = exchange::Declare {
            passive: true,
            ..declare_exchange("e", "")
        };
        let exclusive = queue::Declare {
            exclusive: true,
            ..declare("own")
        };
        for peer in [here, there] {
            world.call(peer, 1, declare("q"));
            world.call(peer, 1, declare_exchange("e", "direct"));
            world.call(peer, 1, bind("q", "e", "k"));
            world.call(peer, 1, bind_exchange("e", "amq.fanout", ""));
            world.call(peer, 1, exclusive.clone());
            world.call(peer, 1, consume("own", "t"));
            let lines = world.lines(peer);
            assert_eq!(lines.last().map(String::as_str), Some("1 consume-ok t"));
        }
        world.call(here, 1, delete_exchange("e"));
        world.call(here, 1, delete("q"));
        let gone = "1 channel.close 404 40.10 NOT_FOUND - no exchange 'e' in vhost '/'";
        let lines = world.ask(here, 1, passive_exchange.clone());
        assert_eq!(lines.last().map(String::as_str), Some(gone));
        world.disconnect(here);
        let lines = world.ask(there, 1, passive_exchange);
        assert_eq!(lines, ["1 exchange.declare-ok"]);
        let none = AMQPProperties::default();
        world.publish_with(there, 1, to("amq.fanout", "k"), &none, "x");
        world.publish(there, "own", "y");
        world.run();
        assert_eq!(world.bodies(there), ["y"]);
        assert_eq!(world.ask(there, 1, passive("q")), ["1 declare-ok q 1 0"]);
    });
}

fn after_reopening(world: &mut World, peer: Peer, method: impl Method) -> Vec<String> {
    world.reopen(peer, 1);
    world.ask(peer, 1, method)
}

#[test]
fn a_server_named_queue_is_known_in_its_own_vhost_only() {
    everywhere_with(&two_vhosts(), |world| {
        let owner = connect_to(world, 0, "other");
        let stranger = connect_to(world, 1, "/");
        for exclusive in [true, false] {
            let server_named = queue::Declare {
                exclusive,
                ..declare("")
            };
            let lines = world.ask(owner, 1, server_named);
            let name = lines[0].split(' ').nth(2).expect("a name").to_string();
            let lines = world.ask(stranger, 1, passive(&name));
            let expected = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
            assert_eq!(lines, [format!("1 channel.close 404 50.10 {expected}")]);
            world.reopen(stranger, 1);
            let none = AMQPProperties::default();
            world.publish_with(stranger, 1, mandatory("", &name), &none, "x");
            world.run();
            assert_eq!(
                world.lines(stranger),
                [format!("1 return 312 NO_ROUTE /{name} x")]
            );
            for (method, lines) in [
                ("60.20", world.ask(stranger, 1, consume(&name, "t"))),
                ("60.70", after_reopening(world, stranger, get(&name))),
                (
                    "50.20",
                    after_reopening(world, stranger, bind(&name, "amq.direct", "k")),
                ),
                ("50.30", after_reopening(world, stranger, purge(&name))),
            ] {
                let expected = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
                assert_eq!(lines, [format!("1 channel.close 404 {method} {expected}")]);
            }
            let reserved = format!("queue name '{name}' contains reserved prefix 'amq.*'");
            assert_eq!(
                after_reopening(world, stranger, declare(&name)),
                [format!(
                    "1 channel.close 403 50.10 ACCESS_REFUSED - {reserved}"
                )]
            );
            // As in RabbitMQ: what is not there has been deleted.
            let lines = after_reopening(world, stranger, delete(&name));
            assert_eq!(lines, ["1 delete-ok 0"]);
            let lines = world.ask(owner, 1, passive(&name));
            assert_eq!(lines, [format!("1 declare-ok {name} 0 0")]);
        }
    });
}

#[test]
fn dead_letters_stay_in_their_vhost() {
    everywhere_with(&two_vhosts(), |world| {
        let owner = connect_to(world, 0, "other");
        let stranger = connect_to(world, 1, "/");
        for peer in [owner, stranger] {
            world.call(peer, 1, declare("dead"));
            world.lines(peer);
        }
        let text = |text: &str| amq_protocol::types::AMQPValue::LongString(text.into());
        let arguments = [
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("dead")),
            ("x-max-length", int(0)),
        ];
        world.call(owner, 1, declare_with("q", &arguments));
        world.publish(owner, "q", "x");
        world.run();
        assert_eq!(
            world.ask(stranger, 1, passive("dead")),
            ["1 declare-ok dead 0 0"]
        );
        world.call(owner, 1, get_auto("dead"));
        assert_eq!(world.bodies(owner), ["x"]);
    });
}

#[test]
fn a_reply_finds_its_requester_whatever_their_vhosts() {
    everywhere_with(&two_vhosts(), |world| {
        let requester = connect_to(world, 0, "/");
        let worker = connect_to(world, 1, "other");
        let name = world.reply_name(requester);
        world.publish(worker, &name, "answer");
        world.run();
        assert_eq!(world.bodies(requester), ["answer"]);
    });
}
