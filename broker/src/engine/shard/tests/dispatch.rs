//! `x-dispatch`: which worker gets the next call.

use super::calling::*;
use super::client::*;
use super::heard::Content;
use super::world::{Peer, World, everywhere};
use std::time::Duration;

/// Workers of a queue `rpc` with this dispatch, without prefetch.
fn two_workers(world: &mut World, dispatch: &str) -> [Peer; 2] {
    let owner = world.connect(2);
    let declare = declare_with("rpc", &[("x-dispatch", word(dispatch))]);
    assert_eq!(world.ask(owner, 1, declare), ["1 declare-ok rpc 0 0"]);
    [0, 1].map(|place| {
        let peer = world.connect(place);
        world.ask(peer, 1, consume("rpc", "w"));
        peer
    })
}

/// Makes calls; how many each worker gets.
fn counts(world: &mut World, caller: Peer, workers: [Peer; 2], count: usize) -> [usize; 2] {
    for id in 0..count {
        call(world, caller, &request(&id.to_string(), &[]));
    }
    workers.map(|worker| world.contents(worker).len())
}

/// The worker does one call after the other, each so long.
fn work_off(world: &mut World, worker: Peer, requests: &[Content], each: Duration) {
    for request in requests {
        world.advance(each);
        answer(world, worker, request, "4");
        world.send(worker, 1, ack(request.delivery_tag()));
    }
    world.run();
}

#[test]
fn round_robin_gives_everybody_as_much() {
    everywhere(|world| {
        let workers = two_workers(world, "round-robin");
        let caller = caller(world, 3);
        assert_eq!(counts(world, caller, workers, 8), [4, 4]);
    });
}

#[test]
fn who_has_least_to_do_gets_the_next_call() {
    everywhere(|world| {
        let [slow, quick] = two_workers(world, "least-outstanding");
        let caller = caller(world, 3);
        for _ in 0..2 {
            call(world, caller, &request("first", &[]));
        }
        taken(world, slow);
        // That one has a call all the time.
        let first = world.contents(quick);
        work_off(world, quick, &first, Duration::ZERO);
        for id in ["a", "b", "c", "d"] {
            call(world, caller, &request(id, &[]));
            let request = taken(world, quick);
            work_off(world, quick, &[request], Duration::ZERO);
        }
        let [slows, _] = counts(world, caller, [slow, quick], 10);
        assert!((4..=5).contains(&slows), "{slows}");
    });
}

#[test]
fn of_a_crowd_the_slow_worker_gets_what_it_can_do_meanwhile() {
    everywhere(|world| {
        let [slow, quick] = two_workers(world, "fastest");
        let caller = caller(world, 3);
        for _ in 0..2 {
            call(world, caller, &request("warm-up", &[]));
        }
        let requests = [slow, quick].map(|worker| world.contents(worker));
        work_off(world, quick, &requests[1], Duration::from_millis(10));
        work_off(world, slow, &requests[0], Duration::from_millis(80));
        let [slows, quicks] = counts(world, caller, [slow, quick], 20);
        assert_eq!(slows + quicks, 20);
        assert!((1..=3).contains(&slows), "{slows}");
    });
}

#[test]
fn who_is_stuck_gets_no_more_calls() {
    everywhere(|world| {
        let [stuck, quick] = two_workers(world, "fastest");
        let caller = caller(world, 3);
        for _ in 0..2 {
            call(world, caller, &request("warm-up", &[]));
        }
        for worker in [stuck, quick] {
            let requests = world.contents(worker);
            assert_eq!(requests.len(), 1);
            work_off(world, worker, &requests, Duration::from_millis(10));
        }
        let [had, _] = counts(world, caller, [stuck, quick], 2);
        world.advance(Duration::from_secs(20));
        for _ in 0..10 {
            call(world, caller, &request("a", &[]));
            let requests = world.contents(quick);
            work_off(world, quick, &requests, Duration::from_millis(10));
        }
        assert!(had + world.contents(stuck).len() <= 2);
    });
}

#[test]
fn a_call_that_moves_on_burdens_its_new_worker_only() {
    everywhere(|world| {
        let [first, second] = two_workers(world, "least-outstanding");
        let caller = caller(world, 3);
        call(world, caller, &request("a", &[]));
        let request = taken(world, first);
        world.send(first, 1, nack(request.delivery_tag(), false, true));
        world.run();
        taken(world, second);
        for _ in 0..2 {
            call(world, caller, &with_errors("b"));
            let request = taken(world, first);
            world.send(first, 1, ack(request.delivery_tag()));
            answer(world, first, &request, "4");
        }
    });
}

#[test]
fn an_unknown_dispatch_is_refused() {
    everywhere(|world| {
        let peer = world.connect(0);
        let refused = world.ask(
            peer,
            1,
            declare_with("q", &[("x-dispatch", word("random"))]),
        );
        assert!(
            refused[0].contains("406") && refused[0].contains("x-dispatch"),
            "{refused:?}"
        );
    });
}
