//! One publish and its delivery through an exchange with many bindings, of which one matches.

use crate::bytes::{CHANNEL, frames, publish_to, short_string};
use crate::case::{Case, Step};
use crate::world::{Peer, World};
use amq_protocol::protocol::{exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable, LongString};
use broker::engine::wire::method::encode_table;

const EXCHANGE: &[u8] = b"bench.exchange";
const QUEUE: &[u8] = b"bench.queue";

const BODY_LEN: usize = 64;
const BINDING_COUNTS: [usize; 3] = [1, 100, 10_000];
/// With more, the set-up takes too long under callgrind.
const COUNTED_MAX: usize = 100;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for exchange in Exchange::ALL {
        for count in BINDING_COUNTS {
            // A fanout exchange knows no keys: its bindings to the one queue are one.
            if exchange == Exchange::Fanout && count > 1 {
                continue;
            }
            let name = format!("{}, {count} bound", exchange.name());
            let case = Case::new("publish", name, move || {
                publish_and_deliver(exchange, count)
            });
            cases.push(case.counted_if(count <= COUNTED_MAX));
        }
    }
    cases
}

fn publish_and_deliver(exchange: Exchange, binding_count: usize) -> Step {
    let mut route = Route::set_up(exchange, binding_count);
    Box::new(move || route.run())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Default,
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl Exchange {
    const ALL: [Exchange; 5] = [
        Exchange::Default,
        Exchange::Direct,
        Exchange::Fanout,
        Exchange::Topic,
        Exchange::Headers,
    ];

    fn name(self) -> &'static str {
        match self {
            Exchange::Default => "default",
            Exchange::Direct => "direct",
            Exchange::Fanout => "fanout",
            Exchange::Topic => "topic",
            Exchange::Headers => "headers",
        }
    }
}

/// A publisher and a consumer with auto-ack; each run publishes one message, which must arrive.
struct Route {
    world: World,
    publisher: Peer,
    consumer: Peer,
    publish: Vec<u8>,
    delivery_len: usize,
}

impl Route {
    /// With `binding_count` bindings, all of one queue, so that only the routing grows; of the
    /// default exchange, as many queues. The last one matches.
    fn set_up(exchange: Exchange, binding_count: usize) -> Route {
        let mut world = World::new(1);
        let publisher = world.connect(0);
        let consumer = world.connect(0);
        world.declare(consumer, QUEUE);
        world.consume(consumer, QUEUE, true);
        let last = binding_count - 1;
        let mut properties = Vec::new();
        let (name, key) = match exchange {
            Exchange::Default => {
                for number in 1..binding_count {
                    world.declare(consumer, format!("bench.other.{number}").as_bytes());
                }
                (&b""[..], "bench.queue".to_owned())
            }
            _ => {
                declare_exchange(&mut world, consumer, exchange);
                for number in 0..binding_count {
                    bind(&mut world, consumer, exchange, number);
                }
                (EXCHANGE, routing_key(exchange, last))
            }
        };
        if exchange == Exchange::Headers {
            // The property flags of a list that has headers only.
            properties.extend_from_slice(&0x2000u16.to_be_bytes());
            let table = encode_table(&headers(last));
            let table_len = u32::try_from(table.len()).expect("two short headers");
            properties.extend_from_slice(&table_len.to_be_bytes());
            properties.extend_from_slice(&table);
        } else {
            properties.extend_from_slice(&[0, 0]);
        }
        world.take_received(consumer);
        let publish = publish_to(name, key.as_bytes(), &properties, &[0x5A; BODY_LEN]);
        world.feed(publisher, &publish);
        let delivery = world.take_received(consumer);
        assert_eq!(
            frames(&delivery).count(),
            3,
            "one delivery: method, header, body"
        );
        Route {
            world,
            publisher,
            consumer,
            publish,
            delivery_len: delivery.len(),
        }
    }

    fn run(&mut self) {
        self.world.feed(self.publisher, &self.publish);
        self.world.expect_received(self.consumer, self.delivery_len);
    }
}

fn declare_exchange(world: &mut World, peer: Peer, exchange: Exchange) {
    let declare = exchange::Declare {
        exchange: short_string(EXCHANGE),
        kind: short_string(exchange.name().as_bytes()),
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        nowait: false,
        arguments: FieldTable::default(),
    };
    world.call(peer, CHANNEL, exchange::AMQPMethod::Declare(declare));
}

fn bind(world: &mut World, peer: Peer, exchange: Exchange, number: usize) {
    let key = match exchange {
        Exchange::Topic => format!("bench.{number}.*.#"),
        _ => routing_key(exchange, number),
    };
    let arguments = match exchange {
        Exchange::Headers => {
            let mut arguments = headers(number);
            let all = AMQPValue::LongString(LongString::from("all"));
            arguments.insert("x-match".into(), all);
            arguments
        }
        _ => FieldTable::default(),
    };
    let bind = queue::Bind {
        queue: short_string(QUEUE),
        exchange: short_string(EXCHANGE),
        routing_key: short_string(key.as_bytes()),
        nowait: false,
        arguments,
    };
    world.call(peer, CHANNEL, queue::AMQPMethod::Bind(bind));
    world.take_received(peer);
}

fn routing_key(exchange: Exchange, number: usize) -> String {
    match exchange {
        Exchange::Fanout | Exchange::Headers => String::new(),
        _ => format!("bench.{number}.created.eu"),
    }
}

fn headers(number: usize) -> FieldTable {
    let mut table = FieldTable::default();
    let value = AMQPValue::LongString(LongString::from(format!("{number}")));
    table.insert("tenant".into(), value);
    let kind = AMQPValue::LongString(LongString::from("order"));
    table.insert("kind".into(), kind);
    table
}
