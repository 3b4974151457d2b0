//! A published message's way to its queues or its requester.

use super::copies::Copies;
use super::deliver::Enqueued;
use super::mail::{Expected, Mail, PublishOrigin, RemotePublish, RouteAnswer};
use super::{Shard, Slot};
use crate::engine::address::{
    ConnectionAddress, QueueAddress, ReplyName, VhostIndex, parse_reply_name,
};
use crate::engine::channel::{Channel, Confirm, Publishing, Verdict};
use crate::engine::connection::Connection;
use crate::engine::exchange::{Exchange, Routing, delay};
use crate::engine::message::{Content, Message, Passing};
use crate::engine::name::Name;
use crate::engine::topology::Topology;
use crate::engine::violation::Violation;
use crate::engine::wire::basic::{HotMethod, Return};
use crate::engine::wire::properties::{Properties, parse_expiration};
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::TABLE_DEPTH_MAX;
use bytes::Bytes;
use std::time::Duration;

/// basic.publish with its content, borrowed.
pub(super) struct Publication<'a> {
    pub(super) exchange: &'a [u8],
    pub(super) routing_key: &'a [u8],
    pub(super) mandatory: bool,
    /// Flags and list, not walked yet.
    pub(super) properties: &'a [u8],
    pub(super) body: &'a [u8],
    /// The memory that the body lies in, if it may be shared.
    pub(super) shared: Option<&'a Bytes>,
    /// Others of its channel that have come before it are published later.
    pub(super) goes_by: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody is there for it.
    Unroutable,
    /// Handed on: delivered, kept, or on its way.
    HandedOn,
    /// A queue had no room.
    Rejected,
    /// Other shards will say; `verdict` is what is known already.
    Deferred { answer_count: u32, verdict: Verdict },
}

impl Fate {
    pub(super) const ASKED: Fate = Fate::Deferred {
        answer_count: 1,
        verdict: Verdict::Ack,
    };

    /// Of a message that goes to several queues: one refusal is enough to refuse, and one that is
    /// there to be routed.
    fn and(self, other: Fate) -> Fate {
        use Fate::{Deferred, HandedOn, Rejected, Unroutable};
        let verdict = match self.verdict() {
            Verdict::Ack => other.verdict(),
            Verdict::Nack => Verdict::Nack,
        };
        match (self.answer_count() + other.answer_count(), self, other) {
            (0, Unroutable, Unroutable) => Unroutable,
            (0, ..) if verdict == Verdict::Nack => Rejected,
            (0, ..) => HandedOn,
            (answer_count, ..) => Deferred {
                answer_count,
                verdict,
            },
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Fate::Unroutable | Fate::HandedOn => Verdict::Ack,
            Fate::Rejected => Verdict::Nack,
            Fate::Deferred { verdict, .. } => verdict,
        }
    }

    fn answer_count(self) -> u32 {
        match self {
            Fate::Deferred { answer_count, .. } => answer_count,
            _ => 0,
        }
    }
}

impl Shard {
    pub(super) fn publish(
        &mut self,
        slot: Slot,
        number: u16,
        publication: &Publication<'_>,
    ) -> Result<(), Violation> {
        let properties = Properties::walk(publication.properties, TABLE_DEPTH_MAX)?;
        if let Some(headers) = properties.headers() {
            let copies = Copies::named_in(headers);
            let copies = copies.map_err(|violation| {
                let topology = self.topology_of(slot);
                let exchange = publication.exchange;
                let refused = publishable(topology, exchange).err();
                refused
                    .filter(|_| !exchange.is_empty())
                    .unwrap_or(violation)
            })?;
            if let Some(copies) = copies {
                return self.publish_copies(slot, number, publication, &properties, &copies);
            }
        }
        self.publish_to(slot, number, publication, &properties, &[])
    }

    /// `copies`: routing keys beside the one in the method. Inlined into both callers, so that who
    /// has none pays nothing for them.
    #[inline(always)]
    pub(super) fn publish_to(
        &mut self,
        slot: Slot,
        number: u16,
        publication: &Publication<'_>,
        properties: &Properties<'_>,
        copies: &[&[u8]],
    ) -> Result<(), Violation> {
        let connection = &mut self.connections[slot as usize];
        check_properties(properties, connection)?;
        let vhost = connection.vhost;
        let has_rpc_errors = connection.capabilities.rpc_errors;
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        let reply_name = channel.reply_name(properties.reply_to()).map_err(|_| {
            let text = "fast reply consumer does not exist";
            Violation::channel(ReplyCode::PreconditionFailed, text)
        })?;
        let is_wished = reply_name.is_some() && (has_rpc_errors || properties.headers().is_some());
        let may_be_followed = properties.reply_to().is_some()
            && (is_wished
                || self.topologies[usize::from(vhost.0)].has_following()
                || self.sampler.is_due(self.now));
        let spliced = reply_name
            .as_ref()
            .and_then(|name| properties.splice_reply_to(name.as_bytes()));
        let content = Content {
            exchange: publication.exchange,
            routing_key: publication.routing_key,
            properties: spliced.unwrap_or(properties.parts()),
            body: publication.body,
            shared: publication.shared,
            call: None,
        };
        let sequence = match &mut channel.publishing {
            Publishing::Plain => None,
            Publishing::Confirm(confirm) if publication.goes_by => Some(confirm.take_next()),
            Publishing::Confirm(confirm) => Some(confirm.take_sequence()),
            Publishing::Transaction(_) => {
                let (mandatory, routed_by) = (publication.mandatory, (copies, properties));
                return self.publish_later((slot, number), &content, routed_by, mandatory);
            }
        };
        let origin = PublishOrigin {
            channel: channel.address,
            sequence,
            mandatory: publication.mandatory,
        };
        let routed_by = (copies, properties);
        let fate = match may_be_followed {
            false => self.route(slot, vhost, &content, routed_by, origin)?,
            true => self.route_call(slot, &content, routed_by, origin)?,
        };
        if origin.mandatory || origin.sequence.is_some() {
            self.report(slot, origin, fate, &content);
        }
        Ok(())
    }

    #[inline(always)] // in the way of every request and reply
    pub(super) fn route(
        &mut self,
        slot: Slot,
        vhost: VhostIndex,
        content: &Content<'_>,
        (copies, properties): (&[&[u8]], &Properties<'_>),
        origin: PublishOrigin,
    ) -> Result<Fate, Violation> {
        match (content.exchange, copies) {
            (b"", []) => Ok(self.route_default(slot, vhost, content, origin)),
            (b"", copies) => Ok(self.route_default_copies(slot, content, copies, origin)),
            _ => self.route_exchange(slot, content, (copies, properties), origin),
        }
    }

    /// The default exchange: the routing key names a queue, or a requester.
    #[inline(always)] // in the way of every request and reply
    fn route_default(
        &mut self,
        slot: Slot,
        vhost: VhostIndex,
        content: &Content<'_>,
        origin: PublishOrigin,
    ) -> Fate {
        match parse_reply_name(content.routing_key) {
            Some(ReplyName::Full { opaque }) => {
                let asking = origin.mandatory.then_some(origin);
                return self.publish_reply(slot, opaque, content, asking);
            }
            Some(ReplyName::Bare) => return Fate::Unroutable,
            None => {}
        }
        match self.address_of(vhost, content.routing_key) {
            Some(queue) => self.hand_to_queue(slot, queue, &mut Passing::new(*content), origin),
            None => self.route_to_nobody(content, origin.channel),
        }
    }

    fn route_exchange(
        &mut self,
        slot: Slot,
        content: &Content<'_>,
        (copies, properties): (&[&[u8]], &Properties<'_>),
        origin: PublishOrigin,
    ) -> Result<Fate, Violation> {
        let mut routed = std::mem::take(&mut self.agenda.routed);
        let routing = Routing {
            routing_key: content.routing_key,
            copies,
            properties,
        };
        let vhost = self.vhost_of(slot);
        let found = self.find_queues(vhost, content.exchange, &routing, &mut routed);
        let fate = self.hand_to_queues(slot, routed, content, origin);
        if let Some(delay) = found? {
            let copies = copies.iter().map(|key| Name::from(*key)).collect();
            self.hold_back(vhost, Message::from(content), copies, delay);
            self.kept_here(slot);
            return Ok(Fate::HandedOn);
        }
        Ok(fate)
    }

    /// `routed`: the agenda's, which gets it back empty.
    pub(super) fn hand_to_queues(
        &mut self,
        slot: Slot,
        mut routed: Vec<QueueAddress>,
        content: &Content<'_>,
        origin: PublishOrigin,
    ) -> Fate {
        let mut fate = Fate::Unroutable;
        let mut passing = Passing::new(*content);
        // A queue that a binding still leads to is there, or was just now.
        let origin = PublishOrigin {
            mandatory: false,
            ..origin
        };
        for queue in routed.drain(..) {
            fate = fate.and(self.hand_to_queue(slot, queue, &mut passing, origin));
        }
        self.agenda.routed = routed;
        fate
    }

    /// Whom an exchange other than the default one routes to; `Some`: nobody yet, it holds the
    /// message back for so long. Errors: 404, 403.
    #[inline]
    pub(super) fn find_queues(
        &self,
        vhost: VhostIndex,
        name: &[u8],
        routing: &Routing<'_>,
        routed: &mut Vec<QueueAddress>,
    ) -> Result<Option<Duration>, Violation> {
        let topology = self.topology(vhost);
        let exchange = publishable(topology, name)?;
        if exchange.attributes.is_delayed
            && let Some(delay) = delay(routing.properties)
        {
            return Ok(Some(delay));
        }
        topology.route(exchange, routing, routed);
        Ok(None)
    }

    /// For how long an exchange holds a message back, if it does.
    pub(super) fn delay_of(
        &self,
        vhost: VhostIndex,
        exchange: &[u8],
        properties: &Properties<'_>,
    ) -> Option<Duration> {
        let exchange = self.topology(vhost).exchange(exchange)?;
        exchange
            .attributes
            .is_delayed
            .then(|| delay(properties))
            .flatten()
    }

    #[inline(always)] // in the way of every request
    pub(super) fn hand_to_queue(
        &mut self,
        slot: Slot,
        queue: QueueAddress,
        passing: &mut Passing<'_>,
        origin: PublishOrigin,
    ) -> Fate {
        if queue.shard == self.index {
            let enqueued = self.enqueue(queue, passing);
            if enqueued == Some(Enqueued::Kept) {
                self.kept_here(slot);
            }
            return fate_of(enqueued);
        }
        let publisher = self.connections[slot as usize].address;
        let message = passing.message();
        let is_asking = origin.mandatory
            || (origin.sequence.is_some() && self.topology_of(slot).may_reject(queue));
        let expected = match origin.sequence {
            _ if is_asking => Expected::Answer(origin),
            Some(_) => Expected::Kept,
            None => Expected::Nothing,
        };
        let publish = RemotePublish {
            queue,
            message,
            publisher,
            expected,
        };
        self.neighbours.send(queue.shard, Mail::Publish(publish));
        self.wait_for_outbox(slot, queue.shard);
        match is_asking {
            true => Fate::ASKED,
            false => Fate::HandedOn,
        }
    }

    pub(super) fn remote_publish(&mut self, publish: RemotePublish) {
        let RemotePublish {
            queue,
            message,
            publisher,
            expected,
        } = publish;
        let is_confirmed = matches!(expected, Expected::Kept) && !is_answered_for(&message);
        let fate = self.enqueue_for(publisher, queue, &message, is_confirmed);
        if fate == Fate::Unroutable && message.is_call() {
            self.request_without_queue(&message);
        }
        if let Expected::Answer(origin) = expected {
            self.tell_publisher(origin, fate, message);
        }
    }

    /// Gives a message of a publisher on any shard to a local queue.
    #[inline(always)] // in the way of every request from another shard
    pub(super) fn enqueue_for(
        &mut self,
        publisher: ConnectionAddress,
        queue: QueueAddress,
        message: &Message,
        is_confirmed: bool,
    ) -> Fate {
        let mut passing = Passing::kept(message);
        let mut enqueued = self.enqueue(queue, &mut passing);
        if enqueued == Some(Enqueued::Rejected) && is_confirmed {
            enqueued = Some(self.keep_over_limit(queue, &mut passing));
        }
        if enqueued == Some(Enqueued::Kept) {
            if publisher.shard == self.index {
                self.kept_here(publisher.slot);
            } else if self.pressure.is_high() {
                self.neighbours
                    .send(publisher.shard, Mail::Kept { publisher });
            }
        }
        fate_of(enqueued)
    }

    /// Tells the publisher on another shard what came of its message.
    #[inline(never)] // seldom wanted
    pub(super) fn tell_publisher(&mut self, origin: PublishOrigin, fate: Fate, message: Message) {
        let answer = match fate {
            Fate::Unroutable => {
                RouteAnswer::Unroutable(origin.mandatory.then(|| Box::new(message)))
            }
            Fate::Rejected => RouteAnswer::Rejected,
            Fate::HandedOn | Fate::Deferred { .. } => RouteAnswer::Taken,
        };
        let to = origin.channel.shard;
        self.neighbours.send(to, Mail::Routed { origin, answer });
    }

    /// The answer to a publish of ours.
    pub(super) fn routed(&mut self, origin: PublishOrigin, answer: RouteAnswer) {
        if self.channel_mut(origin.channel).is_none() {
            return;
        }
        let (slot, number) = (origin.channel.slot, origin.channel.channel);
        let verdict = match answer {
            RouteAnswer::Rejected => Verdict::Nack,
            RouteAnswer::Taken | RouteAnswer::Unroutable(None) => Verdict::Ack,
            RouteAnswer::Unroutable(Some(message)) => {
                self.return_unroutable(slot, number, &message.content());
                Verdict::Ack
            }
        };
        if let Some(sequence) = origin.sequence {
            self.confirm(slot, number, |confirm| confirm.answered(sequence, verdict));
        }
    }

    /// basic.return if nobody was there for `returnable`, then the confirm.
    fn report(&mut self, slot: Slot, origin: PublishOrigin, fate: Fate, content: &Content<'_>) {
        let number = origin.channel.channel;
        // Its own message may have cost the publisher the channel (see `hold_reply`).
        if self.channel_mut(origin.channel).is_none() {
            return;
        }
        if fate == Fate::Unroutable && origin.mandatory {
            self.return_unroutable(slot, number, content);
        }
        let Some(sequence) = origin.sequence else {
            return;
        };
        self.confirm(slot, number, |confirm| match fate {
            Fate::Deferred {
                answer_count,
                verdict,
            } => confirm.defer(sequence, answer_count, verdict),
            other => confirm.conclude(sequence, other.verdict()),
        });
    }

    fn confirm(&mut self, slot: Slot, number: u16, change: impl FnOnce(&mut Confirm)) {
        let channel = self.connections[slot as usize].channel_mut(number);
        let confirm = channel.and_then(|channel| channel.publishing.confirm_mut());
        let confirm = confirm.expect("who has a sequence is in confirm mode for good");
        let had_ready = confirm.has_ready();
        change(confirm);
        if !had_ready && confirm.has_ready() {
            self.agenda.confirms.push((slot, number));
        }
    }

    pub(super) fn return_unroutable(&mut self, slot: Slot, number: u16, content: &Content<'_>) {
        let method = HotMethod::Return(Return {
            reply_code: ReplyCode::NoRoute.value(),
            reply_text: ReplyCode::NoRoute.name().as_bytes(),
            exchange: content.exchange,
            routing_key: content.routing_key,
        });
        let connection = &mut self.connections[slot as usize];
        let frame_len_max = connection.tuning.frame_len_max;
        connection
            .outbound
            .push_content(number, &method, content, frame_len_max);
        self.agenda.touch(connection);
    }

    /// Acknowledges what was handed on since the last time, in as few frames as it takes.
    pub(super) fn flush_confirms(&mut self) {
        while let Some((slot, number)) = self.agenda.confirms.pop() {
            self.flush_confirms_of(slot, number);
        }
    }

    #[inline]
    pub(super) fn flush_confirms_of(&mut self, slot: Slot, number: u16) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        let Some((channel, outbound)) = connection.channel_and_outbound(number) else {
            return;
        };
        let Some(confirm) = channel.publishing.confirm_mut() else {
            return;
        };
        if !confirm.has_ready() {
            return;
        }
        confirm.flush(|verdict, delivery_tag, multiple| {
            let method = match verdict {
                Verdict::Ack => HotMethod::Ack {
                    delivery_tag,
                    multiple,
                },
                Verdict::Nack => HotMethod::Nack {
                    delivery_tag,
                    multiple,
                    requeue: false,
                },
            };
            outbound.push_hot(number, &method);
        });
        self.agenda.touch(connection);
    }

    /// The local channel with this address, if it is still open.
    #[inline]
    pub(super) fn channel_mut(
        &mut self,
        address: crate::engine::address::ChannelAddress,
    ) -> Option<&mut Channel> {
        debug_assert_eq!(address.shard, self.index);
        let connection = self.connections.get_mut(address.slot as usize)?;
        let channel = connection.channel_mut(address.channel)?;
        (channel.address == address && !channel.is_closing).then_some(channel)
    }
}

/// An exchange that clients may publish to. Errors: 404, 403.
#[inline]
fn publishable<'a>(topology: &'a Topology, name: &[u8]) -> Result<&'a Exchange, Violation> {
    let exchange = topology.exchange(name);
    let exchange = exchange.ok_or_else(|| topology.no_exchange(name))?;
    if exchange.attributes.internal {
        let exchange = topology.exchange_text(name);
        let text = format!("cannot publish to internal {exchange}");
        return Err(Violation::channel(ReplyCode::AccessRefused, text));
    }
    Ok(exchange)
}

#[inline]
fn fate_of(enqueued: Option<Enqueued>) -> Fate {
    match enqueued {
        None => Fate::Unroutable,
        Some(Enqueued::Delivered | Enqueued::Kept) => Fate::HandedOn,
        Some(Enqueued::Rejected) => Fate::Rejected,
    }
}

/// Does the broker itself answer the call, should its request not be kept?
fn is_answered_for(message: &Message) -> bool {
    let token = message.content().call();
    token.is_some_and(|token| token.errors)
}

/// What a publisher may not say.
fn check_properties(properties: &Properties<'_>, connection: &Connection) -> Result<(), Violation> {
    let refused = |text| Err(Violation::channel(ReplyCode::PreconditionFailed, text));
    if let Some(user_id) = properties.user_id()
        && user_id != connection.user.as_bytes()
    {
        let user_id = String::from_utf8_lossy(user_id);
        let user = &connection.user;
        return refused(format!(
            "user_id property set to '{user_id}' but authenticated user was '{user}'"
        ));
    }
    if let Some(text) = properties.expiration()
        && let Err(what) = parse_expiration(text)
    {
        let text = String::from_utf8_lossy(text);
        return refused(format!("invalid expiration '{text}': {what}"));
    }
    Ok(())
}
