//! One shard's loop of turns: everything that is ready goes into the engine, bounded so that one
//! loud peer cannot starve the rest; then its outputs are drained once, and the shard sleeps in
//! its ring.

use super::acceptor::Acceptor;
use super::bell::Bell;
use super::clock::Clock;
use super::mesh::Mailboxes;
use super::ring::{Completion, Received};
use super::sockets::Sockets;
use super::turn::{self, Surroundings};
use crate::engine::buffer::Batch;
use crate::engine::shard::{LogEvent, Mail, Output, Shard};
use crate::engine::time::Timestamp;
use socket2::SockRef;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const COMPLETIONS_PER_TURN_MAX: usize = 1024;

/// Of one neighbour and lane.
const MAILS_PER_TURN_MAX: usize = 256;

/// How long peers may take to answer `connection.close` when the process is asked to stop.
const SHUTDOWN_MAX: Duration = Duration::from_secs(3);

/// In place of a slot: the pipe that signals are written to.
const SIGNALS: u32 = u32::MAX;

/// What only one of the shards has.
pub(super) struct FrontDoor {
    pub(super) acceptor: Acceptor,
    pub(super) signals: UnixStream,
}

pub(super) struct Drive {
    pub(super) shard: Shard,
    pub(super) sockets: Sockets,
    pub(super) mailboxes: Mailboxes<Mail>,
    /// By shard.
    pub(super) doorbells: Vec<RawFd>,
    pub(super) clock: Clock,
    pub(super) front_door: Option<FrontDoor>,
    pub(super) shutdown_until: Option<Timestamp>,
}

/// What a turn drains into.
struct Kernel<'a> {
    sockets: &'a mut Sockets,
    doorbells: &'a [RawFd],
}

impl Drive {
    /// Until a shutdown is complete.
    pub(super) fn run(mut self) -> io::Result<()> {
        if let Some(FrontDoor { acceptor, signals }) = &mut self.front_door {
            acceptor.arm(&mut self.sockets.ring);
            self.sockets.ring.receive(signals.as_raw_fd(), SIGNALS);
        }
        let mut now = self.clock.now();
        while !self.is_done(now) {
            let timeout = self.timeout(now);
            self.sockets.ring.turn(timeout)?;
            self.mailboxes.wake();
            now = self.clock.now();
            self.serve(now);
        }
        // Doorbells of the last turn.
        self.sockets.ring.turn(Some(Duration::ZERO))
    }

    /// What a turn does after the wait.
    pub(super) fn serve(&mut self, now: Timestamp) {
        self.handle_completions(now);
        let count_max = MAILS_PER_TURN_MAX;
        turn::handle_mail(&mut self.shard, &mut self.mailboxes, count_max, now);
        self.handle_deadlines(now);
        self.drain(now);
        self.sockets.acknowledge();
    }

    fn is_done(&self, now: Timestamp) -> bool {
        let is_over = |until| now >= until || self.shard.connection_count() == 0;
        self.shutdown_until.is_some_and(is_over)
    }

    /// How long the next turn may sleep; announces the sleep to the neighbours.
    fn timeout(&mut self, now: Timestamp) -> Option<Duration> {
        let accepting = self
            .front_door
            .as_ref()
            .and_then(|door| door.acceptor.next_deadline());
        let deadlines = [
            self.shard.next_deadline(),
            self.sockets.next_deadline(),
            accepting,
            self.shutdown_until,
        ];
        let timeout = deadlines
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.since(now));
        if timeout == Some(Duration::ZERO) || self.mailboxes.try_sleep() {
            timeout
        } else {
            Some(Duration::ZERO)
        }
    }

    fn handle_completions(&mut self, now: Timestamp) {
        for _ in 0..COMPLETIONS_PER_TURN_MAX {
            let Some(completion) = self.sockets.ring.poll_completion() else {
                return;
            };
            self.handle_completion(completion, now);
        }
    }

    fn handle_completion(&mut self, completion: Completion, now: Timestamp) {
        match completion {
            Completion::Received {
                token: SIGNALS,
                result,
                armed,
            } => {
                self.handle_signal(result, armed, now);
            }
            Completion::Received {
                token,
                result,
                armed,
            } => {
                if matches!(result, Ok(None)) {
                    // What the last octets led to comes first: an answer to them is still sent
                    // to a peer that has closed its own side only.
                    self.execute_outputs(now);
                }
                let received = (result, armed);
                self.sockets
                    .handle_received(&mut self.shard, token, received, now);
            }
            Completion::HungUp { token, result } => {
                // If reading was to be resumed in this turn, nothing is lost.
                self.execute_outputs(now);
                self.sockets
                    .handle_hung_up(&mut self.shard, token, result, now);
            }
            Completion::Sent {
                token,
                buffer,
                result,
            } => {
                let sent = (Batch::from(buffer), result);
                self.sockets.handle_sent(&mut self.shard, token, sent, now);
            }
            Completion::SentGathered {
                token,
                batch,
                result,
            } => {
                let sent = (batch, result);
                self.sockets.handle_sent(&mut self.shard, token, sent, now);
            }
            Completion::Accepted {
                token,
                result,
                armed,
            } => {
                let door = self
                    .front_door
                    .as_mut()
                    .expect("only the front door accepts");
                let accepted = door.acceptor.handle_accepted(token, result, armed, now);
                if let Some((shard, socket)) = accepted {
                    self.deal(shard, socket, now);
                }
            }
            Completion::Doorbell { value } => match Bell::unpack(value) {
                // The mailboxes are looked at in every turn.
                Bell::Mail => {}
                Bell::Shutdown => self.shut_down(now),
                Bell::Connection(socket) => self.connect(socket, now),
            },
        }
    }

    fn handle_signal(&mut self, result: io::Result<Option<Received>>, armed: bool, now: Timestamp) {
        let door = self
            .front_door
            .as_ref()
            .expect("only the front door hears signals");
        if !armed {
            self.sockets.ring.receive(door.signals.as_raw_fd(), SIGNALS);
        }
        if let Ok(Some(received)) = result {
            self.sockets.ring.recycle(received);
            tracing::info!("asked to stop: closing all connections");
            self.ring_all(Bell::Shutdown);
            self.shut_down(now);
        }
    }

    fn shut_down(&mut self, now: Timestamp) {
        if self.shutdown_until.is_none() {
            self.shutdown_until = Some(now.plus(SHUTDOWN_MAX));
            if let Some(door) = &mut self.front_door {
                door.acceptor.stop();
            }
            self.shard.handle_shutdown(now);
        }
    }

    /// Gives a new connection to the shard whose turn it is.
    fn deal(&mut self, shard: u16, socket: OwnedFd, now: Timestamp) {
        if shard == self.mailboxes.index() {
            self.connect(socket, now);
        } else {
            self.ring_one(shard, Bell::Connection(socket));
        }
    }

    pub(super) fn connect(&mut self, socket: OwnedFd, now: Timestamp) {
        if self.shutdown_until.is_some() {
            return;
        }
        // Fails if the peer has gone already.
        let peer = SockRef::from(&socket).peer_addr().ok();
        let Some(mut peer) = peer.and_then(|peer| peer.as_socket()) else {
            return;
        };
        // An IPv4 peer of a listener on [::] is what it is, a loopback one too.
        peer.set_ip(peer.ip().to_canonical());
        match self.shard.handle_accepted(peer, now) {
            Some(slot) => {
                assert_ne!(slot, SIGNALS);
                self.sockets.insert(slot, socket);
            }
            None => tracing::debug!("{peer}: refused"),
        }
    }

    fn handle_deadlines(&mut self, now: Timestamp) {
        if self.shard.next_deadline().is_some_and(|at| at <= now) {
            self.shard.handle_deadline(now);
        }
        self.sockets.handle_deadline(&mut self.shard, now);
        if let Some(door) = &mut self.front_door {
            door.acceptor.handle_deadline(&mut self.sockets.ring, now);
        }
    }

    fn drain(&mut self, now: Timestamp) {
        let mut kernel = Kernel {
            sockets: &mut self.sockets,
            doorbells: &self.doorbells,
        };
        turn::drain(&mut self.shard, &mut self.mailboxes, &mut kernel, now);
    }

    fn execute_outputs(&mut self, now: Timestamp) {
        let mut kernel = Kernel {
            sockets: &mut self.sockets,
            doorbells: &self.doorbells,
        };
        turn::execute_outputs(&mut self.shard, &mut kernel, now);
    }

    fn ring_one(&mut self, shard: u16, bell: Bell) {
        let doorbell = self.doorbells[usize::from(shard)];
        self.sockets.ring.ring_doorbell(doorbell, bell.pack());
    }

    fn ring_all(&mut self, bell: Bell) {
        let value = bell.pack();
        for (index, doorbell) in self.doorbells.iter().enumerate() {
            if index != usize::from(self.mailboxes.index()) {
                self.sockets.ring.ring_doorbell(*doorbell, value);
            }
        }
    }
}

impl Surroundings for Kernel<'_> {
    fn execute(&mut self, shard: &mut Shard, output: Output, now: Timestamp) {
        match output {
            Output::Send(slot) => self.sockets.want_send(slot),
            Output::PauseReading(slot) => self.sockets.pause(slot),
            Output::ResumeReading(slot) => self.sockets.resume(slot),
            Output::Close(slot) => self.sockets.close(slot, now),
            Output::Abort(slot) => self.sockets.abort(shard, slot),
            Output::Log(event) => log(&event),
        }
    }

    fn flush(&mut self, shard: &mut Shard, now: Timestamp) -> bool {
        let is_dirty = self.sockets.is_dirty();
        if is_dirty {
            self.sockets.flush(shard, now);
        }
        is_dirty
    }

    fn ring(&mut self, neighbour: u16) {
        let doorbell = self.doorbells[usize::from(neighbour)];
        self.sockets.ring.ring_doorbell(doorbell, Bell::Mail.pack());
    }
}

/// Peers have a say in some of the texts: a line stays one line.
fn log(event: &LogEvent) {
    let text = event.text.replace(char::is_control, " ");
    if event.is_warning {
        tracing::warn!("{text}");
    } else {
        tracing::info!("{text}");
    }
}
