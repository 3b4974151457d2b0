//! Requester and worker against a broker of a few lines: it speaks the other side of the
//! set-up and carries messages from the one to the other, all in memory.

mod load;
mod shapes;

use super::content::Content;
use super::*;
use crate::arguments::ReplyStyle;
use crate::plan::{Follow, QueueRules};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, queue};
use amq_protocol::types::FieldTable;
use broker::engine::wire::basic::{
    Deliver, HotMethod, Publish, decode_content_header, decode_hot, encode_content, encode_hot,
};
use broker::engine::wire::frame::{FrameKind, PROTOCOL_HEADER};
use broker::engine::wire::method::{decode_method, encode_method};
use broker::engine::wire::properties::{Properties, PropertyParts, encode_properties};

const RUN: u32 = 0xfeed_f00d;
const BODY_LEN: usize = 64;
const NOW: Timestamp = Timestamp(1_000);

/// A published message as the scripted broker sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    routing_key: Vec<u8>,
    correlation: Vec<u8>,
    reply_to: Vec<u8>,
    delivery_mode: Option<u8>,
    body: Vec<u8>,
}

/// One connection of the scripted broker.
#[derive(Default)]
struct Peer {
    frame_max: u32,
    /// What the client has said, as "class.method".
    said: Vec<(u16, u16)>,
    published: Vec<Message>,
    acked: Vec<u64>,
    to_client: Vec<u8>,
    message: Message,
    body_left: u64,
    has_header: bool,
}

impl Peer {
    fn handle_bytes(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(after) = rest.strip_prefix(&PROTOCOL_HEADER) {
            rest = after;
            self.say(0, &start());
        }
        while let Some(frame) = split_frame(rest, self.frame_max).unwrap() {
            rest = &rest[frame.frame_len()..];
            match frame.kind {
                FrameKind::Method => self.handle_method(frame.channel, frame.payload),
                FrameKind::Header => {
                    let (_, header) = decode_content_header(frame.payload).unwrap();
                    let properties = Properties::walk(header.properties, 4).unwrap();
                    self.message.correlation = properties.correlation_id().unwrap().to_vec();
                    self.message.reply_to = properties.reply_to().unwrap_or_default().to_vec();
                    self.message.delivery_mode = properties.delivery_mode();
                    self.body_left = header.body_len;
                }
                FrameKind::Body => {
                    self.message.body.extend_from_slice(frame.payload);
                    self.body_left -= frame.payload.len() as u64;
                }
                FrameKind::Heartbeat => self.said.push((0, 0)),
            }
            if self.has_header && self.body_left == 0 && frame.kind != FrameKind::Method {
                self.has_header = false;
                self.published.push(std::mem::take(&mut self.message));
            }
        }
        assert!(rest.is_empty(), "a client sends whole frames");
    }

    fn handle_method(&mut self, channel: u16, payload: &[u8]) {
        match decode_hot(payload).unwrap() {
            Some(HotMethod::Publish(Publish {
                routing_key,
                exchange: b"",
                ..
            })) => {
                self.message.routing_key = routing_key.to_vec();
                self.has_header = true;
                self.body_left = u64::MAX;
                return;
            }
            Some(HotMethod::Ack {
                delivery_tag,
                multiple: false,
            }) => {
                return self.acked.push(delivery_tag);
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
        let method = decode_method(payload, 4).unwrap();
        self.said
            .push((method.get_amqp_class_id(), method.get_amqp_method_id()));
        if let Some(answer) = self.answer(&method) {
            self.say(channel, &answer);
        }
    }

    fn answer(&self, method: &AMQPClass) -> Option<AMQPClass> {
        use AMQPClass::{Basic, Channel, Connection, Queue};
        use connection::AMQPMethod as ConnectionMethod;
        Some(match method {
            Connection(ConnectionMethod::StartOk(ok)) => {
                assert_eq!(ok.response.as_bytes(), b"\0guest\0secret");
                let frame_max = self.frame_max;
                let tune = connection::Tune {
                    channel_max: 7,
                    frame_max,
                    heartbeat: 10,
                };
                Connection(ConnectionMethod::Tune(tune))
            }
            Connection(ConnectionMethod::TuneOk(ok)) => {
                assert_eq!(
                    (ok.channel_max, ok.frame_max, ok.heartbeat),
                    (7, self.frame_max, 10)
                );
                return None;
            }
            Connection(ConnectionMethod::Open(_)) => {
                Connection(ConnectionMethod::OpenOk(connection::OpenOk {}))
            }
            Connection(ConnectionMethod::Close(_)) => {
                Connection(ConnectionMethod::CloseOk(connection::CloseOk {}))
            }
            Channel(channel::AMQPMethod::Open(_)) => {
                Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))
            }
            Basic(basic::AMQPMethod::Qos(_)) => Basic(basic::AMQPMethod::QosOk(basic::QosOk {})),
            AMQPClass::Confirm(confirm::AMQPMethod::Select(_)) => {
                AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {}))
            }
            Queue(queue::AMQPMethod::Delete(_)) => {
                Queue(queue::AMQPMethod::DeleteOk(queue::DeleteOk {
                    message_count: 0,
                }))
            }
            Queue(queue::AMQPMethod::Declare(declare)) => {
                let declared = self.said.iter().filter(|said| **said == (50, 10));
                let generated = format!("amq.gen-{}", declared.count());
                let name = match declare.queue.as_str() {
                    "" => generated.as_str(),
                    name => name,
                };
                let ok = queue::DeclareOk {
                    queue: name.into(),
                    message_count: 0,
                    consumer_count: 0,
                };
                Queue(queue::AMQPMethod::DeclareOk(ok))
            }
            Basic(basic::AMQPMethod::Consume(consume)) => {
                let consumer_tag = consume.consumer_tag.clone();
                Basic(basic::AMQPMethod::ConsumeOk(basic::ConsumeOk {
                    consumer_tag,
                }))
            }
            _ => return None,
        })
    }

    fn say(&mut self, channel: u16, method: &AMQPClass) {
        encode_method(&mut self.to_client, channel, method);
    }

    fn deliver(&mut self, delivery_tag: u64, message: &Message) {
        self.deliver_as(delivery_tag, message, false);
    }

    fn deliver_as(&mut self, delivery_tag: u64, message: &Message, redelivered: bool) {
        let deliver = HotMethod::Deliver(Deliver {
            consumer_tag: b"tag",
            delivery_tag,
            redelivered,
            exchange: b"",
            routing_key: &message.routing_key,
        });
        encode_hot(&mut self.to_client, 1, &deliver);
        self.content(message);
    }

    fn give_back(&mut self, message: &Message) {
        let method = AMQPClass::Basic(basic::AMQPMethod::Return(basic::Return {
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
            exchange: "".into(),
            routing_key: "nowhere".into(),
        }));
        self.say(1, &method);
        self.content(message);
    }

    fn content(&mut self, message: &Message) {
        let mut properties = Vec::new();
        let reply_to = Some(message.reply_to.as_slice()).filter(|name| !name.is_empty());
        encode_properties(&mut properties, Some(&message.correlation), reply_to, None);
        let parts = PropertyParts([&properties, &[], &[]]);
        encode_content(&mut self.to_client, 1, parts, &message.body, self.frame_max);
    }
}

fn start() -> AMQPClass {
    let mut properties = FieldTable::default();
    for (name, value) in [("product", "Script"), ("version", "1.2")] {
        let value = amq_protocol::types::AMQPValue::LongString(value.into());
        properties.insert(name.into(), value);
    }
    AMQPClass::Connection(connection::AMQPMethod::Start(connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties,
        mechanisms: "AMQPLAIN PLAIN".into(),
        locales: "en_US".into(),
    }))
}

/// A client, the broker's side of its connection, and the time.
struct Pair {
    client: Client,
    peer: Peer,
    tally: Tally,
    now: Timestamp,
    /// Octets per read.
    read_len: usize,
}

impl Pair {
    fn new(purpose: Purpose, part: Part, body_len: usize) -> Pair {
        Pair::sized(purpose, part, Sizes::fixed(body_len))
    }

    fn sized(purpose: Purpose, part: Part, sizes: Sizes) -> Pair {
        let settings = Settings {
            username: "guest".to_owned(),
            password: "secret".to_owned(),
            vhost: "/".to_owned(),
            purpose,
        };
        Pair {
            client: Client::new_amqp(settings, part, sizes, NOW),
            peer: Peer {
                frame_max: 4096,
                ..Peer::default()
            },
            tally: Tally::new(Recorder::new(false, Duration::from_secs(1))),
            now: NOW,
            read_len: usize::MAX,
        }
    }

    fn requester(reply: ReplyStyle, in_flight: u32, body_len: usize) -> Pair {
        let purpose = Purpose::Requester {
            queues: vec!["jobs".to_owned()],
            reply,
            is_mandatory: true,
            is_persistent: false,
            is_confirmed: false,
            follow: Follow::default(),
        };
        Pair::new(
            purpose,
            Part::Requester {
                run: RUN,
                index: 3,
                in_flight,
            },
            body_len,
        )
    }

    fn worker(is_auto_ack: bool, prefetch: u16, body_len: usize) -> Pair {
        let purpose = Purpose::Worker {
            queues: vec!["jobs".to_owned()],
            is_auto_ack,
            prefetch,
            is_persistent: false,
            keeps_queues: false,
            rules: QueueRules::default(),
            heap: None,
        };
        Pair::new(purpose, Part::Worker, body_len)
    }

    /// Until neither side has anything more to say. Errors: the client's fault.
    fn run(&mut self) -> Result<(), Fault> {
        loop {
            let octets = self.client.take_outbound(Vec::new(), self.now);
            self.peer.handle_bytes(&octets);
            let answer = std::mem::take(&mut self.peer.to_client);
            if octets.is_empty() && answer.is_empty() {
                return Ok(());
            }
            for piece in answer.chunks(self.read_len.min(answer.len().max(1))) {
                self.client.handle_bytes(piece, self.now, &mut self.tally)?;
            }
        }
    }

    fn issue(&mut self) -> Message {
        let call = Outstanding {
            intended: self.now,
            sent: self.now,
            is_measured: true,
        };
        self.client.issue(call);
        self.run().unwrap();
        self.peer.published.pop().unwrap()
    }

    fn deliver(&mut self, message: &Message) {
        self.peer.deliver(1, message);
        self.run().unwrap();
    }
}

/// What a worker answers to `request`.
fn answered(request: &Message, reply_address: &[u8]) -> Message {
    answered_as(request, reply_address, false)
}

fn answered_as(request: &Message, reply_address: &[u8], redelivered: bool) -> Message {
    let mut worker = Pair::worker(true, 0, request.body.len());
    worker.run().unwrap();
    let request = Message {
        reply_to: reply_address.to_vec(),
        ..request.clone()
    };
    worker.peer.deliver_as(1, &request, redelivered);
    worker.run().unwrap();
    worker.peer.published.pop().unwrap()
}

#[test]
fn a_call_by_direct_reply_to_comes_back_once() {
    let mut requester = Pair::requester(ReplyStyle::Direct, 1, BODY_LEN);
    requester.run().unwrap();
    let expected = [(10, 11), (10, 31), (10, 40), (20, 10), (60, 20)];
    assert_eq!(requester.peer.said, expected);
    assert_eq!(requester.client.server().unwrap().product, "Script");
    assert!(requester.client.can_issue());
    let request = requester.issue();
    assert!(!requester.client.can_issue());
    assert_eq!(request.routing_key, b"jobs");
    assert_eq!(request.reply_to, b"amq.rabbitmq.reply-to");
    assert_eq!(request.correlation, b"feedf00d0000030000000000");
    let reply = answered(&request, b"amq.rabbitmq.reply-to.opaque");
    assert_eq!(reply.routing_key, b"amq.rabbitmq.reply-to.opaque");
    assert_eq!(reply.correlation, request.correlation);
    requester.now = Timestamp(51_000);
    requester.deliver(&reply);
    assert!(requester.client.audit().unwrap().is_clean());
    assert_eq!(requester.tally.recorder.since_intended.max(), 50_015);
    assert!(requester.tally.errors.is_empty());
    requester.client.close(&mut requester.tally);
    requester.run().unwrap();
    assert_eq!(requester.client.standing(), Standing::Over);
}

#[test]
fn a_callback_queue_is_declared_exclusively_and_named_in_the_request() {
    let mut requester = Pair::requester(ReplyStyle::Queue, 1, BODY_LEN);
    requester.run().unwrap();
    assert_eq!(requester.peer.said[4..], [(50, 10), (60, 20)]);
    assert_eq!(requester.issue().reply_to, b"amq.gen-1");
}

#[test]
fn a_worker_with_prefetch_acknowledges_after_its_reply() {
    let mut worker = Pair::worker(false, 5, BODY_LEN);
    worker.run().unwrap();
    assert_eq!(worker.peer.said[4..], [(60, 10), (50, 10), (60, 20)]);
    let mut requester = Pair::requester(ReplyStyle::Direct, 1, BODY_LEN);
    requester.run().unwrap();
    let request = requester.issue();
    worker.peer.deliver(9, &request);
    worker.run().unwrap();
    assert_eq!(
        (worker.peer.published.len(), worker.peer.acked.as_slice()),
        (1, &[9][..])
    );
}

#[test]
fn frames_torn_anywhere_and_bodies_of_many_frames_are_one_message() {
    for body_len in [16, 4088, 4089, 20_000] {
        let mut requester = Pair::requester(ReplyStyle::Direct, 4, body_len);
        requester.read_len = 7;
        requester.run().unwrap();
        for _ in 0..3 {
            let request = requester.issue();
            assert_eq!(request.body.len(), body_len);
            let reply = answered(&request, b"address");
            requester.deliver(&reply);
        }
        let audit = requester.client.audit().unwrap();
        assert!(
            audit.is_clean() && audit.returned_once == 3,
            "{body_len}: {audit:?}"
        );
    }
}

#[test]
fn duplicates_strangers_and_altered_replies_are_told_apart() {
    let mut requester = Pair::requester(ReplyStyle::Direct, 4, BODY_LEN);
    requester.run().unwrap();
    let reply = answered(&requester.issue(), b"address");
    requester.deliver(&reply);
    requester.deliver(&reply);
    let correlation = b"feedf00d0000040000000000".to_vec();
    requester.deliver(&Message {
        correlation,
        ..reply.clone()
    });
    requester.deliver(&Message {
        correlation: b"?".to_vec(),
        ..reply
    });
    let mut altered = answered(&requester.issue(), b"address");
    altered.body[30] ^= 1;
    requester.deliver(&altered);
    let echoed = requester.issue();
    requester.deliver(&echoed);
    let audit = requester.client.audit().unwrap();
    assert_eq!(
        (audit.duplicated, audit.foreign, audit.corrupted),
        (1, 2, 2)
    );
    assert_eq!(requester.tally.errors.values().sum::<u64>(), 5);
}

#[test]
fn a_returned_request_has_failed_by_name() {
    let mut requester = Pair::requester(ReplyStyle::Direct, 1, BODY_LEN);
    requester.run().unwrap();
    let request = requester.issue();
    requester.peer.give_back(&request);
    requester.run().unwrap();
    assert_eq!(requester.client.audit().unwrap().failed, 1);
    assert_eq!(requester.tally.errors["basic.return 312"], 1);
    assert!(requester.client.can_issue());
}

#[test]
fn a_closed_channel_fails_what_is_in_flight_with_the_brokers_words() {
    let mut requester = Pair::requester(ReplyStyle::Direct, 2, BODY_LEN);
    requester.run().unwrap();
    requester.issue();
    let close = channel::Close {
        reply_code: 406,
        reply_text: "PRECONDITION_FAILED - x".into(),
        class_id: 60,
        method_id: 40,
    };
    requester
        .peer
        .say(1, &AMQPClass::Channel(channel::AMQPMethod::Close(close)));
    let fault = requester.run().unwrap_err();
    assert_eq!(
        fault.to_string(),
        "channel.close 406 PRECONDITION_FAILED - x"
    );
    requester.client.handle_fault(&fault, &mut requester.tally);
    assert_eq!(requester.client.standing(), Standing::Over);
    assert_eq!(requester.client.audit().unwrap().failed, 1);
    assert_eq!(requester.tally.errors[&fault.to_string()], 1);
}

#[test]
fn heartbeats_are_sent_and_their_absence_is_noticed() {
    let mut worker = Pair::worker(true, 0, BODY_LEN);
    worker.run().unwrap();
    let second = 1_000_000_000;
    let timeout = Duration::from_secs(1);
    for (after_s, heartbeat_count) in [(4, 0), (5, 1), (9, 1), (10, 2)] {
        worker.now = Timestamp(NOW.0 + after_s * second);
        let handled = worker
            .client
            .handle_deadline(worker.now, timeout, &mut worker.tally);
        assert_eq!(handled, Ok(()));
        worker.run().unwrap();
        let heartbeats = worker.peer.said.iter().filter(|said| **said == (0, 0));
        assert_eq!(heartbeats.count(), heartbeat_count, "after {after_s} s");
    }
    let late = Timestamp(NOW.0 + 20 * second);
    let handled = worker
        .client
        .handle_deadline(late, timeout, &mut worker.tally);
    assert_eq!(handled, Err(Fault::Silent));
}

#[test]
fn a_server_that_speaks_something_else_is_named_so() {
    let mut worker = Pair::worker(true, 0, BODY_LEN);
    let answer = b"AMQP\x00\x01\x00\x00";
    let fault = worker
        .client
        .handle_bytes(answer, NOW, &mut worker.tally)
        .unwrap_err();
    assert!(fault.to_string().contains("does not speak AMQP 0-9-1"));
}

#[test]
fn through_a_relay_a_call_comes_back_once() {
    let part = Part::Requester {
        run: RUN,
        index: 2,
        in_flight: 1,
    };
    let mut requester = Client::new_relay(part, 2, Sizes::fixed(BODY_LEN));
    let mut worker = Client::new_relay(Part::Worker, 2, Sizes::fixed(BODY_LEN));
    let mut tally = Tally::new(Recorder::new(false, Duration::from_secs(1)));
    assert_eq!(
        requester.take_outbound(Vec::new(), NOW),
        b"RNDFR\x00\x00\x02"
    );
    assert_eq!(worker.take_outbound(Vec::new(), NOW), b"RNDFW\x00\x00\x02");
    requester.handle_bytes(&[1], NOW, &mut tally).unwrap();
    worker.handle_bytes(&[1], NOW, &mut tally).unwrap();
    for _ in 0..3 {
        requester.issue(Outstanding {
            intended: NOW,
            sent: NOW,
            is_measured: true,
        });
        let request = requester.take_outbound(Vec::new(), NOW);
        for octet in &request {
            worker.handle_bytes(&[*octet], NOW, &mut tally).unwrap();
        }
        let reply = worker.take_outbound(Vec::new(), NOW);
        requester.handle_bytes(&reply, NOW, &mut tally).unwrap();
    }
    assert!(requester.audit().unwrap().is_clean());
    assert_eq!(
        (
            requester.audit().unwrap().returned_once,
            tally.returned_count
        ),
        (3, 3)
    );
}

#[test]
fn content_out_of_order_is_malformed_and_never_a_panic() {
    let mut assembly = content::Assembly::new();
    assert!(assembly.handle_body(b"x").is_err());
    assert!(assembly.handle_header(b"x").is_err());
    let deliver = Deliver {
        consumer_tag: b"",
        delivery_tag: 1,
        redelivered: false,
        exchange: b"",
        routing_key: b"",
    };
    assembly.handle_deliver(&deliver).unwrap();
    assert!(assembly.handle_deliver(&deliver).is_err());
    let header = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0];
    assert_eq!(assembly.handle_header(&header), Ok(None));
    assert!(assembly.handle_body(b"xyz").is_err());
    assert_eq!(assembly.handle_body(b"x"), Ok(None));
    let Ok(Some(Content::Delivered(delivery))) = assembly.handle_body(b"y") else {
        panic!()
    };
    assert_eq!(delivery.body, b"xy");
}
