//! The cases whose instructions `instructions.py` counts with callgrind: each is set up and warmed
//! outside of `rondo_measured`, the only function that is counted.
//!
//! usage: instructions CASE COUNT | instructions --list

use benches::route::{Exchange, Route};
use benches::world::{Acknowledge, Call, Placement, Reply};
use std::hint::black_box;
use std::process::ExitCode;

/// Buffers have grown and tables are there by then.
const WARM_COUNT: usize = 200;

type Case = (&'static str, fn() -> Box<dyn FnMut()>);

const CASES: [Case; 10] = [
    ("call, direct, same shard, 64 octets", || {
        call(Reply::Direct, Acknowledge::Auto, Placement::SameShard, 64)
    }),
    ("call, direct, same shard, 4096 octets", || {
        call(Reply::Direct, Acknowledge::Auto, Placement::SameShard, 4096)
    }),
    ("call, direct, two shards, 64 octets", || {
        call(Reply::Direct, Acknowledge::Auto, Placement::TwoShards, 64)
    }),
    (
        "call, callback queue, manual ack, same shard, 64 octets",
        || call(Reply::Queue, Acknowledge::Manual, Placement::SameShard, 64),
    ),
    (
        "call, callback queue, manual ack, two shards, 64 octets",
        || call(Reply::Queue, Acknowledge::Manual, Placement::TwoShards, 64),
    ),
    ("publish to delivery, default exchange", || {
        route(Exchange::Default, 100)
    }),
    ("publish to delivery, direct exchange, 100 bindings", || {
        route(Exchange::Direct, 100)
    }),
    ("publish to delivery, fanout exchange", || {
        route(Exchange::Fanout, 1)
    }),
    ("publish to delivery, topic exchange, 100 bindings", || {
        route(Exchange::Topic, 100)
    }),
    (
        "publish to delivery, headers exchange, 100 bindings",
        || route(Exchange::Headers, 100),
    ),
];

fn call(
    reply: Reply,
    acknowledge: Acknowledge,
    placement: Placement,
    body_len: usize,
) -> Box<dyn FnMut()> {
    let mut call = Call::set_up(reply, acknowledge, placement, body_len);
    Box::new(move || call.run(1))
}

fn route(exchange: Exchange, binding_count: usize) -> Box<dyn FnMut()> {
    let mut route = Route::set_up(exchange, binding_count, 64);
    Box::new(move || route.run())
}

// Named in `instructions.py`: counting goes on while this function runs.
#[inline(never)]
fn rondo_measured(case: &mut Box<dyn FnMut()>, count: usize) {
    for _ in 0..count {
        case();
    }
    black_box(case);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => CASES.iter().for_each(|(name, _)| println!("{name}")),
        [name, count] => {
            let case = CASES.iter().find(|(known, _)| *known == name);
            let (Some((_, set_up)), Ok(count)) = (case, count.parse()) else {
                eprintln!("no such case, or not a count: {name}, {count}");
                return ExitCode::FAILURE;
            };
            let mut case = set_up();
            (0..WARM_COUNT).for_each(|_| case());
            rondo_measured(&mut case, count);
        }
        // `cargo bench` runs every bench, with options of its own.
        _ => println!("counted by benches/instructions.py (make bench-check)"),
    }
    ExitCode::SUCCESS
}
