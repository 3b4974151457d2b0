//! Values with units on the command line.

use crate::distribution::Distribution;
use crate::plan::Amount;
use std::time::Duration;

/// "500us", "20ms", "3s", "2m", "1h" or plain seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits_len = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_len);
    let seconds_per_unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}: us, ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{number:?} is not a number"))?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| error.to_string())
}

/// Plain digits are calls, with a unit it is a time.
pub fn parse_amount(text: &str) -> Result<Amount, String> {
    match text.parse() {
        Ok(calls) => Ok(Amount::Calls(calls)),
        Err(_) => parse_duration(text).map(Amount::Time),
    }
}

/// Octets, or how to draw them.
pub fn parse_sizes(text: &str) -> Result<Distribution, String> {
    Distribution::parse(text, |text| {
        text.parse()
            .map_err(|_| format!("{text:?} is not a number of octets"))
    })
}

/// A time, or how to draw it: nanoseconds.
pub fn parse_times(text: &str) -> Result<Distribution, String> {
    Distribution::parse(text, |text| {
        let time = parse_duration(text)?;
        u64::try_from(time.as_nanos()).map_err(|_| format!("{text} is too long"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_plain_numbers_are_seconds() {
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        for wrong in ["", "s", "-1s", "1d", "1.2.3s", "1e400"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn distributions_have_the_units_of_their_values() {
        assert_eq!(parse_sizes("64"), Ok(Distribution::Fixed(64)));
        assert_eq!(
            parse_times("exp:500us"),
            Ok(Distribution::Exponential { mean: 500_000 })
        );
        let range = Distribution::Uniform {
            from: 1_000_000,
            to: 5_000_000,
        };
        assert_eq!(parse_times("uniform:1ms-5ms"), Ok(range));
        assert!(parse_sizes("1ms").is_err() && parse_times("uniform:1x-2x").is_err());
    }

    #[test]
    fn a_warmup_is_calls_or_a_time() {
        assert_eq!(parse_amount("1000"), Ok(Amount::Calls(1000)));
        assert_eq!(parse_amount("2s"), Ok(Amount::Time(Duration::from_secs(2))));
    }
}
