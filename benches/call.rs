//! What the engine alone adds to one call: publish, deliver, reply, deliver, in memory.
//!
//! The bytes a client would send are built once and fed again and again. Apart from the engine
//! only their copies into one batch and out of the outbound are inside the figures.

use crate::bytes::{ACK_FRAME_LEN, ACK_TAG_AT, delivered_reply_to, encode_ack, publish};
use crate::case::{Case, Step};
use crate::world::{Peer, World};
use broker::engine::shard::Mail;
use std::mem;

const REQUEST_QUEUE: &[u8] = b"bench.requests";
const DIRECT_REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";
const BATCH_LEN: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Direct,
    Queue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    Auto,
    Manual,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    SameShard,
    TwoShards,
}

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) reply: Reply,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) placement: Placement,
    pub(crate) body_len: usize,
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, placement) in [
        ("same shard", Placement::SameShard),
        ("two shards", Placement::TwoShards),
    ] {
        for (how, reply, acknowledge) in [
            ("direct, auto ack", Reply::Direct, Acknowledge::Auto),
            (
                "callback queue, manual ack",
                Reply::Queue,
                Acknowledge::Manual,
            ),
        ] {
            for (body_len, batch_len) in [(64, 1), (64, BATCH_LEN), (4096, 1)] {
                let shape = Shape {
                    reply,
                    acknowledge,
                    placement,
                    body_len,
                };
                let turn = match batch_len {
                    1 => String::new(),
                    _ => format!(", {batch_len} per turn"),
                };
                let name = format!("{how}, {place}, {body_len} B{turn}");
                let case = Case::new("call", name, move || calls(shape, batch_len));
                cases.push(case.of(batch_len as u64));
            }
        }
    }
    cases
}

fn calls(shape: Shape, batch_len: usize) -> Step {
    let mut call = Call::set_up(shape);
    Box::new(move || call.run(batch_len))
}

/// One requester, one worker, and the bytes that each repeats.
pub(crate) struct Call {
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
    pub(crate) fn set_up(shape: Shape) -> Call {
        let Shape {
            reply,
            acknowledge,
            placement,
            body_len,
        } = shape;
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
    pub(crate) fn run(&mut self, count: usize) {
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

    /// What the publisher's shard hands to the queue's when a request is published.
    pub(crate) fn into_request_mail(mut self) -> Mail {
        let to = self.worker.shard;
        self.world.feed_for_mail(self.requester, &self.request, to)
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
