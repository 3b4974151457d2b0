//! Which rates a curve is drawn of.

use super::slo::SeriesOutputArguments;
use super::{AmqpArguments, LoadArguments, RoundsArguments};
use clap::Args;

#[derive(Args, Debug)]
pub struct SweepArguments {
    /// The server: amqp://…, nats://…, relay://…, or "floor" for a relay started here
    #[arg(
        long,
        value_name = "URL|floor",
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f"
    )]
    pub url: String,
    /// The server's process, whose processor time per call is told too [default: who listens
    /// there, if on this machine]
    #[arg(long, value_name = "PID", help_heading = "Report")]
    pub server_pid: Option<u32>,
    #[command(flatten)]
    pub ladder: LadderArguments,
    #[command(flatten)]
    pub rounds: RoundsArguments,
    #[command(flatten)]
    pub amqp: AmqpArguments,
    #[command(flatten)]
    pub load: LoadArguments,
    #[command(flatten)]
    pub output: SeriesOutputArguments,
}

/// Each rate runs for --duration after --warmup [default: 3s after 500ms].
#[derive(Args, Clone, Debug, Default)]
pub struct LadderArguments {
    /// The rates themselves: 1000,2000,5000 [default: a tenth to all of what a closed loop makes]
    #[arg(long, value_name = "CALLS/S,…", value_delimiter = ',', help_heading = "Sweep",
          conflicts_with_all = ["from", "to", "steps"])]
    pub rates: Vec<f64>,
    /// The lowest rate
    #[arg(long, value_name = "CALLS/S", requires = "to", help_heading = "Sweep")]
    pub from: Option<f64>,
    /// The highest rate
    #[arg(
        long,
        value_name = "CALLS/S",
        requires = "from",
        help_heading = "Sweep"
    )]
    pub to: Option<f64>,
    /// Rates from the lowest to the highest, each by the same factor above the one before
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Sweep",
          value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub steps: u32,
    /// Go on with higher rates where a server has made less than 95 % of one
    #[arg(long, help_heading = "Sweep")]
    pub keep_going: bool,
}
