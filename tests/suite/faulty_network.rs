//! What a network does to the octets of a connection does not change what they say.

use blackbox::proxy::{Manner, Plan, Way};
use blackbox::rpc::{Bystander, Caller, Worker, call};
use blackbox::wire::Properties;
use blackbox::work::{EXCLUSIVE, NO_ACK};
use blackbox::{Broker, Peer, Proxy, on_one_and_two_shards};
use std::thread;

const BODY_LENS: [usize; 6] = [0, 1, 300, 5000, 20_000, 150_000];

fn pattern(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at + number) % 251) as u8).collect()
}

/// Calls of both styles by a caller and a worker behind the same bad network.
#[track_caller]
fn calls_complete(broker: &Broker, manner: Manner, body_lens: &[usize]) {
    eprintln!("{manner:?}");
    let plan = Plan {
        to_broker: manner,
        to_peer: manner,
        ..Plan::default()
    };
    let proxy = Proxy::start(broker, plan);
    let through = proxy.broker();
    let mut worker = Worker::start(&through);
    let mut caller = Caller::start(&through);
    for (number, len) in body_lens.iter().enumerate() {
        call(&mut caller, &mut worker, &pattern(number, *len));
    }
    let mut caller = Peer::open(&through);
    let callback = caller.declare(1, "", EXCLUSIVE).queue.to_string();
    caller.consume(1, &callback, "", NO_ACK);
    let properties = Properties::default().reply_to(&callback);
    for (number, len) in body_lens.iter().enumerate() {
        caller.publish(1, &worker.queue, &properties, &pattern(number, *len));
        let request = worker.next_request();
        assert!(request.body == pattern(number, *len));
        worker.answer(&request, &pattern(number + 1, *len));
        assert!(caller.expect_delivery(1).body == pattern(number + 1, *len));
    }
    caller.close_connection();
    worker.peer.close_connection();
}

#[test]
fn calls_complete_whatever_pieces_their_octets_come_in() {
    on_one_and_two_shards(|broker| {
        calls_complete(broker, Manner::OneByOne, &BODY_LENS[..4]);
        for (seed, len_max) in [(1, 3), (2, 20), (3, 500), (4, 9000)] {
            let manner = Manner::InPieces { seed, len_max };
            // Short pieces take their time.
            let body_lens = if len_max < 100 {
                &BODY_LENS[..4]
            } else {
                &BODY_LENS
            };
            calls_complete(broker, manner, body_lens);
        }
    });
}

#[test]
fn calls_complete_when_their_octets_come_late_and_together() {
    on_one_and_two_shards(|broker| {
        calls_complete(broker, Manner::Together, &BODY_LENS);
    });
}

const LONG_LEN: usize = 4 * 1024 * 1024;

#[test]
fn long_replies_pass_a_narrow_network_whole_while_a_bystander_is_served() {
    const COUNT: usize = 2;
    on_one_and_two_shards(|broker| {
        let mut bystander = Bystander::start(broker);
        let mut worker = Worker::start(broker);
        let plan = Plan {
            is_narrow: true,
            ..Plan::default()
        };
        let proxy = Proxy::start(broker, plan);
        let mut caller = Caller::start(&proxy.broker());
        for number in 0..COUNT {
            caller.request(&worker.queue, b"a long one, please");
            let request = worker.next_request();
            worker.answer(&request, &pattern(number, LONG_LEN));
        }
        let reader = thread::spawn(move || {
            for number in 0..COUNT {
                let body = caller.next_reply().body;
                assert!(body == pattern(number, LONG_LEN), "reply {number}");
            }
        });
        bystander.must_be_served();
        while !reader.is_finished() {
            bystander.must_be_served();
        }
        reader.join().expect("the replies are whole");
    });
}

#[test]
fn who_stops_reading_and_goes_on_gets_everything_in_order() {
    const COUNT: usize = 20;
    const LEN: usize = 300_000;
    on_one_and_two_shards(|broker| {
        let mut bystander = Bystander::start(broker);
        let mut worker = Worker::start(broker);
        let plan = Plan {
            is_narrow: true,
            ..Plan::default()
        };
        let proxy = Proxy::start(broker, plan);
        let through = proxy.broker();
        let mut caller = Caller::start(&through);
        let mut queue_caller = Peer::open(&through);
        let callback = queue_caller.declare(1, "", EXCLUSIVE).queue.to_string();
        queue_caller.consume(1, &callback, "", NO_ACK);
        // Before it stops: who is not read is not heard either.
        let properties = Properties::default().reply_to(&callback);
        let mut requests = Vec::new();
        for _ in 0..COUNT {
            caller.request(&worker.queue, b"directly");
            requests.push(worker.next_request());
            queue_caller.publish(1, &worker.queue, &properties, b"by a queue");
            requests.push(worker.next_request());
        }
        proxy.hold();
        for (number, request) in requests.iter().enumerate() {
            worker.answer(request, &pattern(number, LEN));
            bystander.must_be_served();
        }
        assert!(
            proxy.passed(Way::ToPeer) < LEN as u64,
            "nothing was held back"
        );
        proxy.release();
        for number in 0..COUNT {
            let (direct, queued) = (pattern(2 * number, LEN), pattern(2 * number + 1, LEN));
            assert!(caller.next_reply().body == direct, "{number}");
            assert!(queue_caller.expect_delivery(1).body == queued, "{number}");
        }
        bystander.must_be_served();
    });
}
