//! Callers, workers and time against each other, in thousands of orders: every call has exactly
//! one end, unless its caller has left.

use super::super::{Settings, Shard};
use super::client::*;
use super::heard::Content;
use super::world::{Layout, Peer, World, settings};
use crate::engine::address::VhostIndex;
use amq_protocol::protocol::basic::{self, AMQPProperties};
use amq_protocol::protocol::queue;
use amq_protocol::types::{AMQPValue, FieldTable};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SEEDS: u64 = 3000;
const QUEUE: &str = "rpc";

struct Worker {
    peer: Peer,
    no_ack: bool,
    has: Vec<Content>,
}

struct Caller {
    peer: Peer,
    /// Calls made, with how many ends each has had.
    ends: BTreeMap<String, usize>,
    /// Calls made that ask for nothing, with how many replies each has had.
    plain: BTreeMap<String, usize>,
    /// Of its own, where the replies of some of them come.
    callback: String,
}

/// How often calls ended in which way, over all seeds.
type Tally = BTreeMap<String, usize>;

struct Fair {
    callers: Vec<Caller>,
    workers: Vec<Worker>,
    made_count: usize,
    /// Replies that workers have sent to calls that ask for nothing.
    plain_sent: BTreeMap<String, usize>,
    /// The queue has been deleted, and what was measured with it.
    is_anew: bool,
    tally: Tally,
}

/// Half of the calls ask where their time goes.
fn wants_timing(id: &str) -> bool {
    id.ends_with(['0', '2', '4', '6', '8'])
}

fn request(id: &str, deadline_ms: Option<i64>, purges: bool) -> AMQPProperties {
    let mut headers = FieldTable::default();
    headers.insert("x-rpc-errors".into(), AMQPValue::Boolean(true));
    if wants_timing(id) {
        headers.insert("x-rpc-timing".into(), AMQPValue::Boolean(true));
    }
    if let Some(ms) = deadline_ms {
        headers.insert("x-rpc-deadline-ms".into(), int(ms));
    }
    if purges {
        headers.insert("x-rpc-purge-on-gone".into(), AMQPValue::Boolean(true));
    }
    with_reply_to(REPLY_TO)
        .with_correlation_id(id.into())
        .with_headers(headers)
}

fn with_id(id: String) -> AMQPProperties {
    AMQPProperties::default().with_correlation_id(id.into())
}

fn id_of(content: &Content) -> String {
    let id = content.properties.correlation_id().clone();
    id.expect("all have one").to_string()
}

fn tag_of(content: &Content) -> &str {
    match &content.method {
        basic::AMQPMethod::Deliver(deliver) => deliver.consumer_tag.as_str(),
        other => panic!("{other:?}"),
    }
}

fn way_of(content: &Content) -> String {
    let headers = content.properties.headers().clone().unwrap_or_default();
    match headers.inner().get("x-rpc-status") {
        Some(AMQPValue::LongLongInt(status)) => status.to_string(),
        Some(other) => panic!("{other:?}"),
        None => "answered".into(),
    }
}

/// The queue, whose rules are drawn.
fn queue(world: &mut World) -> queue::Declare {
    let mut arguments = vec![("x-delivery-limit", int(2)), ("x-max-length", int(4))];
    let dispatch = ["round-robin", "least-outstanding", "fastest"][world.dice.roll(3)];
    arguments.push(("x-dispatch", AMQPValue::LongString(dispatch.into())));
    if world.dice.roll(2) == 0 {
        arguments.push(("x-rpc-shed", AMQPValue::Boolean(true)));
        arguments.push(("x-rpc-slow-ms", int(3)));
    }
    declare_with(QUEUE, &arguments)
}

impl Fair {
    fn open(world: &mut World) -> Fair {
        let owner = world.connect(0);
        let queue = queue(world);
        world.call(owner, 1, queue);
        Fair {
            callers: Vec::new(),
            workers: Vec::new(),
            made_count: 0,
            plain_sent: BTreeMap::new(),
            is_anew: false,
            tally: Tally::new(),
        }
    }

    /// Perhaps one that works as well.
    fn caller_comes(&mut self, world: &mut World) {
        let place = world.dice.roll(4);
        let peer = world.connect(place);
        if world.dice.roll(4) == 0 {
            self.worker_is(peer, world);
        }
        world.call(peer, 1, consume_auto(REPLY_TO, "t"));
        let callback = format!("callback {}", self.made_count);
        self.made_count += 1;
        let mut own = declare(&callback);
        own.exclusive = true;
        world.call(peer, 1, own);
        world.call(peer, 1, consume_auto(&callback, "c"));
        self.callers.push(Caller {
            peer,
            ends: BTreeMap::new(),
            plain: BTreeMap::new(),
            callback,
        });
    }

    fn worker_comes(&mut self, world: &mut World) {
        let place = world.dice.roll(4);
        let peer = world.connect(place);
        self.worker_is(peer, world);
    }

    fn worker_is(&mut self, peer: Peer, world: &mut World) {
        let no_ack = world.dice.roll(2) == 0;
        if !no_ack {
            let count = 1 + world.dice.roll(3);
            world.send(peer, 1, qos(count as u16, false));
        }
        let consume = match no_ack {
            true => consume_auto(QUEUE, "w"),
            false => consume(QUEUE, "w"),
        };
        world.send(peer, 1, consume);
        self.workers.push(Worker {
            peer,
            no_ack,
            has: Vec::new(),
        });
    }

    fn listen(&mut self, world: &mut World) {
        let callers = self.callers.iter().map(|caller| caller.peer);
        let workers = self.workers.iter().map(|worker| worker.peer);
        let peers: BTreeSet<Peer> = callers.chain(workers).collect();
        for peer in peers {
            for content in world.contents(peer) {
                match tag_of(&content) {
                    "w" => self.taken(peer, content),
                    "t" | "c" => self.ended(peer, &content),
                    tag => panic!("{tag}"),
                }
            }
        }
    }

    fn taken(&mut self, peer: Peer, request: Content) {
        let mut workers = self.workers.iter_mut();
        let worker = workers.find(|worker| worker.peer == peer);
        worker.expect("it consumes").has.push(request);
    }

    fn ended(&mut self, peer: Peer, end: &Content) {
        let mut callers = self.callers.iter_mut();
        let caller = callers.find(|caller| caller.peer == peer);
        let (caller, id) = (caller.expect("it consumes"), id_of(end));
        if let Some(count) = caller.plain.get_mut(&id) {
            *count += 1;
            assert_eq!(*end.properties.headers(), None);
            *self.tally.entry("plain".into()).or_default() += 1;
            return;
        }
        *caller.ends.get_mut(&id).expect("a call of its own") += 1;
        let way = way_of(end);
        if way == "answered" && wants_timing(&id) {
            let headers = end.properties.headers().clone().unwrap_or_default();
            assert!(headers.inner().contains_key("x-rpc-whole-us"), "{end:?}");
        }
        *self.tally.entry(way).or_default() += 1;
    }

    /// It asks for nothing, and gets all that workers send.
    fn plain_call(&mut self, world: &mut World) {
        if self.callers.is_empty() {
            return;
        }
        let at = world.dice.roll(self.callers.len());
        let id = format!("call {}", self.made_count);
        self.made_count += 1;
        let caller = &mut self.callers[at];
        caller.plain.insert(id.clone(), 0);
        let reply_to = match world.dice.roll(2) {
            0 => REPLY_TO,
            _ => &caller.callback,
        };
        let properties = with_reply_to(reply_to).with_correlation_id(id.into());
        world.publish_with(caller.peer, 1, to("", QUEUE), &properties, "x");
    }

    fn call(&mut self, world: &mut World) {
        if self.callers.is_empty() {
            return self.caller_comes(world);
        }
        let at = world.dice.roll(self.callers.len());
        let id = format!("call {}", self.made_count);
        self.made_count += 1;
        let deadline = [None, Some(1), Some(5), Some(50)][world.dice.roll(4)];
        let purges = world.dice.roll(2) == 0;
        let caller = &mut self.callers[at];
        caller.ends.insert(id.clone(), 0);
        let properties = request(&id, deadline, purges);
        world.publish_with(caller.peer, 1, to("", QUEUE), &properties, "x");
    }

    fn cancel(&mut self, world: &mut World) {
        if self.callers.is_empty() {
            return;
        }
        let caller = &self.callers[world.dice.roll(self.callers.len())];
        let Some(id) = caller.ends.keys().next_back() else {
            return;
        };
        let cancel = to("", "amq.rpc.cancel");
        world.publish_with(caller.peer, 1, cancel, &with_id(id.clone()), "");
    }

    /// A worker does one of the things that workers do.
    fn work(&mut self, world: &mut World) {
        if self.workers.is_empty() {
            return;
        }
        let at = world.dice.roll(self.workers.len());
        let worker = &mut self.workers[at];
        if worker.has.is_empty() {
            return;
        }
        let request = worker.has.remove(world.dice.roll(worker.has.len()));
        let (peer, tag) = (worker.peer, request.delivery_tag());
        let mut reply = |world: &mut World| {
            let properties = with_id(id_of(&request));
            *self.plain_sent.entry(id_of(&request)).or_default() += 1;
            world.publish_with(peer, 1, to("", &request.reply_to()), &properties, "4");
        };
        let settle = |world: &mut World| match (worker.no_ack, world.dice.roll(6)) {
            (true, _) => {}
            (false, 0) => world.send(peer, 1, nack(tag, false, false)),
            (false, 1 | 2) => world.send(peer, 1, nack(tag, false, true)),
            (false, _) => world.send(peer, 1, ack(tag)),
        };
        // One that says nothing of a request must leave some time.
        match world.dice.roll(4) {
            0 => {
                settle(world);
                reply(world);
            }
            1 if !worker.no_ack => worker.has.push(request.clone()),
            _ => {
                reply(world);
                settle(world);
            }
        }
    }

    fn somebody_leaves(&mut self, world: &mut World) {
        let callers = self.callers.iter().map(|caller| caller.peer);
        let workers = self.workers.iter().map(|worker| worker.peer);
        // Workers go more often.
        let peers: Vec<Peer> = match world.dice.roll(3) {
            0 => callers.collect(),
            _ => workers.collect(),
        };
        if peers.is_empty() {
            return;
        }
        let peer = peers[world.dice.roll(peers.len())];
        self.callers.retain(|caller| caller.peer != peer);
        self.workers.retain(|worker| worker.peer != peer);
        match world.dice.roll(3) {
            0 => world.send(peer, 1, close_channel()),
            _ => world.disconnect(peer),
        }
    }

    fn step(&mut self, world: &mut World) {
        match world.dice.roll(20) {
            0 => self.caller_comes(world),
            1 | 2 => self.worker_comes(world),
            3 | 4 => self.somebody_leaves(world),
            5 => self.cancel(world),
            6 => {
                let ms = world.dice.roll(8) as u64;
                world.advance(Duration::from_millis(ms));
            }
            7 if world.dice.roll(8) == 0 => self.queue_goes(world),
            7 => self.plain_call(world),
            8..=12 => self.call(world),
            _ => self.work(world),
        }
        let steps = world.dice.roll(6);
        world.run_steps(steps);
        self.listen(world);
    }

    /// It is deleted, or emptied, and declared anew.
    fn queue_goes(&mut self, world: &mut World) {
        let peer = world.connect(world.layout.seed as usize % 4);
        match world.dice.roll(2) {
            0 => world.send(peer, 1, purge(QUEUE)),
            _ => {
                self.is_anew = true;
                world.send(peer, 1, delete(QUEUE));
            }
        }
        let queue = queue(world);
        world.send(peer, 1, queue);
    }

    /// All workers leave: nothing is left that a call could wait for.
    fn close(mut self, world: &mut World) -> Tally {
        world.run();
        self.listen(world);
        for worker in std::mem::take(&mut self.workers) {
            self.callers.retain(|caller| caller.peer != worker.peer);
            world.disconnect(worker.peer);
        }
        world.run();
        self.listen(world);
        for caller in &self.callers {
            for (id, count) in &caller.ends {
                assert_eq!(*count, 1, "ends of {id}");
            }
        }
        for caller in &self.callers {
            for (id, count) in &caller.plain {
                let sent = self.plain_sent.get(id).copied().unwrap_or(0);
                assert!(*count <= sent, "{count} of {sent} replies of {id}");
            }
        }
        self.measured(world);
        // Nobody will answer what is left, nor did anybody ask to follow it.
        world.advance(Duration::from_secs(3601));
        for shard in &world.shards {
            let census = shard.census();
            assert_eq!((census.call_count, census.served_count), (0, 0));
        }
        self.tally
    }

    /// No call is counted twice.
    fn measured(&self, world: &World) {
        let services = |shard: &Shard| shard.services(VhostIndex(0));
        let services = world.shards.iter().flat_map(services);
        let service = services.filter(|service| service.name == QUEUE);
        let ended: u64 = service.flat_map(|it| it.ended.into_values()).sum();
        assert!(ended <= self.made_count as u64);
    }
}

#[test]
fn every_call_ends_exactly_once() {
    let mut tally = Tally::new();
    let mut late_count = 0;
    for seed in 0..SEEDS {
        let places = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1]][seed as usize % 3];
        let layout = Layout {
            places,
            seed,
            ..Layout::TWO
        };
        let settings = Settings {
            heartbeat_s: 0,
            ..settings()
        };
        let mut world = World::with(layout, settings);
        let mut fair = Fair::open(&mut world);
        for _ in 0..40 {
            fair.step(&mut world);
        }
        for (way, count) in fair.close(&mut world) {
            *tally.entry(way).or_default() += count;
        }
        let late_counts = world.shards.iter().map(|shard| shard.late_reply_count);
        late_count += late_counts.sum::<u64>();
        world.end();
    }
    for way in [
        "404", "429", "499", "502", "503", "504", "answered", "plain",
    ] {
        assert!(tally.get(way).is_some_and(|count| *count > 20), "{tally:?}");
    }
    assert!(late_count > 20, "{late_count} late replies");
}
