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
    /// is the binding's: a value without content asks only for the presence of the key.
    pub fn matches(&self, header: &Value<'_>) -> bool {
        *self == Value::Void || self.equivalent(header)
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
