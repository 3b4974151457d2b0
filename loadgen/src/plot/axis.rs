//! Labels of axes.

use crate::report::format_latency;

/// "20 µs", "1 ms": an axis has round values.
pub fn micros_label(micros: &f64) -> String {
    let text = format_latency((micros * 1e3).round() as u64);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {unit}")
}

/// "500", "20 k", "1.5 M".
pub fn count_label(count: &f64) -> String {
    let short = |value: f64| {
        let text = match value {
            ..9.995 => format!("{value:.2}"),
            ..99.95 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        };
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    match *count {
        ..999.5 => short(*count),
        ..999.5e3 => format!("{} k", short(count / 1e3)),
        _ => format!("{} M", short(count / 1e6)),
    }
}

/// A quantile's place: each further nine takes as much room as the one before.
pub fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// "0 %", "90 %", "99 %", "99.9 %" at 0, 1, 2, 3.
pub fn nines_label(place: &f64) -> String {
    let percent = (1.0 - 10f64.powf(-place)) * 100.0;
    let digits = (place.round() as usize).saturating_sub(2);
    format!("{percent:.digits$} %")
}

/// "0.5 s", "20 s", "3 min".
pub fn seconds_label(seconds: &f64) -> String {
    let tenths = (seconds * 10.0).round() / 10.0;
    match tenths {
        60.0.. if tenths % 60.0 == 0.0 => format!("{} min", tenths / 60.0),
        _ => format!("{tenths} s"),
    }
}

/// A step of seconds, minutes or hours that gives few enough labels.
pub fn seconds_step(span_s: f64) -> f64 {
    const STEPS: [f64; 16] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0,
        10_800.0, 43_200.0,
    ];
    let is_enough = |step: &f64| span_s / step <= 9.0;
    STEPS.into_iter().find(is_enough).unwrap_or(span_s / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        assert_eq!(micros_label(&100.0), "100 µs");
        assert_eq!(micros_label(&1000.0), "1 ms");
        assert_eq!(count_label(&1500.0), "1.5 k");
        assert_eq!(count_label(&2e6), "2 M");
        assert_eq!(count_label(&412_345.0), "412 k");
        assert_eq!(count_label(&0.0), "0");
        assert_eq!(nines_label(&0.0), "0 %");
        assert_eq!(nines_label(&nines(0.5)), "50 %");
        assert_eq!(nines_label(&3.0), "99.9 %");
        assert_eq!(nines(0.99).round(), 2.0);
    }

    #[test]
    fn time_is_told_in_minutes_when_it_is_long() {
        let labels = [0.0, 0.5, 45.0, 60.0, 180.0].map(|seconds| seconds_label(&seconds));
        assert_eq!(labels, ["0 s", "0.5 s", "45 s", "1 min", "3 min"]);
        assert_eq!([0.4, 10.0, 600.0].map(seconds_step), [0.1, 2.0, 120.0]);
    }
}
