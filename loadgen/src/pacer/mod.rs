//! When each call is meant to start. Pure: the time comes in, intended times come out.
//!
//! In a closed loop a call is meant to start when it does, or when its user has thought enough.
//! In an open loop each thread has its share of one common schedule, dealt to its requesters in
//! turn, and a call that starts late still counts from the time that the schedule had for it: only
//! so are the calls seen that a slow server kept from being made (coordinated omission; Tene, "How
//! NOT to Measure Latency").

mod think;

use broker::engine::time::Timestamp;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub use think::Thinkers;

/// What lets calls fall due.
#[derive(Debug)]
pub enum Pacing {
    /// A reply sets off the next call.
    Closed,
    Open(Schedule),
    Thinking(Thinkers),
}

impl Pacing {
    /// The next call that has fallen due by `now`: its requester (index within the thread) and
    /// when it is meant to start.
    pub fn poll_arrival(&mut self, now: Timestamp) -> Option<(usize, Timestamp)> {
        match self {
            Pacing::Closed => None,
            Pacing::Open(schedule) => schedule.poll_arrival(now),
            Pacing::Thinking(thinkers) => thinkers.poll_arrival(now),
        }
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        match self {
            Pacing::Closed => None,
            Pacing::Open(schedule) => Some(schedule.next_due()),
            Pacing::Thinking(thinkers) => thinkers.next_due(),
        }
    }
}

/// How arrivals follow each other in an open loop.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Arrival {
    /// Evenly spaced.
    Fixed,
    /// Independent of each other, as from many people: exponential gaps.
    Poisson,
}

impl Arrival {
    pub fn name(self) -> &'static str {
        match self {
            Arrival::Fixed => "evenly spaced",
            Arrival::Poisson => "Poisson",
        }
    }
}

/// The rate of all threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    pub calls_per_s: f64,
    pub arrival: Arrival,
    pub seed: u64,
}

/// A thread's place among all requesters.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Requesters of this thread.
    pub requester_count: u32,
    /// Requesters of all threads that come before this one.
    pub requesters_before: u32,
    pub requester_count_total: u32,
}

/// One thread's share of the schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    gaps: Gaps,
    requester_count: u64,
    /// Arrivals dealt out so far.
    dealt_count: u64,
    next_due: Timestamp,
}

#[derive(Clone, Debug)]
enum Gaps {
    Fixed {
        first: Timestamp,
        interval_ns: f64,
    },
    /// The sum of independent Poisson processes is one, so each thread draws its own.
    Poisson {
        mean_ns: f64,
        random: Box<Xoshiro256PlusPlus>,
        /// Nanoseconds, with their fraction: what is rounded away does not add up.
        last_ns: f64,
    },
}

impl Schedule {
    /// Asserts that the thread has requesters.
    pub fn new(start: Timestamp, pace: Pace, share: Share) -> Schedule {
        assert!(share.requester_count > 0 && pace.calls_per_s > 0.0);
        let interval_all_ns = 1e9 / pace.calls_per_s;
        let fraction = f64::from(share.requester_count) / f64::from(share.requester_count_total);
        let interval_ns = interval_all_ns / fraction;
        let gaps = match pace.arrival {
            Arrival::Fixed => {
                // Threads start shifted against each other: their arrivals do not coincide.
                let shift_ns = interval_all_ns * f64::from(share.requesters_before);
                Gaps::Fixed {
                    first: Timestamp(start.0.saturating_add(shift_ns as u64)),
                    interval_ns,
                }
            }
            Arrival::Poisson => {
                let seed = pace.seed.wrapping_add(u64::from(share.requesters_before));
                Gaps::Poisson {
                    mean_ns: interval_ns,
                    random: Box::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
                    last_ns: start.0 as f64,
                }
            }
        };
        let mut schedule = Schedule {
            gaps,
            requester_count: u64::from(share.requester_count),
            dealt_count: 0,
            next_due: start,
        };
        schedule.next_due = schedule.gaps.due(0);
        schedule
    }

    /// The next call that has fallen due by `now`: its requester (index within the thread) and
    /// when it is meant to start.
    pub fn poll_arrival(&mut self, now: Timestamp) -> Option<(usize, Timestamp)> {
        let intended = self.next_due;
        if intended > now {
            return None;
        }
        let requester = usize::try_from(self.dealt_count % self.requester_count).ok()?;
        self.dealt_count += 1;
        self.next_due = self.gaps.due(self.dealt_count);
        Some((requester, intended))
    }

    pub fn next_due(&self) -> Timestamp {
        self.next_due
    }
}

impl Gaps {
    /// When arrival `number` is due; to be asked for each in turn.
    fn due(&mut self, number: u64) -> Timestamp {
        match self {
            // One multiplication per arrival, never a running sum: errors do not add up. 53 bits
            // of nanoseconds are exact for a hundred days.
            Gaps::Fixed { first, interval_ns } => Timestamp(
                first
                    .0
                    .saturating_add((number as f64 * *interval_ns) as u64),
            ),
            Gaps::Poisson {
                mean_ns,
                random,
                last_ns,
            } => {
                // In (0, 1], so that its logarithm is finite.
                let chance = 1.0 - random.random::<f64>();
                *last_ns += -chance.ln() * *mean_ns;
                Timestamp(*last_ns as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(requester_count: u32, requesters_before: u32, requester_count_total: u32) -> Share {
        Share {
            requester_count,
            requesters_before,
            requester_count_total,
        }
    }

    fn fixed(calls_per_s: f64) -> Pace {
        Pace {
            calls_per_s,
            arrival: Arrival::Fixed,
            seed: 0,
        }
    }

    fn poisson(seed: u64) -> Pace {
        Pace {
            calls_per_s: 1e6,
            arrival: Arrival::Poisson,
            seed,
        }
    }

    fn take(schedule: &mut Schedule, count: usize) -> Vec<u64> {
        let end = Timestamp(u64::MAX);
        let mut next = || schedule.poll_arrival(end).expect("all are due").1.0;
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn arrivals_are_dealt_in_turn_and_exactly_when_due() {
        let mut schedule = Schedule::new(Timestamp(1000), fixed(1e6), share(2, 0, 2));
        assert_eq!(schedule.poll_arrival(Timestamp(999)), None);
        let first = schedule.poll_arrival(Timestamp(1000));
        assert_eq!(first, Some((0, Timestamp(1000))));
        assert_eq!(schedule.poll_arrival(Timestamp(1000)), None);
        assert_eq!(schedule.next_due(), Timestamp(2000));
        let late = schedule.poll_arrival(Timestamp(3500));
        assert_eq!(late, Some((1, Timestamp(2000))));
        let later = schedule.poll_arrival(Timestamp(3500));
        assert_eq!(later, Some((0, Timestamp(3000))));
        assert_eq!(schedule.poll_arrival(Timestamp(3500)), None);
    }

    #[test]
    fn two_threads_make_one_even_schedule() {
        // Three requesters at 1 call/us: two on the first thread, one on the second.
        let mut first = Schedule::new(Timestamp(0), fixed(1e6), share(2, 0, 3));
        let mut second = Schedule::new(Timestamp(0), fixed(1e6), share(1, 2, 3));
        assert_eq!(take(&mut first, 4), [0, 1500, 3000, 4500]);
        assert_eq!(take(&mut second, 2), [2000, 5000]);
    }

    #[test]
    fn a_million_arrivals_do_not_drift() {
        let mut schedule = Schedule::new(Timestamp(0), fixed(300_000.0), share(1, 0, 1));
        assert_eq!(take(&mut schedule, 3_000_001)[3_000_000], 10_000_000_000);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        let mut schedule = Schedule::new(Timestamp(0), poisson(7), share(1, 0, 1));
        let due = take(&mut schedule, 100_001);
        let gaps: Vec<f64> = due
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let square = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!(
            (square.sqrt() / mean - 1.0).abs() < 0.02,
            "deviation {}",
            square.sqrt()
        );
    }

    #[test]
    fn a_seed_gives_the_same_arrivals_again_and_threads_have_their_own() {
        let due = |pace, share| take(&mut Schedule::new(Timestamp(0), pace, share), 100);
        assert_eq!(
            due(poisson(1), share(1, 0, 2)),
            due(poisson(1), share(1, 0, 2))
        );
        assert_ne!(
            due(poisson(1), share(1, 0, 2)),
            due(poisson(2), share(1, 0, 2))
        );
        assert_ne!(
            due(poisson(1), share(1, 0, 2)),
            due(poisson(1), share(1, 1, 2))
        );
    }
}
