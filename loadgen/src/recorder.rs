//! Latency of the measured calls, one recorder per thread, merged at the end.

use crate::audit::Outstanding;
use crate::series::Series;
use broker::engine::time::Timestamp;
use hdrhistogram::Histogram;
use std::time::Duration;

/// A minute: longer calls are recorded as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Three significant digits, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// From when the call was meant to start.
    pub since_intended: Histogram<u64>,
    /// From when it was sent; the same as `since_intended` in a closed loop, and empty there.
    since_sent: Histogram<u64>,
    /// By how much calls went out late though there was room for them; empty in a closed loop.
    pub lag: Histogram<u64>,
    /// Calls that fell due while there was no room in flight for them.
    pub held_back_count: u64,
    /// Where the broker says that the time went; `None`: it was not asked.
    pub timing: Option<Box<Timings>>,
    pub series: Series,
    is_open_loop: bool,
    window: Option<Window>,
}

/// What the broker says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From when it had the request until a worker got it.
    pub queued: Duration,
    /// From there until it had the reply.
    pub worker: Duration,
    pub whole: Duration,
}

/// Nanoseconds, as far as the broker tells them.
#[derive(Clone, Debug)]
pub struct Timings {
    pub queued: Histogram<u64>,
    pub worker: Histogram<u64>,
    pub whole: Histogram<u64>,
}

/// From the first measured call's start to the last one's return.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Recorder {
    pub fn new(is_open_loop: bool, interval: Duration) -> Recorder {
        Recorder {
            since_intended: new_histogram(),
            since_sent: new_histogram(),
            lag: new_histogram(),
            held_back_count: 0,
            timing: None,
            series: Series::new(interval),
            is_open_loop,
            window: None,
        }
    }

    pub fn record(&mut self, call: Outstanding, now: Timestamp) {
        if !call.is_measured {
            return;
        }
        let latency_ns = nanos(call.intended, now);
        self.since_intended.saturating_record(latency_ns);
        self.series.record(latency_ns, now);
        if self.is_open_loop {
            self.since_sent.saturating_record(nanos(call.sent, now));
        }
        let window = self.window.get_or_insert(Window {
            first: call.intended,
            last: now,
        });
        window.first = window.first.min(call.intended);
        window.last = window.last.max(now);
    }

    pub fn record_timing(&mut self, call: Outstanding, timing: Timing) {
        if !call.is_measured {
            return;
        }
        let timings = self.timing.get_or_insert_with(|| Box::new(Timings::new()));
        for (histogram, time) in [
            (&mut timings.queued, timing.queued),
            (&mut timings.worker, timing.worker),
            (&mut timings.whole, timing.whole),
        ] {
            let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            histogram.saturating_record(ns.clamp(1, LATENCY_NS_MAX));
        }
    }

    /// A measured call went out, though there was room for it at `intended`.
    pub fn record_lag(&mut self, intended: Timestamp, now: Timestamp) {
        self.lag.saturating_record(nanos(intended, now));
    }

    pub fn add(&mut self, other: Recorder) {
        for (sum, part) in [
            (&mut self.since_intended, &other.since_intended),
            (&mut self.since_sent, &other.since_sent),
            (&mut self.lag, &other.lag),
        ] {
            sum.add(part).expect("all recorders have one range");
        }
        self.held_back_count += other.held_back_count;
        if let Some(theirs) = &other.timing {
            let ours = self.timing.get_or_insert_with(|| Box::new(Timings::new()));
            for (sum, part) in [
                (&mut ours.queued, &theirs.queued),
                (&mut ours.worker, &theirs.worker),
                (&mut ours.whole, &theirs.whole),
            ] {
                sum.add(part).expect("all recorders have one range");
            }
        }
        self.series.add(other.series);
        self.window = match (self.window, other.window) {
            (Some(ours), Some(theirs)) => Some(Window {
                first: ours.first.min(theirs.first),
                last: ours.last.max(theirs.last),
            }),
            (ours, theirs) => ours.or(theirs),
        };
    }

    pub fn count(&self) -> u64 {
        self.since_intended.len()
    }

    /// Seconds from the first measured call to the last return; zero if there was none.
    pub fn seconds(&self) -> f64 {
        self.window
            .map_or(0.0, |window| window.last.since(window.first).as_secs_f64())
    }

    /// The latencies from the send, if they differ from the others.
    pub fn since_sent(&self) -> Option<&Histogram<u64>> {
        self.is_open_loop.then_some(&self.since_sent)
    }
}

impl Timings {
    fn new() -> Timings {
        Timings {
            queued: new_histogram(),
            worker: new_histogram(),
            whole: new_histogram(),
        }
    }
}

pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_NS_MAX, 3).expect("a minute and three digits are in range")
}

// Saturating: an answer cannot take less than a nanosecond, nor may one spoil the histogram.
fn nanos(from: Timestamp, to: Timestamp) -> u64 {
    to.0.saturating_sub(from.0).clamp(1, LATENCY_NS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(is_open_loop: bool) -> Recorder {
        Recorder::new(is_open_loop, Duration::from_secs(1))
    }

    fn call(intended: u64, sent: u64, is_measured: bool) -> Outstanding {
        Outstanding {
            intended: Timestamp(intended),
            sent: Timestamp(sent),
            is_measured,
        }
    }

    #[test]
    fn warmup_calls_leave_no_trace() {
        let mut recorder = recorder(false);
        recorder.record(call(0, 0, false), Timestamp(1_000_000));
        assert_eq!(recorder.count(), 0);
        assert_eq!(recorder.seconds(), 0.0);
    }

    #[test]
    fn an_open_loop_shows_what_the_schedule_waited() {
        let mut recorder = recorder(true);
        recorder.record(call(1_000_000, 9_000_000, true), Timestamp(10_000_000));
        assert!(
            recorder
                .since_intended
                .equivalent(9_000_000, recorder.since_intended.max())
        );
        let since_sent = recorder.since_sent().unwrap();
        assert!(since_sent.equivalent(1_000_000, since_sent.max()));
    }

    #[test]
    fn merged_recorders_span_both_windows() {
        let mut one = recorder(false);
        let mut two = recorder(false);
        one.record(call(2_000_000_000, 0, true), Timestamp(3_000_000_000));
        two.record(call(1_000_000_000, 0, true), Timestamp(2_500_000_000));
        one.add(two);
        assert_eq!(one.count(), 2);
        assert_eq!(one.seconds(), 2.0);
    }

    #[test]
    fn values_keep_three_digits_and_a_minute_is_the_most() {
        let mut recorder = recorder(false);
        recorder.record(call(0, 0, true), Timestamp(20_123));
        assert!(recorder.since_intended.max().abs_diff(20_123) <= 20);
        recorder.record(call(0, 0, true), Timestamp(100 * LATENCY_NS_MAX));
        assert!(recorder.since_intended.max() >= LATENCY_NS_MAX);
        assert!(recorder.since_intended.max() <= LATENCY_NS_MAX + LATENCY_NS_MAX / 1000);
    }
}
