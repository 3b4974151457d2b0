//! The command line as clap sees it; `plan` checks it and gives it meaning.

use crate::plan::Amount;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Drives correlated round trips through an AMQP 0-9-1 broker and audits every one.
///
/// Exit status: 0 every call came back once, whole and in time; 1 some did not; 2 the run could
/// not start; 130 interrupted.
#[derive(Parser, Debug)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Remote procedure calls through any AMQP 0-9-1 broker
    ///
    /// Requester i calls queue i modulo the queues, worker j answers queue j modulo the queues.
    /// Each has a connection and a channel of its own. The request names a reply address and a
    /// correlation id; the worker publishes the reply to it by the default exchange.
    Rpc(RpcArguments),
    /// The same load through a bare byte relay: what the machine and TCP themselves cost
    ///
    /// The relay pairs requester i with worker i and copies octets. A call here has as many
    /// octets as the same call by direct reply-to, and goes through the same loop and audit.
    Relay(RelayArguments),
}

#[derive(Args, Debug)]
pub struct RpcArguments {
    /// The broker: amqp://user:password@host:port/vhost (vhost / is %2f)
    #[arg(
        long,
        value_name = "URL",
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f"
    )]
    pub url: String,
    /// How replies travel: direct reply-to, or one exclusive callback queue per requester
    #[arg(long, value_enum, default_value_t = ReplyStyle::Direct)]
    pub reply: ReplyStyle,
    /// Whether workers acknowledge requests themselves, after the reply
    #[arg(long, value_enum, default_value_t = AckMode::Auto)]
    pub ack: AckMode,
    /// Unacknowledged requests that a worker may hold, 0 for no limit (with --ack manual)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub prefetch: u16,
    /// Request queues [default: as many as workers]
    #[arg(long, value_name = "N")]
    pub queues: Option<u32>,
    /// Publish requests as mandatory: one without a queue is reported by its name, not as lost
    #[arg(long)]
    pub mandatory: bool,
    #[command(flatten)]
    pub load: LoadArguments,
}

#[derive(Args, Debug)]
pub struct RelayArguments {
    /// Where the relay listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5670")]
    pub url: String,
    #[command(flatten)]
    pub load: LoadArguments,
}

#[derive(Args, Debug)]
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
    /// Octets of each body, request and reply; at least 16, for the call's id
    #[arg(
        long,
        value_name = "OCTETS",
        default_value_t = 64,
        help_heading = "Load"
    )]
    pub size: usize,
    /// Calls per second of all requesters together, evenly spaced, latency counted from each
    /// call's intended start [default: closed loop, each reply sets off the next call]
    #[arg(long, value_name = "CALLS/S", help_heading = "Load")]
    pub rate: Option<f64>,
    /// When to give a call up as lost
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s",
          help_heading = "Load")]
    pub timeout: Duration,
    /// Threads, one executor and one network ring each [default: half the usable cores]
    #[arg(long, value_name = "N", help_heading = "Placement")]
    pub threads: Option<usize>,
    /// Connect all workers, then all requesters; or worker 0, requester 0, worker 1, …
    ///
    /// A server that deals connections to its threads in turn, as Rondo does to its shards, then
    /// has worker i and requester i on the same one (grouped, if it has as many threads as divide
    /// the workers) or on different ones (paired, if it has two).
    #[arg(long, value_enum, default_value_t = ConnectOrder::Grouped, help_heading = "Placement")]
    pub connect_order: ConnectOrder,
    /// Also report the processor time of this process (the server's) per call
    #[arg(long, value_name = "PID", help_heading = "Report")]
    pub server_pid: Option<u32>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// No report, only the exit status (and what went wrong)
    #[arg(long, help_heading = "Report")]
    pub quiet: bool,
    /// A progress line each second even if standard error is no terminal
    #[arg(long, conflicts_with = "quiet", help_heading = "Report")]
    pub progress: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyStyle {
    Direct,
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    Auto,
    Manual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectOrder {
    Grouped,
    Paired,
}

/// "500us", "20ms", "3s", "2m", "1h" or plain seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits_len = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_len);
    let seconds_per_unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}: us, ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{number:?} is not a number"))?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| error.to_string())
}

/// Plain digits are calls, with a unit it is a time.
fn parse_amount(text: &str) -> Result<Amount, String> {
    match text.parse() {
        Ok(calls) => Ok(Amount::Calls(calls)),
        Err(_) => parse_duration(text).map(Amount::Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units_and_plain_numbers_are_seconds() {
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        for wrong in ["", "s", "-1s", "1d", "1.2.3s", "1e400"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_warmup_is_calls_or_a_time() {
        assert_eq!(parse_amount("1000"), Ok(Amount::Calls(1000)));
        assert_eq!(parse_amount("2s"), Ok(Amount::Time(Duration::from_secs(2))));
    }
}
