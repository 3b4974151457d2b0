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
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
    pub fn take(&mut self, _len: usize) -> Result<&'a [u8], Malformed> {
        todo!()
    }
    pub fn take_u8(&mut self) -> Result<u8, Malformed> {
        todo!()
    }
    pub fn take_u16(&mut self) -> Result<u16, Malformed> {
        todo!()
    }
    pub fn take_u32(&mut self) -> Result<u32, Malformed> {
        todo!()
    }
    pub fn take_u64(&mut self) -> Result<u64, Malformed> {
        todo!()
    }
    /// Octets behind a one-octet length.
    pub fn take_short_string(&mut self) -> Result<&'a [u8], Malformed> {
        todo!()
    }
    /// Octets behind a four-octet length; also the outside of a field table.
    pub fn take_long_string(&mut self) -> Result<&'a [u8], Malformed> {
        todo!()
    }
}
