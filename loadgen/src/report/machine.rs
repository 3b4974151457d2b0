//! Where and with what a run was made. No host names, no paths: reports are shared.

use serde::{Deserialize, Serialize};
use std::fs;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    pub name: String,
    pub version: String,
    pub commit: String,
    pub compiler: String,
    /// Debug builds measure themselves.
    pub is_optimised: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
    pub memory_mib: u64,
}

impl Generator {
    pub fn own() -> Generator {
        Generator {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("LOADGEN_COMMIT").to_owned(),
            compiler: env!("LOADGEN_COMPILER").to_owned(),
            is_optimised: !cfg!(debug_assertions),
        }
    }
}

impl Machine {
    pub fn read() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: parse_cpu_model(&read("/proc/cpuinfo")),
            kernel: parse_kernel(&read("/proc/sys/kernel/osrelease")),
            memory_mib: parse_memory_mib(&read("/proc/meminfo")),
        }
    }
}

/// The version alone: what distributions add to it may name a machine.
fn parse_kernel(release: &str) -> String {
    let version = release.trim().split('-').next().unwrap_or_default();
    version.to_owned()
}

/// The first "model name", which x86 has; other machines say "unknown".
fn parse_cpu_model(cpuinfo: &str) -> String {
    field(cpuinfo, "model name").unwrap_or("unknown").to_owned()
}

fn parse_memory_mib(meminfo: &str) -> u64 {
    let kib = field(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse().ok());
    kib.map_or(0, |kib: u64| kib / 1024)
}

fn field<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.trim() == wanted)?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_kernel_and_memory_are_found() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu\n";
        assert_eq!(parse_cpu_model(cpuinfo), "Some CPU @ 2 GHz");
        assert_eq!(parse_cpu_model("Hardware : x\n"), "unknown");
        assert_eq!(parse_kernel("6.1.0-13-amd64\n"), "6.1.0");
        assert_eq!(
            parse_memory_mib("MemTotal:       24576000 kB\nMemFree: 1 kB\n"),
            24_000
        );
        assert_eq!(parse_memory_mib(""), 0);
    }
}
