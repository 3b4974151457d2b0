//! `sim`: runs seeds, or one of them to look at.

use clap::Parser;
use sim::{Outcome, Overrides, Tally, live, shrink};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a seed is run twice, to see that both runs are the same.
const TWICE_EVERY: u64 = 64;

#[derive(Parser)]
#[command(about = "Seeded lives of the whole broker in an invented world")]
struct Arguments {
    /// Run this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them; by default one that the clock chooses
    #[arg(long)]
    from: Option<u64>,
    /// Threads that run seeds
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Go on after a seed has failed
    #[arg(long)]
    keep_going: bool,
    /// Print the events of the seed; the last ones so many
    #[arg(long, num_args = 0..=1, default_missing_value = "1000000")]
    trace: Option<usize>,
    /// Do not look for a smaller life that fails
    #[arg(long)]
    no_shrink: bool,
    /// Peers, whatever the seed says
    #[arg(long)]
    peers: Option<usize>,
    /// Steps, whatever the seed says
    #[arg(long)]
    steps: Option<usize>,
    /// Shards, whatever the seed says
    #[arg(long)]
    shards: Option<u16>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let overrides = Overrides {
        peer_count: arguments.peers,
        step_count: arguments.steps,
        shard_count: arguments.shards,
    };
    match arguments.seed {
        Some(seed) => run_one(seed, &overrides, &arguments),
        None => run_many(&overrides, &arguments),
    }
}

fn run_one(seed: u64, overrides: &Overrides, arguments: &Arguments) -> ExitCode {
    let outcome = live(seed, overrides, arguments.trace.unwrap_or(40));
    if arguments.trace.is_some() || outcome.failure.is_some() {
        outcome.trace.iter().for_each(|line| println!("{line}"));
    }
    println!("seed {seed}: {:#?}", outcome.swarm);
    println!(
        "{:?}, fingerprint {:016x}",
        outcome.tally, outcome.fingerprint
    );
    match outcome.failure {
        Some((text, step)) => {
            println!("FAILED in step {step}: {text}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

/// Prints a failing seed with what it takes to see it again.
fn report(outcome: &Outcome, arguments: &Arguments) {
    let Some((text, step)) = &outcome.failure else {
        return;
    };
    println!("\nseed {} FAILED in step {step}: {text}", outcome.seed);
    if arguments.no_shrink {
        return;
    }
    let (overrides, _) = shrink(&|overrides: &Overrides| live(outcome.seed, overrides, 0));
    let smallest = live(outcome.seed, &overrides, 40);
    smallest.trace.iter().for_each(|line| println!("  {line}"));
    println!("  {:?}", smallest.swarm);
    if let Some((text, step)) = &smallest.failure {
        println!("  a smaller life fails in step {step}: {text}");
    }
    let option = |name: &str, value: Option<usize>| match value {
        Some(value) => format!(" --{name} {value}"),
        None => String::new(),
    };
    println!(
        "  see it with: make sim OPTIONS=\"--seed {}{}{}{} --trace\"",
        outcome.seed,
        option("peers", overrides.peer_count),
        option("steps", overrides.step_count),
        option("shards", overrides.shard_count.map(usize::from)),
    );
}

#[derive(Default)]
struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    tally: Mutex<Tally>,
    failed: Mutex<Vec<u64>>,
}

fn run_many(overrides: &Overrides, arguments: &Arguments) -> ExitCode {
    let clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    };
    let from = arguments
        .from
        .unwrap_or_else(|| clock().as_micros() as u64 % 1_000_000_000_000);
    let progress = Progress::default();
    let began = Instant::now();
    println!("seeds {from}..{}", from + arguments.seeds);
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| work(from, overrides, arguments, &progress));
        }
        let is_over = || {
            let is_stopped = progress.next.load(Ordering::Relaxed) >= arguments.seeds;
            is_stopped || progress.done.load(Ordering::Relaxed) >= arguments.seeds
        };
        let is_watched = std::io::stderr().is_terminal();
        while !is_over() {
            thread::sleep(Duration::from_millis(100));
            if is_watched {
                let done = progress.done.load(Ordering::Relaxed);
                let rate = done as f64 / began.elapsed().as_secs_f64();
                eprint!("\r{done} seeds, {rate:.0} seeds/s ");
                let _ = std::io::stderr().flush();
            }
        }
    });
    let done = progress.done.into_inner();
    let elapsed = began.elapsed().as_secs_f64();
    let failed = progress.failed.into_inner().unwrap_or_default();
    println!(
        "{done} seeds, {} failed; {:.0} seeds/s in {elapsed:.1} s",
        failed.len(),
        done as f64 / elapsed
    );
    println!("{:?}", progress.tally.into_inner().unwrap_or_default());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {failed:?}");
        ExitCode::FAILURE
    }
}

fn work(from: u64, overrides: &Overrides, arguments: &Arguments, progress: &Progress) {
    loop {
        let at = progress.next.fetch_add(1, Ordering::Relaxed);
        if at >= arguments.seeds {
            return;
        }
        let seed = from + at;
        let mut outcome = live(seed, overrides, 0);
        if at.is_multiple_of(TWICE_EVERY) {
            let again = live(seed, overrides, 0);
            if again.fingerprint != outcome.fingerprint {
                let text = "two runs of this seed are not the same".to_string();
                outcome.failure = Some((text, 0));
            }
        }
        progress.done.fetch_add(1, Ordering::Relaxed);
        *progress
            .tally
            .lock()
            .unwrap_or_else(|error| error.into_inner()) += outcome.tally;
        if outcome.failure.is_some() {
            let mut failed = progress
                .failed
                .lock()
                .unwrap_or_else(|error| error.into_inner());
            failed.push(seed);
            report(&outcome, arguments);
            if !arguments.keep_going {
                progress.next.store(arguments.seeds, Ordering::Relaxed);
            }
        }
    }
}
