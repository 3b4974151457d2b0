//! One piece of mail from shard to shard: the mailbox alone, and there and back between threads.

use broker::runtime::mesh::{Lane, Mailboxes};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// As large as the largest mail.
type Mail = [u64; 8];

fn pair() -> (Mailboxes<Mail>, Mailboxes<Mail>) {
    let mut both = Mailboxes::for_shards(2).into_iter();
    let shards = both.next().zip(both.next());
    shards.expect("two shards were asked for")
}

fn hop(criterion: &mut Criterion) {
    let (mut one, mut other) = pair();
    let mut outbox = VecDeque::new();
    criterion.bench_function("mailbox/send and receive, one thread", |bencher| {
        bencher.iter(|| {
            outbox.push_back(black_box([7; 8]));
            one.send(1, Lane::Urgent, &mut outbox);
            black_box(other.receive(0, Lane::Urgent))
        });
    });
}

/// Both threads look all the time: the way itself, without anyone being woken.
fn there_and_back(criterion: &mut Criterion) {
    let (mut one, mut other) = pair();
    let is_over = Arc::new(AtomicBool::new(false));
    let echo = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut outbox = VecDeque::new();
            while !is_over.load(Ordering::Relaxed) {
                match other.receive(0, Lane::Urgent) {
                    Some(mail) => {
                        outbox.push_back(mail);
                        other.send(0, Lane::Urgent, &mut outbox);
                    }
                    None => spin_loop(),
                }
            }
        }
    });
    let mut outbox = VecDeque::new();
    criterion.bench_function("mailbox/there and back between two threads", |bencher| {
        bencher.iter(|| {
            outbox.push_back([7; 8]);
            one.send(1, Lane::Urgent, &mut outbox);
            loop {
                if let Some(mail) = one.receive(1, Lane::Urgent) {
                    break black_box(mail);
                }
                spin_loop();
            }
        });
    });
    is_over.store(true, Ordering::Relaxed);
    echo.join().expect("the echo has nothing that fails");
}

criterion_group!(benches, hop, there_and_back);
criterion_main!(benches);
