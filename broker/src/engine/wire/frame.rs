//! The frame splitter (AMQP 0-9-1 4.2.2, 4.2.3): the one place that may ask for more bytes.

use crate::limits::FRAME_OVERHEAD;

pub const FRAME_END: u8 = 0xCE;

/// What a client sends first: "AMQP", 0, 0, 9, 1 (AMQP 0-9-1 4.2.2).
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Method,
    Header,
    Body,
    Heartbeat,
}

/// One whole frame, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    pub kind: FrameKind,
    pub channel: u16,
    pub payload: &'a [u8],
}

impl RawFrame<'_> {
    /// Octets on the wire, overhead included.
    pub fn frame_len(&self) -> usize {
        self.payload.len() + FRAME_OVERHEAD as usize
    }
}

/// Why bytes cannot be a frame: all of them are reply code 501 (frame error).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    UnknownKind { kind: u8 },
    TooLarge { payload_len: u32 },
    MissingEnd { found: u8 },
}

/// The first complete frame of `bytes`, or `None` if more bytes are needed. A wrong kind or a
/// length over `frame_max` (octets, overhead included) is reported before waiting for the rest.
pub fn split_frame(_bytes: &[u8], _frame_max: u32) -> Result<Option<RawFrame<'_>>, FrameError> {
    todo!()
}
