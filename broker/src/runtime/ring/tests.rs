//! Over loopback sockets: what the kernel does cannot be imitated.

use super::*;
use crate::engine::buffer::Insert;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

const TINY: RingSettings = RingSettings {
    submission_entries: 2,
    completion_entries: 4,
    receive_buffer_count: 2,
    receive_buffer_len: 64,
};

/// Far beyond what any test needs; only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(20);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

fn next(ring: &mut Ring) -> Completion {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(completion) = ring.poll_completion() {
            return completion;
        }
        assert!(Instant::now() < until, "no completion came");
        ring.turn(Some(Duration::from_secs(1))).unwrap();
    }
}

fn is_silent(ring: &mut Ring, wait: Duration) -> bool {
    ring.turn(Some(wait)).unwrap();
    ring.poll_completion().is_none()
}

#[test]
fn no_octet_is_lost_when_the_buffers_run_out() {
    let mut ring = Ring::new(&TINY).unwrap();
    let (near, mut far) = pair();
    let expected = pattern(100_000);
    let sent = expected.clone();
    let writer = thread::spawn(move || far.write_all(&sent));
    ring.receive(near.as_raw_fd(), 9);
    let (mut got, mut held, mut ran_out) = (Vec::new(), Vec::new(), 0);
    loop {
        match next(&mut ring) {
            Completion::Received {
                token: 9,
                result,
                armed,
            } => {
                match result {
                    Ok(Some(received)) => {
                        got.extend_from_slice(ring.bytes(&received));
                        held.push(received);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
                        ran_out += 1;
                    }
                }
                if !armed {
                    // Held back until the kernel had to complain.
                    held.drain(..).for_each(|received| ring.recycle(received));
                    ring.receive(near.as_raw_fd(), 9);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    writer.join().unwrap().unwrap();
    assert!(
        got == expected && ran_out > 100,
        "{} octets, {ran_out} times",
        got.len()
    );
}

#[test]
fn a_mebibyte_reaches_a_slow_reader_in_short_sends() {
    let mut ring = Ring::new(&TINY).unwrap();
    let (near, mut far) = pair();
    let expected = pattern(1 << 20);
    let reader = thread::spawn(move || {
        let (mut got, mut chunk) = (Vec::new(), [0; 1500]);
        loop {
            let len = far.read(&mut chunk).unwrap();
            if len == 0 {
                return got;
            }
            got.extend_from_slice(&chunk[..len]);
            if got.len() % 50 == 0 {
                thread::yield_now();
            }
        }
    });
    let mut from = 0;
    ring.send(near.as_raw_fd(), 3, expected.clone(), from);
    loop {
        match next(&mut ring) {
            Completion::Sent {
                token: 3,
                buffer,
                result,
            } => {
                from += result.unwrap();
                if from == buffer.len() {
                    break;
                }
                ring.send(near.as_raw_fd(), 3, buffer, from);
            }
            other => panic!("{other:?}"),
        }
    }
    drop(ring);
    drop(near);
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn octets_that_lie_apart_reach_a_slow_reader_in_order() {
    let mut ring = Ring::new(&TINY).unwrap();
    let (near, mut far) = pair();
    let insert = |at| Insert {
        at,
        octets: pattern(70_000).into(),
    };
    let batch = || Batch {
        bytes: pattern(300),
        inserts: (1..=10).map(|count| insert(30 * count)).collect(),
    };
    let expected = batch().into_bytes();
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        far.read_to_end(&mut got).map(|_| got)
    });
    let (mut from, mut waiting) = (0, batch());
    while from < expected.len() {
        ring.send_gathered(near.as_raw_fd(), 3, waiting, from);
        match next(&mut ring) {
            Completion::SentGathered {
                token: 3,
                batch,
                result,
            } => {
                from += result.unwrap();
                waiting = batch;
            }
            other => panic!("{other:?}"),
        }
    }
    drop(ring);
    drop(near);
    assert!(reader.join().unwrap().unwrap() == expected);
}

#[test]
fn a_send_to_a_peer_that_is_gone_returns_the_buffer_with_an_error() {
    let mut ring = Ring::new(&TINY).unwrap();
    let (near, far) = pair();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    drop(far);
    ring.send(near.as_raw_fd(), 3, vec![1, 2, 3], 1);
    match next(&mut ring) {
        Completion::Sent {
            token: 3,
            buffer,
            result,
        } => {
            assert_eq!(buffer, [1, 2, 3]);
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cancelled_receive_ends_and_can_be_armed_again() {
    let mut ring = Ring::new(&TINY).unwrap();
    let (near, mut far) = pair();
    ring.receive(near.as_raw_fd(), 5);
    assert!(is_silent(&mut ring, Duration::from_millis(1)));
    ring.cancel_receive(5);
    match next(&mut ring) {
        Completion::Received {
            token: 5,
            result: Err(error),
            armed: false,
        } => {
            assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        }
        other => panic!("{other:?}"),
    }
    far.write_all(b"later").unwrap();
    assert!(is_silent(&mut ring, Duration::from_millis(20)));
    ring.receive(near.as_raw_fd(), 5);
    match next(&mut ring) {
        Completion::Received {
            token: 5,
            result: Ok(Some(received)),
            ..
        } => {
            assert_eq!(ring.bytes(&received), b"later");
            ring.recycle(received);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn cancelling_what_is_not_armed_says_nothing() {
    let mut ring = Ring::new(&TINY).unwrap();
    ring.cancel_receive(5);
    assert!(is_silent(&mut ring, Duration::from_millis(5)));
}

#[test]
fn a_hang_up_is_told_and_octets_before_it_are_not() {
    let mut ring = Ring::new(&TINY).unwrap();
    let (mut near, mut far) = pair();
    ring.watch(near.as_raw_fd(), 5);
    far.write_all(b"unread").unwrap();
    assert!(is_silent(&mut ring, Duration::from_millis(20)));
    far.shutdown(std::net::Shutdown::Write).unwrap();
    match next(&mut ring) {
        Completion::HungUp { token: 5, result } => result.unwrap(),
        other => panic!("{other:?}"),
    }
    // Once; a watch that comes late is told all the same.
    assert!(is_silent(&mut ring, Duration::from_millis(5)));
    ring.watch(near.as_raw_fd(), 6);
    match next(&mut ring) {
        Completion::HungUp { token: 6, result } => result.unwrap(),
        other => panic!("{other:?}"),
    }
    let mut unread = Vec::new();
    near.read_to_end(&mut unread).unwrap();
    assert_eq!(unread, b"unread");
}

#[test]
fn a_cancelled_watch_ends_and_can_be_started_again() {
    let mut ring = Ring::new(&TINY).unwrap();
    let (near, far) = pair();
    // At once, and after the kernel has it.
    for waits in [false, true] {
        ring.watch(near.as_raw_fd(), 5);
        assert!(!waits || is_silent(&mut ring, Duration::from_millis(1)));
        ring.cancel_watch(5);
        match next(&mut ring) {
            Completion::HungUp { token: 5, result } => {
                let error = result.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
            }
            other => panic!("{other:?}"),
        }
        // It finds nothing, and not the next one either.
        ring.cancel_watch(5);
    }
    ring.watch(near.as_raw_fd(), 5);
    assert!(is_silent(&mut ring, Duration::from_millis(5)));
    drop(far);
    match next(&mut ring) {
        Completion::HungUp { token: 5, result } => result.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_accept_takes_many_connections_and_ends_when_the_listener_is_shut_down() {
    let mut ring = Ring::new(&TINY).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.accept(listener.as_raw_fd(), 1);
    ring.turn(Some(Duration::ZERO)).unwrap();
    // More than the completion queue holds: the kernel keeps the rest for us.
    let address = listener.local_addr().unwrap();
    let peers: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for _ in &peers {
        match next(&mut ring) {
            Completion::Accepted {
                token: 1,
                result: Ok(fd),
                armed,
            } => {
                drop(fd);
                if !armed {
                    ring.accept(listener.as_raw_fd(), 1);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    // SAFETY: a valid descriptor.
    unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
    assert!(matches!(
        next(&mut ring),
        Completion::Accepted {
            token: 1,
            result: Err(_),
            armed: false
        }
    ));
}

#[test]
fn more_operations_than_the_submission_queue_holds_all_complete() {
    let mut ring = Ring::new(&TINY).unwrap();
    let pairs: Vec<_> = (0..50).map(|_| pair()).collect();
    for (token, (near, _)) in (0..).zip(&pairs) {
        ring.send(near.as_raw_fd(), token, vec![token as u8; 10], 0);
    }
    let mut seen = [false; 50];
    for _ in 0..50 {
        match next(&mut ring) {
            Completion::Sent {
                token,
                result: Ok(10),
                ..
            } => seen[token as usize] = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.iter().all(|seen| *seen));
}

#[test]
fn a_doorbell_wakes_a_ring_on_another_thread() {
    let (tell, told) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let sleeper = thread::spawn(move || {
        let mut ring = Ring::new(&TINY).unwrap();
        tell.send(ring.doorbell()).unwrap();
        let values: Vec<u32> = (0..1000)
            .map(|_| match next(&mut ring) {
                Completion::Doorbell { value } => value,
                other => panic!("{other:?}"),
            })
            .collect();
        // The other side rings until the end: our descriptor must stay ours until then.
        wait.recv().unwrap_err();
        values
    });
    let doorbell = told.recv().unwrap();
    let mut ring = Ring::new(&TINY).unwrap();
    for value in 0..1000 {
        ring.ring_doorbell(doorbell, value);
        if value % 3 == 0 {
            assert!(is_silent(&mut ring, Duration::ZERO));
        }
    }
    let until = Instant::now() + PATIENCE;
    while !(ring.io.submission().is_empty() && ring.backlog.is_empty() && ring.unrung.is_empty()) {
        assert!(Instant::now() < until);
        assert!(is_silent(&mut ring, Duration::from_millis(1)));
    }
    assert!(is_silent(&mut ring, Duration::from_millis(1)));
    drop(done);
    let mut values = sleeper.join().unwrap();
    values.sort_unstable();
    assert_eq!(values, (0..1000).collect::<Vec<u32>>());
}

#[test]
fn a_doorbell_that_found_no_room_is_rung_again_and_one_to_nobody_is_forgotten() {
    let mut ring = Ring::new(&TINY).unwrap();
    let own = ring.doorbell();
    ring.unrung.push((own, 4));
    ring.turn(Some(PATIENCE)).unwrap();
    assert!(matches!(next(&mut ring), Completion::Doorbell { value: 4 }));
    let (near, _far) = pair();
    ring.ring_doorbell(near.as_raw_fd(), 1);
    assert!(is_silent(&mut ring, Duration::from_millis(5)));
    assert!(ring.unrung.is_empty());
}

#[test]
fn a_ring_that_goes_rings_its_last_doorbells() {
    let mut hearer = Ring::new(&TINY).unwrap();
    let mut ringer = Ring::new(&TINY).unwrap();
    ringer.ring_doorbell(hearer.doorbell(), 4);
    // As if one had found no room.
    ringer.unrung.push((hearer.doorbell(), 5));
    drop(ringer);
    for expected in [4, 5] {
        match next(&mut hearer) {
            Completion::Doorbell { value } => assert_eq!(value, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_turn_lasts_as_long_as_it_was_given() {
    let mut ring = Ring::new(&TINY).unwrap();
    let start = Instant::now();
    assert!(is_silent(&mut ring, Duration::from_millis(30)));
    assert!(start.elapsed() >= Duration::from_millis(30));
    let start = Instant::now();
    assert!(is_silent(&mut ring, Duration::ZERO));
    assert!(start.elapsed() < Duration::from_millis(30));
}

#[test]
fn dropping_a_ring_ends_what_was_in_flight() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (near, far) = pair();
    let mut ring = Ring::new(&TINY).unwrap();
    ring.accept(listener.as_raw_fd(), 1);
    ring.receive(near.as_raw_fd(), 2);
    ring.watch(near.as_raw_fd(), 2);
    // More than the socket takes, in two sends: the second one waits in the kernel.
    ring.send(near.as_raw_fd(), 3, pattern(32 << 20), 0);
    ring.send(near.as_raw_fd(), 3, pattern(32 << 20), 0);
    ring.turn(Some(Duration::ZERO)).unwrap();
    let _unanswered = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let start = Instant::now();
    assert!(ring.join());
    drop(ring);
    assert!(start.elapsed() < DROP_WAIT_MAX);
    // Nobody receives any more: what arrives stays in the socket.
    let mut far = far;
    far.write_all(b"x").unwrap();
    let mut octet = [0];
    let mut near = near;
    near.read_exact(&mut octet).unwrap();
}

#[test]
fn an_error_of_the_kernel_is_put_in_words() {
    let text = explain(io::Error::from_raw_os_error(libc::EPERM)).to_string();
    assert!(text.contains("io_uring_disabled"), "{text}");
    let text = explain(io::Error::from_raw_os_error(libc::EINVAL)).to_string();
    assert!(text.contains("6.1"), "{text}");
}
