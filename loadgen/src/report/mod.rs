//! What a run is told as: values for the JSON file, text for people.

mod format;
mod text;

pub use format::{format_count, format_latency};

use crate::arguments::{AckMode, ConnectOrder, ReplyStyle};
use crate::audit::Audit;
use crate::client::Server;
use crate::plan::{Amount, Plan, Target};
use crate::runtime::{ProcessorUse, Results};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;

/// The JSON file is this, field by field. No addresses, user names or paths: reports are shared.
#[derive(Debug, Serialize)]
pub struct Report {
    pub kind: &'static str,
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
    pub audit: Audit,
    /// Due by the rate, but no room in flight until the end.
    pub unsent: u64,
    pub errors: BTreeMap<String, u64>,
    pub generator_processor: Option<Processor>,
    pub server_processor: Option<Processor>,
}

#[derive(Debug, Serialize)]
pub struct Generator {
    pub name: &'static str,
    pub version: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
}

#[derive(Debug, Serialize)]
pub struct Options {
    pub requesters: u32,
    pub workers: u32,
    pub in_flight: u32,
    pub calls: Option<u64>,
    pub duration_s: Option<f64>,
    pub warmup_calls: Option<u64>,
    pub warmup_s: Option<f64>,
    pub size: usize,
    pub rate: Option<f64>,
    pub timeout_s: f64,
    pub threads: usize,
    pub connect_order: ConnectOrder,
    #[serde(flatten)]
    pub amqp: Option<AmqpOptions>,
}

#[derive(Debug, Serialize)]
pub struct AmqpOptions {
    pub reply: ReplyStyle,
    pub ack: AckMode,
    pub prefetch: u16,
    pub queues: u32,
    pub mandatory: bool,
}

/// Microseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
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

#[derive(Debug, Serialize)]
pub struct Processor {
    pub us_per_call: f64,
    pub cores: f64,
}

impl Report {
    pub fn new(plan: &Plan, results: &Results) -> Report {
        let seconds = results.recorder.seconds();
        let calls = results.recorder.count();
        Report {
            kind: match plan.target {
                Target::Amqp(_) => "rpc",
                Target::Relay { .. } => "relay",
            },
            generator: Generator {
                name: "loadgen",
                version: env!("CARGO_PKG_VERSION"),
            },
            server: results.server.clone(),
            machine: Machine::read(),
            options: Options::new(plan),
            is_clean: results.audit.is_clean() && results.errors.is_empty(),
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
            audit: results.audit.clone(),
            unsent: results.unsent_count,
            errors: results.errors.clone(),
            generator_processor: results.generator.map(Processor::new),
            server_processor: results.server_process.map(Processor::new),
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

impl Processor {
    fn new(usage: ProcessorUse) -> Processor {
        Processor {
            us_per_call: usage.per_call.as_secs_f64() * 1e6,
            cores: usage.cores,
        }
    }
}

impl Machine {
    fn read() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: parse_cpu_model(&read("/proc/cpuinfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The first "model name", which x86 has; other machines say "unknown".
fn parse_cpu_model(cpuinfo: &str) -> String {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let model = fields.find(|(name, _)| name.trim() == "model name");
    model.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
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
            size: plan.body_len,
            rate: plan.rate,
            timeout_s: plan.timeout.as_secs_f64(),
            threads: plan.thread_count,
            connect_order: plan.connect_order,
            amqp: match &plan.target {
                Target::Relay { .. } => None,
                Target::Amqp(target) => Some(AmqpOptions {
                    reply: target.reply,
                    ack: target.ack,
                    prefetch: target.prefetch,
                    queues: target.queue_count,
                    mandatory: target.is_mandatory,
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

    #[test]
    fn the_processor_model_is_found() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu\n";
        assert_eq!(parse_cpu_model(cpuinfo), "Some CPU @ 2 GHz");
        assert_eq!(parse_cpu_model("Hardware : x\n"), "unknown");
    }
}
