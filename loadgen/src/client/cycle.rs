//! A callback queue for each call: declare, consume and publish, await, delete. Several calls go
//! through it at once on one channel, which answers in the order of what it was asked.

use super::session::{CHANNEL, Session};
use super::setup::{Purpose, consume, declare, delete};
use super::template::DELIVERY_MODE_PERSISTENT;
use crate::audit::Reply;
use crate::call::{CORRELATION_LEN, CallId};
use amq_protocol::types::FieldTable;
use broker::engine::wire::basic::{HotMethod, Publish, encode_content, encode_hot};
use broker::engine::wire::method::encode_method;
use broker::engine::wire::properties::{PropertyParts, encode_properties};
use std::collections::{HashMap, VecDeque};

pub struct Cycles {
    frame_max: u32,
    is_mandatory: bool,
    delivery_mode: Option<u8>,
    /// Encoded once.
    declare: Vec<u8>,
    declaring: VecDeque<CallId>,
    /// The queue of each call that has no reply yet, by sequence. A call that is given up leaves
    /// its queue to the end of the connection, or to a late reply.
    awaiting: HashMap<u64, String>,
    /// Calls that have their reply, and what it was worth.
    deleting: VecDeque<(u64, Reply)>,
}

impl Cycles {
    /// `None` if the session's calls need no queue of their own.
    pub fn new(session: &Session) -> Option<Cycles> {
        let Purpose::Requester {
            is_mandatory,
            is_persistent,
            ..
        } = session.purpose()
        else {
            return None;
        };
        if !session.has_queue_per_call() {
            return None;
        }
        let mut declare_frame = Vec::new();
        // Auto-delete would do nothing more: the queue is deleted by name.
        encode_method(
            &mut declare_frame,
            CHANNEL,
            &declare("", true, false, FieldTable::default()),
        );
        Some(Cycles {
            frame_max: session.frame_max(),
            is_mandatory: *is_mandatory,
            delivery_mode: is_persistent.then_some(DELIVERY_MODE_PERSISTENT),
            declare: declare_frame,
            declaring: VecDeque::new(),
            awaiting: HashMap::new(),
            deleting: VecDeque::new(),
        })
    }

    /// Asks for the call's queue.
    pub fn begin(&mut self, id: CallId, outbound: &mut Vec<u8>) {
        self.declaring.push_back(id);
        outbound.extend_from_slice(&self.declare);
    }

    /// The queue is there: gives whose it is. `None`: nobody asked for it.
    pub fn handle_declared(&mut self, queue: &str, outbound: &mut Vec<u8>) -> Option<CallId> {
        let id = self.declaring.pop_front()?;
        self.awaiting.insert(id.sequence, queue.to_owned());
        // The queue's name is a consumer tag that no other call has.
        encode_method(outbound, CHANNEL, &consume(queue, queue, true));
        Some(id)
    }

    /// The request of `id`, which `handle_declared` has given.
    pub fn publish(&self, id: CallId, to: &str, body: &[u8], outbound: &mut Vec<u8>) {
        let mut correlation = [0; CORRELATION_LEN];
        id.write_correlation(&mut correlation);
        let publish = HotMethod::Publish(Publish {
            exchange: b"",
            routing_key: to.as_bytes(),
            mandatory: self.is_mandatory,
            immediate: false,
        });
        encode_hot(outbound, CHANNEL, &publish);
        let reply_to = self.awaiting.get(&id.sequence).map(String::as_bytes);
        let mut properties = Vec::new();
        encode_properties(
            &mut properties,
            Some(&correlation),
            reply_to,
            self.delivery_mode,
        );
        let parts = PropertyParts([&properties, &[], &[]]);
        encode_content(outbound, CHANNEL, parts, body, self.frame_max);
    }

    /// The call's reply is there, the queue may go. False: the call awaits none.
    pub fn handle_reply(&mut self, sequence: u64, reply: Reply, outbound: &mut Vec<u8>) -> bool {
        let Some(queue) = self.awaiting.remove(&sequence) else {
            return false;
        };
        encode_method(outbound, CHANNEL, &delete(&queue, false));
        self.deleting.push_back((sequence, reply));
        true
    }

    /// A queue is gone: gives the call that has come to its end. `None`: nobody asked for it.
    pub fn handle_deleted(&mut self) -> Option<(u64, Reply)> {
        self.deleting.pop_front()
    }

    pub fn is_deleting(&self, sequence: u64) -> bool {
        self.deleting.iter().any(|(other, _)| *other == sequence)
    }
}
