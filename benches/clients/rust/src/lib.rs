//! What both programs share: their arguments, the futures that wait for replies, the count of
//! calls and the line they print. It knows no client.
//!
//! A program says `ready` when it is connected. A requester then waits for a line on its standard
//! input, so that many can begin together, makes calls for the warm-up and the measured time, and
//! prints one line of JSON. A worker answers until SIGTERM.

use clap::{Parser, ValueEnum};
use cpu_time::ProcessTime;
use serde_json::json;
use std::collections::HashMap;
use std::error::Error;
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

pub const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";
const BODY_LEN: usize = 64;
/// How long a call may take before it is lost.
const PATIENCE: Duration = Duration::from_secs(5);

pub type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, ValueEnum)]
pub enum Role {
    Requester,
    Worker,
}

#[derive(Clone, Parser)]
pub struct Arguments {
    pub role: Role,
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    pub url: String,
    #[arg(long, default_value = "rpc.upper")]
    pub queue: String,
    /// Calls at once; a worker's credit
    #[arg(long, default_value_t = 1)]
    pub in_flight: u16,
    /// Seconds, not measured
    #[arg(long, default_value_t = 0.3)]
    warmup: f64,
    /// Seconds measured
    #[arg(long, default_value_t = 2.0)]
    duration: f64,
}

/// A client that makes one call: the body of the request in, that of the reply out.
pub trait Call: Send + Sync + 'static {
    fn call(&self, body: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, Failure>> + Send;

    fn waiting(&self) -> &Waiting;
}

/// The calls without a reply yet, by correlation id.
#[derive(Default)]
pub struct Waiting {
    calls: Mutex<HashMap<String, oneshot::Sender<Vec<u8>>>>,
    foreign_count: AtomicU64,
}

impl Waiting {
    pub fn insert(&self, correlation_id: String) -> oneshot::Receiver<Vec<u8>> {
        let (sender, receiver) = oneshot::channel();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.insert(correlation_id, sender);
        receiver
    }

    /// A reply that nobody waits for, or no longer, is foreign.
    pub fn settle(&self, correlation_id: &str, reply: Vec<u8>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = calls.remove(correlation_id);
        if caller.is_none_or(|caller| caller.send(reply).is_err()) {
            self.foreign_count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What one of those in flight has seen.
#[derive(Default)]
struct Tally {
    issued: u64,
    returned: u64,
    corrupted: u64,
    samples_us: Vec<f64>,
    last_return: Option<Instant>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.issued += other.issued;
        self.returned += other.returned;
        self.corrupted += other.corrupted;
        self.samples_us.extend(other.samples_us);
        self.last_return = self.last_return.max(other.last_return);
    }

    fn print(mut self, measure_from: Instant, cpu: Duration, foreign: u64) -> ExitCode {
        self.samples_us.sort_by(f64::total_cmp);
        let count = self.samples_us.len();
        let percentile = |share: f64| {
            let rank = (share * count as f64).ceil() as usize;
            self.samples_us.get(rank.saturating_sub(1)).copied()
        };
        let seconds = self
            .last_return
            .map_or(0.0, |last| (last - measure_from).as_secs_f64());
        let lost = self.issued - self.returned;
        let report = json!({
            "calls": count,
            "calls_with_warmup": self.returned,
            "seconds": seconds,
            "calls_per_s": if seconds > 0.0 { count as f64 / seconds } else { 0.0 },
            "p50_us": percentile(0.5),
            "p90_us": percentile(0.9),
            "p99_us": percentile(0.99),
            "max_us": percentile(1.0),
            "cpu_us_per_call": cpu.as_secs_f64() * 1e6 / self.returned.max(1) as f64,
            "errors": { "lost": lost, "corrupted": self.corrupted, "foreign": foreign },
        });
        println!("{report}");
        ExitCode::from(u8::from(lost + self.corrupted + foreign > 0))
    }
}

/// The measured part of a run.
#[derive(Clone, Copy)]
struct Window {
    measure_from: Instant,
    end: Instant,
}

/// Waits for the word to go, makes calls for the time asked for, prints what came of them.
pub async fn request<C: Call>(client: Arc<C>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    println!("ready");
    BufReader::new(stdin())
        .read_line(&mut String::new())
        .await?;
    let cpu_at_start = ProcessTime::now();
    let measure_from = Instant::now() + Duration::from_secs_f64(arguments.warmup);
    let end = measure_from + Duration::from_secs_f64(arguments.duration);
    let window = Window { measure_from, end };
    let mut callers = JoinSet::new();
    for index in 0..arguments.in_flight {
        callers.spawn(make_calls(Arc::clone(&client), index, window));
    }
    let mut total = Tally::default();
    while let Some(tally) = callers.join_next().await {
        total.add(tally?);
    }
    let foreign = client.waiting().foreign_count.load(Ordering::Relaxed);
    Ok(total.print(measure_from, cpu_at_start.elapsed(), foreign))
}

/// One of those in flight: call after call until the time is over or one is lost.
async fn make_calls<C: Call>(client: Arc<C>, index: u16, window: Window) -> Tally {
    let mut tally = Tally::default();
    let patience_ends = (window.end + PATIENCE).into();
    loop {
        let started = Instant::now();
        if started >= window.end {
            return tally;
        }
        tally.issued += 1;
        let text = format!("call {}.{index} of {} ", tally.issued, process::id());
        let body = format!("{text:x<BODY_LEN$}").into_bytes();
        let capitals = body.to_ascii_uppercase();
        let reply = match timeout_at(patience_ends, client.call(body)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                eprintln!("a call failed: {error}");
                return tally;
            }
            Err(_) => return tally,
        };
        let ended = Instant::now();
        tally.returned += 1;
        tally.corrupted += u64::from(reply != capitals);
        if started >= window.measure_from {
            tally.samples_us.push((ended - started).as_secs_f64() * 1e6);
            tally.last_return = Some(ended);
        }
    }
}

/// Says that the worker consumes, and returns when it is to end.
pub async fn until_sigterm() -> Result<(), Failure> {
    let mut end = signal(SignalKind::terminate())?;
    println!("ready");
    end.recv().await;
    Ok(())
}
