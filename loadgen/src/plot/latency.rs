//! Latency by percentile, and by time.

use super::axis::{count_label, decades, from_zero, micros_label, nines, nines_label};
use super::{Drawn, FAINT_GRID, FONT, GRID, INK, SIZE, colour, drawn};
use crate::report::SeriesRow;
use hdrhistogram::Histogram;
use plotters::prelude::*;

/// As far as 99.999 %.
const NINES_MAX: f64 = 5.0;

/// Lines of a percentile curve per halving of what is left.
const STEPS_PER_HALF: u32 = 20;

/// One curve per subject; `histograms` hold nanoseconds.
pub fn percentiles(title: &str, histograms: &[(String, Histogram<u64>)]) -> String {
    let curves: Vec<Vec<(f64, f64)>> = histograms.iter().map(|(_, all)| curve(all)).collect();
    let range = decades(curves.iter().flatten().map(|point| point.1));
    drawn(|svg| {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, (FONT, 20, &INK))
            .margin(16)
            .margin_right(36)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..NINES_MAX, range.log_scale())?;
        chart
            .configure_mesh()
            .x_labels(6)
            .x_label_formatter(&nines_label)
            .y_label_formatter(&micros_label)
            .x_desc("calls that were at least this fast")
            .label_style((FONT, 14, &INK))
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(FAINT_GRID)
            .draw()?;
        for (index, ((label, _), points)) in histograms.iter().zip(curves).enumerate() {
            let colour = colour(index);
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(label)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 14, &INK))
            .draw()?;
        root.present()?;
        Ok(())
    })
}

fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let steps = histogram.iter_quantiles(STEPS_PER_HALF);
    let point = |quantile: f64, value: u64| (nines(quantile), value as f64 / 1e3);
    let mut points: Vec<(f64, f64)> = steps
        .map(|step| point(step.quantile_iterated_to(), step.value_iterated_to()))
        .filter(|(place, _)| place.is_finite() && *place <= NINES_MAX)
        .collect();
    // What the run was too short to tell is a flat end, not a missing one.
    if let Some((place, _)) = points.last().copied() {
        points.push((place.max(0.01), histogram.max() as f64 / 1e3));
    }
    points
}

/// Calls per second above, latency below, over the seconds of one run.
pub fn time_series(title: &str, rows: &[SeriesRow]) -> String {
    let end = rows.last().map_or(1.0, |row| row.seconds + 0.001);
    let start = rows.first().map_or(0.0, |row| row.seconds);
    drawn(|svg| {
        let root = SVGBackend::with_string(svg, (SIZE.0, 560)).into_drawing_area();
        root.fill(&WHITE)?;
        let (upper, lower) = root.split_vertically(230);
        let rates = || rows.iter().map(|row| row.calls_per_s);
        let mut chart = ChartBuilder::on(&upper)
            .caption(title, (FONT, 20, &INK))
            .margin(16)
            .x_label_area_size(8)
            .y_label_area_size(64)
            .build_cartesian_2d(start..end, from_zero(rates()))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(5)
            .y_label_formatter(&count_label)
            .y_desc("calls/s")
            .label_style((FONT, 14, &INK))
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(WHITE)
            .draw()?;
        let points = rows.iter().map(|row| (row.seconds, row.calls_per_s));
        chart.draw_series(LineSeries::new(points, colour(0).stroke_width(2)))?;
        let failures = rows.iter().filter(|row| row.errors > 0);
        chart.draw_series(
            failures.map(|row| Circle::new((row.seconds, row.calls_per_s), 4, RED.filled())),
        )?;
        draw_latencies(&lower, start..end, rows)?;
        root.present()?;
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_latencies(area: &Area<'_>, time: std::ops::Range<f64>, rows: &[SeriesRow]) -> Drawn {
    let lines = ["max", "p99", "p50"];
    let all = rows
        .iter()
        .flat_map(|row| [row.max_us, row.p99_us, row.p50_us]);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(time, decades(all).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_label_formatter(&micros_label)
        .x_desc("seconds")
        .label_style((FONT, 14, &INK))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(FAINT_GRID)
        .draw()?;
    for (index, name) in lines.into_iter().enumerate() {
        let colour = [colour(1), colour(4), colour(0)][index];
        let value = |row: &SeriesRow| [row.max_us, row.p99_us, row.p50_us][index];
        let points = rows
            .iter()
            .filter(|row| row.calls > 0)
            .map(|row| (row.seconds, value(row)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 14, &INK))
        .draw()?;
    Ok(())
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
            ("one".to_owned(), histogram),
            ("two".to_owned(), new_histogram()),
        ];
        let svg = percentiles("Latency", &both);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(
            ["Latency", "one", "two", "99.9 %"]
                .iter()
                .all(|text| svg.contains(text))
        );
        assert_eq!(svg, percentiles("Latency", &both));
    }

    #[test]
    fn a_run_without_calls_can_be_drawn() {
        assert!(time_series("Nothing", &[]).contains("Nothing"));
        let empty = SeriesRow {
            seconds: 1.0,
            calls: 0,
            calls_per_s: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
            max_us: 0.0,
            errors: 1,
        };
        assert!(time_series("Errors", &[empty.clone(), empty]).contains("<circle"));
    }
}
