//! `x-rpc-shed`: calls that could hardly be answered in time are refused at once.

use super::calling::*;
use super::client::*;
use super::world::{Peer, World, everywhere};
use std::time::Duration;

/// A worker that has taken 100 ms for each of forty calls, and its caller.
fn slow_service(world: &mut World, sheds: bool) -> [Peer; 2] {
    let owner = world.connect(2);
    world.ask(
        owner,
        1,
        declare_with("rpc", &[("x-rpc-shed", flag(sheds))]),
    );
    let worker = world.connect(1);
    world.ask(worker, 1, consume_auto("rpc", "w"));
    let caller = caller(world, 0);
    for _ in 0..40 {
        call(world, caller, &request("warm-up", &[]));
        let request = taken(world, worker);
        world.advance(Duration::from_millis(100));
        answer(world, worker, &request, "4");
    }
    world.heard(caller);
    [caller, worker]
}

fn flag(flag: bool) -> amq_protocol::types::AMQPValue {
    amq_protocol::types::AMQPValue::Boolean(flag)
}

#[test]
fn a_call_with_too_little_time_is_refused_at_once_but_for_one_in_sixteen() {
    everywhere(|world| {
        let [caller, worker] = slow_service(world, true);
        for _ in 0..16 {
            call(world, caller, &with_deadline("a", 50));
        }
        assert_eq!(ends(world, caller), ["a 504"; 15]);
        assert_eq!(world.contents(worker).len(), 1);
        // Those with enough time, or all the time there is, are not.
        call(world, caller, &with_deadline("b", 150));
        call(world, caller, &with_errors("c"));
        assert_eq!(world.contents(worker).len(), 2);
    });
}

#[test]
fn a_refused_call_says_why() {
    everywhere(|world| {
        let [caller, _] = slow_service(world, true);
        call(world, caller, &with_deadline("a", 50));
        let text = header(&taken(world, caller), "x-rpc-text");
        assert_eq!(text, Some(word("too little time is left for a worker")));
    });
}

#[test]
fn without_the_rule_nothing_is_refused() {
    everywhere(|world| {
        let [caller, worker] = slow_service(world, false);
        call(world, caller, &with_deadline("a", 50));
        assert_eq!(world.contents(worker).len(), 1);
        assert_eq!(ends(world, caller), [""; 0]);
    });
}
