//! Messages in a row, kept in blocks: a queue that grows copies nothing of what it has, and what it
//! leaves behind goes back a block at a time.

use super::Queued;
use std::collections::VecDeque;

/// Messages of a block: enough that a block's own cost is next to nothing. With this number a block
/// is 4 KiB, which the allocator wastes least on; from twice as many on it wastes a quarter.
const BLOCK_COUNT: usize = 64;

const _: () = assert!(BLOCK_COUNT * size_of::<Queued>() <= 4096);

/// Invariant: `front` is empty only if `rest` is; every block of `rest` is full but the last, which
/// is not empty.
#[derive(Debug, Default)]
pub struct Blocks {
    /// All there is in a short queue, growing from little.
    front: VecDeque<Queued>,
    rest: VecDeque<VecDeque<Queued>>,
}

impl Blocks {
    pub fn len(&self) -> usize {
        let last = self.rest.back();
        let rest = last.map_or(0, |last| (self.rest.len() - 1) * BLOCK_COUNT + last.len());
        self.front.len() + rest
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    #[inline]
    pub fn front(&self) -> Option<&Queued> {
        self.front.front()
    }

    #[inline]
    pub fn push_back(&mut self, queued: Queued) {
        if self.rest.is_empty() && self.front.len() < BLOCK_COUNT {
            self.front.push_back(queued);
        } else {
            self.push_to_rest(queued);
        }
    }

    fn push_to_rest(&mut self, queued: Queued) {
        match self.rest.back_mut() {
            Some(last) if last.len() < BLOCK_COUNT => last.push_back(queued),
            _ => {
                let mut block = VecDeque::with_capacity(BLOCK_COUNT);
                block.push_back(queued);
                self.rest.push_back(block);
            }
        }
    }

    #[inline]
    pub fn pop_front(&mut self) -> Option<Queued> {
        let queued = self.front.pop_front();
        if self.front.is_empty()
            && let Some(next) = self.rest.pop_front()
        {
            self.front = next;
        }
        queued
    }

    pub fn retain(&mut self, mut is_kept: impl FnMut(&Queued) -> bool) {
        let mut before = std::mem::take(self);
        while let Some(queued) = before.pop_front() {
            if is_kept(&queued) {
                self.push_back(queued);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.front.iter().chain(self.rest.iter().flatten())
    }

    pub fn invariants(&self) {
        assert!(!self.front.is_empty() || self.rest.is_empty());
        let (last, full) = match self.rest.len() {
            0 => return,
            count => (&self.rest[count - 1], self.rest.iter().take(count - 1)),
        };
        assert!((1..=BLOCK_COUNT).contains(&last.len()));
        assert!(full.into_iter().all(|block| block.len() == BLOCK_COUNT));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;
    use crate::engine::message::{Content, Message};
    use crate::engine::time::Timestamp;
    use crate::engine::wire::properties::PropertyParts;
    use std::num::NonZero;

    fn queued(sequence: u64) -> Queued {
        let content = Content {
            exchange: b"",
            routing_key: b"q",
            properties: PropertyParts([b"\0\0", b"", b""]),
            body: b"",
            shared: None,
            call: None,
        };
        Queued {
            message: Message::from(&content),
            place: Place {
                sequence,
                expires_at: Timestamp::NEVER,
                attempt: NonZero::<u32>::MIN,
                priority: 0,
            },
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_order_wherever_blocks_begin() {
        let mut blocks = Blocks::default();
        let (mut first, mut next) = (0, 0);
        // How many come and go in turn, through several blocks and back to none.
        for (come, go) in [
            (1, 1),
            (511, 0),
            (2, 512),
            (2000, 700),
            (30, 0),
            (0, 1331),
            (3, 3),
        ] {
            for _ in 0..come {
                blocks.push_back(queued(next));
                next += 1;
                blocks.invariants();
            }
            for _ in 0..go {
                assert_eq!(
                    blocks.front().map(|queued| queued.place.sequence),
                    Some(first)
                );
                assert_eq!(
                    blocks.pop_front().map(|queued| queued.place.sequence),
                    Some(first)
                );
                first += 1;
                blocks.invariants();
            }
            let all: Vec<u64> = blocks.iter().map(|queued| queued.place.sequence).collect();
            assert_eq!(all, (first..next).collect::<Vec<u64>>());
            assert_eq!(
                (blocks.len(), blocks.is_empty()),
                (all.len(), all.is_empty())
            );
        }
        assert!(blocks.pop_front().is_none());
    }
}
