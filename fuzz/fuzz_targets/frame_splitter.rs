//! Any bytes through the splitter and every decoder behind it. Whatever arrives in two pieces
//! must split as it does in one.

#![no_main]

use broker::engine::wire::basic::{decode_content_header, decode_hot, encode_hot};
use broker::engine::wire::frame::{FrameKind, RawFrame, split_frame};
use broker::engine::wire::method::{decode_method, encode_method};
use broker::engine::wire::properties::Properties;
use libfuzzer_sys::fuzz_target;

const FRAME_MAX: u32 = 4096;

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, mut bytes) = input;
    let first_piece = &bytes[..cut.min(bytes.len())];
    if let Ok(Some(frame)) = split_frame(first_piece, FRAME_MAX) {
        assert_eq!(split_frame(bytes, FRAME_MAX), Ok(Some(frame)));
    }
    while let Ok(Some(frame)) = split_frame(bytes, FRAME_MAX) {
        assert!(frame.frame_len() <= FRAME_MAX as usize);
        decode(&frame);
        bytes = &bytes[frame.frame_len()..];
    }
});

fn decode(frame: &RawFrame<'_>) {
    match frame.kind {
        FrameKind::Method => {
            let cold = decode_method(frame.payload, 16);
            if let Ok(Some(hot)) = decode_hot(frame.payload) {
                let mut out = Vec::new();
                encode_hot(&mut out, frame.channel, &hot);
                assert_eq!(decode_hot(&out[7..out.len() - 1]), Ok(Some(hot)));
                return;
            }
            if let Ok(cold) = cold {
                encode_method(&mut Vec::new(), frame.channel, &cold);
            }
        }
        FrameKind::Header => {
            let Ok((_, header)) = decode_content_header(frame.payload) else {
                return;
            };
            let Ok(properties) = Properties::walk(header.properties, 16) else {
                return;
            };
            assert_eq!(properties.parts().0.concat(), header.properties);
            let spliced = properties.splice_reply_to(b"\x02me");
            assert_eq!(spliced.is_some(), properties.reply_to().is_some());
            if let Some(parts) = spliced {
                let again = parts.0.concat();
                let again = Properties::walk(&again, 16).expect("only reply_to has changed");
                assert_eq!(again.reply_to(), Some(&b"me"[..]));
                assert_eq!(again.headers(), properties.headers());
                assert_eq!(again.user_id(), properties.user_id());
            }
        }
        FrameKind::Body | FrameKind::Heartbeat => {}
    }
}
