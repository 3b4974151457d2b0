//! The basic property list (AMQP 0-9-1 4.2.6.1), walked in place and never rebuilt.

use super::arguments;
use super::cursor::{Cursor, Malformed};
use crate::limits::{LIFETIME_MS_MAX, TABLE_DEPTH_MAX};

/// Property numbers: 0 is the highest bit of the flags, and the order of the values.
const CONTENT_TYPE: usize = 0;
const HEADERS: usize = 2;
const DELIVERY_MODE: usize = 3;
const PRIORITY: usize = 4;
const CORRELATION_ID: usize = 5;
const REPLY_TO: usize = 6;
const EXPIRATION: usize = 7;
const MESSAGE_ID: usize = 8;
const TIMESTAMP: usize = 9;
const USER_ID: usize = 11;

/// The two lowest bits name no property of class basic; the very lowest promises more flags.
const FLAGS_UNUSED: u16 = 0b11;

const fn flag(property: usize) -> u16 {
    0x8000 >> property
}

/// A checked view of one property list: flags and values, verbatim, with the places of the
/// properties that a broker looks at.
///
/// Invariant: `bytes` is exactly one well-formed list of the 14 basic properties, its headers
/// table no deeper than the limit given to [`Properties::walk`].
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    bytes: &'a [u8],
    /// Offset of each property's value in `bytes`; 0 (where the flags are) if it is not set.
    places: [u32; 16],
}

/// A property list as up to three slices to be written one after another.
#[derive(Clone, Copy, Debug)]
pub struct PropertyParts<'a>(pub [&'a [u8]; 3]);

impl PropertyParts<'_> {
    #[inline]
    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn has_expiration(&self) -> bool {
        self.has(EXPIRATION)
    }

    /// The message's own time, in milliseconds. What has passed [`parse_expiration`] is one.
    #[inline]
    pub fn expiration_ms(&self) -> Option<u64> {
        match self.has(EXPIRATION) {
            true => self.walked(|properties| parse_expiration(properties.expiration()?).ok()),
            false => None,
        }
    }

    #[inline]
    pub fn priority(&self) -> u8 {
        match self.has(PRIORITY) {
            true => self.walked(|properties| properties.priority()).unwrap_or(0),
            false => 0,
        }
    }

    /// All parts begin with the flags: only who has the property pays for finding it.
    #[inline]
    fn has(&self, property: usize) -> bool {
        let flags = self.0[0]
            .first_chunk()
            .map_or(0, |flags| u16::from_be_bytes(*flags));
        flags & flag(property) != 0
    }

    #[cold]
    fn walked<T>(&self, read: impl Fn(&Properties<'_>) -> Option<T>) -> Option<T> {
        let whole = self.0.concat();
        read(&Properties::walk(&whole, TABLE_DEPTH_MAX).ok()?)
    }
}

impl<'a> Properties<'a> {
    /// Walks the whole list once. Errors: truncated, trailing octets, a second flag word (bit 0,
    /// basic has 14 properties), an unknown field type, tables deeper than `table_depth_max`.
    #[inline]
    pub fn walk(bytes: &'a [u8], table_depth_max: u32) -> Result<Self, Malformed> {
        let bytes_len = u32::try_from(bytes.len()).map_err(|_| Malformed)?;
        let mut cursor = Cursor::new(bytes);
        let flags = cursor.take_u16()?;
        if flags & FLAGS_UNUSED != 0 {
            return Err(Malformed);
        }
        let mut places = [0; 16];
        let mut flags_left = flags;
        // Only the flags that are set cost anything: most messages have two to four.
        while flags_left != 0 {
            let property = flags_left.leading_zeros() as usize;
            flags_left &= !flag(property);
            // The rest is a tail of `bytes`, whose length fits.
            places[property & 15] = bytes_len - cursor.rest().len() as u32;
            match property {
                HEADERS => arguments::check_table(cursor.take_long_string()?, table_depth_max)?,
                DELIVERY_MODE | PRIORITY => drop(cursor.take_u8()?),
                TIMESTAMP => drop(cursor.take_u64()?),
                _ => drop(cursor.take_short_string()?),
            }
        }
        cursor.finish()?;
        Ok(Properties { bytes, places })
    }
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    #[inline]
    pub fn parts(&self) -> PropertyParts<'a> {
        PropertyParts([self.bytes, &[], &[]])
    }
    /// The inside of the headers table (without its length), or `None` if the flag is not set.
    #[inline]
    pub fn headers(&self) -> Option<&'a [u8]> {
        self.value(HEADERS)?.take_long_string().ok()
    }
    #[inline]
    pub fn reply_to(&self) -> Option<&'a [u8]> {
        self.value(REPLY_TO)?.take_short_string().ok()
    }
    #[inline]
    pub fn correlation_id(&self) -> Option<&'a [u8]> {
        self.value(CORRELATION_ID)?.take_short_string().ok()
    }
    #[inline]
    pub fn message_id(&self) -> Option<&'a [u8]> {
        self.value(MESSAGE_ID)?.take_short_string().ok()
    }
    #[inline]
    pub fn timestamp(&self) -> Option<u64> {
        self.value(TIMESTAMP)?.take_u64().ok()
    }
    #[inline]
    pub fn expiration(&self) -> Option<&'a [u8]> {
        self.value(EXPIRATION)?.take_short_string().ok()
    }
    #[inline]
    pub fn user_id(&self) -> Option<&'a [u8]> {
        self.value(USER_ID)?.take_short_string().ok()
    }
    #[inline]
    pub fn delivery_mode(&self) -> Option<u8> {
        self.value(DELIVERY_MODE)?.take_u8().ok()
    }
    #[inline]
    pub fn priority(&self) -> Option<u8> {
        self.value(PRIORITY)?.take_u8().ok()
    }
    /// The same list with `reply_to` replaced; `replacement` is a whole encoded short string
    /// (length octet included). `None` if the list has no `reply_to`.
    #[inline]
    pub fn splice_reply_to<'b>(&self, replacement: &'b [u8]) -> Option<PropertyParts<'b>>
    where
        'a: 'b,
    {
        assert!(
            replacement
                .split_first()
                .is_some_and(|(&len, text)| text.len() == usize::from(len))
        );
        let mut after = self.value(REPLY_TO)?;
        let before_len = self.bytes.len() - after.rest().len();
        after.take_short_string().ok()?;
        let before = self.bytes.get(..before_len)?;
        Some(PropertyParts([before, replacement, after.rest()]))
    }
    /// The same list with these headers (the inside of a table; empty: none), and without
    /// `expiration` unless that is kept.
    pub fn rewritten(&self, headers: &[u8], keeps_expiration: bool) -> Vec<u8> {
        let mut flags = self
            .places
            .iter()
            .enumerate()
            .fold(0, |flags, (property, place)| {
                flags | if *place > 0 { flag(property) } else { 0 }
            });
        flags &= !flag(HEADERS);
        if !headers.is_empty() {
            flags |= flag(HEADERS);
        }
        if !keeps_expiration {
            flags &= !flag(EXPIRATION);
        }
        let mut out = Vec::with_capacity(self.bytes.len() + headers.len() + 4);
        out.extend_from_slice(&flags.to_be_bytes());
        for property in (0..14).filter(|property| flags & flag(*property) != 0) {
            if property == HEADERS {
                let len = u32::try_from(headers.len()).expect("what fits a frame is below 4 GiB");
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(headers);
            } else {
                out.extend_from_slice(self.octets(property));
            }
        }
        out
    }

    /// The same list with this content type, a short string, where it has none.
    pub fn with_content_type(&self, content_type: &[u8]) -> Vec<u8> {
        let mut out = self.bytes.to_vec();
        if self.places[CONTENT_TYPE] == 0 {
            out[0] |= flag(CONTENT_TYPE).to_be_bytes()[0];
            let len = u8::try_from(content_type.len()).expect("the caller's is a short string");
            // It comes first.
            let encoded = [&[len], content_type].concat();
            out.splice(2..2, encoded);
        }
        out
    }

    /// The value of a property that is set, with its length where it has one.
    fn octets(&self, property: usize) -> &'a [u8] {
        let place = self.places[property] as usize;
        let next = self.places[property + 1..].iter().find(|place| **place > 0);
        &self.bytes[place..next.map_or(self.bytes.len(), |next| *next as usize)]
    }

    /// A cursor that stands at the value of `property`.
    #[inline]
    fn value(&self, property: usize) -> Option<Cursor<'a>> {
        match self.places[property] {
            0 => None,
            place => self.bytes.get(place as usize..).map(Cursor::new),
        }
    }
}

/// Milliseconds in an `expiration`. Errors: what is wrong, as RabbitMQ words it.
pub fn parse_expiration(text: &[u8]) -> Result<u64, String> {
    let digits_at = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let digits = text[digits_at..].iter();
    let end = digits_at + digits.take_while(|octet| octet.is_ascii_digit()).count();
    if end == digits_at {
        return Err("no_integer".into());
    }
    let (number, rest) = text.split_at(end);
    let number = String::from_utf8_lossy(number);
    if !rest.is_empty() {
        return Err(format!(
            "{{leftover_string,\"{}\"}}",
            String::from_utf8_lossy(rest)
        ));
    }
    match number.parse::<i128>() {
        Ok(ms) if ms < 0 => Err(format!("{{value_negative,{ms}}}")),
        Ok(ms) if ms <= i128::from(LIFETIME_MS_MAX) => Ok(ms as u64),
        _ => Err(format!(
            "{{value_too_large,{}}}",
            number.trim_start_matches('+')
        )),
    }
}

/// Encodes a property list that has only these (used by `loadgen` and by tests).
pub fn encode_properties(
    out: &mut Vec<u8>,
    correlation_id: Option<&[u8]>,
    reply_to: Option<&[u8]>,
    delivery_mode: Option<u8>,
) {
    let mut flags = 0;
    flags |= delivery_mode.map_or(0, |_| flag(DELIVERY_MODE));
    flags |= correlation_id.map_or(0, |_| flag(CORRELATION_ID));
    flags |= reply_to.map_or(0, |_| flag(REPLY_TO));
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend(delivery_mode);
    for text in [correlation_id, reply_to].into_iter().flatten() {
        out.push(u8::try_from(text.len()).expect("the caller's strings are short ones"));
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 14, each with a value of its own.
    const ALL: &[u8] =
        b"\xff\xfc\x02ct\x02ce\x00\x00\x00\x03\x01hV\x02\x09\x03cid\x02rt\x0210\x02id\
        \x00\x00\x00\x00\x00\x00\x00\x01\x02ty\x01u\x02ap\x02cl";

    #[test]
    fn an_empty_list_has_nothing() {
        let properties = Properties::walk(b"\x00\x00", 1).unwrap();
        assert_eq!(properties.headers(), None);
        assert_eq!(properties.reply_to(), None);
        assert_eq!(properties.delivery_mode(), None);
        assert!(properties.splice_reply_to(b"\x01x").is_none());
        assert_eq!(properties.parts().len(), 2);
    }

    #[test]
    fn all_fourteen_are_found_where_they_are() {
        let properties = Properties::walk(ALL, 1).unwrap();
        assert_eq!(properties.headers(), Some(&b"\x01hV"[..]));
        assert_eq!(properties.delivery_mode(), Some(2));
        assert_eq!(properties.priority(), Some(9));
        assert_eq!(properties.correlation_id(), Some(&b"cid"[..]));
        assert_eq!(properties.reply_to(), Some(&b"rt"[..]));
        assert_eq!(properties.expiration(), Some(&b"10"[..]));
        assert_eq!(properties.user_id(), Some(&b"u"[..]));
        assert_eq!(properties.message_id(), Some(&b"id"[..]));
        assert_eq!(properties.timestamp(), Some(1));
        assert_eq!(properties.bytes(), ALL);
    }

    #[test]
    fn a_list_cut_short_or_with_octets_to_spare_is_malformed() {
        for len in 0..ALL.len() {
            assert!(Properties::walk(&ALL[..len], 1).is_err(), "{len} octets");
        }
        assert!(Properties::walk(&[ALL, b"\x00"].concat(), 1).is_err());
    }

    #[test]
    fn flags_beyond_the_fourteen_are_malformed() {
        assert!(Properties::walk(b"\x00\x01\x00\x00", 1).is_err());
        assert!(Properties::walk(b"\x00\x02", 1).is_err());
    }

    #[test]
    fn the_headers_table_is_checked() {
        assert!(Properties::walk(b"\x20\x00\x00\x00\x00\x03\x01h?", 1).is_err());
        let nested = b"\x20\x00\x00\x00\x00\x07\x01hF\x00\x00\x00\x00";
        assert!(Properties::walk(nested, 1).is_err());
        assert!(Properties::walk(nested, 2).is_ok());
    }

    #[test]
    fn only_reply_to_is_replaced() {
        let properties = Properties::walk(b"\x06\x00\x02id\x03old", 1).unwrap();
        let parts = properties.splice_reply_to(b"\x05fresh").unwrap();
        assert_eq!(parts.0.concat(), b"\x06\x00\x02id\x05fresh");
        let parts = Properties::walk(ALL, 1)
            .unwrap()
            .splice_reply_to(b"\x00")
            .unwrap();
        let spliced = parts.0.concat();
        let again = Properties::walk(&spliced, 1).unwrap();
        assert_eq!(again.reply_to(), Some(&b""[..]));
        assert_eq!(again.expiration(), Some(&b"10"[..]));
        assert_eq!(again.user_id(), Some(&b"u"[..]));
    }

    #[test]
    #[should_panic(expected = "replacement")]
    fn a_replacement_must_be_a_whole_short_string() {
        let properties = Properties::walk(b"\x02\x00\x03old", 1).unwrap();
        let _ = properties.splice_reply_to(b"\x03to");
    }

    #[test]
    fn a_list_of_our_own_is_read_back() {
        let mut out = Vec::new();
        encode_properties(&mut out, Some(b"id"), Some(b"rt"), Some(2));
        assert_eq!(out, b"\x16\x00\x02\x02id\x02rt");
        out.clear();
        encode_properties(&mut out, None, None, None);
        assert_eq!(out, b"\x00\x00");
    }

    #[test]
    fn time_and_priority_are_found_in_all_parts() {
        let properties = Properties::walk(ALL, 1).unwrap();
        let parts = properties.splice_reply_to(b"\x05fresh").unwrap();
        for parts in [properties.parts(), parts] {
            assert_eq!((parts.expiration_ms(), parts.priority()), (Some(10), 9));
        }
        let none = PropertyParts([b"\0\0", b"", b""]);
        assert_eq!((none.expiration_ms(), none.priority()), (None, 0));
    }

    #[test]
    fn headers_are_replaced_and_expiration_goes() {
        let properties = Properties::walk(ALL, 1).unwrap();
        assert_eq!(properties.rewritten(b"\x01hV", true), ALL);
        let rewritten = properties.rewritten(b"\x02hht\x01", false);
        let again = Properties::walk(&rewritten, 1).unwrap();
        assert_eq!(again.headers(), Some(&b"\x02hht\x01"[..]));
        assert_eq!(again.expiration(), None);
        assert_eq!(again.user_id(), Some(&b"u"[..]));
        let bare = Properties::walk(b"\0\0", 1).unwrap();
        assert_eq!(bare.rewritten(b"", false), b"\0\0");
        assert_eq!(bare.rewritten(b"\x01hV", false), b"\x20\0\0\0\0\x03\x01hV");
    }

    #[test]
    fn expirations_are_judged_as_rabbitmq_does() {
        let wrong = |text: &[u8]| parse_expiration(text).unwrap_err();
        assert_eq!(parse_expiration(b"0"), Ok(0));
        assert_eq!(parse_expiration(b"+5"), Ok(5));
        assert_eq!(parse_expiration(b"315360000000"), Ok(315_360_000_000));
        assert_eq!(wrong(b"315360000001"), "{value_too_large,315360000001}");
        assert_eq!(
            wrong(&[b'9'; 255]),
            format!("{{value_too_large,{}}}", "9".repeat(255))
        );
        assert_eq!(wrong(b"-1"), "{value_negative,-1}");
        assert_eq!(wrong(b"1.5"), "{leftover_string,\".5\"}");
        for text in [&b""[..], b" 5", b"abc", b"-", b"\xff"] {
            assert_eq!(wrong(text), "no_integer");
        }
    }
}
