//! The content header's property list: the walk that checks it, and what a publish reads from it.

use crate::case::{Case, Step};
use amq_protocol::types::{AMQPValue, FieldTable, LongString, ShortString};
use broker::engine::wire::method::encode_table;
use broker::engine::wire::properties::{Properties, encode_properties};
use broker::limits::TABLE_DEPTH_MAX;
use std::hint::black_box;

const CORRELATION_ID: &[u8] = b"0123456789abcdef";
const REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";
/// All 14 of class basic: the two lowest bits name none.
const ALL_FLAGS: u16 = 0xFFFC;

pub(crate) fn cases() -> Vec<Case> {
    let empty = || walk(vec![0, 0]);
    let request = || walk(request_list());
    let all = || walk(full_list(8));
    vec![
        Case::new("header", "walk an empty list", empty),
        Case::new("header", "walk correlation id and reply-to", request),
        Case::new("header", "walk all 14 properties, 8 headers", all),
        Case::new("header", "walk and splice the reply-to", splice),
    ]
}

fn walk(list: Vec<u8>) -> Step {
    Box::new(move || {
        let walked = Properties::walk(black_box(&list), TABLE_DEPTH_MAX);
        black_box(&walked.expect("a well-formed list"));
    })
}

fn splice() -> Step {
    let list = request_list();
    let mut replacement = Vec::new();
    push_short(&mut replacement, &[REPLY_TO, b".", &[b'x'; 32]].concat());
    Box::new(move || {
        let walked = Properties::walk(black_box(&list), TABLE_DEPTH_MAX);
        let properties = walked.expect("a well-formed list");
        assert_eq!(properties.reply_to(), Some(REPLY_TO));
        black_box(properties.splice_reply_to(&replacement));
    })
}

fn request_list() -> Vec<u8> {
    let mut list = Vec::new();
    encode_properties(&mut list, Some(CORRELATION_ID), Some(REPLY_TO), None);
    list
}

/// In the order of the specification (AMQP 0-9-1 1.8.1), and `cluster-id`, which is reserved.
fn full_list(header_count: u32) -> Vec<u8> {
    let mut list = ALL_FLAGS.to_be_bytes().to_vec();
    push_short(&mut list, b"application/json");
    push_short(&mut list, b"utf-8");
    let headers = encode_table(&headers(header_count));
    list.extend((headers.len() as u32).to_be_bytes());
    list.extend(headers);
    list.extend([1, 0]);
    push_short(&mut list, CORRELATION_ID);
    push_short(&mut list, REPLY_TO);
    push_short(&mut list, b"60000");
    push_short(&mut list, b"message-1");
    list.extend(1_700_000_000_u64.to_be_bytes());
    for text in [&b"rpc.call"[..], b"guest", b"bench", b""] {
        push_short(&mut list, text);
    }
    list
}

/// Text and numbers by turns, as tracing and routing headers are.
fn headers(count: u32) -> FieldTable {
    let mut table = FieldTable::default();
    for number in 0..count {
        let value = match number % 2 {
            0 => AMQPValue::LongString(LongString::from("00-4bf92f3577b34da6-00f067aa-01")),
            _ => AMQPValue::LongInt(42),
        };
        table.insert(ShortString::from(format!("x-header-{number}")), value);
    }
    table
}

fn push_short(list: &mut Vec<u8>, text: &[u8]) {
    list.push(text.len() as u8);
    list.extend(text);
}
