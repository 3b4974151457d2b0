//! Messages that queues give up, and where they go.

use super::client::*;
use super::heard::Content;
use super::world::{Layout, Peer, World, everywhere, settings};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::confirm;
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use std::time::Duration;

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn dead_letters_to(exchange: &str) -> (&'static str, AMQPValue) {
    ("x-dead-letter-exchange", text(exchange))
}

fn with_key(routing_key: &str) -> (&'static str, AMQPValue) {
    ("x-dead-letter-routing-key", text(routing_key))
}

fn headers(content: &Content) -> FieldTable {
    content.properties.headers().clone().unwrap_or_default()
}

/// Each death: queue, reason, count, exchange and first routing key.
fn deaths(content: &Content) -> Vec<String> {
    let headers = headers(content);
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else {
        panic!("no x-death: {headers:?}");
    };
    let death = |death: &AMQPValue| {
        let AMQPValue::FieldTable(death) = death else {
            panic!("{death:?}");
        };
        let field = |key| match &death.inner()[key] {
            AMQPValue::LongString(text) => text.to_string(),
            AMQPValue::LongLongInt(number) => number.to_string(),
            AMQPValue::FieldArray(keys) => format!("{}", keys.as_slice().len()),
            other => panic!("{other:?}"),
        };
        assert!(matches!(
            death.inner()["time"],
            AMQPValue::Timestamp(1_800_000_000..)
        ));
        ["queue", "reason", "count", "exchange", "routing-keys"]
            .map(field)
            .join(" ")
    };
    deaths.as_slice().iter().map(death).collect()
}

fn get_one(world: &mut World, peer: Peer, queue: &str) -> Content {
    world.call(peer, 1, get_auto(queue));
    world.contents(peer).pop().expect("a message")
}

#[test]
fn each_reason_leads_to_the_dead_letter_exchange() {
    everywhere(|world| {
        let (owner, grave, publisher) = (world.connect(0), world.connect(1), world.connect(2));
        world.call(grave, 1, declare("dead"));
        world.call(grave, 1, bind("dead", "amq.fanout", ""));
        let arguments = [dead_letters_to("amq.fanout"), ("x-max-length", int(1))];
        world.call(owner, 1, declare_with("q", &arguments));
        let rejected = |world: &mut World| {
            world.publish(publisher, "q", "x");
            world.run();
            world.call(owner, 1, get("q"));
            let tag = world
                .contents(owner)
                .pop()
                .expect("a message")
                .delivery_tag();
            world.call(owner, 1, nack(tag, false, false));
        };
        let expired = |world: &mut World| {
            let properties = AMQPProperties::default().with_expiration("10".into());
            world.publish_with(publisher, 1, to("", "q"), &properties, "x");
            world.advance(Duration::from_millis(10));
        };
        let pushed_out = |world: &mut World| {
            world.publish(publisher, "q", "x");
            world.publish(publisher, "q", "y");
            world.run();
            world.call(owner, 1, purge("q"));
        };
        for reason in ["rejected", "expired", "maxlen"] {
            match reason {
                "rejected" => rejected(world),
                "expired" => expired(world),
                _ => pushed_out(world),
            }
            world.lines(grave);
            let letter = get_one(world, grave, "dead");
            assert_eq!(letter.text(), "x");
            assert_eq!(deaths(&letter), [format!("q {reason} 1  1")]);
            assert_eq!(letter.properties.expiration(), &None);
            let headers = headers(&letter);
            for which in ["first", "last"] {
                let header =
                    |what: &str| &headers.inner()[format!("x-{which}-death-{what}").as_str()];
                assert_eq!(header("reason"), &text(reason));
                assert_eq!(header("queue"), &text("q"));
                assert_eq!(header("exchange"), &text(""));
            }
        }
        // What is purged or deleted with its queue is gone.
        world.publish(publisher, "q", "x");
        world.run();
        world.call(owner, 1, purge("q"));
        world.publish(publisher, "q", "x");
        world.run();
        world.call(owner, 1, delete("q"));
        world.lines(grave);
        assert_eq!(world.ask(grave, 1, get_auto("dead")), ["1 get-empty"]);
    });
}

#[test]
fn a_routing_key_of_the_queues_takes_the_place_of_all_others() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        for queue in ["key", "copy", "other"] {
            world.call(owner, 1, declare(queue));
        }
        world.call(
            owner,
            1,
            declare_with("own", &[dead_letters_to(""), ("x-max-length", int(0))]),
        );
        let renamed = [
            dead_letters_to(""),
            with_key("other"),
            ("x-max-length", int(0)),
        ];
        world.call(owner, 1, declare_with("renamed", &renamed));
        let mut headers = FieldTable::default();
        let copies = FieldArray::from(vec![text("copy")]);
        headers.insert("CC".into(), AMQPValue::FieldArray(copies));
        headers.insert("kept".into(), int(1));
        let properties = AMQPProperties::default()
            .with_headers(headers)
            .with_priority(3);
        world.call(owner, 1, bind("renamed", "amq.direct", "key"));
        world.publish_with(publisher, 1, to("amq.direct", "key"), &properties, "x");
        world.run();
        let letter = get_one(world, owner, "other");
        assert_eq!(deaths(&letter), ["renamed maxlen 1 amq.direct 2"]);
        assert!(!self::headers(&letter).inner().contains_key("CC"));
        assert_eq!(self::headers(&letter).inner()["kept"], int(1));
        assert_eq!(letter.properties.priority(), &Some(3));
        world.call(owner, 1, bind("own", "amq.topic", "key"));
        world.publish_with(publisher, 1, to("amq.topic", "key"), &properties, "y");
        world.run();
        for queue in ["key", "copy"] {
            assert_eq!(get_one(world, owner, queue).text(), "y");
        }
    });
}

#[test]
fn a_circle_that_nobody_broke_ends_and_a_retry_goes_on() {
    everywhere(|world| {
        let (owner, worker) = (world.connect(0), world.connect(1));
        let ttl = ("x-message-ttl", int(10));
        world.call(
            owner,
            1,
            declare_with("self", &[dead_letters_to(""), ttl.clone()]),
        );
        world.publish(worker, "self", "x");
        world.advance(Duration::from_secs(1));
        let empty = world.ask(worker, 1, get_auto("self"));
        assert_eq!(empty, ["1 get-empty"]);
        // Rejected, it waits in another queue and comes back, any number of times.
        world.call(
            owner,
            1,
            declare_with("work", &[dead_letters_to(""), with_key("wait")]),
        );
        world.call(
            worker,
            1,
            declare_with("wait", &[dead_letters_to(""), with_key("work"), ttl]),
        );
        world.publish(worker, "work", "x");
        world.run();
        for round in 1..4 {
            world.call(worker, 1, get("work"));
            let message = world.contents(worker).pop().expect("it is back");
            if round > 1 {
                let count = round - 1;
                let expected = [
                    format!("wait expired {count}  1"),
                    format!("work rejected {count}  1"),
                ];
                assert_eq!(deaths(&message), expected);
            }
            world.call(worker, 1, nack(message.delivery_tag(), false, false));
            world.advance(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_letter_without_a_place_to_go_is_dropped() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        for exchange in ["nowhere", "amq.direct"] {
            let arguments = [dead_letters_to(exchange), ("x-max-length", int(0))];
            world.call(owner, 1, declare_with("q", &arguments));
            world.publish(publisher, "q", "x");
            world.run();
            world.call(owner, 1, delete("q"));
        }
        assert!(world.lines(publisher).is_empty());
    });
}

#[test]
fn a_refused_message_is_dead_lettered_where_that_is_asked_for() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("dead"));
        let arguments = [
            dead_letters_to(""),
            with_key("dead"),
            ("x-max-length", int(0)),
            ("x-overflow", text("reject-publish-dlx")),
        ];
        world.call(owner, 1, declare_with("q", &arguments));
        world.call(publisher, 1, confirm::Select::default());
        world.publish(publisher, "q", "x");
        world.run();
        assert_eq!(world.lines(publisher), ["1 select-ok", "1 nack 1"]);
        assert_eq!(deaths(&get_one(world, owner, "dead")), ["q maxlen 1  1"]);
    });
}

#[test]
fn a_message_that_comes_back_too_often_is_given_up() {
    everywhere(|world| {
        let (owner, worker) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("dead"));
        let arguments = [
            dead_letters_to(""),
            with_key("dead"),
            ("x-delivery-limit", int(2)),
        ];
        world.call(owner, 1, declare_with("q", &arguments));
        world.call(worker, 1, consume("q", "t"));
        world.publish(owner, "q", "x");
        world.run();
        for count in 0..3 {
            let message = world.contents(worker).pop().expect("it is back");
            assert_eq!(message.redelivered(), count > 0);
            let header = headers(&message).inner().get("x-delivery-count").cloned();
            assert_eq!(header, (count > 0).then(|| int(count)));
            world.call(worker, 1, nack(message.delivery_tag(), false, true));
        }
        assert!(world.contents(worker).is_empty());
        assert_eq!(
            deaths(&get_one(world, owner, "dead")),
            ["q delivery_limit 1  1"]
        );
    });
}

#[test]
fn a_long_chain_of_queues_that_push_out_is_walked_without_depth() {
    everywhere(|world| {
        if world.layout.piece_len != usize::MAX {
            return;
        }
        let (owner, publisher) = (world.connect(0), world.connect(1));
        for at in 0..500 {
            let next = format!("q{}", at + 1);
            let arguments = [
                dead_letters_to(""),
                with_key(&next),
                ("x-max-length", int(0)),
            ];
            world.send(owner, 1, declare_with(&format!("q{at}"), &arguments));
        }
        world.call(owner, 1, declare("q500"));
        world.publish(publisher, "q0", "x");
        world.advance(Duration::from_millis(1));
        world.heard(owner);
        assert_eq!(deaths(&get_one(world, owner, "q500")).len(), 500);
    });
}

/// Queues that push out at once, all bound to the exchange that they push out to.
fn start_storm(world: &mut World, owners: [Peer; 2], publisher: Peer) {
    for at in 0..12 {
        let (name, owner) = (format!("q{at}"), owners[at % 2]);
        let arguments = [dead_letters_to("amq.fanout"), ("x-max-length", int(0))];
        world.call(owner, 1, declare_with(&name, &arguments));
        world.call(owner, 1, bind(&name, "amq.fanout", ""));
    }
    world.publish_with(
        publisher,
        1,
        to("amq.fanout", ""),
        &AMQPProperties::default(),
        "x",
    );
}

fn letter_count(world: &World) -> usize {
    let counts = world.shards.iter().map(|shard| shard.census().letter_count);
    counts.sum()
}

/// The storm goes on: it has no end that `run` could wait for.
fn weather(world: &mut World) {
    let now = world.now;
    world
        .shards
        .iter_mut()
        .for_each(|shard| shard.handle_deadline(now));
    world.run_steps(20);
}

#[test]
fn a_storm_of_dead_letters_holds_up_nobody_and_holds_little() {
    for layout in [Layout::ONE, Layout::TWO] {
        // Across shards memory is what ends it.
        let mut settings = settings();
        settings.limits.letters_len_max = 100_000;
        let world = &mut World::with(layout, settings);
        let (owner, other) = (world.connect(0), world.connect(1));
        let publisher = world.connect(0);
        start_storm(world, [owner, other], publisher);
        world.run_steps(20);
        for _ in 0..100 {
            weather(world);
            assert!(letter_count(world) < 1000, "{}", letter_count(world));
        }
        assert!(letter_count(world) > 0, "it would go on for years");
        for at in 0..12 {
            world.send([owner, other][at % 2], 1, delete(&format!("q{at}")));
        }
        for _ in 0..100 {
            weather(world);
        }
        world.run();
        assert_eq!(letter_count(world), 0, "without queues it is over");
        world.end();
    }
}
