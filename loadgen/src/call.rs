//! A call's identity, as it travels in the correlation id and at the front of the body.

/// Requesters a run may have: three octets of the id.
pub const REQUESTER_COUNT_MAX: u32 = 1 << 24;

/// Calls one requester may issue: ten hexadecimal digits of the correlation id.
pub const SEQUENCE_MAX: u64 = 1 << 40;

/// Octets of a correlation id: 8 digits of the run, 6 of the requester, 10 of the sequence.
pub const CORRELATION_LEN: usize = 24;

/// One call, unlike any other of this run and (by chance of one in four billion) of other runs.
///
/// Invariant: `requester < REQUESTER_COUNT_MAX`, `sequence < SEQUENCE_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId {
    /// Drawn once per run, so that a reply to somebody else's call is seen to be foreign.
    pub run: u32,
    pub requester: u32,
    pub sequence: u64,
}

impl CallId {
    pub fn write_correlation(&self, out: &mut [u8; CORRELATION_LEN]) {
        write_hex(&mut out[..8], u64::from(self.run));
        write_hex(&mut out[8..14], u64::from(self.requester));
        write_hex(&mut out[14..], self.sequence);
    }

    /// `None` if these are not octets that [`CallId::write_correlation`] writes.
    pub fn parse_correlation(bytes: &[u8]) -> Option<CallId> {
        let digits: &[u8; CORRELATION_LEN] = bytes.try_into().ok()?;
        Some(CallId {
            run: u32::try_from(parse_hex(&digits[..8])?).ok()?,
            requester: u32::try_from(parse_hex(&digits[8..14])?).ok()?,
            sequence: parse_hex(&digits[14..])?,
        })
    }
}

fn write_hex(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// At most sixteen digits.
fn parse_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value: u64, digit| {
        let digit_value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit_value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_id_comes_back_as_the_call_it_was_written_for() {
        let largest = CallId {
            run: u32::MAX,
            requester: REQUESTER_COUNT_MAX - 1,
            sequence: SEQUENCE_MAX - 1,
        };
        let plain = CallId {
            run: 0xdead_beef,
            requester: 10,
            sequence: 255,
        };
        let mut octets = [0; CORRELATION_LEN];
        plain.write_correlation(&mut octets);
        assert_eq!(&octets, b"deadbeef00000a00000000ff");
        assert_eq!(CallId::parse_correlation(&octets), Some(plain));
        largest.write_correlation(&mut octets);
        assert_eq!(CallId::parse_correlation(&octets), Some(largest));
    }

    #[test]
    fn octets_that_are_no_correlation_id_are_refused() {
        assert_eq!(CallId::parse_correlation(b""), None);
        assert_eq!(CallId::parse_correlation(b"deadbeef00000a00000000f"), None);
        assert_eq!(CallId::parse_correlation(b"deadbeef00000a00000000fF"), None);
        assert_eq!(
            CallId::parse_correlation(b"deadbeef00000a00000000ff0"),
            None
        );
    }
}
