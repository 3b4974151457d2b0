//! Ratios of repeated measurements, and how sure they are. Pure.
//!
//! Times and rates vary by factors, not by summands, so all is done on logarithms: the ratio is
//! the geometric mean of ratios, and its 95 % interval is Student's t-interval of their logs.
//! Runs that took turns are compared round by round, since a machine that drifts has drifted for
//! both; runs of different days by Welch's interval of two means.

/// The middle of some numbers and what they lie between.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` if there is no number.
    pub fn new(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, min, max })
    }
}

/// How many times as much. `interval` holds the true ratio with 95 % confidence; a single pair of
/// runs has none.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ratio {
    pub ratio: f64,
    pub interval: Option<(f64, f64)>,
    pub is_paired: bool,
}

impl Ratio {
    /// Of runs that took turns: `values[i]` and `base[i]` are of one round. `None` without a
    /// round, or where a number is not positive.
    pub fn of_pairs(values: &[f64], base: &[f64]) -> Option<Ratio> {
        assert_eq!(values.len(), base.len(), "a round has one number of each");
        let (values, base) = (logs(values)?, logs(base)?);
        let differences: Vec<f64> = values.iter().zip(&base).map(|(a, b)| a - b).collect();
        let sample = Sample::of(&differences)?;
        let half = sample
            .variance
            .map(|variance| t_quantile(sample.count - 1.0) * (variance / sample.count).sqrt());
        Some(Ratio::from_logs(sample.mean, half, true))
    }

    /// Of runs that have nothing to do with each other. `None` as above.
    pub fn of_groups(values: &[f64], base: &[f64]) -> Option<Ratio> {
        let (values, base) = (Sample::of(&logs(values)?)?, Sample::of(&logs(base)?)?);
        let half = welch_half(&values, &base);
        Some(Ratio::from_logs(values.mean - base.mean, half, false))
    }

    fn from_logs(mean: f64, half: Option<f64>, is_paired: bool) -> Ratio {
        Ratio {
            ratio: mean.exp(),
            interval: half.map(|half| ((mean - half).exp(), (mean + half).exp())),
            is_paired,
        }
    }

    /// The interval leaves out 1: more or less than chance.
    pub fn is_difference(&self) -> bool {
        self.interval
            .is_some_and(|(low, high)| low > 1.0 || high < 1.0)
    }
}

fn logs(values: &[f64]) -> Option<Vec<f64>> {
    let log = |value: &f64| (value.is_finite() && *value > 0.0).then(|| value.ln());
    values.iter().map(log).collect()
}

struct Sample {
    count: f64,
    mean: f64,
    /// Of the numbers, not of their mean; `None` for a single one.
    variance: Option<f64>,
}

impl Sample {
    fn of(values: &[f64]) -> Option<Sample> {
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Sample {
            count,
            mean,
            variance: (values.len() > 1).then(|| squares / (count - 1.0)),
        })
    }
}

/// Half of Welch's interval, with Satterthwaite's degrees of freedom.
fn welch_half(one: &Sample, two: &Sample) -> Option<f64> {
    let (one_part, two_part) = (one.variance? / one.count, two.variance? / two.count);
    let sum = one_part + two_part;
    if sum == 0.0 {
        return Some(0.0);
    }
    let freedom =
        sum.powi(2) / (one_part.powi(2) / (one.count - 1.0) + two_part.powi(2) / (two.count - 1.0));
    Some(t_quantile(freedom) * sum.sqrt())
}

/// Student's t that 97.5 % lie below: the table up to ten degrees of freedom, interpolated by
/// 1/freedom, and beyond it the normal quantile with Fisher's terms, which are exact to 0.001.
fn t_quantile(freedom: f64) -> f64 {
    const TABLE: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    const NORMAL: f64 = 1.959_964;
    if freedom >= 10.0 {
        let (z, n) = (NORMAL, freedom);
        let first = (z.powi(3) + z) / (4.0 * n);
        let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n);
        let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z)
            / (384.0 * n.powi(3));
        return z + first + second + third;
    }
    let freedom = freedom.max(1.0);
    let below = freedom.floor();
    let (low, high) = (TABLE[below as usize - 1], TABLE[(below as usize).min(9)]);
    let fraction = (1.0 / below - 1.0 / freedom) / (1.0 / below - 1.0 / (below + 1.0));
    low + (high - low) * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_close(left: f64, right: f64) -> bool {
        (left / right - 1.0).abs() < 1e-3
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_it() {
        let spread = |values: &[f64]| Spread::new(values).unwrap();
        assert_eq!(spread(&[3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!((spread(&[7.0]).min, spread(&[7.0]).max), (7.0, 7.0));
        assert_eq!(Spread::new(&[]), None);
    }

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (freedom, quantile) in [
            (1.0, 12.706),
            (4.0, 2.776),
            (10.0, 2.228),
            (12.0, 2.179),
            (30.0, 2.042),
            (1e9, 1.96),
        ] {
            assert!(is_close(t_quantile(freedom), quantile), "{freedom}");
        }
        assert!((2.571..2.776).contains(&t_quantile(4.5)));
    }

    #[test]
    fn drift_that_both_have_leaves_a_paired_ratio_sure() {
        let base = [100.0, 200.0, 50.0, 400.0, 120.0];
        let noise = [1.01, 0.99, 1.0, 1.02, 0.98];
        let values: Vec<f64> = base.iter().zip(noise).map(|(b, n)| 2.0 * b * n).collect();
        let paired = Ratio::of_pairs(&values, &base).unwrap();
        assert!((paired.ratio - 2.0).abs() < 0.01, "{paired:?}");
        let (low, high) = paired.interval.unwrap();
        assert!(low > 1.95 && high < 2.05, "{paired:?}");
        assert!(paired.is_difference());
        let unpaired = Ratio::of_groups(&values, &base).unwrap();
        assert!(is_close(unpaired.ratio, paired.ratio));
        assert!(!unpaired.is_difference(), "{unpaired:?}");
    }

    #[test]
    fn an_interval_is_the_one_worked_out_by_hand() {
        // The logs are 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, t(2) = 4.303.
        let values = [0.1_f64.exp(), 0.2_f64.exp(), 0.3_f64.exp()];
        let ratio = Ratio::of_pairs(&values, &[1.0; 3]).unwrap();
        let half = 4.303 * 0.1 / 3.0_f64.sqrt();
        let (low, high) = ratio.interval.unwrap();
        assert!(is_close(low, (0.2 - half).exp()) && is_close(high, (0.2 + half).exp()));
    }

    #[test]
    fn one_run_each_has_a_ratio_and_no_confidence() {
        let ratio = Ratio::of_groups(&[3.0], &[2.0]).unwrap();
        assert!(is_close(ratio.ratio, 1.5) && ratio.interval.is_none());
        assert!(!ratio.is_difference());
        assert_eq!(Ratio::of_pairs(&[3.0], &[2.0]).unwrap().interval, None);
    }

    #[test]
    fn where_nothing_was_measured_there_is_no_ratio() {
        assert_eq!(Ratio::of_pairs(&[], &[]), None);
        assert_eq!(Ratio::of_groups(&[1.0, 0.0], &[1.0, 1.0]), None);
        assert_eq!(Ratio::of_groups(&[f64::NAN], &[1.0]), None);
    }

    /// Of a hundred true ratios, about 95 lie within their intervals.
    #[test]
    fn the_interval_holds_the_truth_about_as_often_as_it_says() {
        let mut state = 1_u64;
        let mut noise = || {
            // The sum of twelve uniform numbers is nearly normal.
            let mut uniform = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 11) as f64 / (1_u64 << 53) as f64
            };
            (0..12).map(|_| uniform()).sum::<f64>() - 6.0
        };
        let mut held_count = 0;
        for _ in 0..1000 {
            let values: Vec<f64> = (0..5).map(|_| (0.5 + 0.1 * noise()).exp()).collect();
            let base: Vec<f64> = (0..5).map(|_| (0.1 * noise()).exp()).collect();
            let ratio = Ratio::of_pairs(&values, &base).unwrap();
            let (low, high) = ratio.interval.unwrap();
            held_count += u32::from((low..high).contains(&0.5_f64.exp()));
        }
        assert!((930..=970).contains(&held_count), "{held_count}");
    }
}
