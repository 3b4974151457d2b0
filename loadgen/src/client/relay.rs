//! The floor's own protocol: a hello that names the pair, then messages behind a length, as long
//! as AMQP would make them.

use super::fault::Fault;
use super::setup::{DIRECT_REPLY_TO, REQUESTER_TAG, WORKER_TAG, queue_name};
use crate::body::{BODY_LEN_MIN, decode_call};
use crate::call::CORRELATION_LEN;
use crate::sizes::Sizes;
use broker::engine::wire::basic::{Deliver, HotMethod, Publish, encode_content, encode_hot};
use broker::engine::wire::properties::{PropertyParts, encode_properties};
use broker::limits::{FRAME_LEN_MAX, FRAME_OVERHEAD};

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

#[derive(Clone, Debug)]
pub struct Relay {
    is_paired: bool,
    /// Who reads here.
    role: RelayRole,
    sizes: Sizes,
    /// Of what is read here.
    overhead: Overhead,
}

/// What the front of some octets came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Paired,
    /// The body, without the padding.
    Message(&'a [u8]),
}

impl Relay {
    pub fn new(role: RelayRole, sizes: Sizes) -> Relay {
        Relay {
            is_paired: false,
            role,
            sizes,
            overhead: match role {
                RelayRole::Requester => Overhead::of_reply(),
                RelayRole::Worker => Overhead::of_request(),
            },
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
        let malformed = Fault::Malformed {
            what: "message length",
        };
        let rest_len = u32::from_be_bytes(*head) as usize;
        if rest_len < BODY_LEN_MIN {
            return Err(malformed);
        }
        // Which call's it is says how much of it is the body.
        let Some(call) = decode_call(rest) else {
            return Ok(None);
        };
        let body_len = match self.role {
            RelayRole::Requester => self.sizes.reply_len(call),
            RelayRole::Worker => self.sizes.request_len(call),
        };
        if HEAD_LEN + rest_len != self.overhead.message_len(body_len) {
            return Err(malformed);
        }
        let message = rest.get(..rest_len);
        Ok(message.map(|message| (Piece::Message(&message[..body_len]), HEAD_LEN + rest_len)))
    }
}

/// One message, `overhead` and all; gives where the body lies in `outbound`.
pub fn push_message(outbound: &mut Vec<u8>, body: &[u8], overhead: Overhead) -> usize {
    let message_len = overhead.message_len(body.len());
    let rest_len = message_len - HEAD_LEN;
    assert!(rest_len >= body.len());
    let start = outbound.len();
    let rest_len_octets = u32::try_from(rest_len).expect("bodies are limited by the plan");
    outbound.extend_from_slice(&rest_len_octets.to_be_bytes());
    outbound.extend_from_slice(body);
    outbound.resize(start + message_len, 0);
    start + HEAD_LEN
}

/// Octets of a message besides its body: the mean of what AMQP takes to the broker (publish) and
/// from it (deliver), since the relay passes on what it gets.
#[derive(Clone, Copy, Debug)]
pub struct Overhead {
    bodiless_len: usize,
}

impl Overhead {
    pub fn of_request() -> Overhead {
        let queue = queue_name(0, 10);
        let publish_len = publish_len(&queue, Some(DIRECT_REPLY_TO));
        let deliver_len = deliver_len(WORKER_TAG, &queue, Some(&reply_address()));
        Overhead {
            bodiless_len: (publish_len + deliver_len).div_ceil(2),
        }
    }

    pub fn of_reply() -> Overhead {
        let publish_len = publish_len(&reply_address(), None);
        let deliver_len = deliver_len(REQUESTER_TAG, &reply_address(), None);
        Overhead {
            bodiless_len: (publish_len + deliver_len).div_ceil(2),
        }
    }

    /// Of a message with a body that long.
    pub fn message_len(self, body_len: usize) -> usize {
        let frame_count = body_len.div_ceil((FRAME_LEN_MAX - FRAME_OVERHEAD) as usize);
        self.bodiless_len + body_len + frame_count * FRAME_OVERHEAD as usize
    }
}

fn reply_address() -> String {
    format!("{DIRECT_REPLY_TO}.{}", "x".repeat(REPLY_OPAQUE_LEN))
}

fn publish_len(routing_key: &str, reply_to: Option<&str>) -> usize {
    let method = HotMethod::Publish(Publish {
        exchange: b"",
        routing_key: routing_key.as_bytes(),
        mandatory: false,
        immediate: false,
    });
    bodiless_len(&method, reply_to)
}

fn deliver_len(tag: &str, routing_key: &str, reply_to: Option<&str>) -> usize {
    let method = HotMethod::Deliver(Deliver {
        consumer_tag: tag.as_bytes(),
        delivery_tag: 1,
        redelivered: false,
        exchange: b"",
        routing_key: routing_key.as_bytes(),
    });
    bodiless_len(&method, reply_to)
}

fn bodiless_len(method: &HotMethod<'_>, reply_to: Option<&str>) -> usize {
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
    encode_content(&mut octets, 1, parts, &[], FRAME_LEN_MAX);
    octets.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::fill_request;
    use crate::call::CallId;
    use crate::distribution::Distribution;

    #[test]
    fn the_hello_names_role_and_pair() {
        assert_eq!(&hello(RelayRole::Requester, 0x0102), b"RNDFR\x00\x01\x02");
        assert_eq!(&hello(RelayRole::Worker, 3), b"RNDFW\x00\x00\x03");
    }

    fn requester(sizes: Sizes) -> Relay {
        Relay {
            is_paired: true,
            ..Relay::new(RelayRole::Requester, sizes)
        }
    }

    #[test]
    fn messages_come_back_whole_whatever_the_pieces() {
        let overhead = Overhead::of_reply();
        let mut octets = vec![PAIRED];
        assert_eq!(push_message(&mut octets, &[7; 64], overhead), 5);
        let message_len = overhead.message_len(64);
        assert_eq!(octets.len(), 1 + message_len);
        for end in 1..octets.len() {
            let mut relay = Relay::new(RelayRole::Requester, Sizes::fixed(64));
            assert_eq!(relay.split(&octets[..end]), Ok(Some((Piece::Paired, 1))));
            assert_eq!(relay.split(&octets[1..end]), Ok(None));
            let whole = relay.split(&octets[1..]);
            assert_eq!(whole, Ok(Some((Piece::Message(&[7; 64]), message_len))));
        }
    }

    #[test]
    fn the_call_tells_how_much_of_a_message_is_its_body() {
        let reply = Distribution::Uniform {
            from: 16,
            to: 300_000,
        };
        let sizes = Sizes::new(Distribution::Fixed(64), Some(reply), 1);
        for sequence in 0..20 {
            let call = CallId {
                run: 1,
                requester: 2,
                sequence,
            };
            let mut body = vec![0; sizes.reply_len(call)];
            fill_request(&mut body, call);
            let mut octets = Vec::new();
            push_message(&mut octets, &body, Overhead::of_reply());
            let whole = requester(sizes.clone()).split(&octets).unwrap().unwrap();
            assert_eq!(whole, (Piece::Message(&body), octets.len()));
        }
    }

    #[test]
    fn anything_else_is_no_relay() {
        let mut new = Relay::new(RelayRole::Worker, Sizes::fixed(64));
        assert!(new.split(b"AMQP").is_err());
        let mut relay = requester(Sizes::fixed(64));
        for head in [[0, 0, 0, 15], [0, 0, 0, 63], [255, 0, 0, 0]] {
            let mut octets = vec![0; 64];
            octets[..4].copy_from_slice(&head);
            assert!(relay.split(&octets).is_err());
        }
    }

    #[test]
    fn a_message_is_longer_than_its_body_by_what_amqp_adds() {
        for overhead in [Overhead::of_request(), Overhead::of_reply()] {
            let added = |body_len| overhead.message_len(body_len) - body_len;
            assert!((96..236).contains(&added(64)), "{}", added(64));
            assert_eq!(added(64), added(1064));
            // One more frame.
            assert_eq!(added(200_000), added(64) + 8);
        }
    }
}
