//! A shell of a few lines around the engine: moves octets and mail, obeys outputs, and holds
//! everything that the engine sends against its own decoders. Peers may stop reading, and mail may
//! lie between the shards, so that what waits piles up.

use amq_protocol::protocol::{AMQPClass, channel, connection, queue};
use amq_protocol::types::{AMQPValue, FieldTable};
use broker::engine::name::Name;
use broker::engine::rules::{ApplyTo, Definition, Policy, PolicyValue};
use broker::engine::shard::{Output, Settings, Shard, Slot, User};
use broker::engine::time::Timestamp;
use broker::engine::wire::basic::{HotMethod, decode_content_header, decode_hot};
use broker::engine::wire::frame::{FrameKind, PROTOCOL_HEADER, RawFrame, split_frame};
use broker::engine::wire::method::{decode_method, encode_method};
use broker::engine::wire::properties::Properties;
use broker::limits::Limits;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub const CONNECTIONS: usize = 3;
const FRAME_MAX: u32 = 4096;
/// Names that the script may use again; older ones are forgotten.
const LEARNED_COUNT_MAX: usize = 8;
/// What one input may make the engine send: far above any honest fan-out of inputs this short.
const SENT_LEN_MAX: usize = 256 << 20;
/// Walking everything takes its time: every so many calls of the engine.
const INVARIANTS_EVERY: u32 = 8;

/// What an input chooses before anything happens.
pub struct Start {
    pub has_two_shards: bool,
    /// Little fits into messages, queues and channel numbers.
    pub is_tight: bool,
    /// One connection is refused.
    pub is_crowded: bool,
    /// The last connection is to a virtual host of its own.
    pub has_two_vhosts: bool,
}

#[derive(Default)]
struct Peer {
    slot: Option<Slot>,
    /// It reads nothing: what it is sent stays in flight.
    is_deaf: bool,
    /// What the engine gave out and has not heard the end of.
    in_flight: Vec<u8>,
    /// There is more to take when nothing is in flight.
    wants_send: bool,
    /// The engine is done with it; its socket is not.
    is_closing: bool,
    /// What came and is not a whole frame yet.
    received: Vec<u8>,
}

pub struct World {
    shards: Vec<Shard>,
    now: Timestamp,
    /// What the peers agree to.
    channel_max: u16,
    has_two_vhosts: bool,
    /// Peer `i` is on shard `i % shards`.
    peers: Vec<Peer>,
    /// Mail stays in the outboxes.
    holds_mail: bool,
    sent_len: usize,
    settled_count: u32,
    /// Server-made names that went by: queues and reply addresses.
    pub learned: Vec<String>,
}

impl World {
    pub fn new(start: &Start) -> World {
        let settings = settings(start);
        let shard_count = if start.has_two_shards { 2 } else { 1 };
        let shards = (0..shard_count).map(|index| Shard::new(index, shard_count, settings.clone()));
        let mut world = World {
            shards: shards.collect(),
            now: Timestamp::default(),
            channel_max: settings.channel_max,
            has_two_vhosts: start.has_two_vhosts,
            peers: (0..CONNECTIONS).map(|_| Peer::default()).collect(),
            holds_mail: false,
            sent_len: 0,
            settled_count: 0,
            learned: Vec::new(),
        };
        (0..CONNECTIONS).for_each(|peer| world.accept(peer));
        world
    }

    fn accept(&mut self, peer: usize) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let shard = peer % self.shards.len();
        self.peers[peer] = Peer {
            slot: self.shards[shard].handle_accepted(address, self.now),
            ..Peer::default()
        };
        self.settle();
    }

    /// Protocol header, start-ok, tune-ok, open and channels 1 and 2, for every peer.
    pub fn shake_hands(&mut self) {
        (0..CONNECTIONS).for_each(|peer| self.shake_hands_of(peer));
    }

    fn shake_hands_of(&mut self, peer: usize) {
        use connection::AMQPMethod::{Open, StartOk, TuneOk};
        self.receive(peer, &PROTOCOL_HEADER);
        let methods = [
            StartOk(connection::StartOk {
                client_properties: client_properties(peer),
                mechanism: "PLAIN".into(),
                response: "\0guest\0guest".into(),
                locale: "en_US".into(),
            }),
            TuneOk(connection::TuneOk {
                channel_max: self.channel_max,
                frame_max: FRAME_MAX,
                heartbeat: 60,
            }),
            Open(connection::Open {
                virtual_host: self.vhost_of(peer).into(),
            }),
        ];
        for method in methods {
            self.receive_method(peer, 0, &AMQPClass::Connection(method));
        }
        let open = AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}));
        self.receive_method(peer, 1, &open);
        self.receive_method(peer, 2, &open);
    }

    fn vhost_of(&self, peer: usize) -> &'static str {
        match self.has_two_vhosts && peer % CONNECTIONS == CONNECTIONS - 1 {
            true => "other",
            false => "/",
        }
    }

    /// For the peer's virtual host, on its shard. What makes no policy is passed over.
    pub fn set_policy(
        &mut self,
        peer: usize,
        name: &str,
        pattern: &str,
        definition: &[(&str, PolicyValue)],
    ) {
        let definition = definition.iter().map(|(key, value)| (*key, value));
        let Ok(definition) = Definition::parse(definition) else {
            return;
        };
        let policy = Policy::new(Name::from(name), pattern, ApplyTo::All, 0, definition);
        let policy = policy.expect("a good pattern");
        let (shard, vhost) = (peer % CONNECTIONS % self.shards.len(), self.vhost_of(peer));
        let set = self.shards[shard].handle_set_policy(vhost, policy, self.now);
        set.expect("the vhost is there");
        self.settle();
    }

    pub fn clear_policy(&mut self, peer: usize, name: &str) {
        let (shard, vhost) = (peer % CONNECTIONS % self.shards.len(), self.vhost_of(peer));
        let cleared = self.shards[shard].handle_clear_policy(vhost, Name::from(name), self.now);
        cleared.expect("the vhost is there");
        self.settle();
    }

    pub fn receive_method(&mut self, peer: usize, channel: u16, method: &AMQPClass) {
        let mut bytes = Vec::new();
        encode_method(&mut bytes, channel, method);
        self.receive(peer, &bytes);
    }

    /// Octets from a peer; ignored when it is gone.
    pub fn receive(&mut self, peer: usize, bytes: &[u8]) {
        let peer = peer % CONNECTIONS;
        let shard = peer % self.shards.len();
        if let Some(slot) = self.peers[peer].slot
            && !self.peers[peer].is_closing
        {
            self.shards[shard].handle_bytes(slot, bytes, self.now);
        }
        self.settle();
    }

    pub fn disconnect(&mut self, peer: usize) {
        let peer = peer % CONNECTIONS;
        let shard = peer % self.shards.len();
        match self.peers[peer].slot {
            Some(slot) if self.peers[peer].is_closing => self.release(shard, slot),
            Some(slot) => self.shards[shard].handle_disconnected(slot, None, self.now),
            None => {}
        }
        self.settle();
    }

    /// The peer reads nothing from now on.
    pub fn deafen(&mut self, peer: usize) {
        self.peers[peer % CONNECTIONS].is_deaf = true;
    }

    /// The peer reads what it has been sent, and goes on reading.
    pub fn hear(&mut self, peer: usize) {
        let peer = peer % CONNECTIONS;
        self.peers[peer].is_deaf = false;
        self.flush(peer);
        if let Some(slot) = self.peers[peer].slot
            && self.peers[peer].is_closing
        {
            self.release(peer % self.shards.len(), slot);
        }
        self.settle();
    }

    /// The peer reads some of what it has been sent.
    pub fn hear_some(&mut self, peer: usize, len: usize) {
        let peer = peer % CONNECTIONS;
        self.arrive(peer, len);
        self.take(peer);
        self.settle();
    }

    /// Mail stays where it is until it is let go.
    pub fn hold_mail(&mut self, holds: bool) {
        self.holds_mail = holds;
        self.settle();
    }

    /// A new connection in place of one that has ended.
    pub fn reconnect(&mut self, peer: usize) {
        let peer = peer % CONNECTIONS;
        if self.peers[peer].slot.is_none() {
            self.accept(peer);
            self.shake_hands_of(peer);
        }
    }

    pub fn pass_time(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
        for shard in 0..self.shards.len() {
            let is_due = self.shards[shard]
                .next_deadline()
                .is_some_and(|due| due <= self.now);
            if is_due {
                self.shards[shard].handle_deadline(self.now);
            }
        }
        self.settle();
    }

    /// Everybody leaves, one by the shutdown's deadline: no connection may keep its slot.
    pub fn end(&mut self) {
        self.hold_mail(false);
        (1..CONNECTIONS).for_each(|peer| self.disconnect(peer));
        self.shards
            .iter_mut()
            .for_each(|shard| shard.handle_shutdown(self.now));
        self.settle();
        self.pass_time(Duration::from_secs(60));
        self.disconnect(0);
        for shard in &self.shards {
            assert_eq!(shard.connection_count(), 0);
            shard.invariants();
        }
    }

    /// Obeys outputs and moves mail until nothing is left to do.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for shard in 0..self.shards.len() {
                while let Some(output) = self.shards[shard].poll_output() {
                    is_quiet = false;
                    self.obey(shard, output);
                }
            }
            for from in 0..self.shards.len() {
                is_quiet &= self.holds_mail || !self.move_mail(from);
                self.shards[from].handle_outbox_room(self.now);
            }
            if is_quiet {
                break;
            }
        }
        self.settled_count += 1;
        if self.settled_count.is_multiple_of(INVARIANTS_EVERY) {
            self.shards.iter().for_each(Shard::invariants);
        }
    }

    fn move_mail(&mut self, from: usize) -> bool {
        let mut has_moved = false;
        for to in (0..self.shards.len()).filter(|to| *to != from) {
            let to_index = u16::try_from(to).expect("two shards at most");
            let from_index = u16::try_from(from).expect("two shards at most");
            loop {
                let outbox = self.shards[from].outbox(to_index).expect("not its own");
                let urgent = outbox.urgent.pop_front();
                let Some(mail) = urgent.or_else(|| outbox.ordinary.pop_front()) else {
                    break;
                };
                self.shards[to].handle_mail(from_index, mail, self.now);
                has_moved = true;
            }
        }
        has_moved
    }

    fn obey(&mut self, shard: usize, output: Output) {
        match output {
            Output::Send(slot) => self.send(shard, slot),
            Output::Close(slot) => {
                self.send(shard, slot);
                self.close(shard, slot);
            }
            Output::Abort(slot) => self.release(shard, slot),
            Output::Log(event) => drop(event.text),
            // A peer of ours sends what it likes: what was received before a pause is handled.
            Output::PauseReading(_) | Output::ResumeReading(_) => {}
        }
    }

    fn send(&mut self, shard: usize, slot: Slot) {
        let Some(peer) = self.peer_of(shard, slot) else {
            return;
        };
        self.peers[peer].wants_send = true;
        match self.peers[peer].is_deaf {
            true => self.take(peer),
            false => self.flush(peer),
        }
    }

    /// Starts to send, if nothing is in flight.
    fn take(&mut self, peer: usize) {
        let shard = peer % self.shards.len();
        let Peer {
            slot: Some(slot),
            wants_send,
            in_flight,
            ..
        } = &mut self.peers[peer]
        else {
            return;
        };
        if !in_flight.is_empty() || !std::mem::take(wants_send) {
            return;
        }
        *in_flight = self.shards[shard]
            .take_outbound(*slot, Vec::new())
            .into_bytes();
        self.sent_len += in_flight.len();
        assert!(
            self.sent_len < SENT_LEN_MAX,
            "an input this short makes that much output"
        );
    }

    /// Sends until there is no more.
    fn flush(&mut self, peer: usize) {
        loop {
            self.take(peer);
            if self.peers[peer].in_flight.is_empty() {
                return;
            }
            self.arrive(peer, usize::MAX);
        }
    }

    /// Some of what is in flight is there.
    fn arrive(&mut self, peer: usize, len: usize) {
        let shard = peer % self.shards.len();
        let len = len.min(self.peers[peer].in_flight.len());
        let Some(slot) = self.peers[peer].slot else {
            return;
        };
        if len == 0 {
            return;
        }
        let came: Vec<u8> = self.peers[peer].in_flight.drain(..len).collect();
        self.peers[peer].received.extend_from_slice(&came);
        let received = std::mem::take(&mut self.peers[peer].received);
        let left = self.read(&received);
        self.peers[peer].received = left.to_vec();
        self.shards[shard].handle_sent(slot, len, self.now);
    }

    /// What was sent last is in flight. A deaf peer's socket stays until it hears or leaves.
    fn close(&mut self, shard: usize, slot: Slot) {
        match self.peer_of(shard, slot) {
            Some(peer) if self.peers[peer].is_deaf => self.peers[peer].is_closing = true,
            _ => self.release(shard, slot),
        }
    }

    fn release(&mut self, shard: usize, slot: Slot) {
        self.shards[shard].handle_released(slot);
        if let Some(peer) = self.peer_of(shard, slot) {
            self.peers[peer] = Peer::default();
        }
    }

    fn peer_of(&self, shard: usize, slot: Slot) -> Option<usize> {
        let shard_count = self.shards.len();
        let mut peers = self.peers.iter().enumerate();
        peers.find_map(|(index, peer)| {
            (index % shard_count == shard && peer.slot == Some(slot)).then_some(index)
        })
    }

    /// Reads whole frames as a client would; returns what is left.
    fn read<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        // The answer to a protocol header that is not ours.
        bytes = bytes.strip_prefix(&PROTOCOL_HEADER).unwrap_or(bytes);
        while let Some(frame) = split_frame(bytes, FRAME_MAX).expect("a legal frame") {
            self.read_frame(&frame);
            bytes = &bytes[frame.frame_len()..];
        }
        bytes
    }

    fn read_frame(&mut self, frame: &RawFrame<'_>) {
        match frame.kind {
            FrameKind::Method => self.read_method(frame.payload),
            FrameKind::Header => {
                let (_, header) = decode_content_header(frame.payload).expect("a header");
                let properties = Properties::walk(header.properties, 16).expect("properties");
                properties
                    .reply_to()
                    .into_iter()
                    .for_each(|name| self.learn(name));
            }
            FrameKind::Body => assert!(!frame.payload.is_empty()),
            FrameKind::Heartbeat => assert_eq!((frame.channel, frame.payload.len()), (0, 0)),
        }
    }

    fn read_method(&mut self, payload: &[u8]) {
        match decode_hot(payload).expect("a legal method") {
            Some(HotMethod::Publish(_)) => panic!("a broker does not publish"),
            Some(_) => return,
            None => {}
        }
        let method = decode_method(payload, 16).expect("a legal method");
        if let AMQPClass::Queue(queue::AMQPMethod::DeclareOk(declare_ok)) = method {
            self.learn(declare_ok.queue.as_str().as_bytes());
        }
    }

    fn learn(&mut self, name: &[u8]) {
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        if name.starts_with("amq.") && !self.learned.iter().any(|known| known == name) {
            if self.learned.len() == LEARNED_COUNT_MAX {
                self.learned.remove(0);
            }
            self.learned.push(name.to_owned());
        }
    }
}

fn settings(start: &Start) -> Settings {
    Settings {
        users: vec![User {
            name: "guest".into(),
            password: "guest".into(),
            loopback_only: true,
        }],
        vhosts: vec!["/".into(), "other".into()],
        policies: Vec::new(),
        heartbeat_s: 60,
        frame_len_max: FRAME_MAX,
        channel_max: if start.is_tight { 2 } else { 16 },
        connection_count_max: if start.is_crowded { 2 } else { 16 },
        body_len_max: if start.is_tight { 1024 } else { 16 * 1024 },
        queued_len_max: if start.is_tight { 2048 } else { 256 * 1024 },
        calls_measured_per_second: if start.is_tight { 1 } else { u32::MAX },
        limits: Limits::SHIPPED,
        started_at_s: 1_800_000_000,
        secret: [7; 16],
    }
}

/// All but the last peer can hear of pressure and of cancelled consumers, and the first asks for
/// answers of the broker.
fn client_properties(peer: usize) -> FieldTable {
    let mut properties = FieldTable::default();
    if peer + 1 < CONNECTIONS {
        let mut capabilities = FieldTable::default();
        for name in ["connection.blocked", "consumer_cancel_notify"] {
            capabilities.insert(name.into(), AMQPValue::Boolean(true));
        }
        capabilities.insert("rpc_errors".into(), AMQPValue::Boolean(peer == 0));
        properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    }
    properties
}
