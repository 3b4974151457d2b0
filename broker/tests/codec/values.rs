//! Strategies for what methods and properties are made of, and the reference's encoder.

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Larger than any frame that the tests make.
pub(crate) const FRAME_MAX: u32 = 1 << 20;

/// What `amq-protocol` makes of a frame.
pub(crate) fn reference_bytes(frame: &AMQPFrame) -> Vec<u8> {
    let written = gen_frame(frame)(WriteContext::from(Vec::new())).expect("into a Vec");
    written.into_inner().0
}

/// What `amq-protocol` reads from bytes that are one whole frame.
pub(crate) fn reference_frame(bytes: &[u8]) -> AMQPFrame {
    let (rest, frame) = parse_frame(bytes).expect("a whole legal frame");
    assert!(rest.is_empty());
    frame
}

/// Mostly short, sometimes of the greatest length, sometimes of more octets than characters.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z.#*-]{0,12}",
        1 => "[a-z]{255}",
        1 => "[€é]{0,80}",
    ]
}

pub(crate) fn name() -> impl Strategy<Value = ShortString> {
    text().prop_map(ShortString::from)
}

/// Every type that has a letter of its own, nested up to `depth` levels below the table.
pub(crate) fn value(depth: u32) -> BoxedStrategy<AMQPValue> {
    let plain = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<(u8, u32)>()
            .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        Just(AMQPValue::Void),
    ];
    plain
        .prop_recursive(depth, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(values.into())),
                fields(inner).prop_map(AMQPValue::FieldTable),
            ]
        })
        .boxed()
}

pub(crate) fn fields(value: impl Strategy<Value = AMQPValue>) -> impl Strategy<Value = FieldTable> {
    btree_map(name(), value, 0..5).prop_map(|map: BTreeMap<_, _>| FieldTable::from(map))
}

/// Depth at most 6, with the table itself.
pub(crate) fn table() -> impl Strategy<Value = FieldTable> {
    fields(value(5))
}

/// How deep a table is as the limit counts: one level for each table or array.
pub(crate) fn depth(table: &FieldTable) -> u32 {
    fn of(value: &AMQPValue) -> u32 {
        match value {
            AMQPValue::FieldTable(inner) => depth(inner),
            AMQPValue::FieldArray(inner) => 1 + inner.as_slice().iter().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    1 + table
        .into_iter()
        .map(|(_, value)| of(value))
        .max()
        .unwrap_or(0)
}
