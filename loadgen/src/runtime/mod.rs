//! The shell of a run: connections, threads, the clock, signals. It decides no call's fate.

mod alarms;
mod bystanders;
mod connect;
mod crew;
mod dashboard;
mod dial;
mod glance;
mod listener;
mod member;
mod processor;
mod progress;
mod restart;
mod shared;
mod sockets;

use crate::audit::Audit;
use crate::client::{Heaped, Kills, Server};
use crate::health::{Evidence, Health, PaceEvidence};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::series::Interval;
use broker::engine::time::Timestamp;
pub use bystanders::Bystanders;
use connect::{Seat, connect_all, raise_descriptor_limit};
use crew::{Crew, Faults, Outcome};
use dial::Dialer;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
pub use listener::listener_pid;
use processor::Process;
use progress::Progress;
pub use progress::View;
use shared::Shared;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For all connections to be set up, plus some for each.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(20);
const SET_UP_TIMEOUT_EACH: Duration = Duration::from_millis(5);

/// From the last connection's set-up to the first call: all threads have looked by then.
const START_DELAY: Duration = Duration::from_millis(5);

/// How often the watching thread looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// Memory that glommio would take for file I/O, of which there is none here.
const IO_MEMORY_LEN: usize = 64 * 1024;

/// Our threads' names begin with it.
const THREAD_NAME: &str = "loadgen-";

/// All that the threads found out.
pub struct Results {
    pub recorder: Recorder,
    pub audit: Audit,
    pub errors: BTreeMap<String, u64>,
    pub unsent_count: u64,
    pub server: Option<Server>,
    /// Processor time per returned call while calls were measured; `None` if it was too short.
    pub generator: Option<ProcessorUse>,
    pub server_process: Option<ProcessorUse>,
    /// The time series, in order and without gaps.
    pub intervals: Vec<Interval>,
    pub health: Health,
    pub was_interrupted: bool,
    pub kills: Kills,
    pub slow_answer_count: u64,
    pub heap: Heaped,
    /// In a run with connections beside the load.
    pub bystanders: Option<Bystanders>,
}

impl Results {
    fn add_bystanders(&mut self, thread: Option<BystanderThread>) -> Result<(), String> {
        let Some(thread) = thread else { return Ok(()) };
        let joined = thread
            .join()
            .map_err(|_| "the bystanders' thread ended early".to_owned())?;
        let bystanders = joined?;
        for (reason, count) in &bystanders.tally.errors {
            *self.errors.entry(format!("beside: {reason}")).or_default() += count;
        }
        self.bystanders = Some(bystanders);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ProcessorUse {
    pub per_call: Duration,
    /// Of one core: 1.0 is one core all the time.
    pub cores: f64,
}

/// The person at the terminal: what they see while calls go on, and whether they have had enough.
pub struct Watcher {
    interrupted: Arc<AtomicBool>,
    view: View,
}

impl Watcher {
    /// Takes the signals: the first ends the calls, the second the process.
    pub fn new(view: View) -> io::Result<Watcher> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let flag = Arc::clone(&interrupted);
            signal_hook::flag::register_conditional_shutdown(signal, 130, flag)?;
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        Ok(Watcher { interrupted, view })
    }
}

/// Errors: one sentence for the user; the run could not start or could not go on.
pub fn run(plan: &Plan, watcher: &Watcher) -> Result<Results, String> {
    let run = draw_run().map_err(|error| format!("/dev/urandom: {error}"))?;
    let progress = Progress::new(watcher.view);
    let shared = Arc::new(Shared::new(plan.thread_count));
    raise_descriptor_limit(plan)?;
    let dialer = Arc::new(Dialer::new(plan, run)?);
    let bystanders = start_bystanders(&dialer, &shared)?;
    let seats = connect_all(&dialer, shared.clock.now())?;
    let orders = match plan.besides.has_kills() {
        true => Some(restart::start(Arc::clone(&dialer), shared.clock)?),
        false => None,
    };
    let mut threads = Vec::new();
    for (index, seats) in seats.into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        let orders = orders.clone();
        let faults = orders.map(|orders| Faults::new(&dialer, orders, index));
        let shows_progress = progress.is_on();
        threads.push(spawn(plan, shared, (index, seats, shows_progress), faults)?);
    }
    drop(orders);
    let watched = watch(plan, &shared, progress, &watcher.interrupted);
    let mut results = join(threads, plan)?;
    results.add_bystanders(bystanders)?;
    if let Some(failure) = shared.failure() {
        return Err(failure);
    }
    results.generator = watched.generator;
    results.server_process = watched.server;
    results.health = judge(plan, &results, &watched);
    results.was_interrupted = watcher.interrupted.load(Ordering::Relaxed);
    Ok(results)
}

type BystanderThread = thread::JoinHandle<Result<Bystanders, String>>;

/// Before the load connects: it begins with the idle ones all there.
fn start_bystanders(
    dialer: &Arc<Dialer>,
    shared: &Arc<Shared>,
) -> Result<Option<BystanderThread>, String> {
    if !dialer.plan.besides.has_bystanders() {
        return Ok(None);
    }
    let (dialer, ours) = (Arc::clone(dialer), Arc::clone(shared));
    let thread = thread::Builder::new()
        .name("bystanders".to_owned())
        .spawn(move || bystanders::run(dialer, ours))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    while !shared.are_bystanders_ready() {
        if let Some(reason) = shared.failure() {
            return Err(reason);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(Some(thread))
}

fn draw_run() -> io::Result<u32> {
    let mut octets = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    Ok(u32::from_be_bytes(octets))
}

fn spawn(
    plan: &Plan,
    shared: Arc<Shared>,
    (index, seats, shows_progress): (usize, Vec<Seat>, bool),
    faults: Option<Faults>,
) -> Result<ExecutorJoinHandle<Option<Outcome>>, String> {
    let plan = plan.clone();
    // Not pinned: the server under test shares the machine, and pins as it likes.
    LocalExecutorBuilder::new(Placement::Unbound)
        .name(&format!("{THREAD_NAME}{index}"))
        .io_memory(IO_MEMORY_LEN)
        .spawn(move || async move {
            let crew = Crew::new(index, seats, &plan, Arc::clone(&shared), shows_progress);
            let outcome = crew.and_then(|mut crew| {
                if let Some(faults) = faults {
                    crew.set_faults(faults);
                }
                crew.run(&plan)
            });
            // The others wait for this thread's connections or calls: they must hear of it.
            outcome
                .map_err(|error| shared.fail(format!("network ring: {error}")))
                .ok()
        })
        .map_err(|error| format!("cannot start an executor: {error}"))
}

#[derive(Default)]
struct Watched {
    generator: Option<ProcessorUse>,
    server: Option<ProcessorUse>,
    busiest_thread: Option<f64>,
    server_busiest_thread: Option<f64>,
}

fn judge(plan: &Plan, results: &Results, watched: &Watched) -> Health {
    let recorder = &results.recorder;
    let seconds = recorder.seconds();
    let pace = plan.pace.map(|pace| PaceEvidence {
        asked_per_s: pace.calls_per_s,
        achieved_per_s: recorder.count() as f64 / seconds.max(f64::MIN_POSITIVE),
        call_count: recorder.count(),
        held_back_count: recorder.held_back_count,
        unsent_count: results.unsent_count,
        lag_p99_ns: recorder.lag.value_at_quantile(0.99),
        latency_p99_ns: recorder.since_intended.value_at_quantile(0.99),
    });
    Health::judge(&Evidence {
        pace,
        busiest_thread: watched.busiest_thread,
        server_busiest_thread: watched.server_busiest_thread,
    })
}

/// Starts the calls when all is ready, shows progress, and measures processor time.
fn watch(plan: &Plan, shared: &Shared, mut progress: Progress, stop: &AtomicBool) -> Watched {
    if !wait_until_ready(plan, shared, stop) {
        return Watched::default();
    }
    shared.set_start(shared.clock.now().plus(START_DELAY));
    let server = plan.server_pid.map(|pid| Process::Other { pid });
    let mut first: Option<Sample> = None;
    let mut last: Option<Sample> = None;
    while shared.is_calling() && !shared.has_failed() {
        thread::sleep(WATCH_INTERVAL);
        if stop.load(Ordering::Relaxed) {
            shared.stock.stop();
            progress.leave_dashboard();
        }
        let now = shared.clock.now();
        let is_measuring = shared.stock.measured_since().is_some() && shared.is_calling();
        if is_measuring && is_sample_due(first.as_ref(), last.as_ref(), now) {
            let sample = Sample::take(now, shared, server);
            first.get_or_insert_with(|| sample.clone());
            last = Some(sample);
        }
        if progress.show(now, shared, plan) {
            stop.store(true, Ordering::Relaxed);
        }
    }
    progress.end();
    let (Some(first), Some(last)) = (first, last) else {
        return Watched::default();
    };
    Watched {
        generator: first.own_use(&last),
        server: first.server_use(&last),
        busiest_thread: first.busiest_thread(&last),
        server_busiest_thread: first.server_busiest_thread(&last),
    }
}

/// Sampling costs processor time itself: the longer the run, the rarer.
fn is_sample_due(first: Option<&Sample>, last: Option<&Sample>, now: Timestamp) -> bool {
    match (first, last) {
        (Some(first), Some(last)) => now.since(last.at) * 20 >= last.at.since(first.at),
        _ => true,
    }
}

fn wait_until_ready(plan: &Plan, shared: &Shared, stop: &AtomicBool) -> bool {
    let connection_count = plan.connection_count();
    let end = Instant::now() + SET_UP_TIMEOUT + SET_UP_TIMEOUT_EACH * connection_count as u32;
    while shared.ready_count() < connection_count {
        if Instant::now() >= end {
            let ready_count = shared.ready_count();
            shared.fail(format!(
                "only {ready_count} of {connection_count} connections were ready in time"
            ));
        }
        if stop.load(Ordering::Relaxed) {
            shared.fail("interrupted before the first call".to_owned());
        }
        if shared.has_failed() {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

fn join(threads: Vec<ExecutorJoinHandle<Option<Outcome>>>, plan: &Plan) -> Result<Results, String> {
    let mut results = Results {
        recorder: Recorder::new(plan.pace.is_some(), plan.interval),
        audit: Audit::default(),
        errors: BTreeMap::new(),
        unsent_count: 0,
        server: None,
        generator: None,
        server_process: None,
        intervals: Vec::new(),
        health: Health::judge(&Evidence::default()),
        was_interrupted: false,
        kills: Kills::default(),
        slow_answer_count: 0,
        heap: Heaped::default(),
        bystanders: None,
    };
    for thread in threads {
        let outcome = thread
            .join()
            .map_err(|error| format!("a thread ended early: {error}"))?;
        // A thread without an outcome has said why in `Shared::fail`.
        let Some(outcome) = outcome else { continue };
        results.recorder.add(outcome.tally.recorder);
        results.audit.add(&outcome.audit);
        results.kills.workers += outcome.tally.kills.workers;
        results.kills.requesters += outcome.tally.kills.requesters;
        results.slow_answer_count += outcome.tally.slow_answer_count;
        results.heap.blocked_count += outcome.tally.heap.blocked_count;
        results.heap.answer_count += outcome.tally.heap.answer_count;
        results.unsent_count += outcome.unsent_count;
        results.server = results.server.or(outcome.server);
        for (reason, count) in outcome.tally.errors {
            *results.errors.entry(reason).or_default() += count;
        }
    }
    results.intervals = results.recorder.series.take_intervals();
    Ok(results)
}

/// The largest share of the time in between that a thread was busy.
fn busiest(
    before: &BTreeMap<u32, Duration>,
    after: &BTreeMap<u32, Duration>,
    elapsed: Duration,
) -> Option<f64> {
    let busy = |(thread, after): (&u32, &Duration)| {
        let before = before.get(thread)?;
        Some(after.saturating_sub(*before).as_secs_f64() / elapsed.as_secs_f64())
    };
    let shares = after.iter().filter_map(busy);
    shares.filter(|share| share.is_finite()).reduce(f64::max)
}

/// Calls and processor time at one moment.
#[derive(Clone)]
struct Sample {
    at: Timestamp,
    returned_count: u64,
    own: Option<Duration>,
    server: Option<Duration>,
    /// How long each thread has been busy, of ours by index.
    threads: BTreeMap<u32, Duration>,
    server_threads: BTreeMap<u32, Duration>,
}

impl Sample {
    fn take(at: Timestamp, shared: &Shared, server: Option<Process>) -> Sample {
        Sample {
            at,
            returned_count: shared.returned_count(),
            own: Process::Own.processor_time(),
            server: server.and_then(Process::processor_time),
            threads: (0..)
                .zip(&shared.gauges)
                .filter_map(|(index, gauge)| Some((index, gauge.busy_time()?)))
                .collect(),
            server_threads: server.map_or_else(BTreeMap::new, Process::busy_times),
        }
    }

    fn own_use(&self, later: &Sample) -> Option<ProcessorUse> {
        self.usage(later, later.own?.checked_sub(self.own?)?)
    }

    fn server_use(&self, later: &Sample) -> Option<ProcessorUse> {
        self.usage(later, later.server?.checked_sub(self.server?)?)
    }

    fn busiest_thread(&self, later: &Sample) -> Option<f64> {
        busiest(&self.threads, &later.threads, later.at.since(self.at))
    }

    fn server_busiest_thread(&self, later: &Sample) -> Option<f64> {
        let elapsed = later.at.since(self.at);
        busiest(&self.server_threads, &later.server_threads, elapsed)
    }

    fn usage(&self, later: &Sample, used: Duration) -> Option<ProcessorUse> {
        let call_count = later.returned_count.checked_sub(self.returned_count)?;
        let elapsed = later.at.since(self.at);
        (call_count > 0 && !elapsed.is_zero()).then(|| ProcessorUse {
            per_call: Duration::from_secs_f64(used.as_secs_f64() / call_count as f64),
            cores: used.as_secs_f64() / elapsed.as_secs_f64(),
        })
    }
}
