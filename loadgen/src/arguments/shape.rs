//! What the calls are like: how long their bodies are, how long people and workers take.

use super::units::{parse_sizes, parse_times};
use crate::distribution::Distribution;
use clap::Args;

#[derive(Args, Clone, Debug)]
pub struct ShapeArguments {
    /// Octets of each request's body, at least 16, for the call's id: 64, uniform:64-4096,
    /// exp:1000, or file:PATH
    ///
    /// A file has a size per line, of which each call draws one. There is no option for bodies
    /// of your own: a broker does not read them, and the audit needs octets that it can check.
    #[arg(long, value_name = "OCTETS", value_parser = parse_sizes, default_value = "64",
          help_heading = "Load")]
    pub size: Distribution,
    /// Octets of each reply's body, in the same words [default: the request's body]
    #[arg(long, value_name = "OCTETS", value_parser = parse_sizes, help_heading = "Load")]
    pub reply_size: Option<Distribution>,
    /// Closed loop: each place in flight is a user who waits before each call: 1ms, exp:1ms,
    /// uniform:1ms-5ms, or file:PATH
    #[arg(long, value_name = "TIME", value_parser = parse_times, conflicts_with = "rate",
          help_heading = "Load")]
    pub think: Option<Distribution>,
    /// Workers take this long for each request, in the same words [default: no time]
    #[arg(long, value_name = "TIME", value_parser = parse_times, help_heading = "Load")]
    pub service: Option<Distribution>,
    /// Requests that a worker serves at a time; others wait their turn (with --service)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    pub service_concurrency: u32,
    /// The first worker takes so many times as long as the others (with --service)
    #[arg(
        long,
        value_name = "FACTOR",
        requires = "service",
        help_heading = "Load"
    )]
    pub slow_worker: Option<f64>,
}
