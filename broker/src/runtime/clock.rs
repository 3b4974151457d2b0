//! The one clock of the process: every shard counts from the same start.

use crate::engine::time::Timestamp;
use std::time::{Instant, SystemTime};

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    /// The same moment in seconds since 1970; what the system's clock does later is not followed.
    started_at_s: u64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            start: Instant::now(),
            started_at_s: SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |elapsed| elapsed.as_secs()),
        }
    }

    pub(super) fn started_at_s(self) -> u64 {
        self.started_at_s
    }

    pub(super) fn now(self) -> Timestamp {
        Timestamp::default().plus(self.start.elapsed())
    }
}
