//! `loadgen compare`: reports that were kept, side by side.

use super::{write_file, write_json, write_plots};
use crate::arguments::{CompareArguments, GroupBy};
use crate::comparison::{Comparison, Measured};
use crate::report::format_count;
use serde_json::Value;
use std::fs;
use std::path::Path;

pub fn execute(arguments: &CompareArguments) -> Result<u8, String> {
    let mut files = Vec::new();
    for path in &arguments.files {
        files.push(Kept::read(path)?);
    }
    let mut runs = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let is_alone = files.len() == 1;
        runs.extend(file.measured(index, arguments.by, is_alone)?);
    }
    let comparison = Comparison::new(&runs).ok_or("the files hold no run")?;
    if !arguments.quiet {
        print!("{comparison}");
    }
    if let Some(file) = &arguments.json {
        write_json(file, &comparison)?;
    }
    if let Some(file) = &arguments.html {
        let stems: Vec<&str> = files.iter().map(|file| file.stem.as_str()).collect();
        write_file(file, comparison.page(&stems.join(", "), &runs))?;
    }
    if let Some(folder) = &arguments.svg {
        write_plots(folder, &comparison.plots(&runs))?;
    }
    Ok(0)
}

/// A file with the reports in it.
struct Kept {
    /// The file's name without folder and ending.
    stem: String,
    reports: Vec<Value>,
    /// Each rate is a group of its own.
    has_rates: bool,
}

impl Kept {
    fn read(path: &Path) -> Result<Kept, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        let kept: Value = serde_json::from_str(&text).map_err(|error| told(&error))?;
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        Ok(Kept {
            has_rates: matches!(kept["kind"].as_str(), Some("sweep" | "slo")),
            stem: stem.to_string_lossy().into_owned(),
            reports: reports_of(kept),
        })
    }

    fn measured(&self, index: usize, by: GroupBy, is_alone: bool) -> Result<Vec<Measured>, String> {
        let mut runs = Vec::new();
        let is_uniform = self
            .reports
            .iter()
            .all(|report| report["label"] == self.reports[0]["label"]);
        for report in &self.reports {
            let label = report["label"].as_str();
            let name = match (label, by) {
                (Some(label), GroupBy::Label) => label.to_owned(),
                (Some(label), GroupBy::File) if is_alone => label.to_owned(),
                (Some(label), GroupBy::File) if !is_uniform => format!("{}: {label}", self.stem),
                _ => self.stem.clone(),
            };
            let rate = report.pointer("/options/rate").and_then(Value::as_f64);
            let name = match rate.filter(|_| self.has_rates) {
                Some(rate) => format!("{name} at {}/s", format_count(rate as u64)),
                None => name,
            };
            let turn = report["round"].as_u64().map(|round| (index, round));
            let run = Measured::new(&name, report, turn);
            runs.push(run.ok_or_else(|| format!("{}: not a report of loadgen", self.stem))?);
        }
        Ok(runs)
    }
}

/// A file is one report, or an object that has several under "runs".
fn reports_of(mut kept: Value) -> Vec<Value> {
    match kept.get_mut("runs").map(Value::take) {
        Some(Value::Array(reports)) => reports,
        _ => vec![kept],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(stem: &str, labels: &[Option<&str>]) -> Kept {
        let report = |label: &Option<&str>| json!({"calls_per_s": 1.0, "label": label});
        Kept {
            stem: stem.to_owned(),
            reports: labels.iter().map(report).collect(),
            has_rates: false,
        }
    }

    fn names(file: &Kept, by: GroupBy, is_alone: bool) -> Vec<String> {
        let runs = file.measured(0, by, is_alone).unwrap();
        runs.into_iter().map(|run| run.name).collect()
    }

    #[test]
    fn a_file_of_one_subject_is_named_by_the_file_and_of_several_by_both() {
        let one = kept("before", &[Some("Rondo"), Some("Rondo")]);
        assert_eq!(names(&one, GroupBy::File, false), ["before", "before"]);
        assert_eq!(names(&one, GroupBy::Label, false), ["Rondo", "Rondo"]);
        let two = kept("day", &[Some("Rondo"), Some("floor")]);
        assert_eq!(
            names(&two, GroupBy::File, false),
            ["day: Rondo", "day: floor"]
        );
        assert_eq!(names(&two, GroupBy::File, true), ["Rondo", "floor"]);
        assert_eq!(names(&kept("old", &[None]), GroupBy::Label, true), ["old"]);
    }

    #[test]
    fn single_reports_and_those_of_several_runs_are_both_read() {
        assert_eq!(reports_of(json!({"kind": "rpc"})).len(), 1);
        assert_eq!(
            reports_of(json!({"kind": "runs", "runs": [{}, {}]})).len(),
            2
        );
        let other = Kept {
            stem: "x".to_owned(),
            reports: vec![json!({"a": 1})],
            has_rates: false,
        };
        assert!(other.measured(0, GroupBy::File, true).is_err());
    }
}
