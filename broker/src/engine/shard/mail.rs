//! What shards say to each other. The mailboxes lose nothing and keep the order of each lane.

use super::pressure::Level;
use super::registrar::Outcome;
use super::requests::{QueueAnswer, QueueRequest};
use super::services::ServiceReport;
use super::transact::{CommitPart, PartOutcome};
use super::{Shard, Slot};
use crate::engine::address::{
    CallAddress, CallToken, ChannelAddress, ConnectionAddress, QueueAddress, VhostIndex,
};
use crate::engine::call::{CallEnd, Status};
use crate::engine::message::{Message, Passing};
use crate::engine::queue::{ConsumerKey, Place, Queued, Settlement};
use crate::engine::time::Timestamp;
use crate::engine::topology::Change;
use crate::engine::violation::Violation;
use std::collections::VecDeque;
use std::num::NonZero;

/// Who published, when the publisher must hear what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishOrigin {
    pub channel: ChannelAddress,
    /// Its place among the channel's confirms; `None` outside confirm mode.
    pub sequence: Option<NonZero<u64>>,
    /// The message comes back if nobody is there for it.
    pub mandatory: bool,
}

/// From a publisher's shard to a queue's.
#[derive(Debug)]
pub struct RemotePublish {
    pub queue: QueueAddress,
    pub message: Message,
    pub publisher: ConnectionAddress,
    pub expected: Expected,
}

/// What the publisher of a message on its way to another shard has to hear of it.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Nothing,
    /// It has heard that the message is taken.
    Kept,
    /// What came of it.
    Answer(PublishOrigin),
}

/// What a queue or a requester's channel says of a message that it was sent.
#[derive(Debug)]
pub enum RouteAnswer {
    Taken,
    /// The queue is full.
    Rejected,
    /// Nobody is there; the message comes back if it is mandatory.
    Unroutable(Option<Box<Message>>),
}

/// From a queue's shard to its consumer's.
#[derive(Debug)]
pub struct RemoteDelivery {
    pub to: ChannelAddress,
    pub handle: u32,
    pub consumer: ConsumerKey,
    pub queue: QueueAddress,
    pub has_token: bool,
    pub is_redelivered: bool,
    pub message: Message,
    pub held: Held,
}

/// From a worker's shard to its caller's.
#[derive(Debug)]
pub struct CallReply {
    pub to: ChannelAddress,
    pub token: CallToken,
    /// When its worker got the request, as far as that is known.
    pub delivered_at: Option<Timestamp>,
    pub message: Message,
    pub origin: Option<PublishOrigin>,
}

/// What brings a delivery from another shard back to its place, if it finds no consumer.
#[derive(Clone, Copy, Debug)]
pub enum Held {
    /// It must be acknowledged: the queue holds it by this key.
    ByKey(u32),
    /// By nobody.
    Not(Place),
}

/// Each variant says what becomes of it if what it is meant for is gone.
#[derive(Debug)]
pub enum Mail {
    // The urgent lane: what frees resources.
    /// Requester gone: dropped, or reported to `origin`.
    Reply {
        to: ChannelAddress,
        message: Message,
        origin: Option<PublishOrigin>,
    },
    /// The reply to a followed call. Caller gone: as with `Reply`.
    CallReply(Box<CallReply>),
    /// The call cannot succeed. It has ended: nothing is left to do.
    CallFailed { call: CallAddress, status: Status },
    /// Who has the request of this call need not answer it. Channel gone: nobody has it.
    CallOver {
        to: ChannelAddress,
        call: CallAddress,
        end: CallEnd,
    },
    /// The queue of this call's request is gone: it cannot go back there. Channel gone: the call
    /// has ended, or ends now.
    Orphaned {
        to: ChannelAddress,
        call: CallAddress,
    },
    /// Consumer gone: comes back as `Settle` or `Undelivered`.
    Deliver(RemoteDelivery),
    /// Queue gone: nothing is left to settle.
    Settle {
        queue: QueueAddress,
        unacked: u32,
        settlement: Settlement,
    },
    /// A delivery without acknowledgement that found no consumer. Queue gone: dropped with it.
    Undelivered {
        queue: QueueAddress,
        queued: Box<Queued>,
    },
    /// The consumer's connection has sent `len` octets. Consumer gone: nobody needs the credit.
    Credit {
        queue: QueueAddress,
        consumer: ConsumerKey,
        len: usize,
    },
    /// The consumer's channel is gone, or never learnt of it. Consumer gone: it is done.
    Forget {
        queue: QueueAddress,
        consumer: ConsumerKey,
    },
    /// Its queue was deleted. Channel gone: nobody to tell.
    ConsumerGone {
        to: ChannelAddress,
        handle: u32,
        queue: QueueAddress,
        consumer: ConsumerKey,
    },
    /// What a publish with `origin` came to. Channel gone: nobody to tell.
    Routed {
        origin: PublishOrigin,
        answer: RouteAnswer,
    },
    /// Channel gone: what the answer granted is given back.
    Answer {
        to: ChannelAddress,
        queue: QueueAddress,
        answer: Box<Result<QueueAnswer, Violation>>,
    },
    /// The channel restrains its consumers from here on, or no more. Consumer gone: no matter.
    Restrain {
        queue: QueueAddress,
        consumer: ConsumerKey,
        is_limited: bool,
    },
    /// A restrained consumer has a message for it. Channel gone: the consumer will be too.
    AskToken {
        to: ChannelAddress,
        queue: QueueAddress,
        consumer: ConsumerKey,
    },
    /// Consumer gone: the token comes back.
    GrantToken {
        to: ChannelAddress,
        queue: QueueAddress,
        consumer: ConsumerKey,
    },
    /// Channel gone: its limit is too.
    ReturnToken { to: ChannelAddress },

    /// The sender has applied its part of the channel's transaction. Channel gone: nobody to tell.
    Committed {
        to: ChannelAddress,
        outcome: PartOutcome,
    },

    // The ordinary lane.
    /// The call is over, said behind its request. Queue gone: the request is too.
    CallEnded {
        queue: QueueAddress,
        call: CallAddress,
        end: CallEnd,
        ended_at: Timestamp,
    },
    /// Queue gone: dropped, or reported to `origin`.
    Publish(RemotePublish),
    /// A message without a publisher who waits for it. Queue gone: dropped.
    Forward {
        queue: QueueAddress,
        message: Message,
    },
    /// A shard's part of a transaction, in one lane with the publishes before it. What is meant for
    /// a queue or requester that is gone is dropped, or reported as not reached.
    Commit {
        origin: ChannelAddress,
        part: Box<CommitPart>,
    },
    /// The sender is over its memory limit and had to keep a message of this connection.
    /// Connection gone: no matter. In one lane with `Pressure`, which ends the wait.
    Kept { publisher: ConnectionAddress },
    /// Queue gone: answered with 404.
    Request {
        origin: ChannelAddress,
        queue: QueueAddress,
        request: Box<QueueRequest>,
    },
    /// To the registrar.
    Propose {
        proposal: u32,
        vhost: VhostIndex,
        change: Box<Change>,
    },
    /// From the registrar to all.
    Apply {
        version: u64,
        vhost: VhostIndex,
        change: Box<Change>,
    },
    /// Back to the registrar.
    Applied { version: u64 },
    /// From the registrar to the proposer, once all have applied the change.
    Outcome {
        proposal: u32,
        outcome: Box<Outcome>,
    },
    /// How full the sender's queues are.
    Pressure { level: Level },
    /// What services of this virtual host has the receiver?
    AskServices { vhost: VhostIndex },
    /// The sender has these.
    Services {
        vhost: VhostIndex,
        services: Box<Vec<ServiceReport>>,
    },
}

const _: () = assert!(size_of::<Mail>() <= 112);

/// Mail waiting to leave for one neighbour. The shell pops from the front, `urgent` first, as
/// far as the mailbox has room, and leaves the rest for the next turn.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Replies, deliveries and settlements: they free resources.
    pub urgent: VecDeque<Mail>,
    /// Publishes and control.
    pub ordinary: VecDeque<Mail>,
}

impl Outbox {
    pub(super) fn count(&self) -> usize {
        self.urgent.len() + self.ordinary.len()
    }
}

/// The other shards.
#[derive(Debug)]
pub(super) struct Neighbours {
    index: u16,
    outboxes: Vec<Outbox>,
    outbox_count_max: usize,
    /// Connections that wait for room in an outbox.
    pub(super) waiting: Vec<Slot>,
}

impl Neighbours {
    pub(super) fn new(index: u16, count: u16, outbox_count_max: usize) -> Neighbours {
        let outboxes = (0..count).map(|_| Outbox::default()).collect();
        Neighbours {
            index,
            outboxes,
            outbox_count_max,
            waiting: Vec::new(),
        }
    }

    pub(super) fn shard_count(&self) -> usize {
        self.outboxes.len()
    }

    pub(super) fn outbox(&mut self, to: u16) -> Option<&mut Outbox> {
        (to != self.index)
            .then(|| self.outboxes.get_mut(usize::from(to)))
            .flatten()
    }

    /// Mail that waits for each neighbour.
    pub(super) fn counts(&self) -> impl Iterator<Item = usize> {
        self.outboxes.iter().map(Outbox::count)
    }

    /// Must connections that produce mail for this neighbour wait?
    pub(super) fn is_full(&self, to: u16) -> bool {
        self.outboxes[usize::from(to)].count() >= self.outbox_count_max
    }

    /// Must anybody wait?
    pub(super) fn has_full(&self) -> bool {
        let is_full = |outbox: &Outbox| outbox.count() >= self.outbox_count_max;
        self.outboxes.iter().any(is_full)
    }

    /// May those that wait go on? Well below what they waited at, but whatever that is, an empty
    /// outbox has room.
    pub(super) fn has_room(&self) -> bool {
        let has_room = |outbox: &Outbox| 2 * outbox.count() < self.outbox_count_max;
        self.outboxes.iter().all(has_room)
    }

    #[inline(always)] // what mail it is decides the lane when it is compiled
    pub(super) fn send(&mut self, to: u16, mail: Mail) {
        let outbox = self
            .outbox(to)
            .expect("mail goes to a shard that exists, never to ourselves");
        match mail {
            Mail::Publish(_)
            | Mail::CallEnded { .. }
            | Mail::Forward { .. }
            | Mail::Commit { .. }
            | Mail::Kept { .. }
            | Mail::Request { .. }
            | Mail::Propose { .. }
            | Mail::Apply { .. }
            | Mail::Applied { .. }
            | Mail::Outcome { .. }
            | Mail::AskServices { .. }
            | Mail::Services { .. }
            | Mail::Pressure { .. } => outbox.ordinary.push_back(mail),
            _ => outbox.urgent.push_back(mail),
        }
    }

    /// To every neighbour.
    pub(super) fn send_all(&mut self, mut mail: impl FnMut() -> Mail) {
        for to in 0..u16::try_from(self.outboxes.len()).expect("limited in number") {
            if to != self.index {
                self.send(to, mail());
            }
        }
    }
}

impl Shard {
    pub(super) fn execute_mail(&mut self, from: u16, mail: Mail) {
        match mail {
            Mail::Reply {
                to,
                message,
                origin,
            } => self.remote_reply(to, message, origin),
            Mail::CallReply(reply) => self.remote_call_reply(*reply),
            Mail::CallFailed { call, status } => self.fail_own_call(call.key, status),
            Mail::CallOver { to, call, end } => self.need_not_answer(to, call, end),
            Mail::Orphaned { to, call } => self.orphan_request(to, call),
            Mail::CallEnded {
                queue,
                call,
                end,
                ended_at,
            } => self.request_ended(queue, call, end, ended_at),
            Mail::AskServices { vhost } => self.report_services(from, vhost),
            Mail::Services { vhost, services } => self.services_reported(vhost, *services),
            Mail::Deliver(delivery) => self.remote_delivery(delivery),
            Mail::Settle {
                queue,
                unacked,
                settlement,
            } => {
                self.settle_here(queue, unacked, settlement);
            }
            Mail::Undelivered { queue, queued } => self.take_back(queue, *queued),
            Mail::Credit {
                queue,
                consumer,
                len,
            } => self.add_credit(queue, consumer, len),
            Mail::Forget { queue, consumer } => self.forget_consumer(queue, consumer),
            Mail::ConsumerGone {
                to,
                handle,
                queue,
                consumer,
            } => {
                self.consumer_gone(to, handle, queue, consumer);
            }
            Mail::Routed { origin, answer } => self.routed(origin, answer),
            Mail::Answer { to, queue, answer } => {
                self.handle_answer(to, queue, *answer);
                self.resume(to.slot);
            }
            Mail::Restrain {
                queue,
                consumer,
                is_limited,
            } => {
                self.restrain(queue, consumer, is_limited);
            }
            Mail::AskToken {
                to,
                queue,
                consumer,
            } => self.ask_token(to, queue, consumer),
            Mail::GrantToken {
                to,
                queue,
                consumer,
            } => self.use_token(to, queue, consumer),
            Mail::ReturnToken { to } => self.return_token(to),
            Mail::Publish(publish) => self.remote_publish(publish),
            Mail::Forward { queue, message } => {
                self.follow(|shard| {
                    shard.enqueue(queue, &mut Passing::kept(&message));
                });
            }
            Mail::Commit { origin, part } => self.commit_part(origin, *part),
            Mail::Committed { to, outcome } => {
                self.committed(to, &outcome);
                self.resume(to.slot);
            }
            Mail::Kept { publisher } => self.kept_there(publisher),
            Mail::Request {
                origin,
                queue,
                request,
            } => {
                self.answer_request(origin, queue, *request);
            }
            Mail::Propose {
                proposal,
                vhost,
                change,
            } => self.register((from, proposal), vhost, *change),
            Mail::Apply {
                version,
                vhost,
                change,
            } => self.apply((from, version), vhost, &change),
            Mail::Applied { version } => self.applied(version),
            Mail::Outcome { proposal, outcome } => self.handle_outcome(proposal, *outcome),
            Mail::Pressure { level } => self.neighbour_pressure(from, level),
        }
    }
}
