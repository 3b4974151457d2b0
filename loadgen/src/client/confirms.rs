//! What the broker owes a requester in confirm mode: one ack or nack for each publish, in any
//! order, several at once if it likes.

use broker::engine::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// A basic.ack or basic.nack of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    pub delivery_tag: u64,
    pub multiple: bool,
    pub is_ack: bool,
}

#[derive(Clone, Copy, Debug)]
struct Owed {
    sequence: u64,
    sent: Timestamp,
    is_settled: bool,
}

/// Invariant: `owed[0]` is the publish with `first_tag`, and not settled.
#[derive(Debug)]
pub struct Confirms {
    first_tag: u64,
    owed: VecDeque<Owed>,
}

impl Confirms {
    pub fn new() -> Confirms {
        Confirms {
            // Tags count from 1 on each channel.
            first_tag: 1,
            owed: VecDeque::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    pub fn publish(&mut self, sequence: u64, sent: Timestamp) {
        self.owed.push_back(Owed {
            sequence,
            sent,
            is_settled: false,
        });
    }

    /// Calls `settle` with the sequence of each publish that this settles. Gives how many; zero
    /// if the broker owed nothing by that tag.
    pub fn handle(&mut self, confirmed: Confirmed, mut settle: impl FnMut(u64)) -> u64 {
        let Some(index) = confirmed.delivery_tag.checked_sub(self.first_tag) else {
            return 0;
        };
        let Some(index) = usize::try_from(index)
            .ok()
            .filter(|index| *index < self.owed.len())
        else {
            return 0;
        };
        let from = if confirmed.multiple { 0 } else { index };
        let mut count = 0;
        for owed in self.owed.range_mut(from..=index) {
            if !owed.is_settled {
                owed.is_settled = true;
                count += 1;
                settle(owed.sequence);
            }
        }
        self.forget_settled();
        count
    }

    /// Gives up what has been owed for longer than `timeout`; gives how many.
    pub fn expire(&mut self, now: Timestamp, timeout: Duration) -> u64 {
        let mut count = 0;
        while let Some(owed) = self.owed.front_mut()
            && now >= owed.sent.plus(timeout)
        {
            owed.is_settled = true;
            count += 1;
            self.forget_settled();
        }
        count
    }

    /// Gives how many are owed still, and forgets them.
    pub fn clear(&mut self) -> u64 {
        let count = self.owed.iter().filter(|owed| !owed.is_settled).count();
        *self = Confirms::new();
        count as u64
    }

    fn forget_settled(&mut self) {
        while self.owed.front().is_some_and(|owed| owed.is_settled) {
            self.owed.pop_front();
            self.first_tag += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(delivery_tag: u64, multiple: bool) -> Confirmed {
        Confirmed {
            delivery_tag,
            multiple,
            is_ack: true,
        }
    }

    fn published(count: u64) -> Confirms {
        let mut confirms = Confirms::new();
        (0..count).for_each(|index| confirms.publish(100 + index, Timestamp(index)));
        confirms
    }

    #[test]
    fn confirms_come_in_any_order_and_each_once() {
        let mut confirms = published(4);
        let mut settled = Vec::new();
        assert_eq!(confirms.handle(ack(3, false), |s| settled.push(s)), 1);
        assert_eq!(confirms.handle(ack(3, false), |s| settled.push(s)), 0);
        assert_eq!(confirms.handle(ack(4, true), |s| settled.push(s)), 3);
        assert_eq!(settled, [102, 100, 101, 103]);
        assert!(confirms.is_empty());
        for tag in [0, 4, 5, u64::MAX] {
            assert_eq!(confirms.handle(ack(tag, false), |_| ()), 0, "{tag}");
        }
    }

    #[test]
    fn what_is_never_confirmed_is_given_up() {
        let mut confirms = published(5);
        confirms.handle(ack(2, false), |_| ());
        let timeout = Duration::from_nanos(10);
        assert_eq!(confirms.expire(Timestamp(9), timeout), 0);
        assert_eq!(confirms.expire(Timestamp(12), timeout), 2);
        assert_eq!(confirms.clear(), 2);
    }
}
