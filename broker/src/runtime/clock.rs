//! The one clock of the process: every shard counts from the same start.

use crate::engine::time::Timestamp;
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    pub(super) fn now(self) -> Timestamp {
        Timestamp::default().plus(self.start.elapsed())
    }
}
