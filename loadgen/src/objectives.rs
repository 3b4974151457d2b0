//! What a rate has to hold to be sustainable. Pure: a report comes in, a verdict comes out.

use crate::arguments::{ErrorLimit, ObjectiveArguments};
use crate::health::Health;
use crate::report::{Latency, Report, format_count, format_latency};
use crate::search::Outcome;
use serde::Serialize;
use std::time::Duration;

/// A rate that is missed by more was not sustained.
const ACHIEVED_MIN: f64 = 0.99;

/// The generator's own lateness may be this share of the tightest limit. It is part of the
/// latency that is judged, so a run that passes has passed in spite of it.
const LAG_SHARE_MAX: f64 = 0.25;

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

/// What of a report is judged.
struct Facts<'a> {
    latency: &'a Latency,
    lag: Option<&'a Latency>,
    health: &'a Health,
    calls: u64,
    calls_per_s: f64,
    issued: u64,
    error_count: u64,
}

impl Facts<'_> {
    fn of(report: &Report) -> Facts<'_> {
        Facts {
            latency: &report.latency,
            lag: report.lag.as_ref(),
            health: &report.health,
            calls: report.calls,
            calls_per_s: report.calls_per_s,
            issued: report.audit.issued,
            error_count: error_count(report),
        }
    }
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
        self.judge_facts(rate, &Facts::of(report))
    }

    fn judge_facts(&self, rate: f64, facts: &Facts<'_>) -> Judgement {
        // The generator first: what it did not drive is no evidence of the server.
        if !facts.health.is_valid && !self.bears(rate, facts) {
            return Judgement {
                outcome: Outcome::Invalid,
                reasons: facts.health.reasons.clone(),
            };
        }
        let mut reasons = Vec::new();
        for objective in &self.latencies {
            let value_us = (objective.of)(facts.latency);
            if value_us > objective.limit.as_secs_f64() * 1e6 {
                let value = format_latency((value_us * 1e3) as u64);
                reasons.push(format!("{} was {value}", objective.name));
            }
        }
        if facts.error_count > self.allowed_errors(facts.issued) {
            reasons.push(format!(
                "{} calls went wrong",
                format_count(facts.error_count)
            ));
        }
        if facts.calls_per_s < rate * achieved_min(facts.calls) {
            let made = format_count(facts.calls_per_s as u64);
            reasons.push(format!("only {made} calls/s were made"));
        }
        let outcome = if reasons.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        Judgement { outcome, reasons }
    }

    /// Whether a generator that was not at its best matters little to these objectives.
    fn bears(&self, rate: f64, facts: &Facts<'_>) -> bool {
        let limits = self.latencies.iter().map(|objective| objective.limit);
        let (Some(limit), Some(lag)) = (limits.min(), facts.lag) else {
            return false;
        };
        let is_made = facts.calls_per_s >= rate * achieved_min(facts.calls);
        is_made && lag.p99_us <= limit.as_secs_f64() * 1e6 * LAG_SHARE_MAX
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Verdict;

    const RATE: f64 = 1000.0;

    fn objectives() -> Objectives {
        Objectives::new(&ObjectiveArguments {
            p99: Some(Duration::from_millis(10)),
            p99_9: Some(Duration::from_millis(50)),
            ..ObjectiveArguments::default()
        })
    }

    fn latency(p99_us: f64) -> Latency {
        Latency {
            p99_us,
            p99_9_us: p99_us,
            ..Latency::default()
        }
    }

    fn health(is_valid: bool) -> Health {
        let verdict = if is_valid {
            Verdict::Sound
        } else {
            Verdict::NotValid
        };
        Health {
            verdict,
            is_valid,
            reasons: Vec::new(),
            busiest_thread: None,
            server_busiest_thread: None,
            held_back: 0,
        }
    }

    /// Of a run that holds all objectives, but for what is changed in it.
    fn judged(change: impl Fn(&mut Facts<'_>)) -> Judgement {
        let mut facts = Facts {
            latency: &latency(9_000.0),
            lag: None,
            health: &health(true),
            calls: 100_000,
            calls_per_s: 999.0,
            issued: 100_000,
            error_count: 0,
        };
        change(&mut facts);
        objectives().judge_facts(RATE, &facts)
    }

    #[test]
    fn a_run_that_holds_everything_passes() {
        assert_eq!(judged(|_| {}).outcome, Outcome::Passed);
    }

    #[test]
    fn what_does_not_hold_is_named() {
        let slow = latency(11_000.0);
        let slow = objectives().judge_facts(
            RATE,
            &Facts {
                latency: &slow,
                lag: None,
                health: &health(true),
                calls: 100_000,
                calls_per_s: 980.0,
                issued: 100_000,
                error_count: 2,
            },
        );
        assert_eq!(slow.outcome, Outcome::Failed);
        let reasons = [
            "p99 was 11.0 ms",
            "2 calls went wrong",
            "only 980 calls/s were made",
        ];
        assert_eq!(slow.reasons, reasons);
    }

    #[test]
    fn random_arrivals_may_fall_short_by_chance_and_no_more() {
        let few = |calls_per_s: f64| {
            judged(|facts| (facts.calls, facts.calls_per_s) = (10_000, calls_per_s)).outcome
        };
        assert_eq!(few(971.0), Outcome::Passed);
        assert_eq!(few(969.0), Outcome::Failed);
    }

    #[test]
    fn a_late_generator_spoils_a_run_only_if_its_lateness_counts() {
        let outcome = |lag_p99_us: f64, calls_per_s: f64| {
            let (latency, lag, health) = (latency(9_000.0), latency(lag_p99_us), health(false));
            let facts = Facts {
                latency: &latency,
                lag: Some(&lag),
                health: &health,
                calls: 100_000,
                calls_per_s,
                issued: 100_000,
                error_count: 0,
            };
            objectives().judge_facts(RATE, &facts).outcome
        };
        assert_eq!(outcome(2_000.0, 999.0), Outcome::Passed);
        assert_eq!(outcome(3_000.0, 999.0), Outcome::Invalid);
        assert_eq!(outcome(20.0, 900.0), Outcome::Invalid);
    }

    #[test]
    fn errors_may_be_allowed_by_count_or_by_share() {
        let allowed = |errors| {
            let arguments = ObjectiveArguments {
                errors: Some(errors),
                ..ObjectiveArguments::default()
            };
            Objectives::new(&arguments).allowed_errors(100_000)
        };
        assert_eq!(allowed(ErrorLimit::Count(3)), 3);
        assert_eq!(allowed(ErrorLimit::Share(0.001)), 100);
    }
}
