//! Which member wants to be looked at when. Pure: the time comes in.

use broker::engine::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Invariant: each member's earliest alarm is in `all`; what is there of others has no effect.
#[derive(Debug, Default)]
pub struct Alarms {
    all: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// By member; `None` without one.
    earliest: Vec<Option<Timestamp>>,
}

impl Alarms {
    /// At `due`, or earlier if it is to be earlier already.
    pub fn set(&mut self, member: usize, due: Timestamp) {
        if self.earliest.len() <= member {
            self.earliest.resize(member + 1, None);
        }
        if self.earliest[member].is_none_or(|earliest| due < earliest) {
            self.earliest[member] = Some(due);
            self.all.push(Reverse((due, member)));
        }
    }

    /// A member whose alarm has come; it has none then.
    pub fn poll(&mut self, now: Timestamp) -> Option<usize> {
        while let Some(Reverse((due, member))) = self.all.peek().copied()
            && due <= now
        {
            self.all.pop();
            if self.earliest[member] == Some(due) {
                self.earliest[member] = None;
                return Some(member);
            }
        }
        None
    }

    /// No alarm comes before it.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.all.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_called_once_at_its_earliest_alarm() {
        let mut alarms = Alarms::default();
        alarms.set(3, Timestamp(20));
        alarms.set(3, Timestamp(10));
        alarms.set(3, Timestamp(30));
        alarms.set(0, Timestamp(15));
        assert_eq!(alarms.next_due(), Some(Timestamp(10)));
        assert_eq!(alarms.poll(Timestamp(9)), None);
        assert_eq!(alarms.poll(Timestamp(50)), Some(3));
        assert_eq!(alarms.poll(Timestamp(50)), Some(0));
        assert_eq!(alarms.poll(Timestamp(50)), None);
        alarms.set(3, Timestamp(60));
        assert_eq!(alarms.poll(Timestamp(60)), Some(3));
    }
}
