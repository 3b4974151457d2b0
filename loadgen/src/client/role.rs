//! What a connection does with what is delivered to it: check a reply, or answer a request.

use super::Tally;
use super::content::Delivery;
use super::template::{ReplyEncoder, RequestTemplate};
use crate::audit::{Ledger, Outstanding};
use crate::body;
use crate::call::{CallId, SEQUENCE_MAX};
use broker::engine::time::Timestamp;

pub enum Role {
    Requester(Box<Requester>),
    /// `replies` is there once the set-up is done.
    Worker {
        replies: Option<ReplyEncoder>,
    },
}

pub struct Requester {
    run: u32,
    index: u32,
    pub ledger: Ledger,
    /// There once the set-up is done.
    pub requests: Option<RequestTemplate>,
    /// The next request's body, filled anew for each call.
    body: Vec<u8>,
}

/// A delivery, with what it is judged by.
pub struct Arrival<'a> {
    pub delivery: Delivery<'a>,
    /// Octets that the body must have.
    pub body_len: usize,
    pub now: Timestamp,
}

impl Role {
    pub fn handle_delivery(
        &mut self,
        arrival: &Arrival<'_>,
        outbound: &mut Vec<u8>,
        tally: &mut Tally,
    ) {
        match self {
            Role::Requester(requester) => requester.handle_reply(arrival, tally),
            Role::Worker {
                replies: Some(replies),
            } => {
                handle_request(replies, arrival, outbound, tally);
            }
            Role::Worker { replies: None } => tally.count_error("request before consume-ok", 1),
        }
    }

    /// The broker gave a message back that it could not deliver.
    pub fn handle_returned(&mut self, code: u16, correlation: &[u8], tally: &mut Tally) {
        self.handle_refused(&format!("basic.return {code}"), correlation, tally);
    }

    /// The server said, in this way, that nobody will get the request.
    pub fn handle_refused(&mut self, reason: &str, correlation: &[u8], tally: &mut Tally) {
        tally.count_error(reason, 1);
        let Role::Requester(requester) = self else {
            return;
        };
        match requester.sequence_of(CallId::parse_correlation(correlation)) {
            Some(sequence) => requester.ledger.handle_failed(sequence),
            None => requester.ledger.handle_foreign(),
        }
    }
}

impl Requester {
    pub fn new(run: u32, index: u32, in_flight: u32, body_len: usize) -> Requester {
        Requester {
            run,
            index,
            ledger: Ledger::new(in_flight),
            requests: None,
            body: vec![0; body_len],
        }
    }

    /// Asserts that the set-up is done and that the ledger has room.
    pub fn issue(&mut self, call: Outstanding, outbound: &mut Vec<u8>) {
        let requests = self.requests.as_ref().expect("the caller asked can_issue");
        let sequence = self.ledger.issue(call);
        assert!(
            sequence < SEQUENCE_MAX,
            "the correlation id has no more digits"
        );
        let id = CallId {
            run: self.run,
            requester: self.index,
            sequence,
        };
        body::fill_request(&mut self.body, id);
        requests.push(outbound, id, &self.body);
    }

    fn handle_reply(&mut self, arrival: &Arrival<'_>, tally: &mut Tally) {
        let delivery = &arrival.delivery;
        let id = match self.requests {
            // A relay's messages have a body and nothing else.
            Some(RequestTemplate::Relay { .. }) => body::decode_call(delivery.body),
            _ => CallId::parse_correlation(delivery.correlation),
        };
        let (Some(id), Some(sequence)) = (id, self.sequence_of(id)) else {
            self.ledger.handle_foreign();
            tally.count_error("a reply to a call of somebody else", 1);
            return;
        };
        let checked = body::check_reply(delivery.body, id, arrival.body_len);
        match self.ledger.handle_reply(sequence, checked.is_ok()) {
            Some(call) => {
                tally.returned_count += 1;
                tally.recorder.record(call, arrival.now);
            }
            None => tally.count_error(reason_of(checked), 1),
        }
    }

    /// `None` if the call is not ours.
    fn sequence_of(&self, id: Option<CallId>) -> Option<u64> {
        id.filter(|id| id.run == self.run && id.requester == self.index)
            .map(|id| id.sequence)
    }
}

fn reason_of(checked: Result<(), body::Corruption>) -> &'static str {
    match checked {
        Ok(()) => "a reply late, twice or never asked for",
        Err(body::Corruption::Length) => "a reply of the wrong length",
        Err(body::Corruption::Marker) => "a reply that no worker made",
        Err(body::Corruption::Identity) => "a reply with another call's body",
        Err(body::Corruption::Pattern) => "a reply with altered octets",
    }
}

fn handle_request(
    replies: &mut ReplyEncoder,
    arrival: &Arrival<'_>,
    outbound: &mut Vec<u8>,
    tally: &mut Tally,
) {
    let request = &arrival.delivery;
    let wants_reply = !request.reply_to.is_empty() || matches!(replies, ReplyEncoder::Relay { .. });
    if wants_reply {
        replies.push(outbound, request);
    } else {
        replies.push_ack_only(outbound, request);
        tally.count_error("a request without reply_to", 1);
    }
}
