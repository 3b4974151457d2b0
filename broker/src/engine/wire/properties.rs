//! The basic property list (AMQP 0-9-1 4.2.6.1), walked in place and never rebuilt.

use super::cursor::Malformed;

/// A checked view of one property list: flags and values, verbatim, with the places of the
/// properties that a broker looks at.
///
/// Invariant: `bytes` is exactly one well-formed list of the 14 basic properties, its headers
/// table no deeper than the limit given to [`Properties::walk`].
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    bytes: &'a [u8],
    // Private places of headers, reply_to, correlation_id, expiration, user_id, delivery_mode.
}

/// A property list as up to three slices to be written one after another.
#[derive(Clone, Copy, Debug)]
pub struct PropertyParts<'a>(pub [&'a [u8]; 3]);

impl PropertyParts<'_> {
    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Properties<'a> {
    /// Walks the whole list once. Errors: truncated, trailing octets, a second flag word (bit 0,
    /// basic has 14 properties), an unknown field type, tables deeper than `table_depth_max`.
    pub fn walk(_bytes: &'a [u8], _table_depth_max: u32) -> Result<Self, Malformed> {
        todo!()
    }
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    pub fn parts(&self) -> PropertyParts<'a> {
        PropertyParts([self.bytes, &[], &[]])
    }
    /// The inside of the headers table (without its length), or `None` if the flag is not set.
    pub fn headers(&self) -> Option<&'a [u8]> {
        todo!()
    }
    pub fn reply_to(&self) -> Option<&'a [u8]> {
        todo!()
    }
    pub fn correlation_id(&self) -> Option<&'a [u8]> {
        todo!()
    }
    pub fn expiration(&self) -> Option<&'a [u8]> {
        todo!()
    }
    pub fn user_id(&self) -> Option<&'a [u8]> {
        todo!()
    }
    pub fn delivery_mode(&self) -> Option<u8> {
        todo!()
    }
    /// The same list with `reply_to` replaced; `replacement` is a whole encoded short string
    /// (length octet included). `None` if the list has no `reply_to`.
    pub fn splice_reply_to<'b>(&self, _replacement: &'b [u8]) -> Option<PropertyParts<'b>>
    where
        'a: 'b,
    {
        todo!()
    }
}

/// Encodes a property list that has only these (used by `loadgen` and by tests).
pub fn encode_properties(
    _out: &mut Vec<u8>,
    _correlation_id: Option<&[u8]>,
    _reply_to: Option<&[u8]>,
    _delivery_mode: Option<u8>,
) {
    todo!()
}
