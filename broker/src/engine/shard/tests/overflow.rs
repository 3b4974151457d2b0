//! Queues with a maximum: what goes, what is refused, and who hears of it.

use super::client::*;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::confirm;
use amq_protocol::types::AMQPValue;

fn overflow(how: &str) -> (&'static str, AMQPValue) {
    ("x-overflow", AMQPValue::LongString(how.into()))
}

/// Bodies that wait in the queue, taken out.
fn drain(world: &mut World, peer: Peer, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        world.call(peer, 1, get_auto(queue));
        match world.contents(peer).pop() {
            Some(content) => bodies.push(content.text()),
            None => return bodies,
        }
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many_or_they_are_too_long() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        let limits = [("x-max-length", int(3)), ("x-max-length-bytes", int(10))];
        world.call(owner, 1, declare_with("q", &limits));
        for body in ["a", "b", "c", "d"] {
            world.publish(publisher, "q", body);
        }
        world.run();
        assert_eq!(drain(world, owner, "q"), ["b", "c", "d"]);
        for body in ["1234", "5678", "9012"] {
            world.publish(publisher, "q", body);
        }
        world.run();
        assert_eq!(drain(world, owner, "q"), ["5678", "9012"]);
        world.publish(publisher, "q", "short");
        world.publish(publisher, "q", "longer than ten octets");
        world.run();
        assert!(drain(world, owner, "q").is_empty());
    });
}

#[test]
fn a_queue_of_no_length_serves_who_waits() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare_with("q", &[("x-max-length", int(0))]));
        world.publish(publisher, "q", "nobody");
        world.run();
        world.call(owner, 1, consume("q", "t"));
        world.publish(publisher, "q", "somebody");
        world.run();
        assert_eq!(world.bodies(owner), ["somebody"]);
        // What comes back is too much as well.
        world.call(owner, 1, cancel("t"));
        world.call(owner, 1, nack(1, false, true));
        assert!(drain(world, owner, "q").is_empty());
    });
}

#[test]
fn a_full_queue_refuses_and_says_so_where_confirms_are_asked_for() {
    everywhere(|world| {
        let peers = [0, 1, 2, 3].map(|place| world.connect(place));
        let limits = [("x-max-length", int(1)), overflow("reject-publish")];
        for (at, publisher) in peers.into_iter().enumerate() {
            let queue = format!("q{at}");
            for owner in peers {
                world.call(owner, 1, declare_with(&queue, &limits));
                world.open(publisher, 2);
                world.call(publisher, 2, confirm::Select::default());
                world.lines(publisher);
                for body in ["first", "second", "third"] {
                    let none = AMQPProperties::default();
                    world.publish_with(publisher, 2, to("", &queue), &none, body);
                    world.run();
                }
                assert_eq!(world.lines(publisher), ["2 ack 1", "2 nack 2", "2 nack 3"]);
                assert_eq!(drain(world, owner, &queue), ["first"]);
                world.call(owner, 1, delete(&queue));
                world.call(publisher, 2, close_channel());
                world.lines(publisher);
                world.lines(owner);
            }
        }
    });
}

#[test]
fn one_full_queue_of_several_is_enough_to_refuse() {
    everywhere(|world| {
        let (a, b, publisher) = (world.connect(0), world.connect(1), world.connect(2));
        let limits = [("x-max-length", int(1)), overflow("reject-publish")];
        world.call(a, 1, declare_with("full", &limits));
        world.call(b, 1, declare("open"));
        for queue in ["full", "open"] {
            world.call(a, 1, bind(queue, "amq.fanout", ""));
        }
        world.call(publisher, 1, confirm::Select::default());
        world.lines(publisher);
        for (body, said) in [("1", "1 ack 1"), ("2", "1 nack 2")] {
            let none = AMQPProperties::default();
            world.publish_with(publisher, 1, mandatory("amq.fanout", ""), &none, body);
            world.run();
            assert_eq!(world.lines(publisher), [said]);
        }
        assert_eq!(drain(world, b, "open"), ["1", "2"]);
        assert_eq!(drain(world, a, "full"), ["1"]);
    });
}

#[test]
fn without_confirms_the_refused_is_dropped_in_silence() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        let limits = [("x-max-length-bytes", int(4)), overflow("reject-publish")];
        world.call(owner, 1, declare_with("q", &limits));
        world.publish(publisher, "q", "1234");
        world.publish(publisher, "q", "5");
        world.run();
        assert!(world.lines(publisher).is_empty());
        assert_eq!(drain(world, owner, "q"), ["1234"]);
    });
}

#[test]
fn a_callback_queue_that_refuses_is_known_everywhere() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        let mut declare = declare_with("", &[("x-max-length", int(0)), overflow("reject-publish")]);
        declare.exclusive = true;
        let lines = world.ask(owner, 1, declare);
        let name = lines[0].split(' ').nth(2).expect("a name").to_string();
        world.call(publisher, 1, confirm::Select::default());
        world.publish(publisher, &name, "x");
        world.run();
        assert_eq!(world.lines(publisher), ["1 select-ok", "1 nack 1"]);
    });
}
