//! One shard's network ring: every socket operation of a thread, batched into one
//! `io_uring_enter` per turn. Used by the broker and by `loadgen`; knows no protocol.
//!
//! Buffers in flight belong to the ring, so a caller can neither free nor reuse them too early;
//! file descriptors belong to the caller, who closes one only once [`Completion`]s have shown
//! that none of its operations is left in flight.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct RingSettings {
    pub submission_entries: u32,
    pub completion_entries: u32,
    /// A power of two.
    pub receive_buffer_count: u16,
    pub receive_buffer_len: u32,
}

impl Default for RingSettings {
    fn default() -> Self {
        RingSettings {
            submission_entries: 1024,
            completion_entries: 8192,
            receive_buffer_count: 256,
            receive_buffer_len: 16 * 1024,
        }
    }
}

/// Octets received, in a buffer that must go back by [`Ring::recycle`].
#[derive(Debug)]
pub struct Received {
    // buffer id and length, private; deliberately neither Copy nor Clone
}

/// What one operation came to. `token` is the caller's own name for the socket (32 bits).
#[derive(Debug)]
pub enum Completion {
    /// `armed`: the multishot accept goes on; otherwise call `accept` again.
    Accepted {
        token: u32,
        result: io::Result<RawFd>,
        armed: bool,
    },
    /// `Ok(None)`: the peer closed its sending side. `armed` as above. No buffer was free: an
    /// error of kind `OutOfMemory` with `armed: false`; nothing is lost, call `receive` again.
    Received {
        token: u32,
        result: io::Result<Option<Received>>,
        armed: bool,
    },
    /// The whole send is over; `buffer` comes back. `Ok(n)`: octets of it that were sent from
    /// the position given, at least one; `n` may fall short of the end: send again from there.
    Sent {
        token: u32,
        buffer: Vec<u8>,
        result: io::Result<usize>,
    },
    /// Another ring rang ours with `ring_doorbell`.
    Doorbell { value: u32 },
}

pub struct Ring {}

impl Ring {
    /// Errors: io_uring is missing, forbidden, or older than Linux 6.1.
    pub fn new(_settings: &RingSettings) -> io::Result<Ring> {
        todo!()
    }
    /// What other rings pass to [`Ring::ring_doorbell`]; valid as long as this ring lives.
    pub fn doorbell(&self) -> RawFd {
        todo!()
    }
    /// Arms a multishot accept.
    pub fn accept(&mut self, _listener: RawFd, _token: u32) {
        todo!()
    }
    /// Arms a multishot receive.
    pub fn receive(&mut self, _fd: RawFd, _token: u32) {
        todo!()
    }
    /// Asks the kernel to end the multishot receive of `token`; its last completion still comes
    /// (`armed: false`, possibly an error of kind `Interrupted` or raw ECANCELED).
    pub fn cancel_receive(&mut self, _token: u32) {
        todo!()
    }
    /// Sends `buffer[from..]`; the ring keeps the buffer until `Sent` returns it.
    pub fn send(&mut self, _fd: RawFd, _token: u32, _buffer: Vec<u8>, _from: usize) {
        todo!()
    }
    /// Makes `Completion::Doorbell { value }` appear in the ring whose `doorbell()` this is.
    pub fn ring_doorbell(&mut self, _doorbell: RawFd, _value: u32) {
        todo!()
    }
    /// Submits what was queued, waits until a completion is there or `timeout` is over (`None`:
    /// without end; zero: does not wait).
    pub fn turn(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        todo!()
    }
    /// The next completion that has arrived, without waiting.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        todo!()
    }
    pub fn bytes(&self, _received: &Received) -> &[u8] {
        todo!()
    }
    pub fn recycle(&mut self, _received: Received) {
        todo!()
    }
}
