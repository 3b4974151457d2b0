//! Whatever a client declares or writes into headers: it is taken or refused with 406, what was
//! taken is equivalent to itself, and nothing of it stays.

use super::client::*;
use super::leftovers::assert_nothing_is_left;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::{AMQPProperties, Consume};
use amq_protocol::protocol::{exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};
use std::time::Duration;

const OF_QUEUES: [&str; 15] = [
    "x-message-ttl",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-queue-type",
    "x-queue-mode",
    "x-queue-version",
    "x-max-age",
    "x-unknown",
];
const OF_EXCHANGES: [&str; 5] = [
    "alternate-exchange",
    "x-delayed-type",
    "hash-header",
    "hash-property",
    "x-unknown",
];
const OF_BINDINGS: [&str; 4] = ["x-match", "k", "x-k", "x-unknown"];
const OF_CONSUMERS: [&str; 3] = ["x-priority", "x-cancel-on-ha-failover", "x-unknown"];
const HEADERS: [&str; 8] = [
    "CC",
    "BCC",
    "x-delay",
    "x-death",
    "x-delivery-count",
    "x-first-death-reason",
    "k",
    "x-k",
];
const KINDS: [&str; 6] = [
    "direct",
    "fanout",
    "topic",
    "headers",
    "x-consistent-hash",
    "x-delayed-message",
];
const WORDS: [&str; 14] = [
    "",
    "q",
    "e",
    "amq.fanout",
    "none",
    "drop-head",
    "reject-publish",
    "reject-publish-dlx",
    "classic",
    "all",
    "any-with-x",
    "message_id",
    "lazy",
    "topic",
];
const ROUND_COUNT: usize = 150;

fn value(world: &mut World, depth: usize) -> AMQPValue {
    let number = world.dice.roll(5000) as i64;
    match world.dice.roll(14) {
        0..=4 => int(number % 20),
        5 => int(number),
        6 => int(-number),
        7 => int(i64::MAX >> (number % 64)),
        8 => AMQPValue::Boolean(number % 2 == 0),
        9 => AMQPValue::Void,
        10 => AMQPValue::Double(number as f64 / 3.0),
        11 if depth < 3 => {
            let values = (0..number % 4).map(|_| value(world, depth + 1));
            AMQPValue::FieldArray(values.collect::<Vec<_>>().into())
        }
        12 if depth < 3 => AMQPValue::FieldTable(table(world, &HEADERS, depth + 1)),
        _ => {
            let word = WORDS[world.dice.roll(WORDS.len())];
            AMQPValue::LongString(word.into())
        }
    }
}

fn table(world: &mut World, keys: &[&str], depth: usize) -> FieldTable {
    let mut table = FieldTable::default();
    for _ in 0..world.dice.roll(3) {
        let key = keys[world.dice.roll(keys.len())];
        let value = value(world, depth);
        table.insert(key.into(), value);
    }
    // A delay of years keeps its message for years.
    if let Some(AMQPValue::LongLongInt(delay)) = table.inner().get("x-delay").cloned() {
        table.insert("x-delay".into(), int(delay % 5000));
    }
    table
}

/// Is it taken? If not, the channel is closed for it and open again.
fn is_taken(world: &mut World, peer: Peer, lines: &[String], ok: &str) -> bool {
    let [line] = lines else {
        panic!("one answer: {lines:?}");
    };
    if line.starts_with(ok) {
        return true;
    }
    let is_refused = line.starts_with("1 channel.close 406 ");
    assert!(is_refused, "{ok} or a refusal: {line}");
    world.reopen(peer, 1);
    false
}

fn publish_any(world: &mut World, publisher: Peer, exchange: &str) {
    let mut properties = AMQPProperties::default().with_headers(table(world, &HEADERS, 0));
    if world.dice.roll(3) == 0 {
        let expiration = world.dice.roll(3000).to_string();
        properties = properties.with_expiration(expiration.into());
    }
    if world.dice.roll(3) == 0 {
        properties = properties.with_priority(world.dice.roll(256) as u8);
    }
    world.publish_with(publisher, 1, to(exchange, "q"), &properties, "x");
    world.run();
    if world
        .lines(publisher)
        .iter()
        .any(|line| line.contains("channel.close 406"))
    {
        world.reopen(publisher, 1);
    }
}

/// Were queue and exchange taken?
fn round(world: &mut World, [owner, other]: [Peer; 2]) -> bool {
    let declare = queue::Declare {
        arguments: table(world, &OF_QUEUES, 0),
        ..declare("q")
    };
    let lines = world.ask(owner, 1, declare.clone());
    if !is_taken(world, owner, &lines, "1 declare-ok q") {
        return false;
    }
    let lines = world.ask(other, 1, declare.clone());
    assert!(
        is_taken(world, other, &lines, "1 declare-ok q"),
        "{declare:?}"
    );
    let kind = KINDS[world.dice.roll(KINDS.len())];
    let declare = exchange::Declare {
        arguments: table(world, &OF_EXCHANGES, 0),
        ..declare_exchange("e", kind)
    };
    let lines = world.ask(other, 1, declare.clone());
    if lines[0].starts_with("0 connection.close 503 40.10 COMMAND_INVALID - unknown exchange") {
        return false;
    }
    let has_exchange = is_taken(world, other, &lines, "1 exchange.declare-ok");
    if has_exchange {
        let lines = world.ask(owner, 1, declare.clone());
        let is_same = is_taken(world, owner, &lines, "1 exchange.declare-ok");
        assert!(is_same, "{declare:?}");
        let bind = queue::Bind {
            arguments: table(world, &OF_BINDINGS, 0),
            ..bind("q", "e", "q")
        };
        let lines = world.ask(owner, 1, bind);
        is_taken(world, owner, &lines, "1 bind-ok");
    }
    for _ in 0..6 {
        let exchange = ["", "e", "amq.headers"][world.dice.roll(3)];
        publish_any(world, other, exchange);
        // The exchange may have been refused.
        if world.ask(other, 1, passive("q")).is_empty() {
            world.reopen(other, 1);
        }
    }
    let consume = Consume {
        arguments: table(world, &OF_CONSUMERS, 0),
        ..consume("q", "t")
    };
    world.call(other, 1, consume);
    world.run();
    for content in world.contents(other) {
        world.call(other, 1, nack(content.delivery_tag(), false, true));
    }
    let pause = world.dice.roll(2000) as u64;
    world.advance(Duration::from_millis(pause));
    for shard in &world.shards {
        shard.invariants();
    }
    has_exchange
}

#[test]
fn whatever_is_declared_is_taken_or_refused_and_nothing_of_it_stays() {
    everywhere(|world| {
        let mut taken_count = 0;
        for _ in 0..ROUND_COUNT {
            let peers = [world.connect(0), world.connect(1)];
            taken_count += usize::from(round(world, peers));
            for peer in peers {
                world.disconnect(peer);
            }
            let last = world.connect(1);
            world.call(last, 1, delete("q"));
            world.call(last, 1, super::exchanges::delete_exchange("e"));
            world.lines(last);
            world.disconnect(last);
            // Those that are held back by an exchange go when their time is over.
            world.advance(Duration::from_secs(10));
            assert_nothing_is_left(world);
        }
        assert!(taken_count > ROUND_COUNT / 10, "{taken_count} were taken");
    });
}
