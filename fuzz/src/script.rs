//! Legal frames in any order, from octets: each step is an octet for what to do and a few for
//! how. Names come from a small pool, so that steps meet each other.

use super::world::{CONNECTIONS, World};
use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::basic::{AMQPProperties as BasicProperties, gen_properties};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue, tx};
use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use broker::engine::rules::PolicyValue;
use broker::engine::wire::basic::{HotMethod, Publish, encode_content, encode_hot};
use broker::engine::wire::frame::PROTOCOL_HEADER;
use broker::engine::wire::properties::{PropertyParts, encode_properties};
use std::time::Duration;

const NAMES: [&str; 20] = [
    "",
    "q",
    "work",
    "a.b",
    "#",
    "*.b",
    "amq.rabbitmq.reply-to",
    "amq.direct.reply-to",
    "amq.rabbitmq.reply-to.forged",
    "amq.direct",
    "amq.fanout",
    "amq.topic",
    "amq.headers",
    "x",
    "guest",
    "amq.gen-forged",
    "amq.rpc.cancel",
    "amq.rpc.control",
    "amq.rpc.stats",
    "amq.rpc.info",
];
const KINDS: [&str; 7] = [
    "direct",
    "fanout",
    "topic",
    "headers",
    "x-unknown",
    "x-consistent-hash",
    "x-delayed-message",
];
/// What queues, exchanges, bindings and consumers may be asked for.
const ARGUMENTS: [&str; 24] = [
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
    "alternate-exchange",
    "x-delayed-type",
    "hash-header",
    "hash-property",
    "x-match",
    "x-priority",
    "x-unknown",
    "x-rpc-purge-on-gone",
    "x-rpc-shed",
    "x-rpc-slow-ms",
    "x-dispatch",
    "k",
];
/// Headers that the broker reads, and one that bindings ask for.
const HEADERS: [&str; 10] = [
    "CC",
    "BCC",
    "x-delay",
    "x-death",
    "x-delivery-count",
    "x-rpc-errors",
    "x-rpc-deadline-ms",
    "x-rpc-purge-on-gone",
    "x-rpc-timing",
    "k",
];
const WORDS: [&str; 14] = [
    "drop-head",
    "reject-publish",
    "reject-publish-dlx",
    "classic",
    "quorum",
    "all",
    "any-with-x",
    "message_id",
    "lazy",
    "direct",
    "x-consistent-hash",
    "least-outstanding",
    "fastest",
    "10",
];

/// Octets of one burst of messages: more than may be unsent, or wait, by half.
const BURST_LEN_MAX: usize = 384 * 1024;

pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Script { rest: bytes }
    }

    /// A queue with consumers and one without on each shard, and callers on all connections: most
    /// scripts find something there to work with.
    pub fn set_stage(world: &mut World) {
        for (peer, queues) in [["q", "x"], ["work", "a.b"]].into_iter().enumerate() {
            for queue in queues {
                let declare = queue::AMQPMethod::Declare(queue::Declare {
                    queue: queue.into(),
                    passive: false,
                    durable: false,
                    exclusive: false,
                    auto_delete: false,
                    nowait: false,
                    arguments: FieldTable::default(),
                });
                world.receive_method(peer, 1, &AMQPClass::Queue(declare));
            }
        }
        for peer in 0..CONNECTIONS {
            world.receive_method(peer, 1, &consume("amq.rabbitmq.reply-to", true));
            let queue = ["q", "work"][peer % 2];
            world.receive_method(peer, 2, &consume(queue, false));
            world.receive_method(peer, 2, &consume(queue, true));
        }
    }

    pub fn play(&mut self, world: &mut World) {
        while !self.rest.is_empty() {
            let (what, who) = (self.octet(), self.octet());
            self.step(world, what, usize::from(who >> 4), u16::from(who & 3));
        }
    }

    fn step(&mut self, world: &mut World, what: u8, peer: usize, channel: u16) {
        let method = match what % 40 {
            0..=7 => return self.publish(world, peer, channel),
            8..=10 => AMQPClass::Queue(self.queue_method(world)),
            11..=12 => AMQPClass::Exchange(self.exchange_method(world)),
            13..=17 => AMQPClass::Basic(self.consumer_method(world)),
            18..=21 => AMQPClass::Basic(self.settlement()),
            22 => AMQPClass::Channel(self.channel_method()),
            23 => AMQPClass::Tx(self.transaction()),
            24 => confirm_select(self.octet()),
            25 => {
                let how = self.octet();
                if how & 4 != 0 {
                    return self.policy(world, peer, how);
                }
                return world.receive_method(peer, 0, &connection_method(how));
            }
            other => return self.event(world, other, peer, channel),
        };
        world.receive_method(peer, channel, &method);
    }

    /// What is no method.
    fn event(&mut self, world: &mut World, what: u8, peer: usize, channel: u16) {
        match what {
            26 => world.disconnect(peer),
            27..=28 => world.reconnect(peer),
            29 => world.pass_time(Duration::from_millis(u64::from(self.octet()) * 500)),
            30 => self.raw(world, peer, channel),
            31 => world.receive(peer, &[8, 0, 0, 0, 0, 0, 0, 0xce]),
            32..=34 => self.publish_often(world, peer, channel),
            35 => world.deafen(peer),
            36 => world.hear(peer),
            37 => world.hear_some(peer, usize::from(self.octet()) << 9),
            38 => world.hold_mail(true),
            _ => world.hold_mail(false),
        }
    }

    fn octet(&mut self) -> u8 {
        let Some((&octet, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        octet
    }

    /// One of the pool, or a name that the broker made.
    fn name(&mut self, world: &World) -> ShortString {
        let pick = usize::from(self.octet()) % (NAMES.len() + 8);
        let known = NAMES.get(pick).copied();
        let learned = || {
            world
                .learned
                .get(pick - NAMES.len())
                .map_or("", String::as_str)
        };
        ShortString::from(known.unwrap_or_else(learned))
    }

    fn arguments(&mut self, world: &World) -> FieldTable {
        let mut table = FieldTable::default();
        let pick = self.octet();
        let value = AMQPValue::LongInt(i32::from(pick >> 4) - 2);
        let text = AMQPValue::LongString(self.name(world).as_str().into());
        match pick & 15 {
            0 => table.insert("x-message-ttl".into(), value),
            1 => table.insert("x-expires".into(), value),
            2 => table.insert("x-max-length".into(), value),
            3 => table.insert("x-dead-letter-exchange".into(), text),
            4 => table.insert("x-max-priority".into(), value),
            5 => table.insert("x-match".into(), AMQPValue::LongString("any".into())),
            6 => table.insert("k".into(), value),
            7 => table.insert("k".into(), AMQPValue::Void),
            8 => table.insert("alternate-exchange".into(), text),
            9 => table.insert("x-priority".into(), value),
            10 => table.insert("k".into(), text),
            11..=14 => return self.several(world, &ARGUMENTS),
            _ => &mut table,
        };
        table
    }

    /// Up to four entries with values of any type.
    fn several(&mut self, world: &World, keys: &[&str]) -> FieldTable {
        let mut table = FieldTable::default();
        for _ in 0..self.octet() & 3 {
            let key = keys[usize::from(self.octet()) % keys.len()];
            let value = self.value(world);
            table.insert(key.into(), value);
        }
        let key = keys[usize::from(self.octet()) % keys.len()];
        let value = self.value(world);
        table.insert(key.into(), value);
        table
    }

    fn value(&mut self, world: &World) -> AMQPValue {
        let pick = self.octet();
        let number = i64::from(pick >> 4);
        match pick & 15 {
            0..=3 => AMQPValue::LongLongInt(number),
            4 => AMQPValue::LongLongInt(number * 1000),
            5 => AMQPValue::LongLongInt(i64::MAX >> (4 * number)),
            6 => AMQPValue::LongLongInt(-number),
            7 => AMQPValue::Boolean(pick & 16 != 0),
            8 => AMQPValue::Void,
            9..=10 => AMQPValue::LongString(self.name(world).as_str().into()),
            11..=12 => {
                let word = WORDS[usize::from(self.octet()) % WORDS.len()];
                AMQPValue::LongString(word.into())
            }
            13 => AMQPValue::Double(number as f64 / 2.0),
            14 => {
                let names = (0..=pick >> 5).map(|_| self.name(world));
                let names = names.map(|name| AMQPValue::LongString(name.as_str().into()));
                AMQPValue::FieldArray(names.collect::<Vec<_>>().into())
            }
            _ => AMQPValue::FieldTable(FieldTable::default()),
        }
    }

    /// Sets a policy of two, or ends it.
    fn policy(&mut self, world: &mut World, peer: usize, how: u8) {
        let name = ["p", "o"][usize::from(how >> 3 & 1)];
        if how & 16 != 0 {
            return world.clear_policy(peer, name);
        }
        let (pattern, key) = (self.octet(), self.octet());
        let pattern = ["", "^q", "work$", "x|amq"][usize::from(pattern & 3)];
        let key = ARGUMENTS[usize::from(key) % ARGUMENTS.len()];
        let key = key.strip_prefix("x-").unwrap_or(key);
        let value = match self.value(world) {
            AMQPValue::LongLongInt(number) => PolicyValue::Integer(number),
            AMQPValue::LongString(text) => PolicyValue::Text(text.to_string()),
            AMQPValue::Boolean(value) => PolicyValue::Boolean(value),
            _ => PolicyValue::Integer(1),
        };
        let overflow = PolicyValue::Text("reject-publish".into());
        let rest = [("overflow", overflow)];
        let rest = &rest[..usize::from(how >> 5 & 1)];
        let definition = [(key, value)].into_iter().chain(rest.iter().cloned());
        world.set_policy(peer, name, pattern, &definition.collect::<Vec<_>>());
    }

    /// A whole message in most cases; otherwise only some of its frames.
    fn publish(&mut self, world: &mut World, peer: usize, channel: u16) {
        let (bytes, method_len) = self.message(world, channel);
        match self.octet() >> 6 {
            0..=1 => world.receive(peer, &bytes),
            2 => world.receive(peer, &bytes[..method_len]),
            _ => world.receive(peer, &bytes[method_len..]),
        }
    }

    /// The same message again and again, all at once: this is how limits are reached.
    fn publish_often(&mut self, world: &mut World, peer: usize, channel: u16) {
        let (bytes, _) = self.message(world, channel);
        let times = (1 << (self.octet() % 14)).min(BURST_LEN_MAX.div_ceil(bytes.len()));
        world.receive(peer, &bytes.repeat(times));
    }

    /// Method, header and body; how long the first of them is.
    fn message(&mut self, world: &World, channel: u16) -> (Vec<u8>, usize) {
        let (exchange, key, reply_to) = (self.name(world), self.name(world), self.name(world));
        let how = self.octet();
        let mut bytes = Vec::new();
        let publish = Publish {
            exchange: exchange.as_str().as_bytes(),
            routing_key: key.as_str().as_bytes(),
            mandatory: how & 1 != 0,
            immediate: how == 0xff,
        };
        encode_hot(&mut bytes, channel, &HotMethod::Publish(publish));
        let method_len = bytes.len();
        let mut properties = Vec::new();
        let reply_to = (how & 2 != 0).then_some(reply_to.as_str());
        if how & 64 == 0 {
            let delivery_mode = Some(1 + (how >> 2 & 1));
            let reply_to = reply_to.map(str::as_bytes);
            encode_properties(&mut properties, Some(b"id"), reply_to, delivery_mode);
        } else {
            properties = self.rich_properties(world, reply_to);
        }
        let body = vec![b'x'; usize::from(self.octet()) << (how >> 3 & 7)];
        encode_content(
            &mut bytes,
            channel,
            PropertyParts([&properties, &[], &[]]),
            &body,
            4096,
        );
        (bytes, method_len)
    }

    /// Those that the broker acts upon.
    fn rich_properties(&mut self, world: &World, reply_to: Option<&str>) -> Vec<u8> {
        let how = self.octet();
        let mut properties = BasicProperties::default().with_correlation_id("id".into());
        if let Some(reply_to) = reply_to {
            properties = properties.with_reply_to(reply_to.into());
        }
        if how & 1 != 0 {
            let expiration = match self.octet() {
                0 => "soon".into(),
                ms => (u32::from(ms) * 10).to_string(),
            };
            properties = properties.with_expiration(expiration.into());
        }
        if how & 2 != 0 {
            properties = properties.with_priority(self.octet());
        }
        if how & 12 != 0 {
            properties = properties.with_headers(self.several(world, &HEADERS));
        }
        let written = gen_properties(&properties)(WriteContext::from(Vec::new()));
        written.expect("a vector takes all").into_inner().0
    }

    fn queue_method(&mut self, world: &World) -> queue::AMQPMethod {
        use queue::AMQPMethod::{Bind, Declare, Delete, Purge, Unbind};
        let (how, name, exchange) = (self.octet(), self.name(world), self.name(world));
        let (routing_key, arguments) = (self.name(world), self.arguments(world));
        let nowait = how & 8 != 0;
        match how & 7 {
            0..=2 => Declare(queue::Declare {
                queue: name,
                passive: how & 16 != 0,
                durable: how & 32 != 0,
                exclusive: how & 64 != 0,
                auto_delete: how & 128 != 0,
                nowait,
                arguments,
            }),
            3..=4 => Bind(queue::Bind {
                queue: name,
                exchange,
                routing_key,
                nowait,
                arguments,
            }),
            5 => Unbind(queue::Unbind {
                queue: name,
                exchange,
                routing_key,
                arguments,
            }),
            6 => Purge(queue::Purge {
                queue: name,
                nowait,
            }),
            _ => Delete(queue::Delete {
                queue: name,
                if_unused: how & 16 != 0,
                if_empty: how & 32 != 0,
                nowait,
            }),
        }
    }

    fn exchange_method(&mut self, world: &World) -> exchange::AMQPMethod {
        use exchange::AMQPMethod::{Bind, Declare, Delete, Unbind};
        let (how, name, source) = (self.octet(), self.name(world), self.name(world));
        let (routing_key, arguments) = (self.name(world), self.arguments(world));
        let nowait = how & 4 != 0;
        match how & 3 {
            0 => Declare(exchange::Declare {
                exchange: name,
                kind: KINDS[usize::from(self.octet()) % KINDS.len()].into(),
                passive: how & 8 != 0,
                durable: how & 16 != 0,
                auto_delete: how & 32 != 0,
                internal: how & 64 != 0,
                nowait,
                arguments,
            }),
            1 => Bind(exchange::Bind {
                destination: name,
                source,
                routing_key,
                nowait,
                arguments,
            }),
            2 => Unbind(exchange::Unbind {
                destination: name,
                source,
                routing_key,
                nowait,
                arguments,
            }),
            _ => Delete(exchange::Delete {
                exchange: name,
                if_unused: how & 8 != 0,
                nowait,
            }),
        }
    }

    fn consumer_method(&mut self, world: &World) -> basic::AMQPMethod {
        use basic::AMQPMethod::{Cancel, CancelOk, Consume, Get, Qos};
        let (how, name, consumer_tag) = (self.octet(), self.name(world), self.name(world));
        let nowait = how & 8 != 0;
        match how & 7 {
            0..=3 => Consume(basic::Consume {
                queue: name,
                consumer_tag,
                no_local: false,
                no_ack: how & 16 != 0,
                exclusive: how & 0xe0 == 0xe0,
                nowait,
                arguments: self.arguments(world),
            }),
            4 => Cancel(basic::Cancel {
                consumer_tag,
                nowait,
            }),
            5 => Get(basic::Get {
                queue: name,
                no_ack: how & 16 != 0,
            }),
            6 => CancelOk(basic::CancelOk { consumer_tag }),
            _ => Qos(basic::Qos {
                prefetch_count: u16::from(how >> 5),
                global: how & 16 != 0,
            }),
        }
    }

    fn settlement(&mut self) -> basic::AMQPMethod {
        use basic::AMQPMethod::{Ack, Nack, Recover, RecoverAsync, Reject};
        let how = self.octet();
        let delivery_tag = u64::from(how >> 5);
        let (multiple, requeue) = (how & 8 != 0, how & 16 != 0);
        match how & 7 {
            0..=2 => Ack(basic::Ack {
                delivery_tag,
                multiple,
            }),
            3..=4 => Nack(basic::Nack {
                delivery_tag,
                multiple,
                requeue,
            }),
            5 => Reject(basic::Reject {
                delivery_tag,
                requeue,
            }),
            6 => Recover(basic::Recover { requeue }),
            _ => RecoverAsync(basic::RecoverAsync { requeue }),
        }
    }

    fn channel_method(&mut self) -> channel::AMQPMethod {
        use channel::AMQPMethod::{Close, CloseOk, Flow, FlowOk, Open};
        let how = self.octet();
        match how & 7 {
            0..=2 => Open(channel::Open {}),
            3 => Close(channel::Close {
                reply_code: 200,
                reply_text: "bye".into(),
                class_id: 0,
                method_id: 0,
            }),
            4 => CloseOk(channel::CloseOk {}),
            5..=6 => Flow(channel::Flow {
                active: how & 8 != 0,
            }),
            _ => FlowOk(channel::FlowOk {
                active: how & 8 != 0,
            }),
        }
    }

    fn transaction(&mut self) -> tx::AMQPMethod {
        match self.octet() % 3 {
            0 => tx::AMQPMethod::Select(tx::Select {}),
            1 => tx::AMQPMethod::Commit(tx::Commit {}),
            _ => tx::AMQPMethod::Rollback(tx::Rollback {}),
        }
    }

    /// A frame whose payload is the input's, or the protocol header once more.
    fn raw(&mut self, world: &mut World, peer: usize, channel: u16) {
        let how = self.octet();
        if how == 0 {
            return world.receive(peer, &PROTOCOL_HEADER);
        }
        let (payload, rest) = self
            .rest
            .split_at(self.rest.len().min(usize::from(how >> 2)));
        self.rest = rest;
        let kind = [1, 2, 3, 8][usize::from(how & 3)];
        let [c0, c1] = channel.to_be_bytes();
        let mut frame = vec![kind, c0, c1, 0, 0, 0, payload.len() as u8];
        frame.extend_from_slice(payload);
        frame.push(0xce);
        world.receive(peer, &frame);
    }
}

/// What ends a connection, or should not come twice.
fn connection_method(how: u8) -> AMQPClass {
    use connection::AMQPMethod::{Close, CloseOk, Open, TuneOk};
    AMQPClass::Connection(match how & 3 {
        0 => Close(connection::Close {
            reply_code: 200,
            reply_text: "bye".into(),
            class_id: 0,
            method_id: 0,
        }),
        1 => CloseOk(connection::CloseOk {}),
        2 => Open(connection::Open {
            virtual_host: "/".into(),
        }),
        _ => TuneOk(connection::TuneOk {
            channel_max: 1,
            frame_max: 0,
            heartbeat: 1,
        }),
    })
}

fn confirm_select(how: u8) -> AMQPClass {
    let nowait = how & 1 != 0;
    AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait }))
}

fn consume(queue: &str, no_ack: bool) -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume {
        queue: queue.into(),
        consumer_tag: ShortString::default(),
        no_local: false,
        no_ack,
        exclusive: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}
