//! From the protocol header to open-ok, and the heartbeats that were agreed there.

use std::time::{Duration, Instant};

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use amq_protocol::types::{AMQPValue, FieldTable};
use blackbox::peer::{start_ok, tune_ok};
use blackbox::rpc::Bystander;
use blackbox::wire::{self, Bytes, HEARTBEAT, Properties, method};
use blackbox::work::NO_ACK;
use blackbox::{Broker, Peer, unique};

#[test]
fn a_wrong_protocol_header_is_answered_with_ours_and_a_close() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    let wrong: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"AMQP\x00\x00\x09\x02",
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x03\x01\x00\x00",
        b"amqp\x00\x00\x09\x01",
        &[0; 8],
    ];
    for header in wrong {
        let mut peer = Peer::connect(&broker);
        peer.send(header);
        assert_eq!(peer.read_to_close(), wire::PROTOCOL_HEADER, "{header:?}");
        bystander.must_be_served();
    }
}

#[test]
fn a_header_in_single_octets_is_a_header() {
    let broker = Broker::start(1);
    let mut peer = Peer::connect(&broker);
    for octet in wire::PROTOCOL_HEADER {
        peer.send(&[*octet]);
    }
    peer.expect_start();
    for octet in start_ok("PLAIN", b"\0guest\0guest").frame(0) {
        peer.send(&[octet]);
    }
    assert!(matches!(
        peer.expect_method(0),
        AMQPClass::Connection(Connection::Tune(_))
    ));
}

#[test]
fn the_start_tells_what_rpc_clients_ask_for() {
    let broker = Broker::start(1);
    let mut peer = Peer::connect(&broker);
    peer.send(wire::PROTOCOL_HEADER);
    let start = peer.expect_start();
    assert_eq!((start.version_major, start.version_minor), (0, 9));
    let mechanisms = start.mechanisms.to_string();
    let mechanisms: Vec<_> = mechanisms.split(' ').collect();
    assert!(
        mechanisms.contains(&"PLAIN") && mechanisms.contains(&"AMQPLAIN"),
        "{mechanisms:?}"
    );
    assert!(
        start
            .locales
            .to_string()
            .split(' ')
            .any(|locale| locale == "en_US")
    );
    let capabilities = table(&start.server_properties, "capabilities");
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
        let value = capabilities.inner().get(name);
        assert_eq!(value, Some(&AMQPValue::Boolean(true)), "{name}");
    }
    for name in ["product", "version"] {
        let value = start.server_properties.inner().get(name);
        assert!(
            matches!(value, Some(AMQPValue::LongString(_))),
            "{name}: {value:?}"
        );
    }
}

fn table<'a>(properties: &'a FieldTable, name: &str) -> &'a FieldTable {
    match properties.inner().get(name) {
        Some(AMQPValue::FieldTable(table)) => table,
        other => panic!("{name} is no table: {other:?}"),
    }
}

#[test]
fn amqplain_opens_a_connection_too() {
    let broker = Broker::start(1);
    let mut peer = Peer::connect(&broker);
    peer.send(wire::PROTOCOL_HEADER);
    peer.expect_start();
    let login = Bytes::default()
        .shortstr("LOGIN")
        .octet(b'S')
        .longstr(b"guest");
    let response = login.shortstr("PASSWORD").octet(b'S').longstr(b"guest");
    peer.send(&start_ok("AMQPLAIN", &response.0).frame(0));
    assert!(matches!(
        peer.expect_method(0),
        AMQPClass::Connection(Connection::Tune(_))
    ));
}

#[test]
fn a_wrong_password_is_refused_by_name_and_others_are_not_disturbed() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    for response in [&b"\0guest\0wrong"[..], b"\0nobody\0guest", b"\0guest\0"] {
        let mut peer = Peer::connect(&broker);
        peer.send(wire::PROTOCOL_HEADER);
        peer.expect_start();
        peer.send(&start_ok("PLAIN", response).frame(0));
        let text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.";
        peer.expect_connection_close().expect(403, text, 0, 0);
        bystander.must_be_served();
    }
}

#[test]
fn an_unknown_mechanism_or_a_malformed_response_does_not_get_in() {
    let broker = Broker::start(1);
    let cases: [(&str, &[u8]); 5] = [
        ("EXTERNAL", b""),
        ("plain", b"\0guest\0guest"),
        ("PLAIN", b"guest"),
        ("PLAIN", b""),
        ("AMQPLAIN", b"\x05LOGINS\xff\xff\xff\xff"),
    ];
    for (mechanism, response) in cases {
        let mut peer = Peer::connect(&broker);
        peer.send(wire::PROTOCOL_HEADER);
        peer.expect_start();
        peer.send(&start_ok(mechanism, response).frame(0));
        if let Some(refusal) = peer.expect_close_or_hang_up() {
            assert!(
                [403, 501, 502, 503, 504, 530, 540].contains(&refusal.code),
                "{refusal:?}"
            );
        }
    }
}

#[test]
fn the_broker_proposes_rabbitmqs_tuning() {
    let broker = Broker::start(1);
    let tune = Peer::connect(&broker).shake_hands_until_tune();
    assert_eq!(
        (tune.channel_max, tune.frame_max, tune.heartbeat),
        (2047, 131_072, 60)
    );
}

#[test]
fn a_smaller_frame_max_is_kept_to() {
    let broker = Broker::start(2);
    let mut peer = Peer::open_tuned(&broker, 4096, 0);
    peer.open_channel(1);
    let queue = unique("frames");
    peer.declare(1, &queue, blackbox::work::EXCLUSIVE);
    peer.consume(1, &queue, "", NO_ACK);
    let mut publisher = Peer::open(&broker);
    for len in [0, 1, 4087, 4088, 4089, 8176, 100_000] {
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        publisher.publish(1, &queue, &Properties::default(), &body);
        // The peer asserts the length of every frame.
        assert_eq!(peer.expect_delivery(1).body, body);
    }
}

#[test]
fn a_frame_max_below_4096_or_above_ours_is_refused() {
    let broker = Broker::start(1);
    for frame_max in [1, 4095, 131_073, u32::MAX] {
        let mut peer = Peer::connect(&broker);
        peer.shake_hands_until_tune();
        peer.send(&tune_ok(2047, frame_max, 0).frame(0));
        peer.open_vhost("/");
        if let Some(refusal) = peer.expect_close_or_hang_up() {
            refusal.expect(530, "NOT_ALLOWED", 10, 31);
        }
    }
}

#[test]
fn one_channel_more_than_agreed_is_refused_whatever_its_number() {
    let broker = Broker::start(1);
    let mut peer = Peer::connect(&broker);
    peer.shake_hands_until_tune();
    peer.send(&tune_ok(2, 131_072, 0).frame(0));
    peer.open_vhost("/");
    peer.expect_method(0);
    peer.open_channel(10);
    peer.open_channel(65_535);
    peer.send(&method(20, 10).shortstr("").frame(1));
    let text = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max";
    peer.expect_connection_close().expect(530, text, 20, 10);
}

#[test]
fn an_unknown_vhost_is_refused() {
    let broker = Broker::start(1);
    let mut peer = Peer::connect(&broker);
    peer.shake_hands_until_tune();
    peer.send(&tune_ok(2047, 131_072, 0).frame(0));
    peer.open_vhost("elsewhere");
    let text = "NOT_ALLOWED - vhost elsewhere not found";
    peer.expect_connection_close().expect(530, text, 10, 40);
}

#[test]
fn methods_out_of_their_time_do_not_get_in() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    let out_of_time = [
        method(10, 40).shortstr("/").shortstr("").octet(0).frame(0),
        tune_ok(2047, 131_072, 0).frame(0),
        method(20, 10).shortstr("").frame(1),
        method(60, 40)
            .short(0)
            .shortstr("")
            .shortstr("q")
            .octet(0)
            .frame(1),
        wire::content_header(1, 1 << 40, &[0, 0]),
        wire::frame(wire::BODY, 1, b"body"),
    ];
    for bytes in out_of_time {
        let mut peer = Peer::connect(&broker);
        peer.send(wire::PROTOCOL_HEADER);
        peer.expect_start();
        peer.send(&bytes);
        peer.stop_sending();
        if let Some(refusal) = peer.expect_close_or_hang_up() {
            assert!([501, 503, 504, 505].contains(&refusal.code), "{refusal:?}");
        }
        bystander.must_be_served();
    }
}

#[test]
fn a_silent_peer_gets_heartbeats_and_is_closed_after_about_two_intervals() {
    let broker = Broker::start(1);
    let mut peer = Peer::open_tuned(&broker, 131_072, 1);
    let began = Instant::now();
    let mut heartbeat_count = 0;
    while let Some(frame) = peer.next_frame() {
        assert_eq!(
            (frame.kind, frame.channel, frame.payload.len()),
            (HEARTBEAT, 0, 0)
        );
        heartbeat_count += 1;
    }
    let took = began.elapsed();
    assert!(heartbeat_count >= 1, "no heartbeat in {took:?}");
    assert!(
        took > Duration::from_millis(1500) && took < Duration::from_secs(8),
        "{took:?}"
    );
}

#[test]
fn a_peer_that_sends_heartbeats_stays() {
    let broker = Broker::start(1);
    let mut peer = Peer::open_tuned(&broker, 131_072, 1);
    peer.open_channel(1);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3500) {
        // The broker's own heartbeats set the pace.
        let frame = peer.next_frame().expect("the connection stays open");
        assert_eq!(frame.kind, HEARTBEAT);
        peer.send(&wire::frame(HEARTBEAT, 0, b""));
    }
    peer.close_channel(1);
}

#[test]
fn a_peer_without_heartbeats_is_left_alone() {
    let broker = Broker::start(1);
    let mut peer = Peer::open_tuned(&broker, 131_072, 0);
    assert!(peer.is_silent_for(Duration::from_millis(300)));
    peer.open_channel(1);
    // A heartbeat that was not agreed on is still a legal frame.
    peer.send(&wire::frame(HEARTBEAT, 0, b""));
    peer.close_channel(1);
    peer.close_connection();
}

#[test]
fn a_heartbeat_on_a_channel_is_a_frame_error() {
    let Some(broker) = Broker::start_own(1, "RabbitMQ lets it through") else {
        return;
    };
    let mut peer = Peer::open(&broker);
    peer.send(&wire::frame(HEARTBEAT, 1, b""));
    peer.expect_connection_close()
        .expect(501, "FRAME_ERROR", 0, 0);
}

#[test]
fn a_new_secret_is_accepted() {
    let broker = Broker::start(1);
    let mut peer = Peer::open_connection(&broker);
    peer.send(
        &method(10, 70)
            .longstr(b"guest")
            .shortstr("renewed")
            .frame(0),
    );
    match peer.expect_method(0) {
        AMQPClass::Connection(Connection::UpdateSecretOk(_)) => {}
        other => panic!("not connection.update-secret-ok: {other:?}"),
    }
    peer.close_connection();
}

#[test]
fn a_connection_is_closed_in_good_order() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    for _ in 0..4 {
        let mut peer = Peer::open(&broker);
        peer.close_channel(1);
        peer.open_channel(1);
        peer.close_connection();
        bystander.must_be_served();
    }
}
