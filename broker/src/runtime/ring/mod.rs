//! One shard's network ring: every socket operation of a thread, batched into one
//! `io_uring_enter` per turn. Used by the broker and by `loadgen`; knows no protocol.
//!
//! Buffers in flight belong to the ring, so a caller can neither free nor reuse them too early;
//! file descriptors belong to the caller, who closes one only once [`Completion`]s have shown
//! that none of its operations is left in flight.

#![allow(unsafe_code)]

mod buffers;
mod gathered;
mod operation;
#[cfg(test)]
mod tests;

use crate::engine::buffer::Batch;
use buffers::ReceiveBuffers;
use gathered::Gathered;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use operation::Operation;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// The one group of buffers that every receive picks from.
const BUFFER_GROUP: u16 = 0;

/// Without a signal if the peer is gone.
const MSG_NOSIGNAL: u32 = libc::MSG_NOSIGNAL.cast_unsigned();

/// The peer has closed its side. That both are closed and that the socket has failed is told
/// unasked.
const HANG_UP: u32 = libc::POLLRDHUP.cast_unsigned() as u32;

/// How long a ring that is dropped waits for the kernel to let go of its buffers; after that
/// they are leaked.
const DROP_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long to leave a ring alone whose completion queue had no room for a doorbell. It is awake
/// then, but its thread may be doing something long.
const DOORBELL_RETRY: Duration = Duration::from_millis(1);

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
    // Deliberately neither Copy nor Clone: a buffer goes back once.
    buffer_id: u16,
    len: u32,
}

/// What one operation came to. `token` is the caller's own name for the socket (32 bits).
#[derive(Debug)]
pub enum Completion {
    /// `armed`: the multishot accept goes on; otherwise call `accept` again.
    Accepted {
        token: u32,
        result: io::Result<OwnedFd>,
        armed: bool,
    },
    /// `Ok(None)`: the peer closed its sending side. `armed` as above. No buffer was free: an
    /// error of kind `OutOfMemory` with `armed: false`; nothing is lost, call `receive` again.
    Received {
        token: u32,
        result: io::Result<Option<Received>>,
        armed: bool,
    },
    /// A watch is over. `Ok`: the peer has closed its side, or the socket has failed; octets may
    /// lie there unread.
    HungUp { token: u32, result: io::Result<()> },
    /// The whole send is over; `buffer` comes back. `Ok(n)`: octets of it that were sent from
    /// the position given, at least one; `n` may fall short of the end: send again from there.
    Sent {
        token: u32,
        buffer: Vec<u8>,
        result: io::Result<usize>,
    },
    /// The same for what was sent by `send_gathered`.
    SentGathered {
        token: u32,
        batch: Batch,
        result: io::Result<usize>,
    },
    /// Another ring rang ours with `ring_doorbell`.
    Doorbell { value: u32 },
}

struct SendInFlight {
    token: u32,
    octets: Octets,
}

enum Octets {
    InOnePiece(Vec<u8>),
    Gathered(Box<Gathered>),
}

/// Belongs to the thread that made it: the kernel refuses any other.
pub struct Ring {
    io: IoUring,
    buffers: ReceiveBuffers,
    sends: Slab<SendInFlight>,
    /// Accepts, receives and watches whose last completion has not come.
    armed_count: usize,
    /// Entries that found the submission queue full while the kernel would take none.
    backlog: VecDeque<squeue::Entry>,
    /// Doorbells that found the other ring full: they are rung again.
    unrung: Vec<(RawFd, u32)>,
}

impl Ring {
    /// Errors: io_uring is missing, forbidden, or older than Linux 6.1.
    pub fn new(settings: &RingSettings) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(settings.completion_entries);
        let io = builder
            .build(settings.submission_entries)
            .map_err(explain)?;
        let buffers =
            ReceiveBuffers::new(settings.receive_buffer_count, settings.receive_buffer_len)?;
        // SAFETY: the buffers are dropped after `io`, and only if no receive is left.
        let registered = unsafe {
            io.submitter().register_buf_ring_with_flags(
                buffers.ring_address(),
                buffers.count(),
                BUFFER_GROUP,
                0,
            )
        };
        registered.map_err(explain)?;
        Ok(Ring {
            io,
            buffers,
            sends: Slab::new(),
            armed_count: 0,
            backlog: VecDeque::new(),
            unrung: Vec::new(),
        })
    }

    /// What other rings pass to [`Ring::ring_doorbell`]; valid as long as this ring lives.
    pub fn doorbell(&self) -> RawFd {
        self.io.as_raw_fd()
    }

    /// Arms a multishot accept.
    pub fn accept(&mut self, listener: RawFd, token: u32) {
        self.armed_count += 1;
        let entry = opcode::AcceptMulti::new(Fd(listener))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.push(entry, Operation::Accept { token });
    }

    /// Arms a multishot receive.
    pub fn receive(&mut self, fd: RawFd, token: u32) {
        self.armed_count += 1;
        let entry = opcode::RecvMulti::new(Fd(fd), BUFFER_GROUP).build();
        self.push(entry, Operation::Receive { token });
    }

    /// Asks the kernel to end the multishot receive of `token`; its last completion still comes
    /// (`armed: false`, possibly an error of kind `Interrupted` or raw ECANCELED).
    pub fn cancel_receive(&mut self, token: u32) {
        self.cancel(Operation::Receive { token });
    }

    /// Completes once, when the peer hangs up; for a socket that nobody receives from.
    pub fn watch(&mut self, fd: RawFd, token: u32) {
        self.armed_count += 1;
        let entry = opcode::PollAdd::new(Fd(fd), HANG_UP).build();
        self.push(entry, Operation::Watch { token });
    }

    /// Asks the kernel to end the watch of `token`, whose completion still comes (raw ECANCELED
    /// unless the peer was faster).
    pub fn cancel_watch(&mut self, token: u32) {
        self.cancel(Operation::Watch { token });
    }

    fn cancel(&mut self, operation: Operation) {
        let target = CancelBuilder::user_data(operation.pack());
        let entry = opcode::AsyncCancel2::new(target).build();
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), Operation::Cancel);
    }

    /// Sends `buffer[from..]`, which is not empty; the ring keeps the buffer until `Sent` returns
    /// it.
    pub fn send(&mut self, fd: RawFd, token: u32, buffer: Vec<u8>, from: usize) {
        let bytes = &buffer[from..];
        assert!(
            !bytes.is_empty(),
            "an empty send would never be told from a broken one"
        );
        // A rest that does not fit is a short send: the caller goes on from there.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(fd), bytes.as_ptr(), len).flags(libc::MSG_NOSIGNAL);
        let entry = entry.build();
        // Moving the vector leaves its octets where they are.
        self.push_send(entry, token, Octets::InOnePiece(buffer));
    }

    /// The same for octets that lie apart, from position `from` in all of them on.
    pub fn send_gathered(&mut self, fd: RawFd, token: u32, batch: Batch, from: usize) {
        let gathered = Box::new(Gathered::new(batch, from));
        let entry = opcode::SendMsg::new(Fd(fd), gathered.header()).flags(MSG_NOSIGNAL);
        self.push_send(entry.build(), token, Octets::Gathered(gathered));
    }

    fn push_send(&mut self, entry: squeue::Entry, token: u32, octets: Octets) {
        let key = self.sends.insert(SendInFlight { token, octets });
        let key = u32::try_from(key).expect("there are fewer sends than sockets");
        self.push(entry, Operation::Send { key });
    }

    /// Makes `Completion::Doorbell { value }` appear in the ring whose `doorbell()` this is.
    pub fn ring_doorbell(&mut self, doorbell: RawFd, value: u32) {
        let rung = Operation::Rung { value }.pack();
        let entry = opcode::MsgRingData::new(Fd(doorbell), 0, rung, None).build();
        // Only a failure is worth a completion here.
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry, Operation::Ring { doorbell, value });
    }

    /// Submits what was queued, waits until a completion is there or `timeout` is over (`None`:
    /// without end; zero: does not wait).
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.submit_backlog()?;
        // Rung again after this wait, not before it: the other ring needs a moment to drain.
        let unrung = mem::take(&mut self.unrung);
        let timeout = if unrung.is_empty() {
            timeout
        } else {
            Some(timeout.map_or(DOORBELL_RETRY, |timeout| timeout.min(DOORBELL_RETRY)))
        };
        let result = self.enter(timeout);
        for (doorbell, value) in unrung {
            self.ring_doorbell(doorbell, value);
        }
        result
    }

    /// The next completion that has arrived, without waiting.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        loop {
            let entry = self.io.completion().next()?;
            if let Some(completion) = self.complete(&entry) {
                return Some(completion);
            }
        }
    }

    pub fn bytes(&self, received: &Received) -> &[u8] {
        self.buffers.bytes(received.buffer_id, received.len)
    }

    pub fn recycle(&mut self, received: Received) {
        self.buffers.offer(received.buffer_id);
    }

    fn push(&mut self, entry: squeue::Entry, operation: Operation) {
        let entry = entry.user_data(operation.pack());
        if self.backlog.is_empty() {
            if self.try_push(&entry) {
                return;
            }
            // Full. The kernel takes what is there without waiting; an error here comes again
            // in `turn`, which can report it.
            let _ = self.io.submit();
            if self.try_push(&entry) {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: whatever an entry points to lives in `sends` or `buffers` until its last
        // completion, and past this ring's end if that does not come (see `drop`).
        unsafe { self.io.submission().push(entry) }.is_ok()
    }

    fn submit_backlog(&mut self) -> io::Result<()> {
        while let Some(entry) = self.backlog.pop_front() {
            if self.try_push(&entry) {
                continue;
            }
            self.backlog.push_front(entry);
            let submitted = self.io.submit();
            if self.io.submission().is_full() {
                // The kernel takes nothing: let the caller handle completions first.
                return submitted.map(|_| ()).or_else(only_if_serious);
            }
        }
        Ok(())
    }

    /// One `io_uring_enter`, or none if it could bring nothing.
    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let submission = self.io.submission();
        let submit_count = submission.len();
        let has_work = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        let has_completions = !self.io.completion().is_empty();
        let waits = !has_completions && self.backlog.is_empty() && timeout != Some(Duration::ZERO);
        if submit_count == 0 && !waits && (has_completions || !has_work) {
            return Ok(());
        }
        let timespec = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(timespec) = timespec.as_ref().filter(|_| waits) {
            arguments = arguments.timespec(timespec);
        }
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: the extended argument is what the flag announces and outlives the call.
        let entered = unsafe {
            let submitter = self.io.submitter();
            submitter.enter(
                submit_count as u32,
                u32::from(waits),
                flags.bits(),
                Some(&arguments),
            )
        };
        entered.map(|_| ()).or_else(only_if_serious)
    }

    /// `None`: it concerned only ourselves.
    fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (result, flags) = (entry.result(), entry.flags());
        let armed = cqueue::more(flags);
        match Operation::unpack(entry.user_data()) {
            Operation::Accept { token } => {
                self.armed_count -= usize::from(!armed);
                // SAFETY: a new descriptor that nobody else has been told about.
                let accepted = |_| unsafe { OwnedFd::from_raw_fd(result) };
                let result = outcome(result).map(accepted);
                Some(Completion::Accepted {
                    token,
                    result,
                    armed,
                })
            }
            Operation::Receive { token } => {
                self.armed_count -= usize::from(!armed);
                let buffer_id = cqueue::buffer_select(flags);
                let result = self.received(result, buffer_id);
                Some(Completion::Received {
                    token,
                    result,
                    armed,
                })
            }
            Operation::Watch { token } => {
                self.armed_count -= 1;
                let result = outcome(result).map(|_| ());
                Some(Completion::HungUp { token, result })
            }
            Operation::Send { key } => {
                let send = self.sends.remove(key as usize);
                let result = match outcome(result) {
                    Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                    Ok(len) => Ok(len as usize),
                    Err(error) => Err(error),
                };
                let token = send.token;
                Some(match send.octets {
                    Octets::InOnePiece(buffer) => Completion::Sent {
                        token,
                        buffer,
                        result,
                    },
                    Octets::Gathered(gathered) => Completion::SentGathered {
                        token,
                        batch: gathered.into_batch(),
                        result,
                    },
                })
            }
            // It found nothing to cancel: the operation's own completion says what came of it.
            Operation::Cancel => None,
            Operation::Ring { doorbell, value } => {
                // No room there, or no memory here: a lost doorbell would be a lost wake-up. Any
                // other error says that the ring is gone, and nobody waits in it.
                if matches!(-result, libc::EOVERFLOW | libc::EAGAIN | libc::ENOMEM) {
                    self.unrung.push((doorbell, value));
                }
                None
            }
            Operation::Rung { value } => Some(Completion::Doorbell { value }),
        }
    }

    fn received(&mut self, result: i32, buffer_id: Option<u16>) -> io::Result<Option<Received>> {
        match (outcome(result), buffer_id) {
            (Ok(len), Some(buffer_id)) if len > 0 => Ok(Some(Received { buffer_id, len })),
            (outcome, unused) => {
                if let Some(buffer_id) = unused {
                    self.buffers.offer(buffer_id);
                }
                match outcome {
                    Ok(_) => Ok(None),
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        Err(io::ErrorKind::OutOfMemory.into())
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// A doorbell that fails does so when it is submitted.
    fn has_rung(&mut self) -> bool {
        self.unrung.is_empty() && self.backlog.is_empty() && self.io.submission().is_empty()
    }

    /// Ends every operation; doorbells are rung before, since who waits for one waits for ever.
    /// False: the kernel would not let go of all of them in time.
    fn join(&mut self) -> bool {
        let until = Instant::now() + DROP_WAIT_MAX;
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(entry, Operation::Cancel);
        loop {
            while self.poll_completion().is_some() {}
            if self.armed_count == 0 && self.sends.is_empty() && self.has_rung() {
                return true;
            }
            let turned = self.turn(Some(Duration::from_millis(10)));
            if turned.is_err() || Instant::now() > until {
                return false;
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.join() {
            self.buffers.leak();
            mem::forget(mem::take(&mut self.sends));
        }
    }
}

fn outcome(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// A wait may end without a completion: its time is over, a signal came, or the kernel wants
/// completions taken before it accepts more.
fn only_if_serious(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
        _ => Err(error),
    }
}

/// Says what is missing, for the one who reads it at the start.
fn explain(error: io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "io_uring is not built into this kernel; Linux 6.1 or newer is needed"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: see the sysctl kernel.io_uring_disabled, and the seccomp \
             profile if this is a container"
        }
        Some(libc::EINVAL) => "this kernel's io_uring is too old; Linux 6.1 or newer is needed",
        Some(libc::ENOMEM) => {
            "no memory for an io_uring: see the limit of locked memory (ulimit -l)"
        }
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor left for an io_uring (ulimit -n)",
        _ => "io_uring cannot be set up",
    };
    io::Error::new(error.kind(), format!("{text} ({error})"))
}
