//! Numbers drawn at random: sizes, think times, service times. Pure: random bits go in, so the
//! same seed gives the same load.

use std::fs;
use std::sync::Arc;

/// Lines of a file of values.
const LISTED_COUNT_MAX: usize = 1 << 20;

/// What 53 random bits can come to, in means.
const EXPONENTIAL_MAX: f64 = 36.8;

/// Values without a unit: octets, or nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    Fixed(u64),
    /// Both ends included; invariant: `from <= to`.
    Uniform {
        from: u64,
        to: u64,
    },
    Exponential {
        mean: u64,
    },
    /// Each as likely as the others; never empty.
    Listed(Arc<[u64]>),
}

impl Distribution {
    /// "64", "fixed:64", "uniform:64-4096", "exp:1000", or "file:PATH" with a value per line.
    /// Errors: one sentence for the person who typed it.
    pub fn parse(
        text: &str,
        parse_value: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<Distribution, String> {
        let (kind, argument) = text.split_once(':').unwrap_or(("fixed", text));
        match kind {
            "fixed" => parse_value(argument).map(Distribution::Fixed),
            "uniform" => {
                let (from, to) = argument
                    .split_once('-')
                    .ok_or_else(|| format!("{argument:?} is no range: uniform:FROM-TO"))?;
                let (from, to) = (parse_value(from)?, parse_value(to)?);
                if from > to {
                    return Err(format!("{argument:?}: from is more than to"));
                }
                Ok(Distribution::Uniform { from, to })
            }
            "exp" => Ok(Distribution::Exponential {
                mean: parse_value(argument)?,
            }),
            "file" => {
                let lines =
                    fs::read_to_string(argument).map_err(|error| format!("{argument}: {error}"))?;
                Distribution::parse_lines(&lines, parse_value)
                    .map_err(|error| format!("{argument}: {error}"))
            }
            _ => Err(format!(
                "unknown kind {kind:?}: fixed, uniform, exp or file"
            )),
        }
    }

    /// Blank lines and those that begin with # are none.
    fn parse_lines(
        lines: &str,
        parse_value: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<Distribution, String> {
        let lines = lines.lines().map(str::trim);
        let values = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let values: Vec<u64> = values.map(parse_value).collect::<Result<_, _>>()?;
        if values.is_empty() || values.len() > LISTED_COUNT_MAX {
            return Err(format!(
                "{} values, where 1 to {LISTED_COUNT_MAX} are wanted",
                values.len()
            ));
        }
        Ok(Distribution::Listed(values.into()))
    }

    /// The value for 64 random bits.
    pub fn value(&self, bits: u64) -> u64 {
        match self {
            Distribution::Fixed(value) => *value,
            Distribution::Uniform { from, to } => {
                let count = u128::from(to - from) + 1;
                from + ((u128::from(bits) * count) >> 64) as u64
            }
            Distribution::Exponential { mean } => {
                // In (0, 1], so that its logarithm is finite.
                let chance = ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64;
                (-chance.ln() * *mean as f64) as u64
            }
            Distribution::Listed(values) => {
                values[((u128::from(bits) * values.len() as u128) >> 64) as usize]
            }
        }
    }

    pub fn is_random(&self) -> bool {
        !matches!(self, Distribution::Fixed(_))
    }

    pub fn min(&self) -> u64 {
        match self {
            Distribution::Fixed(value) => *value,
            Distribution::Uniform { from, .. } => *from,
            Distribution::Exponential { .. } => 0,
            Distribution::Listed(values) => values.iter().copied().min().unwrap_or(0),
        }
    }

    pub fn max(&self) -> u64 {
        match self {
            Distribution::Fixed(value) => *value,
            Distribution::Uniform { to, .. } => *to,
            Distribution::Exponential { mean } => (*mean as f64 * EXPONENTIAL_MAX) as u64,
            Distribution::Listed(values) => values.iter().copied().max().unwrap_or(0),
        }
    }

    pub fn mean(&self) -> f64 {
        match self {
            Distribution::Fixed(value) => *value as f64,
            Distribution::Uniform { from, to } => (*from as f64 + *to as f64) / 2.0,
            Distribution::Exponential { mean } => *mean as f64,
            Distribution::Listed(values) => {
                values.iter().map(|value| *value as f64).sum::<f64>() / values.len() as f64
            }
        }
    }

    /// For people, without the name of any file.
    pub fn describe(&self, format: impl Fn(u64) -> String) -> String {
        match self {
            Distribution::Fixed(value) => format(*value),
            Distribution::Uniform { from, to } => {
                format!("uniform from {} to {}", format(*from), format(*to))
            }
            Distribution::Exponential { mean } => format!("exponential, mean {}", format(*mean)),
            Distribution::Listed(values) => format!(
                "one of {} listed, mean {}",
                values.len(),
                format(self.mean() as u64)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    fn parse(text: &str) -> Result<Distribution, String> {
        Distribution::parse(text, |text| text.parse().map_err(|_| format!("{text:?}?")))
    }

    #[test]
    fn each_kind_is_read() {
        assert_eq!(parse("64"), Ok(Distribution::Fixed(64)));
        assert_eq!(parse("fixed:64"), Ok(Distribution::Fixed(64)));
        let uniform = Distribution::Uniform { from: 1, to: 9 };
        assert_eq!(parse("uniform:1-9"), Ok(uniform));
        assert_eq!(parse("exp:7"), Ok(Distribution::Exponential { mean: 7 }));
        for wrong in [
            "",
            "x",
            "uniform:9",
            "uniform:9-1",
            "zipf:1",
            "file:/nowhere",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_has_a_value_per_line_and_perhaps_remarks() {
        let read =
            |lines| Distribution::parse_lines(lines, |text| text.parse().map_err(|_| "?".into()));
        let listed = Distribution::Listed([16, 99].into());
        assert_eq!(read("# sizes\n16\n\n  99 \n"), Ok(listed));
        assert!(read("# none\n").is_err() && read("16\nmany\n").is_err());
    }

    #[test]
    fn draws_have_the_mean_and_the_bounds_of_their_distribution() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let listed = Distribution::Listed([10, 20, 1000].into());
        let mut kinds = vec![listed];
        kinds.extend(["500", "uniform:16-4096", "exp:500000"].map(|text| parse(text).unwrap()));
        for distribution in kinds {
            let draws: Vec<u64> = (0..100_000)
                .map(|_| distribution.value(random.random()))
                .collect();
            let mean = draws.iter().sum::<u64>() as f64 / draws.len() as f64;
            let off = (mean / distribution.mean() - 1.0).abs();
            assert!(off < 0.01, "{distribution:?}: {mean}");
            let bounds = distribution.min()..=distribution.max();
            assert!(draws.iter().all(|draw| bounds.contains(draw)));
        }
    }

    #[test]
    fn the_ends_are_reached_and_never_passed() {
        let uniform = parse("uniform:5-7").unwrap();
        assert_eq!((uniform.value(0), uniform.value(u64::MAX)), (5, 7));
        let exponential = parse("exp:1000").unwrap();
        assert_eq!(exponential.value(u64::MAX), 0);
        assert!(exponential.value(0) <= exponential.max());
        let all = Distribution::Uniform {
            from: 0,
            to: u64::MAX,
        };
        assert_eq!(all.value(u64::MAX), u64::MAX);
    }
}
