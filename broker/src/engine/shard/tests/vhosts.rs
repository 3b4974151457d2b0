//! Virtual hosts: the same names, other things.

use super::super::Settings;
use super::client::*;
use super::world::{Peer, World, everywhere_with, settings};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::queue;

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
fn texts_name_the_vhost() {
    everywhere_with(&two_vhosts(), |world| {
        let peer = connect_to(world, 0, "other");
        let lines = world.ask(peer, 1, passive("q"));
        let expected = "1 channel.close 404 50.10 NOT_FOUND - no queue 'q' in vhost 'other'";
        assert_eq!(lines, [expected]);
        world.reopen(peer, 1);
        world.publish_with(peer, 1, to("e", ""), &AMQPProperties::default(), "x");
        world.run();
        let expected = "1 channel.close 404 60.40 NOT_FOUND - no exchange 'e' in vhost 'other'";
        assert_eq!(world.lines(peer), [expected]);
    });
}

#[test]
fn a_server_named_queue_is_known_in_its_own_vhost_only() {
    everywhere_with(&two_vhosts(), |world| {
        let owner = connect_to(world, 0, "other");
        let stranger = connect_to(world, 1, "/");
        for exclusive in [true, false] {
            let declare = queue::Declare {
                exclusive,
                ..declare("")
            };
            let lines = world.ask(owner, 1, declare);
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
