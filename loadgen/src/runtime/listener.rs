//! Which process listens at an address of this machine, as `/proc` tells it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// TCP_LISTEN in the kernel's tables.
const STATE_LISTEN: &str = "0A";

/// The one process that listens at `address`. `None` if it is on another machine, hidden from
/// us, or if several hold the socket: a superserver's time would tell nothing.
pub fn listener_pid(address: &str) -> Option<u32> {
    let address = address.to_socket_addrs().ok()?.next()?;
    if !address.ip().is_loopback() {
        return None;
    }
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(
            text.lines()
                .filter_map(|line| parse_listener(line, address)),
        );
    }
    let mut pids = pids().filter(|pid| holds(*pid, &inodes));
    let pid = pids.next()?;
    pids.next().is_none().then_some(pid)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.into_iter().any(|link| {
        let inode = link.to_str().and_then(parse_socket_link);
        inode.is_some_and(|inode| inodes.contains(&inode))
    })
}

/// "socket:[12345]".
fn parse_socket_link(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The inode of a socket that listens for `address`. Fields: number, local address, remote
/// address, state, queues, timer, retransmits, user, timeout, inode (proc_pid_net(5)).
fn parse_listener(line: &str, address: SocketAddr) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let (local, state) = (fields.nth(1)?, fields.nth(1)?);
    let inode = fields.nth(5)?.parse().ok()?;
    let (host, port) = local.split_once(':')?;
    let is_port = u16::from_str_radix(port, 16).ok()? == address.port();
    let is_address = match (parse_host(host)?, address) {
        (Host::V4(host), SocketAddr::V4(address)) => host.is_unspecified() || host == *address.ip(),
        (Host::V6(host), SocketAddr::V6(address)) => host.is_unspecified() || host == *address.ip(),
        // A socket for all of IPv6 takes IPv4 too, unless told otherwise.
        (Host::V6(host), SocketAddr::V4(address)) => {
            host.is_unspecified() || host.to_ipv4_mapped() == Some(*address.ip())
        }
        (Host::V4(_), SocketAddr::V6(_)) => false,
    };
    (state == STATE_LISTEN && is_port && is_address).then_some(inode)
}

enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// Words of 32 bits, each in the machine's order.
fn parse_host(digits: &str) -> Option<Host> {
    let mut octets = Vec::new();
    for start in (0..digits.len()).step_by(8) {
        let word = u32::from_str_radix(digits.get(start..start + 8)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    if let Ok(octets) = <[u8; 4]>::try_from(octets.as_slice()) {
        return Some(Host::V4(octets.into()));
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(Host::V6(octets.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "   0: 0100007F:1628 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                      1000        0 42017 1 0000000000000000 100 0 0 10 0";
    const V6: &str = "   0: 00000000000000000000000000000000:1628 \
                      00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 \
                      00000000 0 0 77 1 0 100 0 0 10 0";

    fn found(line: &str, address: &str) -> Option<u64> {
        parse_listener(line, address.parse().expect("an address"))
    }

    #[test]
    fn the_socket_of_an_address_and_port_is_found() {
        assert_eq!(found(V4, "127.0.0.1:5672"), Some(42017));
        assert_eq!(found(V4, "127.0.0.1:5673"), None);
        assert_eq!(found(V4, "127.0.0.2:5672"), None);
        assert_eq!(
            found(&V4.replace("0100007F", "00000000"), "127.0.0.2:5672"),
            Some(42017)
        );
    }

    #[test]
    fn a_socket_for_all_of_ipv6_is_found_by_both_kinds_of_address() {
        assert_eq!(found(V6, "[::1]:5672"), Some(77));
        assert_eq!(found(V6, "127.0.0.1:5672"), Some(77));
        assert_eq!(found(V4, "[::1]:5672"), None);
    }

    #[test]
    fn connections_and_headings_are_no_listeners() {
        assert_eq!(found(&V4.replace(" 0A ", " 01 "), "127.0.0.1:5672"), None);
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when";
        assert_eq!(found(heading, "127.0.0.1:5672"), None);
    }

    #[test]
    fn only_sockets_have_a_socket_link() {
        assert_eq!(parse_socket_link("socket:[42017]"), Some(42017));
        assert_eq!(parse_socket_link("pipe:[42017]"), None);
    }
}
