//! Opens sockets to the server, from one address or from several in turn.

use super::connect::{Place, Seat, seat};
use crate::arguments::{AckMode, Sources};
use crate::casualties::Casualties;
use crate::plan::{Plan, Target, sources_wanted};
use broker::engine::time::Timestamp;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first of the addresses that many connections on loopback are spread over.
const LOOPBACK_FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

pub struct Dialer {
    pub plan: Plan,
    pub run: u32,
    /// In a run that kills workers.
    pub casualties: Option<Arc<Casualties>>,
    address: SocketAddr,
    sources: Option<Sources>,
    dialled_count: AtomicU32,
}

impl Dialer {
    /// Errors: a sentence for the user.
    pub fn new(plan: &Plan, run: u32) -> Result<Dialer, String> {
        let address = resolve(plan.target.address())?;
        let besides = &plan.besides;
        let connection_count = plan.connection_count() + besides.idle_count as usize;
        let is_loopback = address.ip().is_loopback() && address.is_ipv4();
        let automatic = Some(sources_wanted(connection_count))
            .filter(|count| *count > 0 && is_loopback)
            .map(|count| Sources {
                first: LOOPBACK_FIRST,
                last: Ipv4Addr::from_bits(LOOPBACK_FIRST.to_bits() + count - 1),
            });
        let is_acked_by_hand = match &plan.target {
            Target::Amqp(target) => target.ack == AckMode::Manual,
            Target::Nats(_) | Target::Relay { .. } => false,
        };
        let casualties = besides.kill_workers.map(|_| {
            Arc::new(Casualties::new(
                is_acked_by_hand,
                plan.besides.restart_after,
            ))
        });
        Ok(Dialer {
            plan: plan.clone(),
            run,
            casualties,
            address,
            sources: besides.sources.or(automatic),
            dialled_count: AtomicU32::new(0),
        })
    }

    /// Errors: a sentence for the user.
    pub fn seat(&self, place: Place, now: Timestamp) -> Result<Seat, String> {
        let mut seat = seat(&self.plan, self.run, place, self.open()?, now);
        seat.client.set_split(self.plan.besides.split);
        if let Some(casualties) = &self.casualties {
            seat.client.set_casualties(casualties);
        }
        Ok(seat)
    }

    /// Errors: a sentence for the user.
    pub fn open(&self) -> Result<TcpStream, String> {
        let named = |error| format!("cannot connect to {}: {error}", self.plan.target.address());
        let stream = match self.next_source() {
            None => TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT),
            Some(source) => self.open_from(source),
        }
        .map_err(named)?;
        if !self.plan.besides.has_nagle {
            stream
                .set_nodelay(true)
                .map_err(|error| format!("TCP_NODELAY: {error}"))?;
        }
        Ok(stream)
    }

    fn open_from(&self, source: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // The port is taken here, one that nobody else has at this address: hence as many
        // connections as the address has ports, which is why there are several.
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&self.address.into(), CONNECT_TIMEOUT)?;
        Ok(socket.into())
    }

    fn next_source(&self) -> Option<Ipv4Addr> {
        let sources = self.sources?;
        let count = sources.last.to_bits() - sources.first.to_bits() + 1;
        let turn = self.dialled_count.fetch_add(1, Ordering::Relaxed) % count;
        Some(Ipv4Addr::from_bits(sources.first.to_bits() + turn)).filter(|_| self.is_ipv4())
    }

    fn is_ipv4(&self) -> bool {
        matches!(self.address.ip(), IpAddr::V4(_))
    }
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve {address}: {error}"))?;
    found
        .next()
        .ok_or_else(|| format!("{address} has no address"))
}
