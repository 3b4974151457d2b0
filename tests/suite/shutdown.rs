//! SIGTERM: everybody is told, and the process ends soon and well.

use std::time::Duration;

use blackbox::rpc::{Caller, Worker, call};
use blackbox::{Broker, Peer};

const REASON: &str = "SIGTERM would stop a broker that is not ours";

#[test]
fn sigterm_closes_every_connection_with_320_and_exits_0() {
    for shard_count in [1, 2] {
        let Some(mut broker) = Broker::start_own(shard_count, REASON) else {
            return;
        };
        let mut worker = Worker::start(&broker);
        let mut caller = Caller::start(&broker);
        call(&mut caller, &mut worker, b"before the end");
        let mut idle = Peer::open_connection(&broker);
        broker.begin_shutdown();
        for peer in [&mut worker.peer, &mut caller.peer, &mut idle] {
            peer.expect_connection_close()
                .expect(320, "CONNECTION_FORCED", 0, 0);
        }
        let exit = broker.shut_down();
        assert_eq!(exit.code, Some(0));
        assert!(exit.took < Duration::from_secs(5), "{:?}", exit.took);
    }
}

#[test]
fn peers_that_do_not_answer_do_not_hold_up_the_end() {
    let Some(broker) = Broker::start_own(2, REASON) else {
        return;
    };
    let mut worker = Worker::start(&broker);
    let mut deaf = Caller::start(&broker);
    for _ in 0..20 {
        deaf.request(&worker.queue, b"x");
    }
    let requests: Vec<_> = (0..20).map(|_| worker.next_request()).collect();
    for request in &requests {
        worker.answer(request, &vec![1; 1 << 20]);
    }
    let stranger = Peer::connect(&broker);
    let exit = broker.shut_down();
    assert_eq!(exit.code, Some(0));
    assert!(exit.took < Duration::from_secs(8), "{:?}", exit.took);
    drop((stranger, deaf, worker));
}

#[test]
fn a_broker_without_connections_ends_at_once() {
    let Some(broker) = Broker::start_own(2, REASON) else {
        return;
    };
    let exit = broker.shut_down();
    assert_eq!(exit.code, Some(0));
    assert!(exit.took < Duration::from_secs(3), "{:?}", exit.took);
}
