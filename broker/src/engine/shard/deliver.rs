//! From queues to consumers: whose turn it is, and the hand-over on this shard or to another.

use super::mail::{Held, Mail, RemoteDelivery};
use super::{Shard, Slot};
use crate::engine::address::{ChannelAddress, QueueAddress};
use crate::engine::channel::Delivery;
use crate::engine::connection::{Connection, Phase};
use crate::engine::message::{Message, Passing};
use crate::engine::queue::{Consumer, ConsumerKey, Queue, Queued, Reason, Settlement, Token};
use crate::engine::rules::{Overflow, Rules};
use crate::engine::time::Timestamp;
use crate::engine::wire::basic::{Deliver, HotMethod};
use crate::limits::{Limits, MESSAGE_OVERHEAD};
use slab::Slab;
use std::collections::VecDeque;

pub(super) const RECEIVER: &str = "a consumer leaves its queue before its channel ends";

/// A message on its way to a consumer.
pub(super) enum Parcel<'p, 'a> {
    /// Cut-through: still where it was received.
    Passing(&'p mut Passing<'a>),
    Kept(Queued),
}

/// What an existing queue did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enqueued {
    Delivered,
    /// Nobody could take it now.
    Kept,
    /// Neither can the queue.
    Rejected,
}

impl Shard {
    /// Gives a message to a local queue. `None`: there is no such queue.
    #[inline]
    pub(super) fn enqueue(
        &mut self,
        address: QueueAddress,
        passing: &mut Passing<'_>,
    ) -> Option<Enqueued> {
        if passing.content.call.is_some() {
            return self.enqueue_request(address, passing);
        }
        let queue = self.queue_mut(address)?;
        let is_empty = queue.is_empty();
        if queue.awaits_replies() {
            self.see_reply(address, &passing.content);
        }
        if is_empty && let Some(consumer) = self.pick_consumer(address) {
            self.hand_over_as(address, consumer, Parcel::Passing(passing), None);
            return Some(Enqueued::Delivered);
        }
        Some(self.keep(address, passing))
    }

    /// The message has to wait, if there is room for it.
    pub(super) fn keep(&mut self, address: QueueAddress, passing: &mut Passing<'_>) -> Enqueued {
        let now = self.now;
        let queue = &mut self.queues[address.index as usize];
        let message = passing.message();
        let is_refused = queue.refuses(message.body_len());
        let queued = queue.admit(&passing.content, message, now);
        if is_refused {
            let overflow = queue.rules().map(Rules::overflow);
            if overflow == Some(Overflow::RejectPublishDlx) {
                self.give_up(address, queued, Reason::MaxLength);
            }
            return Enqueued::Rejected;
        }
        let before = queue.kept_len();
        queue.push(queued);
        self.pressure.account(before, queue.kept_len());
        if queue.rules().is_some() {
            self.drop_overflow(address);
        }
        if self.drop_expired(address) {
            self.schedule_queue(address);
        }
        Enqueued::Kept
    }

    /// The queue has come to refuse by a policy that the publisher's shard did not know yet: what
    /// was promised to be taken is, unless it has been dead-lettered already.
    #[cold]
    pub(super) fn keep_over_limit(
        &mut self,
        address: QueueAddress,
        passing: &mut Passing<'_>,
    ) -> Enqueued {
        let queue = &mut self.queues[address.index as usize];
        let has_letters = queue
            .rules()
            .is_some_and(|rules| rules.dead_letters.is_some());
        let overflow = queue.rules().map(Rules::overflow);
        if overflow == Some(Overflow::RejectPublish) || !has_letters {
            let before = queue.kept_len();
            let message = passing.message();
            let queued = queue.admit(&passing.content, message, self.now);
            queue.push(queued);
            self.pressure.account(before, queue.kept_len());
            self.schedule_queue(address);
        }
        Enqueued::Kept
    }

    /// Delivers for as long as there are both a message and a consumer that can take it.
    pub(super) fn run_queue(&mut self, address: QueueAddress) {
        loop {
            match self.queue_mut(address) {
                Some(queue) if !queue.is_empty() => {}
                _ => return,
            }
            if !self.drop_expired(address) {
                return;
            }
            let is_empty = self.queues[address.index as usize].is_empty();
            let Some(consumer) = (!is_empty).then(|| self.pick_consumer(address)).flatten() else {
                self.fail_hopeless(address);
                return self.schedule_queue(address);
            };
            let queued = self.pop(address);
            self.hand_over(address, consumer, queued);
        }
    }

    fn pop(&mut self, address: QueueAddress) -> Queued {
        let queue = &mut self.queues[address.index as usize];
        let before = queue.kept_len();
        let queued = queue.pop().expect("the caller has seen that there is one");
        self.pressure.account(before, queue.kept_len());
        queued
    }

    /// The next consumer in turn that can take a message; those that cannot are parked.
    #[inline]
    pub(super) fn pick_consumer(&mut self, address: QueueAddress) -> Option<ConsumerKey> {
        let limits = &self.settings.limits;
        let queue = &mut self.queues[address.index as usize];
        while let Some(key) = queue.consumers.next(self.now) {
            let consumer = queue
                .consumers
                .get_mut(key)
                .expect("a ring holds only consumers");
            if consumer.has_credit(limits.transit_len_max) {
                if consumer.channel.shard == self.index {
                    if can_take(&mut self.connections, consumer, limits) {
                        return Some(key);
                    }
                } else if !consumer.is_limited {
                    return Some(key);
                } else if consumer.token == Token::None {
                    consumer.token = Token::Asked;
                    let to = consumer.channel;
                    let ask = Mail::AskToken {
                        to,
                        queue: address,
                        consumer: key,
                    };
                    self.neighbours.send(to.shard, ask);
                }
            }
            queue.consumers.park(key);
        }
        None
    }

    #[inline]
    fn hand_over(&mut self, address: QueueAddress, key: ConsumerKey, queued: Queued) {
        match queued.message.is_call() {
            true => self.hand_over_request(address, key, Parcel::Kept(queued)),
            false => self.hand_over_as(address, key, Parcel::Kept(queued), None),
        }
    }

    /// `stamped`: what the consumer gets in place of the message.
    #[inline(always)] // in the way of every request
    pub(super) fn hand_over_as(
        &mut self,
        address: QueueAddress,
        key: ConsumerKey,
        parcel: Parcel<'_, '_>,
        stamped: Option<Message>,
    ) {
        let queue = &mut self.queues[address.index as usize];
        let before = queue.kept_len();
        let consumer = queue.consumers.get_mut(key).expect("picked just now");
        if consumer.channel.shard != self.index {
            let delivery = send_off(queue, key, parcel, stamped, self.now);
            let to = delivery.to.shard;
            self.pressure.account(before, queue.kept_len());
            self.neighbours.send(to, Mail::Deliver(delivery));
            return;
        }
        let to = consumer.channel;
        let connection = &mut self.connections[to.slot as usize];
        let frame_len_max = connection.tuning.frame_len_max;
        let (channel, outbound) = connection.channel_and_outbound(to.channel).expect(RECEIVER);
        let delivery_tag = channel.take_delivery_tag();
        let (content, redelivered) = match &parcel {
            Parcel::Passing(passing) => (passing.content, false),
            Parcel::Kept(queued) => (queued.message.content(), queued.place.is_redelivered()),
        };
        let content = stamped.as_ref().map_or(content, Message::content);
        let deliver = HotMethod::Deliver(Deliver {
            consumer_tag: consumer.tag.as_bytes(),
            delivery_tag,
            redelivered,
            exchange: content.exchange,
            routing_key: content.routing_key,
        });
        outbound.push_content(to.channel, &deliver, &content, frame_len_max);
        if !consumer.no_ack {
            let queued = parcel.into_queued(queue, self.now);
            let unacked = queue.hold(queued, Some(key));
            queue.consumers.hand_out(key);
            channel.limiter.take();
            channel.unacked.push(Delivery {
                tag: delivery_tag,
                queue: address,
                unacked,
                is_counted: true,
            });
        }
        self.agenda.touch(connection);
        self.pressure
            .account(before, self.queues[address.index as usize].kept_len());
        if let Some(request) = &stamped {
            self.serve(to, delivery_tag, request);
        }
    }

    /// A delivery from a queue on another shard.
    pub(super) fn remote_delivery(&mut self, delivery: RemoteDelivery) {
        let connection = self.connections.get_mut(delivery.to.slot as usize);
        if let Some(connection) = connection
            && connection.must_withhold(&self.settings.limits)
            && connection.phase != Phase::Gone
        {
            connection.withheld.push_back(delivery);
            return;
        }
        self.deliver_remote(delivery);
    }

    /// The peer has read: what was withheld follows, up to as much as may be unsent.
    pub(super) fn release_withheld(&mut self, slot: Slot) {
        loop {
            let connection = &mut self.connections[slot as usize];
            if !connection.may_deliver(&self.settings.limits) {
                return;
            }
            let Some(delivery) = connection.withheld.pop_front() else {
                return;
            };
            self.deliver_remote(delivery);
        }
    }

    /// The channel is gone, and what was withheld from it goes back. `None`: all channels.
    pub(super) fn bounce_withheld(&mut self, slot: Slot, ended: Option<ChannelAddress>) {
        let withheld = &mut self.connections[slot as usize].withheld;
        if withheld.is_empty() {
            return;
        }
        let is_over = |delivery: &RemoteDelivery| ended.is_none_or(|ended| delivery.to == ended);
        let (over, rest) = std::mem::take(withheld).into_iter().partition(is_over);
        *withheld = rest;
        let over: VecDeque<RemoteDelivery> = over;
        for delivery in over {
            self.deliver_remote(delivery);
        }
    }

    fn deliver_remote(&mut self, delivery: RemoteDelivery) {
        let RemoteDelivery {
            to,
            handle,
            consumer,
            queue,
            has_token,
            is_redelivered,
            message,
            held,
        } = delivery;
        let mut is_wanted = false;
        if let Some(channel) = self.channel_mut(to) {
            let is_flowing = channel.limiter.is_flowing();
            if let Some(known) = channel.consumer_mut(handle, queue, consumer) {
                known.credit_owed += message.len() + MESSAGE_OVERHEAD;
                is_wanted = is_flowing;
                // What channel.flow(false) has overtaken goes back, its credit with the flow-ok
                // that will end it.
                self.connections[to.slot as usize].owes_credit |= !is_flowing;
            }
        }
        if !is_wanted {
            self.bounce(queue, message, held);
            if has_token {
                self.return_token(to);
            }
            return;
        }
        let connection = &mut self.connections[to.slot as usize];
        let frame_len_max = connection.tuning.frame_len_max;
        let may_deliver = connection.may_deliver(&self.settings.limits);
        let (channel, outbound) = connection.channel_and_outbound(to.channel).expect(RECEIVER);
        let delivery_tag = channel.take_delivery_tag();
        let content = message.content();
        let known = channel
            .consumer_mut(handle, queue, consumer)
            .expect("looked up above");
        let deliver = HotMethod::Deliver(Deliver {
            consumer_tag: known.tag.as_bytes(),
            delivery_tag,
            redelivered: is_redelivered,
            exchange: content.exchange,
            routing_key: content.routing_key,
        });
        outbound.push_content(to.channel, &deliver, &content, frame_len_max);
        let credit_owed = known.credit_owed;
        let is_held = matches!(held, Held::ByKey(_));
        if let Held::ByKey(unacked) = held {
            if !has_token {
                channel.limiter.take();
            }
            channel.unacked.push(Delivery {
                tag: delivery_tag,
                queue,
                unacked,
                is_counted: true,
            });
        }
        self.agenda.touch(connection);
        if message.is_call() {
            self.serve(to, delivery_tag, &message);
        }
        if has_token && !is_held {
            self.return_token(to);
        }
        if is_credit_due(credit_owed, &self.settings.limits) {
            if may_deliver {
                self.return_credit(to.slot);
            } else {
                self.connections[to.slot as usize].owes_credit = true;
            }
        }
    }

    /// A delivery that found no consumer goes back as it was.
    fn bounce(&mut self, queue: QueueAddress, message: Message, held: Held) {
        let mail = match held {
            Held::ByKey(unacked) => Mail::Settle {
                queue,
                unacked,
                settlement: Settlement::Undelivered,
            },
            Held::Not(place) => Mail::Undelivered {
                queue,
                queued: Box::new(Queued { message, place }),
            },
        };
        self.neighbours.send(queue.shard, mail);
    }

    pub(super) fn take_back(&mut self, address: QueueAddress, queued: Queued) {
        let Some(queue) = self.queue_mut(address) else {
            if queued.message.is_call() {
                self.request_without_queue(&queued.message);
            }
            return;
        };
        let before = queue.kept_len();
        queue.requeue(queued);
        let after = queue.kept_len();
        self.pressure.account(before, after);
        self.drop_overflow(address);
        self.agenda.queues.push(address);
    }

    /// Gives credit back for what this connection's consumers on other shards have received.
    pub(super) fn return_credit(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        connection.owes_credit = false;
        for number in connection.channel_numbers() {
            let Some(channel) = connection.channel_mut(number) else {
                continue;
            };
            for (_, known) in &mut channel.consumers {
                if !is_credit_due(known.credit_owed, &self.settings.limits) {
                    continue;
                }
                if let Some(consumer) = known.key {
                    let len = std::mem::take(&mut known.credit_owed);
                    let credit = Mail::Credit {
                        queue: known.queue,
                        consumer,
                        len,
                    };
                    self.neighbours.send(known.queue.shard, credit);
                }
            }
        }
    }

    pub(super) fn add_credit(&mut self, address: QueueAddress, key: ConsumerKey, len: usize) {
        let Some(queue) = self.queue_mut(address) else {
            return;
        };
        let Some(consumer) = queue.consumers.get_mut(key) else {
            return;
        };
        assert!(len <= consumer.transit_len, "credit is for what was sent");
        consumer.transit_len -= len;
        queue.consumers.unpark(key);
        self.agenda.queues.push(address);
    }

    /// The connection's peer has read: its local consumers may take messages again.
    pub(super) fn unpark_connection(&mut self, slot: Slot) {
        for number in self.connections[slot as usize].channel_numbers() {
            self.unpark_channel(slot, number);
        }
    }

    pub(super) fn unpark_channel(&mut self, slot: Slot, number: u16) {
        let Some(channel) = self.connections[slot as usize].channel(number) else {
            return;
        };
        for (_, known) in &channel.consumers {
            let Some(key) = known.key else { continue };
            if known.queue.shard != self.index {
                continue;
            }
            let queue = self.queues.get_mut(known.queue.index as usize);
            if let Some(queue) = queue.filter(|queue| queue.address == known.queue) {
                queue.consumers.unpark(key);
                self.agenda.queues.push(known.queue);
            }
        }
    }

    /// Channel side: a consumer of ours on another shard has a message for us.
    pub(super) fn ask_token(&mut self, to: ChannelAddress, queue: QueueAddress, key: ConsumerKey) {
        let Some(channel) = self.channel_mut(to) else {
            return;
        };
        channel.limiter.ask(queue, key);
        self.grant_tokens(to);
    }

    pub(super) fn grant_tokens(&mut self, to: ChannelAddress) {
        while let Some(channel) = self.channel_mut(to)
            && let Some((queue, consumer)) = channel.limiter.grant()
        {
            self.neighbours.send(
                queue.shard,
                Mail::GrantToken {
                    to,
                    queue,
                    consumer,
                },
            );
        }
    }

    pub(super) fn return_token(&mut self, to: ChannelAddress) {
        let Some(channel) = self.channel_mut(to) else {
            return;
        };
        channel.limiter.give_back(1);
        self.limiter_has_room(to);
    }

    /// The channel's common limit allows more: others first, they have asked.
    pub(super) fn limiter_has_room(&mut self, to: ChannelAddress) {
        self.grant_tokens(to);
        self.unpark_channel(to.slot, to.channel);
    }

    /// Queue side: the token is used at once or goes back, so that none is idle.
    pub(super) fn use_token(
        &mut self,
        to: ChannelAddress,
        address: QueueAddress,
        key: ConsumerKey,
    ) {
        let transit_len_max = self.settings.limits.transit_len_max;
        let is_there = self.queue_mut(address).is_some();
        let may_deliver = is_there && self.drop_expired(address);
        let is_used = self.queue_mut(address).is_some_and(|queue| {
            let has_message = may_deliver && !queue.is_empty();
            let Some(consumer) = queue.consumers.get_mut(key) else {
                return false;
            };
            let is_used = has_message && consumer.has_credit(transit_len_max);
            consumer.token = if is_used { Token::Held } else { Token::None };
            // In turn again either way: the next message may need the next token.
            queue.consumers.unpark(key);
            is_used
        });
        if !is_used {
            self.neighbours.send(to.shard, Mail::ReturnToken { to });
            return;
        }
        let queued = self.pop(address);
        self.hand_over(address, key, queued);
        self.agenda.queues.push(address);
    }

    pub(super) fn restrain(&mut self, address: QueueAddress, key: ConsumerKey, is_limited: bool) {
        let Some(queue) = self.queue_mut(address) else {
            return;
        };
        let Some(consumer) = queue.consumers.get_mut(key) else {
            return;
        };
        consumer.is_limited = is_limited;
        queue.consumers.unpark(key);
        self.agenda.queues.push(address);
    }
}

impl Parcel<'_, '_> {
    pub(super) fn into_queued(self, queue: &mut Queue, now: Timestamp) -> Queued {
        match self {
            Parcel::Kept(queued) => queued,
            Parcel::Passing(passing) => {
                let message = passing.message();
                queue.admit(&passing.content, message, now)
            }
        }
    }
}

/// Will a local consumer's connection and channel take one more delivery?
#[inline]
fn can_take(connections: &mut Slab<Connection>, consumer: &Consumer, limits: &Limits) -> bool {
    let connection = &mut connections[consumer.channel.slot as usize];
    if !connection.may_deliver(limits) {
        connection.is_starved = true;
        return false;
    }
    // As in RabbitMQ also for those who need not acknowledge, though they take none of the room.
    let channel = connection.channel(consumer.channel.channel);
    channel.expect(RECEIVER).limiter.has_room()
}

/// Is it time to give credit back? At half of what may be on its way, so that it seldom ends, and
/// at the latest with all of it; never for nothing.
#[inline]
fn is_credit_due(credit_owed: usize, limits: &Limits) -> bool {
    2 * credit_owed >= limits.transit_len_max
}

/// Prepares a delivery to a consumer on another shard.
fn send_off(
    queue: &mut Queue,
    key: ConsumerKey,
    parcel: Parcel<'_, '_>,
    stamped: Option<Message>,
    now: Timestamp,
) -> RemoteDelivery {
    let queued = parcel.into_queued(queue, now);
    let message = stamped.unwrap_or_else(|| queued.message.clone());
    let consumer = queue.consumers.get_mut(key).expect("picked just now");
    consumer.transit_len += message.len() + MESSAGE_OVERHEAD;
    let has_token = consumer.token == Token::Held;
    if has_token {
        consumer.token = Token::None;
    }
    let (to, handle, no_ack) = (consumer.channel, consumer.handle, consumer.no_ack);
    let place = queued.place;
    let held = if no_ack {
        Held::Not(place)
    } else {
        queue.consumers.hand_out(key);
        Held::ByKey(queue.hold(queued, Some(key)))
    };
    let queue = queue.address;
    RemoteDelivery {
        to,
        handle,
        consumer: key,
        queue,
        has_token,
        is_redelivered: place.is_redelivered(),
        message,
        held,
    }
}
