//! Direct replies while the requester has said channel.flow(false).

use super::super::Settings;
use super::client::*;
use super::world::{Layout, World, everywhere, settings};
use crate::limits::Limits;

use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{channel, confirm};

const HELD_COUNT_MAX: usize = Limits::SHIPPED.held_reply_count_max;

#[test]
fn replies_wait_for_the_flow_and_come_in_order() {
    everywhere(|world| {
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        assert_eq!(world.ask(requester, 1, flow(false)), ["1 flow-ok false"]);
        for body in ["a", "b"] {
            world.publish(worker, &name, body);
        }
        world.run();
        assert!(world.lines(requester).is_empty());
        let expected = [
            "1 flow-ok true".to_string(),
            format!("1 deliver t 2 /{name} a"),
            format!("1 deliver t 3 /{name} b"),
        ];
        assert_eq!(world.ask(requester, 1, flow(true)), expected);
    });
}

#[test]
fn too_many_held_replies_close_the_requesters_channel_only() {
    everywhere(|world| {
        if world.layout.piece_len == 1 {
            return;
        }
        let (requester, worker) = (world.connect(0), world.connect(1));
        let name = world.reply_name(requester);
        world.ask(requester, 1, flow(false));
        for _ in 0..=HELD_COUNT_MAX {
            world.publish(worker, &name, "x");
        }
        world.run();
        assert_eq!(
            world.lines(requester),
            [
                "1 channel.close 506 60.40 RESOURCE_ERROR - too many direct replies while \
              channel.flow is off"
            ]
        );
        assert!(world.lines(worker).is_empty());
        world.reopen(requester, 1);
    });
}

#[test]
fn the_rest_of_a_torn_body_is_thrown_away_when_its_channel_has_failed() {
    everywhere(|world| {
        if world.layout.piece_len == 1 {
            return;
        }
        let (requester, worker) = (world.connect(0), world.connect(1));
        world.ask(worker, 1, declare("q"));
        let name = world.reply_name(requester);
        world.ask(requester, 1, flow(false));
        let properties = AMQPProperties::default();
        let frames = publish_frames(1, to("", "q"), &properties, &[9; 20], 1).concat();
        let (torn, rest) = frames.split_at(frames.len() - 5);
        world.write(requester, torn);
        for _ in 0..=HELD_COUNT_MAX {
            world.publish(worker, &name, "x");
        }
        world.run();
        assert_eq!(world.lines(requester).len(), 1, "channel.close");
        world.write(requester, rest);
        world.reopen(requester, 1);
        assert_eq!(world.ask(worker, 1, get("q")), ["1 get-empty"]);
    });
}

#[test]
fn a_publisher_whose_own_reply_overflows_loses_its_channel() {
    let mut world = World::new(Layout::ONE);
    let peer = world.connect(0);
    let name = world.reply_name(peer);
    world.ask(peer, 1, confirm::Select { nowait: false });
    world.ask(peer, 1, flow(false));
    for _ in 0..=HELD_COUNT_MAX {
        let properties = AMQPProperties::default();
        world.publish_with(peer, 1, mandatory("", &name), &properties, "x");
    }
    world.run();
    let lines = world.lines(peer);
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("1 channel.close 506 60.40"))
    );
    world.end();
}

#[test]
fn an_overflow_on_one_channel_leaves_the_others_waiting_for_their_answers() {
    let mut world = World::new(Layout::TWO);
    let (requester, worker) = (world.connect(0), world.connect(1));
    let name = world.reply_name(requester);
    world.open(requester, 2);
    world.call(worker, 1, declare("far"));
    world.lines(worker);
    world.ask(requester, 1, flow(false));
    for _ in 0..HELD_COUNT_MAX {
        world.publish(worker, &name, "x");
    }
    world.run();
    // The answer of channel 2 is on its way when channel 1 overflows.
    world.set_mailbox_full(0, 1, true);
    world.call(requester, 2, get("far"));
    world.publish(worker, &name, "one too many");
    world.run();
    world.send(requester, 2, passive("far"));
    world.send(requester, 2, get("far"));
    world.run();
    world.set_mailbox_full(0, 1, false);
    world.run();
    let lines = world.lines(requester);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("1 channel.close 506"));
    assert_eq!(
        lines[1..],
        ["2 get-empty", "2 declare-ok far 0 0", "2 get-empty"]
    );
    world.end();
}

#[test]
fn a_chain_of_overflows_takes_no_stack() {
    let many = Settings {
        connection_count_max: 4000,
        ..settings()
    };
    let mut world = World::with(Layout::TWO, many);
    let worker = world.connect(0);
    world.ask(worker, 1, declare("far"));
    let requesters: Vec<_> = (0..900).map(|_| world.connect(1)).collect();
    let names: Vec<_> = requesters
        .iter()
        .map(|peer| world.reply_name(*peer))
        .collect();
    for (peer, name) in requesters.iter().zip(&names) {
        world.ask(*peer, 1, flow(false));
        for _ in 0..HELD_COUNT_MAX {
            world.publish(*peer, name, "");
        }
        world.run();
    }
    // Each waits for an answer, and has a reply for the next one behind it.
    world.set_mailbox_full(1, 0, true);
    for (at, peer) in requesters.iter().enumerate() {
        world.send(*peer, 2, channel::Open {});
        world.send(*peer, 1, passive("far"));
        if let Some(next) = names.get(at + 1) {
            world.publish_with(*peer, 2, to("", next), &Default::default(), "");
        }
    }
    world.run();
    world.publish(worker, &names[0], "one too many");
    world.run();
    for peer in &requesters {
        assert!(
            world
                .lines(*peer)
                .last()
                .is_some_and(|line| line.starts_with("1 channel.close"))
        );
    }
    world.end();
}
