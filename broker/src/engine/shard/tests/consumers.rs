//! Consumers of a queue: told of its end, alone, its last, or without words.

use super::client::*;
use super::world::everywhere;
use amq_protocol::protocol::basic::Consume;
use amq_protocol::protocol::queue;

#[test]
fn only_who_understands_is_told_that_its_consumer_has_ended() {
    everywhere(|world| {
        let unknowing = Hello {
            capabilities: &[],
            ..Hello::default()
        };
        let (owner, knowing) = (world.connect(0), world.connect(1));
        let unknowing = world.connect_as(1, &unknowing);
        world.ask(owner, 1, declare("q"));
        world.ask(owner, 1, consume("q", "near"));
        world.ask(knowing, 1, consume("q", "far"));
        world.ask(unknowing, 1, consume("q", "deaf"));
        for _ in 0..3 {
            world.publish(owner, "q", "x");
        }
        world.run();
        world.contents(owner);
        let tag = world.contents(knowing).remove(0).delivery_tag();
        // A client that consumes from what it deletes is answered first.
        let lines = world.ask(owner, 1, delete("q"));
        assert_eq!(lines, ["1 delete-ok 0", "1 cancel near"]);
        assert_eq!(world.lines(knowing), ["1 cancel far"]);
        assert_eq!(world.contents(unknowing).len(), 1);
        // What is still unacknowledged may be settled, and the tag is free again.
        world.call(knowing, 1, ack(tag));
        world.ask(knowing, 1, declare("q"));
        assert_eq!(
            world.ask(knowing, 1, consume("q", "far")),
            ["1 consume-ok far"]
        );
    });
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    everywhere(|world| {
        let (a, b) = (world.connect(0), world.connect(1));
        let auto_delete = queue::Declare {
            auto_delete: true,
            ..declare("q")
        };
        world.ask(a, 1, auto_delete);
        world.ask(a, 1, consume("q", "a"));
        world.ask(b, 1, consume("q", "b"));
        world.ask(a, 1, cancel("a"));
        assert_eq!(world.ask(a, 1, passive("q")), ["1 declare-ok q 0 1"]);
        world.disconnect(b);
        world.run();
        assert!(world.ask(a, 1, passive("q"))[0].starts_with("1 channel.close 404"));
    });
}

#[test]
fn an_exclusive_consumer_consumes_alone() {
    everywhere(|world| {
        let (owner, peer) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        let alone = Consume {
            exclusive: true,
            ..consume("q", "t")
        };
        let text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
        let refused = [format!("1 channel.close 403 60.20 {text}")];
        world.ask(owner, 1, consume("q", "t"));
        assert_eq!(world.ask(peer, 1, alone.clone()), refused);
        world.reopen(peer, 1);
        world.ask(owner, 1, cancel("t"));
        assert_eq!(world.ask(peer, 1, alone), ["1 consume-ok t"]);
        assert_eq!(world.ask(owner, 1, consume("q", "t")), refused);
        world.reopen(owner, 1);
        world.disconnect(peer);
        world.run();
        assert_eq!(world.ask(owner, 1, consume("q", "t")), ["1 consume-ok t"]);
    });
}

#[test]
fn no_wait_is_answered_with_silence() {
    everywhere(|world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        world.ask(other, 1, declare("q"));
        let nowait = true;
        world.send(
            peer,
            1,
            queue::Declare {
                nowait,
                ..declare("q")
            },
        );
        world.send(
            peer,
            1,
            queue::Declare {
                nowait,
                ..declare("p")
            },
        );
        world.send(
            peer,
            1,
            queue::Bind {
                nowait,
                ..bind("q", "amq.fanout", "")
            },
        );
        world.send(
            peer,
            1,
            Consume {
                nowait,
                ..consume_auto("q", "t")
            },
        );
        world.publish(peer, "q", "x");
        world.run();
        assert_eq!(world.lines(peer), ["1 deliver t 1 /q x"]);
        world.send(
            peer,
            1,
            amq_protocol::protocol::basic::Cancel {
                nowait,
                ..cancel("t")
            },
        );
        world.send(
            peer,
            1,
            queue::Purge {
                nowait,
                ..purge("q")
            },
        );
        world.send(
            peer,
            1,
            queue::Delete {
                nowait,
                ..delete("q")
            },
        );
        world.run();
        assert!(world.lines(peer).is_empty());
        assert!(world.ask(other, 1, passive("q"))[0].starts_with("1 channel.close 404"));
    });
}
