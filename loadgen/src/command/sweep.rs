//! `loadgen sweep`: latency at rising rates.

use super::series::{calls, figures, step_load};
use super::subject::{Subject, tell_apart};
use super::{exit_status, line_unless, watcher, write_file, write_json, write_plots};
use crate::arguments::{LadderArguments, SweepArguments};
use crate::objectives::error_count;
use crate::plot::{self, LoadPoint};
use crate::report::{Page, Report, format_count, format_latency};
use crate::runtime::Watcher;
use crate::statistics::Spread;
use crate::table::Table;
use serde::Serialize;

/// A server that makes less of a rate than this is saturated.
const SATURATED: f64 = 0.95;

/// Of what a closed loop makes, unless rates are given.
const SHARE_FROM: f64 = 0.1;
const SHARE_TO: f64 = 1.0;

#[derive(Serialize)]
struct Swept<'a> {
    kind: &'static str,
    runs: &'a [Report],
}

pub fn execute(arguments: &SweepArguments) -> Result<u8, String> {
    let load = step_load(&arguments.load)?;
    let calls = calls(&arguments.amqp, &load);
    let first = Subject::new(&arguments.url, arguments.server_pid, calls)?;
    let subjects = first.with_others(&arguments.rounds, calls)?;
    let output = &arguments.output;
    let watcher = watcher(line_unless(output.quiet))?;
    let rates = match given_rates(&arguments.ladder)? {
        Some(rates) => rates,
        None => {
            let closed = subjects[0].run_closed(&watcher)?;
            let most = closed.calls_per_s.max(1.0);
            geometric(most * SHARE_FROM, most * SHARE_TO, arguments.ladder.steps)
        }
    };
    let mut sweep = Sweep {
        is_quiet: output.quiet,
        keep_going: arguments.ladder.keep_going,
        round_count: arguments.rounds.rounds.unwrap_or(1),
        is_saturated: vec![false; subjects.len()],
        names: Vec::new(),
        reports: Vec::new(),
    };
    let was_interrupted = sweep.climb(&subjects, &rates, &watcher)?;
    let Some(first) = sweep.reports.first() else {
        return Err("interrupted before the first run was over".to_owned());
    };
    let table = sweep.table();
    if !output.quiet {
        println!("{}\n{}\n\n{table}", about(first), first.machine_line());
    }
    if let Some(file) = &output.json {
        let runs = &sweep.reports;
        write_json(
            file,
            &Swept {
                kind: "sweep",
                runs,
            },
        )?;
    }
    let plot =
        plot::latency_versus_load("Latency from the intended start, by load", &sweep.curves());
    if let Some(file) = &output.html {
        let mut page = Page::new("Latency versus load", &about(first));
        page.add_plot(&plot);
        page.add_table("Steps", &table.head(), table.body());
        write_file(file, page.finish())?;
    }
    if let Some(folder) = &output.svg {
        write_plots(folder, &[("latency_versus_load", plot)])?;
    }
    // A saturated server is what a sweep looks for; calls that went wrong are not.
    let is_clean = sweep.reports.iter().all(|report| error_count(report) == 0);
    Ok(exit_status(was_interrupted, is_clean))
}

struct Sweep {
    is_quiet: bool,
    keep_going: bool,
    round_count: u32,
    /// By subject.
    is_saturated: Vec<bool>,
    names: Vec<(usize, String)>,
    reports: Vec<Report>,
}

impl Sweep {
    /// Gives whether it was interrupted.
    fn climb(
        &mut self,
        subjects: &[Subject],
        rates: &[f64],
        watcher: &Watcher,
    ) -> Result<bool, String> {
        for rate in rates {
            // A rate that was begun is run in all its rounds.
            let was_saturated = self.is_saturated.clone();
            for round in 0..self.round_count {
                for (index, subject) in subjects.iter().enumerate() {
                    if was_saturated[index] && !self.keep_going {
                        continue;
                    }
                    let mut report = subject.run_at(*rate, round, watcher)?;
                    if report.was_interrupted {
                        return Ok(true);
                    }
                    report.label = tell_apart(&report.label, index, &mut self.names);
                    self.add(index, *rate, report);
                }
            }
            if !self.keep_going && self.is_saturated.iter().all(|is_saturated| *is_saturated) {
                break;
            }
        }
        Ok(false)
    }

    fn add(&mut self, index: usize, rate: f64, report: Report) {
        self.is_saturated[index] |= report.calls_per_s < rate * SATURATED;
        if !self.is_quiet {
            let asked = format_count(rate as u64);
            let note = note(&report);
            eprintln!(
                "{:<20} {asked:>9} asked {}  {note}",
                report.label,
                figures(&report)
            );
        }
        self.reports.push(report);
    }

    /// Each subject's runs at each rate, both in their order.
    fn steps(&self) -> Vec<Vec<&Report>> {
        let mut steps: Vec<Vec<&Report>> = Vec::new();
        for report in &self.reports {
            let is_same = |step: &&mut Vec<&Report>| {
                step[0].label == report.label && step[0].options.rate == report.options.rate
            };
            match steps.iter_mut().find(is_same) {
                Some(step) => step.push(report),
                None => steps.push(vec![report]),
            }
        }
        let place = |label: &str| self.names.iter().position(|(_, name)| name == label);
        steps.sort_by_key(|step| place(&step[0].label));
        steps
    }

    fn curves(&self) -> Vec<(String, Vec<LoadPoint>)> {
        let mut curves: Vec<(String, Vec<LoadPoint>)> = Vec::new();
        for step in self.steps() {
            let point = LoadPoint {
                calls_per_s: median(&step, |report| report.calls_per_s),
                p50_us: median(&step, |report| report.latency.p50_us),
                p99_us: median(&step, |report| report.latency.p99_us),
            };
            match curves.last_mut() {
                Some((label, points)) if *label == step[0].label => points.push(point),
                _ => curves.push((step[0].label.clone(), vec![point])),
            }
        }
        curves
    }

    /// Medians of the rounds.
    fn table(&self) -> Table {
        let mut table = Table::new([
            "",
            "asked",
            "made",
            "p50",
            "p99",
            "p99.9",
            "max",
            "server CPU/call",
            "",
        ]);
        for step in self.steps() {
            let latency = |of: fn(&Report) -> f64| format_latency((median(&step, of) * 1e3) as u64);
            let server = |report: &Report| Some(report.server_processor.as_ref()?.us_per_call);
            let has_server = step.iter().all(|report| server(report).is_some());
            let notes: Vec<String> = step.iter().map(|report| note(report)).collect();
            table.push(vec![
                step[0].label.clone(),
                format_count(step[0].options.rate.unwrap_or_default() as u64),
                format_count(median(&step, |report| report.calls_per_s) as u64),
                latency(|report| report.latency.p50_us),
                latency(|report| report.latency.p99_us),
                latency(|report| report.latency.p99_9_us),
                latency(|report| report.latency.max_us),
                if has_server {
                    latency(|report| {
                        report
                            .server_processor
                            .as_ref()
                            .map_or(0.0, |server| server.us_per_call)
                    })
                } else {
                    "-".to_owned()
                },
                notes
                    .iter()
                    .find(|note| !note.is_empty())
                    .cloned()
                    .unwrap_or_default(),
            ]);
        }
        table
    }
}

fn median(step: &[&Report], of: impl Fn(&Report) -> f64) -> f64 {
    let values: Vec<f64> = step.iter().map(|report| of(report)).collect();
    Spread::new(&values).map_or(0.0, |spread| spread.median)
}

/// What a reader must know before believing the figures.
fn note(report: &Report) -> String {
    let rate = report.options.rate.unwrap_or_default();
    match (error_count(report), report.health.is_valid) {
        (0, true) if report.calls_per_s < rate * SATURATED => "saturated".to_owned(),
        (0, true) => String::new(),
        (0, false) => "generator was the bottleneck: not valid".to_owned(),
        (count, _) => format!("{} calls went wrong", format_count(count)),
    }
}

fn about(first: &Report) -> String {
    let options = &first.options;
    let arrival = options.arrival.map_or("", crate::pacer::Arrival::name);
    format!(
        "{} requesters x {} workers, {}-octet bodies, arrivals {arrival}",
        options.requesters, options.workers, options.size
    )
}

/// `None`: the command is to find them itself. Errors: one sentence for the user.
fn given_rates(ladder: &LadderArguments) -> Result<Option<Vec<f64>>, String> {
    let rates = match (ladder.rates.as_slice(), ladder.from, ladder.to) {
        ([], Some(from), Some(to)) if from < to => geometric(from, to, ladder.steps),
        ([], Some(_), Some(_)) => return Err("--from must be lower than --to".to_owned()),
        ([], ..) => return Ok(None),
        (rates, ..) => rates.to_vec(),
    };
    if rates.iter().any(|rate| !(1e-3..=1e9).contains(rate)) {
        return Err("rates must be between 0.001 and 1e9 calls a second".to_owned());
    }
    Ok(Some(rates))
}

/// Each by the same factor above the one before.
fn geometric(from: f64, to: f64, steps: u32) -> Vec<f64> {
    let factor = (to / from).powf(1.0 / f64::from(steps - 1));
    (0..steps)
        .map(|step| from * factor.powi(step as i32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_rise_by_one_factor_from_the_first_to_the_last() {
        let rates: Vec<f64> = geometric(100.0, 10_000.0, 5)
            .iter()
            .map(|rate| rate.round())
            .collect();
        assert_eq!(rates, [100.0, 316.0, 1000.0, 3162.0, 10_000.0]);
    }

    #[test]
    fn rates_are_given_or_found() {
        let ladder = |rates: &[f64], from, to| LadderArguments {
            rates: rates.to_vec(),
            from,
            to,
            steps: 2,
            keep_going: false,
        };
        assert_eq!(given_rates(&ladder(&[], None, None)), Ok(None));
        assert_eq!(
            given_rates(&ladder(&[5.0, 3.0], None, None)),
            Ok(Some(vec![5.0, 3.0]))
        );
        assert_eq!(
            given_rates(&ladder(&[], Some(1.0), Some(4.0))),
            Ok(Some(vec![1.0, 4.0]))
        );
        assert!(given_rates(&ladder(&[], Some(4.0), Some(4.0))).is_err());
        assert!(given_rates(&ladder(&[0.0], None, None)).is_err());
    }
}
