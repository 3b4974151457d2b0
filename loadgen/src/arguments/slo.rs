//! What a sustainable rate has to hold.

use super::units::parse_duration;
use super::{AmqpArguments, LoadArguments};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Debug)]
pub struct SloArguments {
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
    pub objectives: ObjectiveArguments,
    /// How far apart the answer and a rate that failed may be: 1.05 is 5 %
    #[arg(
        long,
        value_name = "FACTOR",
        default_value_t = 1.05,
        help_heading = "Search"
    )]
    pub precision: f64,
    /// How often the answer is run again; two thirds must pass
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Search",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub reruns: u32,
    /// Where to begin [default: half of what a closed loop makes]
    #[arg(long, value_name = "CALLS/S", help_heading = "Search")]
    pub start: Option<f64>,
    #[command(flatten)]
    pub amqp: AmqpArguments,
    #[command(flatten)]
    pub load: LoadArguments,
    #[command(flatten)]
    pub output: SeriesOutputArguments,
}

/// All of them must hold, counted from each call's intended start.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = true)]
pub struct ObjectiveArguments {
    /// Half of the calls take at most this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Objectives")]
    pub p50: Option<Duration>,
    /// Nine of ten calls take at most this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Objectives")]
    pub p90: Option<Duration>,
    /// 99 of a hundred calls take at most this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Objectives")]
    pub p99: Option<Duration>,
    /// 999 of a thousand calls take at most this
    #[arg(long = "p99.9", value_name = "TIME", value_parser = parse_duration,
          help_heading = "Objectives")]
    pub p99_9: Option<Duration>,
    /// 9,999 of ten thousand calls take at most this
    #[arg(long = "p99.99", value_name = "TIME", value_parser = parse_duration,
          help_heading = "Objectives")]
    pub p99_99: Option<Duration>,
    /// The slowest call takes at most this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Objectives")]
    pub max: Option<Duration>,
    /// Calls of a probe that may go wrong: a count, or a share of them as in 0.1% [default: 0]
    #[arg(long, value_name = "N|SHARE%", value_parser = parse_errors,
          help_heading = "Objectives")]
    pub errors: Option<ErrorLimit>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ErrorLimit {
    Count(u64),
    /// Of 1.
    Share(f64),
}

fn parse_errors(text: &str) -> Result<ErrorLimit, String> {
    let wrong = || format!("{text:?} is neither a count nor a share as in 0.1%");
    match text.strip_suffix('%') {
        None => text.parse().map(ErrorLimit::Count).map_err(|_| wrong()),
        Some(percent) => match percent.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => {
                Ok(ErrorLimit::Share(percent / 100.0))
            }
            _ => Err(wrong()),
        },
    }
}

/// What is told of a series of runs, and where to.
#[derive(Args, Clone, Debug)]
pub struct SeriesOutputArguments {
    /// Also write all reports as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// Also write a page with the plots, for a browser
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
    /// Also write each plot as a file of its own into this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Report")]
    pub svg: Option<PathBuf>,
    /// No table and no line for each run
    #[arg(long, help_heading = "Report")]
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_a_count_or_a_share() {
        assert_eq!(parse_errors("0"), Ok(ErrorLimit::Count(0)));
        assert_eq!(parse_errors("0.5%"), Ok(ErrorLimit::Share(0.005)));
        for wrong in ["", "%", "-1", "0.1", "101%", "x%"] {
            assert!(parse_errors(wrong).is_err(), "{wrong}");
        }
    }
}
