//! Publisher confirms and mandatory messages.

use super::client::*;
use super::heard::Heard;
use super::world::{Peer, World, everywhere};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod, AMQPProperties};
use amq_protocol::protocol::confirm::Select;
use std::collections::BTreeSet;

const SELECT: Select = Select { nowait: false };

/// Takes what has been confirmed off `open`; asserts that each tag is confirmed once.
fn confirm(world: &mut World, publisher: Peer, open: &mut BTreeSet<u64>) {
    for heard in world.heard(publisher) {
        if let Heard::Method(_, AMQPClass::Basic(AMQPMethod::Ack(ack))) = heard {
            match ack.multiple {
                true => open.retain(|tag| *tag > ack.delivery_tag),
                false => assert!(open.remove(&ack.delivery_tag)),
            }
        }
    }
}

#[test]
fn confirms_cover_exactly_what_was_published() {
    everywhere(|world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        let name = world.reply_name(owner);
        world.ask(publisher, 1, declare("near"));
        world.ask(owner, 1, declare("far"));
        // What came before select is not counted.
        world.publish(publisher, "near", "x");
        assert_eq!(world.ask(publisher, 1, SELECT), ["1 select-ok"]);
        assert_eq!(world.ask(publisher, 1, SELECT), ["1 select-ok"]);
        let mut open = BTreeSet::new();
        for tag in 1..=60 {
            let key = ["near", "far", "none", name.as_str()][world.dice.roll(4)];
            let publish = match world.dice.roll(2) {
                0 => to("", key),
                _ => mandatory("", key),
            };
            world.publish_with(publisher, 1, publish, &AMQPProperties::default(), "x");
            open.insert(tag);
            if world.dice.roll(5) == 0 {
                let steps = world.dice.roll(8);
                world.run_steps(steps);
                confirm(world, publisher, &mut open);
            }
        }
        world.run();
        confirm(world, publisher, &mut open);
        assert!(open.is_empty());
        // Nothing is confirmed beyond.
        world.publish(publisher, "near", "x");
        world.run();
        assert_eq!(world.lines(publisher), ["1 ack 61"]);
    });
}

#[test]
fn a_mandatory_message_without_a_queue_is_returned_before_its_confirm() {
    everywhere(|world| {
        let publisher = world.connect(0);
        world.ask(publisher, 1, SELECT);
        let properties = AMQPProperties::default().with_correlation_id("c".into());
        for (tag, (exchange, key)) in [("", "none"), ("amq.direct", "k"), ("amq.fanout", "")]
            .into_iter()
            .enumerate()
        {
            world.publish_with(publisher, 1, mandatory(exchange, key), &properties, "x");
            world.run();
            let heard = world.heard(publisher);
            let lines: Vec<String> = heard.iter().map(Heard::line).collect();
            let returned = format!("1 return 312 NO_ROUTE {exchange}/{key} x");
            assert_eq!(lines, [returned, format!("1 ack {}", tag + 1)]);
            let Heard::Content(content) = &heard[0] else {
                panic!("a return")
            };
            assert_eq!(content.properties, properties);
        }
    });
}

#[test]
fn a_mandatory_message_to_a_queue_that_has_gone_is_returned_from_any_shard() {
    everywhere(|world| {
        let (owner, publisher) = (world.connect(0), world.connect(1));
        let exclusive = amq_protocol::protocol::queue::Declare {
            exclusive: true,
            ..declare("")
        };
        let lines = world.ask(owner, 1, exclusive);
        let name = lines[0]
            .split(' ')
            .nth(2)
            .expect("declare-ok NAME")
            .to_string();
        world.ask(publisher, 1, SELECT);
        let properties = AMQPProperties::default();
        world.publish_with(publisher, 1, mandatory("", &name), &properties, "x");
        world.run();
        assert_eq!(world.lines(publisher), ["1 ack 1"]);
        world.ask(owner, 1, delete(&name));
        world.publish_with(publisher, 1, mandatory("", &name), &properties, "x");
        world.run();
        let returned = format!("1 return 312 NO_ROUTE /{name} x");
        assert_eq!(world.lines(publisher), [returned, "1 ack 2".into()]);
    });
}

#[test]
fn answers_for_a_channel_that_has_gone_reach_nobody() {
    everywhere(|world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("far"));
        world.ask(publisher, 1, SELECT);
        for key in ["far", "far"] {
            world.publish_with(publisher, 1, mandatory("", key), &Default::default(), "x");
        }
        world.send(
            publisher,
            1,
            amq_protocol::protocol::channel::Close::default(),
        );
        world.send(publisher, 1, amq_protocol::protocol::channel::Open {});
        world.run();
        let lines = world.lines(publisher);
        assert_eq!(lines.last().map(String::as_str), Some("1 channel.open-ok"));
        world.ask(publisher, 1, SELECT);
        world.publish(publisher, "far", "y");
        world.run();
        assert_eq!(world.lines(publisher), ["1 ack 1"]);
    });
}

#[test]
fn what_was_taken_is_confirmed_before_its_channel_ends() {
    everywhere(|world| {
        let publisher = world.connect(0);
        world.call(publisher, 1, declare("q"));
        world.call(publisher, 1, Select::default());
        world.lines(publisher);
        world.publish_with(publisher, 1, to("", "nowhere"), &Default::default(), "x");
        world.call(publisher, 1, passive("none"));
        let lines = world.lines(publisher);
        assert_eq!(lines[0], "1 ack 1");
        assert!(lines[1].starts_with("1 channel.close 404"), "{lines:?}");
    });
}
