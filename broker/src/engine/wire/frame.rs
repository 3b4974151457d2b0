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

/// What stands before the payload of a body frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHead {
    pub channel: u16,
    pub payload_len: usize,
}

/// The head of a body frame that [`split_frame`] waits for, and what there is behind it: part of
/// its payload, or all of it without the frame's end.
pub fn split_body_head(bytes: &[u8]) -> Option<(BodyHead, &[u8])> {
    let (&[kind, c0, c1, l0, l1, l2, l3], rest) = bytes.split_first_chunk()?;
    let head = BodyHead {
        channel: u16::from_be_bytes([c0, c1]),
        payload_len: usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).ok()?,
    };
    (kind == 3).then_some((head, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE_OK: &[u8] = b"\x01\x01\x02\x00\x00\x00\x04\x00\x0a\x00\x33\xce";

    #[test]
    fn a_whole_frame_is_split_off_whatever_follows_it() {
        let mut bytes = CLOSE_OK.to_vec();
        bytes.extend_from_slice(b"\x08\x00");
        let frame = split_frame(&bytes, 4096).unwrap().unwrap();
        assert_eq!(frame.kind, FrameKind::Method);
        assert_eq!(frame.channel, 0x0102);
        assert_eq!(frame.payload, b"\x00\x0a\x00\x33");
        assert_eq!(frame.frame_len(), CLOSE_OK.len());
    }

    #[test]
    fn every_part_of_a_frame_waits_for_the_rest() {
        for len in 0..CLOSE_OK.len() {
            assert_eq!(
                split_frame(&CLOSE_OK[..len], 4096),
                Ok(None),
                "{len} octets"
            );
        }
    }

    #[test]
    fn the_head_of_a_body_frame_is_split_off_before_its_payload_is_there() {
        let head = BodyHead {
            channel: 0x0102,
            payload_len: 5,
        };
        let bytes = b"\x03\x01\x02\x00\x00\x00\x05abc";
        assert_eq!(split_body_head(bytes), Some((head, &b"abc"[..])));
        assert_eq!(split_body_head(&bytes[..7]), Some((head, &b""[..])));
        assert_eq!(split_body_head(&bytes[..6]), None);
        assert_eq!(split_body_head(CLOSE_OK), None, "another kind");
    }

    #[test]
    fn an_empty_payload_is_a_frame() {
        let frame = split_frame(b"\x08\x00\x00\x00\x00\x00\x00\xce", 4096)
            .unwrap()
            .unwrap();
        assert_eq!(
            (frame.kind, frame.channel, frame.payload),
            (FrameKind::Heartbeat, 0, &b""[..])
        );
    }

    #[test]
    fn an_unknown_kind_is_reported_from_the_first_octet() {
        for kind in (0..=255).filter(|kind| ![1, 2, 3, 8].contains(kind)) {
            assert_eq!(
                split_frame(&[kind], 4096),
                Err(FrameError::UnknownKind { kind })
            );
        }
        let error = FrameError::UnknownKind { kind: b'A' };
        assert_eq!(split_frame(&PROTOCOL_HEADER, 4096), Err(error));
    }

    #[test]
    fn a_frame_over_the_maximum_is_refused_before_its_payload() {
        let fits = b"\x03\x00\x01\x00\x00\x0f\xf8";
        assert_eq!(split_frame(fits, 4096), Ok(None));
        let error = FrameError::TooLarge { payload_len: 4089 };
        assert_eq!(
            split_frame(b"\x03\x00\x01\x00\x00\x0f\xf9", 4096),
            Err(error)
        );
        let error = FrameError::TooLarge {
            payload_len: u32::MAX,
        };
        assert_eq!(
            split_frame(b"\x03\x00\x01\xff\xff\xff\xff", 4096),
            Err(error)
        );
        assert_eq!(split_frame(b"\x03\x00\x01\xff\xff\xff\xff", 0), Err(error));
    }

    #[test]
    fn the_largest_frame_is_accepted() {
        let mut bytes = b"\x03\x00\x01\x00\x00\x0f\xf8".to_vec();
        bytes.resize(4095, b'x');
        assert_eq!(split_frame(&bytes, 4096), Ok(None));
        bytes.push(FRAME_END);
        assert_eq!(
            split_frame(&bytes, 4096).unwrap().unwrap().frame_len(),
            4096
        );
    }

    #[test]
    fn a_frame_must_end_with_its_end_octet() {
        let bytes = b"\x08\x00\x00\x00\x00\x00\x00\xcd";
        assert_eq!(
            split_frame(bytes, 4096),
            Err(FrameError::MissingEnd { found: 0xcd })
        );
    }
}
