//! Few runs, told honestly: medians with what they lie between, ratios with their confidence.

use serde::{Deserialize, Serialize};

/// Student's t for a two-sided 95 % interval, by degrees of freedom from 1 (NIST/SEMATECH
/// e-Handbook of Statistical Methods, 1.3.6.7.2); beyond the table the normal distribution's.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
const T_95_LIMIT: f64 = 1.96;

/// The middle of some runs, and the least and the most of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` if there are no values.
    pub fn new(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Spread { median, min, max })
    }
}

/// One subject's figure as a multiple of another's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The geometric mean over the rounds.
    pub mean: f64,
    /// The 95 % interval of it; `None` with a single round.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    /// Of pairs (figure, reference), one per round: what both of a round share, a busy machine
    /// above all, falls out. The interval is Student's over the logarithms, since a ratio and its
    /// inverse should be equally far from 1. `None` without pairs or if a figure is not positive.
    pub fn new(pairs: &[(f64, f64)]) -> Option<Ratio> {
        if pairs.is_empty()
            || pairs
                .iter()
                .any(|(one, other)| *one <= 0.0 || *other <= 0.0)
        {
            return None;
        }
        let count = pairs.len() as f64;
        let logarithms: Vec<f64> = pairs
            .iter()
            .map(|(one, other)| (one / other).ln())
            .collect();
        let mean = logarithms.iter().sum::<f64>() / count;
        if pairs.len() == 1 {
            return Some(Ratio {
                mean: mean.exp(),
                interval: None,
            });
        }
        let squares: f64 = logarithms.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (count - 1.0)).sqrt() / count.sqrt();
        let reach = error * T_95.get(pairs.len() - 2).copied().unwrap_or(T_95_LIMIT);
        Some(Ratio {
            mean: mean.exp(),
            interval: Some(((mean - reach).exp(), (mean + reach).exp())),
        })
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}x", self.mean)?;
        match self.interval {
            Some((low, high)) => write!(f, " ({low:.2}–{high:.2})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_middle_and_its_ends() {
        let odd = Spread::new(&[3.0, 1.0, 20.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 20.0));
        assert_eq!(Spread::new(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::new(&[]), None);
    }

    #[test]
    fn a_drift_that_both_share_does_not_widen_a_ratio() {
        let ratio = Ratio::new(&[(20.0, 10.0), (40.0, 20.0), (10.0, 5.0)]).unwrap();
        let (low, high) = ratio.interval.unwrap();
        assert!((ratio.mean - 2.0).abs() < 1e-9 && (high - low).abs() < 1e-9);
    }

    #[test]
    fn an_interval_is_students_over_the_logarithms() {
        // Logarithms -1, 0, 1: deviation 1, standard error 1/sqrt(3), t(2) = 4.303.
        let pairs = [
            (1.0 / std::f64::consts::E, 1.0),
            (1.0, 1.0),
            (std::f64::consts::E, 1.0),
        ];
        let ratio = Ratio::new(&pairs).unwrap();
        let (low, high) = ratio.interval.unwrap();
        assert!((ratio.mean - 1.0).abs() < 1e-9);
        assert!((high.ln() - 4.303 / 3f64.sqrt()).abs() < 1e-6);
        assert!((low * high - 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_round_has_a_ratio_without_confidence_and_none_has_no_ratio() {
        let single = Ratio::new(&[(3.0, 2.0)]).unwrap();
        assert_eq!(
            (single.mean.to_string(), single.interval),
            ("1.5".to_owned(), None)
        );
        assert_eq!(Ratio::new(&[]), None);
        assert_eq!(Ratio::new(&[(0.0, 2.0)]), None);
    }
}
