//! What a connection does with what is delivered to it: check a reply, or answer a request.

use super::Tally;
use super::confirms::{Confirmed, Confirms};
use super::content::Delivery;
use super::cycle::Cycles;
use super::session::{Event, Session};
use super::setup::Purpose;
use super::template::RequestTemplate;
use super::worker::Worker;
use crate::audit::{Ledger, Outcome, Outstanding, Reply};
use crate::body;
use crate::call::{CallId, SEQUENCE_MAX};
use crate::casualties::Casualties;
use crate::plan::Follow;
use crate::sizes::Sizes;
use broker::engine::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

pub enum Role {
    Requester(Box<Requester>),
    Worker(Box<Worker>),
    /// Holds its connection and does nothing.
    Bystander,
}

pub struct Requester {
    run: u32,
    index: u32,
    pub ledger: Ledger,
    /// One for each queue that it calls, in turn; none before the set-up is done.
    pub requests: Vec<RequestTemplate>,
    /// The queues by name, for those who ask what became of a call.
    queues: Vec<String>,
    /// With a callback queue per call.
    cycles: Option<Box<Cycles>>,
    /// In confirm mode.
    confirms: Option<Box<Confirms>>,
    /// In a run that kills workers.
    casualties: Option<Arc<Casualties>>,
    follow: Follow,
    sizes: Sizes,
    /// The next request's body, filled anew for each call.
    body: Vec<u8>,
}

/// A delivery, with what it is judged by.
pub struct Arrival<'a> {
    pub delivery: Delivery<'a>,
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
            Role::Requester(requester) => requester.handle_reply(arrival, outbound, tally),
            Role::Worker(worker) => worker.handle_request(arrival, outbound, tally),
            Role::Bystander => tally.count_error("a delivery to who consumes nothing", 1),
        }
    }

    /// What is not a delivery.
    pub fn handle_event(
        &mut self,
        event: &Event<'_>,
        now: Timestamp,
        outbound: &mut Vec<u8>,
        tally: &mut Tally,
    ) {
        match (self, event) {
            (Role::Worker(worker), Event::Blocked(is_blocked)) => {
                worker.handle_blocked(*is_blocked, tally);
            }
            (Role::Requester(requester), Event::Confirmed(confirmed)) => {
                requester.handle_confirmed(*confirmed, tally);
            }
            (Role::Requester(requester), Event::Declared { queue }) => {
                requester.handle_declared(queue, now, outbound, tally);
            }
            (Role::Requester(requester), Event::Deleted) => requester.handle_deleted(now, tally),
            _ => {}
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
    pub fn new(run: u32, index: u32, in_flight: u32, sizes: Sizes) -> Requester {
        Requester {
            run,
            index,
            ledger: Ledger::new(in_flight),
            requests: Vec::new(),
            queues: Vec::new(),
            cycles: None,
            confirms: None,
            casualties: None,
            follow: Follow::default(),
            sizes,
            body: Vec::new(),
        }
    }

    pub fn set_casualties(&mut self, casualties: Arc<Casualties>) {
        self.casualties = Some(casualties);
    }

    /// The session is ready: calls may begin, in the way that it was set up for.
    pub fn begin(&mut self, session: &Session) {
        self.requests = RequestTemplate::all(session);
        self.cycles = Cycles::new(session).map(Box::new);
        if let Purpose::Requester {
            queues,
            is_confirmed,
            follow,
            ..
        } = session.purpose()
        {
            self.queues.clone_from(queues);
            self.follow = *follow;
            self.confirms = is_confirmed.then(|| Box::new(Confirms::new()));
        }
    }

    /// Calls, or confirms owed: what must end before the run can.
    pub fn is_busy(&self) -> bool {
        let owes = |confirms: &Confirms| !confirms.is_empty();
        self.ledger.in_flight() > 0 || self.confirms.as_deref().is_some_and(owes)
    }

    /// Asserts that the set-up is done and that the ledger has room.
    pub fn issue(&mut self, call: Outstanding, outbound: &mut Vec<u8>) {
        assert!(!self.requests.is_empty(), "the caller asked can_issue");
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
        if let Some(cycles) = &mut self.cycles {
            return cycles.begin(id, outbound);
        }
        if let Some(confirms) = &mut self.confirms {
            confirms.publish(sequence, call.sent);
        }
        self.body.resize(self.sizes.request_len(id), 0);
        body::fill_request(&mut self.body, id);
        let template = &self.requests[turn_of(sequence, self.requests.len())];
        template.push(outbound, id, &self.body);
    }

    /// A call's own queue is there: its request follows.
    pub fn handle_declared(
        &mut self,
        queue: &str,
        now: Timestamp,
        outbound: &mut Vec<u8>,
        tally: &mut Tally,
    ) {
        let Some(cycles) = &mut self.cycles else {
            return;
        };
        let Some(id) = cycles.handle_declared(queue, outbound) else {
            return tally.count_error("a queue that nobody declared", 1);
        };
        if let Some(confirms) = &mut self.confirms {
            confirms.publish(id.sequence, now);
        }
        self.body.resize(self.sizes.request_len(id), 0);
        body::fill_request(&mut self.body, id);
        let to = &self.queues[turn_of(id.sequence, self.queues.len())];
        cycles.publish(id, to, &self.body, outbound);
    }

    /// A call's own queue is gone: the call has ended.
    pub fn handle_deleted(&mut self, now: Timestamp, tally: &mut Tally) {
        let ended = self
            .cycles
            .as_mut()
            .and_then(|cycles| cycles.handle_deleted());
        match ended {
            Some((sequence, reply)) => drop(self.end(sequence, reply, now, tally)),
            None => tally.count_error("a queue deleted that nobody gave up", 1),
        }
    }

    pub fn handle_confirmed(&mut self, confirmed: Confirmed, tally: &mut Tally) {
        let Some(confirms) = &mut self.confirms else {
            return;
        };
        let ledger = &mut self.ledger;
        let count = confirms.handle(confirmed, |sequence| {
            if !confirmed.is_ack {
                let is_open = ledger.handle_refused(sequence);
                let reason = if is_open {
                    "basic.nack by the broker"
                } else {
                    "basic.nack by the broker, of a call that had ended"
                };
                tally.count_error(reason, 1);
            }
        });
        match count {
            0 => tally.count_error("a confirm that the broker did not owe", 1),
            count if confirmed.is_ack => self.ledger.count_confirmed(count),
            _ => {}
        }
    }

    /// Gives up calls and confirms older than `timeout`.
    pub fn expire(&mut self, now: Timestamp, timeout: Duration, tally: &mut Tally) {
        let explain = explain_loss(&self.queues, &self.casualties, self.follow);
        let expired_count = self.ledger.expire(now, timeout, explain);
        tally.count_error("timeout: no reply in time", expired_count);
        if let Some(confirms) = &mut self.confirms {
            let expired_count = confirms.expire(now, timeout);
            tally.count_error("timeout: no confirm in time", expired_count);
        }
    }

    /// The run is over: what is open stays so.
    pub fn lose_all(&mut self, tally: &mut Tally) {
        let explain = explain_loss(&self.queues, &self.casualties, self.follow);
        let lost_count = self.ledger.lose_all(explain);
        tally.count_error("no reply when the run ended", lost_count);
        if let Some(confirms) = &mut self.confirms {
            tally.count_error("no confirm when the run ended", confirms.clear());
        }
    }

    /// The connection is gone: whatever is in flight has failed, and no confirm will come.
    pub fn fail_all(&mut self) -> u64 {
        self.confirms = None;
        self.ledger.fail_all()
    }

    /// This process is to have died: nothing of what it knew counts any more, but the books.
    pub fn kill(&mut self) {
        self.ledger.fail_with_requester();
        self.requests.clear();
        self.cycles = None;
        self.confirms = None;
    }

    fn handle_reply(&mut self, arrival: &Arrival<'_>, outbound: &mut Vec<u8>, tally: &mut Tally) {
        let delivery = &arrival.delivery;
        let id = match self.requests.first() {
            // A relay's messages have a body and nothing else.
            Some(RequestTemplate::Relay { .. }) => body::decode_call(delivery.body),
            _ => CallId::parse_correlation(delivery.correlation),
        };
        let (Some(id), Some(sequence)) = (id, self.sequence_of(id)) else {
            self.ledger.handle_foreign();
            tally.count_error("a reply to a call of somebody else", 1);
            return;
        };
        if let Some(status) = delivery.status {
            return self.handle_answer(sequence, status, arrival.now, tally);
        }
        let checked = body::check_reply(delivery.body, id, self.sizes.reply_len(id));
        if let Err(corruption) = checked {
            tally.count_error(reason_of(corruption), 1);
        }
        let reply = Reply {
            is_whole: checked.is_ok(),
            is_again: body::answers_redelivery(delivery.body)
                && self.explain_redelivery(sequence, tally),
        };
        if let Some(cycles) = &mut self.cycles {
            if cycles.handle_reply(sequence, reply, outbound) {
                return;
            }
            if cycles.is_deleting(sequence) {
                self.ledger.handle_duplicate();
                tally.count_error(SURPLUS, 1);
                return;
            }
        }
        let ended = self.end(sequence, reply, arrival.now, tally);
        if let Some(call) = ended.filter(|_| self.follow.timing) {
            match delivery.timing {
                Some(timing) if timing.queued + timing.worker <= timing.whole => {
                    tally.recorder.record_timing(call, timing);
                }
                Some(_) => tally.count_error("a part of a call longer than the whole", 1),
                None => tally.count_error("a reply without its call's timing", 1),
            }
        }
    }

    /// The broker has ended the call. A killed worker, or the deadline, may explain it.
    fn handle_answer(&mut self, sequence: u64, status: u16, now: Timestamp, tally: &mut Tally) {
        let is_lost = explain_loss(&self.queues, &self.casualties, Follow::default());
        let (queues, casualties) = (&self.queues, &self.casualties);
        let is_absent =
            |sequence, sent| match (queues.get(turn_of(sequence, queues.len())), casualties) {
                (Some(queue), Some(casualties)) => casualties.explain_absence(queue, sent),
                _ => false,
            };
        let Follow {
            deadline,
            is_shed,
            is_heaped,
            ..
        } = self.follow;
        let explain = |sequence, sent: Timestamp| match status {
            429 => is_heaped,
            502 => is_lost(sequence, sent),
            503 => is_absent(sequence, sent),
            504 if is_shed => true,
            504 => deadline.is_some_and(|deadline| now >= sent.plus(deadline)),
            _ => false,
        };
        if !self.ledger.handle_answer(sequence, status, explain) {
            tally.count_error(&format!("the broker's answer {status}"), 1);
        }
    }

    /// The call, if it has returned as it should.
    fn end(
        &mut self,
        sequence: u64,
        reply: Reply,
        now: Timestamp,
        tally: &mut Tally,
    ) -> Option<Outstanding> {
        match self.ledger.handle_reply(sequence, reply) {
            Outcome::Returned(call) => {
                tally.returned_count += 1;
                tally.recorder.record(call, now);
                return Some(call);
            }
            Outcome::Amiss if reply.is_whole => tally.count_error(SURPLUS, 1),
            Outcome::Amiss | Outcome::Explained => {}
        }
        None
    }

    /// A redelivery that no killed worker explains is an error of its own.
    fn explain_redelivery(&self, sequence: u64, tally: &mut Tally) -> bool {
        let queue = self.queues.get(turn_of(sequence, self.queues.len()));
        let is_explained = match (queue, &self.casualties) {
            (Some(queue), Some(casualties)) => casualties.explain_redelivery(queue),
            _ => false,
        };
        if !is_explained {
            tally.count_error("a redelivery while no worker was killed", 1);
        }
        is_explained
    }

    /// `None` if the call is not ours.
    fn sequence_of(&self, id: Option<CallId>) -> Option<u64> {
        id.filter(|id| id.run == self.run && id.requester == self.index)
            .map(|id| id.sequence)
    }
}

const SURPLUS: &str = "a reply late, twice or never asked for";

/// Which of `count` queues a call goes to.
fn turn_of(sequence: u64, count: usize) -> usize {
    match count {
        0 | 1 => 0,
        count => (sequence % count as u64) as usize,
    }
}

/// Does a killed worker explain that this call, sent then, was not answered? Never where the broker
/// is to do so.
fn explain_loss(
    queues: &[String],
    casualties: &Option<Arc<Casualties>>,
    follow: Follow,
) -> impl Fn(u64, Timestamp) -> bool {
    move |sequence, sent| {
        let queue = queues.get(turn_of(sequence, queues.len()));
        match (queue, casualties) {
            (Some(queue), Some(casualties)) if !follow.errors => {
                casualties.explain_loss(queue, sent)
            }
            _ => false,
        }
    }
}

fn reason_of(corruption: body::Corruption) -> &'static str {
    match corruption {
        body::Corruption::Length => "a reply of the wrong length",
        body::Corruption::Marker => "a reply that no worker made",
        body::Corruption::Identity => "a reply with another call's body",
        body::Corruption::Pattern => "a reply with altered octets",
    }
}
