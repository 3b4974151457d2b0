//! Maxima: reaching one is refused by name, before memory is taken, and nobody else notices.

use blackbox::rpc::Bystander;
use blackbox::wire::{self, BODY, Properties, method, nested_tables};
use blackbox::work::{EXCLUSIVE, NO_ACK};
use blackbox::{Broker, Peer, unique};

const BODY_MAX: u64 = 16 * 1024 * 1024;

#[test]
fn a_body_over_16_mib_is_refused_at_its_header() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ's limit differs") else {
        return;
    };
    let mut bystander = Bystander::start(&broker);
    let before = broker.resident_kib().expect("it is ours");
    for len in [BODY_MAX + 1, 1 << 40, u64::MAX >> 1, u64::MAX] {
        for _ in 0..20 {
            let mut peer = Peer::open(&broker);
            peer.send(&wire::publish("", "nowhere", false).frame(1));
            peer.send(&wire::content_header(1, len, &[0, 0]));
            let refusal = peer.expect_channel_close(1);
            refusal.expect(406, "PRECONDITION_FAILED - message size", 60, 40);
            // The connection goes on.
            peer.open_channel(2);
        }
        bystander.must_be_served();
    }
    let after = broker.resident_kib().expect("it is ours");
    assert!(
        after < before + 16 * 1024,
        "{before} KiB became {after} KiB"
    );
}

#[test]
fn the_rest_of_a_refused_body_is_ignored_until_the_channel_is_closed() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ's limit differs") else {
        return;
    };
    let mut peer = Peer::open(&broker);
    peer.send(&wire::publish("", "nowhere", false).frame(1));
    peer.send(&wire::content_header(1, BODY_MAX + 1, &[0, 0]));
    for _ in 0..10 {
        peer.send(&wire::frame(BODY, 1, &[0; 100_000]));
    }
    let refusal = peer.expect_channel_close(1);
    refusal.expect(406, "PRECONDITION_FAILED - message size", 60, 40);
    peer.open_channel(1);
    peer.close_connection();
}

#[test]
fn a_body_of_16_mib_arrives() {
    let broker = Broker::start(2);
    let queue = unique("large");
    let mut consumer = Peer::open(&broker);
    consumer.declare(1, &queue, EXCLUSIVE);
    consumer.consume(1, &queue, "", NO_ACK);
    let mut publisher = Peer::open(&broker);
    let body: Vec<u8> = (0..BODY_MAX as u32).map(|i| (i >> 8) as u8).collect();
    publisher.publish(1, &queue, &Properties::default(), &body);
    assert!(
        consumer.expect_delivery(1).body == body,
        "the body was changed on its way"
    );
}

#[test]
fn announced_bodies_take_no_memory_until_they_come() {
    let Some(broker) = Broker::start_own(2, "its memory is not ours to read") else {
        return;
    };
    let mut bystander = Bystander::start(&broker);
    let before = broker.resident_kib().expect("it is ours");
    let mut peers: Vec<_> = (0..40).map(|_| Peer::open(&broker)).collect();
    for peer in &mut peers {
        peer.send(&wire::publish("", "nowhere", false).frame(1));
        peer.send(&wire::content_header(1, BODY_MAX, &[0, 0]));
        peer.send(&wire::frame(BODY, 1, b"one octet came"));
        // An answer on another channel shows that the header has been handled.
        peer.open_channel(2);
    }
    bystander.must_be_served();
    let after = broker.resident_kib().expect("it is ours");
    assert!(
        after < before + 64 * 1024,
        "{before} KiB became {after} KiB"
    );
}

#[test]
fn tables_nested_without_end_are_a_syntax_error() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ knows no such limit") else {
        return;
    };
    let mut bystander = Bystander::start(&broker);
    for depth in [17, 100, 10_000] {
        let tables = nested_tables(depth);
        let mut peer = Peer::open(&broker);
        let declare = method(50, 10).short(0).shortstr("").octet(EXCLUSIVE);
        peer.send(&declare.table(&tables).frame(1));
        peer.expect_connection_close()
            .expect(502, "SYNTAX_ERROR", 50, 10);

        let mut peer = Peer::open(&broker);
        let headers = wire::Bytes::default().table(&tables);
        let properties = Properties::default()
            .with(wire::HEADERS_BIT, headers)
            .encode();
        peer.send(&wire::publish("", "nowhere", false).frame(1));
        peer.send(&wire::content_header(1, 0, &properties));
        let refusal = peer.expect_connection_close();
        assert_eq!(refusal.code, 502, "{refusal:?}");
        bystander.must_be_served();
    }
}

#[test]
fn tables_nested_a_little_are_accepted() {
    let broker = Broker::start(2);
    let mut peer = Peer::open(&broker);
    let queue = unique("nested");
    peer.declare(1, &queue, EXCLUSIVE);
    let headers = wire::Bytes::default().table(&nested_tables(8));
    let properties = Properties::default().with(wire::HEADERS_BIT, headers);
    peer.publish(1, &queue, &properties, b"x");
    let got = peer
        .get(1, &queue, true)
        .expect("it was published on this channel");
    assert_eq!(got.header, properties.encode());
}

#[test]
fn a_strangers_nested_tables_do_not_get_in() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ knows no such limit") else {
        return;
    };
    let mut bystander = Bystander::start(&broker);
    for depth in [10, 500] {
        let mut peer = Peer::connect(&broker);
        peer.send(wire::PROTOCOL_HEADER);
        peer.expect_start();
        let start_ok = method(10, 11)
            .table(&nested_tables(depth))
            .shortstr("PLAIN");
        peer.send(
            &start_ok
                .longstr(b"\0guest\0guest")
                .shortstr("en_US")
                .frame(0),
        );
        if let Some(refusal) = peer.expect_close_or_hang_up() {
            assert!([501, 502].contains(&refusal.code), "{refusal:?}");
        }
        bystander.must_be_served();
    }
}

#[test]
fn lengths_that_lie_take_no_memory() {
    let Some(broker) = Broker::start_own(2, "its memory is not ours to read") else {
        return;
    };
    let before = broker.resident_kib().expect("it is ours");
    for len in [u32::MAX, 0x7FFF_FFFF, 0x1000_0000] {
        for kind in [b'S', b'F', b'A', b'x'] {
            let field = wire::Bytes::default().shortstr("n").octet(kind).long(len);
            let mut peer = Peer::open(&broker);
            let declare = method(50, 10).short(0).shortstr("").octet(EXCLUSIVE);
            peer.send(&declare.table(&field.0).frame(1));
            peer.expect_connection_close()
                .expect(502, "SYNTAX_ERROR", 50, 10);
        }
    }
    let after = broker.resident_kib().expect("it is ours");
    assert!(
        after < before + 16 * 1024,
        "{before} KiB became {after} KiB"
    );
}

#[test]
fn consecutive_hash_words_are_matched_quickly() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ 3.10 takes for ever") else {
        return;
    };
    let queue = unique("hashes");
    let mut peer = Peer::open(&broker);
    peer.declare(1, &queue, EXCLUSIVE);
    let pattern = ["#"; 60].join(".") + ".end";
    let bind = method(50, 20)
        .short(0)
        .shortstr(&queue)
        .shortstr("amq.topic");
    peer.send(&bind.shortstr(&pattern).octet(0).table(&[]).frame(1));
    peer.expect_method(1);
    let key = ["a"; 100].join(".");
    for routing_key in [key.clone() + ".end", key] {
        let publish = wire::publish("amq.topic", &routing_key, false);
        peer.publish_as(1, &publish, &[0, 0], b"x");
    }
    let got = peer
        .get(1, &queue, true)
        .expect("the first of the two matches");
    assert!(got.routing_key.ends_with(".end"));
    assert!(peer.get(1, &queue, true).is_none());
}

#[test]
fn many_channels_work_up_to_the_agreed_maximum() {
    let broker = Broker::start(2);
    let mut peer = Peer::open_connection(&broker);
    for channel in 1..=2047 {
        peer.send(&method(20, 10).shortstr("").frame(channel));
    }
    let mut opened: Vec<_> = (1..=2047).map(|_| peer.expect_frame().channel).collect();
    opened.sort_unstable();
    assert!(opened.iter().copied().eq(1..=2047), "{opened:?}");
    let queue = unique("channels");
    peer.declare(2047, &queue, EXCLUSIVE);
    peer.close_connection();
}
