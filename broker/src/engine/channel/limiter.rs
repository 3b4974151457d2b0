//! What restrains all consumers of a channel together: basic.qos with `global`, channel.flow.

use super::super::address::QueueAddress;
use super::super::queue::ConsumerKey;
use std::collections::VecDeque;

/// While it restrains, consumers on other shards ask for a token before each delivery, so the
/// limit holds exactly.
#[derive(Debug)]
pub struct Limiter {
    /// False after the client's channel.flow(false).
    is_flowing: bool,
    /// 0 is without limit.
    max: u16,
    /// Deliveries that await acknowledgement plus tokens given out.
    used: u32,
    waiting: VecDeque<(QueueAddress, ConsumerKey)>,
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter {
            is_flowing: true,
            max: 0,
            used: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl Limiter {
    pub fn set_max(&mut self, max: u16) {
        self.max = max;
    }

    pub fn set_flowing(&mut self, is_flowing: bool) {
        self.is_flowing = is_flowing;
    }

    pub fn is_flowing(&self) -> bool {
        self.is_flowing
    }

    /// Must a delivery be asked for?
    pub fn restrains(&self) -> bool {
        self.max > 0 || !self.is_flowing
    }

    /// Room for one more delivery that awaits acknowledgement.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.is_flowing && (self.max == 0 || self.used < u32::from(self.max))
    }

    #[inline]
    pub fn take(&mut self) {
        self.used += 1;
    }

    #[inline]
    pub fn give_back(&mut self, count: u32) {
        assert!(count <= self.used, "only what was taken is given back");
        self.used -= count;
    }

    /// Deliveries that await acknowledgement plus tokens given out.
    pub fn used_count(&self) -> usize {
        self.used as usize
    }

    /// A consumer on another shard wants a token.
    pub fn ask(&mut self, queue: QueueAddress, consumer: ConsumerKey) {
        self.waiting.push_back((queue, consumer));
    }

    /// A consumer that may have asked is gone.
    pub fn forget(&mut self, queue: QueueAddress, consumer: ConsumerKey) {
        self.waiting.retain(|asker| *asker != (queue, consumer));
    }

    /// Takes a token for the one that has waited longest, if there is room.
    pub fn grant(&mut self) -> Option<(QueueAddress, ConsumerKey)> {
        if !self.has_room() {
            return None;
        }
        let granted = self.waiting.pop_front()?;
        self.take();
        Some(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_at_the_maximum_and_zero_is_without_limit() {
        let mut limiter = Limiter::default();
        limiter.take();
        assert!(limiter.has_room() && !limiter.restrains());
        limiter.set_max(2);
        limiter.take();
        assert!(!limiter.has_room());
        limiter.give_back(1);
        assert!(limiter.has_room());
        limiter.set_flowing(false);
        assert!(!limiter.has_room());
    }
}
