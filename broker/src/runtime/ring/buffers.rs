//! The buffers that the kernel picks from when octets arrive: one anonymous mapping with the
//! descriptor ring in front and the buffers behind it.
//!
//! Invariant: every buffer is either offered to the kernel (between its head and our `tail`) or
//! lent out as exactly one [`Received`](super::Received).
#![allow(unsafe_code)]

use io_uring::types::BufRingEntry;
use std::io;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

/// Pages of this size or smaller divide it on every machine that Linux runs on.
const ALIGNMENT: usize = 64 * 1024;

pub(super) struct ReceiveBuffers {
    /// Start of the mapping, which is also the start of the descriptor ring.
    base: NonNull<u8>,
    mapping_len: usize,
    /// Where the buffers start, from `base`.
    data_at: usize,
    count: u16,
    buffer_len: u32,
    tail: u16,
}

impl ReceiveBuffers {
    /// All buffers offered, the ring yet to be registered with the kernel.
    pub(super) fn new(count: u16, buffer_len: u32) -> io::Result<ReceiveBuffers> {
        assert!(count.is_power_of_two() && count <= 1 << 15 && buffer_len > 0);
        let ring_len = usize::from(count) * size_of::<BufRingEntry>();
        let data_at = ring_len.next_multiple_of(ALIGNMENT);
        let mapping_len = data_at + usize::from(count) * buffer_len as usize;
        // SAFETY: a fresh private mapping of our own; nothing is replaced.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapping_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).expect("mmap never maps address zero for us");
        let mut buffers = ReceiveBuffers {
            base,
            mapping_len,
            data_at,
            count,
            buffer_len,
            tail: 0,
        };
        for id in 0..count {
            buffers.offer(id);
        }
        Ok(buffers)
    }

    pub(super) fn ring_address(&self) -> u64 {
        self.base.as_ptr().addr() as u64
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Gives a buffer (back) to the kernel. The caller holds it: it is not offered already.
    pub(super) fn offer(&mut self, id: u16) {
        assert!(id < self.count);
        let address = self.base.as_ptr().addr() + self.data_at + self.offset(id);
        let entries = self.base.as_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index < count`, inside the mapping; the kernel reads only entries before the
        // tail, so this one is ours. The tail shares its place with a field of entry 0 that the
        // setters leave alone.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(address as u64);
            entry.set_len(self.buffer_len);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a u16 within the mapping that only this thread writes; the kernel
        // reads it with acquire.
        unsafe {
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// The first `len` octets of a buffer that the caller holds.
    pub(super) fn bytes(&self, id: u16, len: u32) -> &[u8] {
        assert!(id < self.count && len <= self.buffer_len);
        // SAFETY: inside the mapping, zeroed at birth and written since only by the kernel, which
        // is done with this buffer until it is offered again; that needs `&mut self`.
        unsafe {
            let start = self.base.as_ptr().add(self.data_at + self.offset(id));
            std::slice::from_raw_parts(start, len as usize)
        }
    }

    /// Never unmaps: for when the kernel cannot be shown to be done with the buffers.
    pub(super) fn leak(&mut self) {
        self.mapping_len = 0;
    }

    fn offset(&self, id: u16) -> usize {
        usize::from(id) * self.buffer_len as usize
    }
}

impl Drop for ReceiveBuffers {
    fn drop(&mut self) {
        if self.mapping_len > 0 {
            // SAFETY: our own mapping; `Ring` has seen the end of every operation by then.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapping_len) };
        }
    }
}
