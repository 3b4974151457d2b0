//! `x-rpc-slow-ms`: a line in the log for each call that took longer.

use super::calling::*;
use super::client::*;
use super::world::{Peer, World, everywhere};
use std::time::Duration;

fn caller_and_worker(world: &mut World) -> [Peer; 2] {
    let owner = world.connect(2);
    world.ask(owner, 1, declare_with("rpc", &[("x-rpc-slow-ms", int(50))]));
    let worker = world.connect(1);
    world.ask(worker, 1, consume_auto("rpc", "w"));
    [caller(world, 0), worker]
}

fn slow_lines(world: &World) -> Vec<&String> {
    let logs = world.logs.iter();
    logs.filter(|line| line.contains("slow call")).collect()
}

fn answer_after(world: &mut World, [caller, worker]: [Peer; 2], ms: u64, id: &str) {
    let trace = [("traceparent", word("00-4bf92f-00f067-01"))];
    call(world, caller, &request(id, &trace));
    let request = taken(world, worker);
    world.advance(Duration::from_millis(ms));
    answer(world, worker, &request, "4");
}

#[test]
fn a_slow_call_is_logged_with_where_its_time_went() {
    everywhere(|world| {
        let peers = caller_and_worker(world);
        answer_after(world, peers, 49, "quick");
        assert_eq!(slow_lines(world), [""; 0]);
        answer_after(world, peers, 50, "slow");
        let lines = slow_lines(world);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = "slow call queue=\"rpc\" vhost=\"/\" outcome=answered queued_us=0 \
                    worker_us=50000 whole_us=50000 correlation_id=\"slow\" \
                    traceparent=\"00-4bf92f-00f067-01\"";
        assert!(lines[0].contains(line), "{lines:?}");
    });
}

#[test]
fn a_slow_call_that_is_never_answered_is_logged_when_it_ends() {
    everywhere(|world| {
        let [caller, worker] = caller_and_worker(world);
        call(world, caller, &with_deadline("late", 60));
        world.advance(Duration::from_millis(60));
        call(world, caller, &request("abandoned", &[]));
        world.advance(Duration::from_millis(70));
        world.disconnect(caller);
        world.run();
        let lines = slow_lines(world);
        let has = |at: usize, words: &[&str]| words.iter().all(|word| lines[at].contains(word));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(has(
            0,
            &["outcome=504", "whole_us=60000", "correlation_id=\"late\""]
        ));
        assert!(has(1, &["outcome=caller-gone", "whole_us=70000"]));
        assert_eq!(world.contents(worker).len(), 2);
    });
}

#[test]
fn nobody_breaks_a_line_of_the_log() {
    everywhere(|world| {
        let peers = caller_and_worker(world);
        answer_after(world, peers, 50, "a\n\"slow call");
        let lines = slow_lines(world);
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].contains(r#"correlation_id="a\n\"slow call""#),
            "{lines:?}"
        );
    });
}

#[test]
fn a_storm_of_slow_calls_does_not_fill_the_log() {
    everywhere(|world| {
        let [caller, worker] = caller_and_worker(world);
        for _ in 0..120 {
            call(world, caller, &request("a", &[]));
        }
        let requests = world.contents(worker);
        world.advance(Duration::from_millis(50));
        for request in &requests {
            answer(world, worker, request, "4");
        }
        assert_eq!(slow_lines(world).len(), 100);
        world.advance(Duration::from_secs(1));
        answer_after(world, [caller, worker], 50, "later");
        let lines = slow_lines(world);
        assert_eq!(lines.len(), 101);
        assert!(lines[100].ends_with("left_out=20"), "{}", lines[100]);
    });
}
