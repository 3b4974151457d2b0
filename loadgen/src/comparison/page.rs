//! The comparison as plots, and as a page of them.

use super::{Comparison, Group, Measured, Metric};
use crate::plot;
use crate::recorder::new_histogram;
use crate::report::Page;
use crate::table::Table;
use hdrhistogram::Histogram;

impl Comparison {
    /// `runs`: what the comparison was made of. Reports without a histogram have no curve.
    pub fn plots(&self, runs: &[Measured]) -> Vec<(&'static str, String)> {
        let mut plots = Vec::new();
        let bar = |group: &Group| Some((group.name.clone(), *group.spreads.get(&Metric::Rate)?));
        let bars: Vec<_> = self.groups.iter().filter_map(bar).collect();
        plots.push((
            "throughput",
            plot::throughput_bars("Calls per second", &bars),
        ));
        let curve = |group: &Group| Some((group.name.clone(), merged(&group.name, runs)?));
        let curves: Vec<_> = self.groups.iter().filter_map(curve).collect();
        if !curves.is_empty() {
            let title = "Latency by percentile, all rounds together";
            plots.push(("percentiles", plot::percentiles(title, &curves)));
        }
        plots
    }

    pub fn page(&self, about: &str, runs: &[Measured]) -> String {
        let names: Vec<&str> = self
            .groups
            .iter()
            .map(|group| group.name.as_str())
            .collect();
        let mut page = Page::new(&names.join(" and "), about);
        for (_, svg) in self.plots(runs) {
            page.add_plot(&svg);
        }
        for (title, table) in self.tables() {
            add_table(&mut page, &title, &table);
        }
        page.add_text("Notes", &self.notes());
        page.finish()
    }
}

fn add_table(page: &mut Page, title: &str, table: &Table) {
    page.add_table(title, &table.head(), table.body());
}

fn merged(name: &str, runs: &[Measured]) -> Option<Histogram<u64>> {
    let mut sum = new_histogram();
    for run in runs.iter().filter(|run| run.name == name) {
        sum.add(run.histogram.as_ref()?).ok()?;
    }
    Some(sum)
}
