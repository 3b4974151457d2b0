//! Content headers with all fourteen properties, and bodies.

use super::values::{FRAME_MAX, depth, name, reference_bytes, reference_frame, table};
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame};
use amq_protocol::protocol::BasicProperties;
use amq_protocol::types::{FieldTable, ShortString};
use broker::engine::wire::basic::{decode_content_header, encode_content};
use broker::engine::wire::frame::{FrameKind, split_frame};
use broker::engine::wire::properties::{Properties, encode_properties};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

type Strings = [Option<ShortString>; 10];
type Others = (Option<FieldTable>, Option<u8>, Option<u8>, Option<u64>);

fn properties() -> impl Strategy<Value = BasicProperties> {
    let strings = proptest::array::uniform10(of(name()));
    let others = (
        of(table()),
        of(any::<u8>()),
        of(any::<u8>()),
        of(any::<u64>()),
    );
    (strings, others).prop_map(|(strings, others)| assemble(strings, others))
}

fn assemble(strings: Strings, (headers, mode, priority, timestamp): Others) -> BasicProperties {
    let mut properties = BasicProperties::default();
    let setters = [
        BasicProperties::with_content_type,
        BasicProperties::with_content_encoding,
        BasicProperties::with_correlation_id,
        BasicProperties::with_reply_to,
        BasicProperties::with_expiration,
        BasicProperties::with_message_id,
        BasicProperties::with_type,
        BasicProperties::with_user_id,
        BasicProperties::with_app_id,
        BasicProperties::with_cluster_id,
    ];
    for (set, text) in setters.into_iter().zip(strings) {
        if let Some(text) = text {
            properties = set(properties, text);
        }
    }
    if let Some(headers) = headers {
        properties = properties.with_headers(headers);
    }
    if let Some(mode) = mode {
        properties = properties.with_delivery_mode(mode);
    }
    if let Some(priority) = priority {
        properties = properties.with_priority(priority);
    }
    if let Some(timestamp) = timestamp {
        properties = properties.with_timestamp(timestamp);
    }
    properties
}

fn header_frame(channel: u16, body_size: u64, properties: BasicProperties) -> AMQPFrame {
    let header = AMQPContentHeader {
        class_id: 60,
        body_size,
        properties,
    };
    AMQPFrame::Header(channel, header)
}

/// The property list alone, as the reference encodes it.
fn list(properties: &BasicProperties) -> Vec<u8> {
    let bytes = reference_bytes(&header_frame(1, 0, properties.clone()));
    bytes[7 + 12..bytes.len() - 1].to_vec()
}

fn octets(text: Option<&ShortString>) -> Option<&[u8]> {
    text.map(|text| text.as_str().as_bytes())
}

proptest! {
    #[test]
    fn we_read_the_content_headers_that_the_reference_writes(
        properties in properties(),
        channel: u16,
        body_len: u64,
    ) {
        let bytes = reference_bytes(&header_frame(channel, body_len, properties.clone()));
        let frame = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
        prop_assert_eq!((frame.kind, frame.channel), (FrameKind::Header, channel));
        let (class_id, header) = decode_content_header(frame.payload).unwrap();
        prop_assert_eq!((class_id, header.body_len), (60, body_len));
        let walked = Properties::walk(header.properties, 16).unwrap();
        prop_assert_eq!(walked.reply_to(), octets(properties.reply_to().as_ref()));
        prop_assert_eq!(walked.correlation_id(), octets(properties.correlation_id().as_ref()));
        prop_assert_eq!(walked.expiration(), octets(properties.expiration().as_ref()));
        prop_assert_eq!(walked.user_id(), octets(properties.user_id().as_ref()));
        prop_assert_eq!(walked.delivery_mode(), *properties.delivery_mode());
        prop_assert_eq!(walked.priority(), *properties.priority());
        prop_assert_eq!(walked.headers().is_some(), properties.headers().is_some());
    }

    #[test]
    fn a_published_list_is_passed_on_to_the_octet(properties in properties()) {
        let published = list(&properties);
        let walked = Properties::walk(&published, 16).unwrap();
        prop_assert_eq!(walked.bytes(), &published);
        prop_assert_eq!(walked.parts().0.concat(), published);
    }

    #[test]
    fn splicing_is_what_the_reference_encodes_with_the_other_reply_to(
        properties in properties(),
        reply_to in name(),
    ) {
        let published = list(&properties);
        let text = reply_to.as_str().as_bytes();
        let replacement = [&[u8::try_from(text.len()).unwrap()], text].concat();
        let walked = Properties::walk(&published, 16).unwrap();
        let spliced = walked.splice_reply_to(&replacement);
        if properties.reply_to().is_none() {
            prop_assert!(spliced.is_none());
        } else {
            let expected = list(&properties.with_reply_to(reply_to));
            let parts = spliced.unwrap();
            prop_assert_eq!(parts.len(), expected.len());
            prop_assert_eq!(parts.0.concat(), expected);
        }
    }

    #[test]
    fn the_headers_table_may_be_as_deep_as_the_limit_and_no_deeper(headers in table()) {
        let depth = depth(&headers);
        let bytes = list(&BasicProperties::default().with_headers(headers));
        prop_assert!(Properties::walk(&bytes, depth).is_ok());
        prop_assert!(Properties::walk(&bytes, depth - 1).is_err());
    }

    #[test]
    fn no_prefix_of_a_list_is_a_list(properties in properties(), cut: prop::sample::Index) {
        let bytes = list(&properties);
        prop_assert!(Properties::walk(&bytes[..cut.index(bytes.len())], 16).is_err());
    }

    #[test]
    fn content_is_read_back_by_the_reference_in_frames_within_the_limit(
        properties in properties(),
        body in vec(any::<u8>(), 0..600),
        frame_max in 9_u32..700,
        channel: u16,
    ) {
        let published = list(&properties);
        let parts = Properties::walk(&published, 16).unwrap().parts();
        let mut out = Vec::new();
        encode_content(&mut out, channel, parts, &body, frame_max);
        let (mut bytes, mut body_read, mut frames) = (&out[..], Vec::new(), 0);
        while let Some(frame) = split_frame(bytes, FRAME_MAX).unwrap() {
            let (whole, rest) = bytes.split_at(frame.frame_len());
            match reference_frame(whole) {
                AMQPFrame::Body(on, chunk) => {
                    prop_assert_eq!(on, channel);
                    prop_assert!(whole.len() <= frame_max as usize && !chunk.is_empty());
                    body_read.extend(chunk);
                }
                header => {
                    let expected = header_frame(channel, body.len() as u64, properties.clone());
                    prop_assert_eq!(header, expected);
                }
            }
            bytes = rest;
            frames += 1;
        }
        prop_assert!(bytes.is_empty());
        prop_assert_eq!(frames, 1 + body.len().div_ceil(frame_max as usize - 8));
        prop_assert_eq!(body_read, body);
    }

    #[test]
    fn our_own_lists_are_the_references(
        id in of(name()),
        reply_to in of(name()),
        mode: Option<u8>,
    ) {
        let mut out = Vec::new();
        encode_properties(&mut out, octets(id.as_ref()), octets(reply_to.as_ref()), mode);
        let strings = [None, None, id, reply_to, None, None, None, None, None, None];
        prop_assert_eq!(out, list(&assemble(strings, (None, mode, None, None))));
    }

    #[test]
    fn no_bytes_make_the_walk_panic(bytes in vec(any::<u8>(), 0..64), flags: u16) {
        let _ = Properties::walk(&bytes, 16);
        let bytes = [&(flags & 0xfffc).to_be_bytes()[..], &bytes].concat();
        if let Ok(walked) = Properties::walk(&bytes, 16) {
            prop_assert_eq!(walked.splice_reply_to(b"\x00").is_some(), flags & 0x0200 != 0);
        }
    }
}
