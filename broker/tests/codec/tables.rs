//! Field tables: accepted where the reference accepts, and read as it reads them.

use super::values::{depth, table};
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;
use amq_protocol::types::{AMQPValue, FieldTable};
use broker::engine::wire::arguments::{Value, check_table, elements, entries, find};
use proptest::collection::vec;
use proptest::prelude::*;

const DEPTH_MAX: u32 = 16;

/// The inside of a table, as the reference writes it.
fn inside_of(table: &FieldTable) -> Vec<u8> {
    let context = amq_protocol::frame::WriteContext::from(Vec::new());
    let written = gen_field_table(table)(context).expect("into a Vec");
    written.into_inner().0.split_off(4)
}

/// What the reference makes of the same octets, if it accepts them.
fn reference_table(inside: &[u8]) -> Option<FieldTable> {
    let len = u32::try_from(inside.len()).expect("short");
    let outside = [&len.to_be_bytes()[..], inside].concat();
    let (rest, table) = parse_field_table(&outside[..]).ok()?;
    rest.is_empty().then_some(table)
}

fn same(ours: &Value<'_>, theirs: &AMQPValue) -> bool {
    match (ours, theirs) {
        (Value::Boolean(a), AMQPValue::Boolean(b)) => a == b,
        (Value::Integer(a), AMQPValue::ShortShortInt(b)) => *a == i64::from(*b),
        (Value::Integer(a), AMQPValue::ShortShortUInt(b)) => *a == i64::from(*b),
        (Value::Integer(a), AMQPValue::ShortInt(b)) => *a == i64::from(*b),
        (Value::Integer(a), AMQPValue::ShortUInt(b)) => *a == i64::from(*b),
        (Value::Integer(a), AMQPValue::LongInt(b)) => *a == i64::from(*b),
        (Value::Integer(a), AMQPValue::LongUInt(b)) => *a == i64::from(*b),
        (Value::Integer(a), AMQPValue::LongLongInt(b)) => a == b,
        (Value::Float(a), AMQPValue::Float(b)) => *a == f64::from(*b) || b.is_nan(),
        (Value::Float(a), AMQPValue::Double(b)) => a == b || b.is_nan(),
        (Value::Decimal { scale, value }, AMQPValue::DecimalValue(b)) => {
            (*scale, *value) == (b.scale, b.value)
        }
        (Value::LongString(a), AMQPValue::LongString(b)) => *a == b.as_bytes(),
        (Value::ByteArray(a), AMQPValue::ByteArray(b)) => *a == b.as_slice(),
        (Value::Timestamp(a), AMQPValue::Timestamp(b)) => a == b,
        (Value::Table(a), AMQPValue::FieldTable(b)) => same_table(a, b),
        (Value::Array(a), AMQPValue::FieldArray(b)) => {
            elements(a).count() == b.as_slice().len()
                && elements(a).zip(b.as_slice()).all(|(a, b)| same(&a, b))
        }
        (Value::Void, AMQPValue::Void) => true,
        _ => false,
    }
}

fn same_table(inside: &[u8], theirs: &FieldTable) -> bool {
    entries(inside).count() == theirs.inner().len()
        && entries(inside)
            .zip(theirs)
            .all(|((key, a), (name, b))| key == name.as_str().as_bytes() && same(&a, b))
}

proptest! {
    #[test]
    fn a_table_is_read_as_the_reference_reads_it(table in table()) {
        let inside = inside_of(&table);
        prop_assert_eq!(check_table(&inside, depth(&table)), Ok(()));
        prop_assert!(same_table(&inside, &table));
        for (key, value) in &table {
            let found = find(&inside, key.as_str().as_bytes());
            prop_assert!(found.is_some_and(|found| same(&found, value)));
        }
    }

    #[test]
    fn the_depth_limit_is_exact(table in table()) {
        let inside = inside_of(&table);
        prop_assert!(check_table(&inside, depth(&table)).is_ok());
        prop_assert!(check_table(&inside, depth(&table) - 1).is_err());
    }

    #[test]
    fn a_changed_table_is_accepted_where_the_reference_accepts_it(
        table in table(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut inside = inside_of(&table);
        if let Some(cut) = cut {
            inside.truncate(cut.index(inside.len() + 1));
        }
        if !inside.is_empty() {
            for (at, octet) in &changes {
                let at = at.index(inside.len());
                inside[at] = *octet;
            }
        }
        agree(&inside)?;
    }

    #[test]
    fn any_bytes_are_accepted_where_the_reference_accepts_them(
        inside in vec(prop_oneof![
            2 => 0_u8..4,
            3 => prop::sample::select(&b"tbBsUuIilLfdDSxTVAF"[..]),
            1 => any::<u8>(),
        ], 0..40),
    ) {
        agree(&inside)?;
    }
}

/// The reference wants UTF-8 keys and knows no depth; apart from that both accept the same.
fn agree(inside: &[u8]) -> Result<(), TestCaseError> {
    let ours = check_table(inside, DEPTH_MAX);
    match reference_table(inside) {
        Some(theirs) => {
            prop_assert_eq!(ours.is_ok(), depth(&theirs) <= DEPTH_MAX);
        }
        None => prop_assert!(ours.is_err() || std::str::from_utf8(inside).is_err()),
    }
    Ok(())
}
