//! Latency against load: where a server begins to give way.

use super::axis::{count_label, micros_label};
use super::canvas::{Canvas, Ink, MARGIN, Pen, TOP, WIDTH};
use super::panel::{Bounds, Name, Panel, names_width};
use super::scale::Scale;

const HEIGHT: f64 = 490.0;

/// One rate of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct LoadPoint {
    pub calls_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

type Figure = fn(&LoadPoint) -> f64;

/// Two curves per subject: p99, and p50 dotted.
pub fn latency_versus_load(title: &str, subjects: &[(String, Vec<LoadPoint>)]) -> String {
    let points = || subjects.iter().flat_map(|(_, points)| points);
    let loads = Scale::from_zero(points().map(|point| point.calls_per_s));
    let latencies = Scale::log(points().flat_map(|point| [point.p50_us, point.p99_us]));
    let subtitle = "Each point is a run at a fixed rate; low and to the right is good.";
    let mut canvas = Canvas::new(title, subtitle, HEIGHT);
    let labels: Vec<String> = subjects
        .iter()
        .map(|(label, _)| name_of(label, "p99"))
        .collect();
    let bounds = Bounds {
        left: MARGIN + 58.0,
        right: WIDTH - MARGIN - names_width(labels.iter().map(String::as_str)),
        top: TOP + 8.0,
        bottom: HEIGHT - 62.0,
    };
    let panel = Panel::new(bounds, loads, latencies);
    panel.draw_levels(&mut canvas, 0, micros_label);
    panel.draw_columns(&mut canvas, &panel.columns(7), count_label);
    panel.draw_axis_name(&mut canvas, "calls/s reached");
    let mut names = Vec::new();
    for (index, (label, points)) in subjects.iter().enumerate() {
        let of: [(&str, Figure, f64); 2] = [
            ("p50", |point| point.p50_us, 1.75),
            ("p99", |point| point.p99_us, 2.25),
        ];
        for (percentile, figure, width) in of {
            let pen = Pen {
                ink: Ink::Subject(index),
                width,
                is_dashed: percentile == "p50",
            };
            draw_curve(&mut canvas, &panel, (points, figure), pen);
            let name = name_of(label, percentile);
            if percentile == "p99" {
                draw_dots(&mut canvas, &panel, (points, figure), (&name, pen.ink));
            }
            if let Some(last) = points.last() {
                let end = panel.place((last.calls_per_s, figure(last)));
                let (text, ink) = (name, pen.ink);
                names.push(Name { text, ink, end });
            }
        }
    }
    panel.draw_names(&mut canvas, names);
    canvas.finish()
}

fn name_of(label: &str, percentile: &str) -> String {
    format!("{label}, {percentile}")
}

fn draw_curve(
    canvas: &mut Canvas,
    panel: &Panel,
    (points, figure): (&[LoadPoint], Figure),
    pen: Pen,
) {
    let place = |point: &LoadPoint| panel.place((point.calls_per_s, figure(point)));
    canvas.line(&points.iter().map(place).collect::<Vec<_>>(), pen);
}

fn draw_dots(
    canvas: &mut Canvas,
    panel: &Panel,
    (points, figure): (&[LoadPoint], Figure),
    (name, ink): (&str, Ink),
) {
    for point in points {
        let latency = micros_label(&figure(point));
        let load = count_label(&point.calls_per_s);
        let hint = format!("{name}: {latency} at {load} calls/s");
        canvas.dot(panel.place((point.calls_per_s, figure(point))), ink, &hint);
    }
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
        let document = roxmltree::Document::parse(&svg).unwrap();
        let count = |tag| {
            document
                .descendants()
                .filter(|node| node.has_tag_name(tag))
                .count()
        };
        assert_eq!((count("path"), count("circle")), (2, 2));
        assert!(svg.contains("Rondo, p99") && svg.contains("Rondo, p50"));
        assert!(svg.contains("Rondo, p99: 150 µs at 2 k calls/s"));
        assert!(latency_versus_load("Empty", &[]).contains("Empty"));
    }
}
