//! What is seen of a run while calls go on: a line on standard error each second, or a dashboard.

use super::dashboard::Dashboard;
use super::glance::{Glance, Look, share_done};
use super::shared::Shared;
use crate::plan::Plan;
use crate::report::{format_count, format_latency};
use broker::engine::time::Timestamp;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);

/// What a person wants to see of a run while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Nothing,
    Line,
    /// Nobody reads it elsewhere.
    LineOnTerminal,
    Dashboard,
}

pub struct Progress {
    screen: Screen,
    is_terminal: bool,
    glance: Option<Glance>,
}

enum Screen {
    Off,
    Line,
    /// To be opened by the first look: until then an error message needs the terminal as it is.
    Awaited,
    Dashboard(Dashboard),
}

impl Progress {
    pub fn new(view: View) -> Progress {
        let is_terminal = io::stderr().is_terminal();
        let screen = match view {
            View::Nothing => Screen::Off,
            View::LineOnTerminal if !is_terminal => Screen::Off,
            View::Line | View::LineOnTerminal => Screen::Line,
            View::Dashboard if is_terminal => Screen::Awaited,
            View::Dashboard => no_dashboard("standard error is no terminal"),
        };
        Progress {
            screen,
            is_terminal,
            glance: None,
        }
    }

    pub fn is_on(&self) -> bool {
        !matches!(self.screen, Screen::Off)
    }

    /// True if somebody has had enough.
    pub fn show(&mut self, now: Timestamp, shared: &Shared, plan: &Plan) -> bool {
        let Some(start) = shared.start().filter(|_| self.is_on()) else {
            return false;
        };
        if matches!(self.screen, Screen::Awaited) {
            self.screen = match Dashboard::open() {
                Ok(dashboard) => Screen::Dashboard(dashboard),
                Err(error) => no_dashboard(&error.to_string()),
            };
        }
        let is_first = self.glance.is_none();
        let first = || Glance::new(plan, Look::take(now, shared));
        let glance = self.glance.get_or_insert_with(first);
        let is_due = now.since(glance.look.at) >= INTERVAL;
        if is_due {
            glance.advance(Look::take(now, shared), start);
            glance.share_done = share_done(plan, glance.elapsed, glance.look.returned_count);
        }
        match &mut self.screen {
            Screen::Dashboard(dashboard) => dashboard.show(glance, is_due || is_first),
            Screen::Line if is_due => {
                write_line(glance, self.is_terminal);
                false
            }
            Screen::Off | Screen::Awaited | Screen::Line => false,
        }
    }

    /// The terminal as it was: a second signal may end the process at any time from here on.
    pub fn leave_dashboard(&mut self) {
        if matches!(self.screen, Screen::Dashboard(_)) {
            self.screen = Screen::Line;
        }
    }

    /// Leaves the line for what comes after it.
    pub fn end(mut self) {
        self.leave_dashboard();
        if self.is_on() && self.is_terminal && self.glance.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn no_dashboard(reason: &str) -> Screen {
    let _ = writeln!(
        io::stderr(),
        "loadgen: no dashboard, as {reason}: a progress line instead"
    );
    Screen::Line
}

fn write_line(glance: &Glance, is_terminal: bool) {
    let line = format!(
        "{:>5.0} s  {:>13} calls  {:>11}/s  p99 {:>8}  errors {}",
        glance.elapsed.as_secs_f64(),
        format_count(glance.look.returned_count),
        format_count(glance.rate as u64),
        p99(glance),
        format_count(glance.look.error_count),
    );
    let (before, after) = match is_terminal {
        true => ("\r\x1b[K", ""),
        false => ("", "\n"),
    };
    // Standard error may be closed; the run goes on.
    let _ = write!(io::stderr(), "{before}{line}{after}");
}

/// Of the last second; none before the end of the warm-up.
fn p99(glance: &Glance) -> String {
    match glance.latency.is_empty() {
        true => "-".to_owned(),
        false => format_latency(glance.latency.value_at_quantile(0.99)),
    }
}
