//! Publisher confirms: every publish is acknowledged once it has been handed on, or refused if a
//! queue had no room.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;

/// Invariant: `ready`, `deferred` and `reserved` are disjoint, all below `next`.
#[derive(Debug)]
pub struct Confirm {
    next: NonZero<u64>,
    /// What has become of publishes since the last flush.
    ready: Vec<(NonZero<u64>, Verdict)>,
    /// Waiting for other shards' words.
    deferred: BTreeMap<NonZero<u64>, Deferral>,
    /// Of publishes that have come and are executed later, in order.
    reserved: VecDeque<NonZero<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ack,
    Nack,
}

#[derive(Clone, Copy, Debug)]
struct Deferral {
    missing_count: u32,
    /// So far.
    verdict: Verdict,
}

impl Default for Confirm {
    fn default() -> Confirm {
        Confirm {
            next: NonZero::<u64>::MIN,
            ready: Vec::new(),
            deferred: BTreeMap::new(),
            reserved: VecDeque::new(),
        }
    }
}

impl Confirm {
    /// Of the publish that is executed, in the order in which they have come.
    pub fn take_sequence(&mut self) -> NonZero<u64> {
        match self.reserved.pop_front() {
            Some(sequence) => sequence,
            None => self.take_next(),
        }
    }

    /// One that has come is executed after others that come later.
    pub fn reserve(&mut self) {
        let sequence = self.take_next();
        self.reserved.push_back(sequence);
    }

    /// How many there are whose turn has yet to come.
    pub fn reserved_count(&self) -> usize {
        self.reserved.len()
    }

    /// Of a publish that does not wait for those.
    pub fn take_next(&mut self) -> NonZero<u64> {
        let sequence = self.next;
        self.next = self.next.saturating_add(1);
        sequence
    }

    pub fn conclude(&mut self, sequence: NonZero<u64>, verdict: Verdict) {
        self.ready.push((sequence, verdict));
    }

    /// So many answers are to come; `verdict` is what is known already.
    pub fn defer(&mut self, sequence: NonZero<u64>, missing_count: u32, verdict: Verdict) {
        let deferral = Deferral {
            missing_count,
            verdict,
        };
        self.deferred.insert(sequence, deferral);
    }

    /// One of the answers. The last one concludes; one refusal is enough to refuse.
    pub fn answered(&mut self, sequence: NonZero<u64>, verdict: Verdict) {
        let deferral = self.deferred.get_mut(&sequence);
        let deferral = deferral.expect("each answer is one of those that were deferred for");
        deferral.missing_count -= 1;
        if verdict == Verdict::Nack {
            deferral.verdict = Verdict::Nack;
        }
        if deferral.missing_count == 0 {
            let verdict = deferral.verdict;
            self.deferred.remove(&sequence);
            self.conclude(sequence, verdict);
        }
    }

    /// Publishes taken that have not been acknowledged.
    pub fn unconfirmed_count(&self) -> usize {
        self.ready.len() + self.deferred.len()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Calls `tell(verdict, delivery tag, multiple)` so that exactly what is ready is covered: as
    /// long as nothing is outstanding in front, one call for each run of the same verdict.
    pub fn flush(&mut self, mut tell: impl FnMut(Verdict, u64, bool)) {
        self.ready.sort_unstable_by_key(|(sequence, _)| *sequence);
        let deferred = self.deferred.first_key_value().map(|(first, _)| *first);
        let reserved = self.reserved.front().copied();
        let outstanding = [deferred, reserved].into_iter().flatten();
        let floor = outstanding.min().unwrap_or(self.next);
        let below = self
            .ready
            .partition_point(|(sequence, _)| *sequence < floor);
        let (runs, singles) = self.ready.split_at(below);
        for run in runs.chunk_by(|a, b| a.1 == b.1) {
            if let Some((highest, verdict)) = run.last() {
                tell(*verdict, highest.get(), run.len() > 1);
            }
        }
        for (sequence, verdict) in singles {
            tell(*verdict, sequence.get(), false);
        }
        self.ready.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Ack, Nack};

    fn at(sequence: u64) -> NonZero<u64> {
        NonZero::new(sequence).expect("sequences begin with 1")
    }

    fn flush(confirm: &mut Confirm) -> Vec<(Verdict, u64, bool)> {
        let mut told = Vec::new();
        confirm.flush(|verdict, tag, multiple| told.push((verdict, tag, multiple)));
        told
    }

    fn with_publishes(count: u64) -> Confirm {
        let mut confirm = Confirm::default();
        assert!((1..=count).all(|sequence| confirm.take_sequence().get() == sequence));
        confirm
    }

    #[test]
    fn one_acknowledgement_covers_a_batch() {
        let mut confirm = with_publishes(3);
        (1..=3).for_each(|sequence| confirm.conclude(at(sequence), Ack));
        assert_eq!(flush(&mut confirm), [(Ack, 3, true)]);
        assert_eq!(flush(&mut confirm), []);
    }

    #[test]
    fn a_publish_that_waits_is_never_covered_by_one_that_does_not() {
        let mut confirm = Confirm::default();
        assert_eq!(confirm.take_sequence(), at(1));
        confirm.reserve();
        assert_eq!(confirm.take_next(), at(3));
        confirm.conclude(at(1), Ack);
        confirm.conclude(at(3), Ack);
        assert_eq!(flush(&mut confirm), [(Ack, 1, false), (Ack, 3, false)]);
        assert_eq!(confirm.take_sequence(), at(2));
        confirm.conclude(at(2), Ack);
        assert_eq!(flush(&mut confirm), [(Ack, 2, false)]);
        assert_eq!(confirm.take_sequence(), at(4));
    }

    #[test]
    fn a_deferred_publish_is_never_covered_by_a_later_one() {
        let mut confirm = with_publishes(4);
        confirm.defer(at(2), 1, Ack);
        [1, 3, 4]
            .iter()
            .for_each(|&sequence| confirm.conclude(at(sequence), Ack));
        assert_eq!(
            flush(&mut confirm),
            [(Ack, 1, false), (Ack, 3, false), (Ack, 4, false)]
        );
        confirm.answered(at(2), Ack);
        assert_eq!(flush(&mut confirm), [(Ack, 2, false)]);
    }

    #[test]
    fn refusals_are_told_in_runs_of_their_own() {
        let mut confirm = with_publishes(6);
        for (sequence, verdict) in [(1, Ack), (2, Ack), (3, Nack), (4, Nack), (5, Ack)] {
            confirm.conclude(at(sequence), verdict);
        }
        let told = flush(&mut confirm);
        assert_eq!(told, [(Ack, 2, true), (Nack, 4, true), (Ack, 5, false)]);
    }

    #[test]
    fn one_refusal_of_several_answers_is_enough() {
        let mut confirm = with_publishes(2);
        confirm.defer(at(1), 2, Ack);
        confirm.defer(at(2), 1, Nack);
        confirm.answered(at(1), Nack);
        assert_eq!(flush(&mut confirm), []);
        confirm.answered(at(1), Ack);
        confirm.answered(at(2), Ack);
        assert_eq!(flush(&mut confirm), [(Nack, 2, true)]);
    }
}
