//! Any bytes as the inside of a field table: checked, then read, and held against the reference.

#![no_main]

use amq_protocol::types::parsing::parse_field_table;
use broker::engine::wire::arguments::{Value, check_table, elements, entries, find};
use libfuzzer_sys::fuzz_target;

const DEPTH_MAX: u32 = 16;

fuzz_target!(|inside: &[u8]| {
    let ours = check_table(inside, DEPTH_MAX);
    if ours.is_ok() {
        read_table(inside);
    } else {
        // Reading what has not been checked must be harmless too.
        entries(inside).count();
    }
    // The reference recurses: it is only asked about what cannot be deep.
    if inside.len() < 4096 {
        let len = u32::try_from(inside.len()).expect("short");
        let outside = [&len.to_be_bytes()[..], inside].concat();
        let is_theirs = parse_field_table(&outside[..]).is_ok();
        // It wants UTF-8 keys and knows no depth; apart from that both accept the same.
        assert!(ours.is_err() || is_theirs || std::str::from_utf8(inside).is_err());
        assert!(ours.is_ok() || !is_theirs || nesting(inside) > DEPTH_MAX as usize);
    }
});

fn read_table(inside: &[u8]) {
    for (key, value) in entries(inside) {
        assert!(find(inside, key).is_some());
        read_value(value);
    }
}

fn read_value(value: Value<'_>) {
    match value {
        Value::Table(inside) => read_table(inside),
        Value::Array(inside) => elements(inside).for_each(read_value),
        // What is not a number is not equivalent to itself.
        Value::Float(_) => {}
        other => assert!(other.equivalent(&other) && Value::Void.matches(&other)),
    }
}

/// At least the depth of the table: every level has a letter of its own.
fn nesting(inside: &[u8]) -> usize {
    1 + inside
        .iter()
        .filter(|octet| matches!(octet, b'A' | b'F'))
        .count()
}
