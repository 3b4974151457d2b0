//! The splitter under every way that a stream can be torn.

use super::values::FRAME_MAX;
use broker::engine::wire::frame::{FRAME_END, FrameKind, split_frame};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    kind: FrameKind,
    channel: u16,
    payload: Vec<u8>,
}

fn frame() -> impl Strategy<Value = Owned> {
    let kind = prop_oneof![
        Just(FrameKind::Method),
        Just(FrameKind::Header),
        Just(FrameKind::Body),
        Just(FrameKind::Heartbeat),
    ];
    (kind, any::<u16>(), vec(any::<u8>(), 0..40)).prop_map(|(kind, channel, payload)| Owned {
        kind,
        channel,
        payload,
    })
}

fn bytes_of(frames: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.push(match frame.kind {
            FrameKind::Method => 1,
            FrameKind::Header => 2,
            FrameKind::Body => 3,
            FrameKind::Heartbeat => 8,
        });
        bytes.extend_from_slice(&frame.channel.to_be_bytes());
        let payload_len = u32::try_from(frame.payload.len()).expect("short");
        bytes.extend_from_slice(&payload_len.to_be_bytes());
        bytes.extend_from_slice(&frame.payload);
        bytes.push(FRAME_END);
    }
    bytes
}

/// Takes every whole frame off the front.
fn drain(received: &mut Vec<u8>, frames: &mut Vec<Owned>) {
    while let Some(frame) = split_frame(received, FRAME_MAX).expect("legal frames only") {
        let frame_len = frame.frame_len();
        frames.push(Owned {
            kind: frame.kind,
            channel: frame.channel,
            payload: frame.payload.to_vec(),
        });
        received.drain(..frame_len);
    }
}

proptest! {
    #[test]
    fn frames_are_the_same_however_the_stream_is_torn(
        frames in vec(frame(), 0..8),
        lens in vec(0_usize..30, 1..40),
    ) {
        let bytes = bytes_of(&frames);
        let (mut left, mut received, mut split) = (&bytes[..], Vec::new(), Vec::new());
        for len in lens.iter().cycle() {
            let (piece, rest) = left.split_at(left.len().min(*len));
            received.extend_from_slice(piece);
            drain(&mut received, &mut split);
            left = rest;
            if left.is_empty() || lens.iter().all(|len| *len == 0) {
                break;
            }
        }
        received.extend_from_slice(left);
        drain(&mut received, &mut split);
        prop_assert_eq!(split, frames);
        prop_assert!(received.is_empty());
    }

    #[test]
    fn what_is_refused_stays_refused_when_more_arrives(
        bytes in vec(any::<u8>(), 0..24),
        more in vec(any::<u8>(), 0..24),
        frame_max in 8_u32..40,
    ) {
        let longer = [&bytes[..], &more].concat();
        match split_frame(&bytes, frame_max) {
            Err(error) => prop_assert_eq!(split_frame(&longer, frame_max), Err(error)),
            Ok(Some(frame)) => {
                prop_assert_eq!(split_frame(&longer, frame_max), Ok(Some(frame)));
                prop_assert!(frame.frame_len() <= frame_max as usize);
            }
            Ok(None) => prop_assert!(bytes.len() < frame_max as usize),
        }
    }
}
