//! Which workers were killed, and when: what a call that is lost, or answered twice, is held
//! against. One for all threads of a run with faults; looked at only when something is amiss.

use broker::engine::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For the broker to notice that a worker's connection is gone. What it delivers to a dead
/// connection until then is lost with it; what it delivers later is the broker's own fault.
pub const NOTICE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Casualties {
    /// Workers acknowledge for themselves: a request outlives its worker.
    is_acked_by_hand: bool,
    /// How long a worker that was killed is not there.
    restart_after: Duration,
    /// When a worker of each queue was last killed: an earlier kill explains no more than it.
    kills: Mutex<BTreeMap<String, Timestamp>>,
}

impl Casualties {
    pub fn new(is_acked_by_hand: bool, restart_after: Duration) -> Casualties {
        Casualties {
            is_acked_by_hand,
            restart_after,
            kills: Mutex::default(),
        }
    }

    /// A worker of these queues is about to be killed.
    pub fn record<'a>(&self, queues: impl Iterator<Item = &'a String>, now: Timestamp) {
        let mut kills = self.lock();
        for queue in queues {
            let last = kills.entry(queue.clone()).or_insert(now);
            *last = now.max(*last);
        }
    }

    /// Whether a request to `queue`, sent at `sent`, may have been lost with a worker: never if
    /// workers acknowledge, else if one was killed later, or so shortly before that the broker
    /// need not have noticed.
    pub fn explain_loss(&self, queue: &str, sent: Timestamp) -> bool {
        let killed = self.lock().get(queue).copied();
        !self.is_acked_by_hand && killed.is_some_and(|killed| killed.plus(NOTICE) >= sent)
    }

    /// Whether a request to `queue`, sent at `sent`, may have found no worker.
    pub fn explain_absence(&self, queue: &str, sent: Timestamp) -> bool {
        let killed = self.lock().get(queue).copied();
        killed.is_some_and(|killed| killed.plus(self.restart_after + NOTICE) >= sent)
    }

    /// Whether a request to `queue` may have been delivered twice.
    pub fn explain_redelivery(&self, queue: &str) -> bool {
        self.is_acked_by_hand && self.lock().contains_key(queue)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.kills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_explains_what_was_sent_before_it_or_right_after() {
        let casualties = Casualties::new(false, Duration::ZERO);
        let killed = Timestamp(5_000_000_000);
        assert!(!casualties.explain_loss("q", Timestamp(1)));
        casualties.record([&"q".to_owned()].into_iter(), killed);
        assert!(casualties.explain_loss("q", Timestamp(1)));
        assert!(casualties.explain_loss("q", killed.plus(NOTICE)));
        assert!(!casualties.explain_loss("q", killed.plus(NOTICE * 2)));
        assert!(!casualties.explain_loss("other", Timestamp(1)));
        assert!(!casualties.explain_redelivery("q"));
    }

    #[test]
    fn with_acknowledgements_a_kill_explains_a_redelivery_and_no_loss() {
        let casualties = Casualties::new(true, NOTICE);
        assert!(!casualties.explain_redelivery("q"));
        casualties.record([&"q".to_owned()].into_iter(), Timestamp(5));
        assert!(casualties.explain_redelivery("q"));
        assert!(!casualties.explain_loss("q", Timestamp(1)));
        let killed = Timestamp(5);
        assert!(casualties.explain_absence("q", killed.plus(NOTICE * 2)));
        assert!(!casualties.explain_absence("q", killed.plus(NOTICE * 3)));
    }
}
