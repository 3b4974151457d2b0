//! `loadgen slo`: the highest rate that holds some objectives.

use super::series::{calls, figures, step_load};
use super::subject::Subject;
use super::{
    EXIT_INTERRUPTED, EXIT_NOT_CLEAN, line_unless, watcher, write_file, write_json, write_plots,
};
use crate::arguments::SloArguments;
use crate::objectives::{Judgement, Objectives};
use crate::plot::{self, LoadPoint};
use crate::report::{Page, Report, format_count};
use crate::runtime::Watcher;
use crate::search::{Answer, Next, Phase, Search, Settings};
use serde::Serialize;

/// Of what a closed loop makes, to begin with.
const START_SHARE: f64 = 0.5;

const PROBE_COUNT_MAX: u32 = 60;

#[derive(Serialize)]
struct Found<'a> {
    kind: &'static str,
    objectives: String,
    answer: &'a Answer,
    judgements: &'a [Judgement],
    runs: &'a [Report],
}

/// All probes, in their order; `judgements[i]` is of `reports[i]`.
#[derive(Default)]
struct Probes {
    reports: Vec<Report>,
    judgements: Vec<Judgement>,
}

pub fn execute(arguments: &SloArguments) -> Result<u8, String> {
    let settings = settings(arguments)?;
    let objectives = Objectives::new(&arguments.objectives);
    let load = step_load(&arguments.load)?;
    let calls = calls(&arguments.amqp, &load);
    let subject = Subject::new(&arguments.url, arguments.server_pid, calls)?;
    let watcher = watcher(line_unless(arguments.output.quiet))?;
    let is_quiet = arguments.output.quiet;
    let first_rate = match arguments.start {
        Some(rate) => rate,
        None => closed_rate(&subject, &watcher, is_quiet)? * START_SHARE,
    };
    let mut search = Search::new(Settings {
        first_rate,
        ..settings
    });
    let mut probes = Probes::default();
    let answer = loop {
        let (rate, phase) = match search.next() {
            Next::Done(answer) => break answer,
            Next::Probe { rate, phase } => (rate, phase),
        };
        let report = subject.run_at(rate, probes.reports.len() as u32, &watcher)?;
        if report.was_interrupted {
            eprintln!("loadgen: interrupted before there was an answer");
            return Ok(EXIT_INTERRUPTED);
        }
        let judgement = objectives.judge(rate, &report);
        if !is_quiet {
            println!("{}", probe_line(rate, phase, &report, &judgement));
        }
        search.handle(judgement.outcome);
        probes.reports.push(report);
        probes.judgements.push(judgement);
    };
    let text = told(&answer, &objectives);
    if !is_quiet {
        println!("\n{text}");
    }
    write_outputs(arguments, &objectives, &answer, &probes, &text)?;
    let is_answered = answer.rate.is_some() && answer.is_confirmed;
    Ok(if is_answered { 0 } else { EXIT_NOT_CLEAN })
}

fn settings(arguments: &SloArguments) -> Result<Settings, String> {
    if !(1.001..=2.0).contains(&arguments.precision) {
        return Err("--precision must be between 1.001 and 2".to_owned());
    }
    if arguments
        .start
        .is_some_and(|rate| !(1.0..=1e9).contains(&rate))
    {
        return Err("--start must be between 1 and 1e9 calls a second".to_owned());
    }
    Ok(Settings {
        first_rate: 1.0,
        precision: arguments.precision,
        confirm_count: arguments.reruns,
        probe_count_max: PROBE_COUNT_MAX + arguments.reruns,
    })
}

fn closed_rate(subject: &Subject, watcher: &Watcher, is_quiet: bool) -> Result<f64, String> {
    let report = subject.run_closed(watcher)?;
    if report.was_interrupted || report.calls_per_s <= 0.0 {
        return Err("no call came back in a closed loop: there is nothing to search".to_owned());
    }
    if !is_quiet {
        println!("{}\n{}\n", report.headline(), report.machine_line());
        println!("closed loop    {}", figures(&report));
    }
    Ok(report.calls_per_s)
}

fn probe_line(rate: f64, phase: Phase, report: &Report, judgement: &Judgement) -> String {
    use crate::search::Outcome;
    let purpose = match phase {
        Phase::Bracketing => "bracket",
        Phase::Narrowing => "narrow",
        Phase::Confirming => "confirm",
    };
    let reasons = judgement.reasons.join("; ");
    let outcome = match judgement.outcome {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Failed => format!("FAILED: {reasons}"),
        Outcome::Invalid => format!("not valid, generator was the bottleneck: {reasons}"),
    };
    let asked = format_count(rate as u64);
    format!(
        "{purpose:<8} {asked:>9} asked {}  {outcome}",
        figures(report)
    )
}

/// The answer in words, with what it rests on.
fn told(answer: &Answer, objectives: &Objectives) -> String {
    let Some(rate) = answer.rate else {
        let reason = match answer.ceiling {
            Some(ceiling) if ceiling.is_generator => {
                "the generator was the bottleneck at every rate: no answer"
            }
            _ => "not even the lowest rate holds",
        };
        return format!("{objectives}: {reason}");
    };
    let rate = format_count(rate as u64);
    let (passed, count) = (answer.confirmed_count, answer.confirm_count);
    let confirmed = match (answer.is_confirmed, count) {
        (true, 0) => "not run again".to_owned(),
        (true, _) => format!("{passed} of {count} reruns passed"),
        (false, _) => "NOT CONFIRMED: too many probes disagreed".to_owned(),
    };
    let (at_least, limit) = match answer.ceiling {
        Some(ceiling) => {
            let ceiling_rate = format_count(ceiling.rate as u64);
            if ceiling.is_generator {
                let limit = format!("at {ceiling_rate} the generator was the bottleneck");
                ("at least ", limit)
            } else {
                ("", format!("{ceiling_rate} failed"))
            }
        }
        None => ("at least ", "no higher rate was tried".to_owned()),
    };
    format!("{objectives}: {at_least}{rate} calls/s ({confirmed}; {limit})")
}

fn write_outputs(
    arguments: &SloArguments,
    objectives: &Objectives,
    answer: &Answer,
    probes: &Probes,
    text: &str,
) -> Result<(), String> {
    let output = &arguments.output;
    if let Some(file) = &output.json {
        let found = Found {
            kind: "slo",
            objectives: objectives.to_string(),
            answer,
            judgements: &probes.judgements,
            runs: &probes.reports,
        };
        write_json(file, &found)?;
    }
    let Some(first) = probes.reports.first() else {
        return Ok(());
    };
    let plot = plot::latency_versus_load(
        "Latency from the intended start, by load",
        &[(first.label.clone(), points(&probes.reports))],
    );
    if let Some(file) = &output.html {
        let mut page = Page::new(&first.label, text);
        page.add_plot(&plot);
        page.add_table("Probes", &PROBE_HEAD, &probe_rows(probes));
        write_file(file, page.finish())?;
    }
    match &output.svg {
        Some(folder) => write_plots(folder, &[("latency_versus_load", plot)]),
        None => Ok(()),
    }
}

const PROBE_HEAD: [&str; 6] = ["asked", "made", "p50", "p99", "p99.9", "outcome"];

fn probe_rows(probes: &Probes) -> Vec<Vec<String>> {
    let row = |(report, judgement): (&Report, &Judgement)| {
        let latency = |micros: f64| crate::report::format_latency((micros * 1e3) as u64);
        let asked = report.options.rate.unwrap_or_default();
        let outcome = match judgement.reasons.as_slice() {
            [] => "passed".to_owned(),
            reasons => reasons.join("; "),
        };
        vec![
            format_count(asked as u64),
            format_count(report.calls_per_s as u64),
            latency(report.latency.p50_us),
            latency(report.latency.p99_us),
            latency(report.latency.p99_9_us),
            outcome,
        ]
    };
    probes
        .reports
        .iter()
        .zip(&probes.judgements)
        .map(row)
        .collect()
}

/// By rising load.
fn points(reports: &[Report]) -> Vec<LoadPoint> {
    let point = |report: &Report| LoadPoint {
        calls_per_s: report.calls_per_s,
        p50_us: report.latency.p50_us,
        p99_us: report.latency.p99_us,
    };
    let mut points: Vec<LoadPoint> = reports.iter().map(point).collect();
    points.sort_by(|one, two| one.calls_per_s.total_cmp(&two.calls_per_s));
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::ObjectiveArguments;
    use crate::search::Ceiling;
    use std::time::Duration;

    fn objectives() -> Objectives {
        Objectives::new(&ObjectiveArguments {
            p99: Some(Duration::from_millis(1)),
            ..ObjectiveArguments::default()
        })
    }

    fn answer(is_generator: bool) -> Answer {
        Answer {
            rate: Some(20_000.0),
            ceiling: Some(Ceiling {
                rate: 21_000.0,
                is_generator,
            }),
            confirmed_count: 2,
            confirm_count: 3,
            is_confirmed: true,
        }
    }

    #[test]
    fn the_answer_is_told_with_what_it_rests_on() {
        assert_eq!(
            told(&answer(false), &objectives()),
            "p99 ≤ 1.00 ms, errors ≤ 0: 20,000 calls/s (2 of 3 reruns passed; 21,000 failed)"
        );
    }

    #[test]
    fn where_the_generator_gave_up_the_answer_is_at_least() {
        let text = told(&answer(true), &objectives());
        assert!(text.contains("at least 20,000 calls/s"), "{text}");
        assert!(
            text.contains("at 21,000 the generator was the bottleneck"),
            "{text}"
        );
        let none = Answer {
            rate: None,
            ..answer(true)
        };
        assert!(told(&none, &objectives()).ends_with("no answer"));
    }
}
