//! The floor: a relay that copies octets between the two sockets of a pair and knows nothing
//! else. What it costs is what the kernel's TCP costs; the broker is measured against it.
//!
//! Each connection first sends eight octets: `RNDF`, its role (`R` requester, `W` worker), zero,
//! the index of its pair (big endian). When both are there each gets the octet 1, and from then
//! on whatever one sends the other receives. One thread, one network ring, one send per dirty
//! connection per turn, the same ring as the broker's.

use broker::runtime::ring::{Completion, Received, Ring, RingSettings};
use signal_hook::consts::{SIGINT, SIGTERM};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const LISTENER: u32 = u32::MAX;
const LISTEN_BACKLOG: i32 = 1024;
const HELLO_LEN: usize = 8;
const HELLO_MAGIC: &[u8] = b"RNDF";
const READY: u8 = 1;
/// A pair whose reader is this far behind is closed: a relay has no other answer.
const PENDING_LEN_MAX: usize = 64 * 1024 * 1024;

/// Relays until SIGTERM or SIGINT; port 0 takes a free one. Says on standard error where it
/// listens.
pub fn serve(address: SocketAddr) -> io::Result<Infallible> {
    // Nothing has to be flushed, so the process may end right where the signal meets it.
    let armed = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 0, Arc::clone(&armed))?;
    }
    let listener = listen(address)?;
    let mut relay = Relay::new(Ring::new(&RingSettings::default())?);
    relay.ring.accept(listener.as_raw_fd(), LISTENER);
    if let Some(address) = listener.local_addr()?.as_socket() {
        eprintln!("listening on {address}");
    }
    loop {
        relay.ring.turn(None)?;
        while let Some(completion) = relay.ring.poll_completion() {
            relay.handle_completion(completion, listener.as_raw_fd());
        }
        relay.flush();
    }
}

/// Linux hands TCP_NODELAY of a listener on to every socket it accepts.
fn listen(address: SocketAddr) -> io::Result<Socket> {
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    listener.set_tcp_nodelay(true)?;
    listener.bind(&address.into())?;
    listener.listen(LISTEN_BACKLOG)?;
    Ok(listener)
}

/// Where a connection stands between its accept and its end.
enum Stage {
    Hello { octets: Vec<u8> },
    AwaitPeer { name: PairName },
    Relaying { peer: u32 },
    Closing,
}

/// One end of a pair: its role and the index of the pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PairName {
    role: u8,
    index: u16,
}

impl PairName {
    fn decode(hello: &[u8]) -> Option<PairName> {
        let rest = hello.strip_prefix(HELLO_MAGIC)?;
        match *rest {
            [role @ (b'R' | b'W'), 0, high, low] => Some(PairName {
                role,
                index: u16::from_be_bytes([high, low]),
            }),
            _ => None,
        }
    }

    fn other_end(self) -> PairName {
        PairName {
            role: if self.role == b'R' { b'W' } else { b'R' },
            index: self.index,
        }
    }
}

/// The slot is freed only when neither a receive nor a send is in flight.
struct Connection {
    stream: TcpStream,
    stage: Stage,
    receiving: bool,
    sending: bool,
    /// Listed in `Relay::dirty`.
    dirty: bool,
    pending: Vec<u8>,
    /// The buffer of the last send, to be filled next.
    spare: Vec<u8>,
}

struct Relay {
    ring: Ring,
    connections: Slab<Connection>,
    waiting: HashMap<PairName, u32>,
    dirty: Vec<u32>,
}

impl Relay {
    fn new(ring: Ring) -> Relay {
        Relay {
            ring,
            connections: Slab::new(),
            waiting: HashMap::new(),
            dirty: Vec::new(),
        }
    }

    fn handle_completion(&mut self, completion: Completion, listener: RawFd) {
        match completion {
            Completion::Accepted { result, armed, .. } => {
                if let Ok(fd) = result {
                    self.open(fd);
                }
                if !armed {
                    self.ring.accept(listener, LISTENER);
                }
            }
            Completion::Received {
                token,
                result,
                armed,
            } => self.handle_received(token, result, armed),
            Completion::Sent {
                token,
                buffer,
                result,
            } => self.handle_sent(token, buffer, result),
            // It is rung by nobody and sends in one piece.
            _ => {}
        }
    }

    fn open(&mut self, fd: OwnedFd) {
        let stage = Stage::Hello {
            octets: Vec::with_capacity(HELLO_LEN),
        };
        let socket = fd.as_raw_fd();
        let token = self.connections.insert(Connection {
            stream: TcpStream::from(fd),
            stage,
            receiving: true,
            sending: false,
            dirty: false,
            pending: Vec::new(),
            spare: Vec::new(),
        });
        let token = u32::try_from(token).expect("file descriptors are fewer than 2^31");
        self.ring.receive(socket, token);
    }

    fn handle_received(&mut self, token: u32, result: io::Result<Option<Received>>, armed: bool) {
        self.connections[token as usize].receiving = armed;
        match result {
            Ok(Some(received)) => self.handle_octets(token, received),
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {}
            Ok(None) | Err(_) => self.close_pair(token),
        }
        let connection = &mut self.connections[token as usize];
        if matches!(connection.stage, Stage::Closing) {
            self.release_if_joined(token);
        } else if !connection.receiving {
            connection.receiving = true;
            let fd = connection.stream.as_raw_fd();
            self.ring.receive(fd, token);
        }
    }

    fn handle_octets(&mut self, token: u32, received: Received) {
        let bytes = self.ring.bytes(&received);
        let mut is_valid = true;
        match &mut self.connections[token as usize].stage {
            Stage::Relaying { peer } => {
                let peer = *peer;
                let target = &mut self.connections[peer as usize];
                target.pending.extend_from_slice(bytes);
                is_valid = target.pending.len() <= PENDING_LEN_MAX;
                if !target.dirty {
                    target.dirty = true;
                    self.dirty.push(peer);
                }
            }
            Stage::Hello { octets } => {
                octets.extend_from_slice(bytes);
                if octets.len() >= HELLO_LEN {
                    let name = PairName::decode(octets);
                    is_valid = name.is_some_and(|name| self.introduce(token, name));
                }
            }
            Stage::AwaitPeer { .. } => is_valid = false,
            Stage::Closing => {}
        }
        self.ring.recycle(received);
        if !is_valid {
            self.close_pair(token);
        }
    }

    /// False if that end of the pair is taken.
    fn introduce(&mut self, token: u32, name: PairName) -> bool {
        if self.waiting.contains_key(&name) {
            return false;
        }
        let Some(peer) = self.waiting.remove(&name.other_end()) else {
            self.waiting.insert(name, token);
            self.connections[token as usize].stage = Stage::AwaitPeer { name };
            return true;
        };
        for (one, other) in [(token, peer), (peer, token)] {
            let connection = &mut self.connections[one as usize];
            connection.stage = Stage::Relaying { peer: other };
            connection.pending.push(READY);
            connection.dirty = true;
            self.dirty.push(one);
        }
        true
    }

    fn handle_sent(&mut self, token: u32, buffer: Vec<u8>, result: io::Result<usize>) {
        let connection = &mut self.connections[token as usize];
        connection.sending = false;
        match result {
            Ok(sent_len) if sent_len < buffer.len() => {
                // Rare: what is left goes in front of what has come in since.
                let newer = std::mem::take(&mut connection.pending);
                connection.pending.extend_from_slice(&buffer[sent_len..]);
                connection.pending.extend_from_slice(&newer);
            }
            Ok(_) => {}
            Err(_) => self.close_pair(token),
        }
        let connection = &mut self.connections[token as usize];
        connection.spare = buffer;
        connection.spare.clear();
        if matches!(connection.stage, Stage::Closing) {
            self.release_if_joined(token);
        } else if !connection.pending.is_empty() && !connection.dirty {
            connection.dirty = true;
            self.dirty.push(token);
        }
    }

    /// One send for each connection that has something to send and none in flight.
    fn flush(&mut self) {
        for token in self.dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(token as usize) else {
                continue;
            };
            connection.dirty = false;
            let is_closing = matches!(connection.stage, Stage::Closing);
            if connection.sending || is_closing || connection.pending.is_empty() {
                continue;
            }
            connection.sending = true;
            let empty = std::mem::take(&mut connection.spare);
            let buffer = std::mem::replace(&mut connection.pending, empty);
            let fd = connection.stream.as_raw_fd();
            self.ring.send(fd, token, buffer, 0);
        }
    }

    fn close_pair(&mut self, token: u32) {
        let stage = &mut self.connections[token as usize].stage;
        match std::mem::replace(stage, Stage::Closing) {
            Stage::Relaying { peer } => {
                self.connections[peer as usize].stage = Stage::Closing;
                self.shut_down(peer);
            }
            Stage::AwaitPeer { name } => {
                self.waiting.remove(&name);
            }
            Stage::Hello { .. } | Stage::Closing => {}
        }
        self.shut_down(token);
    }

    /// Ends what is in flight. The peer may be gone already, which is as good.
    fn shut_down(&mut self, token: u32) {
        let connection = &self.connections[token as usize];
        connection.stream.shutdown(Shutdown::Both).ok();
    }

    fn release_if_joined(&mut self, token: u32) {
        let connection = &self.connections[token as usize];
        if !connection.receiving && !connection.sending {
            self.connections.remove(token as usize);
        }
    }
}
