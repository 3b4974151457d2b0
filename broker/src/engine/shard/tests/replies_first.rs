//! While memory is short, replies, acknowledgements and cancels go by what has to wait.

use super::super::Settings;
use super::calling::*;
use super::client::*;
use super::heard::Content;
use super::world::{Layout, Peer, World, everywhere_with, settings};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{confirm, connection, tx};
use std::collections::BTreeMap;

/// Few messages of `MIDDLING` octets.
fn little() -> Settings {
    Settings {
        queued_len_max: 9000,
        ..settings()
    }
}

const MIDDLING: usize = 1000;

/// Publishes until it is told to wait. How many messages that took.
fn press(world: &mut World, peer: Peer, queue: &str) -> usize {
    for count in 1..40 {
        world.publish(peer, queue, &"x".repeat(MIDDLING));
        world.run();
        let lines = world.lines(peer);
        if lines.iter().any(|line| line.starts_with("0 blocked")) {
            return count;
        }
    }
    panic!("never blocked")
}

/// A worker of `rpc` that waits for memory, with a call from each of these; its own messages lie in
/// `heap`.
fn pressed_worker(world: &mut World, callers: &[Peer]) -> (Peer, Vec<Content>, usize) {
    let worker = acking(world, 1);
    world.call(worker, 1, declare("heap"));
    for (number, caller) in callers.iter().enumerate() {
        call(world, *caller, &with_errors(&number.to_string()));
    }
    let requests = world.contents(worker);
    let count = press(world, worker, "heap");
    (worker, requests, count)
}

fn waiting(world: &mut World, observer: Peer, queue: &str) -> usize {
    let lines = world.ask(observer, 1, passive(queue));
    let count = lines[lines.len() - 1]
        .split(' ')
        .nth(3)
        .expect("declare-ok has a count");
    count.parse().expect("a number")
}

/// Takes all that waits in a queue.
fn drained(world: &mut World, owner: Peer, queue: &str) -> Vec<String> {
    world.call(owner, 1, consume_auto(queue, "drain"));
    world.run();
    let bodies = world.bodies(owner);
    world.ask(owner, 1, cancel("drain"));
    bodies
}

#[test]
fn replies_and_acknowledgements_go_by_what_waits() {
    everywhere_with(&little(), |world| {
        let owner = world.connect(2);
        let caller = caller(world, 0);
        let (worker, requests, count) = pressed_worker(world, &[caller, caller]);
        world.publish(worker, "heap", "first");
        answer(world, worker, &requests[0], "4");
        world.publish(worker, "heap", "second");
        world.send(worker, 1, ack(requests[0].delivery_tag()));
        world.run();
        assert_eq!(ends(world, caller), ["0 4"]);
        let unacked = |census: &super::super::Census| census.queue_unacked_count;
        assert_eq!(super::calling::count(world, unacked), 1);
        assert_eq!(waiting(world, owner, "heap"), count);
        let bodies = drained(world, owner, "heap");
        assert_eq!(bodies.len(), count + 2);
        assert_eq!(bodies[count..], ["first", "second"]);
        assert_eq!(world.lines(worker), ["0 unblocked"]);
        answer(world, worker, &requests[1], "5");
        assert_eq!(ends(world, caller), ["1 5"]);
    });
}

#[test]
fn confirms_say_which_publish_they_mean() {
    everywhere_with(&little(), |world| {
        let owner = world.connect(2);
        let caller = caller(world, 0);
        let (worker, requests, _) = pressed_worker(world, &[caller]);
        world.ask(worker, 1, confirm::Select { nowait: false });
        world.publish(worker, "heap", "first");
        world.publish(worker, "heap", "second");
        answer(world, worker, &requests[0], "4");
        world.publish(worker, "heap", "third");
        world.run();
        assert_eq!(ends(world, caller), ["0 4"]);
        assert_eq!(world.lines(worker), ["1 ack 3"]);
        drained(world, owner, "heap");
        let lines = world.lines(worker);
        assert!(lines.contains(&"0 unblocked".into()), "{lines:?}");
        let acks: Vec<u64> = acked(&lines, 4).into_iter().collect();
        assert_eq!(acks, [1, 2, 4]);
        world.publish(worker, "heap", "fourth");
        world.run();
        assert_eq!(world.lines(worker), ["1 ack 5"]);
    });
}

/// The numbers up to `last` that these confirms cover, where the third is known already.
fn acked(lines: &[String], last: u64) -> Vec<u64> {
    let mut acked: Vec<u64> = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        if words[1] == "ack" {
            let number: u64 = words[2].parse().expect("a number");
            let from = match words.get(3) {
                Some(_) => 1,
                None => number,
            };
            acked.extend((from..=number).filter(|n| *n != 3));
        }
    }
    acked.sort_unstable();
    acked.dedup();
    assert!(acked.iter().all(|number| *number <= last));
    acked
}

#[test]
fn who_wants_answers_is_told_that_there_is_no_memory() {
    everywhere_with(&little(), |world| {
        let (owner, filler) = (world.connect(2), world.connect(1));
        let worker = acking(world, 1);
        let caller = caller(world, 0);
        world.call(worker, 1, qos(1, false));
        world.call(worker, 1, cancel("w"));
        world.call(worker, 1, consume("rpc", "one"));
        world.call(owner, 1, declare("heap"));
        world.heard(worker);
        press(world, filler, "heap");
        // A free worker gets it all the same.
        call(world, caller, &with_errors("a"));
        let request = taken(world, worker);
        call(world, caller, &with_errors("b"));
        let end = taken(world, caller);
        assert_eq!(header(&end, "x-rpc-status"), Some(int(429)));
        let text = Some(word("queues hold too much memory"));
        assert_eq!(header(&end, "x-rpc-text"), text);
        // Whoever has asked for nothing has to wait after the next one.
        call(world, caller, &request_of("c"));
        call(world, caller, &request_of("d"));
        assert_eq!(waiting(world, owner, "rpc"), 1);
        call(world, caller, &with_errors("e"));
        assert_eq!(ends(world, caller), ["e 429"]);
        answer(world, worker, &request, "4");
        assert_eq!(ends(world, caller), ["a 4"]);
        drained(world, owner, "heap");
        assert_eq!(waiting(world, owner, "rpc"), 2);
    });
}

fn request_of(id: &str) -> AMQPProperties {
    request(id, &[])
}

#[test]
fn a_cancel_goes_by_what_waits() {
    everywhere_with(&little(), |world| {
        let owner = world.connect(2);
        let worker = acking(world, 1);
        let caller = caller(world, 0);
        world.call(owner, 1, declare("heap"));
        call(world, caller, &with_errors("a"));
        taken(world, worker);
        let count = press(world, caller, "heap");
        world.publish(caller, "heap", "waits");
        for id in ["a", "unknown"] {
            let id = AMQPProperties::default().with_correlation_id(id.into());
            world.publish_with(caller, 1, to("", CANCEL), &id, "");
        }
        world.run();
        assert_eq!(ends(world, caller), ["a 499"]);
        assert_eq!(drained(world, owner, "heap").len(), count + 1);
    });
}

#[test]
fn methods_wait_behind_the_publishes_of_their_channel_alone() {
    everywhere_with(&little(), |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.open(publisher, 2);
        world.call(owner, 1, declare("heap"));
        let count = press(world, publisher, "heap");
        // Nothing waits yet.
        let lines = world.ask(publisher, 1, passive("heap"));
        assert_eq!(lines, [format!("1 declare-ok heap {count} 0")]);
        world.publish(publisher, "heap", "waits");
        assert!(world.ask(publisher, 1, passive("heap")).is_empty());
        let lines = world.ask(publisher, 2, passive("heap"));
        assert_eq!(lines, [format!("2 declare-ok heap {count} 0")]);
        assert_eq!(drained(world, owner, "heap").len(), count + 1);
        let lines = world.lines(publisher);
        assert_eq!(lines[0], "0 unblocked");
        assert!(lines[1].starts_with("1 declare-ok heap"), "{lines:?}");
    });
}

#[test]
fn transactions_wait_as_a_whole() {
    everywhere_with(&little(), |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.open(publisher, 2);
        world.ask(publisher, 2, tx::Select {});
        world.call(owner, 1, declare("heap"));
        let count = press(world, publisher, "heap");
        world.publish_with(
            publisher,
            2,
            to("", "heap"),
            &AMQPProperties::default(),
            "t",
        );
        assert!(world.ask(publisher, 2, tx::Commit {}).is_empty());
        assert_eq!(drained(world, owner, "heap").len(), count + 1);
        assert_eq!(world.lines(publisher), ["0 unblocked", "2 commit-ok"]);
    });
}

#[test]
fn what_waits_is_not_lost_with_its_connection() {
    everywhere_with(&little(), |world| {
        let owner = world.connect(2);
        let caller = caller(world, 0);
        let (worker, requests, count) = pressed_worker(world, &[caller]);
        // The reply to a queue, and the acknowledgement that goes by it.
        world.publish(worker, "heap", "the reply");
        world.send(worker, 1, ack(requests[0].delivery_tag()));
        world.run();
        world.disconnect(worker);
        world.run();
        let bodies = drained(world, owner, "heap");
        assert_eq!(bodies[count..], ["the reply"]);
        assert_eq!(waiting(world, owner, "rpc"), 0);
    });
}

#[test]
fn who_says_goodbye_need_not_wait() {
    everywhere_with(&little(), |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("heap"));
        let count = press(world, publisher, "heap");
        for _ in 0..5 {
            world.publish(publisher, "heap", &"x".repeat(MIDDLING));
        }
        world.call(publisher, 1, declare("last wish"));
        let close = connection::Close {
            reply_code: 200,
            reply_text: "done".into(),
            class_id: 0,
            method_id: 0,
        };
        world.call(publisher, 0, close);
        let lines = world.lines(publisher);
        assert_eq!(
            lines,
            ["1 declare-ok last wish 0 0", "0 connection.close-ok"]
        );
        assert_eq!(waiting(world, owner, "heap"), count + 5);
    });
}

#[test]
fn who_goes_on_publishing_is_not_read_any_more() {
    let mut settings = little();
    settings.limits.parked_len_max = 3000;
    everywhere_with(&settings, |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("heap"));
        let count = press(world, publisher, "heap");
        for number in 0..20 {
            world.publish(publisher, "heap", &format!("{number:-<500}"));
            world.run();
        }
        assert!(world.is_paused(publisher));
        world.call(owner, 1, consume_auto("heap", "drain"));
        world.run();
        let contents = world.contents(owner);
        assert_eq!(contents.len(), count + 20);
        for (number, content) in contents[count..].iter().enumerate() {
            assert_eq!(content.body, format!("{number:-<500}").as_bytes());
        }
        assert!(!world.is_paused(publisher));
    });
}

#[test]
fn an_error_is_found_in_its_turn() {
    everywhere_with(&little(), |world| {
        let owner = world.connect(2);
        let caller = caller(world, 0);
        let (worker, _, count) = pressed_worker(world, &[caller]);
        world.publish(worker, "heap", "before it");
        world.send(worker, 1, ack(77));
        world.run();
        assert!(world.lines(worker).is_empty());
        assert_eq!(drained(world, owner, "heap").len(), count + 1);
        let lines = world.lines(worker);
        assert!(lines[1].starts_with("1 channel.close 406"), "{lines:?}");
    });
}

#[test]
fn an_error_of_content_that_had_begun_is_found_at_once() {
    everywhere_with(&little(), |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.call(owner, 1, declare("heap"));
        world.open(publisher, 2);
        world.open(publisher, 3);
        let nowhere = to("nowhere", "");
        let frames = publish_frames(2, nowhere, &AMQPProperties::default(), b"lost", 2);
        world.write(publisher, &frames[0]);
        let count = press(world, publisher, "heap");
        world.publish(publisher, "heap", "waits");
        world.write(publisher, &frames[1..].concat());
        world.send(publisher, 3, declare("other"));
        world.run();
        let lines = world.lines(publisher);
        assert!(lines[0].starts_with("2 channel.close 404"), "{lines:?}");
        assert_eq!(lines[1..], ["3 declare-ok other 0 0"]);
        assert_eq!(drained(world, owner, "heap").len(), count + 1);
        assert_eq!(world.lines(publisher), ["0 unblocked"]);
    });
}

#[test]
fn a_reply_that_goes_to_queues_too_waits() {
    everywhere_with(&little(), |world| {
        let owner = world.connect(2);
        let caller = caller(world, 0);
        let (worker, requests, count) = pressed_worker(world, &[caller]);
        let mut headers = amq_protocol::types::FieldTable::default();
        let keys = amq_protocol::types::FieldArray::from(vec![word("heap")]);
        headers.insert(
            "CC".into(),
            amq_protocol::types::AMQPValue::FieldArray(keys),
        );
        let properties = AMQPProperties::default()
            .with_correlation_id("0".into())
            .with_headers(headers);
        let to = to("", &requests[0].reply_to());
        world.publish_with(worker, 1, to, &properties, "copied");
        world.run();
        assert_eq!(ends(world, caller), [""; 0]);
        assert_eq!(drained(world, owner, "heap").len(), count + 1);
        assert_eq!(ends(world, caller), ["0 copied"]);
    });
}

/// A publisher in confirm mode that works too, a caller, and somebody who empties the queue now and
/// then.
struct Fair {
    worker: Peer,
    publisher: Peer,
    caller: Peer,
    owner: Peer,
    requests: Vec<Content>,
    published: [usize; 2],
    drained: [Vec<usize>; 2],
    ends: BTreeMap<String, usize>,
    acked: BTreeMap<Peer, Vec<u64>>,
    sequence: BTreeMap<Peer, u64>,
}

const QUEUES: [&str; 2] = ["heap 0", "heap 1"];

impl Fair {
    fn open(world: &mut World) -> Fair {
        let owner = world.connect(2);
        for queue in QUEUES {
            world.call(owner, 1, declare(queue));
        }
        let (worker, publisher) = (acking(world, 1), world.connect(0));
        for peer in [worker, publisher] {
            world.ask(peer, 1, confirm::Select { nowait: false });
        }
        world.lines(owner);
        Fair {
            worker,
            publisher,
            caller: caller(world, 3),
            owner,
            requests: Vec::new(),
            published: [0; 2],
            drained: Default::default(),
            ends: BTreeMap::new(),
            acked: BTreeMap::new(),
            sequence: BTreeMap::new(),
        }
    }

    fn publish(&mut self, world: &mut World) {
        let which = world.dice.roll(2);
        let peer = [self.worker, self.publisher][which];
        let body = format!("{:05}{}", self.published[which], "x".repeat(400));
        self.published[which] += 1;
        *self.sequence.entry(peer).or_default() += 1;
        world.publish(peer, QUEUES[which], &body);
    }

    fn answer(&mut self, world: &mut World) {
        if self.requests.is_empty() {
            return;
        }
        let request = self.requests.remove(world.dice.roll(self.requests.len()));
        *self.sequence.entry(self.worker).or_default() += 1;
        let properties = AMQPProperties::default().with_correlation_id(id_of(&request).into());
        let to = to("", &request.reply_to());
        world.publish_with(self.worker, 1, to, &properties, "4");
        world.send(self.worker, 1, ack(request.delivery_tag()));
    }

    fn call(&mut self, world: &mut World) {
        let id = self.ends.len().to_string();
        self.ends.insert(id.clone(), 0);
        world.publish_with(self.caller, 1, to("", "rpc"), &with_errors(&id), "2+2");
    }

    fn drain(&mut self, world: &mut World) {
        for queue in QUEUES {
            for _ in 0..world.dice.roll(6) {
                world.send(self.owner, 1, get_auto(queue));
            }
        }
    }

    fn listen(&mut self, world: &mut World) {
        for end in world.contents(self.caller) {
            *self.ends.get_mut(&id_of(&end)).expect("its own") += 1;
        }
        for content in world.contents(self.owner) {
            let number = String::from_utf8_lossy(&content.body[..5]);
            let number = number.parse().expect("a number");
            let queue = match &content.method {
                amq_protocol::protocol::basic::AMQPMethod::GetOk(ok) => ok.routing_key.to_string(),
                other => panic!("{other:?}"),
            };
            self.drained[usize::from(queue == QUEUES[1])].push(number);
        }
        for peer in [self.worker, self.publisher] {
            for heard in world.heard(peer) {
                self.hear(peer, heard);
            }
        }
    }

    fn hear(&mut self, peer: Peer, heard: super::heard::Heard) {
        use super::heard::Heard;
        use amq_protocol::protocol::AMQPClass;
        use amq_protocol::protocol::basic::AMQPMethod;
        match heard {
            Heard::Content(request) => self.requests.push(*request),
            Heard::Method(1, AMQPClass::Basic(AMQPMethod::Ack(ack))) => {
                let acked = self.acked.entry(peer).or_default();
                let from = match ack.multiple {
                    true => 1,
                    false => ack.delivery_tag,
                };
                let numbers = from..=ack.delivery_tag;
                let news: Vec<u64> = numbers.filter(|number| !acked.contains(number)).collect();
                assert!(!news.is_empty(), "confirmed twice");
                acked.extend(news);
            }
            Heard::Method(0, AMQPClass::Connection(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_call_ends_and_every_message_comes_in_order_while_memory_comes_and_goes() {
    let mut blocked_count = 0;
    for seed in 0..1000 {
        let places = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1]][seed as usize % 3];
        let layout = Layout {
            places,
            seed,
            ..Layout::TWO
        };
        let settings = Settings {
            queued_len_max: 4000,
            ..settings()
        };
        let world = &mut World::with(layout, settings);
        let mut fair = Fair::open(world);
        for _ in 0..80 {
            match world.dice.roll(8) {
                0..=2 => fair.publish(world),
                3 | 4 => fair.call(world),
                5 | 6 => fair.answer(world),
                _ => fair.drain(world),
            }
            let steps = world.dice.roll(6);
            world.run_steps(steps);
            fair.listen(world);
            let waits = |census: &super::super::Census| census.memory_waiting_count;
            blocked_count += usize::from(count(world, waits) > 0);
        }
        // Calls in flight end whatever the memory does.
        world.run();
        fair.listen(world);
        while !fair.requests.is_empty() {
            fair.answer(world);
            world.run();
            fair.listen(world);
        }
        let open: Vec<_> = fair.ends.iter().filter(|(_, count)| **count != 1).collect();
        assert_eq!(open, []);
        for _ in 0..200 {
            fair.drain(world);
            world.run();
            fair.listen(world);
        }
        for (which, drained) in fair.drained.iter().enumerate() {
            assert_eq!(*drained, (0..fair.published[which]).collect::<Vec<_>>());
        }
        for (peer, last) in &fair.sequence {
            let mut acked = fair.acked[peer].clone();
            acked.sort_unstable();
            assert_eq!(acked, (1..=*last).collect::<Vec<_>>());
        }
        world.end();
    }
    assert!(blocked_count > 1000, "{blocked_count}");
}
