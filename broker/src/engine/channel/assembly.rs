//! Content that arrives in pieces: method, header, body frames (AMQP 0-9-1 4.2.6).
//!
//! Content that is there in one piece never comes here; see `shard::execute`.

use super::super::name::Name;
use super::super::wire::basic::{ContentHeader, Publish};
use super::ContentError;
use crate::limits::{ASSEMBLY_GROWTH, ASSEMBLY_LEN_RESERVED};

/// The arguments of basic.publish, kept.
#[derive(Debug)]
pub struct Published {
    pub exchange: Name,
    pub routing_key: Name,
    pub mandatory: bool,
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

/// Where a channel stands between basic.publish and the last body octet.
#[derive(Debug)]
pub enum Assembly {
    Idle,
    AwaitHeader(Box<Published>),
    /// Invariant: `published.body` is not longer than `body_len`, and as long only until the
    /// end of the frame is there whose payload has come in parts.
    AwaitBody {
        published: Box<Published>,
        body_len: u64,
    },
}

impl Assembly {
    pub fn is_idle(&self) -> bool {
        matches!(self, Assembly::Idle)
    }

    /// Octets that the unfinished content will take, as announced.
    pub fn announced_len(&self) -> u64 {
        match self {
            Assembly::AwaitBody {
                published,
                body_len,
            } => body_len + published.properties.len() as u64,
            Assembly::Idle | Assembly::AwaitHeader(_) => 0,
        }
    }

    /// What the content that is coming is for: exchange and routing key.
    pub fn target(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Assembly::Idle => None,
            Assembly::AwaitHeader(published) | Assembly::AwaitBody { published, .. } => {
                let Published {
                    exchange,
                    routing_key,
                    ..
                } = &**published;
                Some((exchange.as_bytes(), routing_key.as_bytes()))
            }
        }
    }

    pub fn begin(&mut self, publish: &Publish<'_>) {
        assert!(
            self.is_idle(),
            "a method between content frames was refused before"
        );
        *self = Assembly::AwaitHeader(Box::new(Published {
            exchange: Name::from(publish.exchange),
            routing_key: Name::from(publish.routing_key),
            mandatory: publish.mandatory,
            properties: Vec::new(),
            body: Vec::new(),
        }));
    }

    /// `Some` when there is no body to wait for.
    pub fn header(
        &mut self,
        header: &ContentHeader<'_>,
    ) -> Result<Option<Box<Published>>, ContentError> {
        match std::mem::replace(self, Assembly::Idle) {
            Assembly::AwaitHeader(mut published) => {
                published.properties = header.properties.to_vec();
                if header.body_len == 0 {
                    return Ok(Some(published));
                }
                let body_len = header.body_len;
                let reserved = usize::try_from(body_len).unwrap_or(usize::MAX);
                published
                    .body
                    .reserve_exact(reserved.min(ASSEMBLY_LEN_RESERVED));
                *self = Assembly::AwaitBody {
                    published,
                    body_len,
                };
                Ok(None)
            }
            Assembly::Idle => Err(ContentError::Unexpected {
                expected: "method frame",
            }),
            Assembly::AwaitBody { .. } => Err(ContentError::Unexpected {
                expected: "content body",
            }),
        }
    }

    /// Whether body octets are awaited, and at least so many of them.
    pub fn has_room(&self, len: usize) -> bool {
        match self {
            Assembly::AwaitBody {
                published,
                body_len,
            } => len as u64 <= body_len - published.body.len() as u64,
            Assembly::Idle | Assembly::AwaitHeader(_) => false,
        }
    }

    /// Part of the payload of a body frame that has not come to its end yet: [`Assembly::body`]
    /// follows with the frame's end. Asserts that there is room for it.
    pub fn body_part(&mut self, part: &[u8]) {
        assert!(self.has_room(part.len()));
        if let Assembly::AwaitBody {
            published,
            body_len,
        } = self
        {
            extend_body(&mut published.body, part, *body_len);
        }
    }

    /// `Some` with the last octet.
    pub fn body(&mut self, payload: &[u8]) -> Result<Option<Box<Published>>, ContentError> {
        match std::mem::replace(self, Assembly::Idle) {
            Assembly::AwaitBody {
                mut published,
                body_len,
            } => {
                let missing = body_len - published.body.len() as u64;
                if payload.len() as u64 > missing {
                    return Err(ContentError::BodyOverrun);
                }
                extend_body(&mut published.body, payload, body_len);
                if payload.len() as u64 == missing {
                    return Ok(Some(published));
                }
                *self = Assembly::AwaitBody {
                    published,
                    body_len,
                };
                Ok(None)
            }
            Assembly::Idle => Err(ContentError::Unexpected {
                expected: "method frame",
            }),
            Assembly::AwaitHeader(_) => Err(ContentError::Unexpected {
                expected: "content header",
            }),
        }
    }
}

/// Grows in few steps, none of them far beyond what has come, and ends with no octet to spare.
fn extend_body(body: &mut Vec<u8>, part: &[u8], body_len: u64) {
    let len = body.len() + part.len();
    if len > body.capacity() {
        let wanted = usize::try_from(body_len).unwrap_or(usize::MAX);
        let wanted = wanted.min(len.saturating_mul(ASSEMBLY_GROWTH));
        body.reserve_exact(wanted - body.len());
    }
    body.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Assembly {
        let mut assembly = Assembly::Idle;
        assembly.begin(&Publish {
            exchange: b"",
            routing_key: b"q",
            mandatory: false,
            immediate: false,
        });
        assembly
    }

    fn header(body_len: u64) -> ContentHeader<'static> {
        ContentHeader {
            body_len,
            properties: b"\0\0",
        }
    }

    #[test]
    fn a_body_in_pieces_is_complete_with_its_last_octet() {
        let mut assembly = begun();
        assert!(assembly.header(&header(5)).expect("in order").is_none());
        assert!(assembly.body(b"ab").expect("in order").is_none());
        let published = assembly.body(b"cde").expect("in order").expect("complete");
        assert_eq!(published.body, b"abcde");
        assert!(assembly.is_idle());
    }

    #[test]
    fn an_announced_body_takes_no_memory_before_it_comes() {
        let mut assembly = begun();
        assembly.header(&header(u64::MAX)).expect("in order");
        let Assembly::AwaitBody { published, .. } = &assembly else {
            panic!("awaits its body")
        };
        assert!(published.body.capacity() <= ASSEMBLY_LEN_RESERVED);
    }

    #[test]
    fn a_frame_in_parts_is_not_complete_before_its_end() {
        let mut assembly = begun();
        assembly.header(&header(5)).expect("in order");
        assembly.body_part(b"abc");
        assert!(assembly.has_room(2) && !assembly.has_room(3));
        assembly.body_part(b"de");
        assert!(!assembly.is_idle());
        let published = assembly.body(b"").expect("in order").expect("complete");
        assert_eq!(published.body, b"abcde");
    }

    #[test]
    fn memory_for_a_body_grows_with_what_has_come_and_never_beyond_its_length() {
        let mut assembly = begun();
        let body_len = 100 * ASSEMBLY_LEN_RESERVED;
        assembly.header(&header(body_len as u64)).expect("in order");
        let piece = vec![7; ASSEMBLY_LEN_RESERVED / 2];
        let mut published = None;
        while published.is_none() {
            published = assembly.body(&piece).expect("in order");
            if let Assembly::AwaitBody { published, .. } = &assembly {
                let body = &published.body;
                assert!(body.capacity() <= ASSEMBLY_LEN_RESERVED.max(body.len() * ASSEMBLY_GROWTH));
            }
        }
        let body = published.expect("complete").body;
        assert_eq!((body.len(), body.capacity()), (body_len, body_len));
    }

    #[test]
    fn frames_out_of_order_are_refused() {
        assert!(Assembly::Idle.body(b"x").is_err());
        assert!(Assembly::Idle.header(&header(1)).is_err());
        assert!(begun().body(b"x").is_err());
        let mut assembly = begun();
        assembly.header(&header(1)).expect("in order");
        assert_eq!(assembly.body(b"xx").err(), Some(ContentError::BodyOverrun));
    }
}
