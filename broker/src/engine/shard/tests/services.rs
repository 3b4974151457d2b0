//! What the broker measures of calls, and whom it tells.

use super::super::Settings;
use super::calling::*;
use super::client::*;
use super::heard::Content;
use super::world::{Layout, Peer, World, everywhere, everywhere_with, settings};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::confirm;
use serde_json::{Value, json};
use std::time::Duration;

const STATS: &str = "amq.rpc.stats";
const PING: &str = "amq.rpc.ping";
const INFO: &str = "amq.rpc.info";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn from(reply_to: &str, id: &str) -> AMQPProperties {
    with_reply_to(reply_to).with_correlation_id(id.into())
}

/// What a built-in service answers to a peer that consumes its direct replies.
fn told(world: &mut World, peer: Peer, service: &str, body: &str) -> Value {
    let properties = from(REPLY_TO, "question");
    world.publish_with(peer, 1, to("", service), &properties, body);
    world.run();
    json_of(&taken(world, peer))
}

fn json_of(answer: &Content) -> Value {
    assert_eq!(id_of(answer), "question");
    let content_type = answer.properties.content_type().clone();
    assert_eq!(
        content_type.expect("it is said").as_str(),
        "application/json"
    );
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// What is known of the queue `rpc`.
fn stats(world: &mut World, peer: Peer) -> Value {
    told(world, peer, STATS, "rpc")["services"][0].clone()
}

/// A call that waits, is worked on, and is answered.
fn whole_call(world: &mut World, caller: Peer, worker: Peer, properties: &AMQPProperties) {
    world.send(worker, 1, flow(false));
    world.run();
    call(world, caller, properties);
    world.advance(ms(5));
    world.send(worker, 1, flow(true));
    world.run();
    world.advance(ms(20));
    let request = taken(world, worker);
    world.send(worker, 1, ack(request.delivery_tag()));
    answer(world, worker, &request, "4");
}

/// As fine as histograms are.
fn assert_about(percentiles: &Value, us: u64) {
    for of in ["min", "p50", "p999", "max"] {
        let value = percentiles[of].as_u64().expect("a number");
        assert!(value.abs_diff(us) <= us / 100, "{percentiles}");
    }
}

#[test]
fn the_time_of_a_direct_call_is_told_in_parts() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        for _ in 0..3 {
            whole_call(world, caller, worker, &request("a", &[]));
        }
        assert_eq!(ends(world, caller), ["a 4", "a 4", "a 4"]);
        let stats = stats(world, caller);
        assert_eq!(stats["name"], "rpc");
        assert_eq!(stats["workers"], 1);
        assert_eq!(stats["ended"], json!({ "answered": 3 }));
        assert_eq!(stats["whole_us"]["count"], 3);
        assert_about(&stats["queued_us"], 5_000);
        assert_about(&stats["worker_us"], 20_000);
        assert_about(&stats["whole_us"], 25_000);
        assert!(stats["calls_per_second"].as_f64() > Some(0.0));
        let in_flight = json!({ "queued": 0, "worker": 0, "oldest_us": null });
        assert_eq!(stats["in_flight"], in_flight);
    });
}

#[test]
fn the_time_of_a_call_with_a_callback_queue_is_told_too() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(caller, 1, declare("callback"));
        world.call(caller, 1, consume_auto("callback", "c"));
        world.lines(caller);
        for id in ["a", "b"] {
            whole_call(world, caller, worker, &from("callback", id));
        }
        world.publish(worker, "callback", "not a reply");
        world.run();
        assert_eq!(ends(world, caller), ["a 4", "b 4", " not a reply"]);
        let stats = stats(world, caller);
        assert_eq!(stats["ended"], json!({ "answered": 2 }));
        assert_about(&stats["queued_us"], 5_000);
        assert_about(&stats["worker_us"], 20_000);
        assert_all_over(world);
    });
}

#[test]
fn what_has_not_ended_is_told_with_the_age_of_the_oldest() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, qos(1, false));
        world.call(worker, 1, consume("rpc", "one"));
        world.call(worker, 1, cancel("w"));
        world.lines(worker);
        call(world, caller, &request("a", &[]));
        world.advance(ms(7));
        call(world, caller, &request("b", &[]));
        call(world, caller, &request("c", &[]));
        let stats = stats(world, caller);
        let in_flight = json!({ "queued": 2, "worker": 1, "oldest_us": 7_000 });
        assert_eq!(stats["in_flight"], in_flight);
        assert_eq!(stats["ended"], json!({}));
    });
}

#[test]
fn calls_are_counted_by_how_they_end() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), careless(world, 1));
        call(world, caller, &request("answered", &[]));
        let request = taken(world, worker);
        answer(world, worker, &request, "4");
        call(world, caller, &with_deadline("late", 5));
        world.advance(ms(5));
        call(world, caller, &with_errors("cancelled"));
        let id = AMQPProperties::default().with_correlation_id("cancelled".into());
        world.publish_with(caller, 1, to("", CANCEL), &id, "");
        let other = super::calling::caller(world, 0);
        call(world, other, &with_errors("left"));
        world.disconnect(other);
        world.run();
        call(world, caller, &with_errors("given up"));
        world.disconnect(worker);
        world.run();
        call(world, caller, &with_errors("nobody"));
        world.heard(caller);
        let stats = stats(world, caller);
        let ended = json!({
            "answered": 1,
            "504": 1,
            "499": 1,
            "caller-gone": 1,
            "502": 1,
            "503": 1,
        });
        assert_eq!(stats["ended"], ended);
        assert_eq!(stats["workers"], 0);
        assert_eq!(stats["whole_us"]["count"], 1);
    });
}

#[test]
fn services_and_their_workers_are_listed() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), world.connect(1));
        let dispatch = ("x-dispatch", word("least-outstanding"));
        world.call(worker, 1, declare_with("sums", &[dispatch]));
        world.call(worker, 1, qos(7, false));
        world.call(worker, 1, consume("sums", "adder"));
        world.call(worker, 1, declare("unused"));
        world.call(caller, 1, declare("products"));
        world.call(caller, 1, consume("products", "multiplier"));
        world.heard(caller);
        let ping = json!({ "services": [
            { "name": "products", "workers": 1 },
            { "name": "sums", "workers": 1 },
        ]});
        assert_eq!(told(world, caller, PING, ""), ping);
        let unknown = told(world, caller, PING, "unused");
        assert_eq!(unknown, json!({ "services": [] }));
        let info = told(world, caller, INFO, "sums");
        let sums = &info["services"][0];
        assert_eq!(sums["dispatch"], "least-outstanding");
        assert_eq!(sums["messages"], 0);
        let adder = &sums["workers"][0];
        assert_eq!(adder["consumer_tag"], "adder");
        assert_eq!(adder["prefetch"], 7);
        assert_eq!(adder["calls"], 0);
        world.publish_with(caller, 1, to("", "sums"), &from(REPLY_TO, "a"), "2+2");
        world.run();
        let info = told(world, caller, INFO, "sums");
        let adder = &info["services"][0]["workers"][0];
        assert_eq!(
            (&adder["calls"], &adder["unacknowledged"]),
            (&json!(1), &json!(1))
        );
    });
}

#[test]
fn exclusive_queues_are_nobody_elses_business() {
    everywhere(|world| {
        let caller = caller(world, 0);
        let mut mine = declare("mine");
        mine.exclusive = true;
        world.call(caller, 1, mine);
        world.call(caller, 1, consume_auto("mine", "c"));
        world.heard(caller);
        assert_eq!(told(world, caller, PING, ""), json!({ "services": [] }));
    });
}

#[test]
fn an_answer_goes_to_a_queue_if_that_is_asked_for() {
    everywhere(|world| {
        let (owner, asker) = (world.connect(1), world.connect(0));
        world.call(owner, 1, declare("answers"));
        world.call(owner, 1, consume_auto("answers", "c"));
        world.lines(owner);
        let properties = from("answers", "question");
        world.publish_with(asker, 1, to("", PING), &properties, "");
        world.run();
        let answer = taken(world, owner);
        let answers = json!({ "services": [{ "name": "answers", "workers": 1 }] });
        assert_eq!(json_of(&answer), answers);
    });
}

#[test]
fn a_question_that_says_not_whom_to_answer_is_returned() {
    everywhere(|world| {
        let asker = world.connect(0);
        world.publish_with(
            asker,
            1,
            mandatory("", STATS),
            &AMQPProperties::default(),
            "",
        );
        world.run();
        let returned = taken(world, asker);
        assert!(format!("{:?}", returned.method).contains("NO_ROUTE"));
    });
}

#[test]
fn virtual_hosts_know_nothing_of_each_other() {
    let settings = Settings {
        vhosts: vec!["/".into(), "other".into()],
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let worker = acking(world, 1);
        let hello = Hello {
            vhost: "other",
            ..Hello::default()
        };
        let stranger = world.connect_as(0, &hello);
        world.ask(stranger, 1, consume_auto(REPLY_TO, "t"));
        assert_eq!(told(world, stranger, PING, ""), json!({ "services": [] }));
        assert_eq!(world.end_of(worker), None);
    });
}

#[test]
fn who_ask_at_the_same_time_are_told_the_same() {
    everywhere(|world| {
        acking(world, 1);
        let askers = [0, 1, 2, 3].map(|place| caller(world, place));
        for asker in askers.iter().cycle().take(40) {
            let properties = from(REPLY_TO, "question");
            world.publish_with(*asker, 1, to("", PING), &properties, "");
        }
        world.run();
        let answers = json!({ "services": [{ "name": "rpc", "workers": 1 }] });
        for asker in askers {
            let contents = world.contents(asker);
            assert_eq!(contents.len(), 10);
            assert!(contents.iter().all(|content| json_of(content) == answers));
        }
        assert_eq!(count(world, |census| census.inquiry_count), 0);
    });
}

#[test]
fn more_askers_than_can_wait_are_refused() {
    let world = &mut World::new(Layout::TWO);
    let asker = caller(world, 0);
    world.ask(asker, 1, confirm::Select { nowait: false });
    // No shard answers another meanwhile.
    world.set_mailbox_full(0, 1, true);
    for _ in 0..1030 {
        world.publish_with(asker, 1, to("", PING), &from(REPLY_TO, "question"), "");
    }
    world.run();
    let lines = world.lines(asker);
    assert!(lines.iter().any(|line| line.contains("nack")), "{lines:?}");
    world.set_mailbox_full(0, 1, false);
    world.run();
    assert_eq!(world.contents(asker).len(), 1024);
    world.end();
}

#[test]
fn a_caller_may_be_told_where_the_time_of_its_call_went() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        let timing = [("x-rpc-timing", yes())];
        whole_call(world, caller, worker, &request("a", &timing));
        let reply = taken(world, caller);
        assert_eq!((id_of(&reply), reply.text()), ("a".into(), "4".into()));
        let times = ["queued", "worker", "whole"].map(|of| {
            let key = format!("x-rpc-{of}-us");
            header(&reply, &key)
        });
        assert_eq!(times, [5_000, 20_000, 25_000].map(|us| Some(int(us))));
        whole_call(world, caller, worker, &request("b", &[]));
        assert_eq!(header(&taken(world, caller), "x-rpc-whole-us"), None);
    });
}

#[test]
fn what_nobody_answers_is_not_measured_for_ever() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), careless(world, 1));
        call(world, caller, &request("a", &[]));
        let request = taken(world, worker);
        world.advance(Duration::from_secs(60));
        assert_all_over(world);
        answer(world, worker, &request, "4");
        assert_eq!(ends(world, caller), ["a 4"]);
        assert_eq!(late_count(world), 0);
        let stats = stats(world, caller);
        assert_eq!(stats["ended"], json!({ "unanswered": 1 }));
    });
}

#[test]
fn where_none_are_measured_only_followed_calls_are_known() {
    let settings = Settings {
        calls_measured_per_second: 0,
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        whole_call(world, caller, worker, &request("a", &[]));
        assert_eq!(ends(world, caller), ["a 4"]);
        assert_eq!(stats(world, caller)["ended"], json!({}));
        whole_call(world, caller, worker, &with_errors("b"));
        assert_eq!(ends(world, caller), ["b 4"]);
        assert_eq!(stats(world, caller)["ended"], json!({ "answered": 1 }));
    });
}

#[test]
fn exporters_see_the_same_as_those_who_ask() {
    let world = &mut World::new(Layout::TWO);
    let (caller, worker) = (caller(world, 0), acking(world, 1));
    whole_call(world, caller, worker, &request("a", &[]));
    let services = |shard: usize| world.shards[shard].services(Default::default());
    let known: Vec<_> = [0, 1].map(services).into_iter().flatten().collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].name, "rpc");
    assert_eq!(known[0].whole_us.count, 1);
    assert_eq!(known[0].workers[0].calls, 0);
}
