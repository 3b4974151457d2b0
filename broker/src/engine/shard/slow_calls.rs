//! What is measured of calls that have ended, and the log of those that took too long.

use super::Shard;
use crate::engine::address::QueueAddress;
use crate::engine::call::{Outcome, Times};
use crate::engine::name::Name;
use crate::engine::queue::Record;
use crate::engine::time::Timestamp;
use crate::limits::SLOW_CALL_COUNT_PER_SECOND;
use std::time::Duration;

/// How many slow calls have been logged of late, so that they do not fill the disk.
#[derive(Debug, Default)]
pub(super) struct SlowCalls {
    /// When the second began that is counted.
    since: Timestamp,
    count: u32,
    /// Slow calls that were not logged since the latest that was.
    left_out_count: u64,
}

impl SlowCalls {
    /// May one more be logged? Says how many were left out before it.
    fn take(&mut self, now: Timestamp) -> Option<u64> {
        if now.since(self.since) >= Duration::from_secs(1) {
            (self.since, self.count) = (now, 0);
        }
        if self.count >= SLOW_CALL_COUNT_PER_SECOND {
            self.left_out_count += 1;
            return None;
        }
        self.count += 1;
        Some(std::mem::take(&mut self.left_out_count))
    }
}

impl Shard {
    /// A call to a local queue has ended.
    pub(super) fn measure(
        &mut self,
        address: QueueAddress,
        record: &Record,
        outcome: Outcome,
        ended_at: Timestamp,
    ) {
        let times = Times {
            began: record.began,
            handed_at: record.handed_at,
            ended_at,
        };
        if let Some(service) = self.services.get_mut(address.index) {
            service.record(&times, outcome, record.weight);
        }
        let rules = self.queue(address).and_then(|queue| queue.rules());
        let slow = rules.and_then(|rules| rules.rpc_slow);
        if slow.is_some_and(|slow| times.whole() >= slow) {
            self.log_slow_call(address, record, &times, outcome);
        }
    }

    /// One line of `key=value`, in which nobody can break a line.
    fn log_slow_call(
        &mut self,
        address: QueueAddress,
        record: &Record,
        times: &Times,
        outcome: Outcome,
    ) {
        let Some(left_out_count) = self.slow_calls.take(self.now) else {
            return;
        };
        let queue = &self.queues[address.index as usize];
        let vhost = &self.settings.vhosts[usize::from(queue.vhost.0)];
        let quoted = |name: &Name| format!("{:?}", String::from_utf8_lossy(name.as_bytes()));
        let worker_us = times.worker().unwrap_or_default().as_micros();
        let mut text = format!(
            "slow call queue={} vhost={vhost:?} outcome={outcome} queued_us={} \
             worker_us={worker_us} whole_us={}",
            quoted(&queue.name),
            times.queued().as_micros(),
            times.whole().as_micros(),
        );
        if let Some(marks) = &record.marks {
            text += &format!(" correlation_id={}", quoted(&marks.correlation_id));
            if !marks.traceparent.as_bytes().is_empty() {
                text += &format!(" traceparent={}", quoted(&marks.traceparent));
            }
        }
        if left_out_count > 0 {
            text += &format!(" left_out={left_out_count}");
        }
        self.agenda.log(true, text);
    }
}
