//! The page and the plots of one run.

use super::format::{format_count, format_latency, three_digits};
use super::page::{Page, Tone};
use super::{Report, decode_histogram};
use crate::health::Verdict;
use crate::plot;
use serde_json::Value;

/// Errors: the report's histogram cannot be read.
pub fn page(report: &Report) -> Result<String, String> {
    let headline = report.headline();
    let (title, about) = headline.split_once(": ").unwrap_or((&headline, ""));
    let mut page = Page::new(title, &format!("{about}. {}.", report.machine_line()));
    add_judgement(&mut page, report);
    page.add_figures(&figures(report));
    for (_, svg) in plots(report)? {
        page.add_plot(&svg);
    }
    let latencies = report.latency_table();
    page.add_table("Latency", &latencies.head(), latencies.body());
    page.add_table("Audit", &["", "count"], &audit_rows(report));
    page.add_table("Circumstances", &["", ""], &circumstances(report));
    page.add_text("As on the terminal", &report.to_string());
    Ok(page.finish())
}

/// By name. Errors: as `page`.
pub fn plots(report: &Report) -> Result<Vec<(&'static str, String)>, String> {
    let histogram = decode_histogram(&report.histogram)?;
    let curves = match &report.histogram_from_send {
        Some(from_send) => vec![
            ("intended start".to_owned(), histogram),
            ("actual send".to_owned(), decode_histogram(from_send)?),
        ],
        None => vec![(report.label.clone(), histogram)],
    };
    let title = format!("{}: latency by percentile", report.label);
    let series = format!("{}: over time", report.label);
    Ok(vec![
        ("percentiles", plot::percentiles(&title, &curves)),
        ("time_series", plot::time_series(&series, &report.series)),
    ])
}

fn add_judgement(page: &mut Page, report: &Report) {
    let tone = match (report.was_interrupted, report.is_clean) {
        (true, _) => Tone::Doubt,
        (false, true) => Tone::Good,
        (false, false) => Tone::Bad,
    };
    page.add_badge(tone, report.verdict());
    let tone = match report.health.verdict {
        Verdict::Sound => Tone::Good,
        Verdict::GeneratorBound => Tone::Doubt,
        Verdict::NotValid => Tone::Bad,
    };
    page.add_badge(tone, &report.health.to_string());
}

fn figures(report: &Report) -> Vec<(&'static str, String)> {
    let latency = |micros: f64| format_latency((micros * 1e3) as u64);
    let mut figures = vec![
        ("calls/s", format_count(report.calls_per_s as u64)),
        ("p50", latency(report.latency.p50_us)),
        ("p99", latency(report.latency.p99_us)),
        ("p99.9", latency(report.latency.p99_9_us)),
        ("max", latency(report.latency.max_us)),
    ];
    if let Some(server) = &report.server_processor {
        let micros = three_digits(server.us_per_call);
        figures.push(("server CPU per call", format!("{micros} µs")));
    }
    figures
}

/// As in the JSON file; what never happened needs no row.
fn audit_rows(report: &Report) -> Vec<Vec<String>> {
    let mut rows = rows_of(&report.audit);
    rows.retain(|row| row[1] != "0" || ["issued", "returned once", "lost"].contains(&&*row[0]));
    if report.unsent > 0 {
        rows.push(vec!["unsent".to_owned(), report.unsent.to_string()]);
    }
    for (reason, count) in &report.errors {
        rows.push(vec![format!("error: {reason}"), count.to_string()]);
    }
    rows
}

fn circumstances(report: &Report) -> Vec<Vec<String>> {
    let mut rows = rows_of(&report.options);
    rows.extend(rows_of(&report.machine));
    rows.extend(rows_of(&report.generator));
    rows
}

/// One row per field, named as in the JSON file.
fn rows_of(part: &impl serde::Serialize) -> Vec<Vec<String>> {
    let Ok(Value::Object(fields)) = serde_json::to_value(part) else {
        return Vec::new();
    };
    let row = |(name, value): (String, Value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text,
            Value::Number(number) => figure(number.as_f64().unwrap_or(f64::NAN)),
            Value::Bool(is_so) => if is_so { "yes" } else { "no" }.to_owned(),
            other => other.to_string(),
        };
        Some(vec![name.replace('_', " "), text])
    };
    fields.into_iter().filter_map(row).collect()
}

fn figure(number: f64) -> String {
    match number.fract() == 0.0 && number >= 0.0 {
        true => format_count(number as u64),
        false => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_told_as_people_say_them_and_absent_ones_are_not() {
        let part = json!({"rate_per_s": 20000.0, "timeout_s": 0.5, "is_on": true, "seed": null});
        let rows = rows_of(&part);
        let expected = [
            ["is on", "yes"],
            ["rate per s", "20,000"],
            ["timeout s", "0.5"],
        ];
        assert_eq!(rows, expected);
    }
}
