//! The command line as clap sees it; `plan` checks it and gives it meaning.

mod amqp;
mod compare;
mod connections;
mod faults;
mod load;
mod output;
mod rounds;
mod shape;
mod slo;
mod sweep;
mod units;

pub use amqp::{AckMode, AmqpArguments, Dispatch, ReplyStyle};
pub use compare::{CompareArguments, GroupBy};
pub use connections::{ConnectionArguments, Sources};
pub use faults::FaultArguments;
pub use load::{ConnectOrder, LoadArguments};
pub use output::OutputArguments;
pub use rounds::RoundsArguments;
pub use shape::ShapeArguments;
pub use slo::{ErrorLimit, ObjectiveArguments, SloArguments};
pub use sweep::{LadderArguments, SweepArguments};

use clap::{Args, FromArgMatches, Parser, Subcommand};
use std::net::SocketAddr;

/// Drives correlated round trips through an AMQP 0-9-1 broker and audits every one.
///
/// The report's line "health" says whether loadgen itself was fit to measure. With --rate a run is
/// not valid if 1 % of the calls that had room went out late by more than 100 µs and more than a
/// quarter of the p99, or if the rate was missed while the server held no call back (or while a
/// generator thread was busy 95 % of the time and no thread of the server was). Without, the rate
/// is only the least that the server can do if a generator thread was that busy and none of the
/// server's was.
///
/// Exit status: 0 every call of every run came back once, whole and in time (slo: and there is an
/// answer that its reruns confirmed; compare: the files could be read); 1 some did not, or no
/// answer; 2 it could not start, or a file could not be read or written; 130 interrupted.
#[derive(Parser, Debug)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Remote procedure calls through a server
    ///
    /// Requester i calls queue i modulo the queues, worker j answers queue j modulo the queues.
    /// Each has a connection and a channel of its own. The request names a reply address and a
    /// correlation id; the worker publishes the reply to it by the default exchange.
    Rpc(RpcArguments),
    /// The same load through a bare byte relay: what the machine and TCP themselves cost
    ///
    /// Starts the relay as a process of its own. It pairs requester i with worker i and copies
    /// octets. A call here has as many octets as the same call by direct reply-to, and goes
    /// through the same loop and audit.
    Floor(FloorArguments),
    /// The highest rate that holds latency objectives, by search
    ///
    /// Asks for one rate after another, open loop (--arrival poisson for random arrivals): a
    /// bracket first, then halves of it, then the answer again. A rate passes if every objective
    /// holds, 99 % of it was made, and the generator was fit (its own lateness at most a quarter of
    /// the tightest limit); one that does not is asked again. Where the generator gives up first,
    /// the answer is "at least". Each probe runs for
    /// --duration after --warmup [default: 3s after 500ms]. Exit status: 0 an answer that its
    /// reruns confirmed, 1 none. Example: loadgen slo --p99 1ms --errors 0
    Slo(Box<SloArguments>),
    /// Latency at rising rates: the curve that shows where a server bends
    ///
    /// Each rate runs for --duration after --warmup [default: 3s after 500ms], open loop. A server
    /// that makes less than 95 % of a rate is saturated and asked no more. Example:
    /// loadgen sweep --from 1000 --to 100000 --steps 10 --vs floor --html sweep.html
    Sweep(Box<SweepArguments>),
    /// Reports side by side: medians, ratios, and how sure they are
    ///
    /// Reads what --json wrote. Runs that took turns (--vs, --rounds) are compared round by round,
    /// others by Welch's interval; both on logarithms, at 95 %. Warns where machines or options
    /// differ. Example: loadgen compare before.json after.json
    Compare(CompareArguments),
    /// Serves as that relay, until SIGTERM
    Relay(RelayArguments),
}

#[derive(Args, Debug)]
pub struct RpcArguments {
    /// The server: amqp://user:password@host:port/vhost (vhost / is %2f), nats://host:port, or
    /// relay://host:port
    #[arg(
        long,
        value_name = "URL",
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f"
    )]
    pub url: String,
    /// The server's process, whose processor time per call is told too [default: who listens
    /// there, if on this machine]
    #[arg(long, value_name = "PID", help_heading = "Report")]
    pub server_pid: Option<u32>,
    #[command(flatten)]
    pub amqp: AmqpArguments,
    #[command(flatten)]
    pub rounds: RoundsArguments,
    #[command(flatten)]
    pub load: LoadArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Args, Debug)]
pub struct FloorArguments {
    #[command(flatten)]
    pub rounds: RoundsArguments,
    #[command(flatten)]
    pub load: LoadArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Args, Debug)]
pub struct RelayArguments {
    /// Address to listen on; port 0 takes a free one and prints it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// As if none of these options was given.
impl Default for AmqpArguments {
    fn default() -> AmqpArguments {
        let command = AmqpArguments::augment_args(clap::Command::new("defaults"));
        let matches = command.get_matches_from(["defaults"]);
        AmqpArguments::from_arg_matches(&matches).expect("all of these options have a default")
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
    fn amqp_options_that_nobody_gave_have_their_defaults() {
        let amqp = AmqpArguments::default();
        assert_eq!((amqp.reply, amqp.ack), (ReplyStyle::Direct, AckMode::Auto));
    }
}
