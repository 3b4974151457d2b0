//! Runs of several servers in turn.

use clap::Args;

#[derive(Args, Clone, Debug, Default)]
pub struct RoundsArguments {
    /// Also call this server, in turn with the first: A B A B. "floor" starts a relay for it
    ///
    /// May be given several times. NAME=URL gives it a name of its own. Ratios to the first come
    /// with their confidence; options that only AMQP has hold for all AMQP servers.
    #[arg(long, value_name = "[NAME=]URL|floor", help_heading = "Rounds")]
    pub vs: Vec<String>,
    /// The process of each --vs, in their order [default: who listens there, if on this machine]
    #[arg(long, value_name = "PID", requires = "vs", help_heading = "Rounds")]
    pub vs_pid: Vec<u32>,
    /// How often to run each, with fresh connections [default: 1; with --vs 5, in a sweep 1]
    #[arg(long, value_name = "N", help_heading = "Rounds",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: Option<u32>,
    /// What the report calls the first server [default: its own name and version]
    #[arg(long, value_name = "NAME", help_heading = "Rounds")]
    pub label: Option<String>,
}

impl RoundsArguments {
    pub fn count(&self) -> u32 {
        self.rounds
            .unwrap_or(if self.vs.is_empty() { 1 } else { 5 })
    }
}
