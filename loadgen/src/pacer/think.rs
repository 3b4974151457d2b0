//! Users who think: in a closed loop, each place in flight is somebody who waits a while before
//! the next call. Pure: the time comes in, intended times come out.

use crate::distribution::Distribution;
use broker::engine::time::Timestamp;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The users of one thread's requesters.
///
/// Invariant: of each requester's users, those who think here, those whose call is due and those
/// whose call is in flight are together all of them.
#[derive(Debug)]
pub struct Thinkers {
    times: Distribution,
    random: Xoshiro256PlusPlus,
    user_count: usize,
    /// When each has thought enough, and whose user it is.
    awakenings: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// By requester (index within the thread).
    thinking: Vec<usize>,
}

impl Thinkers {
    /// `user_count` users for each of so many requesters; `times` are in nanoseconds.
    pub fn new(times: Distribution, seed: u64, user_count: usize, requesters: usize) -> Thinkers {
        Thinkers {
            times,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            user_count,
            awakenings: BinaryHeap::new(),
            thinking: vec![0; requesters],
        }
    }

    /// `busy_count` users of the requester have a call that is due or in flight: the others think,
    /// if they don't yet.
    pub fn rest(&mut self, requester: usize, busy_count: usize, now: Timestamp) {
        while self.thinking[requester] + busy_count < self.user_count {
            self.thinking[requester] += 1;
            let nanos = self.times.value(self.random.random());
            let awakening = now.plus(Duration::from_nanos(nanos));
            self.awakenings.push(Reverse((awakening, requester)));
        }
    }

    /// The next user who has thought enough by `now`: whose it is, and since when.
    pub fn poll_arrival(&mut self, now: Timestamp) -> Option<(usize, Timestamp)> {
        let Reverse((awakening, requester)) = *self.awakenings.peek()?;
        if awakening > now {
            return None;
        }
        self.awakenings.pop();
        self.thinking[requester] -= 1;
        Some((requester, awakening))
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.awakenings.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_thinks_once_between_two_calls() {
        let mut thinkers = Thinkers::new(Distribution::Fixed(100), 1, 2, 2);
        thinkers.rest(0, 0, Timestamp(0));
        thinkers.rest(0, 0, Timestamp(1));
        thinkers.rest(1, 1, Timestamp(50));
        assert_eq!(thinkers.next_due(), Some(Timestamp(100)));
        assert_eq!(thinkers.poll_arrival(Timestamp(99)), None);
        assert_eq!(
            thinkers.poll_arrival(Timestamp(120)),
            Some((0, Timestamp(100)))
        );
        assert_eq!(
            thinkers.poll_arrival(Timestamp(120)),
            Some((0, Timestamp(100)))
        );
        assert_eq!(thinkers.poll_arrival(Timestamp(120)), None);
        // One of the two is back, the other's call is still in flight.
        thinkers.rest(0, 1, Timestamp(130));
        thinkers.rest(0, 1, Timestamp(140));
        assert_eq!(
            thinkers.poll_arrival(Timestamp(500)),
            Some((1, Timestamp(150)))
        );
        assert_eq!(
            thinkers.poll_arrival(Timestamp(500)),
            Some((0, Timestamp(230)))
        );
        assert_eq!(thinkers.next_due(), None);
    }

    #[test]
    fn thoughts_last_as_long_on_average_as_asked_for() {
        let mut thinkers = Thinkers::new(Distribution::Exponential { mean: 1000 }, 1, 10_000, 1);
        thinkers.rest(0, 0, Timestamp(0));
        let mut sum = 0;
        while let Some((_, due)) = thinkers.poll_arrival(Timestamp(u64::MAX)) {
            sum += due.0;
        }
        assert!((9_700_000..10_300_000).contains(&sum), "{sum}");
    }
}
