//! What peers may not do, and that it costs them their channel or connection and nobody else.

use super::super::Settings;
use super::client::*;
use super::world::{End, Peer, World, everywhere, everywhere_with, settings};
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame};
use amq_protocol::protocol::basic::{AMQPProperties, Publish, Recover, RecoverAsync};
use amq_protocol::protocol::{channel, connection, tx};

/// Asserts that the connection is closed with this, and ends it properly.
fn assert_closed(world: &mut World, peer: Peer, expected: &str) {
    let lines = world.lines(peer);
    assert_eq!(
        lines.last(),
        Some(&format!("0 connection.close {expected}"))
    );
    // Whatever comes before its close-ok is passed over.
    world.send(peer, 1, declare("ignored"));
    world.call(peer, 0, connection::CloseOk {});
    assert!(world.lines(peer).is_empty());
    assert_eq!(world.end_of(peer), Some(End::Closed));
}

fn header(number: u16, class_id: u16, body_size: u64) -> Vec<u8> {
    let properties = AMQPProperties::default();
    encode(&AMQPFrame::Header(
        number,
        AMQPContentHeader {
            class_id,
            body_size,
            properties,
        },
    ))
}

fn body(number: u16, octets: &[u8]) -> Vec<u8> {
    encode(&AMQPFrame::Body(number, octets.to_vec()))
}

#[test]
fn a_channel_must_be_open_and_is_opened_once() {
    everywhere(|world| {
        let expected = "CHANNEL_ERROR - expected 'channel.open'";
        let peer = world.connect(0);
        world.call(peer, 7, declare("q"));
        assert_closed(world, peer, &format!("504 50.10 {expected}"));
        let peer = world.connect(0);
        world.write(peer, &header(7, 60, 1));
        world.run();
        assert_closed(world, peer, &format!("504 60.40 {expected}"));
        let peer = world.connect(0);
        world.call(peer, 1, channel::Open {});
        assert_closed(
            world,
            peer,
            "504 20.10 CHANNEL_ERROR - second 'channel.open' seen",
        );
        let peer = world.connect(0);
        world.write(peer, &body(0, b"x"));
        world.run();
        assert_closed(
            world,
            peer,
            "504 0.0 CHANNEL_ERROR - content frame on channel 0",
        );
    });
}

#[test]
fn a_closed_channel_may_be_opened_again_as_new() {
    everywhere(|world| {
        let (peer, owner) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        for _ in 0..2 {
            world.call(peer, 1, qos(1, true));
            world.call(peer, 1, consume_auto("q", "t"));
            world.publish(owner, "q", "x");
            world.run();
            assert_eq!(
                world.lines(peer).last().map(String::as_str),
                Some("1 deliver t 1 /q x")
            );
            let closed = world.ask(peer, 1, channel::Close::default());
            assert_eq!(closed, ["1 channel.close-ok"]);
            world.open(peer, 1);
        }
    });
}

#[test]
fn what_comes_before_close_ok_is_passed_over() {
    everywhere(|world| {
        let (peer, owner) = (world.connect(0), world.connect(1));
        world.ask(owner, 1, declare("q"));
        world.send(peer, 1, passive("none"));
        world.publish(peer, "q", "x");
        world.send(peer, 1, consume("q", "t"));
        world.publish(owner, "q", "y");
        world.run();
        assert_eq!(world.lines(peer).len(), 1);
        assert_eq!(world.ask(owner, 1, passive("q")), ["1 declare-ok q 1 0"]);
        // Both close at once.
        let closed = world.ask(peer, 1, channel::Close::default());
        assert_eq!(closed, ["1 channel.close-ok"]);
        world.call(peer, 1, channel::CloseOk {});
        world.open(peer, 1);
        world.send(peer, 1, passive("none"));
        world.send(peer, 7, declare("q"));
        world.run();
        let closed = world.ask(peer, 0, connection::Close::default());
        assert_eq!(
            closed.last().map(String::as_str),
            Some("0 connection.close-ok")
        );
        assert_eq!(world.end_of(peer), Some(End::Closed));
    });
}

#[test]
fn a_body_frame_is_judged_by_its_end_however_it_was_cut() {
    everywhere(|world| {
        let reader = world.connect(1);
        world.ask(reader, 1, declare("q"));
        world.ask(reader, 1, consume_auto("q", "t"));
        let properties = AMQPProperties::default();
        let octets = [9; 20];
        let frames = publish_frames(1, to("", "q"), &properties, &octets, 1).concat();
        // Within the head of the body frame, behind it, in the payload, in front of the end.
        for cut in [2, 7, 10, octets.len() + 7].map(|len| frames.len() - octets.len() - 8 + len) {
            let peer = world.connect(0);
            world.write(peer, &frames[..cut]);
            world.run();
            assert!(world.contents(reader).is_empty(), "not whole yet");
            world.write(peer, &frames[cut..]);
            world.run();
            assert_eq!(world.contents(reader)[0].body, octets);

            let (last, but_last) = frames.split_last().expect("not empty");
            world.write(peer, &frames[..cut]);
            world.run();
            world.write(peer, &but_last[cut..]);
            world.write(peer, &[last - 1]);
            world.run();
            assert!(world.contents(reader).is_empty());
            assert_eq!(world.end_of(peer), None);
            let lines = world.lines(peer);
            let last = lines.last().expect("connection.close");
            assert!(last.starts_with("0 connection.close 501"), "{last}");
        }
    });
}

#[test]
fn content_may_come_in_pieces_between_those_of_other_channels() {
    everywhere(|world| {
        let (peer, reader) = (world.connect(0), world.connect(1));
        world.open(peer, 2);
        world.ask(reader, 1, declare("q"));
        world.ask(reader, 1, consume_auto("q", "t"));
        let properties = AMQPProperties::default().with_message_id("m".into());
        let first = publish_frames(1, to("", "q"), &properties, b"one in pieces", 3);
        let second = publish_frames(2, to("", "q"), &properties, b"two", 1);
        for at in 0..first.len().max(second.len()) {
            for frames in [&first, &second] {
                if let Some(frame) = frames.get(at) {
                    world.write(peer, frame);
                }
            }
            world.run();
        }
        let mut contents = world.contents(reader);
        contents.sort_by_key(|content| content.body.len());
        let bodies: Vec<String> = contents.iter().map(|content| content.text()).collect();
        assert_eq!(bodies, ["two", "one in pieces"]);
        assert!(
            contents
                .iter()
                .all(|content| content.properties == properties)
        );
    });
}

#[test]
fn a_body_over_the_limit_is_refused_at_its_header() {
    let small = Settings {
        body_len_max: 100,
        ..settings()
    };
    everywhere_with(&small, |world| {
        let peer = world.connect(0);
        world.ask(peer, 1, declare("q"));
        world.publish_with(peer, 1, to("", "q"), &Default::default(), [b'x'; 100]);
        world.run();
        assert!(world.lines(peer).is_empty());
        let text = "PRECONDITION_FAILED - message size 101 is larger than configured max size 100";
        let refused = [format!("1 channel.close 406 60.40 {text}")];
        let frames = publish_frames(1, to("", "q"), &Default::default(), &[b'x'; 101], 101);
        world.write(peer, &frames[..2].concat());
        world.run();
        assert_eq!(world.lines(peer), refused);
        world.write(peer, &frames[2]);
        world.reopen(peer, 1);
        world.write(peer, &frames.concat());
        world.run();
        assert_eq!(world.lines(peer), refused);
        world.reopen(peer, 1);
        assert_eq!(world.ask(peer, 1, passive("q")), ["1 declare-ok q 1 0"]);
    });
}

#[test]
fn content_out_of_order_closes_the_connection() {
    everywhere(|world| {
        let publish = encode(&AMQPFrame::Method(1, to("", "q").class()));
        let method = encode(&AMQPFrame::Method(1, declare("q").class()));
        let unexpected = |expected: &str| {
            format!("505 60.40 UNEXPECTED_FRAME - expected {expected}, got another frame instead")
        };
        for (frames, expected) in [
            (vec![header(1, 60, 1)], unexpected("method frame")),
            (vec![body(1, b"x")], unexpected("method frame")),
            (
                vec![publish.clone(), body(1, b"x")],
                unexpected("content header"),
            ),
            (
                vec![publish.clone(), header(1, 60, 2), header(1, 60, 2)],
                unexpected("content body"),
            ),
            (
                vec![publish.clone(), header(1, 50, 0)],
                "505 60.40 UNEXPECTED_FRAME - expected content header for class 60, got one for \
                 class 50"
                    .into(),
            ),
            (
                vec![publish.clone(), method],
                "505 50.10 UNEXPECTED_FRAME - expected content header for class 60, got non \
                 content header frame instead"
                    .into(),
            ),
            (
                vec![publish, header(1, 60, 1), body(1, b"xy")],
                "501 60.40 FRAME_ERROR - more body octets than the content header announced".into(),
            ),
        ] {
            let peer = world.connect(0);
            world.write(peer, &frames.concat());
            world.run();
            assert_closed(world, peer, &expected);
        }
    });
}

#[test]
fn broken_frames_close_the_connection() {
    everywhere(|world| {
        let bystander = world.connect(1);
        for (octets, expected) in [
            (
                &b"\x04\0\x01\0\0\0\0\xce"[..],
                "501 0.0 FRAME_ERROR - unknown frame type 4",
            ),
            (
                b"\x01\0\x01\0\0\0\x04\0\x14\0\x0a\xcd",
                "501 0.0 FRAME_ERROR - frame end octet",
            ),
            (
                b"\x01\0\x01\xff\xff\xff\xff",
                "501 0.0 FRAME_ERROR - frame payload of 4294967295",
            ),
            (b"\x01\0\x01\0\0\0\x02\0\x14\xce", "502 0.0 SYNTAX_ERROR"),
            (
                b"\x01\0\x01\0\0\0\x04\0\x32\0\x0a\xce",
                "502 50.10 SYNTAX_ERROR",
            ),
            (
                b"\x01\0\x01\0\0\0\x04\0\x63\0\x0a\xce",
                "503 99.10 COMMAND_INVALID",
            ),
        ] {
            let peer = world.connect(0);
            world.write(peer, octets);
            world.run();
            let lines = world.lines(peer);
            let expected = format!("0 connection.close {expected}");
            assert!(lines[0].starts_with(&expected), "{lines:?} {expected}");
        }
        assert!(world.lines(bystander).is_empty());
        assert_eq!(
            world.ask(bystander, 1, declare("q")),
            ["1 declare-ok q 0 0"]
        );
    });
}

#[test]
fn a_broken_property_list_closes_the_connection() {
    everywhere(|world| {
        for torn in [false, true] {
            let peer = world.connect(0);
            world.ask(peer, 1, declare("q"));
            world.send(peer, 1, to("", "q"));
            if torn {
                world.run();
            }
            // A correlation id is flagged, but not there.
            let payload = b"\0\x3c\0\0\0\0\0\0\0\0\0\0\x04\0";
            let frame = [&b"\x02\0\x01\0\0\0\x0e"[..], payload, b"\xce"].concat();
            world.write(peer, &frame);
            world.run();
            assert_closed(world, peer, "502 60.40 SYNTAX_ERROR - malformed arguments");
        }
    });
}

#[test]
fn what_is_not_there_is_refused_and_not_ignored() {
    everywhere(|world| {
        let not_implemented = |world: &mut World, peer: Peer, id: &str, text: &str| {
            let expected = format!("540 {id} NOT_IMPLEMENTED - {text}");
            assert_closed(world, peer, &expected);
        };
        // Also for an exchange that is not there.
        for exchange in ["", "none"] {
            let peer = world.connect(0);
            let immediate = Publish {
                immediate: true,
                ..to(exchange, "q")
            };
            world.publish_with(peer, 1, immediate, &Default::default(), "x");
            world.run();
            not_implemented(world, peer, "60.40", "immediate=true");
        }
        let peer = world.connect(0);
        world.call(peer, 1, Recover { requeue: false });
        not_implemented(world, peer, "60.110", "requeue=false");
        let peer = world.connect(0);
        world.call(peer, 1, RecoverAsync { requeue: false });
        not_implemented(world, peer, "60.100", "requeue=false");
        let peer = world.connect(0);
        world.write(
            peer,
            b"\x01\0\x01\0\0\0\x0b\0\x3c\0\x0a\0\0\x01\x01\0\x01\0\xce",
        );
        world.run();
        not_implemented(world, peer, "60.10", "prefetch_size!=0 (257)");
    });
}

#[test]
fn only_servers_say_certain_things() {
    everywhere(|world| {
        use amq_protocol::protocol::AMQPClass;
        use amq_protocol::protocol::basic::{AMQPMethod, Deliver, GetEmpty, QosOk};
        let unimplemented = "COMMAND_INVALID - unimplemented method";
        for (method, id) in [
            (AMQPMethod::QosOk(QosOk {}), "60.11"),
            (AMQPMethod::GetEmpty(GetEmpty {}), "60.72"),
            (AMQPMethod::Deliver(Deliver::default()), "60.60"),
        ] {
            let peer = world.connect(0);
            world.call(peer, 1, AMQPClass::Basic(method));
            assert_closed(world, peer, &format!("503 {id} {unimplemented}"));
        }
        let peer = world.connect(0);
        world.call(
            peer,
            1,
            AMQPClass::Tx(tx::AMQPMethod::CommitOk(tx::CommitOk {})),
        );
        assert_closed(world, peer, &format!("503 90.21 {unimplemented}"));
        let peer = world.connect(0);
        world.call(peer, 1, connection::Close::default());
        assert!(world.lines(peer)[0].starts_with("0 connection.close 503 10.50"));
        let peer = world.connect(0);
        world.call(peer, 0, declare("q"));
        assert!(world.lines(peer)[0].starts_with("0 connection.close 504 50.10"));
    });
}
