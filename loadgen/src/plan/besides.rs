//! What the run does besides calling: connections that come and go or idle, faults.

use super::Target;
use crate::arguments::{ConnectionArguments, FaultArguments, LoadArguments, Sources};
use std::time::Duration;

/// Connections that one source address can surely have: its ports, less what others use.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

const IDLE_COUNT_MAX: u32 = 1_000_000;
const SPLIT_MAX: u32 = 64;

/// Invariant: rates are positive; `restart_after` is less than the calls' timeout; a target that
/// is not AMQP has neither faults nor connections besides.
#[derive(Clone, Debug)]
pub struct Besides {
    /// Connections opened and closed per second.
    pub churn: Option<f64>,
    pub churn_calls: bool,
    pub idle_count: u32,
    pub sources: Option<Sources>,
    /// Sends per message.
    pub split: u32,
    pub has_nagle: bool,
    /// Kills per second.
    pub kill_workers: Option<f64>,
    pub kill_requesters: Option<f64>,
    pub restart_after: Duration,
}

impl Besides {
    /// Errors: one sentence for the person who typed the arguments.
    pub fn new(target: &Target, load: &LoadArguments) -> Result<Besides, String> {
        let (connections, faults) = (&load.connections, &load.faults);
        check_rate("--churn", connections.churn)?;
        check_rate("--kill-workers", faults.kill_workers)?;
        check_rate("--kill-requesters", faults.kill_requesters)?;
        if !matches!(target, Target::Amqp(_)) && needs_amqp(connections, faults) {
            return Err("--churn, --idle and --kill-… need an amqp:// URL".to_owned());
        }
        if connections.idle > IDLE_COUNT_MAX {
            return Err(format!("--idle must be at most {IDLE_COUNT_MAX}"));
        }
        if !(1..=SPLIT_MAX).contains(&connections.split) {
            return Err(format!("--split must be between 1 and {SPLIT_MAX}"));
        }
        if faults.kill_workers.is_some() && faults.restart_after >= load.timeout {
            return Err(
                "--restart-after must be less than --timeout: calls would be given up \
                        while nobody is there to answer"
                    .to_owned(),
            );
        }
        Ok(Besides {
            churn: connections.churn,
            churn_calls: connections.churn_call,
            idle_count: connections.idle,
            sources: connections.source,
            split: connections.split,
            has_nagle: connections.nagle,
            kill_workers: faults.kill_workers,
            kill_requesters: faults.kill_requesters,
            restart_after: faults.restart_after,
        })
    }

    pub fn has_kills(&self) -> bool {
        self.kill_workers.is_some() || self.kill_requesters.is_some()
    }

    pub fn has_bystanders(&self) -> bool {
        self.churn.is_some() || self.idle_count > 0
    }
}

/// Addresses that so many connections to a server on loopback are spread over; 0 if one will do.
pub fn sources_wanted(connection_count: usize) -> u32 {
    match connection_count.div_ceil(CONNECTIONS_PER_SOURCE) {
        0 | 1 => 0,
        count => u32::try_from(count).unwrap_or(u32::MAX),
    }
}

fn needs_amqp(connections: &ConnectionArguments, faults: &FaultArguments) -> bool {
    let kills = faults.kill_workers.or(faults.kill_requesters);
    connections.churn.is_some() || connections.idle > 0 || kills.is_some()
}

fn check_rate(name: &str, rate: Option<f64>) -> Result<(), String> {
    match rate {
        Some(rate) if !(1e-3..=1e5).contains(&rate) => {
            Err(format!("{name} must be between 0.001 and 100000 a second"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_a_sentence() {
        for line in [
            "--churn 0",
            "--kill-workers 0",
            "--split 0",
            "--kill-workers 1 --restart-after 5s",
            "--idle 2000000",
            "--url relay://127.0.0.1:1 --idle 1",
            "--url relay://127.0.0.1:1 --kill-requesters 1",
        ] {
            let message = plan(line).expect_err(line);
            assert!(message.len() > 10, "{line}: {message}");
        }
    }

    #[test]
    fn many_connections_are_spread_over_addresses() {
        assert_eq!(sources_wanted(20_000), 0);
        assert_eq!(sources_wanted(20_001), 2);
        assert_eq!(sources_wanted(100_000), 5);
    }
}
