//! When each call is meant to start. Pure: the time comes in, intended times come out.
//!
//! In a closed loop a call is meant to start when it does. At a fixed rate each thread has its
//! share of one common schedule, dealt to its requesters in turn, and a call that starts late
//! still counts from the time that the schedule had for it.

use broker::engine::time::Timestamp;

/// One thread's share of the schedule.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    first: Timestamp,
    interval_ns: f64,
    requester_count: u64,
    /// Arrivals dealt out so far.
    dealt_count: u64,
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

impl Schedule {
    /// `calls_per_s` is the rate of all threads together. Asserts that the thread has requesters.
    pub fn new(start: Timestamp, calls_per_s: f64, share: Share) -> Schedule {
        assert!(share.requester_count > 0 && calls_per_s > 0.0);
        let interval_all_ns = 1e9 / calls_per_s;
        let fraction = f64::from(share.requester_count) / f64::from(share.requester_count_total);
        // Threads start shifted against each other, so that their arrivals do not coincide.
        let shift_ns = interval_all_ns * f64::from(share.requesters_before);
        Schedule {
            first: Timestamp(start.0.saturating_add(shift_ns as u64)),
            interval_ns: interval_all_ns / fraction,
            requester_count: u64::from(share.requester_count),
            dealt_count: 0,
        }
    }

    /// The next requester (index within the thread) for whom a call has fallen due by `now`.
    pub fn poll_arrival(&mut self, now: Timestamp) -> Option<usize> {
        if self.next_due() > now {
            return None;
        }
        let requester = self.dealt_count % self.requester_count;
        self.dealt_count += 1;
        usize::try_from(requester).ok()
    }

    pub fn next_due(&self) -> Timestamp {
        self.due(self.dealt_count)
    }

    /// When the call number `index` (0-based) of one requester was meant to start.
    pub fn intended(&self, requester: usize, index: u64) -> Timestamp {
        self.due(index * self.requester_count + requester as u64)
    }

    // One multiplication per arrival, never a running sum: errors do not add up. 53 bits of
    // nanoseconds are exact for a hundred days.
    fn due(&self, arrival: u64) -> Timestamp {
        Timestamp(
            self.first
                .0
                .saturating_add((arrival as f64 * self.interval_ns) as u64),
        )
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

    #[test]
    fn arrivals_are_dealt_in_turn_and_exactly_when_due() {
        let mut schedule = Schedule::new(Timestamp(1000), 1e6, share(2, 0, 2));
        assert_eq!(schedule.poll_arrival(Timestamp(999)), None);
        assert_eq!(schedule.poll_arrival(Timestamp(1000)), Some(0));
        assert_eq!(schedule.poll_arrival(Timestamp(1000)), None);
        assert_eq!(schedule.next_due(), Timestamp(2000));
        assert_eq!(schedule.poll_arrival(Timestamp(3500)), Some(1));
        assert_eq!(schedule.poll_arrival(Timestamp(3500)), Some(0));
        assert_eq!(schedule.poll_arrival(Timestamp(3500)), None);
    }

    #[test]
    fn a_late_call_keeps_its_intended_time() {
        let schedule = Schedule::new(Timestamp(0), 1e6, share(4, 0, 4));
        assert_eq!(schedule.intended(0, 0), Timestamp(0));
        assert_eq!(schedule.intended(3, 0), Timestamp(3000));
        assert_eq!(schedule.intended(1, 2), Timestamp(9000));
    }

    #[test]
    fn two_threads_make_one_even_schedule() {
        // Three requesters at 1 call/us: two on the first thread, one on the second.
        let first = Schedule::new(Timestamp(0), 1e6, share(2, 0, 3));
        let second = Schedule::new(Timestamp(0), 1e6, share(1, 2, 3));
        assert_eq!(first.intended(0, 1), Timestamp(3000));
        assert_eq!(second.intended(0, 0), Timestamp(2000));
        assert_eq!(second.intended(0, 1), Timestamp(5000));
    }

    #[test]
    fn a_million_arrivals_do_not_drift() {
        let schedule = Schedule::new(Timestamp(0), 300_000.0, share(1, 0, 1));
        assert_eq!(schedule.intended(0, 3_000_000), Timestamp(10_000_000_000));
    }
}
