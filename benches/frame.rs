//! The frame splitter, alone and with the decoding of what it splits.

use crate::bytes::{frames, publish};
use crate::case::{Case, Step};
use broker::engine::wire::basic::{decode_content_header, decode_hot};
use broker::engine::wire::frame::{FrameKind, RawFrame, split_frame};
use broker::limits::FRAME_LEN_MAX;
use std::hint::black_box;

pub(crate) fn cases() -> Vec<Case> {
    let split = || step(split);
    let decode = || step(decode);
    vec![
        Case::new("frame", "split a publish (3 frames)", split),
        Case::new("frame", "split and decode a publish", decode),
        Case::new("frame", "split a torn frame", torn),
    ]
}

fn step(each: fn(RawFrame<'_>)) -> Step {
    let request = publish(b"bench.requests", Some(b"bench.replies"), &[0x5A; 64]);
    assert_eq!(frames(&request).count(), 3);
    Box::new(move || frames(black_box(&request)).for_each(each))
}

fn split(frame: RawFrame<'_>) {
    black_box(&frame);
}

fn decode(frame: RawFrame<'_>) {
    match frame.kind {
        FrameKind::Method => {
            black_box(&decode_hot(frame.payload));
        }
        FrameKind::Header => {
            black_box(&decode_content_header(frame.payload));
        }
        FrameKind::Body | FrameKind::Heartbeat => {
            black_box(frame.payload);
        }
    }
}

fn torn() -> Step {
    let mut request = publish(b"bench.requests", None, &[]);
    let method_len = frames(&request).next().expect("the method").frame_len();
    request.truncate(method_len - 1);
    Box::new(move || {
        let split = split_frame(black_box(&request), FRAME_LEN_MAX);
        assert_eq!(split, Ok(None), "the last octet is not there");
    })
}
