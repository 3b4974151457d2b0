//! The engine's parts and the whole call, in memory. Without arguments of ours criterion times
//! them; `list` and `count` are for `instructions.py`, which runs them under callgrind.

mod bytes;
mod call;
mod case;
mod frame;
mod header;
mod mailbox;
mod publish;
mod queue;
mod routing;
mod world;

use case::Case;
use criterion::{Criterion, Throughput};
use std::env;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Enough that buffers have grown to their size and the allocator has its pages.
const STEPS_UNCOUNTED: u64 = 2_000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => list(),
        ["count", name, steps] => count(name, steps.parse().expect("a number of steps")),
        _ => time(),
    }
}

fn cases() -> Vec<Case> {
    let mut cases = frame::cases();
    cases.extend(header::cases());
    cases.extend(routing::cases());
    cases.extend(publish::cases());
    cases.extend(queue::cases());
    cases.extend(mailbox::cases());
    cases.extend(call::cases());
    cases
}

fn time() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    for case in cases() {
        let mut group = criterion.benchmark_group(case.subject);
        group.throughput(Throughput::Elements(case.count));
        // Set up only if the filter lets it through.
        let mut step = None;
        group.bench_function(&case.name, |bencher| {
            bencher.iter(step.get_or_insert_with(|| (case.set_up)()));
        });
        group.finish();
    }
    criterion.final_summary();
}

fn list() {
    for case in cases() {
        let counted = if case.is_counted { "counted" } else { "timed" };
        println!("{}/{}\t{}\t{counted}", case.subject, case.name, case.count);
    }
}

fn count(name: &str, steps: u64) {
    let case = cases()
        .into_iter()
        .find(|case| format!("{}/{}", case.subject, case.name) == name)
        .unwrap_or_else(|| panic!("no case '{name}'"));
    let mut step = (case.set_up)();
    for _ in 0..STEPS_UNCOUNTED {
        step();
    }
    steps_counted_by_callgrind(&mut step, steps);
}

/// Callgrind is told this name: it counts only what happens in here.
#[inline(never)]
fn steps_counted_by_callgrind(step: &mut dyn FnMut(), steps: u64) {
    for _ in 0..steps {
        step();
    }
}
