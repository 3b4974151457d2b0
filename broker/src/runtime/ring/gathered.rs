//! A send whose octets lie apart, with what the kernel reads to find them.
#![allow(unsafe_code)]

use crate::engine::buffer::Batch;
use std::mem;

/// Pieces of one send, below the kernel's limit of 1024. What is behind them is a short send.
const PIECE_COUNT_MAX: usize = 128;

/// Octets of one send, give or take a piece: others get their turn before the rest goes out.
const SEND_LEN_HIGH: usize = 256 * 1024;

/// Invariant: `header` points to `pieces`, and those into `batch`; none of the three changes or
/// moves its heap memory before [`Gathered::into_batch`].
pub(super) struct Gathered {
    batch: Batch,
    #[expect(dead_code, reason = "the kernel reads it by way of `header`")]
    pieces: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Gathered {
    /// Octets of `batch` from position `from` on, of which there is at least one.
    pub(super) fn new(batch: Batch, from: usize) -> Gathered {
        let mut pieces = pieces(&batch, from);
        assert!(
            !pieces.is_empty(),
            "an empty send would look like a broken one"
        );
        // SAFETY: all zeros is a message without an address, pieces or control data.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = pieces.as_mut_ptr();
        header.msg_iovlen = pieces.len();
        Gathered {
            batch,
            pieces,
            header,
        }
    }

    /// Valid as long as this stays where it is.
    pub(super) fn header(&self) -> *const libc::msghdr {
        &raw const self.header
    }

    pub(super) fn into_batch(self) -> Batch {
        self.batch
    }
}

fn pieces(batch: &Batch, from: usize) -> Vec<libc::iovec> {
    let mut pieces = Vec::with_capacity((2 * batch.inserts.len() + 1).min(PIECE_COUNT_MAX));
    let mut skip_len = from;
    let mut at = 0;
    for insert in &batch.inserts {
        push(&mut pieces, &batch.bytes[at..insert.at], &mut skip_len);
        push(&mut pieces, &insert.octets, &mut skip_len);
        at = insert.at;
        let len: usize = pieces.iter().map(|piece| piece.iov_len).sum();
        if pieces.len() >= PIECE_COUNT_MAX - 1 || len >= SEND_LEN_HIGH {
            return pieces;
        }
    }
    push(&mut pieces, &batch.bytes[at..], &mut skip_len);
    pieces
}

fn push(pieces: &mut Vec<libc::iovec>, octets: &[u8], skip_len: &mut usize) {
    let skipped = octets.len().min(*skip_len);
    *skip_len -= skipped;
    let octets = &octets[skipped..];
    if !octets.is_empty() {
        pieces.push(libc::iovec {
            iov_base: octets.as_ptr().cast_mut().cast(),
            iov_len: octets.len(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::buffer::Insert;

    fn read(pieces: &[libc::iovec]) -> Vec<u8> {
        let slice = |piece: &libc::iovec| {
            // SAFETY: the batch that it points into is alive in the test.
            unsafe { std::slice::from_raw_parts(piece.iov_base.cast::<u8>(), piece.iov_len) }
        };
        pieces.iter().flat_map(slice).copied().collect()
    }

    fn insert(at: usize, octets: &'static [u8]) -> Insert {
        let octets = octets.into();
        Insert { at, octets }
    }

    #[test]
    fn pieces_are_the_octets_in_order_from_any_position_on() {
        let batch = Batch {
            bytes: b"abcd".to_vec(),
            inserts: vec![insert(1, b"11"), insert(1, b"2"), insert(4, b"333")],
        };
        let whole = b"a112bcd333";
        for from in 0..whole.len() {
            assert_eq!(read(&pieces(&batch, from)), whole[from..], "from {from}");
        }
    }

    #[test]
    fn more_pieces_than_one_send_may_have_are_left_for_the_next() {
        let inserts = (0..PIECE_COUNT_MAX).map(|at| insert(at, b"x"));
        let batch = Batch {
            bytes: vec![b'-'; PIECE_COUNT_MAX],
            inserts: inserts.collect(),
        };
        let (mut sent, mut count) = (Vec::new(), 0);
        while sent.len() < batch.len() {
            let pieces = pieces(&batch, sent.len());
            assert!(pieces.len() <= PIECE_COUNT_MAX);
            sent.extend(read(&pieces));
            count += 1;
        }
        assert_eq!(sent, b"x-".repeat(PIECE_COUNT_MAX));
        assert_eq!(count, 3);
    }
}
