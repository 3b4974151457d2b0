//! What a running load looks like from outside: the threads' books so far, and their last second.

use super::shared::Shared;
use crate::audit::Audit;
use crate::plan::{Amount, Plan};
use crate::recorder::new_histogram;
use crate::report::format_count;
use broker::engine::time::Timestamp;
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::time::Duration;

/// So many seconds are kept to be drawn.
const HISTORY_LEN_MAX: usize = 512;

/// The books of one thread, or of all.
#[derive(Clone, Debug)]
pub struct Books {
    /// Nanoseconds from the intended start; without the warm-up.
    pub latency: Histogram<u64>,
    pub lag: Histogram<u64>,
    pub audit: Audit,
    pub in_flight: u64,
}

impl Books {
    pub fn new() -> Books {
        Books {
            latency: new_histogram(),
            lag: new_histogram(),
            audit: Audit::default(),
            in_flight: 0,
        }
    }

    pub fn add(&mut self, other: &Books) {
        for (sum, part) in [
            (&mut self.latency, &other.latency),
            (&mut self.lag, &other.lag),
        ] {
            sum.add(part).expect("all histograms have one range");
        }
        self.audit.add(&other.audit);
        self.in_flight += other.in_flight;
    }
}

/// A look at all threads.
#[derive(Clone, Debug)]
pub struct Look {
    pub at: Timestamp,
    /// Warm-up included, as in the audit.
    pub returned_count: u64,
    pub error_count: u64,
    pub books: Books,
    /// Time that each thread was busy so far.
    pub busy: Vec<Duration>,
}

impl Look {
    pub fn take(now: Timestamp, shared: &Shared) -> Look {
        let mut books = Books::new();
        for gauge in &shared.gauges {
            books.add(&gauge.books());
        }
        Look {
            at: now,
            returned_count: shared.returned_count(),
            error_count: shared.error_count(),
            books,
            busy: shared
                .gauges
                .iter()
                .map(|gauge| gauge.busy_time().unwrap_or_default())
                .collect(),
        }
    }
}

/// What is to be shown, as of the last look.
#[derive(Debug)]
pub struct Glance {
    pub title: String,
    pub is_open_loop: bool,
    pub elapsed: Duration,
    /// Of the calls or of the time, from 0 to 1.
    pub share_done: f64,
    pub look: Look,
    /// Between the last two looks.
    pub rate: f64,
    pub latency: Histogram<u64>,
    pub busiest_thread: Option<f64>,
    /// By second, the last one at the end.
    pub rates: VecDeque<u64>,
    pub p99s_us: VecDeque<u64>,
}

impl Glance {
    pub fn new(plan: &Plan, first: Look) -> Glance {
        let pace = match plan.pace {
            Some(pace) => format!(
                "{} calls/s asked for",
                format_count(pace.calls_per_s as u64)
            ),
            None => "closed loop".to_owned(),
        };
        let title = format!(
            "{} requesters × {} workers, {} in flight each, {pace}",
            plan.requester_count, plan.worker_count, plan.in_flight
        );
        Glance::titled(title, plan.pace.is_some(), first)
    }

    pub fn titled(title: String, is_open_loop: bool, first: Look) -> Glance {
        Glance {
            title,
            is_open_loop,
            elapsed: Duration::ZERO,
            share_done: 0.0,
            look: first,
            rate: 0.0,
            latency: new_histogram(),
            busiest_thread: None,
            rates: VecDeque::new(),
            p99s_us: VecDeque::new(),
        }
    }

    pub fn advance(&mut self, look: Look, start: Timestamp) {
        let seconds = look.at.since(self.look.at).as_secs_f64();
        let returned_count = look.returned_count - self.look.returned_count;
        self.rate = returned_count as f64 / seconds.max(f64::MIN_POSITIVE);
        self.latency.clone_from(&look.books.latency);
        // The first holds all that the second had counted.
        let _ = self.latency.subtract(&self.look.books.latency);
        let both = look.busy.iter().zip(&self.look.busy);
        self.busiest_thread = both
            .map(|(now, before)| now.saturating_sub(*before).as_secs_f64() / seconds)
            .filter(|share| share.is_finite())
            .reduce(f64::max);
        self.elapsed = look.at.since(start);
        keep(&mut self.rates, self.rate as u64);
        keep(
            &mut self.p99s_us,
            self.latency.value_at_quantile(0.99) / 1000,
        );
        self.look = look;
    }
}

fn keep(history: &mut VecDeque<u64>, figure: u64) {
    if history.len() == HISTORY_LEN_MAX {
        history.pop_front();
    }
    history.push_back(figure);
}

/// From 0 to 1, by calls or by time as the run ends by.
pub fn share_done(plan: &Plan, elapsed: Duration, returned_count: u64) -> f64 {
    let (warmup_s, warmup_count) = match plan.warmup {
        Amount::Time(time) => (time.as_secs_f64(), 0),
        Amount::Calls(count) => (0.0, count),
    };
    let share = match plan.amount {
        Amount::Time(time) => elapsed.as_secs_f64() / (warmup_s + time.as_secs_f64()),
        Amount::Calls(count) => returned_count as f64 / (warmup_count + count) as f64,
    };
    if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(second: u64, latencies_us: &[u64]) -> Look {
        let mut books = Books::new();
        for micros in latencies_us {
            books.latency.record(micros * 1000).unwrap();
        }
        Look {
            at: Timestamp(second * 1_000_000_000),
            returned_count: latencies_us.len() as u64,
            error_count: 0,
            books,
            busy: vec![Duration::from_millis(second * 300), Duration::ZERO],
        }
    }

    #[test]
    fn the_last_second_is_told_by_what_came_since_the_look_before() {
        let mut glance = Glance::titled(String::new(), false, look(10, &[900; 50]));
        let both = [[900; 50].as_slice(), &[20; 100]].concat();
        glance.advance(look(12, &both), Timestamp(9_000_000_000));
        assert_eq!((glance.rate, glance.latency.len()), (50.0, 100));
        assert!(glance.latency.max() < 21_000, "{}", glance.latency.max());
        assert_eq!(glance.look.books.latency.len(), 150);
        assert_eq!(glance.elapsed, Duration::from_secs(3));
        assert_eq!(glance.busiest_thread, Some(0.3));
        assert_eq!((glance.rates[0], glance.p99s_us[0]), (50, 20));
    }

    #[test]
    fn history_has_an_end() {
        let mut glance = Glance::titled(String::new(), false, look(0, &[]));
        for second in 1..1000 {
            glance.advance(look(second, &[]), Timestamp(0));
        }
        assert_eq!(glance.rates.len(), HISTORY_LEN_MAX);
    }
}
