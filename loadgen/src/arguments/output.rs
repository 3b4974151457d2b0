//! What is told of a run, and where to.

use crate::runtime::View;
use clap::Args;
use std::path::PathBuf;

/// What becomes of a report.
#[derive(Args, Clone, Debug)]
pub struct OutputArguments {
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// Also write the percentiles as HdrHistogram text, in microseconds
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub hgrm: Option<PathBuf>,
    /// Also write an HdrHistogram interval log, in nanoseconds
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub hlog: Option<PathBuf>,
    /// Also write the time series as CSV
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub csv: Option<PathBuf>,
    /// Also write a page with the plots, for a browser
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
    /// Also write each plot as a file of its own into this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Report")]
    pub svg: Option<PathBuf>,
    /// No report, only the exit status (and what went wrong)
    #[arg(long, help_heading = "Report")]
    pub quiet: bool,
    /// A progress line each second even if standard error is no terminal
    #[arg(long, conflicts_with = "quiet", help_heading = "Report")]
    pub progress: bool,
    /// A dashboard on the terminal while calls go on; without a terminal, a progress line
    #[arg(long, conflicts_with_all = ["quiet", "progress"], help_heading = "Report")]
    pub tui: bool,
}

impl OutputArguments {
    pub fn view(&self) -> View {
        match (self.quiet, self.progress, self.tui) {
            (true, ..) => View::Nothing,
            (_, true, _) => View::Line,
            (.., true) => View::Dashboard,
            _ => View::LineOnTerminal,
        }
    }
}
