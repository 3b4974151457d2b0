//! What is measured of the calls to one queue.

use super::Outcome;
use crate::engine::time::Timestamp;
use crate::limits::SERVICE_COUNT_MAX;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Significant digits of what the histograms record, in microseconds.
const DIGITS: u8 = 2;

/// Longer times are recorded as this one.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Calls that must have been answered before anything is decided by how long that takes.
const MEDIAN_COUNT_MIN: u64 = 32;

/// Over which the rate is averaged.
const RATE_PERIOD_S: f64 = 60.0;

/// A call that has ended, as its queue knows it.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the broker had the request.
    pub began: Timestamp,
    /// When a worker got it last, if one has.
    pub handed_at: Option<Timestamp>,
    pub ended_at: Timestamp,
}

impl Times {
    /// Until a worker got the request, or the end if none has.
    pub fn queued(&self) -> Duration {
        let until = self.within(self.handed_at.unwrap_or(self.ended_at));
        until.since(self.began)
    }

    /// From there on.
    pub fn worker(&self) -> Option<Duration> {
        self.handed_at
            .map(|at| self.ended_at.since(self.within(at)))
    }

    pub fn whole(&self) -> Duration {
        self.ended_at.since(self.began)
    }

    /// The worker's shard may have read the clock before the caller's, or behind it, since each
    /// does so once a turn.
    fn within(&self, at: Timestamp) -> Timestamp {
        at.min(self.ended_at).max(self.began)
    }
}

/// The calls of one queue. Histograms are of calls that their workers answered, in microseconds.
#[derive(Debug)]
pub struct Service {
    pub queued: Histogram<u64>,
    pub worker: Histogram<u64>,
    pub whole: Histogram<u64>,
    /// How many calls have ended, in which ways.
    pub ended: BTreeMap<Outcome, u64>,
    median: Median,
    rate: Rate,
    /// Calls that had too little time left, since one was let through.
    shed_count: u32,
}

impl Default for Service {
    fn default() -> Service {
        let histogram = || Histogram::new(DIGITS).expect("two digits are possible");
        Service {
            queued: histogram(),
            worker: histogram(),
            whole: histogram(),
            ended: BTreeMap::new(),
            median: Median::default(),
            rate: Rate::default(),
            shed_count: 0,
        }
    }
}

impl Service {
    /// A call has ended that stands for `weight` of them.
    pub fn record(&mut self, times: &Times, outcome: Outcome, weight: u32) {
        let weight = u64::from(weight);
        *self.ended.entry(outcome).or_default() += weight;
        self.rate.add(weight, times.ended_at);
        if let (Outcome::Answered, Some(worker)) = (outcome, times.worker()) {
            self.median.add(worker);
            let recorded = [
                (&mut self.queued, times.queued()),
                (&mut self.worker, worker),
                (&mut self.whole, times.whole()),
            ];
            for (histogram, time) in recorded {
                let us = u64::try_from(time.min(TIME_MAX).as_micros());
                let us = us.expect("a day has fewer microseconds");
                let recorded = histogram.record_n(us, weight);
                recorded.expect("a histogram grows as far as a day");
            }
        }
    }

    /// How long workers take, as the median of late; `None` while too few have answered.
    pub fn median(&self) -> Option<Duration> {
        (self.median.count >= MEDIAN_COUNT_MIN).then_some(self.median.estimate)
    }

    /// Is a call with so much time left better refused? One in sixteen is let through, or nobody
    /// would learn that the workers have become faster.
    pub fn sheds(&mut self, remaining: Duration) -> bool {
        if self.median().is_none_or(|median| remaining >= median) {
            return false;
        }
        self.shed_count = (self.shed_count + 1) % 16;
        self.shed_count != 0
    }

    /// Calls that ended per second, of late.
    pub fn rate(&self, now: Timestamp) -> f64 {
        self.rate.at(now)
    }
}

/// A median that follows what is recorded, in constant space: Ma, Muthukrishnan and Sandler, Frugal
/// Streaming for Estimating Quantiles, 2013, with steps of a sixteenth of the estimate.
#[derive(Debug, Default)]
struct Median {
    estimate: Duration,
    count: u64,
}

impl Median {
    fn add(&mut self, time: Duration) {
        let step = (self.estimate / 16).max(Duration::from_nanos(100));
        match self.count {
            0 => self.estimate = time,
            _ if time > self.estimate => self.estimate = (self.estimate + step).min(time),
            _ => self.estimate = self.estimate.saturating_sub(step).max(time),
        }
        self.count += 1;
    }
}

/// A count that fades: a sum over all, each weighed less the longer it is ago.
#[derive(Debug, Default)]
struct Rate {
    faded: f64,
    began: Option<Timestamp>,
    latest: Timestamp,
}

impl Rate {
    fn add(&mut self, weight: u64, now: Timestamp) {
        self.began.get_or_insert(now);
        self.faded = self.faded_at(now) + weight as f64;
        self.latest = self.latest.max(now);
    }

    fn faded_at(&self, now: Timestamp) -> f64 {
        self.faded * (-now.since(self.latest).as_secs_f64() / RATE_PERIOD_S).exp()
    }

    fn at(&self, now: Timestamp) -> f64 {
        let Some(began) = self.began else {
            return 0.0;
        };
        // What has been counted for less than the period has not faded as much as it would.
        let counted_s = now.since(began).as_secs_f64().max(1.0);
        let period_s = RATE_PERIOD_S * (1.0 - (-counted_s / RATE_PERIOD_S).exp());
        self.faded_at(now) / period_s
    }
}

/// Those of a shard's queues, by the indices of the queues.
#[derive(Debug, Default)]
pub struct Services(BTreeMap<u32, Box<Service>>);

impl Services {
    /// The service of a queue, from its first call on. `None`: too many are measured already.
    pub fn open(&mut self, queue: u32) -> Option<&mut Service> {
        if !self.0.contains_key(&queue) && self.0.len() >= SERVICE_COUNT_MAX {
            return None;
        }
        Some(self.0.entry(queue).or_default())
    }

    pub fn get(&self, queue: u32) -> Option<&Service> {
        self.0.get(&queue).map(|service| &**service)
    }

    pub fn get_mut(&mut self, queue: u32) -> Option<&mut Service> {
        self.0.get_mut(&queue).map(|service| &mut **service)
    }

    /// The queue is gone.
    pub fn close(&mut self, queue: u32) {
        self.0.remove(&queue);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn parts_are_never_longer_than_the_whole() {
        let at = |nanos| Timestamp(nanos);
        for handed_at in [at(50), at(100), at(150), at(200), at(250)] {
            let times = Times {
                began: at(100),
                handed_at: Some(handed_at),
                ended_at: at(200),
            };
            let parts = times.queued() + times.worker().unwrap();
            assert_eq!(parts, times.whole(), "{handed_at:?}");
        }
    }

    fn times(queued: Duration, worker: Duration) -> Times {
        let began = Timestamp(5);
        let handed_at = began.plus(queued);
        Times {
            began,
            handed_at: Some(handed_at),
            ended_at: handed_at.plus(worker),
        }
    }

    #[test]
    fn a_call_is_recorded_as_often_as_it_stands_for() {
        let mut service = Service::default();
        service.record(&times(ms(2), ms(7)), Outcome::Answered, 3);
        let gone = Times {
            handed_at: None,
            ..times(ms(2), ms(7))
        };
        service.record(&gone, Outcome::CallerGone, 1);
        assert_eq!(service.whole.len(), 3);
        assert!(service.whole.equivalent(service.whole.max(), 9_000));
        assert!(service.queued.equivalent(service.queued.max(), 2_000));
        let ended: Vec<_> = service.ended.into_iter().collect();
        assert_eq!(ended, [(Outcome::Answered, 3), (Outcome::CallerGone, 1)]);
    }

    #[test]
    fn the_median_follows_how_long_workers_take() {
        let mut service = Service::default();
        for round in 0..400 {
            assert_eq!(service.median().is_some(), round >= 32);
            service.record(&times(ms(50), ms(1 + round % 9)), Outcome::Answered, 1);
        }
        let median = service.median().expect("enough");
        assert!((ms(4)..ms(7)).contains(&median), "{median:?}");
        for _ in 0..400 {
            service.record(&times(ms(50), ms(100)), Outcome::Answered, 1);
        }
        assert!(service.median() > Some(ms(90)));
    }

    #[test]
    fn who_has_too_little_time_left_is_refused_but_for_one_in_sixteen() {
        let mut service = Service::default();
        assert!(!service.sheds(ms(1)));
        for _ in 0..64 {
            service.record(&times(ms(0), ms(10)), Outcome::Answered, 1);
        }
        assert!(!service.sheds(ms(11)));
        let shed = (0..160).filter(|_| service.sheds(ms(5))).count();
        assert_eq!(shed, 150);
    }

    #[test]
    fn a_rate_is_one_of_late() {
        let mut rate = Rate::default();
        let at = |s: u64| Timestamp(0).plus(Duration::from_secs(s));
        (0..30).for_each(|s| rate.add(10, at(s)));
        assert!(
            (9.0..11.0).contains(&rate.at(at(30))),
            "{}",
            rate.at(at(30))
        );
        (30..600).for_each(|s| rate.add(10, at(s)));
        assert!((9.5..10.5).contains(&rate.at(at(600))));
        assert!(rate.at(at(1200)) < 0.01);
    }
}
