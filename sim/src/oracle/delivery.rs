//! Deliveries: to whom, once at a time, in order, flagged, within the prefetch.

use super::channel::QueueRef;
use super::message::{Copy, Done, Message, Route};
use super::{Conn, Oracle, Place, Suspicion};
use crate::wire::Content;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Return};
use std::collections::BTreeMap;

/// A consumer of a queue.
#[derive(Debug)]
pub(super) struct ConsumerView {
    /// Tells it from a later one with the same tag.
    id: u32,
    pub queue: QueueRef,
    no_ack: bool,
    prefetch: u16,
    /// The latest message from each channel that was not a repetition.
    latest: BTreeMap<Place, u64>,
}

impl ConsumerView {
    pub fn new(id: u32, queue: QueueRef, no_ack: bool, prefetch: u16) -> ConsumerView {
        ConsumerView {
            id,
            queue,
            no_ack,
            prefetch,
            latest: BTreeMap::new(),
        }
    }
}

/// A delivery that is to be acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    message: usize,
    queue: QueueRef,
    /// `None` for basic.get.
    consumer: Option<u32>,
}

impl Message {
    pub(super) fn copy_mut(&mut self, queue: usize) -> &mut Copy {
        let mut copies = self.copies.iter_mut();
        copies
            .find(|copy| copy.queue == queue)
            .expect("checked when it was delivered")
    }
}

impl Oracle {
    pub(super) fn content(&mut self, conn: Conn, content: &Content) {
        let number = content.channel;
        let is_open = |view: &super::channel::ChannelView| view.is_open && !view.is_refused;
        if !self.conns[conn].channels.get(&number).is_some_and(is_open) {
            return self.fail(format!("c{conn}/{number} is not open, but hears content"));
        }
        let message = match self.identify(content) {
            Ok(message) => message,
            Err(error) => return self.fail(format!("c{conn}/{number}: {error}")),
        };
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
                let hold = Hold {
                    message,
                    queue,
                    consumer: Some(consumer.id),
                };
                let what = (deliver.delivery_tag, deliver.redelivered);
                self.handed_out(place, hold, what, no_ack);
                self.check_order(place, tag, message, deliver.redelivered);
                if !no_ack {
                    self.check_prefetch(place, tag);
                }
            }
            Basic::GetOk(get_ok) => {
                let Some(effect) = self.answered(conn, number, (60, 71)) else {
                    return;
                };
                let super::Effect::Get { queue, no_ack } = effect else {
                    return self.fail(format!("c{conn}/{number}: get-ok for {effect:?}"));
                };
                if !self.take_tag(conn, number, get_ok.delivery_tag) {
                    return;
                }
                let hold = Hold {
                    message,
                    queue,
                    consumer: None,
                };
                let place = self.channel_mut(conn, number).place;
                let what = (get_ok.delivery_tag, get_ok.redelivered);
                self.handed_out(place, hold, what, no_ack);
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
        let was_handed_on = message.is_delivered || message.copies.iter().any(|c| c.was_sent);
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
                let text = format!("m{id} is returned, its queue was there");
                self.suspicions.push(Suspicion {
                    text,
                    unless_ended: Vec::new(),
                    unless_returns: queues.first().copied(),
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
    fn handed_out(
        &mut self,
        place: Place,
        hold: Hold,
        (tag, redelivered): (u64, bool),
        no_ack: bool,
    ) {
        let id = hold.message;
        self.tally.deliveries += 1;
        self.tally.redeliveries += u64::from(redelivered);
        let QueueRef::Followed(queue) = hold.queue else {
            if !no_ack {
                self.channel_mut(place.conn, place.channel)
                    .holds
                    .insert(tag, hold);
            }
            return;
        };
        let view = self.channel_mut(place.conn, place.channel);
        // basic.recover has come since: what is sent before its answer has gone back by now.
        let is_stale = view.has_ended || view.recovering_count > 0;
        let Some(copy) = self.messages[id]
            .copies
            .iter_mut()
            .find(|copy| copy.queue == queue)
        else {
            let name = &self.queues[queue].name;
            let text = format!("m{id} comes out of {name}, it never was in there");
            return self.fail(text);
        };
        if is_stale {
            copy.was_sent = true;
            self.queues[queue].had_returns = true;
            if no_ack {
                copy.done = Some(Done {
                    by: place,
                    is_certain: true,
                });
            }
            return;
        }
        let (was_sent, holders, done) = (copy.was_sent, copy.holders.clone(), copy.done);
        copy.was_sent = true;
        if no_ack {
            copy.done = Some(Done {
                by: place,
                is_certain: true,
            });
        } else {
            copy.holders.push(place);
            self.channel_mut(place.conn, place.channel)
                .holds
                .insert(tag, hold);
        }
        let name = self.queues[queue].name.clone();
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
            });
        }
    }

    /// AMQP 0-9-1 4.7: content from one channel through one queue keeps its order, repetitions
    /// excepted.
    fn check_order(&mut self, place: Place, tag: &str, id: usize, redelivered: bool) {
        let message = &self.messages[id];
        let (from, order) = (message.from.expect("identified"), message.order);
        let view = self.conns[place.conn].channels.get_mut(&place.channel);
        let consumer = view.and_then(|view| view.consumers.get_mut(tag));
        let consumer = consumer.expect("looked up by the caller");
        let QueueRef::Followed(queue) = consumer.queue else {
            return;
        };
        if redelivered || self.queues[queue].had_returns {
            return;
        }
        let latest = consumer.latest.insert(from, order);
        if latest.is_some_and(|latest| latest > order) {
            self.suspicions.push(Suspicion {
                text: format!("m{id} is overtaken on its way to {place:?}"),
                unless_ended: vec![place],
                unless_returns: Some(queue),
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
        self.release(&hold, place);
        let QueueRef::Followed(queue) = hold.queue else {
            return;
        };
        if requeue != Some(true) {
            let copy = self.messages[hold.message].copy_mut(queue);
            copy.done = Some(Done {
                by: place,
                is_certain: false,
            });
            self.note_ack(conn, number, (sequence, hold.message, queue));
        }
    }

    /// The message goes back to its queue, or was never this one's.
    pub(super) fn release(&mut self, hold: &Hold, place: Place) {
        let QueueRef::Followed(queue) = hold.queue else {
            return;
        };
        self.queues[queue].had_returns = true;
        let copy = self.messages[hold.message].copy_mut(queue);
        copy.holders.retain(|holder| *holder != place);
    }
}
