//! What became of every call: one [`Ledger`] per requester, summed up in an [`Audit`].
//!
//! Each of a requester's in-flight slots has its own arithmetic series of sequences: slot 3 of 16
//! issues 3, 19, 35, … So the last sequence of a slot stands for all before it, each of which has
//! ended, and a reply seen twice is recognised however late it comes, without a set of all calls.

use broker::engine::time::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Counts of calls by how they ended.
///
/// Invariant, once no call is in flight: `issued` is the sum of `returned_once`, `late`, `lost`,
/// `failed` and `corrupted`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Audit {
    pub issued: u64,
    /// Came back whole, in time.
    pub returned_once: u64,
    /// Came back after their timeout.
    pub late: u64,
    /// Did not come back, and nobody said why.
    pub lost: u64,
    /// Ended by an error that has a name: returned by the broker, connection closed, …
    pub failed: u64,
    /// Came back with other octets than a worker's reply has.
    pub corrupted: u64,
    /// Replies to calls that had ended already; not calls.
    pub duplicated: u64,
    /// Replies to calls that this requester never issued; not calls.
    pub foreign: u64,
}

impl Audit {
    /// Every call came back whole, once, in time, and nothing else did.
    pub fn is_clean(&self) -> bool {
        self.issued == self.returned_once && self.duplicated == 0 && self.foreign == 0
    }

    pub fn add(&mut self, other: &Audit) {
        self.issued += other.issued;
        self.returned_once += other.returned_once;
        self.late += other.late;
        self.lost += other.lost;
        self.failed += other.failed;
        self.corrupted += other.corrupted;
        self.duplicated += other.duplicated;
        self.foreign += other.foreign;
    }
}

/// A call that is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// When the schedule had it start; when it was sent, in a closed loop.
    pub intended: Timestamp,
    pub sent: Timestamp,
    pub is_measured: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The last sequence issued here; meaningless while `Unused`.
    sequence: u64,
    state: SlotState,
}

#[derive(Clone, Copy, Debug)]
enum SlotState {
    Unused,
    Busy(Outstanding),
    Ended,
}

/// One requester's calls.
///
/// Invariant: a slot is `Busy` or listed in `free`, never both; every sequence of a slot before
/// its last one has ended.
#[derive(Debug)]
pub struct Ledger {
    slots: Vec<Slot>,
    /// First in, first out, so that all slots' series advance evenly.
    free: VecDeque<u32>,
    /// Calls given up by timeout, or failed, that may still come back. Bounded by the slots:
    /// each entry has held one for the whole timeout, or ends the connection.
    given_up: BTreeSet<u64>,
    audit: Audit,
}

impl Ledger {
    pub fn new(in_flight: u32) -> Ledger {
        assert!(in_flight > 0);
        Ledger {
            slots: (0..u64::from(in_flight))
                .map(|sequence| Slot {
                    sequence,
                    state: SlotState::Unused,
                })
                .collect(),
            free: (0..in_flight).collect(),
            given_up: BTreeSet::new(),
            audit: Audit::default(),
        }
    }

    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Opens a call and gives its sequence. Asserts that there is room.
    pub fn issue(&mut self, call: Outstanding) -> u64 {
        let index = self.free.pop_front().expect("the caller asked has_room");
        let stride = self.slots.len() as u64;
        let slot = &mut self.slots[index as usize];
        if !matches!(slot.state, SlotState::Unused) {
            slot.sequence += stride;
        }
        slot.state = SlotState::Busy(call);
        self.audit.issued += 1;
        slot.sequence
    }

    /// A reply to `sequence` came; `is_whole` if it is the right one, octet for octet. Gives the
    /// call if this is its one good return.
    pub fn handle_reply(&mut self, sequence: u64, is_whole: bool) -> Option<Outstanding> {
        match self.end(sequence) {
            Found::Busy(call) if is_whole => {
                self.audit.returned_once += 1;
                return Some(call);
            }
            Found::Busy(_) => self.audit.corrupted += 1,
            Found::Ended if self.given_up.remove(&sequence) => {
                self.audit.lost -= 1;
                self.audit.late += 1;
            }
            Found::Ended => self.audit.duplicated += 1,
            Found::Never => self.audit.foreign += 1,
        }
        None
    }

    /// A reply came that names no call of this requester.
    pub fn handle_foreign(&mut self) {
        self.audit.foreign += 1;
    }

    /// The broker said that it will not deliver this call.
    pub fn handle_failed(&mut self, sequence: u64) {
        match self.end(sequence) {
            Found::Busy(_) => self.audit.failed += 1,
            Found::Ended => self.audit.duplicated += 1,
            Found::Never => self.audit.foreign += 1,
        }
    }

    /// Gives up calls sent `timeout` ago or earlier: they count as lost until they come back
    /// after all. Returns how many.
    pub fn expire(&mut self, now: Timestamp, timeout: Duration) -> u64 {
        let mut expired_count = 0;
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            let SlotState::Busy(call) = slot.state else {
                continue;
            };
            if now >= call.sent.plus(timeout) {
                self.give_up(index);
                expired_count += 1;
            }
        }
        self.audit.lost += expired_count;
        expired_count
    }

    /// The connection is gone: whatever is in flight has failed. Returns how many.
    pub fn fail_all(&mut self) -> u64 {
        let failed_count = self.give_up_all();
        self.audit.failed += failed_count;
        // Nothing can come back on a connection that is gone.
        self.given_up.clear();
        failed_count
    }

    /// The run is over: whatever is in flight is lost. Returns how many.
    pub fn lose_all(&mut self) -> u64 {
        let lost_count = self.give_up_all();
        self.audit.lost += lost_count;
        lost_count
    }

    fn give_up_all(&mut self) -> u64 {
        let mut count = 0;
        for index in 0..self.slots.len() {
            if matches!(self.slots[index].state, SlotState::Busy(_)) {
                self.give_up(index);
                count += 1;
            }
        }
        count
    }

    fn give_up(&mut self, index: usize) {
        self.given_up.insert(self.slots[index].sequence);
        self.release(index);
    }

    fn end(&mut self, sequence: u64) -> Found {
        let index = (sequence % self.slots.len() as u64) as usize;
        let slot = self.slots[index];
        match slot.state {
            SlotState::Unused => Found::Never,
            _ if sequence > slot.sequence => Found::Never,
            SlotState::Busy(call) if sequence == slot.sequence => {
                self.release(index);
                Found::Busy(call)
            }
            _ => Found::Ended,
        }
    }

    fn release(&mut self, index: usize) {
        self.slots[index].state = SlotState::Ended;
        self.free.push_back(index as u32);
        debug_assert!(self.free.len() <= self.slots.len());
    }
}

enum Found {
    Busy(Outstanding),
    Ended,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sent: u64) -> Outstanding {
        Outstanding {
            intended: Timestamp(sent),
            sent: Timestamp(sent),
            is_measured: true,
        }
    }

    #[test]
    fn every_call_returned_once_is_clean() {
        let mut ledger = Ledger::new(3);
        for round in 0..10 {
            let sequences = [0, 1, 2].map(|_| ledger.issue(call(round)));
            assert!(!ledger.has_room());
            for sequence in [sequences[2], sequences[0], sequences[1]] {
                assert_eq!(ledger.handle_reply(sequence, true), Some(call(round)));
            }
        }
        assert_eq!(ledger.audit().issued, 30);
        assert!(ledger.audit().is_clean());
    }

    #[test]
    fn sequences_are_never_used_twice() {
        let mut ledger = Ledger::new(4);
        let mut seen = BTreeSet::new();
        let stuck = ledger.issue(call(0));
        seen.insert(stuck);
        for _ in 0..100 {
            let sequence = ledger.issue(call(0));
            assert!(seen.insert(sequence));
            ledger.handle_reply(sequence, true);
        }
        assert_eq!(ledger.in_flight(), 1);
    }

    #[test]
    fn a_duplicate_is_seen_at_once_and_long_after() {
        let mut ledger = Ledger::new(2);
        let first = ledger.issue(call(0));
        ledger.handle_reply(first, true);
        assert_eq!(ledger.handle_reply(first, true), None);
        for _ in 0..1000 {
            let sequence = ledger.issue(call(0));
            ledger.handle_reply(sequence, true);
        }
        assert_eq!(ledger.handle_reply(first, true), None);
        assert_eq!(ledger.audit().duplicated, 2);
        assert!(!ledger.audit().is_clean());
    }

    #[test]
    fn a_reply_to_a_call_not_yet_issued_is_foreign() {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.handle_reply(0, true), None);
        let first = ledger.issue(call(0));
        assert_eq!(ledger.handle_reply(first + 2, true), None);
        assert_eq!(ledger.handle_reply(1, true), None);
        assert_eq!(ledger.audit().foreign, 3);
        assert_eq!(ledger.in_flight(), 1);
    }

    #[test]
    fn an_expired_call_is_lost_until_it_comes_back_late() {
        let mut ledger = Ledger::new(1);
        let timeout = Duration::from_nanos(100);
        let slow = ledger.issue(call(50));
        assert_eq!(ledger.expire(Timestamp(149), timeout), 0);
        assert_eq!(ledger.expire(Timestamp(150), timeout), 1);
        assert_eq!(ledger.audit().lost, 1);
        let next = ledger.issue(call(160));
        assert_eq!(ledger.handle_reply(slow, true), None);
        assert_eq!((ledger.audit().lost, ledger.audit().late), (0, 1));
        assert_eq!(ledger.handle_reply(slow, true), None);
        assert_eq!(ledger.audit().duplicated, 1);
        assert!(ledger.handle_reply(next, true).is_some());
    }

    #[test]
    fn every_call_ends_in_exactly_one_way() {
        let mut ledger = Ledger::new(8);
        let sequences: Vec<u64> = (0..8).map(|sent| ledger.issue(call(sent))).collect();
        ledger.handle_reply(sequences[0], true);
        ledger.handle_reply(sequences[1], false);
        ledger.handle_failed(sequences[2]);
        assert_eq!(ledger.expire(Timestamp(13), Duration::from_nanos(10)), 1);
        ledger.lose_all();
        assert_eq!(ledger.in_flight(), 0);
        let audit = ledger.audit();
        assert_eq!((audit.returned_once, audit.corrupted), (1, 1));
        assert_eq!((audit.failed, audit.lost), (1, 5));
        let ended = audit.returned_once + audit.corrupted + audit.failed + audit.lost;
        assert_eq!(ended, audit.issued);
    }
}
