//! What the process may use of the machine, asked once at the start.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;

/// Octets of locked memory that glommio demands for an executor.
const LOCKED_LEN_PER_EXECUTOR: u64 = 512 * 1024;

/// Descriptors of a shard that are no connections: rings, wake-ups, timers.
const DESCRIPTORS_PER_SHARD: u64 = 16;

/// The standard streams, listeners, signals and room for an operator.
const DESCRIPTORS_SPARE: u64 = 64;

const KERNEL_MIN: (u32, u32) = (6, 1);

/// The cores that this process may run on.
pub(crate) fn usable_cores() -> Vec<usize> {
    // SAFETY: a set of cores is plain bits, zero is an empty one, and the kernel is told its
    // length.
    let (result, set) = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        let result = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (result, set)
    };
    if result != 0 {
        return vec![0];
    }
    let len = usize::try_from(libc::CPU_SETSIZE).expect("a positive constant");
    // SAFETY: `core` is below the set's size.
    let is_usable = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    (0..len).filter(is_usable).collect()
}

pub(crate) fn physical_memory_len() -> u64 {
    // SAFETY: asks for two numbers.
    let (pages, page_len) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(page_len).unwrap_or(0)
}

/// Octets that nobody can guess.
pub(super) fn draw_secret() -> io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    // SAFETY: the buffer and its length. Requests this short are never cut.
    let drawn = unsafe { libc::getrandom(secret.as_mut_ptr().cast(), secret.len(), 0) };
    if drawn == 16 {
        Ok(secret)
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(super) fn check_kernel() -> io::Result<()> {
    let release = kernel_release()?;
    match parse_release(&release) {
        Some(version) if version < KERNEL_MIN => Err(io::Error::other(format!(
            "Linux 6.1 or newer is needed, this is {release}"
        ))),
        // What calls itself something else may well do; the ring will tell.
        _ => Ok(()),
    }
}

/// Raises the limit of locked memory as far as it goes.
pub(super) fn check_locked_memory(shard_count: u16) -> io::Result<()> {
    let needed = LOCKED_LEN_PER_EXECUTOR * u64::from(shard_count);
    let limit = raise(libc::RLIMIT_MEMLOCK, needed)?;
    if limit < LOCKED_LEN_PER_EXECUTOR {
        return Err(io::Error::other(format!(
            "the limit of locked memory is too low: {} KiB where {} KiB are needed \
             (ulimit -l, LimitMEMLOCK=)",
            limit / 1024,
            needed / 1024
        )));
    }
    if limit < needed {
        tracing::warn!(
            "the limit of locked memory is low: {} KiB, {shard_count} shards would like {} KiB",
            limit / 1024,
            needed / 1024
        );
    }
    Ok(())
}

/// Raises the limit of descriptors as far as it goes.
pub(super) fn check_descriptors(connection_count_max: usize, shard_count: u16) -> io::Result<()> {
    let limit = raise(libc::RLIMIT_NOFILE, u64::MAX)?;
    let others = DESCRIPTORS_SPARE + DESCRIPTORS_PER_SHARD * u64::from(shard_count);
    let connection_count = limit.saturating_sub(others);
    if connection_count < connection_count_max as u64 {
        tracing::warn!(
            "the limit of file descriptors ({limit}) allows about {connection_count} connections, \
             fewer than the {connection_count_max} configured (ulimit -n, LimitNOFILE=)"
        );
    }
    Ok(())
}

/// Raises a soft limit to `wanted` as far as the hard one lets it; the limit that holds then.
fn raise(resource: libc::__rlimit_resource_t, wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills in the structure.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < wanted {
        let raised = libc::rlimit {
            rlim_cur: wanted.min(limit.rlim_max),
            ..limit
        };
        // SAFETY: the kernel reads the structure.
        if unsafe { libc::setrlimit(resource, &raw const raised) } == 0 {
            return Ok(raised.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

fn kernel_release() -> io::Result<String> {
    let mut name = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: the kernel fills in the structure, or says that it did not.
    let name = unsafe {
        if libc::uname(name.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        name.assume_init()
    };
    // SAFETY: the kernel ends the text with a zero.
    let release = unsafe { std::ffi::CStr::from_ptr(ptr::from_ref(&name.release).cast()) };
    Ok(release.to_string_lossy().into_owned())
}

/// Major and minor of texts such as `6.1.0-13-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_kernels_are_understood() {
        assert_eq!(parse_release("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(
            parse_release("5.15.167.4-microsoft-standard"),
            Some((5, 15))
        );
        assert_eq!(parse_release("10.0-rc1"), Some((10, 0)));
        assert_eq!(parse_release("unknown"), None);
        assert!(parse_release(&kernel_release().unwrap()).is_some());
    }

    #[test]
    fn the_machine_has_a_core_and_memory_and_draws_secrets() {
        assert!(!usable_cores().is_empty());
        assert!(physical_memory_len() > 1 << 20);
        assert_ne!(draw_secret().unwrap(), draw_secret().unwrap());
    }
}
