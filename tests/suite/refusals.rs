//! The rows "refused" of README's table: nothing is accepted and then ignored.

use blackbox::wire::{self, Bytes, Properties, method};
use blackbox::work::EXCLUSIVE;
use blackbox::{Broker, Peer, unique};

/// Flags of methods that the rest of the suite never sets.
const IMMEDIATE: u8 = 2;
const EXPIRATION_BIT: u8 = 8;

fn long(name: &str) -> Vec<u8> {
    Bytes::default().shortstr(name).octet(b'I').long(1000).0
}

fn text(name: &str, value: &str) -> Vec<u8> {
    let named = Bytes::default().shortstr(name).octet(b'S');
    named.longstr(value.as_bytes()).0
}

/// A broker and a peer with a queue of its own.
fn peer_with_queue() -> Option<(Broker, Peer, String)> {
    let broker = Broker::start_own(2, "RabbitMQ has what we refuse")?;
    let mut peer = Peer::open(&broker);
    let queue = unique("refusals");
    peer.declare(1, &queue, EXCLUSIVE);
    Some((broker, peer, queue))
}

#[test]
fn what_is_not_implemented_closes_the_connection_with_540() {
    let Some((broker, _owner, _)) = peer_with_queue() else {
        return;
    };
    let publish = method(60, 40).short(0).shortstr("").shortstr("nowhere");
    let cases: [(&str, Bytes, u16, u16); 3] = [
        ("immediate", publish.octet(IMMEDIATE), 60, 40),
        ("recover", method(60, 110).octet(0), 60, 110),
        ("recover-async", method(60, 100).octet(0), 60, 100),
    ];
    for (what, bytes, class_id, method_id) in cases {
        eprintln!("{what}");
        let mut peer = Peer::open(&broker);
        peer.send(&bytes.frame(1));
        let refusal = peer.expect_connection_close();
        refusal.expect(540, "NOT_IMPLEMENTED - ", class_id, method_id);
    }
}

#[test]
fn a_prefetch_size_closes_the_connection_with_540() {
    let Some((_broker, mut peer, _)) = peer_with_queue() else {
        return;
    };
    peer.send(&method(60, 10).long(1).short(1).octet(0).frame(1));
    peer.expect_connection_close()
        .expect(540, "NOT_IMPLEMENTED", 60, 10);
}

#[test]
fn queue_arguments_of_other_queue_types_are_named_in_a_406() {
    let Some((_broker, mut peer, _)) = peer_with_queue() else {
        return;
    };
    let arguments = [
        ("x-queue-type", text("x-queue-type", "quorum")),
        ("x-queue-type", text("x-queue-type", "stream")),
        ("x-max-age", text("x-max-age", "1h")),
        ("x-max-in-memory-length", long("x-max-in-memory-length")),
        ("x-message-ttl", text("x-message-ttl", "soon")),
        ("x-overflow", text("x-overflow", "drop-tail")),
    ];
    let declare = |name: &str, table: &[u8]| {
        let declare = method(50, 10).short(0).shortstr(name);
        declare.octet(EXCLUSIVE).table(table).frame(1)
    };
    for (name, table) in arguments {
        let queue = unique("never");
        peer.send(&declare(&queue, &table));
        let refusal = peer.expect_channel_close(1);
        let start = format!("PRECONDITION_FAILED - invalid arg '{name}' for queue '{queue}'");
        refusal.expect(406, &start, 50, 10);
        peer.open_channel(1);
        // Nothing was declared.
        peer.send_declare(1, &queue, blackbox::work::PASSIVE);
        peer.expect_channel_close(1)
            .expect(404, "NOT_FOUND", 50, 10);
        peer.open_channel(1);
    }
    peer.send(&declare("", &text("x-queue-type", "classic")));
    peer.expect_method(1);
}

#[test]
fn wrong_exchange_and_consumer_arguments_are_named_in_a_406() {
    let Some((_broker, mut peer, queue)) = peer_with_queue() else {
        return;
    };
    let declare = |table: &[u8]| {
        let name = unique("never");
        let declare = method(40, 10).short(0).shortstr(&name).shortstr("direct");
        declare.octet(0).table(table)
    };
    let consume = |table: &[u8]| {
        let consume = method(60, 20).short(0).shortstr(&queue).shortstr("");
        consume.octet(0).table(table)
    };
    let cases = [
        (
            "invalid type 'signedint' for arg 'alternate-exchange'",
            declare(&long("alternate-exchange")),
            (40, 10),
        ),
        (
            "invalid arg 'x-stream-offset'",
            consume(&text("x-stream-offset", "first")),
            (60, 20),
        ),
        (
            "invalid arg 'x-priority'",
            consume(&text("x-priority", "high")),
            (60, 20),
        ),
    ];
    for (start, bytes, (class_id, method_id)) in cases {
        peer.send(&bytes.frame(1));
        let start = format!("PRECONDITION_FAILED - {start}");
        let refusal = peer.expect_channel_close(1);
        refusal.expect(406, &start, class_id, method_id);
        peer.open_channel(1);
    }
    peer.send(&consume(&long("x-priority")).frame(1));
    peer.expect_method(1);
}

#[test]
fn wrong_properties_close_the_channel() {
    let Some((_broker, mut peer, queue)) = peer_with_queue() else {
        return;
    };
    let short = |text: &str| Bytes::default().shortstr(text);
    let cases = [
        (
            "invalid expiration 'soon': no_integer",
            EXPIRATION_BIT,
            "soon",
        ),
        (
            "user_id property set to 'somebody' but authenticated user was 'guest'",
            wire::USER_ID_BIT,
            "somebody",
        ),
    ];
    for (text, bit, value) in cases {
        let properties = Properties::default().with(bit, short(value));
        peer.publish(1, &queue, &properties, b"never kept");
        let start = format!("PRECONDITION_FAILED - {text}");
        peer.expect_channel_close(1).expect(406, &start, 60, 40);
        peer.open_channel(1);
    }
    assert!(peer.get(1, &queue, true).is_none(), "one was kept");
}

#[test]
fn another_vhost_closes_the_connection_with_530() {
    let Some(broker) = Broker::start_own(1, "its vhosts are not ours to know") else {
        return;
    };
    for vhost in ["elsewhere", "", "//"] {
        let mut peer = Peer::connect(&broker);
        peer.shake_hands_until_tune();
        peer.send(&blackbox::peer::tune_ok(2047, 131_072, 0).frame(0));
        peer.open_vhost(vhost);
        peer.expect_connection_close()
            .expect(530, "NOT_ALLOWED", 10, 40);
    }
}
