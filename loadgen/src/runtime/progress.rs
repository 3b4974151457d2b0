//! One line each second on standard error, while calls go on.

use super::shared::Shared;
use crate::recorder::new_histogram;
use crate::report::{format_count, format_latency};
use broker::engine::time::Timestamp;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);

pub struct Progress {
    is_on: bool,
    is_terminal: bool,
    last: Option<(Timestamp, u64)>,
}

impl Progress {
    /// `wanted`: `None` lets the terminal decide.
    pub fn new(wanted: Option<bool>) -> Progress {
        let is_terminal = io::stderr().is_terminal();
        Progress {
            is_on: wanted.unwrap_or(is_terminal),
            is_terminal,
            last: None,
        }
    }

    pub fn is_on(&self) -> bool {
        self.is_on
    }

    pub fn show(&mut self, now: Timestamp, shared: &Shared) {
        if !self.is_on {
            return;
        }
        let returned_count = shared.returned_count();
        let (last_at, last_count) = *self.last.get_or_insert((now, returned_count));
        let elapsed = now.since(last_at);
        if elapsed < INTERVAL {
            return;
        }
        self.last = Some((now, returned_count));
        let rate = (returned_count - last_count) as f64 / elapsed.as_secs_f64();
        let mut latency = new_histogram();
        shared
            .gauges
            .iter()
            .for_each(|gauge| gauge.add_latency_to(&mut latency));
        let since_start = shared
            .start()
            .map_or(Duration::ZERO, |start| now.since(start));
        let line = format!(
            "{:>5.0} s  {:>13} calls  {:>11}/s  p99 {}  errors {}",
            since_start.as_secs_f64(),
            format_count(returned_count),
            format_count(rate as u64),
            format_latency(latency.value_at_quantile(0.99)),
            shared.error_count(),
        );
        let (before, after) = if self.is_terminal {
            ("\r\x1b[K", "")
        } else {
            ("", "\n")
        };
        // Standard error may be closed; the run goes on.
        let _ = write!(io::stderr(), "{before}{line}{after}");
    }

    /// Leaves the line for what comes after it.
    pub fn end(&self) {
        if self.is_on && self.is_terminal && self.last.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
