//! The sockets of one shard: carries octets between the ring and the engine, one receive and one
//! send in flight each, and closes in named steps (see [`Stage`]). One that is not read has a watch
//! in place of the receive, so that its peer's hanging up is noticed. A slot is handed back to the
//! engine only when the kernel holds nothing of its socket any more.

use super::ring::{Received, Ring};
use super::socket::{ClosingDeadline, Socket, Stage, Watch};
use crate::engine::buffer::Batch;
use crate::engine::shard::{Shard, Slot};
use crate::engine::time::Timestamp;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// How long a peer may take to read our last words (some more if it does read), and then again to
/// close its side.
const CLOSING_STEP_MAX: Duration = Duration::from_secs(2);

/// Buffers kept for the next sends. Connections that fall idle keep what they were given, so
/// large ones are not kept.
const SPARE_COUNT_MAX: usize = 256;
const SPARE_LEN_MAX: usize = 4096;

pub(super) struct Sockets {
    pub(super) ring: Ring,
    by_slot: Vec<Option<Socket>>,
    /// Slots to look at when the turn ends; the same one may be there twice.
    dirty: Vec<Slot>,
    /// Slots of peers that wait for acknowledgements and have sent something in this turn.
    unacknowledged: Vec<Slot>,
    /// Every step has the same time, so the earliest is in front.
    closing: VecDeque<ClosingDeadline>,
    spare: Vec<Vec<u8>>,
    next_serial: u64,
}

impl Sockets {
    pub(super) fn new(ring: Ring) -> Sockets {
        Sockets {
            ring,
            by_slot: Vec::new(),
            dirty: Vec::new(),
            unacknowledged: Vec::new(),
            closing: VecDeque::new(),
            spare: Vec::new(),
            next_serial: 0,
        }
    }

    /// Starts to receive.
    pub(super) fn insert(&mut self, slot: Slot, fd: OwnedFd) {
        let index = slot as usize;
        if index >= self.by_slot.len() {
            self.by_slot.resize_with(index + 1, || None);
        }
        assert!(
            self.by_slot[index].is_none(),
            "the slot has not been released"
        );
        self.by_slot[index] = Some(Socket::new(fd, self.next_serial));
        self.next_serial += 1;
        self.receive_if_wanted(slot);
    }

    pub(super) fn handle_received(
        &mut self,
        shard: &mut Shard,
        slot: Slot,
        (result, armed): (io::Result<Option<Received>>, bool),
        now: Timestamp,
    ) {
        let socket = in_flight(&mut self.by_slot, slot);
        socket.is_receiving = armed;
        socket.is_cancelling &= armed;
        let is_open = socket.stage == Stage::Open;
        match result {
            Ok(Some(received)) => {
                if is_open {
                    socket.promptness.note_received(now);
                    if socket.promptness.is_wanted {
                        self.unacknowledged.push(slot);
                    }
                    shard.handle_bytes(slot, self.ring.bytes(&received), now);
                }
                self.ring.recycle(received);
            }
            Ok(None) => {
                socket.has_ended = true;
                match socket.stage {
                    Stage::Open => shard.handle_disconnected(slot, None, now),
                    Stage::Flushing | Stage::Joining => {}
                    Stage::Lingering => self.join(slot),
                }
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                socket.has_ended = true;
                if is_open {
                    shard.handle_disconnected(slot, Some(error.to_string()), now);
                } else {
                    self.join(slot);
                }
            }
        }
        if !armed {
            self.receive_if_wanted(slot);
            self.watch_if_unread(slot);
        }
        self.release_if_joined(shard, slot);
    }

    pub(super) fn handle_hung_up(
        &mut self,
        shard: &mut Shard,
        slot: Slot,
        result: io::Result<()>,
        now: Timestamp,
    ) {
        let socket = in_flight(&mut self.by_slot, slot);
        socket.watch = Watch::Idle;
        let is_passing = result.as_ref().is_err_and(is_passing);
        // Where it is read, or closing, the receive shows the end, behind the last octets.
        if socket.must_watch() && !is_passing {
            socket.has_ended = true;
            let failure = || SockRef::from(&socket.fd).take_error().ok().flatten();
            let error = result.err().or_else(failure);
            shard.handle_disconnected(slot, error.map(|error| error.to_string()), now);
        }
        self.watch_if_unread(slot);
        self.release_if_joined(shard, slot);
    }

    pub(super) fn handle_sent(
        &mut self,
        shard: &mut Shard,
        slot: Slot,
        (batch, result): (Batch, io::Result<usize>),
        now: Timestamp,
    ) {
        let socket = in_flight(&mut self.by_slot, slot);
        let from = socket
            .sending_from
            .take()
            .expect("what comes back was sent");
        let has_more = matches!(socket.stage, Stage::Open | Stage::Flushing);
        match result {
            Ok(len) if has_more => {
                shard.handle_sent(slot, len, now);
                socket.has_progressed = true;
                let from = from + len;
                if from < batch.len() {
                    self.send(slot, batch, from);
                    return;
                }
                if socket.wants_send || socket.stage == Stage::Flushing {
                    self.dirty.push(slot);
                }
            }
            Ok(_) => {}
            Err(error) if socket.stage == Stage::Open => {
                shard.handle_disconnected(slot, Some(error.to_string()), now);
            }
            Err(_) => self.join(slot),
        }
        self.keep(batch.bytes);
        self.release_if_joined(shard, slot);
    }

    pub(super) fn want_send(&mut self, slot: Slot) {
        if let Some(socket) = find(&mut self.by_slot, slot) {
            socket.wants_send = true;
            if socket.sending_from.is_none() {
                self.dirty.push(slot);
            }
        }
    }

    pub(super) fn pause(&mut self, slot: Slot) {
        if let Some(socket) = find(&mut self.by_slot, slot)
            && socket.stage == Stage::Open
        {
            socket.wants_receive = false;
            // The end of the receive starts the watch.
            self.cancel_receive(slot);
        }
    }

    pub(super) fn resume(&mut self, slot: Slot) {
        if let Some(socket) = find(&mut self.by_slot, slot) {
            socket.wants_receive = true;
            self.cancel_watch(slot);
            // If the cancelled one is still in flight, its end starts the next.
            self.receive_if_wanted(slot);
        }
    }

    /// Sends what is left, then closes.
    pub(super) fn close(&mut self, slot: Slot, now: Timestamp) {
        if let Some(socket) = find(&mut self.by_slot, slot)
            && socket.stage == Stage::Open
        {
            self.enter(slot, Stage::Flushing, now);
            self.dirty.push(slot);
            self.cancel_watch(slot);
            self.receive_if_wanted(slot);
        }
    }

    /// Closes without sending what is left.
    pub(super) fn abort(&mut self, shard: &mut Shard, slot: Slot) {
        if find(&mut self.by_slot, slot).is_some() {
            self.join(slot);
            self.release_if_joined(shard, slot);
        }
    }

    /// One send for each dirty socket; what it does may give the engine something to say.
    pub(super) fn flush(&mut self, shard: &mut Shard, now: Timestamp) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            self.flush_one(shard, slot, now);
        }
        // Nothing became dirty meanwhile; this keeps the allocation.
        assert!(self.dirty.is_empty());
        self.dirty = dirty;
    }

    /// For peers that wait for it: acknowledges at once what no octets of ours will acknowledge.
    pub(super) fn acknowledge(&mut self) {
        for slot in self.unacknowledged.drain(..) {
            if let Some(socket) = find(&mut self.by_slot, slot)
                && socket.sending_from.is_none()
            {
                // It fails if the peer has reset the connection; the receive will say so.
                let _ = SockRef::from(&socket.fd).set_tcp_quickack(true);
            }
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(super) fn handle_deadline(&mut self, shard: &mut Shard, now: Timestamp) {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let deadline = self
                .closing
                .pop_front()
                .expect("next_deadline looked at it");
            if in_flight(&mut self.by_slot, deadline.slot).prolong() {
                self.enter(deadline.slot, deadline.stage, now);
                continue;
            }
            self.join(deadline.slot);
            self.release_if_joined(shard, deadline.slot);
        }
    }

    /// Drops what has been overtaken by events on the way.
    pub(super) fn next_deadline(&mut self) -> Option<Timestamp> {
        while let Some(deadline) = self.closing.front() {
            let socket = self.by_slot[deadline.slot as usize].as_ref();
            let is_current = |socket: &Socket| {
                socket.serial == deadline.serial && socket.stage == deadline.stage
            };
            if socket.is_some_and(is_current) {
                return Some(deadline.at);
            }
            self.closing.pop_front();
        }
        None
    }

    #[cfg(test)]
    pub(super) fn socket(&self, slot: Slot) -> Option<&Socket> {
        self.by_slot.get(slot as usize)?.as_ref()
    }

    fn flush_one(&mut self, shard: &mut Shard, slot: Slot, now: Timestamp) {
        let Some(socket) = find(&mut self.by_slot, slot) else {
            return;
        };
        let is_flushing = socket.stage == Stage::Flushing;
        let may_send = is_flushing || socket.stage == Stage::Open && socket.wants_send;
        if !may_send || socket.sending_from.is_some() {
            return;
        }
        socket.wants_send = false;
        let empty = self.spare.pop().unwrap_or_default();
        let batch = shard.take_outbound(slot, empty);
        if !batch.is_empty() {
            self.send(slot, batch, 0);
            return;
        }
        self.keep(batch.bytes);
        if is_flushing {
            self.linger(slot, now);
            self.release_if_joined(shard, slot);
        }
    }

    fn send(&mut self, slot: Slot, batch: Batch, from: usize) {
        let socket = in_flight(&mut self.by_slot, slot);
        socket.sending_from = Some(from);
        let fd = socket.fd.as_raw_fd();
        if batch.inserts.is_empty() {
            self.ring.send(fd, slot, batch.bytes, from);
        } else {
            self.ring.send_gathered(fd, slot, batch, from);
        }
    }

    fn linger(&mut self, slot: Slot, now: Timestamp) {
        let socket = in_flight(&mut self.by_slot, slot);
        if socket.has_ended {
            self.join(slot);
            return;
        }
        // It fails if the peer has reset the connection; the receive will say so.
        let _ = SockRef::from(&socket.fd).shutdown(Shutdown::Write);
        self.enter(slot, Stage::Lingering, now);
        self.receive_if_wanted(slot);
    }

    fn join(&mut self, slot: Slot) {
        let socket = in_flight(&mut self.by_slot, slot);
        if socket.stage == Stage::Joining {
            return;
        }
        socket.stage = Stage::Joining;
        // Makes operations in flight end; fails if the connection has ended by itself.
        let _ = SockRef::from(&socket.fd).shutdown(Shutdown::Both);
        self.cancel_receive(slot);
        self.cancel_watch(slot);
    }

    fn release_if_joined(&mut self, shard: &mut Shard, slot: Slot) {
        let place = &mut self.by_slot[slot as usize];
        let is_done = |socket: &Socket| socket.stage == Stage::Joining && socket.is_joined();
        if place.as_ref().is_some_and(is_done) {
            *place = None;
            shard.handle_released(slot);
        }
    }

    fn enter(&mut self, slot: Slot, stage: Stage, now: Timestamp) {
        let socket = in_flight(&mut self.by_slot, slot);
        socket.enter(stage);
        self.closing.push_back(ClosingDeadline {
            at: now.plus(CLOSING_STEP_MAX),
            slot,
            serial: socket.serial,
            stage,
        });
    }

    fn receive_if_wanted(&mut self, slot: Slot) {
        if let Some(socket) = find(&mut self.by_slot, slot)
            && socket.must_receive()
        {
            socket.is_receiving = true;
            self.ring.receive(socket.fd.as_raw_fd(), slot);
        }
    }

    fn cancel_receive(&mut self, slot: Slot) {
        if let Some(socket) = find(&mut self.by_slot, slot)
            && socket.is_receiving
            && !socket.is_cancelling
        {
            socket.is_cancelling = true;
            self.ring.cancel_receive(slot);
        }
    }

    /// One submission at most for each time that reading is paused, however short that is.
    fn watch_if_unread(&mut self, slot: Slot) {
        if let Some(socket) = find(&mut self.by_slot, slot)
            && socket.must_watch()
        {
            socket.watch = Watch::InFlight;
            self.ring.watch(socket.fd.as_raw_fd(), slot);
        }
    }

    fn cancel_watch(&mut self, slot: Slot) {
        if let Some(socket) = find(&mut self.by_slot, slot)
            && socket.watch == Watch::InFlight
        {
            socket.watch = Watch::Cancelling;
            self.ring.cancel_watch(slot);
        }
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        let is_useful = (1..=SPARE_LEN_MAX).contains(&buffer.capacity());
        if is_useful && self.spare.len() < SPARE_COUNT_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// Not an end: the receive was cancelled, or found no buffer free.
fn is_passing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
        || matches!(
            error.kind(),
            io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory
        )
}

fn find(by_slot: &mut [Option<Socket>], slot: Slot) -> Option<&mut Socket> {
    by_slot.get_mut(slot as usize)?.as_mut()
}

fn in_flight(by_slot: &mut [Option<Socket>], slot: Slot) -> &mut Socket {
    find(by_slot, slot).expect("a socket stays until its last operation has ended")
}
