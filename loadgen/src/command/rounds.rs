//! Runs in turn, A B A B, and one report of all: machines drift, and so both drift alike.

use super::subject::{Subject, tell_apart};
use super::{exit_status, watcher, write_file, write_json, write_plots};
use crate::arguments::OutputArguments;
use crate::comparison::{Comparison, Measured};
use crate::report::{Report, format_count, format_latency};
use serde::Serialize;

/// The JSON of several runs.
#[derive(Serialize)]
struct Runs<'a> {
    pub kind: &'static str,
    pub comparison: &'a Comparison,
    pub runs: &'a [Report],
}

/// How far the rounds came.
struct Series {
    reports: Vec<Report>,
    was_interrupted: bool,
    /// Why a run could not start or go on; those before it are kept.
    failure: Option<String>,
}

/// Errors: one sentence for the user.
pub fn run_rounds(
    subjects: &[Subject],
    round_count: u32,
    output: &OutputArguments,
) -> Result<u8, String> {
    refuse_single_run_files(output)?;
    let series = take_turns(subjects, round_count, output)?;
    let Some(first) = series.reports.first() else {
        let interrupted = || "interrupted before the first run was over".to_owned();
        return Err(series.failure.unwrap_or_else(interrupted));
    };
    let measured = measured(&series.reports);
    let comparison = Comparison::new(&measured).expect("there is a first report");
    let about = about(first, round_count);
    let is_clean = series.reports.iter().all(|report| report.is_clean);
    if !output.quiet {
        println!("{about}\n{}\n\n{comparison}", first.machine_line());
    } else if !is_clean {
        eprint!("{comparison}");
    }
    if let Some(file) = &output.json {
        let runs = Runs {
            kind: "runs",
            comparison: &comparison,
            runs: &series.reports,
        };
        write_json(file, &runs)?;
    }
    if let Some(file) = &output.html {
        write_file(file, comparison.page(&about, &measured))?;
    }
    if let Some(folder) = &output.svg {
        write_plots(folder, &comparison.plots(&measured))?;
    }
    match series.failure {
        Some(message) => Err(format!("ended early: {message}")),
        None => Ok(exit_status(series.was_interrupted, is_clean)),
    }
}

/// A B A B, until all rounds are over, somebody has had enough, or a run fails.
fn take_turns(
    subjects: &[Subject],
    round_count: u32,
    output: &OutputArguments,
) -> Result<Series, String> {
    let watcher = watcher(output.view())?;
    let mut names = Vec::new();
    let mut series = Series {
        reports: Vec::new(),
        was_interrupted: false,
        failure: None,
    };
    for round in 0..round_count {
        for (index, subject) in subjects.iter().enumerate() {
            let mut report = match subject.run(round, &watcher) {
                Ok((report, _)) => report,
                Err(message) => {
                    series.failure = Some(message);
                    return Ok(series);
                }
            };
            if report.was_interrupted {
                series.was_interrupted = true;
                return Ok(series);
            }
            report.label = tell_apart(&report.label, index, &mut names);
            if !output.quiet {
                eprintln!("{}", progress_line(&report, round_count));
            }
            series.reports.push(report);
        }
    }
    Ok(series)
}

fn refuse_single_run_files(output: &OutputArguments) -> Result<(), String> {
    let options = [
        ("--hgrm", output.hgrm.is_some()),
        ("--hlog", output.hlog.is_some()),
        ("--csv", output.csv.is_some()),
    ];
    match options.into_iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(format!(
            "{name} is a file of one run: here --json keeps all of them, histograms included"
        )),
        None => Ok(()),
    }
}

fn measured(reports: &[Report]) -> Vec<Measured> {
    let measured = |report: &Report| {
        let json = serde_json::to_value(report).expect("a report has only plain values");
        Measured::new(&report.label, &json, Some((0, u64::from(report.round))))
    };
    reports.iter().filter_map(measured).collect()
}

fn about(first: &Report, round_count: u32) -> String {
    let headline = first.headline();
    let (_, load) = headline.split_once(": ").unwrap_or(("", &headline));
    format!("{round_count} rounds in turn: {load}")
}

fn progress_line(report: &Report, round_count: u32) -> String {
    let flag = match (report.is_clean, report.health.is_valid) {
        (false, _) => "  NOT CLEAN",
        (true, false) => "  generator was the bottleneck: not valid",
        (true, true) => "",
    };
    format!(
        "round {} of {round_count}  {:<20}  {:>9} calls/s  p50 {}  p99 {}{flag}",
        report.round + 1,
        report.label,
        format_count(report.calls_per_s as u64),
        format_latency((report.latency.p50_us * 1e3) as u64),
        format_latency((report.latency.p99_us * 1e3) as u64),
    )
}
