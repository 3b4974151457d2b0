//! A cursor over borrowed bytes: big-endian integers and AMQP strings (AMQP 0-9-1 4.2.5).

/// The bytes are not what the spec's grammar allows, or end too early: reply code 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads from the front of `rest`; every read past the end is [`Malformed`].
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
    #[inline]
    pub fn take_array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<LEN>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }
    #[inline]
    pub fn take_u8(&mut self) -> Result<u8, Malformed> {
        self.take_array::<1>().map(|[octet]| octet)
    }
    #[inline]
    pub fn take_u16(&mut self) -> Result<u16, Malformed> {
        self.take_array().map(u16::from_be_bytes)
    }
    #[inline]
    pub fn take_u32(&mut self) -> Result<u32, Malformed> {
        self.take_array().map(u32::from_be_bytes)
    }
    #[inline]
    pub fn take_u64(&mut self) -> Result<u64, Malformed> {
        self.take_array().map(u64::from_be_bytes)
    }
    /// Octets behind a one-octet length.
    #[inline]
    pub fn take_short_string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.take_u8()?;
        self.take(usize::from(len))
    }
    /// Octets behind a four-octet length; also the outside of a field table.
    #[inline]
    pub fn take_long_string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.take_u32()?;
        self.take(usize::try_from(len).map_err(|_| Malformed)?)
    }
    /// For a decoder that has read its last argument: octets left over are an error too.
    #[inline]
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian_and_taken_in_order() {
        let mut cursor =
            Cursor::new(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");
        assert_eq!(cursor.take_u8(), Ok(0x01));
        assert_eq!(cursor.take_u16(), Ok(0x0203));
        assert_eq!(cursor.take_u32(), Ok(0x0405_0607));
        assert_eq!(cursor.take_u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(cursor.finish(), Ok(()));
    }

    #[test]
    fn a_read_past_the_end_is_malformed_and_takes_nothing() {
        let mut cursor = Cursor::new(b"\x01\x02\x03");
        assert_eq!(cursor.take_u32(), Err(Malformed));
        assert_eq!(cursor.take_u64(), Err(Malformed));
        assert_eq!(cursor.take(4), Err(Malformed));
        assert_eq!(cursor.rest(), b"\x01\x02\x03");
        assert_eq!(cursor.finish(), Err(Malformed));
    }

    #[test]
    fn strings_are_the_octets_behind_their_length() {
        let mut cursor = Cursor::new(b"\x02hi\x00\x00\x00\x00\x03you\x00\x00\x00\x00");
        assert_eq!(cursor.take_short_string(), Ok(&b"hi"[..]));
        assert_eq!(cursor.take_short_string(), Ok(&b""[..]));
        assert_eq!(cursor.take_long_string(), Ok(&b"you"[..]));
        assert_eq!(cursor.take_long_string(), Ok(&b""[..]));
        assert!(cursor.is_empty());
    }

    #[test]
    fn a_string_longer_than_what_is_left_is_malformed() {
        assert_eq!(Cursor::new(b"\x03hi").take_short_string(), Err(Malformed));
        let mut cursor = Cursor::new(b"\xff\xff\xff\xffhi");
        assert_eq!(cursor.take_long_string(), Err(Malformed));
    }
}
