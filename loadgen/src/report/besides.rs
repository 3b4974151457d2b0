//! What went on besides the calls: faults made on purpose, connections that came and went.

use super::format::format_count;
use crate::audit::Audit;
use crate::client::Kills;
use crate::plan::Plan;
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
        }
    }

    /// Only what there is to tell.
    pub fn write(&self, f: &mut Formatter<'_>, audit: &Audit) -> fmt::Result {
        if audit.confirmed > 0 {
            let confirmed = format_count(audit.confirmed);
            writeln!(f, "  confirms  {confirmed} requests confirmed")?;
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
        Ok(())
    }
}
