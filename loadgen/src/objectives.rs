//! What a rate has to hold to be sustainable. Pure: a report comes in, a verdict comes out.

use crate::arguments::{ErrorLimit, ObjectiveArguments};
use crate::report::{Latency, Report, format_count, format_latency};
use crate::search::Outcome;
use serde::Serialize;
use std::time::Duration;

/// A rate that is missed by more was not sustained.
const ACHIEVED_MIN: f64 = 0.99;

#[derive(Clone, Debug)]
pub struct Objectives {
    latencies: Vec<Objective>,
    errors: ErrorLimit,
}

#[derive(Clone, Copy, Debug)]
struct Objective {
    name: &'static str,
    limit: Duration,
    of: fn(&Latency) -> f64,
}

/// How a probe ended, and why it did not pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    pub outcome: Outcome,
    pub reasons: Vec<String>,
}

impl Objectives {
    pub fn new(arguments: &ObjectiveArguments) -> Objectives {
        let objective =
            |name, limit: Option<Duration>, of| limit.map(|limit| Objective { name, limit, of });
        let latencies = [
            objective("p50", arguments.p50, |latency| latency.p50_us),
            objective("p90", arguments.p90, |latency| latency.p90_us),
            objective("p99", arguments.p99, |latency| latency.p99_us),
            objective("p99.9", arguments.p99_9, |latency| latency.p99_9_us),
            objective("p99.99", arguments.p99_99, |latency| latency.p99_99_us),
            objective("max", arguments.max, |latency| latency.max_us),
        ];
        Objectives {
            latencies: latencies.into_iter().flatten().collect(),
            errors: arguments.errors.unwrap_or(ErrorLimit::Count(0)),
        }
    }

    /// Of a run that was asked for `rate`.
    pub fn judge(&self, rate: f64, report: &Report) -> Judgement {
        // The generator first: what it did not drive is no evidence of the server.
        if !report.health.is_valid {
            return Judgement {
                outcome: Outcome::Invalid,
                reasons: report.health.reasons.clone(),
            };
        }
        let mut reasons = Vec::new();
        for objective in &self.latencies {
            let value_us = (objective.of)(&report.latency);
            if value_us > objective.limit.as_secs_f64() * 1e6 {
                let value = format_latency((value_us * 1e3) as u64);
                reasons.push(format!("{} was {value}", objective.name));
            }
        }
        let error_count = error_count(report);
        if error_count > self.allowed_errors(report.audit.issued) {
            reasons.push(format!("{} calls went wrong", format_count(error_count)));
        }
        if report.calls_per_s < rate * achieved_min(report.calls) {
            let made = format_count(report.calls_per_s as u64);
            reasons.push(format!("only {made} calls/s were made"));
        }
        let outcome = if reasons.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        Judgement { outcome, reasons }
    }

    fn allowed_errors(&self, issued: u64) -> u64 {
        match self.errors {
            ErrorLimit::Count(count) => count,
            ErrorLimit::Share(share) => (issued as f64 * share) as u64,
        }
    }
}

impl std::fmt::Display for Objectives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for objective in &self.latencies {
            let limit = format_latency(objective.limit.as_nanos() as u64);
            write!(f, "{} ≤ {limit}, ", objective.name)?;
        }
        match self.errors {
            ErrorLimit::Count(count) => write!(f, "errors ≤ {count}"),
            ErrorLimit::Share(share) => write!(f, "errors ≤ {} %", share * 100.0),
        }
    }
}

/// Calls that did not come back once, whole and in time, and replies that nobody asked for.
pub fn error_count(report: &Report) -> u64 {
    let audit = &report.audit;
    let calls = audit.issued.saturating_sub(audit.returned_once);
    calls + audit.duplicated + audit.foreign
}

/// The count of random arrivals scatters by its root.
fn achieved_min(calls: u64) -> f64 {
    ACHIEVED_MIN.min(1.0 - 3.0 / (calls.max(1) as f64).sqrt())
}
