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
#[inline]
pub fn split_frame(bytes: &[u8], frame_max: u32) -> Result<Option<RawFrame<'_>>, FrameError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let kind = match first {
        1 => FrameKind::Method,
        2 => FrameKind::Header,
        3 => FrameKind::Body,
        8 => FrameKind::Heartbeat,
        kind => return Err(FrameError::UnknownKind { kind }),
    };
    let Some((&[c0, c1, l0, l1, l2, l3], rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let payload_len = u32::from_be_bytes([l0, l1, l2, l3]);
    if payload_len > frame_max.saturating_sub(FRAME_OVERHEAD) {
        return Err(FrameError::TooLarge { payload_len });
    }
    // `None` for a length beyond this machine's memory, which can only mean waiting for ever: no
    // frame-max that is in use comes near it.
    let Some((payload, tail)) = usize::try_from(payload_len)
        .ok()
        .and_then(|len| rest.split_at_checked(len))
    else {
        return Ok(None);
    };
    match tail.first() {
        None => Ok(None),
        Some(&FRAME_END) => Ok(Some(RawFrame {
            kind,
            channel: u16::from_be_bytes([c0, c1]),
            payload,
        })),
        Some(&found) => Err(FrameError::MissingEnd { found }),
    }
}
