//! What the passing of time means for a connection (AMQP 0-9-1 4.2.7 and our own limits).

use super::super::time::Timestamp;
use super::{Connection, Phase};
use crate::limits::{CLOSE_TIME_MAX, HANDSHAKE_TIME_MAX};
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Alive,
    HandshakeTooSlow,
    /// Two heartbeat intervals without an octet.
    PeerSilent,
    /// No close-ok came.
    CloseTooSlow,
}

impl Connection {
    /// Judges the peer, and sends a heartbeat if one is due.
    pub fn handle_deadline(&mut self, now: Timestamp) -> Verdict {
        match self.phase {
            Phase::Gone => Verdict::Alive,
            Phase::Closing { since } if now >= since.plus(CLOSE_TIME_MAX) => Verdict::CloseTooSlow,
            Phase::Closing { .. } => Verdict::Alive,
            Phase::Open => self.handle_heartbeat(now),
            _ if now >= self.opened.plus(HANDSHAKE_TIME_MAX) => Verdict::HandshakeTooSlow,
            _ => Verdict::Alive,
        }
    }

    fn handle_heartbeat(&mut self, now: Timestamp) -> Verdict {
        let Some(interval) = self.heartbeat_interval() else {
            return Verdict::Alive;
        };
        // While we do not read, its silence is our own doing.
        if self.is_reading_paused {
            self.last_received = now;
        }
        if now >= self.last_received.plus(interval * 2) {
            return Verdict::PeerSilent;
        }
        // What is still unsent will do as a sign of life, once the peer reads it.
        if now >= self.last_sent.plus(interval / 2) {
            if self.outbound.unsent_len() == 0 {
                self.outbound.push_heartbeat();
            }
            self.last_sent = now;
        }
        Verdict::Alive
    }

    /// When time next means something; `None`: never.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Gone => None,
            Phase::Closing { since } => Some(since.plus(CLOSE_TIME_MAX)),
            Phase::Open => {
                let interval = self.heartbeat_interval()?;
                // Half the interval: a peer must see some octet within each full one.
                Some(
                    self.last_sent
                        .plus(interval / 2)
                        .min(self.last_received.plus(interval * 2)),
                )
            }
            _ => Some(self.opened.plus(HANDSHAKE_TIME_MAX)),
        }
    }

    fn heartbeat_interval(&self) -> Option<Duration> {
        let seconds = self.tuning.heartbeat_s;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }
}
