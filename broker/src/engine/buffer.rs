//! What waits to be sent on one connection.

use super::message::Content;
use super::wire::basic::{self, HotMethod};
use super::wire::frame::FRAME_END;
use super::wire::method;
use crate::limits::SHARED_LEN_MIN;
use amq_protocol::protocol::AMQPClass;
use bytes::Bytes;

/// Octets to be sent: `bytes`, and between them what lies elsewhere.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    /// In order of `at`, none of them empty.
    pub inserts: Vec<Insert>,
}

/// Comes before `bytes[at]`.
#[derive(Debug)]
pub struct Insert {
    pub at: usize,
    pub octets: Bytes,
}

impl Batch {
    pub fn len(&self) -> usize {
        let inserts_len: usize = self.inserts.iter().map(|insert| insert.octets.len()).sum();
        self.bytes.len() + inserts_len
    }

    /// Inserts never come without octets of `bytes` around them.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All octets in one piece.
    pub fn into_bytes(self) -> Vec<u8> {
        if self.inserts.is_empty() {
            return self.bytes;
        }
        let mut joined = Vec::with_capacity(self.len());
        let mut at = 0;
        for insert in &self.inserts {
            joined.extend_from_slice(&self.bytes[at..insert.at]);
            joined.extend_from_slice(&insert.octets);
            at = insert.at;
        }
        joined.extend_from_slice(&self.bytes[at..]);
        joined
    }
}

impl From<Vec<u8>> for Batch {
    fn from(bytes: Vec<u8>) -> Batch {
        Batch {
            bytes,
            inserts: Vec::new(),
        }
    }
}

/// Encoded frames, in order, plus a count of what the shell has taken but not yet sent. Long
/// bodies are not copied but shared with whoever else holds them.
#[derive(Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    inserts: Vec<Insert>,
    inserts_len: usize,
    in_flight_len: usize,
}

impl Outbound {
    /// Octets that the peer has not been sent.
    pub fn unsent_len(&self) -> usize {
        self.bytes.len() + self.inserts_len + self.in_flight_len
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn push_method(&mut self, channel: u16, method: &AMQPClass) {
        method::encode_method(&mut self.bytes, channel, method);
    }

    pub fn push_hot(&mut self, channel: u16, method: &HotMethod<'_>) {
        basic::encode_hot(&mut self.bytes, channel, method);
    }

    /// basic.deliver, get-ok or return, with its content.
    #[inline]
    pub fn push_content(
        &mut self,
        channel: u16,
        method: &HotMethod<'_>,
        content: &Content<'_>,
        frame_max: u32,
    ) {
        basic::encode_hot(&mut self.bytes, channel, method);
        if content.body.len() >= SHARED_LEN_MIN
            && let Some(shared) = content.shared
        {
            return self.push_shared(channel, content, shared, frame_max);
        }
        basic::encode_content(
            &mut self.bytes,
            channel,
            content.properties,
            content.body,
            frame_max,
        );
    }

    /// Content whose body stays where it is.
    #[cold]
    fn push_shared(&mut self, channel: u16, content: &Content<'_>, shared: &Bytes, frame_max: u32) {
        let body = content.body;
        basic::encode_content_header(&mut self.bytes, channel, content.properties, body.len());
        for chunk in basic::body_chunks(body, frame_max) {
            basic::encode_body_head(&mut self.bytes, channel, chunk.len());
            if chunk.len() < SHARED_LEN_MIN {
                self.bytes.extend_from_slice(chunk);
            } else {
                let octets = shared.slice_ref(chunk);
                self.inserts_len += octets.len();
                let at = self.bytes.len();
                self.inserts.push(Insert { at, octets });
            }
            self.bytes.push(FRAME_END);
        }
    }

    pub fn push_heartbeat(&mut self) {
        basic::encode_heartbeat(&mut self.bytes);
    }

    /// Gives the waiting bytes out; they count as unsent until [`Outbound::sent`].
    #[inline]
    pub fn take(&mut self, empty: Vec<u8>) -> Batch {
        assert!(empty.is_empty(), "the buffer to fill next is empty");
        self.in_flight_len += self.bytes.len() + self.inserts_len;
        self.inserts_len = 0;
        Batch {
            bytes: std::mem::replace(&mut self.bytes, empty),
            inserts: std::mem::take(&mut self.inserts),
        }
    }

    pub fn sent(&mut self, len: usize) {
        assert!(len <= self.in_flight_len, "no more is sent than was taken");
        self.in_flight_len -= len;
    }

    pub fn clear(&mut self) {
        self.bytes = Vec::new();
        self.inserts = Vec::new();
        self.inserts_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wire::basic::Deliver;
    use crate::engine::wire::properties::PropertyParts;

    fn push(outbound: &mut Outbound, body: &[u8], shared: Option<&Bytes>, frame_max: u32) {
        let method = HotMethod::Deliver(Deliver {
            consumer_tag: b"t",
            delivery_tag: 1,
            redelivered: false,
            exchange: b"",
            routing_key: b"q",
        });
        let content = Content {
            exchange: b"",
            routing_key: b"q",
            properties: PropertyParts([b"\x10\x00", b"\x01", b""]),
            body,
            shared,
            call: None,
        };
        outbound.push_content(3, &method, &content, frame_max);
    }

    #[test]
    fn a_shared_body_is_the_same_octets_as_a_copied_one() {
        let frame_max = 2 * SHARED_LEN_MIN as u32;
        for body_len in [
            SHARED_LEN_MIN - 1,
            SHARED_LEN_MIN,
            2 * SHARED_LEN_MIN - 8,
            2 * SHARED_LEN_MIN,
            7 * SHARED_LEN_MIN + 1,
        ] {
            let memory: Bytes = (0..=body_len).map(|at| (at % 251) as u8).collect();
            let body = &memory[1..];
            let (mut copied, mut shared) = (Outbound::default(), Outbound::default());
            for (outbound, memory) in [(&mut copied, None), (&mut shared, Some(&memory))] {
                push(outbound, b"before", None, frame_max);
                push(outbound, body, memory, frame_max);
                push(outbound, b"behind", None, frame_max);
            }
            assert_eq!(shared.unsent_len(), copied.unsent_len());
            let (copied, shared) = (copied.take(Vec::new()), shared.take(Vec::new()));
            assert!(copied.inserts.is_empty());
            assert_eq!(shared.inserts.is_empty(), body_len < SHARED_LEN_MIN);
            assert_eq!(shared.len(), copied.len());
            assert_eq!(shared.into_bytes(), copied.into_bytes());
        }
    }

    #[test]
    fn frames_too_short_to_be_worth_it_are_copied() {
        let memory: Bytes = vec![1; 4 * SHARED_LEN_MIN].into();
        let mut outbound = Outbound::default();
        push(&mut outbound, &memory, Some(&memory), 4096);
        assert!(outbound.take(Vec::new()).inserts.is_empty());
    }

    #[test]
    fn what_is_taken_counts_as_unsent_until_it_is_sent() {
        let memory: Bytes = vec![1; SHARED_LEN_MIN].into();
        let mut outbound = Outbound::default();
        push(&mut outbound, &memory, Some(&memory), 128 * 1024);
        let len = outbound.unsent_len();
        let batch = outbound.take(Vec::new());
        assert_eq!((batch.len(), outbound.unsent_len()), (len, len));
        outbound.sent(len - 1);
        assert_eq!(outbound.unsent_len(), 1);
    }
}
