//! The everyday work of a raw peer: declare, consume, get, publish, acknowledge, confirm.

use amq_protocol::protocol::basic::{AMQPMethod as Basic, AMQPProperties, parse_properties};
use amq_protocol::protocol::queue::AMQPMethod as Queue;
use amq_protocol::protocol::{AMQPClass, basic, queue};

use crate::Peer;
use crate::wire::{self, BODY, Bytes, HEADER, Properties, method};

/// A message as it was delivered, fetched or returned.
#[derive(Debug)]
pub struct Delivery {
    pub consumer_tag: String,
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: String,
    pub routing_key: String,
    /// Property flags and list, as they came.
    pub header: Vec<u8>,
    pub properties: AMQPProperties,
    pub body: Vec<u8>,
}

/// Flags of `queue.declare`.
pub const PASSIVE: u8 = 1;
pub const DURABLE: u8 = 2;
pub const EXCLUSIVE: u8 = 4;
pub const AUTO_DELETE: u8 = 8;
/// Flags of `basic.consume`.
pub const NO_ACK: u8 = 2;
pub const CONSUME_EXCLUSIVE: u8 = 4;
pub const CONSUME_NOWAIT: u8 = 8;

impl Peer {
    pub fn send_declare(&mut self, channel: u16, queue: &str, flags: u8) {
        let declare = method(50, 10)
            .short(0)
            .shortstr(queue)
            .octet(flags)
            .table(&[]);
        self.send(&declare.frame(channel));
    }

    #[track_caller]
    pub fn declare(&mut self, channel: u16, queue: &str, flags: u8) -> queue::DeclareOk {
        self.send_declare(channel, queue, flags);
        match self.expect_method(channel) {
            AMQPClass::Queue(Queue::DeclareOk(ok)) => ok,
            other => panic!("not queue.declare-ok: {other:?}"),
        }
    }

    #[track_caller]
    pub fn delete(&mut self, channel: u16, queue: &str) {
        self.send(
            &method(50, 40)
                .short(0)
                .shortstr(queue)
                .octet(0)
                .frame(channel),
        );
        match self.expect_method(channel) {
            AMQPClass::Queue(Queue::DeleteOk(_)) => {}
            other => panic!("not queue.delete-ok: {other:?}"),
        }
    }

    pub fn send_consume(&mut self, channel: u16, queue: &str, tag: &str, flags: u8) {
        let consume = method(60, 20).short(0).shortstr(queue).shortstr(tag);
        self.send(&consume.octet(flags).table(&[]).frame(channel));
    }

    /// The consumer's tag.
    #[track_caller]
    pub fn consume(&mut self, channel: u16, queue: &str, tag: &str, flags: u8) -> String {
        self.send_consume(channel, queue, tag, flags);
        match self.expect_method(channel) {
            AMQPClass::Basic(Basic::ConsumeOk(ok)) => ok.consumer_tag.to_string(),
            other => panic!("not basic.consume-ok: {other:?}"),
        }
    }

    #[track_caller]
    pub fn cancel(&mut self, channel: u16, tag: &str) {
        self.send(&method(60, 30).shortstr(tag).octet(0).frame(channel));
        match self.expect_method(channel) {
            AMQPClass::Basic(Basic::CancelOk(_)) => {}
            other => panic!("not basic.cancel-ok: {other:?}"),
        }
    }

    #[track_caller]
    pub fn qos(&mut self, channel: u16, prefetch_count: u16, global: bool) {
        self.send(
            &method(60, 10)
                .long(0)
                .short(prefetch_count)
                .octet(global.into())
                .frame(channel),
        );
        match self.expect_method(channel) {
            AMQPClass::Basic(Basic::QosOk(_)) => {}
            other => panic!("not basic.qos-ok: {other:?}"),
        }
    }

    pub fn send_get(&mut self, channel: u16, queue: &str, no_ack: bool) {
        self.send(
            &method(60, 70)
                .short(0)
                .shortstr(queue)
                .octet(no_ack.into())
                .frame(channel),
        );
    }

    /// `None` for `get-empty`.
    #[track_caller]
    pub fn get(&mut self, channel: u16, queue: &str, no_ack: bool) -> Option<Delivery> {
        self.send_get(channel, queue, no_ack);
        match self.expect_method(channel) {
            AMQPClass::Basic(Basic::GetEmpty(_)) => None,
            AMQPClass::Basic(Basic::GetOk(ok)) => {
                let mut delivery = self.expect_content(channel);
                delivery.delivery_tag = ok.delivery_tag;
                delivery.redelivered = ok.redelivered;
                delivery.exchange = ok.exchange.to_string();
                delivery.routing_key = ok.routing_key.to_string();
                Some(delivery)
            }
            other => panic!("not an answer to basic.get: {other:?}"),
        }
    }

    /// A publish through the default exchange.
    pub fn publish(&mut self, channel: u16, queue: &str, properties: &Properties, body: &[u8]) {
        let method = wire::publish("", queue, false);
        self.publish_as(channel, &method, &properties.encode(), body);
    }

    pub fn publish_as(&mut self, channel: u16, method: &Bytes, properties: &[u8], body: &[u8]) {
        let mut bytes = method.frame(channel);
        bytes.extend(wire::content_header(channel, body.len() as u64, properties));
        for part in body.chunks(self.frame_max as usize - 8) {
            bytes.extend(wire::frame(BODY, channel, part));
        }
        self.send(&bytes);
    }

    pub fn ack(&mut self, channel: u16, delivery_tag: u64) {
        self.send(
            &method(60, 80)
                .longlong(delivery_tag)
                .octet(0)
                .frame(channel),
        );
    }

    pub fn nack(&mut self, channel: u16, delivery_tag: u64, requeue: bool) {
        let flags = if requeue { 2 } else { 0 };
        self.send(
            &method(60, 120)
                .longlong(delivery_tag)
                .octet(flags)
                .frame(channel),
        );
    }

    /// Turns publisher confirms on.
    #[track_caller]
    pub fn select_confirms(&mut self, channel: u16) {
        self.send(&method(85, 10).octet(0).frame(channel));
        match self.expect_method(channel) {
            AMQPClass::Confirm(_) => {}
            other => panic!("not confirm.select-ok: {other:?}"),
        }
    }

    #[track_caller]
    pub fn expect_ack(&mut self, channel: u16) -> basic::Ack {
        match self.expect_method(channel) {
            AMQPClass::Basic(Basic::Ack(ack)) => ack,
            other => panic!("not basic.ack: {other:?}"),
        }
    }

    #[track_caller]
    pub fn expect_delivery(&mut self, channel: u16) -> Delivery {
        match self.expect_method(channel) {
            AMQPClass::Basic(Basic::Deliver(deliver)) => Delivery {
                consumer_tag: deliver.consumer_tag.to_string(),
                delivery_tag: deliver.delivery_tag,
                redelivered: deliver.redelivered,
                exchange: deliver.exchange.to_string(),
                routing_key: deliver.routing_key.to_string(),
                ..self.expect_content(channel)
            },
            other => panic!("not basic.deliver: {other:?}"),
        }
    }

    /// A returned message, with the reply code of its return.
    #[track_caller]
    pub fn expect_return(&mut self, channel: u16) -> (u16, Delivery) {
        match self.expect_method(channel) {
            AMQPClass::Basic(Basic::Return(ret)) => {
                let mut delivery = self.expect_content(channel);
                delivery.exchange = ret.exchange.to_string();
                delivery.routing_key = ret.routing_key.to_string();
                (ret.reply_code, delivery)
            }
            other => panic!("not basic.return: {other:?}"),
        }
    }

    #[track_caller]
    fn expect_content(&mut self, channel: u16) -> Delivery {
        let header = self.expect_frame();
        assert_eq!(
            (header.kind, header.channel),
            (HEADER, channel),
            "{header:?}"
        );
        let (fixed, list) = header.payload.split_at(12);
        assert_eq!(fixed[..4], [0, 60, 0, 0], "class basic, weight 0");
        let body_len = u64::from_be_bytes(fixed[4..].try_into().expect("eight octets"));
        let (rest, properties) = parse_properties(list).expect("properties that can be parsed");
        assert!(rest.is_empty(), "octets after the properties: {rest:x?}");
        let mut body = Vec::new();
        while (body.len() as u64) < body_len {
            let frame = self.expect_frame();
            assert_eq!((frame.kind, frame.channel), (BODY, channel), "{frame:?}");
            body.extend(frame.payload);
        }
        assert_eq!(body.len() as u64, body_len);
        Delivery {
            consumer_tag: String::new(),
            delivery_tag: 0,
            redelivered: false,
            exchange: String::new(),
            routing_key: String::new(),
            header: list.to_vec(),
            properties,
            body,
        }
    }
}

impl Delivery {
    #[track_caller]
    pub fn reply_to(&self) -> String {
        self.properties
            .reply_to()
            .as_ref()
            .expect("the message has a reply-to")
            .to_string()
    }
    pub fn correlation_id(&self) -> Option<String> {
        self.properties
            .correlation_id()
            .as_ref()
            .map(ToString::to_string)
    }
}
