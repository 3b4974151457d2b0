//! The measured calls by time: what a plot over seconds and an interval log are made of.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The calls that came back, and what went wrong, within one stretch of time.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the report does not tell it yet")]
pub struct Interval {
    /// From the first measured call.
    pub start: Duration,
    pub len: Duration,
    /// Nanoseconds from the intended start; its count is that of the calls returned.
    pub since_intended: Histogram<u64>,
    pub error_count: u64,
}
