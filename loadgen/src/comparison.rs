//! Several reports side by side: medians, ratios with their confidence, and what makes them
//! unlike. Pure: reports come in as the JSON that they are kept as, so that those of an older
//! loadgen can be read too.

mod metric;
mod page;
mod text;

pub use metric::{METRICS, Metric};

use crate::report::decode_histogram;
use crate::statistics::{Ratio, Spread};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What two groups of runs should have in common, by its place in a report.
const ENVIRONMENT: [&str; 4] = ["machine", "environment", "options", "generator"];

/// One run, as far as it is compared.
#[derive(Clone, Debug)]
pub struct Measured {
    pub name: String,
    /// Of an interleaved series, and which series.
    pub turn: Option<(usize, u64)>,
    pub is_floor: bool,
    pub is_clean: bool,
    /// The generator had nothing left: latencies hold its own queue, a rate is the least.
    pub was_generator_bound: bool,
    histogram: Option<Histogram<u64>>,
    values: BTreeMap<Metric, f64>,
    environment: BTreeMap<String, String>,
}

impl Measured {
    /// Of one report's JSON. `None` if it is no report.
    pub fn new(name: &str, report: &Value, turn: Option<(usize, u64)>) -> Option<Measured> {
        report.get("calls_per_s")?;
        let value_of =
            |metric: &Metric| Some((*metric, report.pointer(metric.pointer())?.as_f64()?));
        let mut environment = BTreeMap::new();
        for place in ENVIRONMENT {
            if let Some(value) = report.get(place) {
                flatten(place, value, &mut environment);
            }
        }
        Some(Measured {
            name: name.to_owned(),
            turn,
            is_floor: report["kind"] == "relay",
            is_clean: report["is_clean"] == true,
            was_generator_bound: report
                .pointer("/health/verdict")
                .is_some_and(|v| v != "sound"),
            histogram: report["histogram"]
                .as_str()
                .and_then(|text| decode_histogram(text).ok()),
            values: METRICS.iter().filter_map(value_of).collect(),
            environment,
        })
    }
}

fn flatten(place: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{place}.{name}"), value, out);
            }
        }
        Value::String(text) => drop(out.insert(place.to_owned(), text.clone())),
        other => drop(out.insert(place.to_owned(), other.to_string())),
    }
}

/// The runs of one name.
#[derive(Debug, Serialize)]
pub struct Group {
    pub name: String,
    pub is_floor: bool,
    pub run_count: usize,
    pub unclean_count: usize,
    pub generator_bound_count: usize,
    pub spreads: BTreeMap<Metric, Spread>,
    /// To the first group; none for itself.
    pub to_first: BTreeMap<Metric, Ratio>,
    /// To the floor, if there is one: what it costs beyond TCP itself.
    pub to_floor: BTreeMap<Metric, Ratio>,
}

#[derive(Debug, Serialize)]
pub struct Comparison {
    /// In the order in which their names first came.
    pub groups: Vec<Group>,
    pub warnings: Vec<String>,
}

impl Comparison {
    /// `None` if there is no run.
    pub fn new(runs: &[Measured]) -> Option<Comparison> {
        let mut names: Vec<&str> = Vec::new();
        for run in runs {
            if !names.contains(&run.name.as_str()) {
                names.push(&run.name);
            }
        }
        let runs_of =
            |name: &str| -> Vec<&Measured> { runs.iter().filter(|run| run.name == name).collect() };
        let members: Vec<Vec<&Measured>> = names.iter().map(|name| runs_of(name)).collect();
        let first = members.first()?;
        let floor = members.iter().find(|runs| runs[0].is_floor);
        let groups = members.iter().map(|runs| Group {
            name: runs[0].name.clone(),
            is_floor: runs[0].is_floor,
            run_count: runs.len(),
            unclean_count: runs.iter().filter(|run| !run.is_clean).count(),
            generator_bound_count: runs.iter().filter(|run| run.was_generator_bound).count(),
            spreads: spreads(runs),
            to_first: ratios(runs, first),
            to_floor: floor.map_or_else(BTreeMap::new, |floor| ratios(runs, floor)),
        });
        let mut comparison = Comparison {
            groups: groups.collect(),
            warnings: Vec::new(),
        };
        comparison.warn(&members);
        Some(comparison)
    }

    fn warn(&mut self, members: &[Vec<&Measured>]) {
        for group in &self.groups {
            if group.unclean_count > 0 {
                self.warnings.push(format!(
                    "{}: {} of {} runs were not clean",
                    group.name, group.unclean_count, group.run_count
                ));
            }
            if group.generator_bound_count > 0 {
                self.warnings.push(format!(
                    "{}: in {} of {} runs the generator was the bottleneck: the server can do at \
                     least this",
                    group.name, group.generator_bound_count, group.run_count
                ));
            }
        }
        let keys: BTreeSet<&String> = members
            .iter()
            .flatten()
            .flat_map(|run| run.environment.keys())
            .collect();
        for key in keys {
            let told: Vec<&Measured> = members
                .iter()
                .flatten()
                .copied()
                .filter(|run| run.environment.contains_key(key))
                .collect();
            let distinct: BTreeSet<&String> =
                told.iter().map(|run| &run.environment[key]).collect();
            if distinct.len() > 1 {
                self.warnings
                    .push(format!("{key} differs: {}", list(&told, key)));
            }
        }
    }
}

/// "16 (a), 1 (b)".
fn list(runs: &[&Measured], key: &str) -> String {
    let mut by_value: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for run in runs {
        by_value
            .entry(&run.environment[key])
            .or_default()
            .insert(&run.name);
    }
    let part = |(value, names): (&&str, &BTreeSet<&str>)| {
        let names: Vec<&str> = names.iter().copied().collect();
        format!("{value} ({})", names.join(", "))
    };
    by_value.iter().map(part).collect::<Vec<_>>().join("; ")
}

fn spreads(runs: &[&Measured]) -> BTreeMap<Metric, Spread> {
    let spread = |metric: &Metric| {
        let values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.values.get(metric).copied())
            .collect();
        Some((*metric, Spread::new(&values)?))
    };
    METRICS.iter().filter_map(spread).collect()
}

fn ratios(runs: &[&Measured], base: &[&Measured]) -> BTreeMap<Metric, Ratio> {
    if runs[0].name == base[0].name {
        return BTreeMap::new();
    }
    let ratio = |metric: &Metric| Some((*metric, ratio(*metric, runs, base)?));
    METRICS.iter().filter_map(ratio).collect()
}

/// By pairs if they took turns, leaving out what an interrupted round has only of one; else by
/// groups.
fn ratio(metric: Metric, runs: &[&Measured], base: &[&Measured]) -> Option<Ratio> {
    let of_turn = |turn: (usize, u64)| {
        let mut matching = base.iter().filter(|run| run.turn == Some(turn));
        let value = matching.next()?.values.get(&metric).copied();
        value.filter(|_| matching.next().is_none())
    };
    let pair = |run: &&Measured| Some((*run.values.get(&metric)?, of_turn(run.turn?)?));
    let pairs: Vec<(f64, f64)> = runs.iter().filter_map(pair).collect();
    if !pairs.is_empty() && pairs.len() + 1 >= runs.len().max(base.len()) {
        let (values, base): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        return Ratio::of_pairs(&values, &base);
    }
    let all = |runs: &[&Measured]| -> Vec<f64> {
        let value = |run: &&Measured| run.values.get(&metric).copied();
        runs.iter().filter_map(value).collect()
    };
    Ratio::of_groups(&all(runs), &all(base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(rate: f64, p99_us: f64, cores: u32) -> Value {
        json!({
            "kind": "rpc", "is_clean": true, "calls_per_s": rate,
            "latency": {"p50_us": p99_us / 2.0, "p99_us": p99_us},
            "machine": {"cores": cores}, "options": {"size": 64, "rate": null},
        })
    }

    fn measured(name: &str, report: &Value, round: Option<u64>) -> Measured {
        Measured::new(name, report, round.map(|round| (0, round))).unwrap()
    }

    #[test]
    fn turns_are_compared_pair_by_pair_and_the_rest_by_groups() {
        let mut runs = Vec::new();
        for (round, drift) in [(1, 1.0), (2, 3.0), (3, 0.5)] {
            runs.push(measured("a", &report(100.0 * drift, 10.0, 2), Some(round)));
            runs.push(measured("b", &report(200.0 * drift, 20.0, 2), Some(round)));
            runs.push(measured("c", &report(50.0 * drift, 20.0, 2), None));
        }
        let comparison = Comparison::new(&runs).unwrap();
        let names: Vec<_> = comparison.groups.iter().map(|group| &group.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let ratio = comparison.groups[1].to_first[&Metric::Rate];
        assert!(
            ratio.is_paired && (ratio.ratio - 2.0).abs() < 1e-9,
            "{ratio:?}"
        );
        let (low, high) = ratio.interval.unwrap();
        assert!(low > 1.999 && high < 2.001);
        assert!(!comparison.groups[2].to_first[&Metric::Rate].is_paired);
        assert!(comparison.groups[0].to_first.is_empty());
        assert!(comparison.warnings.is_empty(), "{:?}", comparison.warnings);
    }

    #[test]
    fn a_round_that_was_not_finished_is_left_out_of_the_ratio() {
        let runs = [
            measured("a", &report(100.0, 1.0, 2), Some(0)),
            measured("b", &report(200.0, 1.0, 2), Some(0)),
            measured("a", &report(50.0, 1.0, 2), Some(1)),
            measured("b", &report(100.0, 1.0, 2), Some(1)),
            measured("a", &report(900.0, 1.0, 2), Some(2)),
        ];
        let comparison = Comparison::new(&runs).unwrap();
        let ratio = comparison.groups[1].to_first[&Metric::Rate];
        assert!(
            ratio.is_paired && (ratio.ratio - 2.0).abs() < 1e-9,
            "{ratio:?}"
        );
    }

    #[test]
    fn unlike_machines_and_unclean_runs_are_warned_of() {
        let mut spoilt = report(1.0, 1.0, 4);
        spoilt["is_clean"] = json!(false);
        let runs = [
            measured("a", &report(1.0, 1.0, 2), None),
            measured("b", &spoilt, None),
        ];
        let warnings = Comparison::new(&runs).unwrap().warnings;
        assert_eq!(warnings[0], "b: 1 of 1 runs were not clean");
        assert_eq!(warnings[1], "machine.cores differs: 2 (a); 4 (b)");
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn beside_a_floor_every_group_is_told_by_what_it_costs_beyond_it() {
        let mut floor = report(400.0, 5.0, 2);
        floor["kind"] = json!("relay");
        let runs = [
            measured("a", &report(100.0, 10.0, 2), Some(1)),
            measured("floor", &floor, Some(1)),
        ];
        let comparison = Comparison::new(&runs).unwrap();
        assert_eq!(
            comparison.groups[0].to_floor[&Metric::P99].ratio.round(),
            2.0
        );
        assert!(comparison.groups[1].to_floor.is_empty());
        let text = comparison.to_string();
        assert!(text.contains("of what TCP itself costs here"), "{text}");
    }

    #[test]
    fn what_is_no_report_is_not_taken_for_one() {
        assert!(Measured::new("a", &json!({"calls": 1}), None).is_none());
        assert!(Measured::new("a", &json!([]), None).is_none());
        assert!(Comparison::new(&[]).is_none());
    }
}
