//! Latency against load, and how subjects compare.

use super::axis::{count_label, decades, from_zero, micros_label};
use super::{FAINT_GRID, FONT, GRID, INK, SIZE, colour, drawn};
use crate::statistics::Spread;
use plotters::prelude::*;

/// One rate of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct LoadPoint {
    pub calls_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Two curves per subject: p99, and p50 thinner.
pub fn latency_versus_load(title: &str, subjects: &[(String, Vec<LoadPoint>)]) -> String {
    let points = || subjects.iter().flat_map(|(_, points)| points);
    let loads = from_zero(points().map(|point| point.calls_per_s));
    let latencies = decades(points().flat_map(|point| [point.p50_us, point.p99_us]));
    drawn(|svg| {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, (FONT, 20, &INK))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(loads, latencies.log_scale())?;
        chart
            .configure_mesh()
            .x_label_formatter(&count_label)
            .y_label_formatter(&micros_label)
            .x_desc("calls/s reached")
            .label_style((FONT, 14, &INK))
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(FAINT_GRID)
            .draw()?;
        for (index, (label, points)) in subjects.iter().enumerate() {
            let colour = colour(index);
            let p99 = points.iter().map(|point| (point.calls_per_s, point.p99_us));
            let p50 = points.iter().map(|point| (point.calls_per_s, point.p50_us));
            chart
                .draw_series(LineSeries::new(p99, colour.stroke_width(2)).point_size(3))?
                .label(format!("{label}, p99"))
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                });
            chart
                .draw_series(LineSeries::new(p50, colour.mix(0.6).stroke_width(1)))?
                .label(format!("{label}, p50"))
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.mix(0.6).stroke_width(1))
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

/// One bar per subject, its median, with a line from the least to the most.
pub fn throughput_bars(title: &str, subjects: &[(String, Spread)]) -> String {
    let height = 90 + 44 * subjects.len().max(1) as u32;
    let range = from_zero(subjects.iter().map(|(_, spread)| spread.max));
    let rows = -0.5..subjects.len().max(1) as f64 - 0.5;
    drawn(|svg| {
        let root = SVGBackend::with_string(svg, (SIZE.0, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, (FONT, 20, &INK))
            .margin(16)
            .x_label_area_size(28)
            .y_label_area_size(170)
            .build_cartesian_2d(range, rows)?;
        let count = subjects.len();
        // From the top down, as a table has them.
        let subject_at = |place: &f64| {
            let is_whole = (place - place.round()).abs() < 1e-6 && *place > -0.5;
            let index = count.wrapping_sub(1).wrapping_sub(place.round() as usize);
            let label = subjects.get(index).filter(|_| is_whole);
            label.map_or_else(String::new, |(label, _)| label.clone())
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(2 * count + 1)
            .y_label_formatter(&subject_at)
            .x_label_formatter(&count_label)
            .label_style((FONT, 14, &INK))
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(WHITE)
            .draw()?;
        for (index, (_, spread)) in subjects.iter().enumerate() {
            let row = (count - 1 - index) as f64;
            let bar = [(0.0, row - 0.32), (spread.median, row + 0.32)];
            chart.draw_series([Rectangle::new(bar, colour(index).filled())])?;
            let whisker = [(spread.min, row), (spread.max, row)];
            chart.draw_series([PathElement::new(whisker, INK.stroke_width(2))])?;
        }
        root.present()?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_has_two_curves_per_subject() {
        let point = |calls_per_s| LoadPoint {
            calls_per_s,
            p50_us: 50.0,
            p99_us: 150.0,
        };
        let subjects = [("Rondo".to_owned(), vec![point(1000.0), point(2000.0)])];
        let svg = latency_versus_load("Sweep", &subjects);
        assert!(svg.contains("Rondo, p99") && svg.contains("Rondo, p50"));
        assert!(latency_versus_load("Empty", &[]).contains("Empty"));
    }

    #[test]
    fn bars_are_named_from_the_top_down() {
        let spread = Spread {
            median: 100.0,
            min: 90.0,
            max: 110.0,
        };
        let both = [("first".to_owned(), spread), ("second".to_owned(), spread)];
        let svg = throughput_bars("calls/s", &both);
        let place = |name: &str| svg.find(name).unwrap();
        assert!(place("first") != place("second"));
        assert!(throughput_bars("none", &[]).contains("none"));
    }
}
