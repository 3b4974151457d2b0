//! How much load, from how many connections and threads: the same for every server.

use super::connections::ConnectionArguments;
use super::faults::FaultArguments;
use super::shape::ShapeArguments;
use super::units::{parse_amount, parse_duration};
use crate::pacer::Arrival;
use crate::plan::Amount;
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub struct LoadArguments {
    /// Connections that call
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Load")]
    pub requesters: u32,
    /// Connections that answer
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Load")]
    pub workers: u32,
    /// Calls each requester may have in flight [default: 1, with --rate 1024]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub in_flight: Option<u32>,
    /// Calls to measure, of all requesters together [default: 100000]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "duration",
        help_heading = "Load"
    )]
    pub calls: Option<u64>,
    /// Measure for a time instead: 30s, 500ms, 2m, or plain seconds
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Load")]
    pub duration: Option<Duration>,
    /// Calls (1000) or time (2s) before the measured ones: audited, not recorded
    #[arg(long, value_name = "CALLS|TIME", value_parser = parse_amount, default_value = "0",
          help_heading = "Load")]
    pub warmup: Amount,
    #[command(flatten)]
    pub shape: ShapeArguments,
    /// Calls per second of all requesters together, latency counted from each call's intended
    /// start [default: closed loop, each reply sets off the next call]
    #[arg(long, value_name = "CALLS/S", help_heading = "Load")]
    pub rate: Option<f64>,
    /// How calls follow each other (with --rate)
    #[arg(long, value_enum, default_value_t = Arrival::Fixed, help_heading = "Load")]
    pub arrival: Arrival,
    /// For all that is drawn at random: the same seed, the same load
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    pub seed: u64,
    /// Length of an interval of the time series [default: a hundredth of --duration, at least
    /// 100ms; with --calls 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Report")]
    pub interval: Option<Duration>,
    /// When to give a call up as lost
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s",
          help_heading = "Load")]
    pub timeout: Duration,
    /// Threads, one executor and one network ring each [default: half the usable cores]
    #[arg(long, value_name = "N", help_heading = "Placement")]
    pub threads: Option<usize>,
    /// How long before a call is due a thread stops sleeping and looks all the time: what it costs
    /// in processor time it saves in lateness (with --rate, --think or --service) [default: 50us,
    /// 0us if --threads is more than half the cores]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Placement")]
    pub spin: Option<Duration>,
    /// Connect all workers, then all requesters; or worker 0, requester 0, worker 1, …
    ///
    /// A server that deals connections to its threads in turn, as Rondo does to its shards, then
    /// has worker i and requester i on the same one (grouped, if it has as many threads as divide
    /// the workers) or on different ones (paired, if it has two).
    #[arg(long, value_enum, default_value_t = ConnectOrder::Grouped, help_heading = "Placement")]
    pub connect_order: ConnectOrder,
    #[command(flatten)]
    pub connections: ConnectionArguments,
    #[command(flatten)]
    pub faults: FaultArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectOrder {
    Grouped,
    Paired,
}
