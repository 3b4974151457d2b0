//! What each subcommand does, from its arguments to its exit status.

mod compare;
mod floor;
mod rounds;
mod rpc;
mod series;
mod slo;
mod subject;
mod sweep;

use crate::arguments::{Command, OutputArguments};
use crate::relay;
use crate::report::{self, Report};
use crate::runtime::{Results, View, Watcher};
use serde::Serialize;
use std::fs;
use std::path::Path;
use subject::Subject;

pub const EXIT_NOT_CLEAN: u8 = 1;
pub const EXIT_NOT_STARTED: u8 = 2;
pub const EXIT_INTERRUPTED: u8 = 130;

/// Gives the exit status. Errors: one sentence for the user; nothing was measured.
pub fn execute(command: &Command) -> Result<u8, String> {
    match command {
        Command::Rpc(arguments) => rpc::execute(arguments),
        Command::Floor(arguments) => floor::execute(arguments),
        Command::Slo(arguments) => slo::execute(arguments),
        Command::Sweep(arguments) => sweep::execute(arguments),
        Command::Compare(arguments) => compare::execute(arguments),
        Command::Relay(arguments) => match relay::serve(arguments.listen) {
            Err(error) => Err(format!("relay on {}: {error}", arguments.listen)),
        },
    }
}

/// A single run, or several in turn, told as `output` asks for.
fn run_subjects(
    subjects: &[Subject],
    round_count: u32,
    output: &OutputArguments,
) -> Result<u8, String> {
    match subjects {
        [subject] if round_count == 1 => run_once(subject, output),
        subjects => rounds::run_rounds(subjects, round_count, output),
    }
}

fn run_once(subject: &Subject, output: &OutputArguments) -> Result<u8, String> {
    let (report, results) = subject.run(0, &watcher(output.view())?)?;
    if !output.quiet {
        print!("{report}");
    } else if !report.is_clean {
        eprint!("{report}");
    }
    write_files(&report, &results, output)?;
    Ok(exit_status(report.was_interrupted, report.is_clean))
}

fn watcher(view: View) -> Result<Watcher, String> {
    Watcher::new(view).map_err(|error| format!("signals: {error}"))
}

/// Of a command that makes many runs.
fn line_unless(is_quiet: bool) -> View {
    match is_quiet {
        true => View::Nothing,
        false => View::LineOnTerminal,
    }
}

fn exit_status(was_interrupted: bool, is_clean: bool) -> u8 {
    match (was_interrupted, is_clean) {
        (true, _) => EXIT_INTERRUPTED,
        (false, true) => 0,
        (false, false) => EXIT_NOT_CLEAN,
    }
}

fn write_files(report: &Report, results: &Results, output: &OutputArguments) -> Result<(), String> {
    if let Some(file) = &output.json {
        write_json(file, report)?;
    }
    if let Some(file) = &output.hgrm {
        write_file(file, report::hgrm(&results.recorder.since_intended))?;
    }
    if let Some(file) = &output.hlog {
        let log = report::interval_log(&results.intervals);
        write_file(file, log.map_err(|error| format!("interval log: {error}"))?)?;
    }
    if let Some(file) = &output.csv {
        write_file(file, report::csv(report))?;
    }
    if let Some(file) = &output.html {
        write_file(file, report::page(report)?)?;
    }
    if let Some(folder) = &output.svg {
        write_plots(folder, &report::plots(report)?)?;
    }
    Ok(())
}

/// Each plot as NAME.svg. Errors: one sentence that names the file.
fn write_plots(folder: &Path, plots: &[(&str, String)]) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (name, svg) in plots {
        write_file(&folder.join(name).with_extension("svg"), svg)?;
    }
    Ok(())
}

fn write_file(file: &Path, octets: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(file, octets).map_err(|error| format!("{}: {error}", file.display()))
}

fn write_json(file: &Path, value: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string_pretty(value).expect("a report has only plain values");
    write_file(file, json + "\n")
}
