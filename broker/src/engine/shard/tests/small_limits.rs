//! Limits as low as they may be: everything waits all the time, and nothing hangs.

use super::super::Settings;
use super::client::*;
use super::world::{Layout, Peer, World, everywhere_with, settings};
use crate::limits::Limits;
use amq_protocol::protocol::confirm;

const CALL_COUNT: usize = 5;

fn limited(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut settings = settings();
    change(&mut settings.limits);
    settings
}

/// Calls by one connection, answered by another one, with acknowledgements and confirms.
fn call_and_answer(world: &mut World) {
    let (requester, worker) = (world.connect(0), world.connect(1));
    world.ask(worker, 1, declare("rpc"));
    let name = world.reply_name(requester);
    world.ask(requester, 1, confirm::Select { nowait: false });
    world.ask(worker, 1, qos(2, false));
    world.call(worker, 1, consume("rpc", "w"));
    // More than may be on its way at once.
    for number in 0..CALL_COUNT {
        world.publish(requester, "rpc", &format!("question {number}"));
    }
    world.run();
    let mut asked = Vec::new();
    loop {
        let requests = world.contents(worker);
        if requests.is_empty() {
            break;
        }
        for request in requests {
            world.publish(worker, &name, &request.text().replace("question", "answer"));
            world.send(worker, 1, ack(request.delivery_tag()));
            asked.push(request.text());
        }
        world.run();
    }
    let all = |word| (0..CALL_COUNT).map(move |number| format!("{word} {number}"));
    assert!(asked.into_iter().eq(all("question")));
    assert!(world.bodies(requester).into_iter().eq(all("answer")));
    assert_eq!(
        world.ask(worker, 1, delete("rpc")),
        ["1 delete-ok 0", "1 cancel w"]
    );
}

#[test]
fn calls_complete_however_low_a_limit_is() {
    let smallest: [fn(&mut Limits); 9] = [
        |limits| (limits.unsent_len_low, limits.unsent_len_high) = (1, 2),
        |limits| (limits.unsent_len_low, limits.unsent_len_high) = (0, 1),
        |limits| limits.backlog_len_max = 1,
        |limits| limits.backlog_len_max = 0,
        |limits| limits.transit_len_max = 1,
        |limits| limits.transit_len_max = 300,
        |limits| limits.outbox_count_max = 1,
        |limits| limits.outbox_count_max = 2,
        |limits| (limits.held_reply_count_max, limits.consumer_count_max) = (1, 1),
    ];
    for change in smallest {
        everywhere_with(&limited(change), call_and_answer);
    }
    let all = |limits: &mut Limits| smallest.iter().for_each(|change| change(limits));
    everywhere_with(&limited(all), call_and_answer);
    let lowest = |limits: &mut Limits| smallest.iter().rev().for_each(|change| change(limits));
    everywhere_with(&limited(lowest), call_and_answer);
}

#[test]
fn an_outbox_for_a_single_mail_holds_one_and_empties() {
    let settings = limited(|limits| limits.outbox_count_max = 1);
    let world = &mut World::with(Layout::TWO, settings);
    let (producer, owner) = (world.connect(0), world.connect(1));
    world.ask(owner, 1, declare("far"));
    world.set_mailbox_full(0, 1, true);
    for number in 0..10 {
        world.publish(producer, "far", &number.to_string());
    }
    world.run();
    assert_eq!(world.shards[0].outbox(1).expect("a neighbour").count(), 1);
    world.set_mailbox_full(0, 1, false);
    world.run();
    assert_eq!(
        world.ask(owner, 1, passive("far")),
        ["1 declare-ok far 10 0"]
    );
    world.end();
}

#[test]
fn no_credit_is_given_back_for_nothing() {
    let settings = limited(|limits| limits.transit_len_max = 1);
    let world = &mut World::with(Layout::TWO, settings);
    let (owner, reader) = (world.connect(0), world.connect(1));
    world.ask(owner, 1, declare("far"));
    world.ask(owner, 1, declare("quiet"));
    world.ask(reader, 1, consume_auto("far", "t"));
    world.ask(reader, 1, consume_auto("quiet", "u"));
    // Shard 1 moves no mail: what it has to say stays where it can be counted.
    world.set_mailbox_full(1, 0, true);
    world.publish(owner, "far", "a");
    world.publish(owner, "far", "b");
    world.run();
    assert_eq!(world.bodies(reader), ["a"], "the second one has no credit");
    assert_eq!(world.shards[1].outbox(0).expect("a neighbour").count(), 1);
    world.set_mailbox_full(1, 0, false);
    world.run();
    assert_eq!(world.bodies(reader), ["b"]);
    world.end();
}

#[test]
fn what_is_one_too_many_is_refused_by_name() {
    let small = limited(|limits| {
        limits.queue_count_max = 2;
        limits.exchange_count_max = 7;
        limits.binding_count_max = 1;
        limits.consumer_count_max = 1;
        limits.held_reply_count_max = 1;
        limits.assembly_len_max = 10;
    });
    everywhere_with(&small, |world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        let name = world.reply_name(other);
        world.ask(peer, 1, declare("q"));
        world.ask(peer, 1, declare("r"));
        refused(
            world,
            peer,
            declare("s"),
            "506 50.10 RESOURCE_ERROR - more than 2 queues",
        );
        world.ask(peer, 1, declare_exchange("e", "fanout"));
        let one_more = declare_exchange("f", "fanout");
        refused(
            world,
            peer,
            one_more,
            "506 40.10 RESOURCE_ERROR - more than 7 exchanges",
        );
        world.ask(peer, 1, bind("q", "e", ""));
        let text = "506 50.20 RESOURCE_ERROR - more than 1 bindings";
        refused(world, peer, bind("r", "e", ""), text);
        world.ask(peer, 1, consume("q", "t"));
        let text = "406 60.20 PRECONDITION_FAILED - more than 1 consumers on a channel";
        refused(world, peer, consume("q", "u"), text);
        // The first reply is held, the second closes the channel.
        world.ask(other, 1, flow(false));
        for expected in [0, 1] {
            world.publish(peer, &name, "x");
            world.run();
            assert_eq!(world.lines(other).len(), expected);
        }
        let frames = publish_frames(1, to("", "q"), &Default::default(), &[7; 11], 4);
        world.write(peer, &frames.concat());
        world.run();
        let text = "RESOURCE_ERROR - more than 10 octets of unfinished messages";
        assert_eq!(
            world.lines(peer),
            [format!("0 connection.close 506 60.40 {text}")]
        );
    });
}

fn refused(world: &mut World, peer: Peer, method: impl Method, text: &str) {
    assert_eq!(
        world.ask(peer, 1, method),
        [format!("1 channel.close {text}")]
    );
    world.reopen(peer, 1);
}

#[test]
fn memory_for_a_single_octet_is_free_again_once_queues_are_empty() {
    let settings = Settings {
        queued_len_max: 1,
        ..settings()
    };
    everywhere_with(&settings, |world| {
        let (publisher, owner) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        for _ in 0..3 {
            world.publish(publisher, "q", "x");
        }
        world.run();
        for _ in 0..3 {
            assert_eq!(
                world.ask(owner, 1, get_auto("q"))[0].split(' ').nth(1),
                Some("get-ok")
            );
        }
        let lines = world.lines(publisher);
        assert!(lines[0].starts_with("0 blocked"));
        assert_eq!(lines.last().map(String::as_str), Some("0 unblocked"));
    });
}

#[test]
fn the_properties_of_unfinished_messages_are_counted_before_they_are_kept() {
    let settings = limited(|limits| limits.assembly_len_max = 20);
    everywhere_with(&settings, |world| {
        let peer = world.connect(0);
        world.open(peer, 2);
        // Bodies of ten and eight octets, each with two of flags.
        for (number, body_len) in [(1, 10), (2, 8)] {
            let publish = to("", "q");
            let body = vec![7; body_len];
            let frames = publish_frames(number, publish, &Default::default(), &body, 100);
            world.write(peer, &frames[..2].concat());
        }
        world.run();
        let text = "RESOURCE_ERROR - more than 20 octets of unfinished messages";
        assert_eq!(
            world.lines(peer),
            [format!("0 connection.close 506 60.40 {text}")]
        );
    });
}
