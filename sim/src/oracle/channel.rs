//! A channel as both histories tell it: what was asked and not answered, who consumes, what is
//! unconfirmed. Frames of a channel are executed in order, so an answer proves all before it.

use super::delivery::{ConsumerView, Hold};
use super::message::Route;
use super::{Act, Conn, Oracle, Place, QueueView};
use crate::rules::Rules;
use crate::wire::{Ids, ids};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use amq_protocol::protocol::queue::AMQPMethod as QueueMethod;
use broker::engine::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};

pub(super) const PUBLISH: Ids = (60, 40);
const GET_OK: Ids = (60, 71);
const GET_EMPTY: Ids = (60, 72);

/// What an act may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// Fine, or one of these codes.
    May(&'static [u16]),
    /// One of these codes.
    Must(&'static [u16]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueRef {
    Followed(usize),
    Loose,
}

/// What an act changes once it has been executed.
#[derive(Clone, Debug)]
pub enum Effect {
    None,
    /// `tag`: `None` if the broker makes it.
    AddConsumer {
        tag: Option<String>,
        queue: QueueRef,
        no_ack: bool,
        /// Filled in when it arrives, as is the next.
        prefetch: u16,
        asked_at: Timestamp,
    },
    AddReplies(String),
    Cancel(String),
    Get {
        queue: QueueRef,
        no_ack: bool,
        /// Filled in when it arrives.
        asked_at: Timestamp,
    },
    Prefetch(u16),
    GlobalPrefetch(u16),
    Flow(bool),
    Recover,
    Confirm,
    /// An exclusive queue whose name comes with the answer.
    DeclareCallback(Box<Rules>),
}

#[derive(Debug)]
pub(super) struct Pending {
    pub sequence: u64,
    ids: Ids,
    answer: Option<Ids>,
    pub verdict: Verdict,
    pub effect: Effect,
}

#[derive(Debug)]
pub(super) struct ChannelView {
    pub place: Place,
    pub is_open: bool,
    /// By its peer or by an error; what is sent to it still may have been on its way.
    pub has_ended: bool,
    pub close_arrived: bool,
    /// channel.close was sent to it.
    pub is_refused: bool,
    /// Acts that have arrived.
    sequence: u64,
    /// Acts that surely have been executed.
    executed: u64,
    pub pending: VecDeque<Pending>,
    pub consumers: BTreeMap<String, ConsumerView>,
    pub latest_tag: u64,
    pub holds: BTreeMap<u64, Hold>,
    /// For consumers to come.
    prefetch: u16,
    /// Over all consumers.
    pub global: u16,
    /// A limit that comes late, or changes, does not hold for what is on its way between shards.
    pub has_loose_limit: bool,
    /// It has asked for a consumer, or set a limit before that.
    has_consumed: bool,
    pub recovering_count: usize,
    confirms: bool,
    published_count: u64,
    confirmable_count: u64,
    /// By publish number.
    pub unconfirmed: BTreeMap<u64, usize>,
    /// The latest one may not count yet, the one before it may not count any more.
    pub reply_tags: Vec<String>,
    /// Its reply consumer was cancelled, or may have been.
    pub has_left_replies: bool,
    pub is_stopped: bool,
    pub was_ever_stopped: bool,
    /// Not known to be executed: sequence and message.
    pub publishes: VecDeque<(u64, usize)>,
    /// The same of acknowledgements: sequence, message, copy.
    pub acks: VecDeque<(u64, usize, usize)>,
    /// The latest direct reply from each channel.
    pub replies: BTreeMap<Place, u64>,
}

impl ChannelView {
    pub fn new(place: Place) -> ChannelView {
        ChannelView {
            place,
            is_open: false,
            has_ended: false,
            close_arrived: false,
            is_refused: false,
            sequence: 0,
            executed: 0,
            pending: VecDeque::from([Pending {
                sequence: 0,
                ids: (20, 10),
                answer: Some((20, 11)),
                verdict: Verdict::Fine,
                effect: Effect::None,
            }]),
            consumers: BTreeMap::new(),
            latest_tag: 0,
            holds: BTreeMap::new(),
            prefetch: 0,
            global: 0,
            has_loose_limit: false,
            has_consumed: false,
            recovering_count: 0,
            confirms: false,
            published_count: 0,
            confirmable_count: 0,
            unconfirmed: BTreeMap::new(),
            reply_tags: Vec::new(),
            has_left_replies: false,
            is_stopped: false,
            was_ever_stopped: false,
            publishes: VecDeque::new(),
            acks: VecDeque::new(),
            replies: BTreeMap::new(),
        }
    }
}

impl Oracle {
    pub(super) fn channel_mut(&mut self, conn: Conn, number: u16) -> &mut ChannelView {
        let channel = self.conns[conn].channels.get_mut(&number);
        channel.expect("the caller has seen it")
    }

    /// Something has arrived on a channel that is open, or about to be.
    pub(super) fn channel_act(&mut self, conn: Conn, number: u16, act: Act) {
        let now = self.now;
        let view = self.channel_mut(conn, number);
        view.sequence += 1;
        let sequence = view.sequence;
        match act {
            Act::Method {
                ids,
                answer,
                verdict,
                mut effect,
                ..
            } => {
                match &mut effect {
                    Effect::AddConsumer {
                        prefetch, asked_at, ..
                    } => (*prefetch, *asked_at) = (view.prefetch, now),
                    Effect::Get { asked_at, .. } => *asked_at = now,
                    _ => {}
                }
                self.begin_effect(conn, number, &effect, answer.is_none());
                let view = self.channel_mut(conn, number);
                view.pending.push_back(Pending {
                    sequence,
                    ids,
                    answer,
                    verdict,
                    effect,
                });
            }
            Act::Publish {
                message, verdict, ..
            } => {
                view.published_count += 1;
                let (place, order) = (view.place, view.published_count);
                view.publishes.push_back((sequence, message));
                let must_fail = matches!(verdict, Verdict::Must(_));
                // What fails in its turn has a number too: a reply may go by it.
                view.confirmable_count += u64::from(view.confirms);
                if view.confirms && !must_fail {
                    view.unconfirmed.insert(view.confirmable_count, message);
                }
                if verdict != Verdict::Fine {
                    view.pending.push_back(Pending {
                        sequence,
                        ids: PUBLISH,
                        answer: None,
                        verdict,
                        effect: Effect::None,
                    });
                }
                self.tally.messages += 1;
                let is_gone = match self.messages[message].route {
                    Route::Nowhere => true,
                    Route::Direct(to) => self.has_gone(to),
                    _ => false,
                };
                self.enters(message);
                let message = &mut self.messages[message];
                message.must_return = message.mandatory && is_gone;
                message.from = Some(place);
                message.order = order;
                message.is_void = must_fail;
            }
            Act::Settle { tags, requeue, .. } => {
                for tag in tags {
                    self.settle(conn, number, (sequence, tag), requeue);
                }
            }
            _ => unreachable!("the caller passes only these on"),
        }
    }

    /// What an act may change before it is known to be executed.
    fn begin_effect(&mut self, conn: Conn, number: u16, effect: &Effect, is_silent: bool) {
        // Deliveries may come before the next answer does.
        let begins = matches!(effect, Effect::AddConsumer { .. } | Effect::AddReplies(_));
        if is_silent && begins {
            self.finish_effect(conn, number, effect.clone());
            // Nobody says whether the queue was still there.
            if let Effect::AddConsumer {
                queue: QueueRef::Followed(queue),
                ..
            } = effect
            {
                let queue = &mut self.queues[*queue];
                queue.is_unread |= queue.rules.expires.is_some();
            }
        }
        let (now, is_alone) = (self.now, self.connection_shares.len() == 1);
        let view = self.channel_mut(conn, number);
        view.has_consumed |= matches!(effect, Effect::AddConsumer { .. });
        match effect {
            Effect::Prefetch(count) => view.prefetch = *count,
            Effect::GlobalPrefetch(_) => {
                view.has_loose_limit |= !is_alone && view.has_consumed;
                view.has_consumed = true;
            }
            Effect::Flow(false) => {
                view.was_ever_stopped = true;
                // What it overtakes on its way between shards goes back.
                self.queues_may_get_back(conn, number);
            }
            Effect::Confirm => view.confirms = true,
            Effect::Recover => {
                view.recovering_count += 1;
                let (place, holds) = (view.place, view.holds.clone());
                // What is not sent yet goes back unseen.
                self.queues_may_get_back(conn, number);
                let at = Some(now);
                holds
                    .values()
                    .for_each(|hold| self.release(hold, place, at));
            }
            Effect::Cancel(tag) => {
                view.has_left_replies |= view.reply_tags.contains(tag);
                if let Some(ConsumerView {
                    queue: QueueRef::Followed(queue),
                    ..
                }) = view.consumers.get(tag)
                {
                    let queue = *queue;
                    self.queues[queue].had_returns = true;
                    self.queues[queue].had_bounces = true;
                    self.queues[queue].is_unread |= self.queues[queue].owner.is_some();
                }
            }
            Effect::AddConsumer {
                queue: QueueRef::Followed(queue),
                no_ack: true,
                ..
            }
            | Effect::Get {
                queue: QueueRef::Followed(queue),
                no_ack: true,
                ..
            } => drop(self.conns[conn].no_ack_queues.insert(*queue)),
            _ => {}
        }
    }

    fn finish_effect(&mut self, conn: Conn, number: u16, effect: Effect) {
        self.next_consumer += 1;
        let id = self.next_consumer;
        let view = self.conns[conn].channels.get_mut(&number);
        let view = view.expect("the caller has seen it");
        match effect {
            Effect::AddConsumer {
                tag: Some(tag),
                queue,
                no_ack,
                prefetch,
                asked_at,
            } => {
                let consumer = ConsumerView::new(id, queue, no_ack, (prefetch, asked_at));
                if let (QueueRef::Followed(queue), false) = (queue, view.has_ended) {
                    self.queues[queue].is_unread = false;
                }
                view.consumers.insert(tag, consumer);
            }
            Effect::AddReplies(tag) => view.reply_tags.push(tag),
            Effect::Cancel(tag) => {
                view.consumers.remove(&tag);
                view.reply_tags.retain(|other| *other != tag);
            }
            Effect::GlobalPrefetch(count) => view.global = count,
            // Of consumers to come; it lifts that of the channel.
            Effect::Prefetch(_) => view.global = 0,
            Effect::Flow(active) => view.is_stopped = !active,
            Effect::Recover => {
                view.recovering_count -= 1;
                let (place, holds) = (view.place, std::mem::take(&mut view.holds));
                holds
                    .values()
                    .for_each(|hold| self.release(hold, place, None));
            }
            _ => {}
        }
    }

    /// A method on a channel; close and close-ok are the caller's.
    pub(super) fn channel_said(&mut self, conn: Conn, number: u16, method: &AMQPClass) {
        match method {
            AMQPClass::Basic(Basic::Ack(ack)) => {
                let tags = (ack.delivery_tag, ack.multiple);
                return self.confirmed(conn, number, tags, true);
            }
            AMQPClass::Basic(Basic::Nack(nack)) => {
                let tags = (nack.delivery_tag, nack.multiple);
                return self.confirmed(conn, number, tags, false);
            }
            AMQPClass::Basic(Basic::Cancel(cancel)) => {
                let tag = cancel.consumer_tag.as_str();
                return self.cancelled(conn, number, tag);
            }
            _ => {}
        }
        let answer = match ids(method) {
            GET_EMPTY => GET_OK,
            answer => answer,
        };
        let Some(mut effect) = self.answered(conn, number, answer) else {
            return;
        };
        match (method, &mut effect) {
            (AMQPClass::Basic(Basic::ConsumeOk(ok)), Effect::AddConsumer { tag, .. }) => {
                let made = ok.consumer_tag.to_string();
                if tag.get_or_insert_with(|| made.clone()) != &made {
                    return self.fail(format!("consume-ok for '{made}'"));
                }
            }
            (AMQPClass::Basic(Basic::ConsumeOk(ok)), Effect::AddReplies(tag))
                if ok.consumer_tag.as_str() != tag =>
            {
                return self.fail(format!("consume-ok for '{}'", ok.consumer_tag));
            }
            (AMQPClass::Basic(Basic::CancelOk(ok)), Effect::Cancel(tag))
                if ok.consumer_tag.as_str() != tag =>
            {
                return self.fail(format!("cancel-ok for '{}'", ok.consumer_tag));
            }
            (AMQPClass::Queue(QueueMethod::DeclareOk(ok)), Effect::DeclareCallback(rules)) => {
                let view = &self.conns[conn];
                let (name, rules) = (ok.queue.to_string(), (**rules).clone());
                let mut queue = QueueView::new(name, view.shard, rules);
                queue.owner = Some(conn);
                queue.is_gone = view.has_ended;
                queue.is_unread = true;
                self.queues.push(queue);
            }
            _ => {}
        }
        self.finish_effect(conn, number, effect);
    }

    /// An answer of this kind is sent: the next question that wants one must want this one.
    pub(super) fn answered(&mut self, conn: Conn, number: u16, answer: Ids) -> Option<Effect> {
        let view = self.channel_mut(conn, number);
        if let Some(pending) = view.pending.pop_front() {
            if let Verdict::Must(codes) = pending.verdict {
                let asked = pending.ids;
                self.fail(format!("{asked:?} must fail with {codes:?}: {answer:?}"));
                return None;
            }
            let Some(wanted) = pending.answer else {
                if let Effect::Cancel(_) = pending.effect {
                    self.finish_effect(conn, number, pending.effect);
                }
                return self.answered(conn, number, answer);
            };
            if wanted != answer {
                self.fail(format!("c{conn}/{number} wants {wanted:?}, not {answer:?}"));
                return None;
            }
            view.is_open = true;
            self.executed(conn, number, pending.sequence);
            return Some(pending.effect);
        }
        self.fail(format!("c{conn}/{number} has not asked for {answer:?}"));
        None
    }

    /// All acts up to this one have been executed.
    pub(super) fn executed(&mut self, conn: Conn, number: u16, sequence: u64) {
        let view = self.conns[conn].channels.get_mut(&number);
        let view = view.expect("the caller has seen it");
        view.executed = sequence;
        while view
            .publishes
            .front()
            .is_some_and(|(at, _)| *at <= sequence)
        {
            let publish = view.publishes.pop_front();
            publish
                .into_iter()
                .for_each(|(_, message)| self.messages[message].make_certain(self.now));
        }
        while view.acks.front().is_some_and(|(at, ..)| *at <= sequence) {
            let ack = view.acks.pop_front();
            ack.into_iter().for_each(|(_, message, copy)| {
                let copy = &mut self.messages[message].copies[copy];
                copy.done.iter_mut().for_each(|done| done.is_certain = true);
            });
        }
    }

    /// Everything that has arrived has been executed: the world is at rest.
    pub(super) fn executed_all(&mut self, conn: Conn, number: u16) {
        let view = self.channel_mut(conn, number);
        let (sequence, silent) = (view.sequence, std::mem::take(&mut view.pending));
        self.executed(conn, number, sequence);
        for pending in silent {
            if let Effect::Cancel(_) = pending.effect {
                self.finish_effect(conn, number, pending.effect);
            }
        }
    }

    pub(super) fn note_ack(&mut self, conn: Conn, number: u16, ack: (u64, usize, usize)) {
        self.channel_mut(conn, number).acks.push_back(ack);
    }

    /// basic.cancel is sent: the queue must be one that can go.
    fn cancelled(&mut self, conn: Conn, number: u16, tag: &str) {
        let has_ended = self.conns[conn].has_ended;
        let view = self.channel_mut(conn, number);
        match view.consumers.remove(tag).map(|consumer| consumer.queue) {
            Some(QueueRef::Loose) => {}
            // An error that ends the connection takes its own queues with it.
            Some(QueueRef::Followed(queue)) if has_ended => {
                self.queues[queue].is_gone = true;
            }
            _ => self.fail(format!("c{conn}/{number}: consumer '{tag}' is cancelled")),
        }
    }
}

impl ChannelView {
    /// Somebody consumes under this tag, and has not said that it ends.
    pub fn consumes(&self, tag: &str) -> bool {
        let is_end = |pending: &Pending| matches!(&pending.effect, Effect::Cancel(it) if it == tag);
        self.consumers.contains_key(tag) && !self.pending.iter().any(is_end)
    }

    /// What has been asked and not answered, unless an error overtook it.
    pub fn unanswered(&self) -> Option<&Pending> {
        let mut pending = self.pending.iter();
        pending.find(|pending| !self.is_refused && pending.wants_something())
    }
}

impl Pending {
    pub fn explains(&self, code: u16, ids: Ids) -> bool {
        let (Verdict::May(codes) | Verdict::Must(codes)) = self.verdict else {
            return false;
        };
        self.ids == ids && codes.contains(&code)
    }

    pub fn wants_something(&self) -> bool {
        self.answer.is_some() || matches!(self.verdict, Verdict::Must(_))
    }
}
