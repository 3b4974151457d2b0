//! From a routing key to queues, by exchange type and number of bindings.

use crate::case::{Case, Step};
use ahash::RandomState;
use amq_protocol::types::{AMQPValue, FieldTable, LongString, ShortString};
use broker::engine::address::{ChannelAddress, QueueAddress, REPLY_TO, Sealer, VhostIndex};
use broker::engine::exchange::{Binding, Destination, Routing};
use broker::engine::name::Name;
use broker::engine::topology::{Change, QueueAttributes, QueueEntry, Topology};
use broker::engine::wire::method::encode_table;
use broker::engine::wire::properties::Properties;
use broker::limits::{Limits, TABLE_DEPTH_MAX};
use std::hint::black_box;

const BINDING_COUNTS: [u32; 3] = [1, 100, 10_000];
/// With more, bindings that are compared with all others take too long to make under callgrind.
const COUNTED_MAX: u32 = 100;
const SECRET: [u8; 16] = [7; 16];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("routing", "default, sealed queue name", sealed_queue),
        Case::new("routing", "default, direct reply-to name", reply_name),
    ];
    for count in BINDING_COUNTS {
        let name = format!("default, {count} listed");
        cases.push(Case::new("routing", name, move || listed_queue(count)));
    }
    for (name, bound) in [
        ("direct", direct as fn(u32) -> Bound),
        ("fanout", fanout),
        ("topic", topic),
        ("headers", headers),
    ] {
        cases.extend(BINDING_COUNTS.map(|count| {
            let set_up = move || route(count, &bound);
            Case::new("routing", format!("{name}, {count} bound"), set_up)
                .counted_if(count <= COUNTED_MAX)
        }));
    }
    cases
}

/// An exchange, how each of its bindings looks, and a message in the middle of them.
struct Bound {
    exchange: &'static str,
    binding: fn(u32) -> (String, FieldTable),
    routing_key: String,
    headers: Vec<u8>,
    reaches_all: bool,
}

fn direct(count: u32) -> Bound {
    Bound {
        exchange: "amq.direct",
        binding: |number| (format!("rpc.service.{number}"), FieldTable::default()),
        routing_key: format!("rpc.service.{}", count / 2),
        headers: Vec::new(),
        reaches_all: false,
    }
}

fn fanout(_count: u32) -> Bound {
    Bound {
        exchange: "amq.fanout",
        binding: |_| (String::new(), FieldTable::default()),
        routing_key: "any".to_owned(),
        headers: Vec::new(),
        reaches_all: true,
    }
}

/// One pattern in three has each of `*` at the end, `#`, and `*` in front.
fn topic(count: u32) -> Bound {
    Bound {
        exchange: "amq.topic",
        binding: |number| {
            let pattern = match number % 3 {
                0 => format!("order.{number}.*"),
                1 => format!("order.{number}.#"),
                _ => format!("*.{number}.created"),
            };
            (pattern, FieldTable::default())
        },
        routing_key: format!("order.{}.created", count / 2),
        headers: Vec::new(),
        reaches_all: false,
    }
}

fn headers(count: u32) -> Bound {
    let mut table = service_table(count / 2);
    table.insert(
        ShortString::from("trace"),
        AMQPValue::LongString(LongString::from("4bf92f3577b34da6")),
    );
    Bound {
        exchange: "amq.headers",
        binding: |number| (String::new(), service_table(number)),
        routing_key: String::new(),
        headers: encode_table(&table),
        reaches_all: false,
    }
}

fn service_table(number: u32) -> FieldTable {
    let mut table = FieldTable::default();
    let service = LongString::from(format!("service-{number}"));
    table.insert(ShortString::from("service"), AMQPValue::LongString(service));
    table.insert(ShortString::from("version"), AMQPValue::LongInt(1));
    table
}

fn route(count: u32, bound: &impl Fn(u32) -> Bound) -> Step {
    let bound = bound(count);
    let mut topology = topology();
    for number in 0..count {
        let (routing_key, arguments) = (bound.binding)(number);
        let binding = Box::new(Binding {
            destination: Destination::Queue(queue(number)),
            routing_key: Name::from(routing_key.as_str()),
            arguments: encode_table(&arguments).into(),
        });
        let source = Name::from(bound.exchange);
        let changed = topology.apply(&Change::Bind { source, binding });
        changed.expect("the exchange is predeclared");
    }
    let expected = if bound.reaches_all { count as usize } else { 1 };
    let list = [
        &[0x20, 0][..],
        &(bound.headers.len() as u32).to_be_bytes(),
        &bound.headers,
    ]
    .concat();
    let mut queues = Vec::new();
    Box::new(move || {
        let exchange = topology.exchange(black_box(bound.exchange.as_bytes()));
        let exchange = exchange.expect("predeclared");
        let routing_key = black_box(bound.routing_key.as_bytes());
        queues.clear();
        let properties = Properties::walk(&list, TABLE_DEPTH_MAX);
        let routing = Routing {
            routing_key,
            copies: &[],
            properties: &properties.expect("a list of headers alone"),
        };
        topology.route(exchange, &routing, &mut queues);
        assert_eq!(queues.len(), expected);
    })
}

fn listed_queue(count: u32) -> Step {
    let mut topology = topology();
    for number in 0..count {
        let name = Name::from(format!("rpc.service.{number}").as_str());
        let attributes = QueueAttributes {
            durable: false,
            auto_delete: false,
            exclusive: None,
            arguments: None,
        };
        let address = queue(number);
        let entry = QueueEntry {
            address,
            attributes,
        };
        let changed = topology.apply(&Change::DeclareQueue { name, entry });
        changed.expect("within the limit");
    }
    let routing_key = format!("rpc.service.{}", count / 2);
    Box::new(move || {
        let entry = topology.queue(black_box(routing_key.as_bytes()));
        assert_eq!(entry.expect("declared").address, queue(count / 2));
    })
}

fn sealed_queue() -> Step {
    let sealer = Sealer::new(SECRET);
    let name = sealer.queue_name(queue(1), VhostIndex(0));
    Box::new(move || {
        let opened = sealer.open_queue(black_box(name.as_bytes()), VhostIndex(0));
        assert_eq!(opened, Some(queue(1)));
    })
}

fn reply_name() -> Step {
    let sealer = Sealer::new(SECRET);
    let channel = ChannelAddress {
        shard: 0,
        channel: 1,
        slot: 2,
        generation: 3,
    };
    let name = sealer.reply_name(REPLY_TO, channel);
    let opaque = name.as_bytes()[REPLY_TO.len() + 1..].to_vec();
    Box::new(move || {
        let opened = sealer.open_reply(black_box(&opaque));
        assert_eq!(opened.map(|to| to.channel), Some(channel));
    })
}

fn topology() -> Topology {
    Topology::new(
        Name::from("/"),
        RandomState::with_seeds(1, 2, 3, 4),
        Limits::SHIPPED,
    )
}

fn queue(number: u32) -> QueueAddress {
    QueueAddress {
        shard: 0,
        index: number,
        generation: u64::from(number) + 1,
    }
}
