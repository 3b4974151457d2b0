//! What each subcommand does, from its arguments to its exit status.

mod floor;
mod rpc;

use crate::arguments::{Command, OutputArguments};
use crate::plan::Plan;
use crate::relay;
use crate::report::Report;
use crate::runtime::{self, Watcher};
use std::fs;

pub const EXIT_NOT_CLEAN: u8 = 1;
pub const EXIT_NOT_STARTED: u8 = 2;
pub const EXIT_INTERRUPTED: u8 = 130;

/// Gives the exit status. Errors: one sentence for the user; nothing was measured.
pub fn execute(command: &Command) -> Result<u8, String> {
    match command {
        Command::Rpc(arguments) => rpc::execute(arguments),
        Command::Floor(arguments) => floor::execute(arguments),
        Command::Relay(arguments) => match relay::serve(arguments.listen) {
            Err(error) => Err(format!("relay on {}: {error}", arguments.listen)),
        },
    }
}

/// One run of `plan`, told as `output` asks for.
fn run_once(plan: &Plan, output: &OutputArguments) -> Result<u8, String> {
    let progress = (output.progress || output.quiet).then_some(output.progress);
    let watcher = Watcher::new(progress).map_err(|error| format!("signals: {error}"))?;
    let results = runtime::run(plan, &watcher)?;
    let report = Report::new(plan, &results);
    if !output.quiet {
        print!("{report}");
    } else if !report.is_clean {
        eprint!("{report}");
    }
    if let Some(file) = &output.json {
        let json = serde_json::to_string_pretty(&report).expect("a report has only plain values");
        fs::write(file, json + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(match (report.was_interrupted, report.is_clean) {
        (true, _) => EXIT_INTERRUPTED,
        (false, true) => 0,
        (false, false) => EXIT_NOT_CLEAN,
    })
}
