//! Shards in memory with clients that are only bytes: what stands around the engine in a bench.

use crate::bytes::{
    ACK_FRAME_LEN, ACK_TAG_AT, CHANNEL, Method, delivered_reply_to, encode_ack, frames, publish,
    short_string, start_ok, tune_ok,
};
use amq_protocol::protocol::{AMQPClass, basic, channel, connection, queue};
use amq_protocol::types::{FieldTable, ShortString};
use broker::engine::shard::{Output, Settings, Shard, Slot, User};
use broker::engine::time::Timestamp;
use broker::engine::wire::frame::PROTOCOL_HEADER;
use broker::engine::wire::method::{decode_method, encode_method};
use broker::limits::{FRAME_LEN_MAX, TABLE_DEPTH_MAX};
use std::hint::black_box;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};

const REQUEST_QUEUE: &[u8] = b"bench.requests";
const DIRECT_REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Direct,
    Queue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    Auto,
    Manual,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    SameShard,
    TwoShards,
}

/// One connection, by the shard that has it and its slot there.
#[derive(Clone, Copy)]
pub struct Peer {
    shard: usize,
    slot: Slot,
}

/// One requester, one worker, and the bytes that each repeats.
pub struct Call {
    world: World,
    requester: Peer,
    worker: Peer,
    request: Vec<u8>,
    reply: Vec<u8>,
    acknowledge: Acknowledge,
    acked_tag: u64,
    ack: Vec<u8>,
    /// Octets of one request and one reply as delivered: each run must bring them all.
    request_delivery_len: usize,
    reply_delivery_len: usize,
    batch: Vec<u8>,
}

impl Call {
    pub fn set_up(
        reply: Reply,
        acknowledge: Acknowledge,
        placement: Placement,
        body_len: usize,
    ) -> Call {
        let shard_count = if placement == Placement::TwoShards {
            2
        } else {
            1
        };
        let mut world = World::new(shard_count);
        let requester = world.connect(0);
        let worker = world.connect(usize::from(shard_count) - 1);
        world.declare(worker, REQUEST_QUEUE);
        world.consume(worker, REQUEST_QUEUE, acknowledge == Acknowledge::Auto);
        let reply_to = match reply {
            Reply::Direct => DIRECT_REPLY_TO.to_vec(),
            Reply::Queue => world.declare(requester, b""),
        };
        world.consume(requester, &reply_to, true);

        let body = vec![0x5A; body_len];
        let request = publish(REQUEST_QUEUE, Some(&reply_to), &body);
        let mut call = Call {
            world,
            requester,
            worker,
            request,
            reply: Vec::new(),
            acknowledge,
            acked_tag: 0,
            ack: Vec::with_capacity(ACK_FRAME_LEN),
            request_delivery_len: 0,
            reply_delivery_len: 0,
            batch: Vec::new(),
        };
        call.learn_first_call(&body);
        call
    }

    /// The first call by hand: its deliveries give the reply address and the lengths.
    fn learn_first_call(&mut self, body: &[u8]) {
        let request = mem::take(&mut self.request);
        self.world.feed(self.requester, &request);
        self.request = request;
        let delivery = self.world.take_received(self.worker);
        let reply_to = delivered_reply_to(&delivery);
        self.reply = publish(&reply_to, None, body);
        self.request_delivery_len = delivery.len();
        encode_ack(&mut self.ack);
        self.answer(1);
        self.reply_delivery_len = self.world.take_received(self.requester).len();
        assert!(self.reply_delivery_len > body.len(), "the reply came");
    }

    /// `count` calls at once: one read, one write at each socket would carry them.
    pub fn run(&mut self, count: usize) {
        let mut batch = mem::take(&mut self.batch);
        batch.clear();
        for _ in 0..count {
            batch.extend_from_slice(&self.request);
        }
        self.world.feed(self.requester, &batch);
        self.batch = batch;
        self.world
            .expect_received(self.worker, count * self.request_delivery_len);
        self.answer(count);
        self.world
            .expect_received(self.requester, count * self.reply_delivery_len);
    }

    fn answer(&mut self, count: usize) {
        let mut batch = mem::take(&mut self.batch);
        batch.clear();
        for _ in 0..count {
            batch.extend_from_slice(&self.reply);
            if self.acknowledge == Acknowledge::Manual {
                self.acked_tag += 1;
                self.ack[ACK_TAG_AT..ACK_TAG_AT + 8].copy_from_slice(&self.acked_tag.to_be_bytes());
                batch.extend_from_slice(&self.ack);
            }
        }
        self.world.feed(self.worker, &batch);
        self.batch = batch;
    }
}

pub struct World {
    shards: Vec<Shard>,
    /// What each connection has received, by shard and slot.
    received: Vec<Vec<Vec<u8>>>,
    now: Timestamp,
}

impl World {
    pub fn new(shard_count: u16) -> World {
        let shards = (0..shard_count)
            .map(|index| Shard::new(index, shard_count, settings()))
            .collect();
        World {
            shards,
            received: vec![Vec::new(); usize::from(shard_count)],
            now: Timestamp(1),
        }
    }

    /// A connection with one open channel.
    pub fn connect(&mut self, shard: usize) -> Peer {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let slot = self.shards[shard]
            .handle_accepted(address, self.now)
            .expect("the first few connections are within every limit");
        let known_count = self.received[shard].len().max(slot as usize + 1);
        self.received[shard].resize(known_count, Vec::new());
        let peer = Peer { shard, slot };
        self.feed(peer, &PROTOCOL_HEADER);
        self.call(peer, 0, connection::AMQPMethod::StartOk(start_ok()));
        self.call(peer, 0, connection::AMQPMethod::TuneOk(tune_ok()));
        self.call(
            peer,
            0,
            connection::AMQPMethod::Open(connection::Open {
                virtual_host: ShortString::from("/"),
            }),
        );
        self.call(peer, CHANNEL, channel::AMQPMethod::Open(channel::Open {}));
        self.take_received(peer);
        peer
    }

    /// The name of the queue: the server's, if `name` is empty.
    pub fn declare(&mut self, peer: Peer, name: &[u8]) -> Vec<u8> {
        self.take_received(peer);
        let declare = queue::Declare {
            queue: short_string(name),
            passive: false,
            durable: false,
            exclusive: name.is_empty(),
            auto_delete: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.call(peer, CHANNEL, queue::AMQPMethod::Declare(declare));
        let bytes = self.take_received(peer);
        let frame = frames(&bytes).next().expect("declare-ok came");
        match decode_method(frame.payload, TABLE_DEPTH_MAX) {
            Ok(AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok))) => {
                ok.queue.as_str().as_bytes().to_vec()
            }
            other => panic!("queue.declare was answered by {other:?}"),
        }
    }

    pub fn consume(&mut self, peer: Peer, queue: &[u8], no_ack: bool) {
        let consume = basic::Consume {
            queue: short_string(queue),
            consumer_tag: ShortString::from("c"),
            no_local: false,
            no_ack,
            exclusive: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.call(peer, CHANNEL, basic::AMQPMethod::Consume(consume));
        let bytes = self.take_received(peer);
        let frame = frames(&bytes).next().expect("consume-ok came");
        let answer = decode_method(frame.payload, TABLE_DEPTH_MAX);
        let is_ok = matches!(
            answer,
            Ok(AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(_)))
        );
        assert!(is_ok, "basic.consume was answered by {answer:?}");
    }

    pub fn call(&mut self, peer: Peer, channel: u16, method: impl Into<Method>) {
        let mut bytes = Vec::new();
        encode_method(&mut bytes, channel, &method.into().0);
        self.feed(peer, &bytes);
    }

    pub fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        self.now.0 += 1_000;
        self.shards[peer.shard].handle_bytes(peer.slot, bytes, self.now);
        while self.drain_outputs() | self.move_mail() {}
    }

    fn drain_outputs(&mut self) -> bool {
        let mut moved = false;
        for (shard, received) in self.shards.iter_mut().zip(&mut self.received) {
            while let Some(output) = shard.poll_output() {
                moved = true;
                match output {
                    Output::Send(slot) => {
                        let inbox = &mut received[slot as usize];
                        send(shard, slot, inbox, self.now);
                    }
                    Output::Log(_) => {}
                    other => panic!("a calm bench does not expect {other:?}"),
                }
            }
        }
        moved
    }

    fn move_mail(&mut self) -> bool {
        let mut moved = false;
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                while let Some(mail) = self.shards[from].outbox(index(to)).and_then(|outbox| {
                    let urgent = outbox.urgent.pop_front();
                    urgent.or_else(|| outbox.ordinary.pop_front())
                }) {
                    moved = true;
                    self.shards[to].handle_mail(index(from), mail, self.now);
                }
            }
        }
        moved
    }

    pub fn take_received(&mut self, peer: Peer) -> Vec<u8> {
        mem::take(&mut self.received[peer.shard][peer.slot as usize])
    }

    /// Forgets what was received, and keeps its buffer.
    pub fn expect_received(&mut self, peer: Peer, len: usize) {
        let inbox = &mut self.received[peer.shard][peer.slot as usize];
        assert!(inbox.len() >= len, "{} of {len} octets came", inbox.len());
        black_box(&inbox[..]);
        inbox.clear();
    }
}

/// As the shell does: takes the outbound bytes, and says at once that they were sent.
fn send(shard: &mut Shard, slot: Slot, inbox: &mut Vec<u8>, now: Timestamp) {
    if inbox.is_empty() {
        *inbox = shard.take_outbound(slot, mem::take(inbox));
        shard.handle_sent(slot, inbox.len(), now);
    } else {
        let bytes = shard.take_outbound(slot, Vec::new());
        inbox.extend_from_slice(&bytes);
        shard.handle_sent(slot, bytes.len(), now);
    }
}

fn settings() -> Settings {
    Settings {
        users: vec![User {
            name: "guest".to_owned(),
            password: "guest".to_owned(),
            loopback_only: true,
        }],
        heartbeat_s: 0,
        frame_len_max: FRAME_LEN_MAX,
        channel_max: 2047,
        connection_count_max: 1_000,
        body_len_max: 16 * 1024 * 1024,
        queued_len_max: 256 * 1024 * 1024,
        secret: [7; 16],
    }
}

fn index(shard: usize) -> u16 {
    u16::try_from(shard).expect("a bench has one or two shards")
}
