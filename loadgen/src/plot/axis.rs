//! Ranges and labels of axes.

use crate::report::format_latency;
use std::ops::Range;

/// The whole decades that hold all values; some range if there are none.
pub fn decades(values: impl Iterator<Item = f64>) -> Range<f64> {
    let positive = values.filter(|value| value.is_finite() && *value > 0.0);
    let (min, max) = positive.fold((f64::INFINITY, 0.0f64), |(min, max), value| {
        (min.min(value), max.max(value))
    });
    if max == 0.0 {
        return 1.0..10.0;
    }
    let low = 10f64.powf(min.log10().floor());
    let high = 10f64.powf((max * 1.001).log10().ceil());
    low..high.max(low * 10.0)
}

/// From zero to a little above the largest value.
pub fn from_zero(values: impl Iterator<Item = f64>) -> Range<f64> {
    let max = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    0.0..if max > 0.0 { max * 1.08 } else { 1.0 }
}

/// "20 µs", "1 ms": an axis has round values.
pub fn micros_label(micros: &f64) -> String {
    let text = format_latency((micros * 1e3) as u64);
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
        let text = format!("{value:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    };
    match *count {
        ..1e3 => short(*count),
        ..1e6 => format!("{} k", short(count / 1e3)),
        _ => format!("{} M", short(count / 1e6)),
    }
}

/// A quantile's place: each further nine takes as much room as the one before.
pub fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// "0 %", "90 %", "99 %", "99.9 %" at 0, 1, 2, 3.
pub fn nines_label(place: &f64) -> String {
    let percent = (1.0 - 10f64.powf(-place.round())) * 100.0;
    let digits = (place.round() as usize).saturating_sub(2);
    format!("{percent:.digits$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_hold_all_values_and_nothing_breaks_them() {
        assert_eq!(decades([25.0, 340.0].into_iter()), 10.0..1000.0);
        assert_eq!(decades([f64::NAN, 0.0].into_iter()), 1.0..10.0);
        assert_eq!(decades([10.0].into_iter()), 10.0..100.0);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(micros_label(&100.0), "100 µs");
        assert_eq!(micros_label(&1000.0), "1 ms");
        assert_eq!(count_label(&1500.0), "1.5 k");
        assert_eq!(count_label(&2e6), "2 M");
        assert_eq!(nines_label(&0.0), "0 %");
        assert_eq!(nines_label(&3.0), "99.9 %");
        assert_eq!(nines(0.99).round(), 2.0);
    }
}
