//! What is to go wrong on purpose.

use super::units::parse_duration;
use clap::Args;
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub struct FaultArguments {
    /// Workers killed per second: the connection reset or closed at any point, half a frame sent
    ///
    /// The audit tells what that explains. With --ack auto a killed worker's requests are lost
    /// with it; with --ack manual every call returns, some of them twice.
    #[arg(long, value_name = "PER-S", help_heading = "Faults")]
    pub kill_workers: Option<f64>,
    /// Requesters killed per second, in the same way: their calls in flight have failed
    #[arg(long, value_name = "PER-S", help_heading = "Faults")]
    pub kill_requesters: Option<f64>,
    /// When a killed one connects again; less than --timeout
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "100ms",
          help_heading = "Faults")]
    pub restart_after: Duration,
}
