//! One connection of a thread: its socket, its client, and what the ring is doing for it.

use super::connect::Seat;
use crate::client::{Client, Standing};
use broker::engine::time::Timestamp;
use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

pub struct Member {
    stream: TcpStream,
    pub client: Client,
    pub name: String,
    pub is_ready: bool,
    /// Listed for the next flush.
    pub is_dirty: bool,
    /// A send is in flight, `sent_len` octets of it done.
    pub is_sending: bool,
    pub sent_len: usize,
    pub is_shut: bool,
    /// When the calls that have fallen due and found no room yet were meant to start.
    pub due: VecDeque<Timestamp>,
    /// The buffer of the send before, to be filled again.
    pub spare: Vec<u8>,
}

impl Member {
    pub fn new(seat: Seat) -> Member {
        Member {
            stream: seat.stream,
            client: seat.client,
            name: seat.name,
            is_ready: false,
            is_dirty: false,
            is_sending: false,
            sent_len: 0,
            is_shut: false,
            due: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub fn is_over(&self) -> bool {
        self.client.standing() == Standing::Over
    }

    /// Ends the connection; the socket itself closes with the run.
    pub fn shut(&mut self) {
        if !self.is_shut {
            self.is_shut = true;
            // A socket that the peer has ended already needs no end of ours.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}
