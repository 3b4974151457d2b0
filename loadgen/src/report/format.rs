//! Numbers as people read them.

/// "1,234,567".
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds with three digits and a unit: "21.3 µs", "1.04 ms".
pub fn format_latency(nanos: u64) -> String {
    let micros = nanos as f64 / 1e3;
    match nanos {
        0..1_000_000 => format!("{} µs", three_digits(micros)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(micros / 1e3)),
        _ => format!("{} s", three_digits(micros / 1e6)),
    }
}

pub fn three_digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_a_comma_every_three_digits() {
        let expected = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345_678, "12,345,678"),
        ];
        for (count, text) in expected {
            assert_eq!(format_count(count), text);
        }
    }

    #[test]
    fn latencies_have_three_digits_and_a_unit() {
        assert_eq!(format_latency(850), "0.85 µs");
        assert_eq!(format_latency(21_340), "21.3 µs");
        assert_eq!(format_latency(999_900), "1000 µs");
        assert_eq!(format_latency(1_040_000), "1.04 ms");
        assert_eq!(format_latency(2_500_000_000), "2.50 s");
    }
}
