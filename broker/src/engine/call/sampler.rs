//! Which of the calls that nobody asked to follow are followed, so that they are measured.

use crate::engine::time::Timestamp;
use std::time::Duration;

/// Longer intervals would say little of a service that is called seldom among others.
const MEAN_INTERVAL_MAX: u64 = 4096;

/// What may be saved up for a crowd of calls, as the time in which the like would be taken.
const CREDIT_MAX: Duration = Duration::from_secs(1);

/// Takes so many calls per second, whatever their rate: all while they are few, also in a crowd
/// after a pause, else one out of a random number of them, so that no rhythm of theirs hides any.
/// What is taken stands for all that went by since the one before.
#[derive(Debug)]
pub struct Sampler {
    /// Between two that are taken, on average. `None`: none are.
    gap: Option<Duration>,
    /// While more than half of what may be is saved up, all are taken.
    credit: Duration,
    /// Calls until the next one that is taken, itself included.
    countdown: u64,
    /// Calls since the latest one that was taken.
    passed: u64,
    latest: Timestamp,
    /// When the next one is taken, however few have gone by.
    due: Timestamp,
    random: u64,
}

impl Sampler {
    /// `seed`: anything. `per_second` 0: none are taken.
    pub fn new(per_second: u32, seed: u64) -> Sampler {
        let gap = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        Sampler {
            gap,
            credit: CREDIT_MAX,
            countdown: if gap.is_some() { 1 } else { u64::MAX },
            passed: 0,
            latest: Timestamp::default(),
            due: Timestamp::NEVER,
            random: seed | 1,
        }
    }

    /// Is the next call to be taken? If not it has gone by.
    #[inline]
    pub fn is_due(&mut self, now: Timestamp) -> bool {
        if self.countdown > 1 && now < self.due {
            self.countdown -= 1;
            self.passed += 1;
            return false;
        }
        true
    }

    /// Takes the call that is due. Gives the number of calls that it stands for.
    pub fn take(&mut self, now: Timestamp) -> u32 {
        let weight = self.passed + 1;
        let elapsed = now.since(self.latest).max(Duration::from_nanos(1));
        (self.passed, self.latest) = (0, now);
        if let Some(gap) = self.gap {
            self.credit = (self.credit + elapsed).min(CREDIT_MAX).saturating_sub(gap);
            let mean = match self.credit > CREDIT_MAX / 2 {
                true => 1,
                // As many as went by in such a time of late.
                false => u128::from(weight) * gap.as_nanos() / elapsed.as_nanos(),
            };
            let mean = u64::try_from(mean).unwrap_or(u64::MAX);
            let mean = mean.clamp(1, MEAN_INTERVAL_MAX);
            self.countdown = 1 + self.next_random() % (2 * mean - 1);
            self.due = now.plus(8 * gap);
        } else {
            (self.countdown, self.due) = (u64::MAX, Timestamp::NEVER);
        }
        u32::try_from(weight).unwrap_or(u32::MAX)
    }

    /// Marsaglia, Xorshift RNGs, 2003.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many calls, one per `every`, were taken, and how many they stood for.
    fn taken(sampler: &mut Sampler, count: u64, every: Duration) -> (u64, u64) {
        let (mut now, mut taken, mut weight) = (Timestamp(1_000_000_000), 0, 0);
        for _ in 0..count {
            now = now.plus(every);
            if sampler.is_due(now) {
                taken += 1;
                weight += u64::from(sampler.take(now));
            }
        }
        (taken, weight)
    }

    #[test]
    fn all_are_taken_while_they_are_few() {
        let mut sampler = Sampler::new(1000, 7);
        let few = Duration::from_millis(2);
        assert_eq!(taken(&mut sampler, 500, few), (500, 500));
    }

    #[test]
    fn all_of_a_crowd_are_taken_after_a_pause() {
        let mut sampler = Sampler::new(1000, 7);
        let quick = Duration::from_micros(10);
        assert_eq!(taken(&mut sampler, 400, quick), (400, 400));
        taken(&mut sampler, 100_000, quick);
        let pause = Duration::from_secs(1);
        assert_eq!(taken(&mut sampler, 1, 100 * pause).0, 1);
        let (mut now, mut count) = (sampler.latest, 0);
        for _ in 0..400 {
            now = now.plus(quick);
            if sampler.is_due(now) {
                sampler.take(now);
                count += 1;
            }
        }
        assert_eq!(count, 400);
    }

    #[test]
    fn of_many_about_as_many_are_taken_as_may_be_and_stand_for_the_rest() {
        let mut sampler = Sampler::new(1000, 7);
        let (count, weight) = taken(&mut sampler, 1_000_000, Duration::from_micros(10));
        assert!((5_000..20_000).contains(&count), "{count}");
        assert!((990_000..=1_000_000).contains(&weight), "{weight}");
    }

    #[test]
    fn a_rhythm_hides_none() {
        let mut sampler = Sampler::new(1000, 7);
        let (mut now, mut weights) = (Timestamp(1), [0u64; 2]);
        for call in 0..1_000_000_usize {
            now = now.plus(Duration::from_micros(10));
            if sampler.is_due(now) {
                weights[call % 2] += u64::from(sampler.take(now));
            }
        }
        let share = weights[0] as f64 / (weights[0] + weights[1]) as f64;
        assert!((0.47..0.53).contains(&share), "{share}");
    }

    #[test]
    fn after_a_crowd_the_next_few_are_not_overlooked_for_long() {
        let mut sampler = Sampler::new(1000, 7);
        taken(&mut sampler, 100_000, Duration::from_micros(1));
        let (count, _) = taken(&mut sampler, 10, Duration::from_secs(1));
        assert!(count >= 9, "{count}");
    }

    #[test]
    fn none_are_taken_if_none_may_be() {
        let mut sampler = Sampler::new(0, 7);
        let (count, _) = taken(&mut sampler, 10_000, Duration::from_micros(1));
        assert_eq!(count, 0);
    }
}
