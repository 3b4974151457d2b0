//! Latency by percentile: how slow the slow calls are.

use super::axis::{micros_label, nines, nines_label};
use super::canvas::{Canvas, Ink, Letters, MARGIN, Pen, TOP, WIDTH};
use super::panel::{Bounds, Name, Panel, names_width};
use super::scale::Scale;
use hdrhistogram::Histogram;

/// As far as 99.999 %, if there are calls enough to tell.
const NINES_MAX: f64 = 5.0;

/// Points of a curve per halving of what is left.
const STEPS_PER_HALF: u32 = 20;

/// Where a curve has dots: these are what people quote.
const QUOTED: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];

const HEIGHT: f64 = 470.0;

/// One curve per subject; `histograms` hold nanoseconds.
pub fn percentiles(title: &str, histograms: &[(String, Histogram<u64>)]) -> String {
    let count = histograms.iter().map(|(_, all)| all.len()).max();
    let end = nines_of(count.unwrap_or(0));
    let curves: Vec<Vec<(f64, f64)>> = histograms.iter().map(|(_, all)| curve(all, end)).collect();
    let subtitle = "A share of the calls (across) took at most this long (upward).";
    let mut canvas = Canvas::new(title, subtitle, HEIGHT);
    let names = names_width(histograms.iter().map(|(label, _)| label.as_str()));
    let bounds = Bounds {
        left: MARGIN + 58.0,
        right: WIDTH - MARGIN - names,
        top: TOP + 8.0,
        bottom: HEIGHT - 44.0,
    };
    let latencies = Scale::log(curves.iter().flatten().map(|point| point.1));
    let panel = Panel::new(bounds, Scale::linear(0.0, end), latencies);
    panel.draw_levels(&mut canvas, 0, micros_label);
    let whole = (0..=end as u32).map(f64::from);
    let columns: Vec<f64> = whole.chain([nines(0.5)]).collect();
    panel.draw_columns(&mut canvas, &columns, nines_label);
    let mut ends = Vec::new();
    for (index, ((label, histogram), points)) in histograms.iter().zip(&curves).enumerate() {
        let pen = Pen {
            ink: Ink::Subject(index),
            width: 2.25,
            is_dashed: false,
        };
        canvas.line(&panel.places(points), pen);
        let is_alone = histograms.len() == 1;
        draw_quoted(&mut canvas, &panel, (label, histogram), (index, is_alone));
        if let Some(last) = points.last() {
            ends.push(Name {
                text: label.clone(),
                ink: Ink::Subject(index),
                end: panel.place(*last),
            });
        }
    }
    panel.draw_names(&mut canvas, ends);
    canvas.finish()
}

fn draw_quoted(
    canvas: &mut Canvas,
    panel: &Panel,
    (label, histogram): (&str, &Histogram<u64>),
    (index, is_alone): (usize, bool),
) {
    for quantile in QUOTED {
        // Fewer calls than that tell nothing of it.
        if histogram.len() as f64 * (1.0 - quantile) < 1.0 {
            continue;
        }
        let micros = histogram.value_at_quantile(quantile) as f64 / 1e3;
        let (x, y) = panel.place((nines(quantile), micros));
        let latency = micros_label(&micros);
        let hint = format!("{label}: p{} {latency}", quantile * 100.0);
        canvas.dot((x, y), Ink::Subject(index), &hint);
        if is_alone {
            let letters = Letters::new(Ink::Strong, 12.5).bold();
            canvas.text((x + 5.0, y + 19.0), &latency, letters);
        }
    }
}

/// So many nines that at least one call lies beyond the last but one.
fn nines_of(count: u64) -> f64 {
    let nines = (count.max(1) as f64).log10().floor();
    nines.clamp(2.0, NINES_MAX)
}

fn curve(histogram: &Histogram<u64>, end: f64) -> Vec<(f64, f64)> {
    let steps = histogram.iter_quantiles(STEPS_PER_HALF);
    let mut points: Vec<(f64, f64)> = steps
        .map(|step| {
            let micros = step.value_iterated_to() as f64 / 1e3;
            (nines(step.quantile_iterated_to()), micros)
        })
        .filter(|(place, _)| place.is_finite() && *place <= end)
        .collect();
    // What the run was too short to tell is a flat end, not a missing one.
    if let Some((place, _)) = points.last().copied() {
        let last = (1.0 - 10f64.powf(-end)).min(1.0);
        let told = histogram.value_at_quantile(last) as f64 / 1e3;
        points.push((place.max(end), told));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::new_histogram;

    #[test]
    fn every_subject_has_a_line_and_a_name() {
        let mut histogram = new_histogram();
        for micros in 1..100_000 {
            histogram.record(micros * 1000).unwrap();
        }
        let both = [
            ("one".to_owned(), histogram.clone()),
            ("two".to_owned(), histogram),
        ];
        let svg = percentiles("Latency", &both);
        let document = roxmltree::Document::parse(&svg).unwrap();
        let paths = document
            .descendants()
            .filter(|node| node.has_tag_name("path"));
        let inks: Vec<_> = paths.filter_map(|path| path.attribute("class")).collect();
        assert_eq!(inks, ["s0", "s1"]);
        let texts: Vec<&str> = document
            .descendants()
            .filter_map(|node| Some(node.text()?.trim()))
            .collect();
        for text in ["Latency", "one", "two", "50 %", "99.9 %", "10 ms"] {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
        assert!(!texts.contains(&"99.999 %"), "too few calls for that");
        assert_eq!(svg, percentiles("Latency", &both));
    }

    #[test]
    fn a_run_without_calls_can_be_drawn() {
        let none = [("none".to_owned(), new_histogram())];
        assert!(percentiles("Nothing", &none).contains("Nothing"));
        assert!(percentiles("Nothing", &[]).contains("Nothing"));
    }

    #[test]
    fn the_axis_ends_where_the_calls_do() {
        let ends = [0, 99, 1000, 99_999, 1 << 40].map(nines_of);
        assert_eq!(ends, [2.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
