//! What the commands have in common that make many runs at rates of their own choice.

use super::subject::{Calls, Subject};
use crate::arguments::{AmqpArguments, LoadArguments};
use crate::pacer::Pace;
use crate::plan::Amount;
use crate::report::{Report, format_count, format_latency};
use crate::runtime::Watcher;
use std::time::Duration;

const STEP_DURATION: Duration = Duration::from_secs(3);
const STEP_WARMUP: Duration = Duration::from_millis(500);

/// A closed loop that is to find a server's most needs no more than this from each requester.
const CLOSED_IN_FLIGHT_MAX: u32 = 16;

/// The load arguments of a single step. Errors: one sentence for the user.
pub fn step_load(load: &LoadArguments) -> Result<LoadArguments, String> {
    if load.rate.is_some() {
        return Err("--rate is what this command chooses: leave it out".to_owned());
    }
    let mut load = load.clone();
    // Any rate: the plan then has an open loop, with as much in flight as one needs.
    load.rate = Some(1.0);
    if load.calls.is_none() {
        load.duration.get_or_insert(STEP_DURATION);
    }
    if load.warmup == Amount::Calls(0) {
        load.warmup = Amount::Time(STEP_WARMUP);
    }
    Ok(load)
}

pub fn calls<'a>(amqp: &'a AmqpArguments, load: &'a LoadArguments) -> Calls<'a> {
    Calls { amqp, load }
}

impl Subject {
    /// A run at this rate, in place of the plan's own.
    pub fn run_at(&self, rate: f64, round: u32, watcher: &Watcher) -> Result<Report, String> {
        let mut plan = self.plan.clone();
        let pace = plan.pace.expect("a step's load has a rate");
        plan.pace = Some(Pace {
            calls_per_s: rate,
            ..pace
        });
        Ok(self.run_plan(&plan, round, watcher)?.0)
    }

    /// What the server makes of a closed loop: about the most that it can do.
    pub fn run_closed(&self, watcher: &Watcher) -> Result<Report, String> {
        let mut plan = self.plan.clone();
        plan.pace = None;
        plan.in_flight = plan.in_flight.min(CLOSED_IN_FLIGHT_MAX);
        Ok(self.run_plan(&plan, 0, watcher)?.0)
    }
}

/// "20,000 calls/s  p50 …  p99 …".
pub fn figures(report: &Report) -> String {
    let latency = |micros: f64| format_latency((micros * 1e3) as u64);
    format!(
        "{:>9} calls/s  p50 {:>8}  p99 {:>8}  p99.9 {:>8}",
        format_count(report.calls_per_s as u64),
        latency(report.latency.p50_us),
        latency(report.latency.p99_us),
        latency(report.latency.p99_9_us),
    )
}
