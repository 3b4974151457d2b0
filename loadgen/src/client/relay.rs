//! The floor's own protocol: a hello that names the pair, then messages behind a length, as long
//! as AMQP would make them.

use super::fault::Fault;
use super::setup::{DIRECT_REPLY_TO, REQUESTER_TAG, WORKER_TAG, queue_name};
use crate::call::CORRELATION_LEN;
use broker::engine::wire::basic::{Deliver, HotMethod, Publish, encode_content, encode_hot};
use broker::engine::wire::properties::{PropertyParts, encode_properties};
use broker::limits::FRAME_LEN_MAX;

/// What the relay sends to both once both of a pair are there.
const PAIRED: u8 = 1;

/// The length in front of each message.
const HEAD_LEN: usize = 4;

/// The opaque part of a reply address, as long as Rondo's.
const REPLY_OPAQUE_LEN: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayRole {
    Requester,
    Worker,
}

/// Eight octets: "RNDF", the role, 0, the pair.
pub fn hello(role: RelayRole, pair: u16) -> [u8; 8] {
    let role = match role {
        RelayRole::Requester => b'R',
        RelayRole::Worker => b'W',
    };
    let [pair_high, pair_low] = pair.to_be_bytes();
    [b'R', b'N', b'D', b'F', role, 0, pair_high, pair_low]
}

#[derive(Clone, Copy, Debug)]
pub struct Relay {
    is_paired: bool,
    body_len: usize,
}

/// What the front of some octets came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Paired,
    /// The body, without the padding.
    Message(&'a [u8]),
}

impl Relay {
    pub fn new(body_len: usize) -> Relay {
        Relay {
            is_paired: false,
            body_len,
        }
    }

    /// The first complete piece and its length, or `None` if more octets are needed.
    pub fn split<'a>(&mut self, octets: &'a [u8]) -> Result<Option<(Piece<'a>, usize)>, Fault> {
        if !self.is_paired {
            return match octets.first() {
                None => Ok(None),
                Some(&PAIRED) => {
                    self.is_paired = true;
                    Ok(Some((Piece::Paired, 1)))
                }
                Some(_) => Err(Fault::Malformed {
                    what: "no relay answers here",
                }),
            };
        }
        let Some((head, rest)) = octets.split_first_chunk::<HEAD_LEN>() else {
            return Ok(None);
        };
        let rest_len = u32::from_be_bytes(*head) as usize;
        if rest_len < self.body_len || rest_len > self.body_len + FRAME_LEN_MAX as usize {
            return Err(Fault::Malformed {
                what: "message length",
            });
        }
        let Some(message) = rest.get(..rest_len) else {
            return Ok(None);
        };
        Ok(Some((
            Piece::Message(&message[..self.body_len]),
            HEAD_LEN + rest_len,
        )))
    }
}

/// One message of `message_len` octets in all; gives where the body lies in `outbound`.
pub fn push_message(outbound: &mut Vec<u8>, body: &[u8], message_len: usize) -> usize {
    let rest_len = message_len - HEAD_LEN;
    assert!(rest_len >= body.len());
    let start = outbound.len();
    let rest_len_octets = u32::try_from(rest_len).expect("bodies are limited by the plan");
    outbound.extend_from_slice(&rest_len_octets.to_be_bytes());
    outbound.extend_from_slice(body);
    outbound.resize(start + message_len, 0);
    start + HEAD_LEN
}

/// Octets of one request and of one reply: the mean of what AMQP takes to the broker (publish)
/// and from it (deliver), since the relay passes on what it gets.
pub fn message_lens(body_len: usize) -> (usize, usize) {
    let queue = queue_name(0, 10);
    let reply_address = format!("{DIRECT_REPLY_TO}.{}", "x".repeat(REPLY_OPAQUE_LEN));
    let body = vec![0; body_len];
    let publish = |routing_key: &str, reply_to: Option<&str>| {
        let method = HotMethod::Publish(Publish {
            exchange: b"",
            routing_key: routing_key.as_bytes(),
            mandatory: false,
            immediate: false,
        });
        content_len(&method, reply_to, &body)
    };
    let deliver = |tag: &str, routing_key: &str, reply_to: Option<&str>| {
        let method = HotMethod::Deliver(Deliver {
            consumer_tag: tag.as_bytes(),
            delivery_tag: 1,
            redelivered: false,
            exchange: b"",
            routing_key: routing_key.as_bytes(),
        });
        content_len(&method, reply_to, &body)
    };
    let request_lens =
        publish(&queue, Some(DIRECT_REPLY_TO)) + deliver(WORKER_TAG, &queue, Some(&reply_address));
    let reply_lens = publish(&reply_address, None) + deliver(REQUESTER_TAG, &reply_address, None);
    (request_lens.div_ceil(2), reply_lens.div_ceil(2))
}

fn content_len(method: &HotMethod<'_>, reply_to: Option<&str>, body: &[u8]) -> usize {
    let correlation = [b'0'; CORRELATION_LEN];
    let mut properties = Vec::new();
    encode_properties(
        &mut properties,
        Some(&correlation),
        reply_to.map(str::as_bytes),
        None,
    );
    let mut octets = Vec::new();
    encode_hot(&mut octets, 1, method);
    let parts = PropertyParts([&properties, &[], &[]]);
    encode_content(&mut octets, 1, parts, body, FRAME_LEN_MAX);
    octets.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hello_names_role_and_pair() {
        assert_eq!(&hello(RelayRole::Requester, 0x0102), b"RNDFR\x00\x01\x02");
        assert_eq!(&hello(RelayRole::Worker, 3), b"RNDFW\x00\x00\x03");
    }

    #[test]
    fn messages_come_back_whole_whatever_the_pieces() {
        let mut octets = vec![PAIRED];
        let body_at = push_message(&mut octets, &[7; 64], 200);
        assert_eq!((octets.len(), body_at), (201, 5));
        for end in 1..octets.len() {
            let mut relay = Relay::new(64);
            assert_eq!(relay.split(&octets[..end]), Ok(Some((Piece::Paired, 1))));
            assert_eq!(relay.split(&octets[1..end]), Ok(None));
            let whole = relay.split(&octets[1..]);
            assert_eq!(whole, Ok(Some((Piece::Message(&[7; 64]), 200))));
        }
    }

    #[test]
    fn anything_else_is_no_relay() {
        assert!(Relay::new(64).split(b"AMQP").is_err());
        let mut relay = Relay {
            is_paired: true,
            body_len: 64,
        };
        assert!(relay.split(&[0, 0, 0, 63]).is_err());
        assert!(relay.split(&[255, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_message_is_longer_than_its_body_by_what_amqp_adds() {
        let (request_len, reply_len) = message_lens(64);
        assert!((160..300).contains(&request_len), "{request_len}");
        assert!((160..300).contains(&reply_len), "{reply_len}");
        let (larger_len, _) = message_lens(1064);
        assert_eq!(larger_len, request_len + 1000);
    }
}
