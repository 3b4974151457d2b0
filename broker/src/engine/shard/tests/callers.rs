//! What callers may ask for beyond a reply: deadlines, cancelling, leaving nothing behind.

use super::calling::*;
use super::client::*;
use super::world::{Peer, World, everywhere, everywhere_with, settings};
use crate::engine::rules::{ApplyTo, Definition, Policy, PolicyValue};
use crate::limits::Limits;
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{channel, tx};
use amq_protocol::types::AMQPValue;
use std::time::Duration;

#[test]
fn a_deadline_ends_a_call_that_waits() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, channel::Flow { active: false });
        world.lines(worker);
        call(world, caller, &with_deadline("a", 20));
        world.advance(Duration::from_millis(19));
        assert_eq!(ends(world, caller), [""; 0]);
        world.advance(Duration::from_millis(1));
        assert_eq!(ends(world, caller), ["a 504"]);
        world.call(worker, 1, channel::Flow { active: true });
        assert_eq!(world.bodies(worker), [""; 0]);
        assert_all_over(world);
    });
}

#[test]
fn a_deadline_ends_a_call_that_a_worker_has() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), careless(world, 1));
        call(world, caller, &with_deadline("a", 20));
        let request = taken(world, worker);
        assert_eq!(header(&request, "x-rpc-remaining-ms"), Some(int(20)));
        world.advance(Duration::from_millis(20));
        assert_eq!(ends(world, caller), ["a 504"]);
        answer(world, worker, &request, "4");
        assert_eq!(ends(world, caller), [""; 0]);
        assert_eq!(late_count(world), 1);
        assert_all_over(world);
    });
}

#[test]
fn the_worker_gets_what_is_left_also_the_second_time() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        let properties = with_errors("a").with_expiration("50".into());
        call(world, caller, &properties);
        let first = taken(world, worker);
        assert_eq!(header(&first, "x-rpc-remaining-ms"), Some(int(50)));
        world.advance(Duration::from_millis(30));
        world.call(worker, 1, nack(first.delivery_tag(), false, true));
        let second = taken(world, worker);
        assert!(second.redelivered());
        assert_eq!(header(&second, "x-rpc-remaining-ms"), Some(int(20)));
        answer(world, worker, &second, "4");
        assert_eq!(ends(world, caller), ["a 4"]);
        world.call(worker, 1, ack(second.delivery_tag()));
        assert_all_over(world);
    });
}

#[test]
fn a_deadline_alone_takes_the_request_away_and_says_nothing() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, channel::Flow { active: false });
        call(
            world,
            caller,
            &request("a", &[("x-rpc-deadline-ms", int(20))]),
        );
        world.advance(Duration::from_millis(20));
        world.lines(worker);
        world.call(worker, 1, channel::Flow { active: true });
        assert_eq!(world.bodies(worker), [""; 0]);
        assert_eq!(ends(world, caller), [""; 0]);
        assert_all_over(world);
    });
}

#[test]
fn a_caller_may_cancel_one_call() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, qos(1, false));
        world.call(worker, 1, cancel("w"));
        world.call(worker, 1, consume("rpc", "w"));
        world.lines(worker);
        for id in ["a", "b", "c"] {
            call(world, caller, &with_errors(id));
        }
        let request = taken(world, worker);
        for id in ["b", "a", "a", "nobody"] {
            let properties = AMQPProperties::default().with_correlation_id(id.into());
            world.publish_with(caller, 1, to("", CANCEL), &properties, "");
            world.run();
        }
        assert_eq!(ends(world, caller), ["b 499", "a 499"]);
        answer(world, worker, &request, "4");
        assert_eq!(late_count(world), 1);
        world.call(worker, 1, ack(request.delivery_tag()));
        let request = taken(world, worker);
        assert_eq!(id_of(&request), "c");
        answer(world, worker, &request, "4");
        assert_eq!(ends(world, caller), ["c 4"]);
        world.call(worker, 1, ack(request.delivery_tag()));
        assert_all_over(world);
    });
}

#[test]
fn a_worker_may_hear_that_a_call_that_it_has_is_over() {
    everywhere(|world| {
        let (a, b) = (caller(world, 0), caller(world, 2));
        let worker = acking(world, 1);
        let control = "amq.rpc.control";
        assert_eq!(
            world.ask(worker, 1, consume_auto(control, "c")),
            ["1 consume-ok c"]
        );
        let properties = [with_errors("a"), with_deadline("b", 20), with_errors("c")];
        for properties in &properties {
            call(world, a, properties);
        }
        call(world, b, &with_errors("d"));
        let requests = world.contents(worker);
        assert_eq!(requests.len(), 4);
        answer(world, worker, &requests[2], "4");
        let cancelled = AMQPProperties::default().with_correlation_id("a".into());
        world.publish_with(a, 1, to("", CANCEL), &cancelled, "");
        world.run();
        world.advance(Duration::from_millis(20));
        world.disconnect(b);
        world.run();
        let heard: Vec<String> = world
            .contents(worker)
            .iter()
            .map(|content| {
                let Some(AMQPValue::LongString(event)) = header(content, "x-rpc-event") else {
                    panic!("{content:?}");
                };
                let tag = header(content, "x-rpc-delivery-tag");
                let request = requests.iter().find(|request| {
                    tag == Some(int(
                        i64::try_from(request.delivery_tag()).expect("a small one")
                    ))
                });
                assert_eq!(id_of(request.expect("one of them")), id_of(content));
                format!("{} {event}", id_of(content))
            })
            .collect();
        assert_eq!(heard, ["a cancelled", "b deadline-passed", "d caller-gone"]);
        assert_all_over(world);
        assert_eq!(world.ask(worker, 1, cancel("c")), ["1 cancel-ok c"]);
    });
}

#[test]
fn a_control_consumer_is_like_one_of_direct_replies() {
    everywhere(|world| {
        let peer = world.connect(0);
        let refused = "1 channel.close 406 60.20 PRECONDITION_FAILED - control consumer";
        let control = "amq.rpc.control";
        let lines = world.ask(peer, 1, consume(control, "c"));
        assert_eq!(lines, [format!("{refused} cannot acknowledge")]);
        world.reopen(peer, 1);
        world.ask(peer, 1, consume_auto(control, "c"));
        let lines = world.ask(peer, 1, consume_auto(control, "d"));
        assert_eq!(lines, [format!("{refused} already set")]);
        world.reopen(peer, 1);
        world.ask(peer, 1, consume_auto(control, "c"));
        assert_eq!(
            world.ask(peer, 1, consume_auto(REPLY_TO, "c")),
            ["0 connection.close 530 60.20 NOT_ALLOWED - attempt to reuse consumer tag 'c'"]
        );
    });
}

#[test]
fn a_cancel_without_a_call_is_returned_if_that_is_wanted() {
    everywhere(|world| {
        let caller = caller(world, 0);
        world.publish_with(caller, 1, mandatory("", CANCEL), &with_errors("a"), "");
        world.run();
        let lines = world.lines(caller);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("312"), "{lines:?}");
    });
}

#[test]
fn requests_of_a_caller_that_left_are_removed_if_it_wants_that() {
    everywhere(|world| {
        let (a, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, channel::Flow { active: false });
        let purging = [("x-rpc-purge-on-gone", yes())];
        for (id, headers) in [("a", &purging[..]), ("b", &[("x-rpc-errors", yes())])] {
            call(world, a, &request(id, headers));
        }
        world.disconnect(a);
        world.run();
        world.call(worker, 1, channel::Flow { active: true });
        assert_eq!(id_of(&taken(world, worker)), "b");
        assert_eq!(count(world, |census| census.call_count), 0);
        assert_eq!(count(world, |census| census.message_count), 0);
    });
}

#[test]
fn a_queue_may_want_the_requests_of_those_that_left_removed() {
    let by_policy = |world: &mut World, worker: Peer| {
        let definition = [("rpc-purge-on-gone", PolicyValue::Boolean(true))];
        let definition = Definition::parse(definition.iter().map(|(key, value)| (*key, value)));
        let definition = definition.expect("known keys");
        let policy = Policy::new("purge".into(), "^rpc$", ApplyTo::Queues, 0, definition);
        let now = world.now;
        let set = world.shards[0].handle_set_policy("/", policy.expect("a pattern"), now);
        set.expect("the vhost is there");
        world.run();
        world.call(worker, 1, declare("rpc"));
    };
    let by_argument = |world: &mut World, worker: Peer| {
        let arguments = [("x-rpc-purge-on-gone", yes())];
        world.call(worker, 1, declare_with("rpc", &arguments));
    };
    for declare in [by_policy, by_argument as fn(&mut World, Peer)] {
        everywhere(|world| {
            let (a, b, worker) = (caller(world, 0), caller(world, 2), world.connect(1));
            declare(world, worker);
            for (peer, id) in [(a, "a"), (b, "b")] {
                let stock = with_reply_to(REPLY_TO).with_correlation_id(id.into());
                call(world, peer, &stock);
            }
            world.disconnect(a);
            world.run();
            world.call(worker, 1, consume("rpc", "w"));
            let request = taken(world, worker);
            assert_eq!(id_of(&request), "b");
            answer(world, worker, &request, "4");
            assert_eq!(ends(world, b), ["b 4"]);
            world.call(worker, 1, ack(request.delivery_tag()));
            assert_all_over(world);
        });
    }
}

#[test]
fn who_asks_for_nothing_is_refused_nothing_where_the_queue_follows_calls() {
    let settings = super::super::Settings {
        limits: Limits {
            call_count_max: 1,
            ..Limits::SHIPPED
        },
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (caller, worker) = (caller(world, 0), world.connect(1));
        world.call(
            worker,
            1,
            declare_with("rpc", &[("x-rpc-purge-on-gone", yes())]),
        );
        world.call(worker, 1, consume("rpc", "w"));
        for id in ["a", "b"] {
            let stock = with_reply_to(REPLY_TO).with_correlation_id(id.into());
            call(world, caller, &stock);
        }
        let [a, b] = world.contents(worker).try_into().expect("two requests");
        // Replies in parts, and a request that goes round after its reply, are its own affair.
        for request in [&a, &a, &b] {
            answer(world, worker, request, "4");
        }
        assert_eq!(ends(world, caller), ["a 4", "a 4", "b 4"]);
        world.call(worker, 1, nack(a.delivery_tag(), false, true));
        let again = taken(world, worker);
        assert!(again.redelivered() && id_of(&again) == "a");
        answer(world, worker, &again, "5");
        assert_eq!(ends(world, caller), ["a 5"]);
    });
}

#[test]
fn calls_of_a_connection_are_limited_in_number() {
    let settings = super::super::Settings {
        limits: Limits {
            call_count_max: 2,
            ..Limits::SHIPPED
        },
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        for id in ["a", "b", "c"] {
            call(world, caller, &with_errors(id));
        }
        assert_eq!(ends(world, caller), ["c 429"]);
        let first = world.contents(worker).remove(0);
        answer(world, worker, &first, "4");
        call(world, caller, &with_errors("d"));
        assert_eq!(ends(world, caller), ["a 4"]);
        call(
            world,
            caller,
            &request("e", &[("x-rpc-deadline-ms", int(9))]),
        );
        let refused = "1 channel.close 506 60.40 RESOURCE_ERROR - more than 2 calls in flight on a \
                       connection";
        assert_eq!(world.lines(caller), [refused]);
    });
}

#[test]
fn wishes_that_make_no_sense_are_refused() {
    everywhere(|world| {
        let caller = caller(world, 0);
        call(world, caller, &request("a", &[("x-rpc-errors", int(1))]));
        let refused = "1 channel.close 406 60.40 PRECONDITION_FAILED - invalid value 1 of header \
                       'x-rpc-errors'";
        assert_eq!(world.lines(caller), [refused]);
    });
}

#[test]
fn what_goes_to_several_queues_is_followed_by_nobody() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, declare("other"));
        world.call(worker, 1, consume("other", "o"));
        for queue in ["rpc", "other"] {
            world.call(worker, 1, bind(queue, "amq.fanout", ""));
        }
        world.lines(worker);
        world.publish_with(caller, 1, to("amq.fanout", ""), &with_errors("a"), "x");
        world.run();
        let requests = world.contents(worker);
        assert_eq!(requests.len(), 2);
        for request in &requests {
            answer(world, worker, request, "4");
        }
        assert_eq!(ends(world, caller), ["a 4", "a 4"]);
    });
}

#[test]
fn replies_and_returns_within_transactions_count() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), acking(world, 1));
        world.call(worker, 1, tx::Select {});
        for id in ["a", "b"] {
            call(world, caller, &with_errors(id));
        }
        world.run();
        let [a, b] = world.contents(worker).try_into().expect("two requests");
        answer(world, worker, &a, "4");
        world.call(worker, 1, ack(a.delivery_tag()));
        world.call(worker, 1, nack(b.delivery_tag(), false, false));
        assert_eq!(ends(world, caller), [""; 0]);
        world.call(worker, 1, tx::Commit {});
        let mut ended = ends(world, caller);
        ended.sort();
        assert_eq!(ended, ["a 4", "b 502"]);
        assert_all_over(world);
    });
}

#[test]
fn a_worker_may_fetch_and_ask_whether_its_caller_waits() {
    everywhere(|world| {
        let (caller, worker) = (caller(world, 0), world.connect(1));
        world.call(worker, 1, declare("rpc"));
        let patient = [("x-rpc-deadline-ms", int(20)), ("x-rpc-errors", yes())];
        // Who fetches consumes from nothing: only who asks for no answers may wait for that.
        call(world, caller, &request("a", &patient[..1]));
        world.lines(worker);
        world.call(worker, 1, get("rpc"));
        let fetched = taken(world, worker);
        assert_eq!(header(&fetched, "x-rpc-remaining-ms"), Some(int(20)));
        answer(world, worker, &fetched, "4");
        assert_eq!(ends(world, caller), ["a 4"]);
        world.call(worker, 1, consume("rpc", "w"));
        call(world, caller, &request("b", &patient));
        let request = world.contents(worker).pop().expect("the other request");
        let alive = format!("1 declare-ok {} 0 1", request.reply_to());
        assert_eq!(world.ask(worker, 1, passive(&request.reply_to())), [alive]);
        world.advance(Duration::from_millis(20));
        assert_eq!(ends(world, caller), ["b 504"]);
        let lines = world.ask(worker, 1, passive(&request.reply_to()));
        assert!(lines[0].starts_with("1 channel.close 404"), "{lines:?}");
    });
}
