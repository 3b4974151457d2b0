//! Listening sockets and the dealing out of what they accept: one shard accepts for all, since
//! the kernel's own dealing (SO_REUSEPORT) is uneven for few connections.

use super::ring::Ring;
use crate::engine::time::Timestamp;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long to leave the backlog alone when descriptors or memory have run out.
const RETRY: Duration = Duration::from_millis(100);

/// A peer whose machine is gone is noticed in about two minutes even without heartbeats.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_COUNT: u32 = 4;

/// Binds and listens. Options that every accepted socket needs are set here: it inherits them.
pub(super) fn listen(address: SocketAddr) -> io::Result<Socket> {
    let listen = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_COUNT);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    listen().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

pub(super) struct Acceptor {
    /// `None`: closed.
    listeners: Vec<Option<Listener>>,
    shard_count: u16,
    next_shard: u16,
    /// When listeners that are not armed are armed again.
    retry_at: Option<Timestamp>,
    /// The log has been told of the present shortage.
    has_complained: bool,
    is_stopping: bool,
}

struct Listener {
    socket: Socket,
    is_armed: bool,
}

impl Acceptor {
    pub(super) fn new(listeners: Vec<Socket>, shard_count: u16) -> Acceptor {
        let listener = |socket| {
            Some(Listener {
                socket,
                is_armed: false,
            })
        };
        Acceptor {
            listeners: listeners.into_iter().map(listener).collect(),
            shard_count,
            next_shard: 0,
            retry_at: None,
            has_complained: false,
            is_stopping: false,
        }
    }

    /// Arms every listener that is not armed.
    pub(super) fn arm(&mut self, ring: &mut Ring) {
        self.retry_at = None;
        for (token, listener) in (0..).zip(&mut self.listeners) {
            if let Some(listener) = listener
                && !listener.is_armed
            {
                listener.is_armed = true;
                ring.accept(listener.socket.as_raw_fd(), token);
            }
        }
    }

    /// A connection, and the shard whose turn it is to have it.
    pub(super) fn handle_accepted(
        &mut self,
        token: u32,
        accepted: io::Result<OwnedFd>,
        armed: bool,
        now: Timestamp,
    ) -> Option<(u16, OwnedFd)> {
        if !armed {
            let listener = &mut self.listeners[token as usize];
            if self.is_stopping {
                *listener = None;
            } else if let Some(listener) = listener {
                listener.is_armed = false;
                let delay = accepted.as_ref().err().map_or(Duration::ZERO, retry_after);
                let retry_at = now.plus(delay);
                self.retry_at = Some(self.retry_at.map_or(retry_at, |at| at.max(retry_at)));
            }
        }
        match accepted {
            Ok(_) if self.is_stopping => None,
            Ok(socket) => {
                self.has_complained = false;
                let shard = self.next_shard;
                self.next_shard = (shard + 1) % self.shard_count;
                Some((shard, socket))
            }
            Err(error) => {
                if !self.is_stopping && !retry_after(&error).is_zero() && !self.has_complained {
                    self.has_complained = true;
                    tracing::warn!("cannot accept connections at the moment: {error}");
                }
                None
            }
        }
    }

    pub(super) fn handle_deadline(&mut self, ring: &mut Ring, now: Timestamp) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.arm(ring);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// No connection is accepted any more. A listener is closed once the kernel is done with it.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.retry_at = None;
        for listener in &mut self.listeners {
            let is_armed = listener.as_ref().is_some_and(|listener| listener.is_armed);
            if !is_armed {
                *listener = None;
            } else if let Some(listener) = listener {
                // Ends the accept. It fails only for a socket that does not listen.
                let _ = SockRef::from(&listener.socket).shutdown(Shutdown::Both);
            }
        }
    }
}

/// Zero for what concerns one connection only; anything else would come again at once.
fn retry_after(error: &io::Error) -> Duration {
    match error.raw_os_error() {
        Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO | libc::EPERM) => Duration::ZERO,
        _ => RETRY,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::{Completion, RingSettings};
    use super::*;
    use std::net::TcpStream;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn acceptor(shard_count: u16) -> (Acceptor, SocketAddr) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        (Acceptor::new(vec![listener], shard_count), address)
    }

    fn next(ring: &mut Ring) -> (u32, io::Result<OwnedFd>, bool) {
        for _ in 0..100 {
            ring.turn(Some(Duration::from_millis(100))).unwrap();
            if let Some(Completion::Accepted {
                token,
                result,
                armed,
            }) = ring.poll_completion()
            {
                return (token, result, armed);
            }
        }
        panic!("nothing was accepted");
    }

    #[test]
    fn connections_are_dealt_out_in_turn_and_inherit_the_options() {
        let mut ring = Ring::new(&RingSettings::default()).unwrap();
        let (mut acceptor, address) = acceptor(3);
        acceptor.arm(&mut ring);
        let mut peers = Vec::new();
        let mut shards = Vec::new();
        for _ in 0..4 {
            peers.push(TcpStream::connect(address).unwrap());
            let (token, result, armed) = next(&mut ring);
            let (shard, socket) = acceptor.handle_accepted(token, result, armed, NOW).unwrap();
            shards.push(shard);
            let socket = Socket::from(socket);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        }
        assert_eq!(shards, [0, 1, 2, 0]);
    }

    #[test]
    fn a_shortage_of_descriptors_pauses_accepting_for_a_moment() {
        let mut ring = Ring::new(&RingSettings::default()).unwrap();
        let (mut acceptor, address) = acceptor(1);
        let shortage = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        assert!(
            acceptor
                .handle_accepted(0, shortage(), false, NOW)
                .is_none()
        );
        assert_eq!(acceptor.next_deadline(), Some(NOW.plus(RETRY)));
        assert!(acceptor.has_complained);
        let _peer = TcpStream::connect(address).unwrap();
        acceptor.handle_deadline(&mut ring, NOW);
        assert!(acceptor.next_deadline().is_some(), "too early");
        acceptor.handle_deadline(&mut ring, NOW.plus(RETRY));
        assert_eq!(acceptor.next_deadline(), None);
        let (token, result, armed) = next(&mut ring);
        assert!(
            acceptor
                .handle_accepted(token, result, armed, NOW)
                .is_some()
        );
        assert!(!acceptor.has_complained);
    }

    #[test]
    fn a_stopped_acceptor_closes_its_listeners() {
        let mut ring = Ring::new(&RingSettings::default()).unwrap();
        let (mut acceptor, address) = acceptor(1);
        acceptor.arm(&mut ring);
        ring.turn(Some(Duration::ZERO)).unwrap();
        acceptor.stop();
        let (token, result, armed) = next(&mut ring);
        assert!(
            acceptor
                .handle_accepted(token, result, armed, NOW)
                .is_none()
        );
        assert!(acceptor.listeners[0].is_none());
        TcpStream::connect(address).unwrap_err();
    }

    #[test]
    fn an_address_in_use_is_named() {
        let (_acceptor, address) = acceptor(1);
        let text = listen(address).unwrap_err().to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("in use"),
            "{text}"
        );
    }
}
