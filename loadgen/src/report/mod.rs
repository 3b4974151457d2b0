//! What a run is told as: values for the JSON file, text for people.

mod besides;
mod files;
mod format;
mod machine;
mod page;
mod run_page;
mod shape;
mod text;

pub use besides::Besides;
pub use files::{csv, hgrm, interval_log};
pub use format::{format_count, format_latency};
pub use machine::{Generator, Machine};
pub use page::Page;
pub use run_page::{page, plots};
pub use shape::ShapeOptions;

use crate::arguments::{AckMode, ConnectOrder, Dispatch, ReplyStyle};
use crate::audit::Audit;
use crate::client::Server;
use crate::health::Health;
use crate::pacer::Arrival;
use crate::plan::{Amount, Plan, Target};
use crate::recorder::Timings;
use crate::runtime::{ProcessorUse, Results};
use crate::series::Interval;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of peer was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Amqp,
    Nats,
    Relay,
}

/// The JSON file is this, field by field. No addresses, user names or paths: reports are shared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub kind: Kind,
    /// What was called, as tables and plots name it.
    pub label: String,
    /// From 0, where a command makes several runs of one thing.
    pub round: u32,
    pub generator: Generator,
    pub server: Option<Server>,
    pub machine: Machine,
    pub options: Options,
    pub is_clean: bool,
    pub was_interrupted: bool,
    pub calls: u64,
    pub seconds: f64,
    pub calls_per_s: f64,
    /// From each call's intended start.
    pub latency: Latency,
    /// From the send; only with a rate.
    pub latency_from_send: Option<Latency>,
    /// Where the broker says that the time went; only if it was asked.
    #[serde(default)]
    pub timing: Option<Timing>,
    pub audit: Audit,
    pub health: Health,
    /// How late calls went out that had room; only with a rate.
    pub lag: Option<Latency>,
    pub series: Vec<SeriesRow>,
    /// HDR histogram of `latency` in nanoseconds, V2 compressed, base64.
    pub histogram: String,
    /// The same of `latency_from_send` and of `lag`.
    #[serde(default)]
    pub histogram_from_send: Option<String>,
    #[serde(default)]
    pub histogram_of_lag: Option<String>,
    /// Due by the rate, but no room in flight until the end.
    pub unsent: u64,
    pub errors: BTreeMap<String, u64>,
    #[serde(default)]
    pub besides: Besides,
    pub generator_processor: Option<Processor>,
    pub server_processor: Option<Processor>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    pub requesters: u32,
    pub workers: u32,
    pub in_flight: u32,
    pub calls: Option<u64>,
    pub duration_s: Option<f64>,
    pub warmup_calls: Option<u64>,
    pub warmup_s: Option<f64>,
    /// The mean of the requests'.
    pub size: usize,
    #[serde(flatten)]
    pub shape: ShapeOptions,
    pub rate: Option<f64>,
    pub arrival: Option<Arrival>,
    pub seed: Option<u64>,
    pub timeout_s: f64,
    pub threads: usize,
    pub connect_order: ConnectOrder,
    #[serde(flatten)]
    pub amqp: Option<AmqpOptions>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AmqpOptions {
    pub reply: ReplyStyle,
    pub ack: AckMode,
    pub prefetch: u16,
    pub queues: u32,
    pub mandatory: bool,
    pub persistent: bool,
    pub confirm: bool,
    #[serde(default)]
    pub rpc_errors: bool,
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    #[serde(default)]
    pub rpc_shed: bool,
    #[serde(default)]
    pub rpc_timing: bool,
    #[serde(default)]
    pub dispatch: Option<Dispatch>,
    #[serde(default)]
    pub heap: Option<usize>,
}

/// What the broker says of the calls, each by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Until a worker had the request.
    pub queued: Latency,
    /// Until the broker had the reply.
    pub worker: Latency,
    pub whole: Latency,
}

/// Microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
    pub max_us: f64,
}

/// One interval of the time series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeriesRow {
    /// From the start of the run, warm-up included.
    pub seconds: f64,
    pub calls: u64,
    pub calls_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    pub errors: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Processor {
    pub us_per_call: f64,
    pub cores: f64,
}

impl Report {
    pub fn new(plan: &Plan, results: &Results) -> Report {
        let seconds = results.recorder.seconds();
        let calls = results.recorder.count();
        let besides = Besides::new(plan, results);
        Report {
            kind: match plan.target {
                Target::Amqp(_) => Kind::Amqp,
                Target::Nats(_) => Kind::Nats,
                Target::Relay { .. } => Kind::Relay,
            },
            label: label_of(plan, results),
            round: 0,
            generator: Generator::own(),
            server: results.server.clone(),
            machine: Machine::read(),
            options: Options::new(plan),
            is_clean: results.audit.is_clean() && results.errors.is_empty() && besides.is_clean(),
            was_interrupted: results.was_interrupted,
            calls,
            seconds,
            calls_per_s: if seconds > 0.0 {
                calls as f64 / seconds
            } else {
                0.0
            },
            latency: Latency::new(&results.recorder.since_intended),
            latency_from_send: results.recorder.since_sent().map(Latency::new),
            timing: results.recorder.timing.as_deref().map(Timing::new),
            audit: results.audit.clone(),
            health: results.health.clone(),
            lag: plan.pace.map(|_| Latency::new(&results.recorder.lag)),
            series: complete(&results.intervals)
                .iter()
                .map(SeriesRow::new)
                .collect(),
            histogram: encode_histogram(&results.recorder.since_intended),
            histogram_from_send: results.recorder.since_sent().map(encode_histogram),
            histogram_of_lag: plan.pace.map(|_| encode_histogram(&results.recorder.lag)),
            unsent: results.unsent_count,
            errors: results.errors.clone(),
            besides,
            generator_processor: results.generator.map(Processor::new),
            server_processor: results.server_process.map(Processor::new),
        }
    }
}

impl Timing {
    fn new(timings: &Timings) -> Timing {
        Timing {
            queued: Latency::new(&timings.queued),
            worker: Latency::new(&timings.worker),
            whole: Latency::new(&timings.whole),
        }
    }
}

impl Latency {
    fn new(latency: &Histogram<u64>) -> Latency {
        if latency.is_empty() {
            return Latency::default();
        }
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            min_us: latency.min() as f64 / 1e3,
            mean_us: latency.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: latency.max() as f64 / 1e3,
        }
    }
}

impl SeriesRow {
    fn new(interval: &Interval) -> SeriesRow {
        let latency = Latency::new(&interval.since_intended);
        let calls = interval.since_intended.len();
        SeriesRow {
            seconds: interval.start.as_secs_f64(),
            calls,
            calls_per_s: calls as f64 / interval.len.as_secs_f64(),
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            max_us: latency.max_us,
            errors: interval.error_count,
        }
    }
}

/// The last interval ends with the run, in its midst: a rate over it would be too low.
fn complete(intervals: &[Interval]) -> &[Interval] {
    match intervals {
        [complete @ .., _] if !complete.is_empty() => complete,
        all => all,
    }
}

fn label_of(plan: &Plan, results: &Results) -> String {
    match (&plan.target, &results.server) {
        (Target::Relay { .. }, _) => "floor".to_owned(),
        (_, Some(server)) => format!("{} {}", server.product, server.version),
        (_, None) => "unknown server".to_owned(),
    }
}

fn encode_histogram(histogram: &Histogram<u64>) -> String {
    let mut octets = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut octets)
        .expect("memory takes every octet");
    STANDARD.encode(octets)
}

/// What a report's `histogram` holds, back from a file. Errors: one sentence.
pub fn decode_histogram(text: &str) -> Result<Histogram<u64>, String> {
    let octets = STANDARD
        .decode(text)
        .map_err(|error| format!("histogram: {error}"))?;
    Deserializer::new()
        .deserialize(&mut octets.as_slice())
        .map_err(|error| format!("histogram: {error:?}"))
}

impl Processor {
    fn new(usage: ProcessorUse) -> Processor {
        Processor {
            us_per_call: usage.per_call.as_secs_f64() * 1e6,
            cores: usage.cores,
        }
    }
}

impl Options {
    fn new(plan: &Plan) -> Options {
        let (calls, duration_s) = split(plan.amount);
        let (warmup_calls, warmup_s) = split(plan.warmup);
        Options {
            requesters: plan.requester_count,
            workers: plan.worker_count,
            in_flight: plan.in_flight,
            calls,
            duration_s,
            warmup_calls,
            warmup_s,
            size: plan.shape.sizes.request().mean() as usize,
            shape: ShapeOptions::new(&plan.shape),
            rate: plan.pace.map(|pace| pace.calls_per_s),
            arrival: plan.pace.map(|pace| pace.arrival),
            seed: plan.is_random().then_some(plan.seed),
            timeout_s: plan.timeout.as_secs_f64(),
            threads: plan.thread_count,
            connect_order: plan.connect_order,
            amqp: match &plan.target {
                Target::Nats(_) | Target::Relay { .. } => None,
                Target::Amqp(target) => Some(AmqpOptions {
                    reply: target.reply,
                    ack: target.ack,
                    prefetch: target.prefetch,
                    queues: target.queue_count,
                    mandatory: target.is_mandatory,
                    persistent: target.is_persistent,
                    confirm: target.is_confirmed,
                    rpc_errors: target.follow.errors,
                    deadline_ms: target
                        .follow
                        .deadline
                        .map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
                    rpc_shed: target.rules.sheds,
                    rpc_timing: target.follow.timing,
                    dispatch: target.rules.dispatch,
                    heap: target.heap,
                }),
            },
        }
    }
}

fn split(amount: Amount) -> (Option<u64>, Option<f64>) {
    match amount {
        Amount::Calls(count) => (Some(count), None),
        Amount::Time(duration) => (None, Some(duration.as_secs_f64())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::new_histogram;

    #[test]
    fn a_histogram_survives_the_report() {
        let mut histogram = new_histogram();
        histogram.record_n(123_456, 7).unwrap();
        let read = decode_histogram(&encode_histogram(&histogram)).unwrap();
        assert_eq!((read.len(), read.max()), (7, histogram.max()));
        assert!(decode_histogram("?").is_err() && decode_histogram("AAAA").is_err());
    }

    #[test]
    fn percentiles_are_told_in_microseconds() {
        let mut histogram = new_histogram();
        for micros in 1..=1000 {
            histogram.record(micros * 1000).unwrap();
        }
        let latency = Latency::new(&histogram);
        assert!((latency.p50_us - 500.0).abs() < 1.0, "{latency:?}");
        assert!((latency.p99_us - 990.0).abs() < 1.0, "{latency:?}");
        assert!((latency.max_us - 1000.0).abs() < 1.0, "{latency:?}");
        assert_eq!(Latency::new(&new_histogram()), Latency::default());
    }
}
