//! `loadgen` as a test's own means: it runs, and its report is read.

use crate::Broker;
use std::path::PathBuf;
use std::process::Command;

/// The report of a run of calls; the run must have been clean.
#[track_caller]
pub fn run(broker: &Broker, options: &str) -> String {
    let output = Command::new(binary())
        .args(["rpc", "--url", &broker.uri()])
        .args(["--requesters", "4", "--workers", "4", "--in-flight", "4"])
        .args(["--threads", "2"])
        .args(options.split_whitespace())
        .output()
        .expect("loadgen can be started");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let report = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{options}: {report}");
    report
}

fn binary() -> PathBuf {
    // target/PROFILE/deps/TEST-HASH -> target/PROFILE/loadgen
    let tests = std::env::current_exe().expect("a running test has a path");
    let profile = tests
        .ancestors()
        .nth(2)
        .expect("cargo puts tests two folders deep");
    profile.join("loadgen")
}

/// The number that stands behind `what` in a report.
#[track_caller]
pub fn number_after(report: &str, what: &str) -> u64 {
    let (_, rest) = report
        .split_once(what)
        .unwrap_or_else(|| panic!("no {what:?} in {report}"));
    parse(rest.split_whitespace().next(), report)
}

/// The number that stands before `what` in a report.
#[track_caller]
pub fn number_before(report: &str, what: &str) -> u64 {
    let (rest, _) = report
        .split_once(what)
        .unwrap_or_else(|| panic!("no {what:?} in {report}"));
    parse(rest.split_whitespace().next_back(), report)
}

#[track_caller]
fn parse(word: Option<&str>, report: &str) -> u64 {
    let digits = word.unwrap_or_default().replace(',', "");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number where one should be: {report}"))
}
