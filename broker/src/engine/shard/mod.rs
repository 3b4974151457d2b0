//! The whole broker as one thread sees it.

use super::time::Timestamp;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// What may differ from one deployment to the next; everything else is in `limits`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub users: Vec<User>,
    /// Proposed to clients, seconds; 0 switches heartbeats off.
    pub heartbeat_s: u16,
    pub frame_len_max: u32,
    pub channel_max: u16,
    /// Of the whole process; each shard takes its part.
    pub connection_count_max: usize,
    pub body_len_max: u64,
    /// Octets of messages that wait in queues, of the whole process; each shard takes its part.
    pub queued_len_max: usize,
    /// Drawn once per process from the operating system, equal on all shards: keys the names
    /// that must not be guessed.
    pub secret: [u8; 16],
}

#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
    /// Refused from any address that is not a loopback one.
    pub loopback_only: bool,
}

/// Names the user, never the password: settings may be logged.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Index of a connection within its shard. It is not reused before `handle_released`.
pub type Slot = u32;

/// What the shell must do; in order.
#[derive(Debug)]
pub enum Output {
    /// There are bytes to send: `take_outbound` when no send is in flight for this connection.
    Send(Slot),
    /// Stop receiving from this connection (what has been received already is still handled).
    PauseReading(Slot),
    ResumeReading(Slot),
    /// Send what is left in the outbound, then shut the socket down, wait for its operations to
    /// end, close it and call `handle_released`.
    Close(Slot),
    /// The same without sending what is left.
    Abort(Slot),
    Log(LogEvent),
}

/// For the log, one line each. `Display` gives the text; `is_warning` the level.
#[derive(Debug)]
pub struct LogEvent {
    pub is_warning: bool,
    pub text: String,
}

/// From one shard to another. Opaque to the shell, which moves it by value.
#[derive(Debug)]
pub struct Mail {}

/// Mail waiting to leave for one neighbour. The shell pops from the front, `urgent` first, as
/// far as the mailbox has room, and leaves the rest for the next turn.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Replies, deliveries and settlements: they free resources.
    pub urgent: VecDeque<Mail>,
    /// Publishes and control.
    pub ordinary: VecDeque<Mail>,
}

#[derive(Debug)]
pub struct Shard {}

impl Shard {
    /// Errors: none; asserts `index < count`.
    pub fn new(_index: u16, _count: u16, _settings: Settings) -> Shard {
        todo!()
    }

    /// A connection was accepted. `None`: refused (too many); the shell just closes it.
    pub fn handle_accepted(&mut self, _peer: SocketAddr, _now: Timestamp) -> Option<Slot> {
        todo!()
    }

    /// Octets arrived.
    pub fn handle_bytes(&mut self, _slot: Slot, _bytes: &[u8], _now: Timestamp) {
        todo!()
    }

    /// `len` octets that `take_outbound` gave out have been sent.
    pub fn handle_sent(&mut self, _slot: Slot, _len: usize, _now: Timestamp) {
        todo!()
    }

    /// The peer closed its side, or the socket failed (`error` for the log). The engine answers
    /// with `Output::Abort` (also when it was closing already).
    pub fn handle_disconnected(&mut self, _slot: Slot, _error: Option<String>, _now: Timestamp) {
        todo!()
    }

    /// The socket is closed: the slot may be used again.
    pub fn handle_released(&mut self, _slot: Slot) {
        todo!()
    }

    pub fn handle_mail(&mut self, _from: u16, _mail: Mail, _now: Timestamp) {
        todo!()
    }

    pub fn handle_deadline(&mut self, _now: Timestamp) {
        todo!()
    }

    /// The process is asked to stop: every connection gets connection.close 320.
    pub fn handle_shutdown(&mut self, _now: Timestamp) {
        todo!()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// Swaps the outbound bytes of a connection for `empty` (a buffer to be filled next).
    pub fn take_outbound(&mut self, _slot: Slot, _empty: Vec<u8>) -> Vec<u8> {
        todo!()
    }

    /// Mail for the neighbour with this index. `None` for our own.
    pub fn outbox(&mut self, _to: u16) -> Option<&mut Outbox> {
        todo!()
    }

    /// When `handle_deadline` wants to be called next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Connections that still hold a slot: zero after a shutdown means all is flushed.
    pub fn connection_count(&self) -> usize {
        todo!()
    }
}
