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
