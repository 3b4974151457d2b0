//! One connection of the load, requester or worker, without I/O and without a clock: octets and
//! the time go in, octets and counts come out.

mod confirms;
mod content;
mod cycle;
mod fault;
mod heap;
mod nats;
mod relay;
mod role;
mod session;
mod setup;
mod template;
#[cfg(test)]
mod tests;
mod worker;

pub use fault::Fault;
pub use nats::{NatsPurpose, NatsSettings};
pub use relay::RelayRole;
pub use session::Server;
pub use setup::{Purpose, Settings, queue_name};
pub use worker::Service;

use crate::audit::{Audit, Outstanding};
use crate::casualties::Casualties;
use crate::recorder::Recorder;
use crate::sizes::Sizes;
use broker::engine::time::Timestamp;
use broker::engine::wire::frame::split_frame;
use content::{Content, Delivery};
use heap::Heap;
use nats::Nats;
use relay::{Overhead, Piece, Relay};
use role::{Arrival, Requester, Role};
use session::{Event, Session};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use template::{ReplyEncoder, RequestTemplate};
use worker::Worker;

/// What a thread's connections add to.
#[derive(Debug)]
pub struct Tally {
    pub recorder: Recorder,
    /// How often each named reason spoiled something.
    pub errors: BTreeMap<String, u64>,
    /// Calls returned once, warm-up included.
    pub returned_count: u64,
    pub kills: Kills,
    /// Requests that the worker answered which is slower than the others.
    pub slow_answer_count: u64,
    pub heap: Heaped,
}

/// What became of workers that fill the broker's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heaped {
    /// How often one was told to wait.
    pub blocked_count: u64,
    /// Requests that they answered while they were to wait.
    pub answer_count: u64,
}

/// How many were killed on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kills {
    pub workers: u64,
    pub requesters: u64,
}

impl Tally {
    pub fn new(recorder: Recorder) -> Tally {
        Tally {
            recorder,
            errors: BTreeMap::new(),
            returned_count: 0,
            kills: Kills::default(),
            slow_answer_count: 0,
            heap: Heaped::default(),
        }
    }

    pub fn count_error(&mut self, reason: &str, count: u64) {
        if count > 0 {
            self.recorder.series.count_error(count);
            *self.errors.entry(reason.to_owned()).or_default() += count;
        }
    }
}

enum Link {
    Amqp(Box<Session>),
    Nats(Box<Nats>),
    Relay(Relay),
}

/// The part that a connection plays.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Requester {
        run: u32,
        index: u32,
        in_flight: u32,
    },
    Worker,
    /// Neither calls nor answers.
    Bystander,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    SettingUp,
    Ready,
    Closing,
    /// Closed by us and confirmed, or broken.
    Over,
}

pub struct Client {
    link: Link,
    role: Role,
    standing: Standing,
    /// The start of a frame whose end has not come yet.
    partial: Vec<u8>,
    outbound: Vec<u8>,
    /// Sends that each message is to take.
    split: u32,
    /// Where in `outbound` those sends end, if they are several.
    cuts: Vec<usize>,
}

impl Client {
    pub fn new_amqp(settings: Settings, part: Part, sizes: Sizes, now: Timestamp) -> Client {
        let mut outbound = Vec::new();
        let session = Session::new(settings, now, &mut outbound);
        Client::new(Link::Amqp(Box::new(session)), part, sizes, outbound)
    }

    pub fn new_nats(settings: NatsSettings, part: Part, sizes: Sizes, now: Timestamp) -> Client {
        let nats = Nats::new(settings, sizes.len_max(), now);
        Client::new(Link::Nats(Box::new(nats)), part, sizes, Vec::new())
    }

    pub fn new_relay(part: Part, pair: u16, sizes: Sizes) -> Client {
        let role = match part {
            Part::Requester { .. } => RelayRole::Requester,
            Part::Worker | Part::Bystander => RelayRole::Worker,
        };
        let outbound = relay::hello(role, pair).to_vec();
        let relay = Relay::new(role, sizes.clone());
        Client::new(Link::Relay(relay), part, sizes, outbound)
    }

    fn new(link: Link, part: Part, sizes: Sizes, outbound: Vec<u8>) -> Client {
        let role = match part {
            Part::Requester {
                run,
                index,
                in_flight,
            } => Role::Requester(Box::new(Requester::new(run, index, in_flight, sizes))),
            Part::Worker => Role::Worker(Box::new(Worker::new(sizes))),
            Part::Bystander => Role::Bystander,
        };
        let standing = Standing::SettingUp;
        Client {
            link,
            role,
            standing,
            partial: Vec::new(),
            outbound,
            split: 1,
            cuts: Vec::new(),
        }
    }

    /// Has each message written in so many sends.
    pub fn set_split(&mut self, split: u32) {
        self.split = split;
    }

    /// Has a worker take its time.
    pub fn set_service(&mut self, service: Service) {
        if let Role::Worker(worker) = &mut self.role {
            worker.set_service(service);
        }
    }

    /// When it has something to send that nothing but time sets off.
    pub fn next_due(&self) -> Option<Timestamp> {
        match &self.role {
            Role::Worker(worker) => worker.next_due(),
            Role::Requester(_) | Role::Bystander => None,
        }
    }

    /// Sends what has fallen due.
    pub fn handle_due(&mut self, now: Timestamp, tally: &mut Tally) {
        let Role::Worker(worker) = &mut self.role else {
            return;
        };
        // Nothing goes out after a goodbye, nor from the dead.
        while self.standing == Standing::Ready {
            let start = self.outbound.len();
            if !worker.handle_due(now, &mut self.outbound, tally) {
                return;
            }
            cut(&mut self.cuts, self.split, start, self.outbound.len());
        }
    }

    /// Where the sends of what `take_outbound` has just given are to end.
    pub fn take_cuts(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.cuts)
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    pub fn server(&self) -> Option<&Server> {
        match &self.link {
            Link::Amqp(session) => Some(session.server()),
            Link::Nats(nats) => Some(nats.server()),
            Link::Relay(_) => None,
        }
    }

    /// A requester's; `None` for a worker.
    pub fn audit(&self) -> Option<&Audit> {
        match &self.role {
            Role::Requester(requester) => Some(requester.ledger.audit()),
            Role::Worker(_) | Role::Bystander => None,
        }
    }

    pub fn in_flight(&self) -> usize {
        match &self.role {
            Role::Requester(requester) => requester.ledger.in_flight(),
            Role::Worker(_) | Role::Bystander => 0,
        }
    }

    /// Something that it has begun is still to end.
    pub fn is_busy(&self) -> bool {
        match &self.role {
            Role::Requester(requester) => requester.is_busy(),
            Role::Worker(_) | Role::Bystander => false,
        }
    }

    pub fn can_issue(&self) -> bool {
        let is_flowing = match &self.link {
            Link::Amqp(session) => session.is_flowing(),
            Link::Nats(_) | Link::Relay(_) => true,
        };
        match &self.role {
            Role::Requester(requester) => {
                self.standing == Standing::Ready && is_flowing && requester.ledger.has_room()
            }
            Role::Worker(_) | Role::Bystander => false,
        }
    }

    /// Sends one request. Asserts `can_issue`.
    pub fn issue(&mut self, call: Outstanding) {
        let Role::Requester(requester) = &mut self.role else {
            panic!("only a requester issues calls")
        };
        let start = self.outbound.len();
        requester.issue(call, &mut self.outbound);
        cut(&mut self.cuts, self.split, start, self.outbound.len());
    }

    pub fn has_outbound(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Swaps what is to be sent for `empty`, to be filled next.
    pub fn take_outbound(&mut self, empty: Vec<u8>, now: Timestamp) -> Vec<u8> {
        debug_assert!(empty.is_empty());
        if let Link::Amqp(session) = &mut self.link
            && !self.outbound.is_empty()
        {
            session.handle_sent(now);
        }
        std::mem::replace(&mut self.outbound, empty)
    }

    /// Octets arrived. Errors: the connection is of no more use; tell it by `handle_fault`.
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        now: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        if self.standing == Standing::Over {
            return Ok(());
        }
        match &mut self.link {
            Link::Amqp(session) => session.handle_received(now),
            Link::Nats(nats) => nats.handle_received(now),
            Link::Relay(_) => {}
        }
        let mut partial = std::mem::take(&mut self.partial);
        if partial.is_empty() {
            // The usual case: frames are read where the kernel put them.
            let used_len = self.handle_frames(bytes, now, tally)?;
            partial.extend_from_slice(&bytes[used_len..]);
        } else {
            partial.extend_from_slice(bytes);
            let used_len = self.handle_frames(&partial, now, tally)?;
            partial.drain(..used_len);
        }
        self.partial = partial;
        Ok(())
    }

    /// Workers are killed in this run: a requester looks there when something is amiss.
    pub fn set_casualties(&mut self, casualties: &Arc<Casualties>) {
        if let Role::Requester(requester) = &mut self.role {
            requester.set_casualties(Arc::clone(casualties));
        }
    }

    /// As if the process had died: what it had begun ends here, what it has yet to read is lost.
    pub fn kill(&mut self) {
        self.standing = Standing::Over;
        if let Role::Requester(requester) = &mut self.role {
            requester.kill();
        }
    }

    /// Takes up the books of one that was killed, so that no call's id is used twice.
    pub fn succeed(&mut self, killed: &mut Client) {
        if let (Role::Requester(ours), Role::Requester(theirs)) = (&mut self.role, &mut killed.role)
        {
            std::mem::swap(&mut ours.ledger, &mut theirs.ledger);
        }
    }

    /// The goodbye was ours, and the server has answered it.
    pub fn is_closed_by_us(&self) -> bool {
        match &self.link {
            Link::Amqp(session) => session.is_closed(),
            Link::Nats(_) | Link::Relay(_) => self.standing == Standing::Over,
        }
    }

    /// The request queues that it answers.
    pub fn queues_answered(&self) -> &[String] {
        match &self.link {
            Link::Amqp(session) => session.purpose().queues_answered(),
            Link::Nats(_) | Link::Relay(_) => &[],
        }
    }

    /// All calls are over: if the server hangs up, nothing is spoilt.
    pub fn expect_end(&mut self) {
        if self.standing == Standing::Ready {
            self.standing = Standing::Closing;
        }
    }

    /// The connection is of no more use: its calls have failed, for this reason.
    pub fn handle_fault(&mut self, fault: &Fault, tally: &mut Tally) {
        if self.standing == Standing::Over {
            return;
        }
        let was_closing = self.standing == Standing::Closing;
        self.standing = Standing::Over;
        let failed_count = match &mut self.role {
            Role::Requester(requester) => requester.fail_all(),
            Role::Worker(_) | Role::Bystander => 0,
        };
        // Once we have said goodbye, a peer that hangs up first is no error.
        if !was_closing || failed_count > 0 {
            tally.count_error(&fault.to_string(), failed_count.max(1));
        }
    }

    /// Sends a heartbeat if one is due and gives up calls older than `timeout`.
    pub fn handle_deadline(
        &mut self,
        now: Timestamp,
        timeout: Duration,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        if let Role::Requester(requester) = &mut self.role {
            requester.expire(now, timeout, tally);
        }
        match &mut self.link {
            Link::Amqp(session) => session.handle_deadline(now, &mut self.outbound),
            Link::Nats(nats) => nats.handle_deadline(now, &mut self.outbound),
            Link::Relay(_) => Ok(()),
        }
    }

    /// The run is over: what is in flight is lost, and the server gets a goodbye.
    pub fn close(&mut self, tally: &mut Tally) {
        if let Role::Requester(requester) = &mut self.role {
            requester.lose_all(tally);
        }
        if self.standing == Standing::Over {
            return;
        }
        match &mut self.link {
            Link::Amqp(session) => {
                session.close(&mut self.outbound);
                self.standing = Standing::Closing;
            }
            // Neither protocol has a goodbye but the socket's end.
            Link::Nats(_) | Link::Relay(_) => self.standing = Standing::Over,
        }
    }

    /// Handles every whole frame of `octets`; gives how many octets they were.
    fn handle_frames(
        &mut self,
        octets: &[u8],
        now: Timestamp,
        tally: &mut Tally,
    ) -> Result<usize, Fault> {
        let mut used_len = 0;
        loop {
            let rest = &octets[used_len..];
            let event = match &mut self.link {
                Link::Amqp(session) => {
                    let split = split_frame(rest, session.frame_max());
                    let split = split.map_err(|error| session.handle_frame_error(error))?;
                    let Some(frame) = split else {
                        return Ok(used_len);
                    };
                    used_len += frame.frame_len();
                    session.handle_frame(frame, &mut self.outbound)?
                }
                Link::Nats(nats) => {
                    let Some((event, event_len)) = nats.split(rest, &mut self.outbound)? else {
                        return Ok(used_len);
                    };
                    used_len += event_len;
                    event
                }
                Link::Relay(relay) => {
                    let Some((piece, piece_len)) = relay.split(rest)? else {
                        return Ok(used_len);
                    };
                    used_len += piece_len;
                    event_of(piece)
                }
            };
            match event {
                Event::Nothing => {}
                Event::Content(Content::Delivered(delivery)) => {
                    let arrival = Arrival { delivery, now };
                    let start = self.outbound.len();
                    self.role
                        .handle_delivery(&arrival, &mut self.outbound, tally);
                    cut(&mut self.cuts, self.split, start, self.outbound.len());
                }
                Event::Content(Content::Returned { code, correlation }) => {
                    self.role.handle_returned(code, correlation, tally);
                }
                Event::Content(Content::NoResponders { correlation }) => {
                    let reason = "no responders: nobody listens to the subject";
                    self.role.handle_refused(reason, correlation, tally);
                }
                Event::Opened => self.handle_opened(),
                Event::Ready => self.handle_ready(),
                Event::Closed => self.standing = Standing::Over,
                event => self
                    .role
                    .handle_event(&event, now, &mut self.outbound, tally),
            }
        }
    }

    fn handle_opened(&mut self) {
        if let (Role::Worker(worker), Link::Amqp(session)) = (&mut self.role, &self.link) {
            worker.replies = ReplyEncoder::new(session);
        }
    }

    fn handle_ready(&mut self) {
        self.standing = Standing::Ready;
        match (&mut self.role, &self.link) {
            (Role::Requester(requester), Link::Amqp(session)) => requester.begin(session),
            (Role::Requester(requester), Link::Nats(nats)) => {
                requester.requests = RequestTemplate::new_nats(nats.purpose())
                    .into_iter()
                    .collect();
            }
            (Role::Worker(worker), Link::Nats(_)) => worker.replies = Some(ReplyEncoder::Nats),
            (Role::Requester(requester), Link::Relay(_)) => {
                let overhead = Overhead::of_request();
                requester.requests = vec![RequestTemplate::Relay { overhead }];
            }
            // It answers since the channel was opened.
            (Role::Worker(worker), Link::Amqp(session)) => {
                worker.heap = Heap::new(session).map(Box::new);
            }
            (Role::Worker(worker), Link::Relay(_)) => {
                let overhead = Overhead::of_reply();
                worker.replies = Some(ReplyEncoder::Relay { overhead });
            }
            (Role::Bystander, _) => {}
        }
    }
}

/// Has the message from `start` to `end` written in `split` sends.
fn cut(cuts: &mut Vec<usize>, split: u32, start: usize, end: usize) {
    let parts = split as usize;
    if parts > 1 && end > start {
        cuts.extend((1..=parts).map(|part| start + (end - start) * part / parts));
    }
}

fn event_of(piece: Piece<'_>) -> Event<'_> {
    match piece {
        Piece::Paired => Event::Ready,
        Piece::Message(body) => Event::Content(Content::Delivered(Delivery {
            delivery_tag: 0,
            redelivered: false,
            correlation: &[],
            reply_to: &[],
            status: None,
            timing: None,
            body,
        })),
    }
}
