//! One connection of a thread: its socket, its client, and what the ring is doing for it.

use super::connect::{Place, Seat};
use crate::client::{Client, Standing};
use broker::engine::time::Timestamp;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Octets that go out in several sends, each after the one before: the ends of those sends.
pub struct Rest {
    pub octets: Vec<u8>,
    pub cuts: Vec<usize>,
    pub sent_len: usize,
}

pub struct Member {
    /// `None` once a killed one's is closed.
    stream: Option<TcpStream>,
    pub place: Place,
    pub client: Client,
    pub name: String,
    pub is_ready: bool,
    /// Listed for the next flush.
    pub is_dirty: bool,
    /// A receive is armed.
    pub is_receiving: bool,
    /// Killed, to be replaced by one that takes up its part.
    pub returns: bool,
    /// A send is in flight, `sent_len` octets of it done.
    pub is_sending: bool,
    pub sent_len: usize,
    /// What follows the send in flight, piece by piece.
    pub rest: Option<Box<Rest>>,
    pub is_shut: bool,
    /// Its end has been taken note of.
    pub is_closed_for_good: bool,
    /// A requester's index among those of its thread.
    pub turn: usize,
    /// When the calls that have fallen due and found no room yet were meant to start.
    pub due: VecDeque<Timestamp>,
    /// The buffer of the send before, to be filled again.
    pub spare: Vec<u8>,
}

impl Member {
    pub fn new(seat: Seat) -> Member {
        Member {
            stream: Some(seat.stream),
            place: seat.place,
            client: seat.client,
            name: seat.name,
            is_ready: false,
            is_dirty: false,
            is_receiving: false,
            returns: false,
            is_sending: false,
            sent_len: 0,
            rest: None,
            is_shut: false,
            is_closed_for_good: false,
            turn: 0,
            due: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    pub fn fd(&self) -> RawFd {
        let stream = self.stream.as_ref();
        stream.map_or(-1, AsRawFd::as_raw_fd)
    }

    pub fn is_over(&self) -> bool {
        self.client.standing() == Standing::Over
    }

    /// Ends the connection; the socket itself closes with the run.
    pub fn shut(&mut self) {
        if !self.is_shut {
            self.is_shut = true;
            // A socket that the peer has ended already needs no end of ours.
            let stream = self.stream.as_ref();
            let _ = stream.map(|stream| stream.shutdown(Shutdown::Both));
        }
    }

    /// As if its process had died: `sent_share` of what was to go out still does, and the
    /// connection ends, at the latest, when the ring has let go of it.
    pub fn kill(&mut self, sent_share: f64, is_reset: bool, now: Timestamp) {
        self.is_shut = true;
        let octets = self.client.take_outbound(Vec::new(), now);
        self.client.kill();
        let Some(mut stream) = self.stream.as_ref() else {
            return;
        };
        if self.is_sending {
            // Ends the send, which holds the socket.
            let _ = stream.shutdown(Shutdown::Both);
        } else if stream.set_nonblocking(true).is_ok() {
            let sent_len = (octets.len() as f64 * sent_share) as usize;
            let _ = stream.write(&octets[..sent_len]);
        }
        if is_reset {
            // Closing then discards what the kernel has yet to send, and resets.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    pub fn has_socket(&self) -> bool {
        self.stream.is_some()
    }

    /// Closes the socket if the ring is done with it: true if it is closed.
    pub fn release_socket(&mut self) -> bool {
        if !self.is_sending && !self.is_receiving {
            self.stream = None;
        }
        self.stream.is_none()
    }
}
