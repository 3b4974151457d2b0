//! Deliveries that await their acknowledgement, by delivery tag.

use super::super::address::QueueAddress;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub tag: u64,
    pub queue: QueueAddress,
    /// The queue's own key for the message.
    pub unacked: u32,
    /// It counts against the channel's prefetch over all consumers.
    pub is_counted: bool,
}

/// Invariant: `entries` ascends by tag; the first is never settled; `settled_count` counts the
/// entries that are `None`.
#[derive(Debug, Default)]
pub struct UnackedDeliveries {
    entries: VecDeque<(u64, Option<Delivery>)>,
    settled_count: usize,
}

impl UnackedDeliveries {
    pub fn count(&self) -> usize {
        self.entries.len() - self.settled_count
    }

    /// Those that count against the channel's prefetch.
    pub fn limited_count(&self) -> usize {
        let held = self.entries.iter().filter_map(|(_, delivery)| *delivery);
        held.filter(|delivery| delivery.is_counted).count()
    }

    #[inline]
    pub fn push(&mut self, delivery: Delivery) {
        debug_assert!(
            self.entries
                .back()
                .is_none_or(|(tag, _)| *tag < delivery.tag)
        );
        self.entries.push_back((delivery.tag, Some(delivery)));
    }

    /// Takes the delivery with exactly this tag.
    #[inline]
    pub fn take(&mut self, tag: u64) -> Option<Delivery> {
        let at = match self.entries.front() {
            Some((front, _)) if *front == tag => 0,
            _ => self
                .entries
                .binary_search_by_key(&tag, |(tag, _)| *tag)
                .ok()?,
        };
        let delivery = self.entries[at].1.take()?;
        self.settled_count += 1;
        self.drop_settled();
        Some(delivery)
    }

    pub fn is_outstanding(&self, tag: u64) -> bool {
        let found = self.entries.binary_search_by_key(&tag, |(tag, _)| *tag);
        found.is_ok_and(|at| self.entries[at].1.is_some())
    }

    /// Takes all deliveries up to and including this tag, in order.
    pub fn take_through(&mut self, tag: u64) -> Vec<Delivery> {
        let end = self.entries.partition_point(|(other, _)| *other <= tag);
        let taken: Vec<Delivery> = self.entries.drain(..end).filter_map(|(_, d)| d).collect();
        self.settled_count -= end - taken.len();
        self.drop_settled();
        taken
    }

    /// Deliveries that were taken are outstanding again.
    pub fn put_back(&mut self, deliveries: impl Iterator<Item = Delivery>) {
        let outstanding = self.entries.drain(..).filter_map(|(_, delivery)| delivery);
        let mut all: Vec<Delivery> = outstanding.chain(deliveries).collect();
        all.sort_unstable_by_key(|delivery| delivery.tag);
        self.entries = all.into_iter().map(|d| (d.tag, Some(d))).collect();
        self.settled_count = 0;
    }

    fn drop_settled(&mut self) {
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
            self.settled_count -= 1;
        }
        // One old delivery must not keep the places of all that came and went after it.
        if self.settled_count > 64 && self.settled_count > self.entries.len() / 2 {
            self.entries.retain(|(_, delivery)| delivery.is_some());
            self.settled_count = 0;
        }
    }

    pub fn invariants(&self, next_tag: u64) {
        assert!(self.entries.iter().is_sorted_by(|a, b| a.0 < b.0));
        assert!(self.entries.back().is_none_or(|(tag, _)| *tag < next_tag));
        assert!(
            self.entries
                .front()
                .is_none_or(|(_, delivery)| delivery.is_some())
        );
        let settled = self
            .entries
            .iter()
            .filter(|(_, delivery)| delivery.is_none())
            .count();
        assert_eq!(settled, self.settled_count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_tags(tags: impl IntoIterator<Item = u64>) -> UnackedDeliveries {
        let queue = QueueAddress {
            shard: 0,
            index: 0,
            generation: 0,
        };
        let mut unacked = UnackedDeliveries::default();
        for tag in tags {
            unacked.push(Delivery {
                tag,
                queue,
                unacked: tag as u32,
                is_counted: false,
            });
        }
        unacked
    }

    #[test]
    fn a_tag_is_taken_once() {
        let mut unacked = with_tags([1, 2, 5]);
        assert_eq!(unacked.take(2).map(|d| d.unacked), Some(2));
        assert_eq!(unacked.take(2), None);
        assert!(!unacked.is_outstanding(2) && unacked.is_outstanding(5));
        assert_eq!(unacked.take(3), None);
        unacked.invariants(6);
        assert_eq!(unacked.take_through(u64::MAX).len(), 2);
    }

    #[test]
    fn taking_through_a_tag_skips_what_is_settled() {
        let mut unacked = with_tags([1, 2, 3, 4]);
        unacked.take(2);
        let tags: Vec<u64> = unacked.take_through(3).iter().map(|d| d.tag).collect();
        assert_eq!(tags, [1, 3]);
        unacked.invariants(5);
        assert_eq!(unacked.take_through(u64::MAX).len(), 1);
        assert!(unacked.entries.is_empty());
    }

    #[test]
    fn what_was_taken_can_be_put_back_to_its_place() {
        let mut unacked = with_tags([1, 2, 3, 4, 5]);
        let taken = [4, 2].map(|tag| unacked.take(tag).expect("outstanding"));
        unacked.put_back(taken.into_iter());
        unacked.invariants(6);
        let tags: Vec<u64> = unacked.take_through(4).iter().map(|d| d.tag).collect();
        assert_eq!(tags, [1, 2, 3, 4]);
        assert_eq!(unacked.count(), 1);
    }

    #[test]
    fn one_old_delivery_does_not_keep_the_places_of_others() {
        let mut unacked = with_tags(1..=10_000);
        assert!((2..=10_000).all(|tag| unacked.take(tag).is_some()));
        unacked.invariants(10_001);
        assert!(unacked.entries.len() < 200);
    }
}
