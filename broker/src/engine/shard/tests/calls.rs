//! Calls that the broker follows: each ends once, and says how.

use super::super::Settings;
use super::calling::*;
use super::client::*;
use super::world::{Peer, World, everywhere, everywhere_with, settings};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{channel, confirm};
use amq_protocol::types::AMQPValue;

#[test]
fn a_followed_call_is_answered_like_any_other() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        call(world, caller, &with_errors("a"));
        let request = taken(world, worker);
        assert_eq!(request.text(), "2+2");
        assert!(request.reply_to().starts_with("amq.rabbitmq.reply-to."));
        assert_eq!(header(&request, "x-rpc-errors"), Some(yes()));
        answer(world, worker, &request, "4");
        assert_eq!(ends(world, caller), ["a 4"]);
        world.call(worker, 1, ack(request.delivery_tag()));
        assert_all_over(world);
        // A second reply has no call to end.
        answer(world, worker, &request, "5");
        assert_eq!(ends(world, caller), [""; 0]);
        assert_eq!(late_count(world), 1);
    });
}

#[test]
fn a_connection_may_ask_for_all_its_calls() {
    everywhere(|world| {
        let hello = Hello {
            capabilities: &["rpc_errors"],
            ..Hello::default()
        };
        let caller = world.connect_as(0, &hello);
        world.ask(caller, 1, consume_auto("amq.direct.reply-to", "t"));
        let plain = with_reply_to("amq.direct.reply-to").with_correlation_id("a".into());
        call(world, caller, &plain);
        let reply = world.contents(caller).remove(0);
        assert!(format!("{:?}", reply.method).contains("amq.direct.reply-to."));
        assert_eq!(header(&reply, "x-rpc-status"), Some(int(404)));
        let headers = [("x-rpc-errors", AMQPValue::Boolean(false))];
        call(world, caller, &request("b", &headers));
        assert_eq!(ends(world, caller), [""; 0]);
    });
}

#[test]
fn nothing_is_different_for_who_asks_for_nothing() {
    let settings = Settings {
        calls_measured_per_second: 0,
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.publish_with(caller, 1, to("", "nobody"), &with_reply_to(REPLY_TO), "x");
        let headers = [("x-request-id", yes())];
        call(world, caller, &request("a", &headers));
        let request = taken(world, worker);
        assert_eq!(request.reply_to().len(), REPLY_TO.len() + 1 + 32);
        assert_eq!(count(world, |census| census.call_count), 0);
        answer(world, worker, &request, "4");
        answer(world, worker, &request, "5");
        assert_eq!(ends(world, caller), ["a 4", "a 5"]);
    });
}

#[test]
fn without_a_queue_a_call_ends_at_once() {
    everywhere(|world| {
        let caller = caller(world, 0);
        world.publish_with(caller, 1, to("", "nobody"), &with_errors("a"), "x");
        world.publish_with(caller, 1, to("amq.topic", "nobody"), &with_errors("b"), "x");
        world.run();
        assert_eq!(ends(world, caller), ["a 404", "b 404"]);
        assert_all_over(world);
    });
}

#[test]
fn without_a_worker_a_call_ends_at_once() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, cancel("w"));
        call(world, caller, &with_errors("a"));
        assert_eq!(ends(world, caller), ["a 503"]);
        world.lines(worker);
        assert_eq!(
            world.ask(worker, 1, passive("rpc")),
            ["1 declare-ok rpc 0 0"]
        );
        assert_all_over(world);
    });
}

#[test]
fn what_waits_ends_when_the_last_worker_leaves() {
    everywhere(|world| {
        let (caller, a, b) = (caller(world, 0), acking(world, 1), acking(world, 2));
        for peer in [a, b] {
            world.call(peer, 1, cancel("w"));
            world.call(peer, 1, qos(1, false));
            world.call(peer, 1, consume("rpc", "w"));
            world.lines(peer);
        }
        for id in ["a", "b", "c"] {
            call(world, caller, &with_errors(id));
        }
        let (held, other) = (taken(world, a), taken(world, b));
        world.call(a, 1, cancel("w"));
        assert_eq!(ends(world, caller), [""; 0]);
        // What the one that leaves had is back, and nobody is there for it either.
        world.disconnect(b);
        world.run();
        let mut ended = ends(world, caller);
        ended.sort();
        let both = [format!("{} 503", id_of(&other)), "c 503".into()];
        let mut both: Vec<String> = both.into();
        both.sort();
        assert_eq!(ended, both);
        // Who only consumes no more may still answer.
        answer(world, a, &held, "4");
        assert_eq!(ends(world, caller), [format!("{} 4", id_of(&held))]);
        world.call(a, 1, ack(held.delivery_tag()));
        assert_all_over(world);
    });
}

#[test]
fn a_worker_that_dies_ends_what_will_not_be_handed_out_again() {
    everywhere(|world| {
        let caller = caller(world, 0);
        let lost = [
            (careless as fn(&mut World, usize) -> Peer, false),
            (acking, true),
        ];
        for (hire, acknowledges) in lost {
            let worker = hire(world, 1);
            call(world, caller, &with_errors("a"));
            let request = taken(world, worker);
            if acknowledges {
                world.call(worker, 1, ack(request.delivery_tag()));
            }
            assert_eq!(ends(world, caller), [""; 0]);
            world.disconnect(worker);
            world.run();
            assert_eq!(ends(world, caller), ["a 502"]);
            assert_all_over(world);
        }
    });
}

#[test]
fn a_worker_that_dies_behind_its_reply_ends_nothing() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), careless(world, 1));
        call(world, caller, &with_errors("a"));
        let request = taken(world, worker);
        let properties = AMQPProperties::default().with_correlation_id("a".into());
        world.publish_with(worker, 1, to("", &request.reply_to()), &properties, "4");
        world.send(worker, 1, close_channel());
        world.run();
        assert_eq!(ends(world, caller), ["a 4"]);
        assert_all_over(world);
    });
}

#[test]
fn who_answers_its_own_calls_may_leave_at_any_time() {
    everywhere(|world| {
        let leave: [fn(&mut World, Peer); 4] = [
            |world, peer| world.call(peer, 1, close_channel()),
            |world, peer| world.disconnect(peer),
            |world, peer| world.publish_with(peer, 1, to("nowhere", ""), &with_errors("x"), ""),
            |world, peer| world.call(peer, 1, delete("rpc")),
        ];
        for leave in leave {
            for is_auto_delete in [false, true] {
                let (peer, bystander) = (world.connect(0), world.connect(1));
                let declare = amq_protocol::protocol::queue::Declare {
                    auto_delete: is_auto_delete,
                    ..declare("rpc")
                };
                world.call(bystander, 1, declare);
                world.call(peer, 1, consume_auto(REPLY_TO, "t"));
                world.call(peer, 1, qos(1, false));
                world.call(peer, 1, consume("rpc", "w"));
                for id in ["a", "b", "c"] {
                    call(world, peer, &with_errors(id));
                }
                leave(world, peer);
                world.run();
                world.disconnect(peer);
                world.call(bystander, 1, delete("rpc"));
                assert_all_over(world);
            }
        }
    });
}

#[test]
fn nobody_ends_the_calls_of_others_by_a_forged_address() {
    let settings = super::super::Settings {
        body_len_max: 1000,
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (victim, worker) = (caller(world, 0), acking(world, 1));
        call(world, victim, &with_errors("a"));
        let request = taken(world, worker);
        let thief = world.connect(2);
        // An address of its own, with the token of the other's call.
        let own = world.reply_name(thief);
        let stolen = request.reply_to();
        let (_, token) = stolen.rsplit_once('.').expect("an address and a token");
        for body in ["4".to_owned(), "x".repeat(1001)] {
            world.publish(thief, &format!("{own}.{token}"), &body);
            world.run();
            assert_eq!(ends(world, victim), [""; 0]);
            if body.len() > 1000 {
                world.reopen(thief, 1);
            }
        }
        answer(world, worker, &request, "4");
        assert_eq!(ends(world, victim), ["a 4"]);
    });
}

#[test]
fn another_worker_may_take_over() {
    everywhere(|world| {
        let (caller, a) = (caller(world, 0), acking(world, 1));
        call(world, caller, &with_errors("a"));
        taken(world, a);
        let b = acking(world, 2);
        world.disconnect(a);
        world.run();
        assert_eq!(ends(world, caller), [""; 0]);
        let request = taken(world, b);
        answer(world, b, &request, "4");
        assert_eq!(ends(world, caller), ["a 4"]);
        world.call(b, 1, ack(request.delivery_tag()));
        assert_all_over(world);
    });
}

#[test]
fn what_a_worker_gives_back_is_not_its_to_lose() {
    everywhere(|world| {
        let (caller, a) = (caller(world, 0), acking(world, 1));
        call(world, caller, &with_errors("a"));
        let request = taken(world, a);
        let b = acking(world, 2);
        world.call(a, 1, cancel("w"));
        world.call(a, 1, nack(request.delivery_tag(), false, true));
        let request = taken(world, b);
        world.disconnect(a);
        world.run();
        assert_eq!(ends(world, caller), [""; 0]);
        answer(world, b, &request, "4");
        assert_eq!(ends(world, caller), ["a 4"]);
    });
}

#[test]
fn a_request_that_is_answered_is_not_handed_out_again() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        call(world, caller, &with_errors("a"));
        let request = taken(world, worker);
        answer(world, worker, &request, "4");
        world.call(worker, 1, nack(request.delivery_tag(), false, true));
        assert_eq!(world.bodies(worker), [""; 0]);
        world.lines(worker);
        assert_eq!(
            world.ask(worker, 1, passive("rpc")),
            ["1 declare-ok rpc 0 1"]
        );
        assert_eq!(ends(world, caller), ["a 4"]);
        assert_all_over(world);
    });
}

#[test]
fn poison_ends_with_502() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), world.connect(1));
        let limit = [("x-delivery-limit", int(1))];
        world.call(worker, 1, declare_with("rpc", &limit));
        world.call(worker, 1, consume("rpc", "w"));
        for id in ["a", "b"] {
            call(world, caller, &with_errors(id));
        }
        let [a, b] = world.contents(worker).try_into().expect("two requests");
        world.call(worker, 1, nack(a.delivery_tag(), false, false));
        assert_eq!(ends(world, caller), ["a 502"]);
        world.call(worker, 1, nack(b.delivery_tag(), false, true));
        assert_eq!(ends(world, caller), [""; 0]);
        let again = taken(world, worker);
        world.call(worker, 1, nack(again.delivery_tag(), false, true));
        assert_eq!(ends(world, caller), ["b 502"]);
        assert_all_over(world);
    });
}

#[test]
fn a_full_queue_ends_the_call_that_it_refuses_or_drops() {
    everywhere(|world| {
        let caller = caller(world, 0);
        world.call(caller, 1, confirm::Select { nowait: false });
        for (overflow, ended) in [
            ("reject-publish", "b 429"),
            ("reject-publish-dlx", "b 429"),
            ("drop-head", "a 429"),
        ] {
            let worker = world.connect(1);
            let overflow = AMQPValue::LongString(overflow.into());
            let arguments = [("x-max-length", int(1)), ("x-overflow", overflow)];
            world.call(worker, 1, declare_with("rpc", &arguments));
            world.call(worker, 1, qos(1, false));
            world.call(worker, 1, consume("rpc", "w"));
            for id in ["held", "a", "b"] {
                call(world, caller, &with_errors(id));
            }
            assert_eq!(ends(world, caller), [ended]);
            world.call(worker, 1, delete("rpc"));
            world.contents(worker);
            // The one that the worker holds it may still answer; the other has no queue any more.
            let left = if ended == "b 429" { "a 404" } else { "b 404" };
            assert_eq!(ends(world, caller), [left]);
            world.disconnect(worker);
            world.run();
            assert_eq!(ends(world, caller), ["held 502"]);
            assert_all_over(world);
        }
    });
}

#[test]
fn a_request_of_a_deleted_queue_that_is_given_back_has_no_worker() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        call(world, caller, &with_errors("a"));
        let request = taken(world, worker);
        world.call(caller, 1, delete("rpc"));
        assert_eq!(ends(world, caller), [""; 0]);
        world.call(worker, 1, nack(request.delivery_tag(), false, true));
        assert_eq!(ends(world, caller), ["a 404"]);
        assert_all_over(world);
    });
}

#[test]
fn a_purge_ends_what_waits() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, channel::Flow { active: false });
        world.lines(worker);
        for id in ["a", "b"] {
            call(world, caller, &with_errors(id));
        }
        assert_eq!(world.ask(worker, 1, purge("rpc")), ["1 purge-ok 2"]);
        assert_eq!(ends(world, caller), ["a 503", "b 503"]);
        assert_all_over(world);
    });
}

#[test]
fn a_reply_that_is_too_large_ends_its_call() {
    let settings = super::super::Settings {
        body_len_max: 1000,
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        call(world, caller, &with_errors("a"));
        let request = taken(world, worker);
        answer(world, worker, &request, &"x".repeat(1001));
        assert_eq!(ends(world, caller), ["a 413"]);
        world.run();
        assert!(world.lines(worker)[0].contains("channel.close 406"));
    });
}
