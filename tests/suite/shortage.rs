//! Too little of what a broker lives on: open files, connections, memory.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use blackbox::rpc::{Bystander, Caller, Worker, call};
use blackbox::wire::{self, Properties};
use blackbox::work::{AUTO_DELETE, NO_ACK, PASSIVE};
use blackbox::{Broker, PATIENCE, Peer, unique};
use std::thread;
use std::time::{Duration, Instant};

/// How long a broker that has room may take to say its first word.
const A_MOMENT: Duration = Duration::from_millis(700);

#[test]
fn a_broker_out_of_files_serves_whom_it_has_and_others_later() {
    const FILE_COUNT: usize = 80;
    let Some(broker) = Broker::start_short_of_files(2, FILE_COUNT) else {
        return;
    };
    let mut bystander = Bystander::start(&broker);
    let mut served = Vec::new();
    let mut waiting = loop {
        match Peer::try_open(&broker, A_MOMENT) {
            Ok(peer) => served.push(peer),
            Err(peer) => break vec![peer],
        }
        assert!(served.len() < FILE_COUNT, "more connections than files");
    };
    assert!(served.len() > FILE_COUNT / 4, "{} served", served.len());
    for _ in 0..FILE_COUNT {
        let mut peer = Peer::connect(&broker);
        peer.send(wire::PROTOCOL_HEADER);
        waiting.push(peer);
    }
    let before = broker.processor_time().expect("it is ours");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        bystander.must_be_served();
        thread::sleep(Duration::from_millis(20));
    }
    let used = broker.processor_time().expect("it is ours") - before;
    assert!(used < Duration::from_millis(250), "{used:?} in a second");
    for peer in &mut served {
        peer.open_channel(2);
        peer.close_channel(2);
    }
    // One waiting peer for each that leaves.
    for (leaving, next) in served.drain(..).zip(waiting.drain(..)) {
        leaving_makes_room(leaving, next);
        bystander.must_be_served();
    }
    drop(waiting);
    Peer::open(&broker).close_connection();
}

fn leaving_makes_room(mut leaving: Peer, mut next: Peer) {
    leaving.close_connection();
    next.open_late();
    next.close_connection();
}

#[test]
fn connections_beyond_the_maximum_are_closed_at_once() {
    let Some(broker) = Broker::start_with(2, &["--connections-max", "6"]) else {
        return;
    };
    let mut bystander = Bystander::start(&broker);
    let mut others: Vec<_> = (0..4).map(|_| Peer::open(&broker)).collect();
    for _ in 0..20 {
        let mut refused = Peer::connect(&broker);
        refused.send(wire::PROTOCOL_HEADER);
        assert_eq!(refused.read_to_close(), b"", "not even a word");
    }
    bystander.must_be_served();
    for peer in &mut others {
        peer.open_channel(2);
    }
    others
        .into_iter()
        .for_each(|mut peer| peer.close_connection());
    let mut again: Vec<_> = (0..4).map(|_| Peer::open(&broker)).collect();
    again.iter_mut().for_each(Peer::close_connection);
    bystander.must_be_served();
}

#[test]
fn the_maximum_of_connections_is_that_of_all_shards_together() {
    let Some(broker) = Broker::start_with(2, &["--connections-max", "5"]) else {
        return;
    };
    let mut peers: Vec<_> = (0..5).map(|_| Peer::open(&broker)).collect();
    let mut refused = Peer::connect(&broker);
    refused.send(wire::PROTOCOL_HEADER);
    assert_eq!(refused.read_to_close(), b"", "a sixth of five is served");
    peers.iter_mut().for_each(Peer::close_connection);
    let mut again = [(); 5].map(|()| Peer::open(&broker));
    again.iter_mut().for_each(Peer::close_connection);
}

const BODY_LEN: usize = 32 * 1024;
const MEMORY_FLAGS: [&str; 4] = ["--body-max", "65536", "--queue-memory-max", "524288"];
/// More than the limit, less than what lies in sockets.
const FLOOD_COUNT: usize = 32;
/// Buffers for receiving, what had come before reading was stopped, and what the allocator keeps
/// for later of long bodies that have gone: some tens of MiB, however many there were.
const SPARE_KIB: u64 = 64 * 1024;

fn with_little_memory(test: impl Fn(&Broker)) {
    for shard_count in [1, 2] {
        eprintln!("with {shard_count} shard(s)");
        if let Some(broker) = Broker::start_with(shard_count, &MEMORY_FLAGS) {
            test(&broker);
        }
    }
}

fn body(number: u32) -> Vec<u8> {
    let mut body = vec![0; BODY_LEN];
    body[..4].copy_from_slice(&number.to_be_bytes());
    body
}

/// Publishes messages number 0 to `count`.
fn flood(publisher: &mut Peer, queue: &str, count: usize) {
    for number in (0..).take(count) {
        publisher.publish(1, queue, &Properties::default(), &body(number));
    }
}

/// Consumes messages number 0 to `count`.
#[track_caller]
fn drain(consumer: &mut Peer, queue: &str, count: usize) {
    consumer.consume(1, queue, "", NO_ACK);
    for number in (0..).take(count) {
        let delivery = consumer.expect_delivery(1);
        assert!(delivery.body == body(number), "not message {number}");
    }
}

#[track_caller]
fn is_blocked_by_next(peer: &mut Peer) -> bool {
    match peer.expect_method(0) {
        AMQPClass::Connection(Connection::Blocked(blocked)) => {
            assert!(!blocked.reason.as_str().is_empty(), "no reason");
            true
        }
        AMQPClass::Connection(Connection::Unblocked(_)) => false,
        other => panic!("neither blocked nor unblocked: {other:?}"),
    }
}

#[test]
fn a_publisher_is_blocked_at_the_memory_limit_and_unblocked_below() {
    with_little_memory(|broker| {
        let mut consumer = Peer::open(broker);
        let mut publisher = Peer::open_for_blocked(broker);
        let queue = unique("full");
        publisher.declare(1, &queue, 0);
        flood(&mut publisher, &queue, FLOOD_COUNT);
        assert!(is_blocked_by_next(&mut publisher));
        // A method waits behind the publishes of its channel.
        publisher.send_declare(1, &queue, PASSIVE);
        assert!(publisher.is_silent_for(Duration::from_millis(200)));
        let kept = consumer.declare(1, &queue, PASSIVE).message_count as usize;
        assert!((4..=16).contains(&kept), "{kept} of 32 KiB in 512 KiB");
        drain(&mut consumer, &queue, FLOOD_COUNT);
        let mut is_blocked = true;
        loop {
            let frame = publisher.expect_frame();
            if frame.channel == 1 {
                break;
            }
            match frame.decode_method() {
                AMQPClass::Connection(Connection::Unblocked(_)) if is_blocked => is_blocked = false,
                AMQPClass::Connection(Connection::Blocked(_)) if !is_blocked => is_blocked = true,
                other => panic!("blocked is {is_blocked}, and there comes {other:?}"),
            }
        }
        if is_blocked {
            assert!(!is_blocked_by_next(&mut publisher)); // by the last of its messages
        }
        publisher.delete(1, &queue);
    });
}

/// `connection.blocked` and its end may come before the goodbye.
#[track_caller]
fn close_whatever_comes(peer: &mut Peer) {
    let close = wire::method(10, 50).short(200).shortstr("done");
    peer.send(&close.short(0).short(0).frame(0));
    loop {
        let frame = peer.expect_frame();
        let is_over = frame.channel == 0
            && matches!(
                frame.decode_method(),
                AMQPClass::Connection(Connection::CloseOk(_))
            );
        if is_over {
            return;
        }
    }
}

/// On the same connection: a worker whose own messages must be kept, its calls, and their replies.
#[test]
fn calls_in_flight_end_on_the_very_connections_that_wait_for_memory() {
    with_little_memory(|broker| {
        let mut callers = [(); 2].map(|()| Caller::start(broker));
        let mut publisher = Peer::open_for_blocked(broker);
        let queue = unique("work");
        publisher.declare(1, &queue, 0);
        publisher.consume(1, &queue, "", 0);
        let full = unique("full");
        publisher.declare(1, &full, AUTO_DELETE);
        let mut requests = Vec::new();
        for number in 0..100 {
            callers[number % 2].request(&queue, b"2+2");
            requests.push(publisher.expect_delivery(1));
        }
        flood(&mut publisher, &full, FLOOD_COUNT);
        assert!(is_blocked_by_next(&mut publisher));
        for (number, request) in requests.iter().enumerate() {
            let id = request.correlation_id().unwrap();
            let properties = Properties::default().correlation_id(&id);
            publisher.publish(1, &request.reply_to(), &properties, b"4");
            publisher.ack(1, request.delivery_tag);
            assert_eq!(callers[number % 2].next_reply().body, b"4");
        }
        let mut observer = Peer::open(broker);
        let waiting = observer.declare(1, &full, PASSIVE).message_count as usize;
        assert!(waiting < FLOOD_COUNT, "all are kept");
        drain(&mut observer, &full, FLOOD_COUNT);
        close_whatever_comes(&mut publisher);
        let left = observer.declare(1, &queue, PASSIVE).message_count;
        assert_eq!(left, 0, "acknowledged requests are back");
        observer.delete(1, &queue);
    });
}

#[test]
fn a_publisher_that_does_not_know_blocked_is_just_not_read() {
    with_little_memory(|broker| {
        let mut consumer = Peer::open(broker);
        let mut publisher = Peer::open(broker);
        let queue = unique("full");
        publisher.declare(1, &queue, 0);
        flood(&mut publisher, &queue, FLOOD_COUNT);
        publisher.send_declare(1, &queue, PASSIVE);
        assert!(publisher.is_silent_for(Duration::from_millis(300)));
        drain(&mut consumer, &queue, FLOOD_COUNT);
        publisher.expect_method(1);
        publisher.delete(1, &queue);
    });
}

/// A caller and a worker on each shard, as far as there are two; the queue is on the first.
struct Crowd {
    workers: [Worker; 2],
    callers: [Caller; 2],
    publisher: Peer,
    queue: String,
}

impl Crowd {
    fn start(broker: &Broker) -> Crowd {
        // Connections are dealt out in turn.
        let workers = [(); 2].map(|()| Worker::start(broker));
        let callers = [(); 2].map(|()| Caller::start(broker));
        let mut publisher = Peer::open_for_blocked(broker);
        let queue = unique("full");
        publisher.declare(1, &queue, AUTO_DELETE);
        Crowd {
            workers,
            callers,
            publisher,
            queue,
        }
    }

    #[track_caller]
    fn fill_memory(&mut self) {
        flood(&mut self.publisher, &self.queue, FLOOD_COUNT);
        assert!(is_blocked_by_next(&mut self.publisher));
    }

    /// A connection that is blocked at the end would not hear that the broker stops.
    #[track_caller]
    fn empty_memory(&mut self, broker: &Broker) {
        drain(&mut Peer::open(broker), &self.queue, FLOOD_COUNT);
    }
}

#[test]
fn calls_go_on_while_a_publisher_is_blocked() {
    with_little_memory(|broker| {
        let mut crowd = Crowd::start(broker);
        crowd.fill_memory();
        let [near, far] = &mut crowd.callers;
        let [full, roomy] = &mut crowd.workers;
        for _ in 0..50 {
            call(near, full, b"to a worker where memory is full");
            call(near, roomy, b"to the other shard");
            call(far, roomy, b"beside the other shard");
        }
        crowd.empty_memory(broker);
    });
}

#[test]
fn a_call_to_a_full_shard_goes_on_while_a_publisher_is_blocked() {
    with_little_memory(|broker| {
        let mut crowd = Crowd::start(broker);
        crowd.fill_memory();
        for _ in 0..50 {
            call(
                &mut crowd.callers[1],
                &mut crowd.workers[0],
                b"from the other shard",
            );
        }
        crowd.empty_memory(broker);
    });
}

#[test]
fn replies_arrive_while_memory_is_full() {
    with_little_memory(|broker| {
        let mut crowd = Crowd::start(broker);
        let mut open = Vec::new();
        for caller in 0..2 {
            for worker in 0..2 {
                let queue = crowd.workers[worker].queue.clone();
                let id = crowd.callers[caller].request(&queue, b"asked while there was room");
                open.push((caller, worker, id, crowd.workers[worker].next_request()));
            }
        }
        crowd.fill_memory();
        for (caller, worker, id, request) in open {
            crowd.workers[worker].answer(&request, b"answered when there was none");
            let reply = crowd.callers[caller].next_reply();
            assert_eq!(reply.correlation_id(), Some(id));
        }
        crowd.empty_memory(broker);
    });
}

#[test]
fn memory_stays_bounded_however_much_is_published() {
    const COUNT: usize = 8192;
    with_little_memory(|broker| {
        let mut consumer = Peer::open(broker);
        let mut publisher = Peer::open_for_blocked(broker);
        let queue = unique("full");
        publisher.declare(1, &queue, 0);
        let before = broker.resident_kib().expect("it is ours");
        let flooding = thread::spawn({
            let queue = queue.clone();
            move || {
                flood(&mut publisher, &queue, COUNT);
                publisher
            }
        });
        thread::sleep(Duration::from_millis(500));
        assert!(!flooding.is_finished(), "256 MiB were taken in");
        let during = broker.resident_kib().expect("it is ours");
        drain(&mut consumer, &queue, COUNT);
        let mut publisher = flooding.join().expect("the flood ends");
        let deadline = Instant::now() + PATIENCE;
        while is_blocked_by_next(&mut publisher) || !publisher.is_silent_for(A_MOMENT) {
            assert!(Instant::now() < deadline, "still blocked");
        }
        publisher.delete(1, &queue);
        let after = broker.resident_kib().expect("it is ours");
        eprintln!("KiB before, during, after: {before}, {during}, {after}");
        assert!(during.max(after) < before + SPARE_KIB, "too much");
    });
}
