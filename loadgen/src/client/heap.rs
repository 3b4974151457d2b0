//! Messages that a worker leaves lying, so that the broker's memory runs short.

use super::session::{CHANNEL, Session};
use super::setup::Purpose;
use broker::engine::wire::basic::{HotMethod, Publish, encode_content, encode_hot};
use broker::engine::wire::properties::{PropertyParts, encode_properties};

pub struct Heap {
    /// One message, in frames.
    message: Vec<u8>,
    /// The broker has said so: it need not be told more to have too much.
    is_blocked: bool,
}

impl Heap {
    /// `None` if the session is not that of a worker who leaves something lying.
    pub fn new(session: &Session) -> Option<Heap> {
        let Purpose::Worker {
            heap: Some(len), ..
        } = session.purpose()
        else {
            return None;
        };
        let publish = HotMethod::Publish(Publish {
            exchange: b"",
            routing_key: session.own_queue().as_bytes(),
            mandatory: false,
            immediate: false,
        });
        let (mut message, mut properties) = (Vec::new(), Vec::new());
        encode_hot(&mut message, CHANNEL, &publish);
        encode_properties(&mut properties, None, None, None);
        let parts = PropertyParts([&properties, &[], &[]]);
        let body = vec![0; *len];
        encode_content(&mut message, CHANNEL, parts, &body, session.frame_max());
        Some(Heap {
            message,
            is_blocked: false,
        })
    }

    pub fn push(&self, outbound: &mut Vec<u8>) {
        if !self.is_blocked {
            outbound.extend_from_slice(&self.message);
        }
    }

    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub fn set_blocked(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
    }
}
