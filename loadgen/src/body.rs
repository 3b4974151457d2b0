//! Bodies that prove where they come from: a marker, the call's id, a pattern grown from it.
//!
//! Octet 0 is the marker, 1..4 the requester, 4..8 the run, 8..16 the sequence (big-endian), the
//! rest the pattern. A reply has the other marker (and, where replies have sizes of their own, as
//! much of the same pattern), so that an echo by anything but a worker (a request routed back to
//! its requester, say) is no reply.

use crate::call::CallId;

/// The smallest body: the marker and the call's id.
pub const BODY_LEN_MIN: usize = 16;

const MARKER_REQUEST: u8 = b'Q';
const MARKER_REPLY: u8 = b'A';

/// The same, of a worker that knows that it may not be the first to answer.
const MARKER_REPLY_AGAIN: u8 = b'R';

/// Why a body is not the reply that its call must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    Length,
    Marker,
    Identity,
    Pattern,
}

/// The whole body of a request. Asserts `body.len() >= BODY_LEN_MIN`.
pub fn fill_request(body: &mut [u8], call: CallId) {
    let (head, pattern) = body
        .split_first_chunk_mut()
        .expect("the plan refuses shorter bodies");
    *head = encode_head(MARKER_REQUEST, call);
    let mut source = Pattern::new(call);
    let (chunks, tail) = pattern.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = source.next_word();
    }
    let word = source.next_word();
    tail.copy_from_slice(&word[..tail.len()]);
}

/// The id at the front of a request or a reply.
pub fn decode_call(body: &[u8]) -> Option<CallId> {
    let head: &[u8; BODY_LEN_MIN] = body.first_chunk()?;
    Some(CallId {
        run: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        requester: u32::from_be_bytes([0, head[1], head[2], head[3]]),
        sequence: u64::from_be_bytes([
            head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
        ]),
    })
}

/// What a worker does to a request to make it the reply. Empty bodies stay empty.
pub fn turn_into_reply(body: &mut [u8], redelivered: bool) {
    let reply = if redelivered {
        MARKER_REPLY_AGAIN
    } else {
        MARKER_REPLY
    };
    if let Some(marker) = body.first_mut() {
        *marker ^= MARKER_REQUEST ^ reply;
    }
}

/// Whether the worker had its request as a redelivered one.
pub fn answers_redelivery(reply: &[u8]) -> bool {
    reply.first() == Some(&MARKER_REPLY_AGAIN)
}

/// Whether `body` is, octet for octet, the reply to `call`, of `body_len` octets.
pub fn check_reply(body: &[u8], call: CallId, body_len: usize) -> Result<(), Corruption> {
    check(body, call, body_len, [MARKER_REPLY, MARKER_REPLY_AGAIN])
}

/// Whether `body` is, octet for octet, the request of `call`, of `body_len` octets.
pub fn is_request(body: &[u8], call: CallId, body_len: usize) -> bool {
    check(body, call, body_len, [MARKER_REQUEST; 2]).is_ok()
}

fn check(body: &[u8], call: CallId, body_len: usize, markers: [u8; 2]) -> Result<(), Corruption> {
    let Some((head, pattern)) = body.split_first_chunk::<BODY_LEN_MIN>() else {
        return Err(Corruption::Length);
    };
    let expected = encode_head(markers[0], call);
    if body.len() != body_len {
        return Err(Corruption::Length);
    }
    if !markers.contains(&head[0]) {
        return Err(Corruption::Marker);
    }
    if head[1..] != expected[1..] {
        return Err(Corruption::Identity);
    }
    let mut source = Pattern::new(call);
    let (chunks, tail) = pattern.as_chunks::<8>();
    let is_whole = chunks.iter().all(|chunk| *chunk == source.next_word())
        && *tail == source.next_word()[..tail.len()];
    if is_whole {
        Ok(())
    } else {
        Err(Corruption::Pattern)
    }
}

fn encode_head(marker: u8, call: CallId) -> [u8; BODY_LEN_MIN] {
    let mut head = [0; BODY_LEN_MIN];
    head[..4].copy_from_slice(&call.requester.to_be_bytes());
    head[0] = marker;
    head[4..8].copy_from_slice(&call.run.to_be_bytes());
    head[8..].copy_from_slice(&call.sequence.to_be_bytes());
    head
}

/// A sequence of words that depends on the call and on the place, so that octets of another call
/// or of another place in the same body do not fit.
struct Pattern {
    state: u64,
}

impl Pattern {
    fn new(call: CallId) -> Pattern {
        let seed = u64::from(call.run) << 32 | u64::from(call.requester);
        Pattern {
            state: seed ^ call.sequence.wrapping_mul(0xff51_afd7_ed55_8ccd),
        }
    }

    fn next_word(&mut self) -> [u8; 8] {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (self.state ^ self.state >> 32)
            .wrapping_mul(0xd6e8_feb8_6659_fd93)
            .to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallId = CallId {
        run: 0x0102_0304,
        requester: 0xa0_b0c0,
        sequence: 7,
    };

    fn reply(body_len: usize) -> Vec<u8> {
        let mut body = vec![0; body_len];
        fill_request(&mut body, CALL);
        turn_into_reply(&mut body, false);
        body
    }

    #[test]
    fn a_reply_of_any_length_is_whole() {
        for body_len in 16..200 {
            assert_eq!(check_reply(&reply(body_len), CALL, body_len), Ok(()));
        }
    }

    #[test]
    fn the_call_is_read_back_from_request_and_reply() {
        let mut body = vec![0; 64];
        fill_request(&mut body, CALL);
        assert_eq!(decode_call(&body), Some(CALL));
        turn_into_reply(&mut body, false);
        assert_eq!(decode_call(&body), Some(CALL));
        assert_eq!(decode_call(&body[..15]), None);
    }

    #[test]
    fn a_worker_knows_a_request_that_came_whole() {
        let mut body = vec![0; 64];
        fill_request(&mut body, CALL);
        assert!(is_request(&body, CALL, 64) && !is_request(&body, CALL, 65));
        body[63] ^= 1;
        assert!(!is_request(&body, CALL, 64) && !is_request(&reply(64), CALL, 64));
    }

    #[test]
    fn every_flipped_octet_is_seen() {
        let whole = reply(67);
        for index in 0..whole.len() {
            let mut body = whole.clone();
            body[index] ^= 1;
            assert!(check_reply(&body, CALL, 67).is_err(), "octet {index}");
        }
    }

    #[test]
    fn an_unturned_request_a_short_body_and_another_calls_reply_are_seen() {
        let mut body = reply(64);
        assert_eq!(check_reply(&body[..63], CALL, 64), Err(Corruption::Length));
        assert_eq!(check_reply(&[], CALL, 64), Err(Corruption::Length));
        let other = CallId {
            sequence: 8,
            ..CALL
        };
        assert_eq!(check_reply(&body, other, 64), Err(Corruption::Identity));
        body.swap(40, 41);
        assert_eq!(check_reply(&body, CALL, 64), Err(Corruption::Pattern));
        turn_into_reply(&mut body, false);
        assert_eq!(check_reply(&body, CALL, 64), Err(Corruption::Marker));
    }
}
