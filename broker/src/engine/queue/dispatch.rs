//! `x-dispatch`: whose turn it is by what each consumer has to do, and how fast it is.

use super::super::time::Timestamp;
use super::consumers::{Consumer, ConsumerKey, Consumers};
use std::time::Duration;

/// Of so many next in turn the least busy one is chosen.
const CANDIDATE_COUNT_MAX: usize = 32;

/// The share of the latest answer in the moving average is one in this.
const SERVICE_TIME_SHARE: u32 = 8;

/// What is known of a consumer's calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Those that it has been handed and that have not ended.
    pub call_count: u32,
    /// How long an answer takes it once it comes to the call, a moving average; zero before the
    /// first one.
    pub service_time: Duration,
    /// When one of them ended, or came while it had none.
    active_at: Timestamp,
}

impl Consumer {
    /// What it has to do: deliveries, also those whose calls it has answered already, or calls,
    /// also those that it has acknowledged.
    fn load(&self) -> u32 {
        self.outstanding.max(self.work.call_count)
    }

    /// How long the next call would take here. `None`: it has not answered any.
    fn expected_time(&self, now: Timestamp) -> Option<Duration> {
        if self.work.service_time.is_zero() {
            return None;
        }
        // Who has not moved for long is slow, whatever it was before.
        let stuck = match self.load() {
            0 => Duration::ZERO,
            _ => now.since(self.work.active_at),
        };
        let time = self.work.service_time.max(stuck);
        Some(time.saturating_mul(self.load() + 1))
    }
}

impl Consumers {
    #[cold]
    pub(super) fn next_idlest(&mut self) -> Option<ConsumerKey> {
        let ring = self.turns.highest.ring.iter();
        let loads = ring.take(CANDIDATE_COUNT_MAX).map(|key| {
            let consumer = self.get(*key);
            consumer.map_or(u32::MAX, Consumer::load)
        });
        let (place, _) = loads.enumerate().min_by_key(|(_, load)| *load)?;
        self.turns.next_at(place)
    }

    /// The better one of the next in turn and a random other: Mitzenmacher, The Power of Two
    /// Choices in Randomized Load Balancing, 2001.
    #[cold]
    pub(super) fn next_fastest(&mut self, now: Timestamp) -> Option<ConsumerKey> {
        let ring = &self.turns.highest.ring;
        let (first, len) = (*ring.front()?, ring.len());
        if len == 1 {
            return Some(first);
        }
        // Marsaglia, Xorshift RNGs, 2003.
        let mut random = self.random | 1;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random = random;
        let place = 1 + usize::try_from(random % (len as u64 - 1)).expect("below the length");
        let (one, other) = (self.get(first)?, self.get(ring[place])?);
        let is_other_better = match (one.expected_time(now), other.expected_time(now)) {
            (Some(one), Some(other)) => other < one,
            // Of a newcomer only that it has less to do is known.
            _ => other.load() < one.load(),
        };
        self.turns.next_at(if is_other_better { place } else { 0 })
    }

    /// It has been handed a call.
    pub fn call_began(&mut self, key: ConsumerKey, now: Timestamp) {
        if let Some(consumer) = self.get_mut(key) {
            let work = &mut consumer.work;
            if work.call_count == 0 {
                work.active_at = now;
            }
            work.call_count += 1;
        }
    }

    /// A call that it was handed has ended, or is somebody else's.
    pub fn call_over(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.get_mut(key) {
            let work = &mut consumer.work;
            assert!(work.call_count > 0, "only what was handed out is over");
            work.call_count -= 1;
        }
    }

    /// The same, since it has answered it.
    pub fn call_answered(&mut self, key: ConsumerKey, handed_at: Timestamp, ended_at: Timestamp) {
        if let Some(consumer) = self.get_mut(key) {
            let work = &mut consumer.work;
            // What it got while it was busy with others has waited there.
            let took = ended_at.since(handed_at.max(work.active_at));
            let took = took.max(Duration::from_nanos(1));
            work.active_at = work.active_at.max(ended_at);
            work.service_time = match work.service_time {
                Duration::ZERO => took,
                average => (average * (SERVICE_TIME_SHARE - 1) + took) / SERVICE_TIME_SHARE,
            };
        }
        self.call_over(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::address::ChannelAddress;
    use crate::engine::name::Name;
    use crate::engine::rules::Dispatch;

    fn consumer() -> Consumer {
        let channel = ChannelAddress {
            shard: 0,
            channel: 1,
            slot: 0,
            generation: 0,
        };
        Consumer::new(channel, 0, Name::from("tag"))
    }

    /// Hands out calls to whose turn it is.
    fn hand_out(consumers: &mut Consumers, count: usize, now: Timestamp) -> Vec<ConsumerKey> {
        let next = |_| {
            let key = consumers.next(now)?;
            consumers.call_began(key, now);
            Some(key)
        };
        (0..count).filter_map(next).collect()
    }

    #[test]
    fn who_has_least_to_do_comes_next() {
        let mut consumers = Consumers::default();
        consumers.dispatch = Dispatch::LeastOutstanding;
        let [a, b, c] = [0; 3].map(|_| consumers.add(consumer()));
        let now = Timestamp(0);
        assert_eq!(hand_out(&mut consumers, 4, now), [a, b, c, a]);
        consumers.call_over(b);
        assert_eq!(hand_out(&mut consumers, 3, now), [b, c, b]);
        consumers.call_over(c);
        consumers.call_over(c);
        assert_eq!(hand_out(&mut consumers, 2, now), [c, c]);
        consumers.invariants();
    }

    #[test]
    fn of_two_the_faster_one_gets_the_call() {
        let mut consumers = Consumers::default();
        consumers.dispatch = Dispatch::Fastest;
        let [slow, fast] = [0; 2].map(|_| consumers.add(consumer()));
        let mut now = Timestamp(0);
        for (key, ms) in [(slow, 100), (fast, 10)] {
            let handed_at = now;
            consumers.call_began(key, handed_at);
            now = now.plus(Duration::from_millis(ms));
            consumers.call_answered(key, handed_at, now);
        }
        let turns = hand_out(&mut consumers, 10, now);
        assert_eq!(turns.iter().filter(|key| **key == slow).count(), 1);
        // The fast one is stuck.
        consumers.call_answered(slow, now, now.plus(Duration::from_millis(100)));
        now = now.plus(Duration::from_secs(60));
        assert_eq!(hand_out(&mut consumers, 5, now), [slow; 5]);
        consumers.invariants();
    }

    #[test]
    fn a_call_that_waits_at_its_worker_is_not_slow_for_that() {
        let mut consumers = Consumers::default();
        let key = consumers.add(consumer());
        let began = Timestamp(5);
        hand_out(&mut consumers, 3, began);
        for count in 1..4 {
            let ended_at = began.plus(count * Duration::from_millis(10));
            consumers.call_answered(key, began, ended_at);
        }
        let work = consumers.get(key).expect("it consumes").work;
        assert_eq!(work.service_time, Duration::from_millis(10));
        assert_eq!(work.call_count, 0);
    }
}
