//! A proxy between a peer and the broker that does to a connection what a network does: splits,
//! joins, stalls, cuts. It knows nothing of AMQP; what it does to the octets follows from its plan.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::Broker;

/// What happens to every connection of a proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    pub to_broker: Manner,
    pub to_peer: Manner,
    pub cut: Option<Cut>,
    /// The broker's octets meet a small buffer, so that long sends are cut short.
    pub is_narrow: bool,
}

/// How octets are passed on.
#[derive(Clone, Copy, Debug, Default)]
pub enum Manner {
    #[default]
    AsTheyCome,
    OneByOne,
    /// Of lengths drawn from a seed.
    InPieces {
        seed: u64,
        len_max: usize,
    },
    /// Once no more have come for a moment.
    Together,
}

/// After exactly so many octets that have gone this way.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub way: Way,
    pub after: u64,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToBroker,
    ToPeer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both sides are reset.
    Reset,
    /// Nothing more goes this way; the other way stays open.
    StopWriting,
}

/// What the sender does not use for so long it will not use at all.
const A_MOMENT: Duration = Duration::from_millis(1);
const CHUNK_LEN: usize = 16 * 1024;
const NARROW_LEN: usize = 8 * 1024;

/// Passes connections on until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    broker: SocketAddr,
    is_over: AtomicBool,
    /// Octets passed on, by way, of all connections.
    passed: [AtomicU64; 2],
    /// Nothing is passed on to peers.
    is_held: Mutex<bool>,
    released: Condvar,
}

/// One connection. The last pump to let go of it closes its sockets.
struct Link {
    peer: TcpStream,
    broker: TcpStream,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start(broker: &Broker, plan: Plan) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            plan,
            broker: broker.address(),
            is_over: AtomicBool::new(false),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
            is_held: Mutex::new(false),
            released: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        Proxy {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The broker as peers see it that connect through the proxy.
    pub fn broker(&self) -> Broker {
        Broker::at(self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn passed(&self, way: Way) -> u64 {
        self.shared.passed[way as usize].load(Ordering::Relaxed)
    }

    /// Passes nothing on to peers, and reads little more of it, until `release`.
    pub fn hold(&self) {
        self.shared.set_held(true);
    }

    pub fn release(&self) {
        self.shared.set_held(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.release();
        // Wakes the acceptor, which looks at `is_over`.
        let _ = TcpStream::connect(self.address);
        let joined = self.acceptor.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(joined, Some(Ok(()))));
    }
}

impl Shared {
    fn set_held(&self, is_held: bool) {
        *self.is_held.lock().expect("nobody panics with it") = is_held;
        self.released.notify_all();
    }

    fn wait_while_held(&self) {
        let is_held = self.is_held.lock().expect("nobody panics with it");
        let released = self.released.wait_while(is_held, |is_held| *is_held);
        drop(released.expect("nobody panics with it"));
    }

    fn dial(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.broker), Type::STREAM, None)?;
        if self.plan.is_narrow {
            // Before connecting: later the window has been offered already.
            socket.set_recv_buffer_size(NARROW_LEN)?;
        }
        socket.connect(&self.broker.into())?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket.into())
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let (mut links, mut pumps): (Vec<Weak<Link>>, Vec<_>) = Default::default();
    loop {
        let (peer, _) = listener.accept().expect("descriptors are left");
        if shared.is_over.load(Ordering::Relaxed) {
            break;
        }
        peer.set_nodelay(true).expect("TCP sockets have it");
        let broker = shared.dial().expect("the broker listens");
        let shared = Arc::clone(shared);
        let link = Arc::new(Link {
            peer,
            broker,
            shared,
        });
        links.push(Arc::downgrade(&link));
        for way in [Way::ToBroker, Way::ToPeer] {
            let link = Arc::clone(&link);
            pumps.push(thread::spawn(move || Pump::new(&link, way).run()));
        }
    }
    for link in links.iter().filter_map(Weak::upgrade) {
        link.end();
    }
    for pump in pumps {
        pump.join().expect("a pump panics for no fault of others");
    }
}

impl Link {
    fn source(&self, way: Way) -> &TcpStream {
        match way {
            Way::ToBroker => &self.peer,
            Way::ToPeer => &self.broker,
        }
    }

    fn target(&self, way: Way) -> &TcpStream {
        match way {
            Way::ToBroker => &self.broker,
            Way::ToPeer => &self.peer,
        }
    }

    fn end(&self) {
        for stream in [&self.peer, &self.broker] {
            // Fails if the other end has ended it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends both pumps without a word to either side; closing the sockets then resets them.
    fn reset(&self) {
        for stream in [&self.peer, &self.broker] {
            let linger = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            linger.expect("TCP sockets have this option");
            // Wakes the other pump. Fails if the other end has ended it already.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

/// One way of one connection.
struct Pump<'a> {
    link: &'a Link,
    way: Way,
    manner: Manner,
    /// Octets to go until the cut.
    left: u64,
    dice: u64,
}

impl<'a> Pump<'a> {
    fn new(link: &'a Link, way: Way) -> Pump<'a> {
        let plan = &link.shared.plan;
        let manner = match way {
            Way::ToBroker => plan.to_broker,
            Way::ToPeer => plan.to_peer,
        };
        let cut = plan.cut.filter(|cut| cut.way == way);
        Pump {
            link,
            way,
            manner,
            left: cut.map_or(u64::MAX, |cut| cut.after),
            dice: match manner {
                Manner::InPieces { seed, .. } => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
                _ => 1,
            },
        }
    }

    fn run(mut self) {
        let mut chunk = vec![0; CHUNK_LEN];
        while self.left > 0 {
            let len = match self.read(&mut chunk) {
                // The end of one way is passed on as such.
                Ok(0) => return self.stop_writing(),
                Ok(len) => len,
                Err(_) => return self.link.end(),
            };
            if self.way == Way::ToPeer {
                self.link.shared.wait_while_held();
            }
            if self.write(&chunk[..len]).is_err() {
                return self.link.end();
            }
            self.left -= len as u64;
        }
        match self.link.shared.plan.cut.map(|cut| cut.how) {
            Some(How::Reset) => self.link.reset(),
            _ => self.stop_writing(),
        }
    }

    fn stop_writing(&self) {
        // Fails if the other end is gone.
        let _ = self.link.target(self.way).shutdown(Shutdown::Write);
    }

    fn read(&self, chunk: &mut [u8]) -> std::io::Result<usize> {
        let mut source = self.link.source(self.way);
        let len_max = usize::try_from(self.left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let mut len = source.read(&mut chunk[..len_max])?;
        if matches!(self.manner, Manner::Together) && len > 0 {
            source.set_read_timeout(Some(A_MOMENT))?;
            while len < len_max {
                match source.read(&mut chunk[len..len_max]) {
                    // It will be met again by the next read.
                    Ok(0) => break,
                    Ok(more_len) => len += more_len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            source.set_read_timeout(None)?;
        }
        Ok(len)
    }

    fn write(&mut self, mut octets: &[u8]) -> std::io::Result<()> {
        let mut target = self.link.target(self.way);
        while !octets.is_empty() {
            let len = self.piece_len().min(octets.len());
            // Before the receiver can know of them.
            let passed = &self.link.shared.passed[self.way as usize];
            passed.fetch_add(len as u64, Ordering::Relaxed);
            target.write_all(&octets[..len])?;
            octets = &octets[len..];
        }
        Ok(())
    }

    fn piece_len(&mut self) -> usize {
        match self.manner {
            Manner::AsTheyCome | Manner::Together => usize::MAX,
            Manner::OneByOne => 1,
            Manner::InPieces { len_max, .. } => {
                // Xorshift: the same pieces in every run of a seed.
                self.dice ^= self.dice << 13;
                self.dice ^= self.dice >> 7;
                self.dice ^= self.dice << 17;
                1 + (self.dice % len_max as u64) as usize
            }
        }
    }
}
