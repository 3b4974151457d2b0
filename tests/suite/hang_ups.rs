//! Peers that leave without a word while the broker does not read them.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use blackbox::wire::Properties;
use blackbox::work::{EXCLUSIVE, PASSIVE};
use blackbox::{Broker, PATIENCE, Peer, unique};
use std::thread;
use std::time::{Duration, Instant};

use crate::churn::expect_gone;

/// On one shard, so that what a bystander is answered shows how far the publisher was read.
const FLAGS: [&str; 6] = [
    "--connections-max",
    "2",
    "--body-max",
    "65536",
    "--queue-memory-max",
    "524288",
];
const BODY_LEN: usize = 32 * 1024;
/// The limit of memory, and more than the connection lets wait. Little of it stays in the socket:
/// an end behind more than that takes in would stay with the peer.
const COUNT: usize = 16 + 5;

fn publish_all(publisher: &mut Peer, queue: &str, count: usize) {
    for _ in 0..count {
        publisher.publish(1, queue, &Properties::default(), &[7; BODY_LEN]);
    }
}

#[track_caller]
fn expect_blocked(publisher: &mut Peer) {
    match publisher.expect_method(0) {
        AMQPClass::Connection(Connection::Blocked(_)) => {}
        other => panic!("not blocked: {other:?}"),
    }
}

/// Nobody else may use the queue: its connection is there.
#[track_caller]
fn expect_locked(witness: &mut Peer, queue: &str) {
    witness.open_channel(9);
    witness.send_declare(9, queue, PASSIVE);
    let refusal = witness.expect_channel_close(9);
    refusal.expect(405, "RESOURCE_LOCKED", 50, 10);
}

/// Waits until another connection has room.
#[track_caller]
fn expect_room(broker: &Broker) -> Peer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(peer) = Peer::open_where_room(broker) {
            return peer;
        }
        assert!(Instant::now() < deadline, "its slot was never free again");
        thread::sleep(Duration::from_millis(1));
    }
}

fn unread_publisher_leaves(leave: impl Fn(Peer)) {
    let Some(broker) = Broker::start_with(1, &FLAGS) else {
        return;
    };
    let mut witness = Peer::open(&broker);
    // Again in the slot that the one before has left.
    for _ in 0..3 {
        let mut publisher = expect_room(&broker);
        let queue = unique("left");
        publisher.declare(1, &queue, EXCLUSIVE);
        publish_all(&mut publisher, &queue, COUNT);
        // Turns in which the publisher is read, and then is not any more.
        (0..3).for_each(|_| expect_locked(&mut witness, &queue));
        expect_blocked(&mut publisher);
        leave(publisher);
        expect_gone(&mut witness, &queue);
    }
    expect_room(&broker).close_connection();
}

#[test]
fn a_blocked_publisher_that_closes_its_socket_leaves_nothing() {
    unread_publisher_leaves(drop);
}

#[test]
fn a_blocked_publisher_that_resets_its_connection_leaves_nothing() {
    unread_publisher_leaves(Peer::reset);
}
