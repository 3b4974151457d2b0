//! Processor time as the kernel counts it, ours and another process's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `/proc` calls a clock tick; the same on every Linux that has io_uring.
const TICKS_PER_S: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Own,
    Other { pid: u32 },
}

impl Process {
    /// Processor time of all live threads so far; `None` if the process is gone or hidden.
    pub fn processor_time(self) -> Option<Duration> {
        let directory = self.directory();
        by_thread(&directory).or_else(|| by_ticks(&directory))
    }

    /// How long each thread has been on a processor or has waited for one, by the kernel's number
    /// for it; empty where that is not to be known.
    pub fn busy_times(self) -> BTreeMap<u32, Duration> {
        let Ok(threads) = fs::read_dir(self.directory().join("task")) else {
            return BTreeMap::new();
        };
        let entry = |thread: fs::DirEntry| {
            let id = thread.file_name().to_str()?.parse().ok()?;
            Some((id, busy_time(&thread.path())?))
        };
        threads.flatten().filter_map(entry).collect()
    }

    fn directory(self) -> PathBuf {
        match self {
            Process::Own => PathBuf::from("/proc/self"),
            Process::Other { pid } => PathBuf::from(format!("/proc/{pid}")),
        }
    }
}

/// The kernel's number for the thread that asks; 0 if there is no `/proc`.
pub fn own_thread_id() -> u32 {
    let link = fs::read_link("/proc/thread-self").unwrap_or_default();
    let name = link.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}

/// As [`Process::busy_times`], of one thread of ours.
pub fn own_busy_time(thread_id: u32) -> Option<Duration> {
    busy_time(Path::new(&format!("/proc/self/task/{thread_id}")))
}

fn busy_time(thread: &Path) -> Option<Duration> {
    parse_busy(&fs::read_to_string(thread.join("schedstat")).ok()?)
}

/// Running, and waiting to run.
fn parse_busy(schedstat: &str) -> Option<Duration> {
    let mut fields = schedstat.split_whitespace().map(str::parse);
    let (running, waiting): (u64, u64) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(Duration::from_nanos(running + waiting))
}

/// In nanoseconds, where the kernel keeps scheduler statistics.
fn by_thread(directory: &Path) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(directory.join("task")).ok()? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
            continue;
        };
        total += parse_schedstat(&text)?;
    }
    (total > Duration::ZERO).then_some(total)
}

fn by_ticks(directory: &Path) -> Option<Duration> {
    parse_stat(&fs::read_to_string(directory.join("stat")).ok()?)
}

fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

/// User and system time are fields 14 and 15; the name, field 2, may hold blanks.
fn parse_stat(text: &str) -> Option<Duration> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduler_statistics_begin_with_nanoseconds() {
        assert_eq!(
            parse_schedstat("1318691 5 1\n"),
            Some(Duration::from_nanos(1_318_691))
        );
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn ticks_are_found_behind_a_name_with_blanks_and_brackets() {
        let text = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(parse_stat(text), Some(Duration::from_secs(2)));
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn a_thread_that_waits_for_a_processor_is_busy_too() {
        assert_eq!(parse_busy("700 300 9\n"), Some(Duration::from_nanos(1000)));
        assert_eq!(parse_busy("700"), None);
    }

    #[test]
    fn a_thread_finds_itself_among_those_of_its_process() {
        let id = own_thread_id();
        assert_eq!(Process::Own.busy_times().contains_key(&id), id != 0);
        assert_eq!(own_busy_time(id).is_some(), id != 0);
    }

    #[test]
    fn our_own_time_can_be_read() {
        assert!(Process::Own.processor_time().is_some());
        assert_eq!(Process::Other { pid: u32::MAX }.processor_time(), None);
    }
}
