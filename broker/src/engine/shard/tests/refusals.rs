//! What RabbitMQ 3.10 refuses, ignores or takes for done, method by method.

use super::client::*;
use super::deliveries::fill;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::{Ack, Consume};
use amq_protocol::protocol::{confirm, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};

/// Asserts that the method closes the channel with this, and opens it again.
fn refused(world: &mut World, peer: Peer, method: impl Method, expected: &str) {
    let lines = world.ask(peer, 1, method);
    assert_eq!(lines, [format!("1 channel.close {expected}")]);
    world.reopen(peer, 1);
}

fn ack_through(delivery_tag: u64) -> Ack {
    Ack {
        multiple: true,
        ..ack(delivery_tag)
    }
}

/// Takes `count` messages of `q` without consuming.
fn take(world: &mut World, peer: Peer, count: usize) {
    (0..count).for_each(|_| world.call(peer, 1, get("q")));
    assert_eq!(world.contents(peer).len(), count);
}

#[test]
fn an_acknowledgement_of_several_names_one_that_is_outstanding() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 4);
        // Unknown, settled before although others are not, without acknowledgement.
        for (settled, again) in [(None, 3), (Some(ack(2)), 2), (Some(ack_through(2)), 1)] {
            take(world, peer, 2);
            if let Some(settled) = settled {
                world.call(peer, 1, settled);
            }
            let text = format!("PRECONDITION_FAILED - unknown delivery tag {again}");
            refused(
                world,
                peer,
                ack_through(again),
                &format!("406 60.80 {text}"),
            );
            world.ask(owner, 1, purge("q"));
            fill(world, owner, 4);
        }
        take(world, peer, 1);
        world.ask(peer, 1, get_auto("q"));
        take(world, peer, 1);
        let text = "406 60.80 PRECONDITION_FAILED - unknown delivery tag 2";
        refused(world, peer, ack_through(2), text);
        // All there are may be none.
        take(world, peer, 3);
        for _ in 0..2 {
            assert!(world.ask(peer, 1, ack_through(0)).is_empty());
            assert!(world.ask(peer, 1, nack(0, true, true)).is_empty());
        }
        let text = "406 60.80 PRECONDITION_FAILED - unknown delivery tag 0";
        refused(world, peer, ack(0), text);
        let text = "406 60.120 PRECONDITION_FAILED - unknown delivery tag 7";
        refused(world, peer, nack(7, true, false), text);
    });
}

#[test]
fn what_is_not_there_is_404() {
    everywhere(|world| {
        let peer = world.connect(0);
        let missing = "NOT_FOUND - no queue 'none' in vhost '/'";
        for nowait in [false, true] {
            let passive = queue::Declare {
                nowait,
                ..passive("none")
            };
            refused(world, peer, passive, &format!("404 50.10 {missing}"));
            let consume = Consume {
                nowait,
                ..consume("none", "t")
            };
            refused(world, peer, consume, &format!("404 60.20 {missing}"));
            let purge = queue::Purge {
                nowait,
                ..purge("none")
            };
            refused(world, peer, purge, &format!("404 50.30 {missing}"));
            let bind = queue::Bind {
                nowait,
                ..bind("none", "amq.direct", "k")
            };
            refused(world, peer, bind, &format!("404 50.20 {missing}"));
        }
        refused(world, peer, get("none"), &format!("404 60.70 {missing}"));
        world.ask(peer, 1, declare("q"));
        let missing = "404 50.20 NOT_FOUND - no exchange 'none' in vhost '/'";
        refused(world, peer, bind("q", "none", "k"), missing);
        // No name is the latest queue for all but a passive declare.
        let text = "404 50.10 NOT_FOUND - no queue '' in vhost '/'";
        refused(world, peer, passive(""), text);
        world.ask(peer, 1, declare("q"));
        refused(world, peer, passive(""), text);
        let text = "404 60.70 NOT_FOUND - no previously declared queue";
        refused(world, peer, get(""), text);
        let text = "404 50.40 NOT_FOUND - no previously declared queue";
        refused(world, peer, delete(""), text);
        // What is not there has been deleted.
        assert_eq!(world.ask(peer, 1, delete("none")), ["1 delete-ok 0"]);
        let delete = exchange::Delete {
            exchange: "none".into(),
            if_unused: true,
            ..exchange::Delete::default()
        };
        assert_eq!(world.ask(peer, 1, delete), ["1 exchange.delete-ok"]);
        assert_eq!(world.ask(peer, 1, cancel("none")), ["1 cancel-ok none"]);
    });
}

#[test]
fn a_queue_that_should_be_empty_and_unused_is_looked_into_first() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        world.ask(owner, 1, qos(1, false));
        world.call(owner, 1, consume("q", "t"));
        let delete = |if_empty, if_unused| queue::Delete {
            if_empty,
            if_unused,
            ..delete("q")
        };
        let in_use = "406 50.40 PRECONDITION_FAILED - queue 'q' in vhost '/' in use";
        let not_empty = "406 50.40 PRECONDITION_FAILED - queue 'q' in vhost '/' not empty";
        refused(world, peer, delete(true, true), in_use);
        fill(world, owner, 2);
        refused(world, peer, delete(true, true), not_empty);
        refused(world, peer, delete(false, true), in_use);
        refused(world, peer, delete(true, false), not_empty);
        assert_eq!(world.ask(peer, 1, delete(false, false)), ["1 delete-ok 1"]);
    });
}

#[test]
fn only_integers_are_priorities() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        let with = |key: &str, value: AMQPValue| {
            let mut arguments = FieldTable::default();
            arguments.insert(key.into(), value);
            Consume {
                arguments,
                ..consume("q", "t")
            }
        };
        let invalid = |key| {
            format!(
                "406 60.20 PRECONDITION_FAILED - invalid arg '{key}' for queue 'q' in vhost '/'"
            )
        };
        for (value, found) in [
            (AMQPValue::LongString("1".into()), "longstr"),
            (AMQPValue::Boolean(true), "bool"),
            (AMQPValue::FieldTable(FieldTable::default()), "table"),
            (AMQPValue::FieldArray(FieldArray::default()), "array"),
            (AMQPValue::Double(1.0), "double"),
            (AMQPValue::Timestamp(1), "timestamp"),
            (AMQPValue::Void, "void"),
        ] {
            let text = format!(
                "{}: \"expected integer, got {found}\"",
                invalid("x-priority")
            );
            refused(world, peer, with("x-priority", value), &text);
        }
        let text = format!(
            "{} of queue type rabbit_classic_queue",
            invalid("x-stream-offset")
        );
        let offset = AMQPValue::LongLongInt(1);
        refused(world, peer, with("x-stream-offset", offset), &text);
        for value in [i64::MIN, i64::MAX] {
            let consume = with("x-priority", AMQPValue::LongLongInt(value));
            assert_eq!(world.ask(peer, 1, consume), ["1 consume-ok t"]);
            world.ask(peer, 1, cancel("t"));
        }
    });
}

#[test]
fn no_local_and_unknown_arguments_of_consumers_are_ignored() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(1), world.connect(0));
        world.ask(owner, 1, declare("q"));
        let mut arguments = FieldTable::default();
        arguments.insert("x-cancel-on-ha-failover".into(), AMQPValue::Boolean(true));
        arguments.insert("x-unheard-of".into(), AMQPValue::LongInt(1));
        let consume = Consume {
            no_local: true,
            arguments,
            ..consume_auto("q", "t")
        };
        assert_eq!(world.ask(peer, 1, consume), ["1 consume-ok t"]);
        world.publish(peer, "q", "x");
        world.run();
        assert_eq!(world.lines(peer), ["1 deliver t 1 /q x"]);
    });
}

#[test]
fn a_consumer_tag_is_used_once() {
    everywhere(|world| {
        let text = "NOT_ALLOWED - attempt to reuse consumer tag 't'";
        for nowait in [false, true] {
            for queue in ["q", "none"] {
                let peer = world.connect(0);
                world.ask(peer, 1, declare("q"));
                world.ask(peer, 1, consume("q", "t"));
                let again = Consume {
                    nowait,
                    ..consume(queue, "t")
                };
                let closed = format!("0 connection.close 530 60.20 {text}");
                assert_eq!(world.ask(peer, 1, again), [closed]);
            }
        }
    });
}

#[test]
fn exchanges_and_confirms_without_waiting_are_answered_with_silence() {
    everywhere(|world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        world.ask(other, 1, declare("q"));
        let nowait = true;
        for name in ["e", "f"] {
            let declare = exchange::Declare {
                nowait,
                ..declare_exchange(name, "fanout")
            };
            world.send(peer, 1, declare);
        }
        let bind_queue = queue::Bind {
            nowait,
            ..bind("q", "f", "")
        };
        let bind = exchange::Bind {
            destination: "f".into(),
            source: "e".into(),
            nowait,
            ..exchange::Bind::default()
        };
        let unbind = exchange::Unbind {
            destination: "f".into(),
            source: "e".into(),
            nowait,
            ..exchange::Unbind::default()
        };
        world.send(peer, 1, bind_queue);
        world.send(peer, 1, bind);
        world.publish_with(peer, 1, to("e", ""), &Default::default(), "x");
        world.send(peer, 1, unbind);
        world.publish_with(peer, 1, to("e", ""), &Default::default(), "y");
        for name in ["e", "f"] {
            let delete = exchange::Delete {
                exchange: name.into(),
                nowait,
                ..exchange::Delete::default()
            };
            world.send(peer, 1, delete);
        }
        world.send(peer, 1, confirm::Select { nowait });
        world.run();
        assert!(world.lines(peer).is_empty());
        world.publish(peer, "q", "z");
        world.run();
        assert_eq!(world.lines(peer), ["1 ack 1"]);
        assert_eq!(world.ask(other, 1, passive("q")), ["1 declare-ok q 2 0"]);
    });
}
