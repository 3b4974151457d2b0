//! Processor time as the kernel counts it, ours and another process's.

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
        let directory = match self {
            Process::Own => PathBuf::from("/proc/self"),
            Process::Other { pid } => PathBuf::from(format!("/proc/{pid}")),
        };
        by_thread(&directory).or_else(|| by_ticks(&directory))
    }
}

/// Time that each of our threads of this name was on a processor or waited for one, in order of
/// their ids; empty where the kernel keeps no scheduler statistics.
pub fn busy_times(name: &str) -> Vec<Duration> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let mut threads: Vec<PathBuf> = threads.flatten().map(|entry| entry.path()).collect();
    threads.sort();
    let busy_time = |thread: &PathBuf| {
        let its_name = fs::read_to_string(thread.join("comm")).ok()?;
        its_name.starts_with(name).then_some(())?;
        let text = fs::read_to_string(thread.join("schedstat")).ok()?;
        let mut fields = text.split_whitespace().map(str::parse);
        let (running, waiting): (u64, u64) = (fields.next()?.ok()?, fields.next()?.ok()?);
        Some(Duration::from_nanos(running + waiting))
    };
    threads.iter().filter_map(busy_time).collect()
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
    fn our_own_time_can_be_read() {
        assert!(Process::Own.processor_time().is_some());
        assert_eq!(Process::Other { pid: u32::MAX }.processor_time(), None);
    }
}
