//! Direct reply-to, row by row as RPC clients rely on it.

use super::client::*;
use super::world::everywhere;
use amq_protocol::protocol::basic::{AMQPProperties, Consume};
use amq_protocol::protocol::{channel, confirm, queue};
use amq_protocol::types::{AMQPValue, FieldTable};

#[test]
fn a_reply_reaches_the_requester_and_nobody_else() {
    everywhere(|world| {
        let (requester, bystander, worker) = (world.connect(0), world.connect(2), world.connect(1));
        world.call(worker, 1, declare("rpc"));
        world.call(worker, 1, consume_auto("rpc", "w"));
        world.call(requester, 1, consume_auto(REPLY_TO, "t"));
        world.call(bystander, 1, consume_auto(REPLY_TO, "t"));
        for peer in [requester, bystander, worker] {
            world.lines(peer);
        }
        world.publish_with(requester, 1, to("", "rpc"), &with_reply_to(REPLY_TO), "2+2");
        world.run();
        let name = world.contents(worker).remove(0).reply_to();
        assert!(name.starts_with("amq.rabbitmq.reply-to."));
        world.publish(worker, &name, "4");
        world.run();
        assert_eq!(world.lines(requester), [format!("1 deliver t 1 /{name} 4")]);
        assert!(world.lines(bystander).is_empty());
        assert!(world.lines(worker).is_empty());
        // When the other one goes, the first is not unregistered with it.
        world.disconnect(bystander);
        world.publish(worker, &name, "5");
        world.run();
        assert_eq!(world.lines(requester), [format!("1 deliver t 2 /{name} 5")]);
    });
}

#[test]
fn properties_and_body_of_a_reply_are_untouched() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        let mut headers = FieldTable::default();
        headers.insert("k".into(), AMQPValue::LongString("v".into()));
        let properties = AMQPProperties::default()
            .with_headers(headers)
            .with_delivery_mode(2)
            .with_correlation_id("c".into())
            .with_reply_to("elsewhere".into())
            .with_timestamp(7)
            .with_user_id("guest".into());
        let body = vec![0xCE; 150_000];
        world.publish_with(worker, 1, to("", &name), &properties, &body);
        world.run();
        let reply = world.contents(requester).remove(0);
        assert_eq!((reply.properties, reply.body), (properties, body));
    });
}

#[test]
fn either_spelling_may_be_used_and_comes_back() {
    everywhere(|world| {
        for spelling in ["amq.rabbitmq.reply-to", "amq.direct.reply-to"] {
            let (requester, worker) = (world.connect(0), world.connect(1));
            let lines = world.ask(requester, 1, consume_auto(spelling, "t"));
            assert_eq!(lines, ["1 consume-ok t"]);
            for asked in ["amq.rabbitmq.reply-to", "amq.direct.reply-to"] {
                let name = world.full_reply_name(requester, asked);
                assert!(name.starts_with(&format!("{asked}.")));
                world.publish(worker, &name, "x");
                world.run();
                assert_eq!(world.contents(requester).len(), 1);
            }
        }
    });
}

#[test]
fn consuming_replies_is_checked_in_rabbitmqs_order() {
    everywhere(|world| {
        let peer = world.connect(0);
        let refused = "1 channel.close 406 60.20 PRECONDITION_FAILED - reply consumer";
        let lines = world.ask(peer, 1, consume(REPLY_TO, "t"));
        assert_eq!(lines, [format!("{refused} cannot acknowledge")]);
        world.reopen(peer, 1);
        assert_eq!(
            world.ask(peer, 1, consume_auto(REPLY_TO, "t")),
            ["1 consume-ok t"]
        );
        let lines = world.ask(peer, 1, consume(REPLY_TO, "u"));
        assert_eq!(lines, [format!("{refused} cannot acknowledge")]);
        world.reopen(peer, 1);
        world.ask(peer, 1, consume_auto(REPLY_TO, "t"));
        let lines = world.ask(peer, 1, consume_auto(REPLY_TO, "u"));
        assert_eq!(lines, [format!("{refused} already set")]);
        world.reopen(peer, 1);
        world.ask(peer, 1, consume_auto(REPLY_TO, "t"));
        // Acknowledging as well, but the tag comes first.
        assert_eq!(
            world.ask(peer, 1, consume(REPLY_TO, "t")),
            ["0 connection.close 530 60.20 NOT_ALLOWED - attempt to reuse consumer tag 't'"]
        );
    });
}

#[test]
fn a_consumer_may_not_take_the_reply_consumers_tag() {
    everywhere(|world| {
        let peer = world.connect(0);
        world.ask(peer, 1, declare("q"));
        world.ask(peer, 1, consume_auto(REPLY_TO, "t"));
        assert_eq!(
            world.ask(peer, 1, consume("q", "t")),
            ["0 connection.close 530 60.20 NOT_ALLOWED - attempt to reuse consumer tag 't'"]
        );
    });
}

#[test]
fn a_reply_consumer_may_leave_its_tag_and_the_answer_to_us() {
    everywhere(|world| {
        let peer = world.connect(0);
        let lines = world.ask(peer, 1, consume_auto(REPLY_TO, ""));
        assert!(lines[0].starts_with("1 consume-ok amq.ctag-"));
        world.open(peer, 2);
        let quiet = Consume {
            nowait: true,
            ..consume_auto(REPLY_TO, "t")
        };
        assert!(world.ask(peer, 2, quiet).is_empty());
        let lines = world.ask(peer, 2, consume_auto(REPLY_TO, "u"));
        assert!(lines[0].ends_with("reply consumer already set"));
    });
}

#[test]
fn asking_for_a_reply_needs_a_reply_consumer_on_the_same_channel() {
    everywhere(|world| {
        let peer = world.connect(0);
        world.open(peer, 2);
        world.ask(peer, 1, consume_auto(REPLY_TO, "t"));
        for exchange in ["", "amq.fanout", "amq.topic"] {
            world.publish_with(peer, 2, to(exchange, "q"), &with_reply_to(REPLY_TO), "x");
            world.run();
            assert_eq!(
                world.lines(peer),
                [
                    "2 channel.close 406 60.40 PRECONDITION_FAILED - fast reply consumer does not \
                  exist"
                ]
            );
            world.reopen(peer, 2);
        }
    });
}

#[test]
fn the_reply_address_is_spliced_in_on_every_exchange_and_nothing_else_is() {
    everywhere(|world| {
        let (peer, worker) = (world.connect(0), world.connect(1));
        world.ask(worker, 1, declare("q"));
        for exchange in ["amq.direct", "amq.fanout", "amq.topic", "amq.headers"] {
            world.ask(worker, 1, bind("q", exchange, "k"));
        }
        world.ask(worker, 1, consume_auto("q", "w"));
        world.ask(peer, 1, consume_auto(REPLY_TO, "t"));
        for (exchange, key) in [
            ("", "q"),
            ("amq.direct", "k"),
            ("amq.fanout", ""),
            ("amq.topic", "k"),
            ("amq.headers", ""),
        ] {
            let properties = with_reply_to(REPLY_TO).with_correlation_id("c".into());
            world.publish_with(peer, 1, to(exchange, key), &properties, "x");
            world.run();
            let request = world.contents(worker).remove(0);
            assert!(
                request.reply_to().starts_with("amq.rabbitmq.reply-to."),
                "{exchange}"
            );
            let rest = request.properties.with_reply_to(REPLY_TO.into());
            assert_eq!(rest, properties);
        }
        for other in ["q", "amq.rabbitmq.reply-to.x", "amq.rabbitmq.reply-tox", ""] {
            world.publish_with(peer, 1, to("", "q"), &with_reply_to(other), "x");
            world.run();
            assert_eq!(world.contents(worker).remove(0).reply_to(), other);
        }
    });
}

#[test]
fn a_reply_without_its_requester_is_dropped_or_returned() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        let mut forged = name.clone();
        forged.replace_range(30..31, if &name[30..31] == "A" { "B" } else { "A" });
        world.disconnect(requester);
        world.ask(worker, 1, confirm::Select { nowait: false });
        for (tag, key) in [name.as_str(), &forged, REPLY_TO, "amq.rabbitmq.reply-to."]
            .into_iter()
            .enumerate()
        {
            let tag = tag * 2 + 1;
            world.publish(worker, key, "late");
            world.run();
            assert_eq!(world.lines(worker), [format!("1 ack {tag}")], "{key}");
            let properties = AMQPProperties::default();
            world.publish_with(worker, 1, mandatory("", key), &properties, "late");
            world.run();
            let returned = format!("1 return 312 NO_ROUTE /{key} late");
            let ack = format!("1 ack {}", tag + 1);
            assert_eq!(world.lines(worker), [returned, ack], "{key}");
        }
    });
}

#[test]
fn a_delivered_mandatory_reply_is_confirmed_and_not_returned() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        world.ask(worker, 1, confirm::Select { nowait: false });
        let properties = AMQPProperties::default();
        world.publish_with(worker, 1, mandatory("", &name), &properties, "x");
        world.run();
        assert_eq!(world.lines(worker), ["1 ack 1"]);
        assert_eq!(world.contents(requester).len(), 1);
    });
}

#[test]
fn declaring_a_reply_name_asks_whether_the_requester_waits() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        for passive in [false, true] {
            for name in [REPLY_TO, &name] {
                let declare = queue::Declare {
                    passive,
                    durable: true,
                    ..declare(name)
                };
                let expected = [format!("1 declare-ok {name} 0 1")];
                assert_eq!(world.ask(worker, 1, declare), expected);
            }
        }
        let gone = [format!(
            "1 channel.close 404 50.10 NOT_FOUND - no queue '{name}' in vhost '/'"
        )];
        world.ask(requester, 1, cancel("t"));
        assert_eq!(world.ask(worker, 1, declare(&name)), gone);
        world.reopen(worker, 1);
        world.ask(requester, 1, channel::Close::default());
        assert_eq!(world.ask(worker, 1, declare(&name)), gone);
        world.reopen(worker, 1);
        world.open(requester, 1);
        world.call(requester, 1, consume_auto(REPLY_TO, "t"));
        // The same place, but another channel.
        world.publish(worker, &name, "late");
        world.run();
        assert_eq!(world.lines(requester), ["1 consume-ok t"]);
        assert_eq!(world.ask(worker, 1, declare(&name)), gone);
    });
}

#[test]
fn a_reply_name_is_no_queue() {
    everywhere(|world| {
        let peer = world.connect(0);
        let name = world.reply_name(peer);
        world.open(peer, 2);
        for name in [REPLY_TO, &name] {
            let refused = |method: &str| {
                let text = format!("ACCESS_REFUSED - '{name}' is a direct reply-to name");
                [format!("2 channel.close 403 {method} {text}")]
            };
            assert_eq!(
                world.ask(peer, 2, bind(name, "amq.fanout", "")),
                refused("50.20")
            );
            world.reopen(peer, 2);
            let unbind = queue::Unbind {
                queue: name.into(),
                exchange: "amq.fanout".into(),
                ..queue::Unbind::default()
            };
            assert_eq!(world.ask(peer, 2, unbind), refused("50.50"));
            world.reopen(peer, 2);
            assert_eq!(world.ask(peer, 2, delete(name)), refused("50.40"));
            world.reopen(peer, 2);
            let purge = queue::Purge {
                queue: name.into(),
                nowait: false,
            };
            assert_eq!(world.ask(peer, 2, purge), refused("50.30"));
            world.reopen(peer, 2);
        }
        assert_eq!(
            world.ask(peer, 2, get(&name)),
            [
                "0 connection.close 540 60.70 NOT_IMPLEMENTED - basic.get on a direct reply-to name \
              is not supported"
            ]
        );
    });
}

#[test]
fn after_a_cancel_a_new_reply_consumer_may_be_set() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        assert_eq!(world.ask(requester, 1, cancel("t")), ["1 cancel-ok t"]);
        world.publish(worker, &name, "x");
        world.run();
        assert!(world.lines(requester).is_empty());
        let lines = world.ask(requester, 1, consume_auto(REPLY_TO, "u"));
        assert_eq!(lines, ["1 consume-ok u"]);
        let name = world.full_reply_name(requester, REPLY_TO);
        world.publish(worker, &name, "y");
        world.run();
        assert_eq!(world.bodies(requester), ["y"]);
    });
}

#[test]
fn delivery_tags_count_up_over_replies_and_deliveries() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        world.ask(worker, 1, declare("q"));
        let name = world.reply_name(requester);
        world.ask(requester, 1, consume("q", "c"));
        for key in [name.as_str(), "q", &name, "q"] {
            world.publish(worker, key, "x");
            world.run();
        }
        let tags: Vec<u64> = world
            .contents(requester)
            .iter()
            .map(|c| c.delivery_tag())
            .collect();
        // The first went to the get that asked for the name.
        assert_eq!(tags, [2, 3, 4, 5]);
        // A reply awaits no acknowledgement.
        world.call(requester, 1, ack(3));
        let lines = world.ask(requester, 1, ack(4));
        assert_eq!(
            lines,
            ["1 channel.close 406 60.80 PRECONDITION_FAILED - unknown delivery tag 4"]
        );
    });
}

#[test]
fn a_reply_with_a_forged_user_is_refused() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        let properties = AMQPProperties::default().with_user_id("admin".into());
        world.publish_with(worker, 1, to("", &name), &properties, "x");
        world.run();
        assert_eq!(
            world.lines(worker),
            [
                "1 channel.close 406 60.40 PRECONDITION_FAILED - user_id property set to 'admin' but \
              authenticated user was 'guest'"
            ]
        );
        assert!(world.lines(requester).is_empty());
    });
}
