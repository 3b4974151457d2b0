//! Deliveries: to whom, once at a time, in order, flagged, within the prefetch.

use super::channel::QueueRef;
use super::letters::{self, Death};
use super::message::{Copy, Done, Route};
use super::{Conn, Oracle, Place, Suspicion};
use crate::wire::Content;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Return};
use broker::engine::time::Timestamp;
use std::collections::BTreeMap;

/// A consumer of a queue.
#[derive(Debug)]
pub(super) struct ConsumerView {
    /// Tells it from a later one with the same tag.
    id: u32,
    pub queue: QueueRef,
    no_ack: bool,
    prefetch: u16,
    asked_at: Timestamp,
    /// The latest message from each channel, and of each priority, that was not a repetition.
    latest: BTreeMap<(Place, u8), u64>,
    /// The priority of the latest one that had waited at rest.
    pub served_priority: Option<u8>,
}

impl ConsumerView {
    pub fn new(
        id: u32,
        queue: QueueRef,
        no_ack: bool,
        (prefetch, asked_at): (u16, Timestamp),
    ) -> ConsumerView {
        ConsumerView {
            id,
            queue,
            no_ack,
            prefetch,
            asked_at,
            latest: BTreeMap::new(),
            served_priority: None,
        }
    }
}

/// A delivery that is to be acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    message: usize,
    queue: QueueRef,
    /// Which copy of the message, if the queue is followed.
    copy: usize,
    /// `None` for basic.get.
    consumer: Option<u32>,
}

/// What a queue hands out, but for to whom.
struct Handed<'a> {
    message: usize,
    deaths: &'a [Death],
    queue: QueueRef,
    consumer: Option<u32>,
    tag: u64,
    redelivered: bool,
    no_ack: bool,
    /// Its receiver had not asked before.
    asked_at: Timestamp,
    /// How often it says that it came back.
    delivery_count: Option<u64>,
}

impl Oracle {
    pub(super) fn content(&mut self, conn: Conn, content: &Content) {
        let number = content.channel;
        let is_open = |view: &super::channel::ChannelView| view.is_open && !view.is_refused;
        if !self.conns[conn].channels.get(&number).is_some_and(is_open) {
            return self.fail(format!("c{conn}/{number} is not open, but hears content"));
        }
        let (message, deaths) = match self.identify(content) {
            Ok(identified) => identified,
            Err(error) => return self.fail(format!("c{conn}/{number}: {error}")),
        };
        let delivery_count = letters::delivery_count(&content.properties);
        match &content.method {
            Basic::Return(returned) => self.returned(conn, number, message, returned),
            Basic::Deliver(deliver) => {
                let tag = deliver.consumer_tag.as_str();
                if !self.take_tag(conn, number, deliver.delivery_tag) {
                    return;
                }
                let view = self.channel_mut(conn, number);
                if view.is_stopped {
                    return self.fail(format!("c{conn}/{number} has stopped the flow: m{message}"));
                }
                if view.reply_tags.iter().any(|known| known == tag) {
                    return self.reply(conn, number, message, deliver.redelivered);
                }
                let place = view.place;
                let Some(consumer) = view.consumers.get(tag) else {
                    return self.fail(format!("{place:?} has no consumer '{tag}': m{message}"));
                };
                let (queue, no_ack) = (consumer.queue, consumer.no_ack);
                let handed = Handed {
                    message,
                    deaths: &deaths,
                    queue,
                    consumer: Some(consumer.id),
                    tag: deliver.delivery_tag,
                    redelivered: deliver.redelivered,
                    no_ack,
                    asked_at: consumer.asked_at,
                    delivery_count,
                };
                self.handed_out(place, &handed);
                if deaths.is_empty() && !deliver.redelivered {
                    self.check_order(place, tag, message);
                    self.check_priority(place, tag, message);
                }
                self.check_active(place, tag, queue);
                if !no_ack {
                    self.check_prefetch(place, tag);
                }
            }
            Basic::GetOk(get_ok) => {
                let Some(effect) = self.answered(conn, number, (60, 71)) else {
                    return;
                };
                let super::Effect::Get {
                    queue,
                    no_ack,
                    asked_at,
                } = effect
                else {
                    return self.fail(format!("c{conn}/{number}: get-ok for {effect:?}"));
                };
                if !self.take_tag(conn, number, get_ok.delivery_tag) {
                    return;
                }
                let handed = Handed {
                    message,
                    deaths: &deaths,
                    queue,
                    consumer: None,
                    tag: get_ok.delivery_tag,
                    redelivered: get_ok.redelivered,
                    no_ack,
                    asked_at,
                    delivery_count,
                };
                let place = self.channel_mut(conn, number).place;
                self.handed_out(place, &handed);
            }
            _ => self.fail("content of another kind".into()),
        }
    }

    fn take_tag(&mut self, conn: Conn, number: u16, tag: u64) -> bool {
        let view = self.channel_mut(conn, number);
        view.latest_tag += 1;
        let expected = view.latest_tag;
        if tag != expected {
            self.fail(format!(
                "c{conn}/{number}: delivery tag {tag}, not {expected}"
            ));
        }
        tag == expected
    }

    fn returned(&mut self, conn: Conn, number: u16, id: usize, returned: &Return) {
        let place = self.channel_mut(conn, number).place;
        self.tally.returns += 1;
        let message = &mut self.messages[id];
        let is_first = !std::mem::replace(&mut message.is_returned, true);
        let was_handed_on = message.is_delivered || message.copies.iter().any(Copy::was_sent);
        if message.from != Some(place) || !message.mandatory || !is_first || was_handed_on {
            return self.fail(format!("m{id} is returned"));
        }
        if returned.reply_code != 312 {
            return self.fail(format!("m{id} is returned with {}", returned.reply_code));
        }
        match message.route.clone() {
            Route::Nowhere | Route::Loose => {}
            Route::Direct(to) => {
                if !self.may_have_left(to) {
                    self.suspect(format!("m{id} is returned, {to:?} waits"), vec![to]);
                }
            }
            Route::Queues(queues) => {
                let is_there = |queue: &usize| self.queues[*queue].owner.is_none();
                if queues.iter().any(is_there) {
                    return self.fail(format!("m{id} is returned, its queue is there"));
                }
                // It may have ended without anybody's word.
                let may_have_ended = |queue: &usize| {
                    let queue = &self.queues[*queue];
                    queue.rules.expires.is_some() && queue.is_unread
                };
                if queues.iter().any(may_have_ended) {
                    return;
                }
                let text = format!("m{id} is returned, its queue was there");
                self.suspicions.push(Suspicion {
                    text,
                    unless_ended: Vec::new(),
                    unless_returns: queues.first().copied(),
                    unless_spent: None,
                });
            }
        }
    }

    pub(super) fn may_have_left(&self, to: Place) -> bool {
        let view = self.conns[to.conn].channels.get(&to.channel);
        self.has_ended(to) || view.is_some_and(|view| view.has_left_replies)
    }

    fn reply(&mut self, conn: Conn, number: u16, id: usize, redelivered: bool) {
        let place = self.channel_mut(conn, number).place;
        let message = &mut self.messages[id];
        match message.route {
            Route::Direct(to) if to == place => {}
            ref other => {
                let text = format!("m{id} reaches {place:?}, it is for {other:?}");
                return self.fail(text);
            }
        }
        let is_first = !std::mem::replace(&mut message.is_delivered, true);
        if !is_first || redelivered || message.is_returned {
            return self.fail(format!("m{id} reaches its requester again"));
        }
        let (from, order) = (message.from.expect("identified"), message.order);
        self.tally.replies += 1;
        let latest = self.channel_mut(conn, number).replies.insert(from, order);
        if latest.is_some_and(|latest| latest > order) {
            self.fail(format!("m{id} overtakes another reply of {from:?}"));
        }
    }

    /// A message of a queue is sent to somebody.
    fn handed_out(&mut self, place: Place, handed: &Handed<'_>) {
        let (id, no_ack, redelivered) = (handed.message, handed.no_ack, handed.redelivered);
        self.tally.deliveries += 1;
        self.tally.redeliveries += u64::from(redelivered);
        let mut hold = Hold {
            message: id,
            queue: handed.queue,
            copy: 0,
            consumer: handed.consumer,
        };
        let QueueRef::Followed(queue) = handed.queue else {
            if !no_ack {
                let view = self.channel_mut(place.conn, place.channel);
                view.holds.insert(handed.tag, hold);
            }
            return;
        };
        let at = match self.find_copy(id, queue, handed.deaths) {
            Ok(at) => at,
            Err(text) => return self.fail(text),
        };
        hold.copy = at;
        let view = self.channel_mut(place.conn, place.channel);
        // basic.recover has come since: what is sent before its answer has gone back by now.
        let is_stale = view.has_ended || view.recovering_count > 0;
        let asked_at = (!is_stale).then_some(handed.asked_at);
        // What goes back before it is sent may be sent behind what the next one was sent.
        let came_back = redelivered && !is_stale;
        self.check_lifetime((id, at), place, came_back, asked_at);
        self.check_delivery_count((id, at), place, came_back, handed.delivery_count);
        let now = self.now;
        let copy = &mut self.messages[id].copies[at];
        let was_sent = copy.was_sent();
        copy.sent_count += 1;
        copy.first_sent_at.get_or_insert(now);
        let (holders, done, died) = (copy.holders.clone(), copy.done, copy.died);
        if no_ack {
            // Whoever rejected it before was not heard.
            copy.rejected_at = None;
            copy.done = Some(Done {
                by: place,
                is_certain: true,
            });
        }
        if is_stale {
            self.queues[queue].had_returns = true;
            return;
        }
        if copy.is_refused {
            let text = format!("m{id} goes to {place:?}, it was refused");
            return self.fail(text);
        }
        if !no_ack {
            copy.holders.push(place);
            let view = self.channel_mut(place.conn, place.channel);
            view.holds.insert(handed.tag, hold);
        }
        let name = self.queues[queue].name.clone();
        if let Some(reason) = died {
            let text = format!("m{id} of {name} goes to {place:?}, it has died: {reason:?}");
            self.suspect(text, vec![place]);
        }
        for holder in holders {
            let text = format!("m{id} of {name} goes to {place:?}, but {holder:?} has it");
            self.suspect(text, vec![holder, place]);
        }
        if let Some(Done { by, is_certain }) = done {
            let text = format!("m{id} of {name} goes to {place:?}, but {by:?} is done with it");
            let ended = if is_certain {
                vec![place]
            } else {
                vec![by, place]
            };
            self.suspect(text, ended);
        }
        if was_sent && !redelivered {
            self.suspect(
                format!("m{id} goes to {place:?} again, unflagged"),
                vec![place],
            );
        }
        if redelivered && !was_sent && !self.queues[queue].had_returns {
            self.suspicions.push(Suspicion {
                text: format!("m{id} goes to {place:?}, flagged for no reason"),
                unless_ended: Vec::new(),
                unless_returns: Some(queue),
                unless_spent: None,
            });
        }
    }

    /// AMQP 0-9-1 4.7: content from one channel through one queue keeps its order, repetitions
    /// excepted.
    fn check_order(&mut self, place: Place, tag: &str, id: usize) {
        let message = &self.messages[id];
        let (from, order) = (message.from.expect("identified"), message.order);
        let view = self.conns[place.conn].channels.get_mut(&place.channel);
        let consumer = view.and_then(|view| view.consumers.get_mut(tag));
        let consumer = consumer.expect("looked up by the caller");
        let QueueRef::Followed(queue) = consumer.queue else {
            return;
        };
        if self.queues[queue].had_returns {
            return;
        }
        let priority = message.priority_in(&self.queues[queue].rules);
        let latest = consumer.latest.insert((from, priority), order);
        if latest.is_some_and(|latest| latest > order) {
            self.suspicions.push(Suspicion {
                text: format!("m{id} is overtaken on its way to {place:?}"),
                unless_ended: vec![place],
                unless_returns: Some(queue),
                unless_spent: None,
            });
        }
    }

    fn check_prefetch(&mut self, place: Place, tag: &str) {
        let view = self.channel_mut(place.conn, place.channel);
        let consumer = &view.consumers[tag];
        let of_consumers = view.holds.values().filter(|hold| hold.consumer.is_some());
        let of_this = of_consumers
            .clone()
            .filter(|hold| hold.consumer == Some(consumer.id));
        let (count, max) = (of_this.count(), usize::from(consumer.prefetch));
        if max > 0 && count > max {
            return self.fail(format!(
                "{place:?} '{tag}' has {count}, its prefetch is {max}"
            ));
        }
        let (count, max) = (of_consumers.count(), usize::from(view.global));
        if max > 0 && count > max && !view.has_loose_limit {
            self.fail(format!(
                "{place:?} has {count}, the channel's prefetch is {max}"
            ));
        }
    }

    /// A peer acknowledges what it has heard with this tag, or gives it back.
    pub(super) fn settle(
        &mut self,
        conn: Conn,
        number: u16,
        (sequence, tag): (u64, u64),
        requeue: Option<bool>,
    ) {
        let view = self.channel_mut(conn, number);
        let place = view.place;
        let Some(hold) = view.holds.remove(&tag) else {
            return;
        };
        self.release(&hold, place, Some(self.now));
        if hold.queue == QueueRef::Loose {
            return;
        }
        if requeue != Some(true) {
            let now = self.now;
            let copy = &mut self.messages[hold.message].copies[hold.copy];
            copy.done = Some(Done {
                by: place,
                is_certain: false,
            });
            copy.rejected_at = (requeue == Some(false)).then_some(now);
            self.note_ack(conn, number, (sequence, hold.message, hold.copy));
        }
    }

    /// The message goes back to its queue, or was never this one's; `at`: not before, if known.
    pub(super) fn release(&mut self, hold: &Hold, place: Place, at: Option<Timestamp>) {
        let QueueRef::Followed(queue) = hold.queue else {
            return;
        };
        self.queues[queue].had_returns = true;
        let at = at.filter(|_| !self.may_have_failed(place));
        let copy = &mut self.messages[hold.message].copies[hold.copy];
        if copy.holders.contains(&place) {
            copy.returned_at = at.or(copy.returned_at);
        }
        copy.holders.retain(|holder| *holder != place);
    }
}
