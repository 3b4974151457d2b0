//! What went on besides the calls: faults made on purpose, connections that came and went.

use super::Latency;
use super::format::{format_count, format_latency};
use crate::audit::Audit;
use crate::client::{Heaped, Kills};
use crate::plan::{Plan, Target};
use crate::runtime::Results;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Formatter};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Besides {
    pub split: u32,
    pub nagle: bool,
    pub kill_workers_per_s: Option<f64>,
    pub kill_requesters_per_s: Option<f64>,
    pub restart_after_s: f64,
    pub killed: Kills,
    /// Requests answered by the worker that is slower than the others, if there is one.
    pub slow_answers: Option<u64>,
    /// If workers filled the broker's memory.
    pub heap: Option<Heaped>,
    pub idle: u64,
    pub churn: Option<ChurnReport>,
}

/// Connections opened and closed beside the load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChurnReport {
    pub asked_per_s: f64,
    pub with_call: bool,
    pub opened: u64,
    pub closed: u64,
    pub closed_per_s: f64,
    /// From the connect to the confirmed close.
    pub latency: Latency,
    pub audit: Audit,
}

impl Besides {
    pub fn new(plan: &Plan, results: &Results) -> Besides {
        let besides = &plan.besides;
        Besides {
            split: besides.split,
            nagle: besides.has_nagle,
            kill_workers_per_s: besides.kill_workers,
            kill_requesters_per_s: besides.kill_requesters,
            restart_after_s: besides.restart_after.as_secs_f64(),
            killed: results.kills,
            slow_answers: plan.shape.slow_worker.map(|_| results.slow_answer_count),
            heap: match &plan.target {
                Target::Amqp(target) => target.heap.map(|_| results.heap),
                Target::Nats(_) | Target::Relay { .. } => None,
            },
            idle: results
                .bystanders
                .as_ref()
                .map_or(0, |bystanders| bystanders.idle_count),
            churn: besides.churn.and_then(|asked_per_s| {
                let churn = &results.bystanders.as_ref()?.churn;
                Some(ChurnReport {
                    asked_per_s,
                    with_call: besides.churn_calls,
                    opened: churn.opened_count,
                    closed: churn.closed_count,
                    closed_per_s: churn.closed_count as f64 / churn.seconds.max(1e-9),
                    latency: Latency::new(&churn.latency),
                    audit: churn.audit.clone(),
                })
            }),
        }
    }

    /// Only what there is to tell.
    pub fn write(&self, f: &mut Formatter<'_>, audit: &Audit) -> fmt::Result {
        if audit.confirmed > 0 {
            let confirmed = format_count(audit.confirmed);
            writeln!(f, "  confirms  {confirmed} requests confirmed")?;
        }
        if !audit.answered_by_broker.is_empty() {
            let answers = audit.answered_by_broker.iter();
            let answers: Vec<String> = answers
                .map(|(status, count)| format!("{status}: {}", format_count(*count)))
                .collect();
            let answers = answers.join(", ");
            writeln!(
                f,
                "  answered  by the broker in a worker's place: {answers}"
            )?;
        }
        if self.killed != Kills::default() {
            writeln!(
                f,
                "  killed    {} workers, {} requesters; explained by that: lost with a killed \
                 worker {}, failed with a killed requester {}, redelivered {}, of them answered \
                 twice {}",
                format_count(self.killed.workers),
                format_count(self.killed.requesters),
                format_count(audit.lost_with_worker),
                format_count(audit.failed_with_requester),
                format_count(audit.redelivered),
                format_count(audit.repeated),
            )?;
        }
        if let Some(count) = self.slow_answers {
            writeln!(
                f,
                "  slow      the slow worker answered {} of {} calls",
                format_count(count),
                format_count(audit.issued),
            )?;
        }
        if let Some(heap) = &self.heap {
            writeln!(
                f,
                "  heap      workers were told {} times to wait, and answered {} calls meanwhile",
                format_count(heap.blocked_count),
                format_count(heap.answer_count),
            )?;
        }
        if self.idle > 0 {
            let idle = format_count(self.idle);
            writeln!(f, "  idle      {idle} connections held beside the load")?;
        }
        if let Some(churn) = &self.churn {
            let millis = |micros: f64| format_latency((micros * 1e3) as u64);
            writeln!(
                f,
                "  churn     {} connections opened, {} closed: {:.0}/s; from connect to close p50 \
                 {}, p99 {}, max {}; {} of {} calls returned once",
                format_count(churn.opened),
                format_count(churn.closed),
                churn.closed_per_s,
                millis(churn.latency.p50_us),
                millis(churn.latency.p99_us),
                millis(churn.latency.max_us),
                format_count(churn.audit.returned_once),
                format_count(churn.audit.issued),
            )?;
        }
        Ok(())
    }

    /// What came and went beside the load did so in order.
    pub fn is_clean(&self) -> bool {
        self.churn
            .as_ref()
            .is_none_or(|churn| churn.audit.is_clean() && churn.opened == churn.closed)
    }
}
