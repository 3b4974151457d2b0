//! Field tables (AMQP 0-9-1 4.2.5.5, with RabbitMQ's type letters), checked without recursion
//! on the machine stack and without allocation, and read in place.

use super::cursor::{Cursor, Malformed};
use crate::limits::TABLE_DEPTH_MAX;

/// One field value. Tables and arrays are their insides (without the length), not yet walked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Boolean(bool),
    /// Every integer type; `l` and `L` are both signed, as RabbitMQ reads them.
    Integer(i64),
    /// Both floating-point types.
    Float(f64),
    Decimal {
        scale: u8,
        value: u32,
    },
    LongString(&'a [u8]),
    ByteArray(&'a [u8]),
    Timestamp(u64),
    Table(&'a [u8]),
    Array(&'a [u8]),
    Void,
}

impl Value<'_> {
    /// Equality as RabbitMQ has it between arguments: integers of all widths are one type, and
    /// so are both floats; otherwise types must be the same. Nested tables and arrays are
    /// compared by their octets.
    pub fn equivalent(&self, other: &Value<'_>) -> bool {
        self == other
    }

    /// Whether a message's header with this binding's key satisfies the binding, where `self`
    /// is the binding's: a value without content asks only for the presence of the key. As in
    /// RabbitMQ numbers of all types are compared by what they count, timestamps included, and
    /// strings of both types by their octets.
    pub fn matches(&self, header: &Value<'_>) -> bool {
        if *self == Value::Void || self == header {
            return true;
        }
        if let (Some(expected), Some(found)) = (self.number(), header.number()) {
            return expected == found;
        }
        match (self, header) {
            (Value::LongString(expected), Value::ByteArray(found))
            | (Value::ByteArray(expected), Value::LongString(found)) => expected == found,
            _ => false,
        }
    }

    /// What it counts, whole or not.
    fn number(&self) -> Option<Result<i128, f64>> {
        match *self {
            Value::Integer(value) => Some(Ok(value.into())),
            Value::Timestamp(value) => Some(Ok(value.into())),
            // Beyond 2^64 there is no integer to be equal to.
            Value::Float(value) if value.fract() == 0.0 && value.abs() <= 2f64.powi(64) => {
                Some(Ok(value as i128))
            }
            Value::Float(value) => Some(Err(value)),
            _ => None,
        }
    }

    /// RabbitMQ's word for the type; of integers and floats of all widths the usual one.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Boolean(_) => "bool",
            Value::Integer(_) => "signedint",
            Value::Float(_) => "double",
            Value::Decimal { .. } => "decimal",
            Value::LongString(_) => "longstr",
            Value::ByteArray(_) => "binary",
            Value::Timestamp(_) => "timestamp",
            Value::Table(_) => "table",
            Value::Array(_) => "array",
            Value::Void => "void",
        }
    }
}

/// Checks the inside of one field table (the octets after its length): every key, type and
/// length, and that nesting stays within `depth_max` (a table of plain values has depth 1; a
/// table or array in it has one more). Asserts `depth_max <= TABLE_DEPTH_MAX`.
#[inline]
pub fn check_table(inside: &[u8], depth_max: u32) -> Result<(), Malformed> {
    assert!(depth_max <= TABLE_DEPTH_MAX);
    if depth_max == 0 {
        return Err(Malformed);
    }
    let mut level = Level::table(inside);
    while !level.rest.is_empty() {
        // The common table is flat, and pays nothing for the others.
        if let Some(nested) = level.skip_one()? {
            return check_nested(level, nested, depth_max);
        }
    }
    Ok(())
}

/// A table or an array in the course of being checked: what is left of it.
#[derive(Clone, Copy)]
struct Level<'a> {
    rest: Cursor<'a>,
    has_keys: bool,
}

impl<'a> Level<'a> {
    #[inline]
    fn table(inside: &'a [u8]) -> Self {
        Level {
            rest: Cursor::new(inside),
            has_keys: true,
        }
    }
    #[inline]
    fn array(inside: &'a [u8]) -> Self {
        Level {
            rest: Cursor::new(inside),
            has_keys: false,
        }
    }
    /// Skips one entry; if its value is a table or an array, it is still to be checked.
    #[inline]
    fn skip_one(&mut self) -> Result<Option<Level<'a>>, Malformed> {
        if self.has_keys {
            self.rest.take_short_string()?;
        }
        Ok(match take_value(&mut self.rest)? {
            Value::Table(inside) => Some(Level::table(inside)),
            Value::Array(inside) => Some(Level::array(inside)),
            _ => None,
        })
    }
}

/// Goes on with `nested`, which was found in `outermost`, then with what is left of that.
#[cold]
fn check_nested(outermost: Level<'_>, nested: Level<'_>, depth_max: u32) -> Result<(), Malformed> {
    // Invariant: parents[..depth - 1] are the levels around `level`, outermost first.
    let mut parents = [outermost; TABLE_DEPTH_MAX as usize];
    let (mut level, mut depth) = (nested, 2);
    loop {
        if depth > depth_max as usize {
            return Err(Malformed);
        }
        if level.rest.is_empty() {
            depth -= 1;
            let Some(parent) = depth.checked_sub(1).and_then(|index| parents.get(index)) else {
                return Ok(());
            };
            level = *parent;
            continue;
        }
        if let Some(inner) = level.skip_one()? {
            // In bounds: 1 <= depth <= depth_max <= TABLE_DEPTH_MAX.
            parents[depth - 1] = level;
            level = inner;
            depth += 1;
        }
    }
}

/// The value under `key`, the first if there are several. `inside` has been checked; what a
/// malformed one has behind the error is not found.
pub fn find<'a>(inside: &'a [u8], key: &[u8]) -> Option<Value<'a>> {
    entries(inside)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// Keys and values in order. `inside` has been checked; a malformed one ends at the error.
pub fn entries<'a>(inside: &'a [u8]) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
    let mut rest = Cursor::new(inside);
    std::iter::from_fn(move || {
        let key = rest.take_short_string().ok()?;
        Some((key, take_value(&mut rest).ok()?))
    })
    .fuse()
}

/// Keys in order, each with the octets of its whole entry. `inside` has been checked.
pub fn raw_entries(inside: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = Cursor::new(inside);
    std::iter::from_fn(move || {
        let before = rest.rest();
        let key = rest.take_short_string().ok()?;
        take_value(&mut rest).ok()?;
        Some((key, &before[..before.len() - rest.rest().len()]))
    })
    .fuse()
}

/// Appends an entry. Asserts that the key is a short string.
pub fn push_entry(out: &mut Vec<u8>, key: &[u8], value: &Value<'_>) {
    out.push(u8::try_from(key.len()).expect("the caller's keys are short strings"));
    out.extend_from_slice(key);
    push_value(out, value);
}

/// Appends type letter and value: integers as `l`, floating-point numbers as `d`.
pub fn push_value(out: &mut Vec<u8>, value: &Value<'_>) {
    let mut long = |letter, octets: &[u8]| {
        out.push(letter);
        let len = u32::try_from(octets.len()).expect("what fits a frame is below 4 GiB");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(octets);
    };
    match *value {
        Value::LongString(text) => return long(b'S', text),
        Value::ByteArray(octets) => return long(b'x', octets),
        Value::Table(inside) => return long(b'F', inside),
        Value::Array(inside) => return long(b'A', inside),
        _ => {}
    }
    let (letter, octets) = match *value {
        Value::Integer(value) => (b'l', value.to_be_bytes()),
        Value::Float(value) => (b'd', value.to_be_bytes()),
        Value::Timestamp(value) => (b'T', value.to_be_bytes()),
        Value::Boolean(value) => return out.extend_from_slice(&[b't', value.into()]),
        Value::Decimal { scale, value } => {
            out.extend_from_slice(&[b'D', scale]);
            return out.extend_from_slice(&value.to_be_bytes());
        }
        _ => return out.push(b'V'),
    };
    out.push(letter);
    out.extend_from_slice(&octets);
}

/// The same table without the entries under `key`, the others octet by octet as they are.
pub fn without(inside: &[u8], key: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(inside.len());
    let others = raw_entries(inside).filter(|(other, _)| *other != key);
    others.for_each(|(_, entry)| kept.extend_from_slice(entry));
    kept
}

/// The values of an array in order. `inside` has been checked with the table around it.
pub fn elements<'a>(inside: &'a [u8]) -> impl Iterator<Item = Value<'a>> {
    let mut rest = Cursor::new(inside);
    std::iter::from_fn(move || take_value(&mut rest).ok()).fuse()
}

/// Type letter and value. RabbitMQ's letters, not the spec's: `s` is a 16-bit integer, and so is
/// the spec's `U`; `x` is a byte array.
#[inline]
fn take_value<'a>(rest: &mut Cursor<'a>) -> Result<Value<'a>, Malformed> {
    Ok(match rest.take_u8()? {
        b'S' => Value::LongString(rest.take_long_string()?),
        b't' => Value::Boolean(rest.take_u8()? != 0),
        b'I' => Value::Integer(i64::from(i32::from_be_bytes(rest.take_array()?))),
        b'l' | b'L' => Value::Integer(i64::from_be_bytes(rest.take_array()?)),
        b'F' => Value::Table(rest.take_long_string()?),
        b'A' => Value::Array(rest.take_long_string()?),
        b'T' => Value::Timestamp(rest.take_u64()?),
        b'd' => Value::Float(f64::from_be_bytes(rest.take_array()?)),
        b'f' => Value::Float(f64::from(f32::from_be_bytes(rest.take_array()?))),
        b'b' => Value::Integer(i64::from(i8::from_be_bytes(rest.take_array()?))),
        b'B' => Value::Integer(i64::from(rest.take_u8()?)),
        b's' | b'U' => Value::Integer(i64::from(i16::from_be_bytes(rest.take_array()?))),
        b'u' => Value::Integer(i64::from(rest.take_u16()?)),
        b'i' => Value::Integer(i64::from(rest.take_u32()?)),
        b'D' => Value::Decimal {
            scale: rest.take_u8()?,
            value: rest.take_u32()?,
        },
        b'x' => Value::ByteArray(rest.take_long_string()?),
        b'V' => Value::Void,
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry of every type letter, its key the letter.
    const EVERY_TYPE: &[u8] = b"\x01tt\x01\x01bb\xff\x01BB\xff\x01ss\xff\xfe\x01UU\xff\xfe\
        \x01uu\xff\xfe\x01II\xff\xff\xff\xfe\x01ii\xff\xff\xff\xfe\
        \x01ll\xff\xff\xff\xff\xff\xff\xff\xfe\x01LL\xff\xff\xff\xff\xff\xff\xff\xfe\
        \x01ff\x3f\x80\x00\x00\x01dd\x3f\xf0\x00\x00\x00\x00\x00\x00\x01DD\x02\x00\x00\x00\x05\
        \x01SS\x00\x00\x00\x02hi\x01xx\x00\x00\x00\x01\x00\
        \x01TT\x00\x00\x00\x00\x00\x00\x00\x09\x01VV\
        \x01AA\x00\x00\x00\x02VV\x01FF\x00\x00\x00\x03\x01kV";

    /// A table nested in itself so often that its depth is `depth`.
    fn nested(depth: u32, letter: u8) -> Vec<u8> {
        let mut inside = Vec::new();
        for level in 1..depth {
            let is_last = level == depth - 1;
            let mut around = if letter == b'F' || is_last {
                b"\x00".to_vec()
            } else {
                Vec::new()
            };
            around.push(letter);
            around.extend_from_slice(&u32::try_from(inside.len()).unwrap().to_be_bytes());
            around.append(&mut inside);
            inside = around;
        }
        inside
    }

    #[test]
    fn every_type_of_rabbitmq_is_read() {
        assert_eq!(check_table(EVERY_TYPE, 2), Ok(()));
        let expected: &[(&[u8], Value<'_>)] = &[
            (b"t", Value::Boolean(true)),
            (b"b", Value::Integer(-1)),
            (b"B", Value::Integer(255)),
            (b"s", Value::Integer(-2)),
            (b"U", Value::Integer(-2)),
            (b"u", Value::Integer(65534)),
            (b"I", Value::Integer(-2)),
            (b"i", Value::Integer(4_294_967_294)),
            (b"l", Value::Integer(-2)),
            (b"L", Value::Integer(-2)),
            (b"f", Value::Float(1.0)),
            (b"d", Value::Float(1.0)),
            (b"D", Value::Decimal { scale: 2, value: 5 }),
            (b"S", Value::LongString(b"hi")),
            (b"x", Value::ByteArray(b"\x00")),
            (b"T", Value::Timestamp(9)),
            (b"V", Value::Void),
            (b"A", Value::Array(b"VV")),
            (b"F", Value::Table(b"\x01kV")),
        ];
        assert_eq!(entries(EVERY_TYPE).collect::<Vec<_>>(), expected);
        for (key, value) in expected {
            assert_eq!(find(EVERY_TYPE, key).as_ref(), Some(value));
        }
        assert_eq!(find(EVERY_TYPE, b"no such key"), None);
    }

    #[test]
    fn no_other_letter_is_a_type() {
        for letter in (0..=255).filter(|letter| !b"tbBsUuIilLfdDSxTVAF".contains(letter)) {
            let table = [&[0, letter][..], &[0; 16]].concat();
            assert_eq!(check_table(&table, 1), Err(Malformed), "{letter}");
        }
    }

    #[test]
    fn a_table_cut_short_anywhere_but_between_entries_is_malformed() {
        let between: Vec<usize> = {
            let mut level = Level::table(EVERY_TYPE);
            let mut ends = vec![0];
            while !level.rest.is_empty() {
                level.skip_one().unwrap();
                ends.push(EVERY_TYPE.len() - level.rest.rest().len());
            }
            ends
        };
        for len in 0..=EVERY_TYPE.len() {
            let is_whole = check_table(&EVERY_TYPE[..len], 2).is_ok();
            assert_eq!(is_whole, between.contains(&len), "{len} octets");
        }
    }

    #[test]
    fn depth_is_counted_for_tables_and_arrays_and_limited_exactly() {
        for letter in [b'F', b'A'] {
            for depth in 1..=TABLE_DEPTH_MAX {
                let table = nested(depth, letter);
                assert_eq!(check_table(&table, depth), Ok(()), "{depth}");
                assert_eq!(check_table(&table, depth - 1), Err(Malformed), "{depth}");
            }
            assert_eq!(
                check_table(&nested(10_000, letter), TABLE_DEPTH_MAX),
                Err(Malformed)
            );
        }
    }

    #[test]
    fn what_follows_a_nested_table_is_checked_too() {
        let table = b"\x01aF\x00\x00\x00\x08\x01bA\x00\x00\x00\x01V\x01cV";
        assert_eq!(check_table(table, 3), Ok(()));
        let mut broken = table.to_vec();
        *broken.last_mut().unwrap() = b'?';
        assert_eq!(check_table(&broken, 3), Err(Malformed));
    }

    #[test]
    fn an_inner_length_past_the_outer_one_is_malformed() {
        let table = b"\x01aF\x00\x00\x00\x07\x01bS\x00\x00\x00\x01V";
        assert_eq!(check_table(table, 3), Err(Malformed));
    }

    #[test]
    fn a_million_values_without_width_are_walked_in_place() {
        let mut table = b"\x01aA\x00\x10\x00\x00".to_vec();
        table.resize(7 + (1 << 20), b'V');
        assert_eq!(check_table(&table, 2), Ok(()));
        let Some(Value::Array(inside)) = find(&table, b"a") else {
            panic!("not an array");
        };
        assert_eq!(elements(inside).count(), 1 << 20);
    }

    #[test]
    fn values_are_equivalent_across_widths_but_not_across_types() {
        let value = |key: &[u8]| find(EVERY_TYPE, key).unwrap();
        assert!(value(b"s").equivalent(&value(b"l")));
        assert!(value(b"f").equivalent(&value(b"d")));
        assert!(!value(b"t").equivalent(&Value::Integer(1)));
        assert!(!Value::Integer(1).equivalent(&Value::Float(1.0)));
        assert!(!Value::LongString(b"a").equivalent(&Value::ByteArray(b"a")));
        assert!(!Value::Integer(9).equivalent(&value(b"T")));
        assert!(!Value::LongString(b"a").equivalent(&Value::LongString(b"A")));
    }

    #[test]
    fn a_binding_without_a_value_asks_for_presence_only() {
        assert!(Value::Void.matches(&Value::Integer(1)));
        assert!(!Value::Integer(1).matches(&Value::Void));
        assert!(Value::Integer(1).matches(&Value::Integer(1)));
    }

    #[test]
    fn numbers_of_all_types_match_by_what_they_count() {
        let ones = [Value::Integer(1), Value::Timestamp(1), Value::Float(1.0)];
        for expected in &ones {
            assert!(ones.iter().all(|found| expected.matches(found)));
            assert!(!expected.matches(&Value::Boolean(true)));
            assert!(!expected.matches(&Value::LongString(b"1")));
            assert!(!expected.matches(&Value::Float(1.5)));
        }
        assert!(Value::Float(0.5).matches(&Value::Float(0.5)));
        assert!(!Value::Float(f64::INFINITY).matches(&Value::Integer(i64::MAX)));
        assert!(!Value::Timestamp(u64::MAX).matches(&Value::Integer(-1)));
    }

    #[test]
    fn strings_and_byte_arrays_match_by_their_octets() {
        assert!(Value::LongString(b"a").matches(&Value::ByteArray(b"a")));
        assert!(Value::ByteArray(b"a").matches(&Value::LongString(b"a")));
        assert!(!Value::ByteArray(b"a").matches(&Value::LongString(b"b")));
    }

    #[test]
    fn a_key_is_taken_out_and_the_rest_stays_as_it_is() {
        let table = b"\x01aI\0\0\0\x01\x03BCCA\0\0\0\x01V\x01bV\x03BCCt\x01";
        assert_eq!(without(table, b"BCC"), b"\x01aI\0\0\0\x01\x01bV");
        assert_eq!(without(table, b"CC"), table);
        assert_eq!(without(EVERY_TYPE, b"none"), EVERY_TYPE);
        assert_eq!(without(b"\x01aV\x01b?", b"BCC"), b"\x01aV");
    }

    #[test]
    fn reading_a_malformed_table_ends_at_the_error() {
        assert_eq!(entries(b"\x01aV\x01b?\x01cV").count(), 1);
        assert_eq!(find(b"\x01aV\x01b?\x01cV", b"c"), None);
        assert_eq!(elements(b"V?V").count(), 1);
    }

    #[test]
    fn what_is_appended_is_found_again() {
        let values = [
            Value::Boolean(true),
            Value::Integer(-2),
            Value::Float(0.5),
            Value::Decimal { scale: 2, value: 5 },
            Value::LongString(b"text"),
            Value::ByteArray(b"\0"),
            Value::Timestamp(9),
            Value::Table(b"\x01kV"),
            Value::Array(b"V"),
            Value::Void,
        ];
        let mut inside = Vec::new();
        let keys = values.iter().zip(b'a'..);
        keys.for_each(|(value, key)| push_entry(&mut inside, &[key], value));
        assert_eq!(check_table(&inside, 2), Ok(()));
        let found: Vec<Value<'_>> = entries(&inside).map(|(_, value)| value).collect();
        assert_eq!(found, values);
        let raw: Vec<u8> = raw_entries(&inside)
            .flat_map(|(_, raw)| raw.to_vec())
            .collect();
        assert_eq!(raw, inside);
    }
}
