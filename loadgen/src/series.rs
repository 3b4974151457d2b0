//! The measured calls by time: what a plot over seconds and an interval log are made of. A run
//! too long for short intervals gets longer ones, so that its memory is bounded.

use broker::engine::time::Timestamp;
use hdrhistogram::Histogram;
use std::time::Duration;

/// More than a plot shows; each has a histogram of some ten kilobytes.
const INTERVAL_COUNT_MAX: u64 = 2000;

/// How many intervals become one when there are too many.
const MERGE_COUNT: u64 = 10;

/// The calls that came back, and what went wrong, within one stretch of time.
#[derive(Clone, Debug)]
pub struct Interval {
    /// From the start of the run, warm-up included.
    pub start: Duration,
    pub len: Duration,
    /// Nanoseconds from the intended start; its count is that of the calls returned.
    pub since_intended: Histogram<u64>,
    pub error_count: u64,
}

/// One thread's intervals, all of one length, counted from the start of the run.
#[derive(Clone, Debug)]
pub struct Series {
    start: Timestamp,
    interval: Duration,
    /// Where the last of `intervals` ends.
    end: Timestamp,
    /// Number of the first of `intervals`; meaningless while there is none.
    first: u64,
    intervals: Vec<(Histogram<u64>, u64)>,
}

impl Series {
    pub fn new(interval: Duration) -> Series {
        assert!(!interval.is_zero());
        Series {
            start: Timestamp(0),
            interval,
            end: Timestamp(0),
            first: 0,
            intervals: Vec::new(),
        }
    }

    pub fn set_start(&mut self, start: Timestamp) {
        self.start = start;
    }

    /// A measured call came back.
    pub fn record(&mut self, latency_ns: u64, now: Timestamp) {
        if now >= self.end {
            self.advance(now);
        }
        if let Some((latency, _)) = self.intervals.last_mut() {
            latency
                .record(latency_ns)
                .expect("a histogram that grows takes any");
        }
    }

    pub fn count_error(&mut self, count: u64) {
        if let Some((_, error_count)) = self.intervals.last_mut() {
            *error_count += count;
        }
    }

    /// Intervals in which nothing came back are intervals too.
    pub fn advance(&mut self, now: Timestamp) {
        if self.intervals.is_empty() {
            self.first = self.number(now);
        }
        while self.number(now) >= self.first + INTERVAL_COUNT_MAX {
            self.merge();
        }
        let number = self.number(now);
        while self.first + self.intervals.len() as u64 <= number {
            self.intervals.push((new_interval_histogram(), 0));
        }
        let end_ns = self.interval.as_nanos() as u64 * (number + 1);
        self.end = Timestamp(self.start.0.saturating_add(end_ns));
    }

    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Makes each ten intervals, counted from the start of the run, one.
    fn merge(&mut self) {
        let first = self.first / MERGE_COUNT;
        let mut merged: Vec<(Histogram<u64>, u64)> = Vec::new();
        for (number, part) in (self.first..).zip(std::mem::take(&mut self.intervals)) {
            let index = (number / MERGE_COUNT - first) as usize;
            match merged.get_mut(index) {
                Some(sum) => add_interval(sum, &part),
                None => merged.push(part),
            }
        }
        self.first = first;
        self.intervals = merged;
        self.interval *= MERGE_COUNT as u32;
        let end_ns = self.interval.as_nanos() as u64 * (first + self.intervals.len() as u64);
        self.end = Timestamp(self.start.0.saturating_add(end_ns));
    }

    /// Takes another thread's intervals in; both have the same start, and had the same length at
    /// first.
    pub fn add(&mut self, mut other: Series) {
        if self.is_empty() {
            *self = other;
            return;
        }
        while self.interval < other.interval && !other.is_empty() {
            self.merge();
        }
        while other.interval < self.interval {
            other.merge();
        }
        while other.first < self.first && !other.is_empty() {
            self.first -= 1;
            self.intervals.insert(0, (new_interval_histogram(), 0));
        }
        for (offset, part) in other.intervals.into_iter().enumerate() {
            let index = (other.first - self.first) as usize + offset;
            if self.intervals.len() <= index {
                self.intervals
                    .resize_with(index + 1, || (new_interval_histogram(), 0));
            }
            add_interval(&mut self.intervals[index], &part);
        }
    }

    /// Leaves none.
    pub fn take_intervals(&mut self) -> Vec<Interval> {
        let (first, len) = (self.first, self.interval);
        let interval = |(index, (since_intended, error_count))| Interval {
            start: len * (first as u32 + index as u32),
            len,
            since_intended,
            error_count,
        };
        std::mem::take(&mut self.intervals)
            .into_iter()
            .enumerate()
            .map(interval)
            .collect()
    }

    fn number(&self, now: Timestamp) -> u64 {
        (now.since(self.start).as_nanos() / self.interval.as_nanos()) as u64
    }
}

fn add_interval(sum: &mut (Histogram<u64>, u64), part: &(Histogram<u64>, u64)) {
    sum.0
        .add(&part.0)
        .expect("a histogram that grows takes any");
    sum.1 += part.1;
}

/// Three digits from a microsecond up. It grows with what it sees: a run has many intervals, and
/// most calls are short.
fn new_interval_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1000, 1_000_000, 3)
        .expect("a microsecond to a millisecond and three digits are in range");
    histogram.auto(true);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let mut series = Series::new(Duration::from_secs(1));
        series.set_start(at(100.0));
        series
    }

    fn at(seconds: f64) -> Timestamp {
        Timestamp((seconds * 1e9) as u64)
    }

    fn counts(mut series: Series) -> Vec<(f64, u64, u64)> {
        let told = |interval: Interval| {
            let count = interval.since_intended.len();
            (interval.start.as_secs_f64(), count, interval.error_count)
        };
        series.take_intervals().into_iter().map(told).collect()
    }

    #[test]
    fn calls_fall_into_the_interval_of_their_return_and_none_is_left_out() {
        let mut series = series();
        series.record(50_000, at(102.1));
        series.record(50_000, at(102.9));
        series.count_error(3);
        series.record(50_000, at(105.0));
        assert_eq!(
            counts(series),
            [(2.0, 2, 3), (3.0, 0, 0), (4.0, 0, 0), (5.0, 1, 0)]
        );
    }

    #[test]
    fn a_long_run_gets_longer_intervals_and_loses_no_call() {
        let mut long = series();
        for second in 95..25_095 {
            long.record(50_000, at(f64::from(second) + 10.5));
        }
        let mut short = series();
        short.record(50_000, at(150.0));
        long.add(short.clone());
        short.add(long.clone());
        for (series, count) in [(long, 25_001), (short, 25_002)] {
            let counts = counts(series);
            assert!(counts.len() <= INTERVAL_COUNT_MAX as usize);
            assert_eq!(counts[0].0, 0.0);
            assert_eq!((counts[2].0, counts[2].1), (200.0, 100));
            assert_eq!(counts.iter().map(|told| told.1).sum::<u64>(), count);
        }
    }

    #[test]
    fn threads_add_up_by_time() {
        let (mut one, mut two) = (series(), series());
        one.record(50_000, at(103.5));
        two.record(70_000_000_000, at(101.5));
        two.record(50_000, at(103.6));
        two.advance(at(104.0));
        one.add(two);
        one.add(series());
        assert_eq!(
            counts(one),
            [(1.0, 1, 0), (2.0, 0, 0), (3.0, 2, 0), (4.0, 0, 0)]
        );
    }
}
