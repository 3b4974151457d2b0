//! What waits to be sent on one connection.

use super::message::Content;
use super::wire::basic::{self, HotMethod};
use super::wire::method;
use amq_protocol::protocol::AMQPClass;

/// Encoded frames, in order, plus a count of what the shell has taken but not yet sent.
#[derive(Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    in_flight_len: usize,
}

impl Outbound {
    /// Octets that the peer has not been sent.
    pub fn unsent_len(&self) -> usize {
        self.bytes.len() + self.in_flight_len
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
        basic::encode_content(
            &mut self.bytes,
            channel,
            content.properties,
            content.body,
            frame_max,
        );
    }

    pub fn push_heartbeat(&mut self) {
        basic::encode_heartbeat(&mut self.bytes);
    }

    /// Gives the waiting bytes out; they count as unsent until [`Outbound::sent`].
    pub fn take(&mut self, empty: Vec<u8>) -> Vec<u8> {
        assert!(empty.is_empty(), "the buffer to fill next is empty");
        self.in_flight_len += self.bytes.len();
        std::mem::replace(&mut self.bytes, empty)
    }

    pub fn sent(&mut self, len: usize) {
        assert!(len <= self.in_flight_len, "no more is sent than was taken");
        self.in_flight_len -= len;
    }

    pub fn clear(&mut self) {
        self.bytes = Vec::new();
    }
}
