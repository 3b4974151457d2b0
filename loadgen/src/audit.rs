//! What became of every call: one [`Ledger`] per requester, summed up in an [`Audit`].
//!
//! Each of a requester's in-flight slots has its own arithmetic series of sequences: slot 3 of 16
//! issues 3, 19, 35, … So the last sequence of a slot stands for all before it, each of which has
//! ended, and a reply seen twice is recognised however late it comes, without a set of all calls.
//!
//! Faults that the generator was told to make have names of their own here, and a run with them
//! is clean if nothing happened that they do not explain:
//! - A requester that is killed fails what it has in flight: `failed_with_requester`, exactly.
//! - A worker without acknowledgements takes with it what it had: `lost_with_worker` is a call
//!   whose queue lost a worker after it was sent, or so shortly before that the broker need not
//!   have noticed (`casualties`). What lay unread in the dead worker's socket cannot be known, so
//!   this is what the kill explains, not a proof.
//! - With acknowledgements no kill explains a loss. A worker killed between reply and
//!   acknowledgement has its request answered again: `repeated`, a second reply one of which says
//!   that its request was a redelivered one. Any other second reply is `duplicated`.

use broker::engine::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Counts of calls by how they ended.
///
/// Invariant, once no call is in flight: `issued` is the sum of `returned_once`, `late`, `lost`,
/// `failed`, `corrupted`, `lost_with_worker`, `failed_with_requester` and all `answered_by_broker`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
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
    /// Did not come back, as the worker that had them was killed on purpose.
    pub lost_with_worker: u64,
    /// In flight when their requester was killed on purpose.
    pub failed_with_requester: u64,
    /// By status: ended by the broker in a worker's place, for a reason that is known.
    pub answered_by_broker: BTreeMap<u16, u64>,
    /// Of `returned_once`: answered by a worker that had a killed one's request.
    pub redelivered: u64,
    /// Replies to calls that had ended already, for the same reason; not calls.
    pub repeated: u64,
    /// Publishes that the broker has confirmed; not calls.
    pub confirmed: u64,
}

impl Audit {
    /// Every call came back whole, once, in time, and nothing else did, but for what the faults
    /// explain that the run was asked for.
    pub fn is_clean(&self) -> bool {
        let is_complete = self.issued == self.returned_once + self.explained();
        is_complete && self.duplicated == 0 && self.foreign == 0
    }

    /// Calls that did not come back, for reasons that the run has made itself.
    pub fn explained(&self) -> u64 {
        let answered: u64 = self.answered_by_broker.values().sum();
        self.lost_with_worker + self.failed_with_requester + answered
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
        self.lost_with_worker += other.lost_with_worker;
        self.failed_with_requester += other.failed_with_requester;
        for (status, count) in &other.answered_by_broker {
            *self.answered_by_broker.entry(*status).or_default() += count;
        }
        self.redelivered += other.redelivered;
        self.repeated += other.repeated;
        self.confirmed += other.confirmed;
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

/// What is known of a reply, besides whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The right one, octet for octet.
    pub is_whole: bool,
    /// To a request that was redelivered, as a worker was killed.
    pub is_again: bool,
}

/// What a reply came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call's one good return.
    Returned(Outstanding),
    /// Too much, but a killed worker explains it.
    Explained,
    /// Not as it should be; the audit has it.
    Amiss,
}

#[derive(Clone, Copy, Debug)]
enum Loss {
    Plain,
    WithWorker,
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
    given_up: BTreeMap<u64, Loss>,
    /// Calls that a redelivered request has answered: the first delivery's reply may follow.
    answered_again: BTreeSet<u64>,
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
            given_up: BTreeMap::new(),
            answered_again: BTreeSet::new(),
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

    /// A reply to `sequence` came.
    pub fn handle_reply(&mut self, sequence: u64, reply: Reply) -> Outcome {
        match self.end(sequence) {
            Found::Busy(call) if reply.is_whole => {
                self.audit.returned_once += 1;
                if reply.is_again {
                    self.audit.redelivered += 1;
                    self.answered_again.insert(sequence);
                }
                return Outcome::Returned(call);
            }
            Found::Busy(_) => self.audit.corrupted += 1,
            Found::Ended => return self.handle_surplus(sequence, reply),
            Found::Never => self.audit.foreign += 1,
        }
        Outcome::Amiss
    }

    /// A reply to a call that has ended.
    fn handle_surplus(&mut self, sequence: u64, reply: Reply) -> Outcome {
        let is_again = reply.is_again || self.answered_again.contains(&sequence);
        match self.given_up.remove(&sequence) {
            Some(Loss::Plain) => self.audit.lost -= 1,
            Some(Loss::WithWorker) => self.audit.lost_with_worker -= 1,
            None if is_again && reply.is_whole => {
                self.audit.repeated += 1;
                return Outcome::Explained;
            }
            None => {
                self.audit.duplicated += 1;
                return Outcome::Amiss;
            }
        }
        self.audit.late += 1;
        Outcome::Amiss
    }

    /// A second reply came to a call whose first one is not yet counted.
    pub fn handle_duplicate(&mut self) {
        self.audit.duplicated += 1;
    }

    pub fn count_confirmed(&mut self, count: u64) {
        self.audit.confirmed += count;
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

    /// The broker has ended this call in a worker's place; `explain(sequence, sent)` says whether
    /// there is a reason for it. False: there is none, or the call had ended.
    pub fn handle_answer(
        &mut self,
        sequence: u64,
        status: u16,
        explain: impl Fn(u64, Timestamp) -> bool,
    ) -> bool {
        match self.end(sequence) {
            Found::Busy(call) if explain(sequence, call.sent) => {
                *self.audit.answered_by_broker.entry(status).or_default() += 1;
                return true;
            }
            Found::Busy(_) => self.audit.failed += 1,
            Found::Ended => {
                let reply = Reply {
                    is_whole: true,
                    is_again: false,
                };
                self.handle_surplus(sequence, reply);
            }
            Found::Never => self.audit.foreign += 1,
        }
        false
    }

    /// The broker refused this request: false if its call had ended already.
    pub fn handle_refused(&mut self, sequence: u64) -> bool {
        let is_open = matches!(self.end(sequence), Found::Busy(_));
        self.audit.failed += u64::from(is_open);
        is_open
    }

    /// Gives up calls sent `timeout` ago or earlier: they count as lost until they come back
    /// after all. Returns how many are lost without an explanation: `explain(sequence, sent)`
    /// says whether a worker was killed that may have had the call.
    pub fn expire(
        &mut self,
        now: Timestamp,
        timeout: Duration,
        explain: impl Fn(u64, Timestamp) -> bool,
    ) -> u64 {
        self.lose(|call| now >= call.sent.plus(timeout), explain)
    }

    /// The connection is gone: whatever is in flight has failed. Returns how many.
    pub fn fail_all(&mut self) -> u64 {
        let failed_count = self.end_all();
        self.audit.failed += failed_count;
        failed_count
    }

    /// The requester was killed on purpose, and with it whatever is in flight.
    pub fn fail_with_requester(&mut self) {
        self.audit.failed_with_requester += self.end_all();
    }

    /// The run is over: whatever is in flight is lost. Returns as `expire` does.
    pub fn lose_all(&mut self, explain: impl Fn(u64, Timestamp) -> bool) -> u64 {
        self.lose(|_| true, explain)
    }

    fn lose(
        &mut self,
        is_lost: impl Fn(Outstanding) -> bool,
        explain: impl Fn(u64, Timestamp) -> bool,
    ) -> u64 {
        let mut plain_count = 0;
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            let SlotState::Busy(call) = slot.state else {
                continue;
            };
            if !is_lost(call) {
                continue;
            }
            let loss = if explain(slot.sequence, call.sent) {
                self.audit.lost_with_worker += 1;
                Loss::WithWorker
            } else {
                plain_count += 1;
                Loss::Plain
            };
            self.given_up.insert(slot.sequence, loss);
            self.release(index);
        }
        self.audit.lost += plain_count;
        plain_count
    }

    /// Nothing can come back on a connection that is gone.
    fn end_all(&mut self) -> u64 {
        let mut count = 0;
        for index in 0..self.slots.len() {
            if matches!(self.slots[index].state, SlotState::Busy(_)) {
                self.release(index);
                count += 1;
            }
        }
        self.given_up.clear();
        count
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

    const WHOLE: Reply = Reply {
        is_whole: true,
        is_again: false,
    };
    const AGAIN: Reply = Reply {
        is_again: true,
        ..WHOLE
    };
    const NOBODY: fn(u64, Timestamp) -> bool = |_, _| false;

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
                assert_eq!(
                    ledger.handle_reply(sequence, WHOLE),
                    Outcome::Returned(call(round))
                );
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
            ledger.handle_reply(sequence, WHOLE);
        }
        assert_eq!(ledger.in_flight(), 1);
    }

    #[test]
    fn a_duplicate_is_seen_at_once_and_long_after() {
        let mut ledger = Ledger::new(2);
        let first = ledger.issue(call(0));
        ledger.handle_reply(first, WHOLE);
        assert_eq!(ledger.handle_reply(first, WHOLE), Outcome::Amiss);
        for _ in 0..1000 {
            let sequence = ledger.issue(call(0));
            ledger.handle_reply(sequence, WHOLE);
        }
        assert_eq!(ledger.handle_reply(first, WHOLE), Outcome::Amiss);
        assert_eq!(ledger.audit().duplicated, 2);
        assert!(!ledger.audit().is_clean());
    }

    #[test]
    fn a_reply_to_a_call_not_yet_issued_is_foreign() {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.handle_reply(0, WHOLE), Outcome::Amiss);
        let first = ledger.issue(call(0));
        assert_eq!(ledger.handle_reply(first + 2, WHOLE), Outcome::Amiss);
        assert_eq!(ledger.handle_reply(1, WHOLE), Outcome::Amiss);
        assert_eq!(ledger.audit().foreign, 3);
        assert_eq!(ledger.in_flight(), 1);
    }

    #[test]
    fn an_expired_call_is_lost_until_it_comes_back_late() {
        let mut ledger = Ledger::new(1);
        let timeout = Duration::from_nanos(100);
        let slow = ledger.issue(call(50));
        assert_eq!(ledger.expire(Timestamp(149), timeout, NOBODY), 0);
        assert_eq!(ledger.expire(Timestamp(150), timeout, NOBODY), 1);
        assert_eq!(ledger.audit().lost, 1);
        let next = ledger.issue(call(160));
        assert_eq!(ledger.handle_reply(slow, WHOLE), Outcome::Amiss);
        assert_eq!((ledger.audit().lost, ledger.audit().late), (0, 1));
        assert_eq!(ledger.handle_reply(slow, WHOLE), Outcome::Amiss);
        assert_eq!(ledger.audit().duplicated, 1);
        assert_eq!(
            ledger.handle_reply(next, WHOLE),
            Outcome::Returned(call(160))
        );
    }

    #[test]
    fn every_call_ends_in_exactly_one_way() {
        let mut ledger = Ledger::new(8);
        let sequences: Vec<u64> = (0..8).map(|sent| ledger.issue(call(sent))).collect();
        ledger.handle_reply(sequences[0], WHOLE);
        let altered = Reply {
            is_whole: false,
            ..WHOLE
        };
        ledger.handle_reply(sequences[1], altered);
        ledger.handle_failed(sequences[2]);
        assert_eq!(
            ledger.expire(Timestamp(13), Duration::from_nanos(10), NOBODY),
            1
        );
        ledger.lose_all(NOBODY);
        assert_eq!(ledger.in_flight(), 0);
        let audit = ledger.audit();
        assert_eq!((audit.returned_once, audit.corrupted), (1, 1));
        assert_eq!((audit.failed, audit.lost), (1, 5));
        let ended = audit.returned_once + audit.corrupted + audit.failed + audit.lost;
        assert_eq!(ended, audit.issued);
    }

    #[test]
    fn a_call_lost_with_a_killed_worker_is_clean_unless_it_comes_back() {
        let mut ledger = Ledger::new(2);
        let lost = ledger.issue(call(1));
        let other = ledger.issue(call(2));
        let explain = |sequence, _| sequence == lost;
        let timeout = Duration::from_nanos(10);
        assert_eq!(ledger.expire(Timestamp(12), timeout, explain), 1);
        let audit = ledger.audit();
        assert_eq!((audit.lost_with_worker, audit.lost), (1, 1));
        assert!(!audit.is_clean());
        assert_eq!(ledger.handle_reply(lost, WHOLE), Outcome::Amiss);
        let audit = ledger.audit();
        assert_eq!((audit.lost_with_worker, audit.late), (0, 1));
        assert_eq!(ledger.handle_reply(other, WHOLE), Outcome::Amiss);
        assert_eq!(ledger.audit().late, 2);
    }

    #[test]
    fn a_killed_requesters_calls_have_failed_and_none_may_come_back() {
        let mut ledger = Ledger::new(2);
        let first = ledger.issue(call(1));
        ledger.issue(call(1));
        ledger.fail_with_requester();
        assert_eq!(ledger.audit().failed_with_requester, 2);
        assert!(ledger.audit().is_clean());
        assert_eq!(ledger.handle_reply(first, WHOLE), Outcome::Amiss);
        assert!(!ledger.audit().is_clean());
    }

    #[test]
    fn a_redelivered_request_may_be_answered_twice_in_any_order() {
        for replies in [[WHOLE, AGAIN], [AGAIN, WHOLE], [AGAIN, AGAIN]] {
            let mut ledger = Ledger::new(1);
            let sequence = ledger.issue(call(1));
            let outcomes = replies.map(|reply| ledger.handle_reply(sequence, reply));
            assert_eq!(outcomes, [Outcome::Returned(call(1)), Outcome::Explained]);
            assert_eq!(ledger.audit().repeated, 1);
            assert!(ledger.audit().is_clean());
        }
    }
}
