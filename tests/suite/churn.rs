//! One callback queue per call, as older helpers do it: nothing of them stays behind.

use blackbox::rpc::Worker;
use blackbox::wire::Properties;
use blackbox::work::{EXCLUSIVE, NO_ACK, PASSIVE};
use blackbox::{Broker, PATIENCE, Peer};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const QUEUES_PER_ROUND: usize = 1000;
const QUEUES_PER_CONNECTION: usize = 100;
/// What one round may leave by accident: a queue that stays costs some hundred octets.
const NOISE_KIB: u64 = 128;

/// Declares a callback queue and makes one call by it.
#[track_caller]
fn call_by_queue(caller: &mut Peer, worker: &mut Worker) -> String {
    let callback = caller.declare(1, "", EXCLUSIVE).queue.to_string();
    caller.consume(1, &callback, &callback, NO_ACK);
    let properties = Properties::default().reply_to(&callback);
    caller.publish(1, &worker.queue, &properties, b"question");
    let request = worker.next_request();
    assert_eq!(request.reply_to(), callback);
    worker.answer(&request, callback.as_bytes());
    let reply = caller.expect_delivery(1);
    assert_eq!(reply.body, callback.as_bytes());
    assert_eq!(reply.consumer_tag, callback);
    callback
}

/// Waits until nobody knows the queue any more.
#[track_caller]
pub(crate) fn expect_gone(witness: &mut Peer, queue: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        witness.open_channel(9);
        witness.send_declare(9, queue, PASSIVE);
        let refusal = witness.expect_channel_close(9);
        if refusal.code != 405 || Instant::now() > deadline {
            return refusal.expect(404, "NOT_FOUND - no queue", 50, 10);
        }
        // Its connection is gone, its other shard has not heard of it yet.
        thread::sleep(Duration::from_millis(1));
    }
}

fn churn(shard_count: usize, round: impl Fn(&Broker, &mut Worker, &mut Peer)) {
    let broker = Broker::start(shard_count);
    let mut worker = Worker::start(&broker);
    let mut witness = Peer::open(&broker);
    let resident: Vec<_> = (0..ROUNDS)
        .map(|_| {
            round(&broker, &mut worker, &mut witness);
            broker.resident_kib()
        })
        .collect();
    if let (Some(early), Some(late)) = (resident[1], resident[ROUNDS - 1]) {
        let noise = NOISE_KIB * (ROUNDS as u64 - 2);
        assert!(late <= early + noise, "KiB after each round: {resident:?}");
    }
}

fn round_of_deleted(broker: &Broker, worker: &mut Worker, witness: &mut Peer) {
    let mut caller = Peer::open(broker);
    for number in 0..QUEUES_PER_ROUND {
        let queue = call_by_queue(&mut caller, worker);
        caller.cancel(1, &queue);
        caller.delete(1, &queue);
        if number % QUEUES_PER_CONNECTION == 0 {
            expect_gone(witness, &queue);
        }
    }
    caller.close_connection();
}

fn round_of_dropped(broker: &Broker, worker: &mut Worker, witness: &mut Peer) {
    for number in 0..QUEUES_PER_ROUND / QUEUES_PER_CONNECTION {
        let mut caller = Peer::open(broker);
        let queues: Vec<_> = (0..QUEUES_PER_CONNECTION)
            .map(|_| call_by_queue(&mut caller, worker))
            .collect();
        // Some say goodbye, others just leave.
        match number % 2 {
            0 => caller.close_connection(),
            _ => drop(caller),
        }
        for queue in queues.iter().step_by(20) {
            expect_gone(witness, queue);
        }
    }
}

#[test]
fn deleted_callback_queues_leave_nothing_on_one_shard() {
    churn(1, round_of_deleted);
}

#[test]
fn deleted_callback_queues_leave_nothing_on_two_shards() {
    churn(2, round_of_deleted);
}

#[test]
fn dropped_callback_queues_leave_nothing_on_one_shard() {
    churn(1, round_of_dropped);
}

#[test]
fn dropped_callback_queues_leave_nothing_on_two_shards() {
    churn(2, round_of_dropped);
}
