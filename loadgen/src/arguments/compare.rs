//! What kept reports are compared with.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub struct CompareArguments {
    /// Reports that --json wrote, of one run or of several; the first is what others are compared
    /// with
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Which runs belong together: those of one name in one file, or of one name in all files
    #[arg(long, value_enum, default_value_t = GroupBy::File)]
    pub by: GroupBy,
    /// Also write the comparison as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// Also write a page with the plots, for a browser
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
    /// Also write each plot as a file of its own into this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Report")]
    pub svg: Option<PathBuf>,
    /// No table
    #[arg(long, help_heading = "Report")]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    File,
    Label,
}
