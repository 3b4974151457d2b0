//! A mail's way from one shard to another: the mailbox only, then with a thread at each end. No
//! doorbell rings here, both ends stay awake.

use crate::call::{Acknowledge, Call, Placement, Reply, Shape};
use crate::case::{Case, Step};
use broker::engine::shard::Mail;
use broker::runtime::mesh::{Lane, Mailboxes};
use std::collections::VecDeque;
use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Looks before a waiting thread gives its core away: with one core the other needs it.
const LOOKS_BEFORE_YIELD: u32 = 10_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("mailbox", "hop, one thread", || hop(1)),
        Case::new("mailbox", "hop, one thread, 16 per turn", || hop(16)).of(16),
        Case::new("mailbox", "there and back, two threads", round_trip).counted_if(false),
    ]
}

/// The same mails to and fro, so every step is one direction.
fn hop(count: usize) -> Step {
    let mut ends = Mailboxes::for_shards(2);
    let (mut far, mut near) = (ends.pop().expect("two"), ends.pop().expect("two"));
    let mut outbox: VecDeque<Mail> = (0..count).map(|_| request_mail()).collect();
    Box::new(move || {
        let count = outbox.len();
        send(&mut near, &mut outbox);
        while let Some(mail) = far.receive(near.index(), Lane::Ordinary) {
            outbox.push_back(mail);
        }
        assert_eq!(outbox.len(), count);
        std::mem::swap(&mut near, &mut far);
    })
}

fn round_trip() -> Step {
    let mut ends = Mailboxes::for_shards(2);
    let (far, mut near) = (ends.pop().expect("two"), ends.pop().expect("two"));
    let echo = Echo::start(far);
    let mut outbox = VecDeque::from([request_mail()]);
    Box::new(move || {
        send(&mut near, &mut outbox);
        let mut looks = 0;
        while !receive(&mut near, &mut outbox) {
            assert!(!echo.has_ended(), "the echo answers");
            wait(&mut looks);
        }
    })
}

/// As a shard does at the end of its turn.
fn send(from: &mut Mailboxes<Mail>, outbox: &mut VecDeque<Mail>) {
    let to = 1 - from.index();
    assert!(from.send(to, Lane::Ordinary, outbox), "there is room");
    assert!(!from.must_ring(to), "nobody sleeps");
}

fn receive(to: &mut Mailboxes<Mail>, outbox: &mut VecDeque<Mail>) -> bool {
    let received = to.receive(1 - to.index(), Lane::Ordinary);
    outbox.extend(received);
    !outbox.is_empty()
}

fn wait(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS_BEFORE_YIELD) {
        thread::yield_now();
    } else {
        hint::spin_loop();
    }
}

/// A thread that sends back every mail, until it is dropped.
struct Echo {
    must_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(mut mailboxes: Mailboxes<Mail>) -> Echo {
        let must_end = Arc::new(AtomicBool::new(false));
        let must_end_too = Arc::clone(&must_end);
        let thread = thread::spawn(move || {
            let mut outbox = VecDeque::new();
            let mut looks = 0;
            while !must_end_too.load(Ordering::Relaxed) {
                if receive(&mut mailboxes, &mut outbox) {
                    send(&mut mailboxes, &mut outbox);
                } else {
                    wait(&mut looks);
                }
            }
        });
        Echo {
            must_end,
            thread: Some(thread),
        }
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.must_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the echo ends well");
        }
    }
}

/// What crosses the shards when a request does.
fn request_mail() -> Mail {
    let shape = Shape {
        reply: Reply::Direct,
        acknowledge: Acknowledge::Auto,
        placement: Placement::TwoShards,
        body_len: 64,
    };
    Call::set_up(shape).into_request_mail()
}
