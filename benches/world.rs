//! Shards in memory with clients that are only bytes: what stands around the engine in a bench.

use crate::bytes::{CHANNEL, Method, frames, short_string, start_ok, tune_ok};
use amq_protocol::protocol::{AMQPClass, basic, channel, connection, queue};
use amq_protocol::types::{FieldTable, ShortString};
use broker::engine::shard::{Mail, Output, Settings, Shard, Slot, User};
use broker::engine::time::Timestamp;
use broker::engine::wire::frame::PROTOCOL_HEADER;
use broker::engine::wire::method::{decode_method, encode_method};
use broker::limits::{FRAME_LEN_MAX, Limits, TABLE_DEPTH_MAX};
use std::hint::black_box;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};

/// One connection, by the shard that has it and its slot there.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) shard: usize,
    slot: Slot,
}

pub(crate) struct World {
    shards: Vec<Shard>,
    /// What each connection has received, by shard and slot.
    received: Vec<Vec<Vec<u8>>>,
    now: Timestamp,
}

impl World {
    pub(crate) fn new(shard_count: u16) -> World {
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
    pub(crate) fn connect(&mut self, shard: usize) -> Peer {
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
    pub(crate) fn declare(&mut self, peer: Peer, name: &[u8]) -> Vec<u8> {
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

    pub(crate) fn consume(&mut self, peer: Peer, queue: &[u8], no_ack: bool) {
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

    pub(crate) fn call(&mut self, peer: Peer, channel: u16, method: impl Into<Method>) {
        let mut bytes = Vec::new();
        encode_method(&mut bytes, channel, &method.into().0);
        self.feed(peer, &bytes);
    }

    pub(crate) fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        self.now.0 += 1_000;
        self.shards[peer.shard].handle_bytes(peer.slot, bytes, self.now);
        while self.drain_outputs() | self.move_mail() {}
    }

    /// Feeds bytes whose outcome is one ordinary mail to another shard, and keeps the mail.
    pub(crate) fn feed_for_mail(&mut self, peer: Peer, bytes: &[u8], to: usize) -> Mail {
        let shard = &mut self.shards[peer.shard];
        shard.handle_bytes(peer.slot, bytes, self.now);
        let outbox = shard.outbox(index(to)).expect("another shard");
        outbox.ordinary.pop_front().expect("it crosses")
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

    pub(crate) fn take_received(&mut self, peer: Peer) -> Vec<u8> {
        mem::take(&mut self.received[peer.shard][peer.slot as usize])
    }

    /// Forgets what was received, and keeps its buffer.
    pub(crate) fn expect_received(&mut self, peer: Peer, len: usize) {
        let inbox = &mut self.received[peer.shard][peer.slot as usize];
        assert!(inbox.len() >= len, "{} of {len} octets came", inbox.len());
        black_box(&inbox[..]);
        inbox.clear();
    }
}

/// As the shell does: takes the outbound bytes, and says at once that they were sent.
fn send(shard: &mut Shard, slot: Slot, inbox: &mut Vec<u8>, now: Timestamp) {
    if inbox.is_empty() {
        *inbox = shard.take_outbound(slot, mem::take(inbox)).into_bytes();
        shard.handle_sent(slot, inbox.len(), now);
    } else {
        let bytes = shard.take_outbound(slot, Vec::new()).into_bytes();
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
        vhosts: vec!["/".into()],
        policies: Vec::new(),
        heartbeat_s: 0,
        frame_len_max: FRAME_LEN_MAX,
        channel_max: 2047,
        connection_count_max: 1_000,
        body_len_max: 16 * 1024 * 1024,
        queued_len_max: 256 * 1024 * 1024,
        // One that is measured has another reply address; what all others pay is counted.
        calls_measured_per_second: 0,
        limits: Limits::SHIPPED,
        started_at_s: 1_800_000_000,
        secret: [7; 16],
    }
}

fn index(shard: usize) -> u16 {
    u16::try_from(shard).expect("a bench has one or two shards")
}
