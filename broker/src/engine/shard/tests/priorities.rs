//! Who and what comes first: priorities of messages, the single active consumer.

use super::client::*;
use super::world::{World, everywhere};
use amq_protocol::protocol::basic::{self, AMQPProperties};
use amq_protocol::types::AMQPValue;

fn single_active() -> (&'static str, AMQPValue) {
    ("x-single-active-consumer", AMQPValue::Boolean(true))
}

#[test]
fn higher_priorities_are_handed_out_first() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare_with("q", &[("x-max-priority", int(5))]));
        for (body, priority) in [("1", 1), ("5", 5), ("3", 3), ("9", 9), ("0", 0), ("5b", 5)] {
            let properties = AMQPProperties::default().with_priority(priority);
            world.publish_with(publisher, 1, to("", "q"), &properties, body);
        }
        world.publish(publisher, "q", "none");
        world.run();
        world.call(publisher, 1, consume("q", "t"));
        let expected = ["5", "9", "5b", "3", "1", "0", "none"];
        assert_eq!(world.bodies(publisher), expected);
        world.call(publisher, 1, cancel("t"));
        // Returned, they are in their old places.
        world.call(publisher, 1, nack(0, true, true));
        world.call(owner, 1, consume_auto("q", "t"));
        assert_eq!(world.bodies(owner), expected);
    });
}

#[test]
fn one_consumer_is_active_until_it_leaves() {
    everywhere(|world| {
        let peers = [0, 1, 2].map(|place| world.connect(place));
        world.call(peers[0], 1, declare_with("q", &[single_active()]));
        for peer in peers {
            world.call(peer, 1, consume("q", "t"));
        }
        let publish_two = |world: &mut World| {
            world.publish(peers[0], "q", "a");
            world.publish(peers[0], "q", "b");
            world.run();
        };
        publish_two(world);
        assert_eq!(world.bodies(peers[0]), ["a", "b"]);
        // Cancelled, it keeps what it has; the next one is active.
        world.call(peers[0], 1, cancel("t"));
        publish_two(world);
        assert_eq!(world.bodies(peers[1]), ["a", "b"]);
        world.disconnect(peers[1]);
        world.run();
        assert_eq!(world.bodies(peers[2]), ["a", "b"]);
        world.call(peers[0], 1, ack(2));
        world.call(peers[2], 1, ack(2));
    });
}

#[test]
fn a_single_active_consumer_is_not_exclusive() {
    everywhere(|world| {
        let (owner, other) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare_with("q", &[single_active()]));
        let exclusive = basic::Consume {
            exclusive: true,
            ..consume("q", "t")
        };
        let lines = world.ask(other, 1, exclusive);
        let expected = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
        assert_eq!(lines, [format!("1 channel.close 403 60.20 {expected}")]);
    });
}
