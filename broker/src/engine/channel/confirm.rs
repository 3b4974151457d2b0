//! Publisher confirms: every publish is acknowledged once it has been handed on.

use std::collections::BTreeSet;

/// Invariant: `ready` and `deferred` are disjoint, both below `next`.
#[derive(Debug)]
pub struct Confirm {
    next: u64,
    /// Handed on since the last flush.
    ready: Vec<u64>,
    /// Waiting for another shard's word.
    deferred: BTreeSet<u64>,
}

impl Default for Confirm {
    fn default() -> Confirm {
        Confirm {
            next: 1,
            ready: Vec::new(),
            deferred: BTreeSet::new(),
        }
    }
}

impl Confirm {
    pub fn take_sequence(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub fn handed_on(&mut self, sequence: u64) {
        self.deferred.remove(&sequence);
        self.ready.push(sequence);
    }

    pub fn defer(&mut self, sequence: u64) {
        self.deferred.insert(sequence);
    }

    /// Publishes taken that have not been acknowledged.
    pub fn unconfirmed_count(&self) -> usize {
        self.ready.len() + self.deferred.len()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Calls `acknowledge(delivery tag, multiple)` so that exactly what is ready is covered.
    pub fn flush(&mut self, mut acknowledge: impl FnMut(u64, bool)) {
        self.ready.sort_unstable();
        let floor = self.deferred.first().copied().unwrap_or(self.next);
        let below = self.ready.partition_point(|sequence| *sequence < floor);
        if let Some(highest) = self.ready[..below].last() {
            acknowledge(*highest, below > 1);
        }
        for sequence in self.ready.drain(..).skip(below) {
            acknowledge(sequence, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flush(confirm: &mut Confirm) -> Vec<(u64, bool)> {
        let mut acks = Vec::new();
        confirm.flush(|tag, multiple| acks.push((tag, multiple)));
        acks
    }

    #[test]
    fn one_acknowledgement_covers_a_batch() {
        let mut confirm = Confirm::default();
        for _ in 0..3 {
            let sequence = confirm.take_sequence();
            confirm.handed_on(sequence);
        }
        assert_eq!(flush(&mut confirm), [(3, true)]);
        assert_eq!(flush(&mut confirm), []);
    }

    #[test]
    fn a_deferred_publish_is_never_covered_by_a_later_one() {
        let mut confirm = Confirm::default();
        let sequences: Vec<u64> = (0..4).map(|_| confirm.take_sequence()).collect();
        confirm.defer(sequences[1]);
        [0, 2, 3]
            .iter()
            .for_each(|&i| confirm.handed_on(sequences[i]));
        assert_eq!(flush(&mut confirm), [(1, false), (3, false), (4, false)]);
        confirm.handed_on(sequences[1]);
        assert_eq!(flush(&mut confirm), [(2, false)]);
    }
}
