//! Content that arrives in pieces: method, header, body frames (AMQP 0-9-1 4.2.6).
//!
//! Content that is there in one piece never comes here; see `shard::execute`.

use super::super::name::Name;
use super::super::wire::basic::{ContentHeader, Publish};
use super::ContentError;
use crate::limits::ASSEMBLY_LEN_RESERVED;

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
    /// Invariant: `published.body` is shorter than `body_len`.
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
                published.body.extend_from_slice(payload);
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
    fn frames_out_of_order_are_refused() {
        assert!(Assembly::Idle.body(b"x").is_err());
        assert!(Assembly::Idle.header(&header(1)).is_err());
        assert!(begun().body(b"x").is_err());
        let mut assembly = begun();
        assembly.header(&header(1)).expect("in order");
        assert_eq!(assembly.body(b"xx").err(), Some(ContentError::BodyOverrun));
    }
}
