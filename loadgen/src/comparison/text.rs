//! The comparison for people.

use super::{Comparison, Group, METRICS, Metric};
use crate::statistics::Ratio;
use crate::table::Table;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (title, table)) in self.tables().iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{title}\n{table}")?;
        }
        write!(f, "\n{}", self.notes())
    }
}

impl Comparison {
    /// What the ratios are, and what to beware of.
    pub fn notes(&self) -> String {
        let mut notes = String::new();
        if self.groups.len() > 1 {
            notes += &format!("  {}\n", self.confidence());
        }
        for warning in &self.warnings {
            notes += &format!("  warning   {warning}\n");
        }
        notes
    }

    /// With their titles.
    pub fn tables(&self) -> Vec<(String, Table)> {
        let mut tables = vec![("medians (lowest to highest)".to_owned(), self.medians())];
        let first = &self.groups[0].name;
        if self.groups.len() > 1 {
            let title = format!("ratios to {first} (95 % interval)");
            tables.push((title, self.ratios(|group| &group.to_first)));
        }
        let floor = self.groups.iter().find(|group| group.is_floor);
        if floor.is_some_and(|floor| floor.name != *first) {
            let title = "× of what TCP itself costs here (95 % interval)".to_owned();
            tables.push((title, self.ratios(|group| &group.to_floor)));
        }
        tables
    }

    fn medians(&self) -> Table {
        let metrics = self.metrics(|group, metric| group.spreads.contains_key(&metric));
        let mut table = Table::new(head(&metrics));
        for group in &self.groups {
            let cell = |metric: &Metric| {
                let Some(spread) = group.spreads.get(metric) else {
                    return "-".to_owned();
                };
                let median = metric.format(spread.median);
                if group.run_count == 1 {
                    return median;
                }
                let (min, max) = (metric.format(spread.min), metric.format(spread.max));
                format!("{median} ({min} – {max})")
            };
            table.push(row(&group.name, &metrics, cell));
        }
        table
    }

    fn ratios(&self, of: impl Fn(&Group) -> &BTreeMap<Metric, Ratio>) -> Table {
        let metrics = self.metrics(|group, metric| of(group).contains_key(&metric));
        let mut table = Table::new(head(&metrics));
        for group in self.groups.iter().filter(|group| !of(group).is_empty()) {
            let ratios = of(group);
            let cell = |metric: &Metric| ratios.get(metric).map_or("-".to_owned(), format_ratio);
            table.push(row(&group.name, &metrics, cell));
        }
        table
    }

    fn metrics(&self, has: impl Fn(&Group, Metric) -> bool) -> Vec<Metric> {
        let is_known = |metric: &Metric| self.groups.iter().any(|group| has(group, *metric));
        METRICS.into_iter().filter(is_known).collect()
    }

    fn confidence(&self) -> &'static str {
        let mut ratios = self.groups.iter().flat_map(|group| group.to_first.values());
        match ratios.next() {
            Some(Ratio { interval: None, .. }) | None => {
                "one run of each: no confidence; repeat them with --rounds 5"
            }
            Some(Ratio {
                is_paired: true, ..
            }) => {
                "geometric means of each round's ratio; t-interval of their logarithms; \
                 * leaves out 1"
            }
            Some(_) => {
                "ratios of geometric means; Welch's interval of the logarithms; * leaves out 1"
            }
        }
    }
}

fn head(metrics: &[Metric]) -> Vec<&'static str> {
    let names = metrics.iter().map(|metric| metric.name());
    std::iter::once("").chain(names).collect()
}

fn row(name: &str, metrics: &[Metric], cell: impl Fn(&Metric) -> String) -> Vec<String> {
    std::iter::once(name.to_owned())
        .chain(metrics.iter().map(cell))
        .collect()
}

/// "×1.21 (1.18–1.25)*".
fn format_ratio(ratio: &Ratio) -> String {
    let mark = if ratio.is_difference() { "*" } else { "" };
    match ratio.interval {
        None => format!("×{:.2}", ratio.ratio),
        Some((low, high)) => format!("×{:.2} ({low:.2}–{high:.2}){mark}", ratio.ratio),
    }
}
