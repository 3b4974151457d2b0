//! Requests that come in pieces: what a client writes is not what TCP carries.

use blackbox::peer::Peer;
use blackbox::rpc::{Caller, REPLY_TO, Worker, call};
use blackbox::wire::{self, BODY, Properties};
use blackbox::{on_one_and_two_shards, unique};
use std::time::{Duration, Instant};

/// Clients that write a publish in three pieces with Nagle on meet delayed acknowledgements: slow,
/// but correct.
#[test]
fn a_request_written_in_pieces_with_nagle_on_is_answered() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        caller.peer.switch_nagle_on();
        worker.peer.switch_nagle_on();
        let properties = Properties::default().reply_to(REPLY_TO).encode();
        for number in 0..8u8 {
            let body = [number; 100];
            let method = wire::publish("", &worker.queue, false).frame(1);
            let header = wire::content_header(1, 100, &properties);
            let body_frame = wire::frame(BODY, 1, &body);
            match number % 3 {
                0 => [&method[..], &header, &body_frame]
                    .iter()
                    .for_each(|piece| caller.peer.send(piece)),
                1 => {
                    caller.peer.send(&method);
                    caller.peer.send(&[header, body_frame].concat());
                }
                // The cuts lie inside frames.
                _ => {
                    let whole = [method, header, body_frame].concat();
                    let (first, rest) = whole.split_at(5);
                    let (second, third) = rest.split_at(rest.len() - 30);
                    [first, second, third]
                        .iter()
                        .for_each(|piece| caller.peer.send(piece));
                }
            }
            let request = worker.next_request();
            assert_eq!(request.body, body);
            worker.answer(&request, &body);
            assert_eq!(caller.next_reply().body, body);
        }
        call(&mut caller, &mut worker, b"and in one piece");
    });
}

/// Each call of such clients takes as long as an acknowledgement is put off, unless the broker sees
/// that they wait for it. Not a test of speed: nearly all calls waited before, hardly one does now,
/// and a busy machine does not slow down half of them by as much.
#[test]
fn clients_that_split_with_nagle_on_do_not_wait_for_acknowledgements() {
    const CALLS: usize = 80;
    const DELAYED_ACK: Duration = Duration::from_millis(38);
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        caller.peer.switch_nagle_on();
        worker.peer.switch_nagle_on();
        let send_split = |peer: &mut Peer, queue: &str, properties: &Properties| {
            peer.send(&wire::publish("", queue, false).frame(1));
            peer.send(&wire::content_header(1, 4, &properties.encode()));
            peer.send(&wire::frame(BODY, 1, b"body"));
        };
        let mut slow_count = 0;
        for _ in 0..CALLS {
            let start = Instant::now();
            let queue = worker.queue.clone();
            let asked = Properties::default().reply_to(REPLY_TO);
            send_split(&mut caller.peer, &queue, &asked);
            let request = worker.next_request();
            send_split(
                &mut worker.peer,
                &request.reply_to(),
                &Properties::default(),
            );
            assert_eq!(caller.next_reply().body, b"body");
            slow_count += usize::from(start.elapsed() >= DELAYED_ACK);
        }
        assert!(slow_count < CALLS / 2, "{slow_count} of {CALLS} waited");
    });
}

#[test]
fn a_request_cut_anywhere_is_answered() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        let id = unique("cut");
        let properties = Properties::default().reply_to(REPLY_TO).correlation_id(&id);
        let mut request = wire::publish("", &worker.queue, false).frame(1);
        request.extend(wire::content_header(1, 20, &properties.encode()));
        request.extend(wire::frame(BODY, 1, &[7; 9]));
        request.extend(wire::frame(BODY, 1, &[7; 11]));
        for cut in 1..request.len() {
            caller.peer.send(&request[..cut]);
            // Time for the first piece to be read alone.
            worker.peer.open_channel(2);
            worker.peer.close_channel(2);
            caller.peer.send(&request[cut..]);
            let received = worker.next_request();
            assert_eq!(received.body, [7; 20], "cut at {cut}");
            worker.answer(&received, &received.body);
            assert_eq!(caller.next_reply().correlation_id(), Some(id.clone()));
        }
    });
}
