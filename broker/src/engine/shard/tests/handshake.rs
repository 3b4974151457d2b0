//! From the protocol header to open-ok, and who is turned away on the way.

use super::client::*;
use super::heard::Heard;
use super::world::{End, Layout, World, everywhere, everywhere_with, settings};
use amq_protocol::protocol::connection::{self, AMQPMethod};
use amq_protocol::protocol::{AMQPClass, channel};
use amq_protocol::types::AMQPValue;

const LOCAL: &str = "127.0.0.1:5000";

fn tuned(channel_max: u16, frame_max: u32, heartbeat: u16) -> Hello {
    Hello {
        tune_ok: connection::TuneOk {
            channel_max,
            frame_max,
            heartbeat,
        },
        ..Hello::default()
    }
}

#[test]
fn the_server_says_what_it_can() {
    everywhere(|world| {
        let peer = world.accept(0, LOCAL).expect("room");
        world.write(peer, b"AMQP\0\0\x09\x01");
        world.run();
        let heard = world.heard(peer);
        let [Heard::Method(0, AMQPClass::Connection(AMQPMethod::Start(start)))] = &heard[..] else {
            panic!("expected connection.start: {heard:?}")
        };
        assert_eq!((start.version_major, start.version_minor), (0, 9));
        assert_eq!(start.mechanisms.as_bytes(), b"PLAIN AMQPLAIN");
        assert_eq!(start.locales.as_bytes(), b"en_US");
        let properties = start.server_properties.inner();
        let Some(AMQPValue::FieldTable(capabilities)) = properties.get("capabilities") else {
            panic!("expected capabilities: {properties:?}")
        };
        for name in [
            "direct_reply_to",
            "publisher_confirms",
            "exchange_exchange_bindings",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "consumer_priorities",
            "authentication_failure_close",
            "per_consumer_qos",
        ] {
            let capability = capabilities.inner().get(name);
            assert_eq!(capability, Some(&AMQPValue::Boolean(true)), "{name}");
        }
        // kombu's rule: from "RabbitMQ" from 3.3 on, global qos is the channel's.
        let text = |name| match properties.get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("expected {name}: {other:?}"),
        };
        assert_eq!(text("product"), "RabbitMQ");
        assert!(text("version").starts_with("3.10."));
        assert_eq!(text("rondo"), env!("CARGO_PKG_VERSION"));
    });
}

#[test]
fn another_protocol_is_answered_with_our_header() {
    everywhere(|world| {
        for header in [
            &b"AMQP\x01\x01\x00\x0a"[..],
            b"AMQP\x00\x00\x09\x00",
            b"GET / HTTP/1.1\r\n\r\n",
            b"AMQX",
            b"\0",
        ] {
            let peer = world.accept(0, LOCAL).expect("room");
            world.write(peer, header);
            world.run();
            assert_eq!(world.lines(peer), ["protocol header"]);
            assert_eq!(world.end_of(peer), Some(End::Closed));
        }
    });
}

#[test]
fn both_mechanisms_let_the_right_password_in() {
    let amqplain = [
        &b"\x05LOGINS\0\0\0\x05guest"[..],
        b"\x08PASSWORDS\0\0\0\x06secret",
    ];
    everywhere(|world| {
        let hello = Hello {
            mechanism: "AMQPLAIN",
            response: amqplain.concat(),
            ..Hello::default()
        };
        for hello in [Hello::default(), hello] {
            let peer = world.greet(0, &hello);
            let expected = ["0 start", "0 tune 2047 131072 60", "0 open-ok"];
            assert_eq!(world.lines(peer), expected);
        }
    });
}

#[test]
fn a_wrong_password_is_told_only_to_who_understands() {
    everywhere(|world| {
        for response in [&b"\0guest\0wrong"[..], b"\0nobody\0secret", b"\0guest\0"] {
            let knowing = Hello {
                response: response.to_vec(),
                ..Hello::default()
            };
            let peer = world.accept(0, knowing.address).expect("room");
            world.write(peer, b"AMQP\0\0\x09\x01");
            world.call(peer, 0, knowing.start_ok());
            assert_eq!(
                world.lines(peer)[1..],
                [
                    "0 connection.close 403 0.0 ACCESS_REFUSED - Login was refused using \
                  authentication mechanism PLAIN. For details see the broker logfile."
                ]
            );
            assert_eq!(world.end_of(peer), None);
            world.call(peer, 0, connection::CloseOk {});
            assert_eq!(world.end_of(peer), Some(End::Closed));
            let unknowing = Hello {
                capabilities: &[],
                ..knowing
            };
            let peer = world.greet(0, &unknowing);
            assert_eq!(world.lines(peer), ["0 start"]);
            assert_eq!(world.end_of(peer), Some(End::Closed));
        }
        assert!(world.logs.iter().all(|line| !line.contains("wrong")));
    });
}

#[test]
fn a_loopback_user_is_refused_from_elsewhere() {
    everywhere(|world| {
        let far = Hello {
            address: "192.0.2.7:5000",
            ..Hello::default()
        };
        let peer = world.greet(0, &far);
        assert!(world.lines(peer)[1].starts_with("0 connection.close 403"));
        let service = Hello {
            response: b"\0service\0secret".to_vec(),
            ..far
        };
        let peer = world.greet(0, &service);
        assert_eq!(
            world.lines(peer).last().map(String::as_str),
            Some("0 open-ok")
        );
    });
}

#[test]
fn there_is_one_virtual_host() {
    everywhere(|world| {
        let hello = Hello {
            vhost: "tenant",
            ..Hello::default()
        };
        let peer = world.greet(0, &hello);
        assert_eq!(
            world.lines(peer).last().map(String::as_str),
            Some("0 connection.close 530 10.40 NOT_ALLOWED - vhost tenant not found")
        );
    });
}

#[test]
fn what_the_client_tunes_lower_is_honoured() {
    everywhere(|world| {
        let peer = world.connect_as(0, &tuned(2, 4096, 0));
        world.ask(peer, 1, declare("q"));
        world.publish_with(peer, 1, to("", "q"), &Default::default(), vec![b'x'; 4088]);
        world.call(peer, 1, get_auto("q"));
        assert_eq!(world.contents(peer)[0].body.len(), 4088);
        assert!(world.largest_frame(peer) <= 4096);
        // Its own frames may not be larger either.
        world.publish_with(peer, 1, to("", "q"), &Default::default(), vec![b'x'; 4089]);
        world.run();
        assert_eq!(
            world.lines(peer),
            [
                "0 connection.close 501 0.0 FRAME_ERROR - frame payload of 4089 octets exceeds the \
              negotiated frame_max"
            ]
        );
    });
}

#[test]
fn channels_are_counted_whatever_their_numbers() {
    everywhere(|world| {
        let peer = world.connect_as(0, &tuned(2, 4096, 0));
        world.open(peer, 65_535);
        world.ask(peer, 65_535, declare("q"));
        world.publish_with(peer, 65_535, to("", "q"), &Default::default(), "x");
        let lines = world.ask(peer, 65_535, get_auto("q"));
        assert_eq!(lines, ["65535 get-ok 1 /q x 0"]);
        let refused = "0 connection.close 530 20.10 NOT_ALLOWED - number of channels opened (2) \
                       has reached the negotiated channel_max (2)";
        world.call(peer, 65_535, close_channel());
        world.open(peer, 40_000);
        assert_eq!(world.ask(peer, 3, channel::Open {}), [refused]);
    });
}

#[test]
fn bodies_are_cut_to_the_readers_frame_max() {
    everywhere(|world| {
        let (reader, writer) = (world.connect_as(0, &tuned(0, 4096, 0)), world.connect(1));
        world.ask(writer, 1, declare("q"));
        world.ask(reader, 1, consume_auto("q", "c"));
        let name = world.reply_name(reader);
        let body: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        for key in ["q", &name] {
            world.publish_with(writer, 1, to("", key), &Default::default(), &body);
            world.run();
            assert_eq!(world.contents(reader)[0].body, body);
        }
        assert!(world.largest_frame(reader) <= 4096);
    });
}

#[test]
fn zero_means_as_the_server_likes() {
    everywhere(|world| {
        let peer = world.connect_as(0, &tuned(0, 0, 0));
        for number in 2..=2047 {
            world.send(peer, number, channel::Open {});
        }
        world.run();
        world.lines(peer);
        let lines = world.ask(peer, 2048, channel::Open {});
        assert!(lines[0].ends_with("the negotiated channel_max (2047)"));
    });
}

#[test]
fn what_the_client_tunes_out_of_range_is_refused() {
    let world = &mut World::new(Layout::ONE);
    for (hello, text) in [
        (
            tuned(2048, 0, 0),
            "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)",
        ),
        (
            tuned(0, 131_073, 0),
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (
            tuned(0, 4095, 0),
            "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)",
        ),
    ] {
        let peer = world.greet(0, &hello);
        let expected = format!("0 connection.close 530 10.31 NOT_ALLOWED - {text}");
        assert_eq!(world.lines(peer).last(), Some(&expected));
    }
    world.end();
}

#[test]
fn a_stranger_gets_small_frames_only() {
    everywhere(|world| {
        let peer = world.accept(0, LOCAL).expect("room");
        world.write(peer, b"AMQP\0\0\x09\x01");
        world.write(peer, b"\x01\0\0\x00\x00\x20\x00");
        world.run();
        assert_eq!(world.lines(peer), ["0 start"]);
        assert_eq!(world.end_of(peer), Some(End::Closed));
    });
}

#[test]
fn the_handshake_keeps_its_order() {
    everywhere(|world| {
        let hello = Hello::default();
        let peer = world.accept(0, LOCAL).expect("room");
        world.write(peer, b"AMQP\0\0\x09\x01");
        world.call(peer, 0, hello.tune_ok.clone());
        assert_eq!(world.end_of(peer), Some(End::Closed));
        let peer = world.accept(0, LOCAL).expect("room");
        world.write(peer, b"AMQP\0\0\x09\x01");
        world.call(peer, 0, hello.start_ok());
        world.lines(peer);
        let lines = world.ask(peer, 1, channel::Open {});
        assert_eq!(
            lines,
            [
                "0 connection.close 503 0.0 COMMAND_INVALID - frame for a channel before \
              connection.open"
            ]
        );
        let peer = world.connect(0);
        let lines = world.ask(peer, 0, hello.start_ok());
        assert!(lines[0].starts_with("0 connection.close 503 10.11 COMMAND_INVALID"));
    });
}

#[test]
fn all_of_the_handshake_may_come_at_once() {
    everywhere(|world| {
        let hello = Hello::default();
        let peer = world.accept(0, LOCAL).expect("room");
        world.write(peer, b"AMQP\0\0\x09\x01");
        world.send(peer, 0, hello.start_ok());
        world.send(peer, 0, hello.tune_ok.clone());
        world.send(
            peer,
            0,
            connection::Open {
                virtual_host: "/".into(),
            },
        );
        world.send(peer, 1, channel::Open {});
        world.run();
        let lines = world.lines(peer);
        assert_eq!(lines[2..], ["0 open-ok", "1 channel.open-ok"]);
    });
}

#[test]
fn connections_are_limited_in_number() {
    let few = crate::engine::shard::Settings {
        connection_count_max: 6,
        ..settings()
    };
    everywhere_with(&few, |world| {
        let accepted: Vec<_> = (0..8).filter_map(|_| world.accept(0, LOCAL)).collect();
        let share = 6 / usize::from(world.layout.shard_count);
        assert_eq!(accepted.len(), share);
        world.disconnect(accepted[0]);
        assert!(world.accept(0, LOCAL).is_some());
    });
}

#[test]
fn a_secret_may_be_updated_and_heartbeats_sent_at_any_time() {
    everywhere(|world| {
        let peer = world.connect(0);
        world.write(peer, b"\x08\0\0\0\0\0\0\xce");
        let update = connection::UpdateSecret {
            new_secret: "x".into(),
            reason: "".into(),
        };
        let lines = world.ask(peer, 0, update);
        assert_eq!(lines.len(), 1);
        world.write(peer, b"\x08\0\x01\0\0\0\0\xce");
        world.run();
        assert!(world.lines(peer)[0].starts_with("0 connection.close 501 0.0 FRAME_ERROR"));
    });
}
