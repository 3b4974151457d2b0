//! Class tx: what waits for tx.commit, and that it takes effect as a whole.

use super::client::*;
use super::deliveries::fill;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::basic::{Ack, Recover, Reject};
use amq_protocol::protocol::{confirm, queue, tx};

pub const SELECT: tx::Select = tx::Select {};
pub const COMMIT: tx::Commit = tx::Commit {};
pub const ROLLBACK: tx::Rollback = tx::Rollback {};

/// A connection with a transactional channel 1.
pub fn transactional(world: &mut World, place: usize) -> Peer {
    let peer = world.connect(place);
    assert_eq!(world.ask(peer, 1, SELECT), ["1 tx.select-ok"]);
    peer
}

pub fn publish_mandatory(world: &mut World, peer: Peer, (exchange, key): (&str, &str), body: &str) {
    let publish = mandatory(exchange, key);
    world.publish_with(peer, 1, publish, &Default::default(), body);
}

fn ack_through(delivery_tag: u64) -> Ack {
    Ack {
        multiple: true,
        ..ack(delivery_tag)
    }
}

#[test]
fn publishes_wait_for_commit_and_are_in_their_queues_when_it_is_answered() {
    everywhere(|world| {
        let (near, far) = (world.connect(0), world.connect(1));
        world.ask(near, 1, declare("near"));
        world.ask(far, 1, declare("far"));
        world.ask(far, 1, bind("far", "amq.fanout", ""));
        let peer = transactional(world, 2);
        world.publish(peer, "near", "a");
        world.publish(peer, "far", "b");
        world.publish_with(peer, 1, to("amq.fanout", ""), &Default::default(), "c");
        world.run();
        assert_eq!(
            world.ask(near, 1, passive("near")),
            ["1 declare-ok near 0 0"]
        );
        assert_eq!(world.ask(near, 1, passive("far")), ["1 declare-ok far 0 0"]);
        assert_eq!(world.ask(peer, 1, COMMIT), ["1 commit-ok"]);
        assert_eq!(
            world.ask(far, 1, get_auto("near")),
            ["1 get-ok 1 /near a 0"]
        );
        assert_eq!(world.ask(far, 1, get_auto("far")), ["1 get-ok 2 /far b 1"]);
        assert_eq!(
            world.ask(far, 1, get_auto("far")),
            ["1 get-ok 3 amq.fanout/ c 0"]
        );
        // The next transaction has begun.
        world.publish(peer, "near", "d");
        assert_eq!(world.ask(peer, 1, ROLLBACK), ["1 rollback-ok"]);
        assert_eq!(world.ask(peer, 1, COMMIT), ["1 commit-ok"]);
        assert_eq!(world.ask(near, 1, get_auto("near")), ["1 get-empty"]);
    });
}

#[test]
fn what_is_returned_comes_in_order_before_commit_ok() {
    everywhere(|world| {
        let (near, far) = (world.connect(0), world.connect(1));
        world.ask(near, 1, declare("near"));
        world.ask(far, 1, declare("far"));
        let peer = transactional(world, 2);
        for (key, body) in [("none", "a"), ("near", "b"), ("far", "c"), ("no", "d")] {
            publish_mandatory(world, peer, ("", key), body);
        }
        publish_mandatory(world, peer, ("amq.direct", "k"), "e");
        world.publish(peer, "none", "not mandatory");
        world.run();
        assert!(world.lines(peer).is_empty());
        assert_eq!(
            world.ask(peer, 1, COMMIT),
            [
                "1 return 312 NO_ROUTE /none a",
                "1 return 312 NO_ROUTE /no d",
                "1 return 312 NO_ROUTE amq.direct/k e",
                "1 commit-ok"
            ]
        );
    });
}

#[test]
fn exchanges_route_when_a_message_is_published_and_queues_are_looked_up_at_commit() {
    everywhere(|world| {
        let owner = world.connect(1);
        for name in ["bound", "gone"] {
            world.ask(owner, 1, declare(name));
            world.ask(owner, 1, bind(name, "amq.direct", name));
        }
        let peer = transactional(world, 0);
        publish_mandatory(world, peer, ("amq.direct", "bound"), "a");
        publish_mandatory(world, peer, ("amq.direct", "gone"), "b");
        publish_mandatory(world, peer, ("", "gone"), "c");
        publish_mandatory(world, peer, ("amq.direct", "late"), "d");
        publish_mandatory(world, peer, ("", "late"), "e");
        world.run();
        let unbind = queue::Unbind {
            queue: "bound".into(),
            exchange: "amq.direct".into(),
            routing_key: "bound".into(),
            ..queue::Unbind::default()
        };
        world.ask(owner, 1, unbind);
        world.ask(owner, 1, delete("gone"));
        world.ask(owner, 1, declare("late"));
        world.ask(owner, 1, bind("late", "amq.direct", "late"));
        assert_eq!(
            world.ask(peer, 1, COMMIT),
            [
                "1 return 312 NO_ROUTE amq.direct/gone b",
                "1 return 312 NO_ROUTE /gone c",
                "1 return 312 NO_ROUTE amq.direct/late d",
                "1 commit-ok"
            ]
        );
        let lines = world.ask(owner, 1, get_auto("bound"));
        assert_eq!(lines, ["1 get-ok 1 amq.direct/bound a 0"]);
        assert_eq!(
            world.ask(owner, 1, get_auto("late")),
            ["1 get-ok 2 /late e 0"]
        );
    });
}

#[test]
fn a_publish_in_a_transaction_is_checked_at_once() {
    everywhere(|world| {
        let peer = transactional(world, 0);
        world.ask(peer, 1, declare("q"));
        world.publish(peer, "q", "dropped");
        let publish = to("none", "q");
        world.publish_with(peer, 1, publish, &Default::default(), "x");
        world.run();
        let text = "NOT_FOUND - no exchange 'none' in vhost '/'";
        assert_eq!(
            world.lines(peer),
            [format!("1 channel.close 404 60.40 {text}")]
        );
        world.reopen(peer, 1);
        world.ask(peer, 1, SELECT);
        let wants_reply = with_reply_to(REPLY_TO);
        world.publish_with(peer, 1, to("", "q"), &wants_reply, "x");
        world.run();
        let text = "PRECONDITION_FAILED - fast reply consumer does not exist";
        assert_eq!(
            world.lines(peer),
            [format!("1 channel.close 406 60.40 {text}")]
        );
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, passive("q")), ["1 declare-ok q 0 0"]);
    });
}

#[test]
fn acknowledgements_make_room_when_they_are_committed() {
    everywhere(|world| {
        let owner = world.connect(1);
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 6);
        for global in [false, true] {
            let peer = transactional(world, 0);
            world.ask(peer, 1, qos(2, global));
            world.call(peer, 1, consume("q", "t"));
            assert_eq!(world.contents(peer).len(), 2);
            assert!(world.ask(peer, 1, ack_through(2)).is_empty());
            assert_eq!(world.ask(peer, 1, ROLLBACK), ["1 rollback-ok"]);
            assert!(world.ask(peer, 1, ack(2)).is_empty());
            let mut lines = world.ask(peer, 1, COMMIT);
            lines.sort();
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert_eq!(lines[0], "1 commit-ok");
            assert!(lines[1].starts_with("1 deliver t 3 "), "{lines:?}");
            world.ask(peer, 1, ack_through(0));
            world.call(peer, 1, COMMIT);
            assert_eq!(world.contents(peer).len(), 2);
            world.disconnect(peer);
            world.run();
            assert_eq!(world.ask(owner, 1, purge("q")).len(), 1);
            fill(world, owner, 6);
        }
    });
}

#[test]
fn a_delivery_is_settled_once_and_after_a_rollback_again() {
    everywhere(|world| {
        let owner = world.connect(1);
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 4);
        let peer = transactional(world, 0);
        (0..4).for_each(|_| world.call(peer, 1, get("q")));
        world.heard(peer);
        world.call(peer, 1, ack(2));
        world.call(peer, 1, nack(3, true, false));
        world.call(peer, 1, ROLLBACK);
        world.call(peer, 1, ack_through(3));
        assert_eq!(world.ask(peer, 1, COMMIT), ["1 rollback-ok", "1 commit-ok"]);
        // Nobody redelivers what was rolled back, and what is noted is not outstanding.
        world.call(peer, 1, ack(4));
        let text = "PRECONDITION_FAILED - unknown delivery tag 4";
        let refused = [format!("1 channel.close 406 60.80 {text}")];
        assert_eq!(world.ask(peer, 1, ack(4)), refused);
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, get_auto("q")), ["1 get-ok 1! /q 3 0"]);
    });
}

#[test]
fn rejected_messages_go_back_or_away_at_commit() {
    everywhere(|world| {
        let owner = world.connect(1);
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 4);
        let peer = transactional(world, 0);
        (0..4).for_each(|_| world.call(peer, 1, get("q")));
        world.heard(peer);
        world.call(peer, 1, nack(1, false, true));
        let (delivery_tag, requeue) = (2, true);
        world.call(
            peer,
            1,
            Reject {
                delivery_tag,
                requeue,
            },
        );
        world.call(peer, 1, nack(3, false, false));
        world.call(peer, 1, ack(4));
        assert_eq!(world.ask(owner, 1, passive("q")), ["1 declare-ok q 0 0"]);
        // Publishes come first, but what is requeued goes to its old place.
        world.publish(peer, "q", "new");
        assert_eq!(world.ask(peer, 1, COMMIT), ["1 commit-ok"]);
        for expected in ["1! /q 0 2", "2! /q 1 1", "3 /q new 0"] {
            let lines = world.ask(owner, 1, get_auto("q"));
            assert_eq!(lines, [format!("1 get-ok {expected}")]);
        }
    });
}

#[test]
fn recover_and_get_without_acknowledgement_wait_for_nothing() {
    everywhere(|world| {
        let owner = world.connect(1);
        world.ask(owner, 1, declare("q"));
        fill(world, owner, 4);
        let peer = transactional(world, 0);
        world.call(peer, 1, get_auto("q"));
        (0..3).for_each(|_| world.call(peer, 1, get("q")));
        world.heard(peer);
        world.call(peer, 1, ack(3));
        let recover = Recover { requeue: true };
        assert_eq!(world.ask(peer, 1, recover.clone()), ["1 recover-ok"]);
        assert_eq!(world.ask(owner, 1, passive("q")), ["1 declare-ok q 2 0"]);
        world.call(peer, 1, ROLLBACK);
        let lines = world.ask(peer, 1, recover);
        assert_eq!(lines, ["1 rollback-ok", "1 recover-ok"]);
        for expected in ["1! /q 1 2", "2! /q 2 1", "3! /q 3 0"] {
            let lines = world.ask(owner, 1, get_auto("q"));
            assert_eq!(lines, [format!("1 get-ok {expected}")]);
        }
    });
}

#[test]
fn direct_replies_go_out_at_commit() {
    everywhere(|world| {
        let (requester, gone) = (world.connect(1), world.connect(2));
        let (name, no_name) = (world.reply_name(requester), world.reply_name(gone));
        let worker = transactional(world, 0);
        publish_mandatory(world, worker, ("", &name), "dropped");
        assert_eq!(world.ask(worker, 1, ROLLBACK), ["1 rollback-ok"]);
        publish_mandatory(world, worker, ("", &name), "answer");
        publish_mandatory(world, worker, ("", &no_name), "for nobody");
        world.disconnect(gone);
        world.run();
        assert!(world.contents(requester).is_empty());
        let returned = format!("1 return 312 NO_ROUTE /{no_name} for nobody");
        assert_eq!(
            world.ask(worker, 1, COMMIT),
            [returned, "1 commit-ok".into()]
        );
        assert_eq!(world.bodies(requester), ["answer"]);
    });
}

#[test]
fn a_request_in_a_transaction_carries_its_reply_name() {
    everywhere(|world| {
        let worker = world.connect(1);
        world.ask(worker, 1, declare("rpc"));
        world.ask(worker, 1, consume_auto("rpc", "w"));
        let requester = transactional(world, 0);
        world.ask(requester, 1, consume_auto(REPLY_TO, "r"));
        let wants_reply = with_reply_to(REPLY_TO);
        world.publish_with(requester, 1, to("", "rpc"), &wants_reply, "question");
        assert_eq!(world.ask(requester, 1, COMMIT), ["1 commit-ok"]);
        let name = world.contents(worker).remove(0).reply_to();
        world.publish(worker, &name, "answer");
        world.run();
        assert_eq!(world.bodies(requester), ["answer"]);
    });
}

#[test]
fn confirms_and_transactions_exclude_each_other() {
    everywhere(|world| {
        let peer = world.connect(0);
        let refused = |lines: Vec<String>, id: &str, text: &str| {
            let expected = format!("1 channel.close 406 {id} PRECONDITION_FAILED - {text}");
            assert_eq!(lines, [expected]);
        };
        for nowait in [false, true] {
            for _ in 0..2 {
                assert_eq!(world.ask(peer, 1, SELECT), ["1 tx.select-ok"]);
            }
            let lines = world.ask(peer, 1, confirm::Select { nowait });
            refused(lines, "85.10", "cannot switch from tx to confirm mode");
            world.reopen(peer, 1);
        }
        world.ask(peer, 1, confirm::Select { nowait: false });
        let text = "cannot switch from confirm to tx mode";
        refused(world.ask(peer, 1, SELECT), "90.10", text);
        world.reopen(peer, 1);
        let text = "channel is not transactional";
        refused(world.ask(peer, 1, COMMIT), "90.20", text);
        world.reopen(peer, 1);
        world.ask(peer, 1, confirm::Select { nowait: false });
        refused(world.ask(peer, 1, ROLLBACK), "90.30", text);
    });
}
