//! What happened when: calls per second, latency, errors.

use super::axis::{count_label, micros_label, seconds_label, seconds_step};
use super::canvas::{Canvas, Ink, MARGIN, Pen, TOP, WIDTH};
use super::panel::{Bounds, Name, Panel};
use super::scale::Scale;
use crate::report::SeriesRow;

const RATE_HEIGHT: f64 = 130.0;
const LATENCY_HEIGHT: f64 = 220.0;
const ERRORS_HEIGHT: f64 = 60.0;
const GAP: f64 = 46.0;

/// More than the screen has points tell nothing more.
const POINT_COUNT_MAX: usize = 400;

/// Rate above latency over the seconds of one run; below them errors, if there were any.
pub fn time_series(title: &str, rows: &[SeriesRow]) -> String {
    let rows = &thinned(rows);
    let has_errors = rows.iter().any(|row| row.errors > 0);
    let errors_height = if has_errors { ERRORS_HEIGHT + GAP } else { 0.0 };
    let top = TOP + 22.0;
    let height = top + RATE_HEIGHT + GAP + LATENCY_HEIGHT + errors_height + 44.0;
    let mut canvas = Canvas::new(title, "The seconds of the run, warm-up left out.", height);
    let start = rows.first().map_or(0.0, |row| row.seconds);
    let end = rows.last().map_or(1.0, |row| row.seconds);
    let time = Scale::linear(start, end);
    let columns = time.multiples_of(seconds_step(end - start));
    let field = |top: f64, height: f64, y: Scale| {
        let bounds = Bounds {
            left: MARGIN + 58.0,
            right: WIDTH - MARGIN - 44.0,
            top,
            bottom: top + height,
        };
        Panel::new(bounds, time, y)
    };
    let rates = Scale::from_zero(rows.iter().map(|row| row.calls_per_s));
    let rate = field(top, RATE_HEIGHT, rates);
    rate.draw_columns(&mut canvas, &columns, |_| String::new());
    draw_rate(&mut canvas, &rate, rows);
    let figures = rows
        .iter()
        .flat_map(|row| [row.p50_us, row.p99_us, row.max_us]);
    let latency_top = rate.bounds.bottom + GAP;
    let latency = field(latency_top, LATENCY_HEIGHT, Scale::log(figures));
    let label = if has_errors {
        |_: &f64| String::new()
    } else {
        seconds_label
    };
    latency.draw_columns(&mut canvas, &columns, label);
    draw_latency(&mut canvas, &latency, rows);
    if has_errors {
        let counts = Scale::from_zero(rows.iter().map(|row| row.errors as f64));
        let errors = field(latency.bounds.bottom + GAP, ERRORS_HEIGHT, counts);
        errors.draw_columns(&mut canvas, &columns, seconds_label);
        draw_errors(&mut canvas, &errors, rows);
    }
    canvas.finish()
}

fn draw_rate(canvas: &mut Canvas, panel: &Panel, rows: &[SeriesRow]) {
    panel.draw_caption(canvas, "calls/s");
    panel.draw_levels(canvas, 4, count_label);
    let points: Vec<_> = rows
        .iter()
        .map(|row| (row.seconds, row.calls_per_s))
        .collect();
    let places = panel.places(&points);
    canvas.area(&places, panel.bounds.bottom, Ink::Subject(0));
    canvas.line(&places, solid(Ink::Subject(0), 2.0));
}

type Figure = fn(&SeriesRow) -> f64;

fn draw_latency(canvas: &mut Canvas, panel: &Panel, rows: &[SeriesRow]) {
    panel.draw_caption(canvas, "latency");
    panel.draw_levels(canvas, 0, micros_label);
    let of: [(&str, Figure, Ink, f64); 3] = [
        ("max", |row| row.max_us, Ink::Subject(6), 1.0),
        ("p99", |row| row.p99_us, Ink::Subject(1), 2.0),
        ("p50", |row| row.p50_us, Ink::Subject(0), 2.0),
    ];
    let mut names = Vec::new();
    for (name, figure, ink, width) in of {
        let rows = rows.iter().filter(|row| row.calls > 0);
        let points: Vec<_> = rows.map(|row| (row.seconds, figure(row))).collect();
        let places = panel.places(&points);
        canvas.line(&places, solid(ink, width));
        if let Some(end) = places.last().copied() {
            let text = name.to_owned();
            names.push(Name { text, ink, end });
        }
    }
    panel.draw_names(canvas, names);
}

fn draw_errors(canvas: &mut Canvas, panel: &Panel, rows: &[SeriesRow]) {
    panel.draw_caption(canvas, "errors");
    panel.draw_levels(canvas, 2, count_label);
    let width = (panel.bounds.right - panel.bounds.left) / rows.len().max(1) as f64;
    for row in rows.iter().filter(|row| row.errors > 0) {
        let (x, y) = panel.place((row.seconds, row.errors as f64));
        let width = (width * 0.8).clamp(1.5, 12.0);
        let size = (width, panel.bounds.bottom - y);
        let hint = format!("{} errors at {}", row.errors, seconds_label(&row.seconds));
        canvas.rectangle((x - width / 2.0, y), size, Ink::Bad, &hint);
    }
}

fn solid(ink: Ink, width: f64) -> Pen {
    Pen {
        ink,
        width,
        is_dashed: false,
    }
}

/// Few enough rows: of several in one, the worst.
fn thinned(rows: &[SeriesRow]) -> Vec<SeriesRow> {
    let len = rows.len().div_ceil(POINT_COUNT_MAX).max(1);
    let merge = |rows: &[SeriesRow]| {
        let worst = |figure: fn(&SeriesRow) -> f64| rows.iter().map(figure).fold(0.0, f64::max);
        let mean = |figure: fn(&SeriesRow) -> f64| {
            rows.iter().map(figure).sum::<f64>() / rows.len() as f64
        };
        SeriesRow {
            seconds: rows[0].seconds,
            calls: rows.iter().map(|row| row.calls).sum(),
            calls_per_s: mean(|row| row.calls_per_s),
            p50_us: worst(|row| row.p50_us),
            p99_us: worst(|row| row.p99_us),
            max_us: worst(|row| row.max_us),
            errors: rows.iter().map(|row| row.errors).sum(),
        }
    };
    rows.chunks(len).map(merge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seconds: f64, calls: u64, errors: u64) -> SeriesRow {
        SeriesRow {
            seconds,
            calls,
            calls_per_s: calls as f64,
            p50_us: 50.0,
            p99_us: 100.0 + seconds,
            max_us: 900.0,
            errors,
        }
    }

    fn texts(svg: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(svg).unwrap();
        let texts = document
            .descendants()
            .filter(|node| node.has_tag_name("text"));
        let text = |node: roxmltree::Node<'_, '_>| Some(node.text()?.trim().to_owned());
        texts.filter_map(text).collect()
    }

    #[test]
    fn a_run_has_its_rate_above_its_latencies() {
        let rows: Vec<_> = (0..10)
            .map(|second| row(f64::from(second), 900, 0))
            .collect();
        let texts = texts(&time_series("Run", &rows));
        for text in ["calls/s", "latency", "p50", "p99", "max", "4 s", "100 µs"] {
            assert!(texts.iter().any(|known| known == text), "{text}: {texts:?}");
        }
        assert!(!texts.iter().any(|text| text == "errors"));
    }

    #[test]
    fn errors_have_a_field_of_their_own_even_where_nothing_came_back() {
        let svg = time_series("Run", &[row(0.0, 5, 0), row(1.0, 0, 7)]);
        assert!(texts(&svg).iter().any(|text| text == "errors"));
        assert!(svg.contains("7 errors at 1 s"));
        assert!(time_series("Nothing", &[]).contains("Nothing"));
    }

    #[test]
    fn of_rows_drawn_as_one_the_worst_is_told_and_nothing_is_lost() {
        let rows: Vec<_> = (0..1000)
            .map(|second| row(f64::from(second), 2, 1))
            .collect();
        let thin = thinned(&rows);
        assert!(thin.len() <= POINT_COUNT_MAX);
        assert_eq!(thin.iter().map(|row| row.calls).sum::<u64>(), 2000);
        assert_eq!(thin.iter().map(|row| row.errors).sum::<u64>(), 1000);
        assert_eq!((thin[0].p99_us, thin[0].calls_per_s), (102.0, 2.0));
    }
}
