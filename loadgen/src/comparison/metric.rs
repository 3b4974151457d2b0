//! What reports are compared by.

use crate::report::{format_count, format_latency};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Metric {
    #[serde(rename = "calls_per_s")]
    Rate,
    #[serde(rename = "p50_us")]
    P50,
    #[serde(rename = "p99_us")]
    P99,
    #[serde(rename = "p99_9_us")]
    P999,
    #[serde(rename = "server_us_per_call")]
    ServerProcessor,
    #[serde(rename = "generator_us_per_call")]
    GeneratorProcessor,
}

pub const METRICS: [Metric; 6] = [
    Metric::Rate,
    Metric::P50,
    Metric::P99,
    Metric::P999,
    Metric::ServerProcessor,
    Metric::GeneratorProcessor,
];

impl Metric {
    /// Where a report's JSON has it (RFC 6901).
    pub fn pointer(self) -> &'static str {
        match self {
            Metric::Rate => "/calls_per_s",
            Metric::P50 => "/latency/p50_us",
            Metric::P99 => "/latency/p99_us",
            Metric::P999 => "/latency/p99_9_us",
            Metric::ServerProcessor => "/server_processor/us_per_call",
            Metric::GeneratorProcessor => "/generator_processor/us_per_call",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Metric::Rate => "calls/s",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
            Metric::ServerProcessor => "server CPU/call",
            Metric::GeneratorProcessor => "loadgen CPU/call",
        }
    }

    pub fn format(self, value: f64) -> String {
        match self {
            Metric::Rate => format_count(value as u64),
            _ => format_latency((value * 1e3) as u64),
        }
    }
}
