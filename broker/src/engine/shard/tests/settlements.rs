//! Acknowledged, requeued, rejected, recovered: what becomes of messages that were handed out.

use super::client::*;
use super::deliveries::fill;
use super::world::everywhere;
use amq_protocol::protocol::basic::{Recover, Reject};

#[test]
fn requeued_messages_go_back_to_their_places_and_are_flagged() {
    everywhere(|world| {
        let (publisher, consumer) = (world.connect(0), world.connect(1));
        world.ask(publisher, 1, declare("q"));
        world.ask(consumer, 1, qos(4, false));
        fill(world, publisher, 6);
        world.ask(consumer, 1, consume("q", "t"));
        world.ask(consumer, 1, cancel("t"));
        // 0 to 3 are out; 1 is done with, the others come back in three ways.
        world.call(consumer, 1, ack(2));
        let delivery_tag = 3;
        world.call(
            consumer,
            1,
            Reject {
                delivery_tag,
                requeue: true,
            },
        );
        world.call(consumer, 1, nack(4, true, true));
        world.call(consumer, 1, consume_auto("q", "u"));
        assert_eq!(
            world.lines(consumer)[1..],
            [
                "1 deliver u 5! /q 0",
                "1 deliver u 6! /q 2",
                "1 deliver u 7! /q 3",
                "1 deliver u 8 /q 4",
                "1 deliver u 9 /q 5",
            ]
        );
    });
}

#[test]
fn rejected_messages_are_gone() {
    everywhere(|world| {
        let (publisher, consumer) = (world.connect(0), world.connect(1));
        world.ask(publisher, 1, declare("q"));
        fill(world, publisher, 4);
        world.ask(consumer, 1, consume("q", "t"));
        let delivery_tag = 1;
        let requeue = false;
        world.send(
            consumer,
            1,
            Reject {
                delivery_tag,
                requeue,
            },
        );
        world.call(consumer, 1, nack(0, true, false));
        world.disconnect(consumer);
        world.run();
        assert_eq!(
            world.ask(publisher, 1, passive("q")),
            ["1 declare-ok q 0 0"]
        );
    });
}

#[test]
fn recover_brings_everything_back_flagged() {
    everywhere(|world| {
        let (publisher, consumer) = (world.connect(0), world.connect(1));
        world.ask(publisher, 1, declare("q"));
        fill(world, publisher, 3);
        world.ask(consumer, 1, consume("q", "t"));
        world.call(consumer, 1, ack(1));
        world.call(consumer, 1, Recover { requeue: true });
        let mut lines = world.lines(consumer);
        lines.sort();
        assert_eq!(
            lines,
            ["1 deliver t 4! /q 1", "1 deliver t 5! /q 2", "1 recover-ok"]
        );
    });
}

#[test]
fn a_tag_is_acknowledged_once_and_on_its_channel() {
    everywhere(|world| {
        let (publisher, consumer) = (world.connect(0), world.connect(1));
        world.ask(publisher, 1, declare("q"));
        fill(world, publisher, 2);
        let refused = |number: u16, id: &str, tag: u64| {
            let text = format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
            [format!("{number} channel.close 406 60.{id} {text}")]
        };
        world.open(consumer, 2);
        world.ask(consumer, 1, consume("q", "t"));
        assert_eq!(world.ask(consumer, 2, ack(1)), refused(2, "80", 1));
        world.call(consumer, 1, ack(1));
        assert_eq!(world.ask(consumer, 1, ack(1)), refused(1, "80", 1));
        // The other one comes back.
        assert_eq!(
            world.ask(publisher, 1, get_auto("q")),
            ["1 get-ok 1! /q 1 0"]
        );
        world.reopen(consumer, 1);
        assert_eq!(
            world.ask(consumer, 1, nack(7, true, true)),
            refused(1, "120", 7)
        );
        world.reopen(consumer, 1);
        // All there are may be none.
        assert!(world.ask(consumer, 1, nack(0, true, true)).is_empty());
    });
}
