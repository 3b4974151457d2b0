//! Queues and what is asked of them, from their own shard and from another.

use super::client::*;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::queue::{self, Declare};

fn exclusive(name: &str) -> queue::Declare {
    queue::Declare {
        exclusive: true,
        ..declare(name)
    }
}

/// A server-named exclusive queue of `peer`.
fn callback_queue(world: &mut World, peer: Peer) -> String {
    let lines = world.ask(peer, 1, exclusive(""));
    let name = lines[0]
        .split(' ')
        .nth(2)
        .expect("declare-ok NAME")
        .to_string();
    assert!(name.starts_with("amq.gen-"));
    assert_eq!(lines, [format!("1 declare-ok {name} 0 0")]);
    name
}

#[test]
fn a_message_goes_from_any_place_over_any_place_to_any_place() {
    everywhere(|world| {
        let peers = [0, 1, 2, 3].map(|place| world.connect(place));
        for owner in peers {
            world.call(owner, 1, declare("q"));
            for consumer in peers {
                world.call(consumer, 1, consume("q", "t"));
                for publisher in peers {
                    world.publish(publisher, "q", "hello");
                    world.run();
                    let delivery = world.contents(consumer).remove(0);
                    assert_eq!(
                        (delivery.text(), delivery.redelivered()),
                        ("hello".into(), false)
                    );
                    world.call(consumer, 1, ack(delivery.delivery_tag()));
                }
                world.call(consumer, 1, cancel("t"));
            }
            assert_eq!(
                world.ask(owner, 1, delete("q")).pop(),
                Some("1 delete-ok 0".into())
            );
        }
    });
}

#[test]
fn a_callback_queue_takes_replies_from_everywhere_and_dies_with_its_connection() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = callback_queue(world, requester);
        world.ask(requester, 1, consume_auto(&name, "t"));
        let properties = with_reply_to("x").with_correlation_id("c1".into());
        world.publish_with(worker, 1, to("", &name), &properties, "4");
        world.run();
        let reply = world.contents(requester).remove(0);
        assert_eq!((reply.properties, reply.body), (properties, b"4".to_vec()));
        world.disconnect(requester);
        world.publish_with(worker, 1, mandatory("", &name), &Default::default(), "late");
        world.run();
        let returned = format!("1 return 312 NO_ROUTE /{name} late");
        assert_eq!(world.lines(worker), [returned]);
        let lines = world.ask(worker, 1, passive(&name));
        let expected = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
        assert_eq!(lines, [format!("1 channel.close 404 50.10 {expected}")]);
    });
}

#[test]
fn an_exclusive_queue_is_locked_for_all_other_connections() {
    everywhere(|world| {
        let (owner, other) = (world.connect(0), world.connect(1));
        let generated = callback_queue(world, owner);
        world.ask(owner, 1, exclusive("mine"));
        for name in ["mine", &generated] {
            let text = format!(
                "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in \
                 vhost '/'. It could be originally declared on another connection or the \
                 exclusive property value does not match that of the original declaration."
            );
            let mut text = text;
            text.truncate(255);
            let refused = |id: &str| [format!("1 channel.close 405 {id} {text}")];
            assert_eq!(world.ask(other, 1, passive(name)), refused("50.10"));
            world.reopen(other, 1);
            assert_eq!(world.ask(other, 1, declare(name)), refused("50.10"));
            world.reopen(other, 1);
            assert_eq!(world.ask(other, 1, consume(name, "t")), refused("60.20"));
            world.reopen(other, 1);
            assert_eq!(world.ask(other, 1, get(name)), refused("60.70"));
            world.reopen(other, 1);
            assert_eq!(world.ask(other, 1, purge(name)), refused("50.30"));
            world.reopen(other, 1);
            assert_eq!(world.ask(other, 1, delete(name)), refused("50.40"));
            world.reopen(other, 1);
            assert_eq!(
                world.ask(other, 1, bind(name, "amq.fanout", "")),
                refused("50.20")
            );
            world.reopen(other, 1);
            // Publishing to it is how replies come.
            world.publish(other, name, "x");
            world.run();
            assert_eq!(
                world.ask(owner, 1, passive(name)),
                [format!("1 declare-ok {name} 1 0")]
            );
        }
        world.disconnect(owner);
        world.run();
        assert_eq!(
            world.ask(other, 1, declare("mine")),
            ["1 declare-ok mine 0 0"]
        );
    });
}

#[test]
fn its_owner_may_not_declare_an_exclusive_queue_as_another_one() {
    everywhere(|world| {
        let owner = world.connect(0);
        world.ask(owner, 1, exclusive("mine"));
        assert_eq!(
            world.ask(owner, 1, exclusive("mine")),
            ["1 declare-ok mine 0 0"]
        );
        let lines = world.ask(owner, 1, declare("mine"));
        let expected = "1 channel.close 405 50.10 RESOURCE_LOCKED - cannot obtain exclusive access";
        assert!(lines[0].starts_with(expected), "{lines:?}");
    });
}

#[test]
fn declaring_again_counts_and_declaring_otherwise_is_refused() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        assert_eq!(world.ask(a, 1, declare("q")), ["1 declare-ok q 0 0"]);
        world.publish(b, "q", "x");
        world.run();
        world.ask(b, 1, consume("q", "t"));
        world.publish(b, "q", "y");
        world.run();
        // Both are handed out: neither counts as waiting.
        assert_eq!(world.ask(a, 1, declare("q")), ["1 declare-ok q 0 1"]);
        world.ask(b, 1, cancel("t"));
        world.publish(b, "q", "z");
        world.run();
        assert_eq!(world.ask(a, 1, passive("q")), ["1 declare-ok q 1 0"]);
        for (argument, declare) in [
            (
                "durable",
                queue::Declare {
                    durable: true,
                    ..declare("q")
                },
            ),
            (
                "auto_delete",
                queue::Declare {
                    auto_delete: true,
                    ..declare("q")
                },
            ),
        ] {
            let expected = format!(
                "1 channel.close 406 50.10 PRECONDITION_FAILED - inequivalent arg '{argument}' \
                 for queue 'q' in vhost '/': received 'true' but current is 'false'"
            );
            assert_eq!(world.ask(a, 1, declare), [expected]);
            world.reopen(a, 1);
        }
    });
}

#[test]
fn reserved_names_are_refused() {
    everywhere(|world| {
        let peer = world.connect(0);
        assert_eq!(
            world.ask(peer, 1, declare("amq.mine")),
            [
                "1 channel.close 403 50.10 ACCESS_REFUSED - queue name 'amq.mine' contains reserved \
              prefix 'amq.*'"
            ]
        );
    });
}

#[test]
fn what_needs_a_queue_says_when_there_is_none() {
    everywhere(|world| {
        let peer = world.connect(0);
        let refused = |id: &str| {
            [format!(
                "1 channel.close 404 {id} NOT_FOUND - no queue 'q' in vhost '/'"
            )]
        };
        assert_eq!(world.ask(peer, 1, passive("q")), refused("50.10"));
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, consume("q", "t")), refused("60.20"));
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, get("q")), refused("60.70"));
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, purge("q")), refused("50.30"));
        world.reopen(peer, 1);
        assert_eq!(
            world.ask(peer, 1, bind("q", "amq.fanout", "")),
            refused("50.20")
        );
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, delete("q")), ["1 delete-ok 0"]);
        assert_eq!(
            world.ask(peer, 1, delete("")),
            ["1 channel.close 404 50.40 NOT_FOUND - no previously declared queue"]
        );
    });
}

#[test]
fn an_empty_name_is_the_channels_latest_queue() {
    everywhere(|world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        world.ask(other, 1, declare("far"));
        world.ask(peer, 1, declare("near"));
        world.ask(peer, 1, declare("far"));
        world.publish(peer, "far", "x");
        assert_eq!(world.ask(peer, 1, get_auto("")), ["1 get-ok 1 /far x 0"]);
        assert_eq!(
            world.ask(peer, 1, bind("", "amq.direct", "")),
            ["1 bind-ok"]
        );
        world.publish_with(other, 1, to("amq.direct", "far"), &Default::default(), "y");
        world.run();
        assert_eq!(world.ask(peer, 1, purge("")), ["1 purge-ok 1"]);
        assert_eq!(world.ask(peer, 1, delete("")), ["1 delete-ok 0"]);
    });
}

#[test]
fn get_takes_one_message_and_says_how_many_are_left() {
    everywhere(|world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        world.ask(other, 1, declare("q"));
        assert_eq!(world.ask(peer, 1, get("q")), ["1 get-empty"]);
        for body in ["a", "b", "c"] {
            world.publish(other, "q", body);
        }
        world.run();
        assert_eq!(world.ask(peer, 1, get("q")), ["1 get-ok 1 /q a 2"]);
        assert_eq!(world.ask(peer, 1, get_auto("q")), ["1 get-ok 2 /q b 1"]);
        world.ask(peer, 1, nack(1, false, true));
        assert_eq!(world.ask(peer, 1, get("q")), ["1 get-ok 3! /q a 1"]);
        world.call(peer, 1, ack(3));
        assert_eq!(world.ask(peer, 1, purge("q")), ["1 purge-ok 1"]);
        assert_eq!(world.ask(peer, 1, get("q")), ["1 get-empty"]);
    });
}

#[test]
fn a_purge_leaves_what_is_handed_out() {
    everywhere(|world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        world.ask(other, 1, declare("q"));
        for body in ["a", "b", "c"] {
            world.publish(other, "q", body);
        }
        world.run();
        world.ask(peer, 1, get("q"));
        assert_eq!(world.ask(other, 1, purge("q")), ["1 purge-ok 2"]);
        world.disconnect(peer);
        world.run();
        assert_eq!(world.ask(other, 1, get("q")), ["1 get-ok 1! /q a 0"]);
    });
}

#[test]
fn delete_has_its_conditions() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        world.ask(owner, 1, consume("q", "t"));
        let if_unused = queue::Delete {
            if_unused: true,
            ..delete("q")
        };
        assert_eq!(
            world.ask(peer, 1, if_unused.clone()),
            ["1 channel.close 406 50.40 PRECONDITION_FAILED - queue 'q' in vhost '/' in use"]
        );
        world.reopen(peer, 1);
        world.ask(owner, 1, cancel("t"));
        world.publish(peer, "q", "x");
        let if_empty = queue::Delete {
            if_empty: true,
            ..delete("q")
        };
        assert_eq!(
            world.ask(peer, 1, if_empty.clone()),
            ["1 channel.close 406 50.40 PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"]
        );
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, if_unused), ["1 delete-ok 1"]);
        assert_eq!(world.ask(peer, 1, if_empty), ["1 delete-ok 0"]);
        world.publish_with(owner, 1, mandatory("", "q"), &Default::default(), "x");
        world.run();
        assert_eq!(world.lines(owner), ["1 return 312 NO_ROUTE /q x"]);
    });
}

#[test]
fn the_name_of_an_auto_delete_queue_is_free_when_its_last_cancel_is_answered() {
    everywhere(|world| {
        let peer = world.connect(0);
        let fleeting = Declare {
            auto_delete: true,
            ..declare("q")
        };
        world.call(peer, 1, fleeting);
        world.call(peer, 1, consume_auto("q", "t"));
        world.lines(peer);
        world.send(peer, 1, cancel("t"));
        world.send(peer, 1, declare("q"));
        world.run();
        assert_eq!(world.lines(peer), ["1 cancel-ok t", "1 declare-ok q 0 0"]);
    });
}
