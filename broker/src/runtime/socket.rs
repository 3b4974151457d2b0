//! One accepted socket: what the kernel holds of it, and how far its closing has come.

use crate::engine::time::Timestamp;
use std::os::fd::OwnedFd;
use std::time::Duration;

const PROLONGATION_COUNT_MAX: u8 = 4;

/// In order; a socket never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// The engine is done with it; what is left is sent.
    Flushing,
    /// All is sent and our side shut; what the peer still sends is thrown away until it closes.
    /// Closing with unread octets would reset the connection, and the peer might never read our
    /// last words.
    Lingering,
    /// Shut down both ways, waiting for the kernel to let go of the last operation.
    Joining,
}

/// Linux puts an acknowledgement off for 40 ms, hoping for octets that it can travel with, and its
/// timers may be late by a few milliseconds (`TCP_DELACK_MIN` in `net/tcp.h`).
const DELAYED_ACK_MIN: Duration = Duration::from_millis(38);
const DELAYED_ACK_MAX: Duration = Duration::from_millis(60);

/// Whether the peer holds octets back until the ones before are acknowledged (RFC 896, "Nagle"),
/// as clients do that write a message in pieces and leave the algorithm on. Each such message
/// would take 40 ms, so a peer whose octets once came just when a delayed acknowledgement is due
/// has every receive acknowledged at once. One that was only slow by chance costs a system call
/// for each receive that nothing is sent after; all others cost nothing.
#[derive(Debug, Default)]
pub(super) struct Promptness {
    last_received: Timestamp,
    pub(super) is_wanted: bool,
}

impl Promptness {
    pub(super) fn note_received(&mut self, now: Timestamp) {
        let pause = now.since(self.last_received);
        self.last_received = now;
        self.is_wanted |= (DELAYED_ACK_MIN..=DELAYED_ACK_MAX).contains(&pause);
    }
}

/// For the peer's hanging up while it is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    Idle,
    InFlight,
    /// In flight, and asked to end.
    Cancelling,
}

pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    pub(super) stage: Stage,
    /// Tells this socket from a later one in the same slot.
    pub(super) serial: u64,
    /// The engine wants octets.
    pub(super) wants_receive: bool,
    /// A receive is in flight.
    pub(super) is_receiving: bool,
    /// The peer has closed its side, or the socket has failed: nothing more will come.
    pub(super) has_ended: bool,
    /// The receive in flight has been asked to end.
    pub(super) is_cancelling: bool,
    pub(super) watch: Watch,
    pub(super) promptness: Promptness,
    /// The engine has octets to send.
    pub(super) wants_send: bool,
    /// How often the time to flush may be prolonged for a peer that goes on reading.
    pub(super) prolongations_left: u8,
    pub(super) has_progressed: bool,
    /// Where the send in flight starts in its buffer.
    pub(super) sending_from: Option<usize>,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, serial: u64) -> Socket {
        Socket {
            fd,
            stage: Stage::Open,
            serial,
            wants_receive: true,
            is_receiving: false,
            has_ended: false,
            is_cancelling: false,
            watch: Watch::Idle,
            promptness: Promptness::default(),
            wants_send: false,
            prolongations_left: PROLONGATION_COUNT_MAX,
            has_progressed: false,
            sending_from: None,
        }
    }

    /// A receive should be started.
    pub(super) fn must_receive(&self) -> bool {
        let wants_receive = match self.stage {
            Stage::Open => self.wants_receive,
            // Also while flushing: a peer may read only once its own octets are taken.
            Stage::Flushing | Stage::Lingering => true,
            Stage::Joining => false,
        };
        wants_receive && !self.is_receiving && !self.has_ended
    }

    /// A watch should be started. A receive that is still in flight may have octets to hand over,
    /// and shows the end itself.
    pub(super) fn must_watch(&self) -> bool {
        let is_unread = !self.wants_receive && !self.is_receiving;
        self.stage == Stage::Open && is_unread && !self.has_ended && self.watch == Watch::Idle
    }

    /// Its time in this stage begins; what was read before does not count.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.has_progressed = false;
    }

    /// Whether a socket whose time is up gets some more.
    pub(super) fn prolong(&mut self) -> bool {
        let is_prolonged =
            self.stage == Stage::Flushing && self.has_progressed && self.prolongations_left > 0;
        self.has_progressed = false;
        self.prolongations_left -= u8::from(is_prolonged);
        is_prolonged
    }

    /// Nothing is in flight any more.
    pub(super) fn is_joined(&self) -> bool {
        !self.is_receiving && self.watch == Watch::Idle && self.sending_from.is_none()
    }
}

/// When a closing socket has had time enough for its stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosingDeadline {
    pub(super) at: Timestamp,
    pub(super) slot: u32,
    pub(super) serial: u64,
    pub(super) stage: Stage,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_that_waited_for_an_acknowledgement_once_is_a_peer_that_waits() {
        let mut promptness = Promptness::default();
        let mut now = Timestamp(1_000_000_000_000);
        for pause_ms in [5, 37, 100, 1000, 0] {
            now = now.plus(Duration::from_millis(pause_ms));
            promptness.note_received(now);
            assert!(!promptness.is_wanted, "after {pause_ms} ms");
        }
        promptness.note_received(now.plus(Duration::from_millis(44)));
        assert!(promptness.is_wanted);
        promptness.note_received(now.plus(Duration::from_millis(45)));
        assert!(promptness.is_wanted);
    }

    #[test]
    fn only_a_reading_peer_gets_more_time_and_not_for_ever() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(near.into(), 0);
        socket.stage = Stage::Flushing;
        assert!(!socket.prolong(), "it has read nothing");
        for _ in 0..PROLONGATION_COUNT_MAX {
            socket.has_progressed = true;
            assert!(socket.prolong());
            assert!(!socket.has_progressed, "each time it must have read again");
        }
        socket.has_progressed = true;
        assert!(!socket.prolong());
    }

    #[test]
    fn what_was_read_before_the_closing_gives_no_more_time() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(near.into(), 0);
        socket.has_progressed = true;
        socket.enter(Stage::Flushing);
        assert!(!socket.prolong());
    }
}
