//! The caller's side of followed calls: from the request to the one reply that ends it.

use super::mail::{CallReply, Mail, PublishOrigin};
use super::publish::Fate;
use super::{Shard, Slot};
use crate::engine::address::{
    CallAddress, CallKey, CallToken, ChannelAddress, QueueAddress, REPLY_TO, REPLY_TO_LAVINMQ,
    parse_reply_name,
};
use crate::engine::call::{Call, CallEnd, Status, Wishes, own_content, properties_of};
use crate::engine::channel::Channel;
use crate::engine::exchange::Routing;
use crate::engine::message::{Content, Message, Passing};
use crate::engine::name::Name;
use crate::engine::time::Timestamp;
use crate::engine::violation::Violation;
use crate::engine::wire::properties::Properties;
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::TABLE_DEPTH_MAX;

/// A publish on the default exchange with this key and the correlation id of a call of its channel
/// ends that call.
pub(super) const CANCEL: &[u8] = b"amq.rpc.cancel";

impl Shard {
    /// Where the request of a call that may be followed goes. It is followed if that is one queue,
    /// and the caller or the queue wants it; else it is a message like any other. Errors: those of
    /// the exchange; 406 for wishes that make no sense; 506 for too many calls, if the broker must
    /// not say so otherwise.
    #[cold]
    pub(super) fn route_call(
        &mut self,
        slot: Slot,
        content: &Content<'_>,
        (copies, properties): (&[&[u8]], &Properties<'_>),
        origin: PublishOrigin,
    ) -> Result<Fate, Violation> {
        let capabilities = self.connections[slot as usize].capabilities;
        let wishes = Wishes::of(properties, capabilities.rpc_errors)?;
        let is_wished = wishes.is_some();
        let wishes = wishes.unwrap_or_default();
        let vhost = self.vhost_of(slot);
        let mut queues = Vec::new();
        let is_plain = if !copies.is_empty() {
            true
        } else if content.exchange.is_empty() {
            queues.extend(self.address_of(vhost, content.routing_key));
            parse_reply_name(content.routing_key).is_some()
        } else {
            let routing = Routing {
                routing_key: content.routing_key,
                copies,
                properties,
            };
            let delay = self.find_queues(vhost, content.exchange, &routing, &mut queues)?;
            delay.is_some()
        };
        let has_room = self.connections[slot as usize].call_count < self.call_count_max();
        let queue = match queues[..] {
            _ if is_plain => None,
            [queue] if is_wished => Some(queue),
            // Who asked for nothing is refused nothing.
            [queue] if has_room && self.topology(vhost).follows_calls(queue) => Some(queue),
            [] if wishes.errors && content.routing_key != CANCEL => {
                self.answer(origin.channel, properties, Status::NoSuchQueue);
                return Ok(Fate::Unroutable);
            }
            _ => None,
        };
        match queue {
            Some(queue) => self.follow_call(slot, queue, content, properties, origin, wishes),
            None => self.route(slot, vhost, content, (copies, properties), origin),
        }
    }

    fn follow_call(
        &mut self,
        slot: Slot,
        queue: QueueAddress,
        content: &Content<'_>,
        properties: &Properties<'_>,
        origin: PublishOrigin,
        wishes: Wishes,
    ) -> Result<Fate, Violation> {
        let caller = origin.channel;
        let count_max = self.call_count_max();
        if self.connections[slot as usize].call_count >= count_max {
            if wishes.errors {
                self.answer(caller, properties, Status::TooManyCalls);
                return Ok(Fate::HandedOn);
            }
            let text = format!("more than {count_max} calls in flight on a connection");
            return Err(Violation::channel(ReplyCode::ResourceError, text));
        }
        let token = CallToken {
            call: CallAddress {
                shard: self.index,
                key: self.book.next_key(),
            },
            began: self.now,
            deadline: wishes
                .budget
                .map_or(Timestamp::NEVER, |budget| self.now.plus(budget)),
            errors: wishes.errors,
        };
        let spelling = spelling_of(properties);
        let name = self.sealer.call_name(spelling, caller, &token);
        let name_len = u8::try_from(name.as_bytes().len()).expect("a name is a short string");
        let encoded = [&[name_len], name.as_bytes()].concat();
        let spliced = properties.splice_reply_to(&encoded);
        let octets = token.to_octets();
        let content = Content {
            properties: spliced.expect("a call has a reply address"),
            call: Some(&octets),
            ..*content
        };
        self.enter_call(Call {
            caller,
            token,
            spelling,
            correlation_id: Name::from(properties.correlation_id().unwrap_or_default()),
            queue,
            purges: wishes.purges,
            alarm: None,
        });
        let fate = self.hand_to_queue(slot, queue, &mut Passing::new(content), origin);
        if fate == Fate::Unroutable {
            self.fail_call(token.call, Status::NoSuchQueue);
        }
        Ok(fate)
    }

    fn call_count_max(&self) -> usize {
        self.settings.limits.call_count_max
    }

    fn enter_call(&mut self, call: Call) {
        let (caller, key, deadline) = (call.caller, call.token.call.key, call.token.deadline);
        let correlation_id = call.correlation_id.clone();
        self.book.enter(call);
        self.connections[caller.slot as usize].call_count += 1;
        let channel = self.channel_mut(caller).expect("it has just published");
        channel.calls.insert((correlation_id, key));
        if deadline < Timestamp::NEVER {
            self.schedule_call(key);
        }
    }

    /// Ends a call, whoever's it is. Nothing happens if it has ended already.
    pub(super) fn fail_call(&mut self, call: CallAddress, status: Status) {
        if call.shard == self.index {
            self.fail_own_call(call.key, status);
        } else {
            self.neighbours
                .send(call.shard, Mail::CallFailed { call, status });
        }
    }

    pub(super) fn fail_own_call(&mut self, key: CallKey, status: Status) {
        let end = match status {
            Status::DeadlinePassed => CallEnd::DeadlinePassed,
            Status::Cancelled => CallEnd::Cancelled,
            _ => CallEnd::Answered { is_final: true },
        };
        let Some(call) = self.end_call(key, end) else {
            return;
        };
        if call.token.errors {
            let name = self
                .sealer
                .call_name(call.spelling, call.caller, &call.token);
            let properties = properties_of(call.correlation_id.as_bytes(), &status.headers());
            self.hand_reply(call.caller, &own_content(name.as_bytes(), &properties));
        }
    }

    /// The deadline of a call has passed.
    pub(super) fn check_call(&mut self, index: u32) {
        if let Some(call) = self.book.at(index) {
            call.alarm = None;
            let key = call.token.call.key;
            self.fail_own_call(key, Status::DeadlinePassed);
        }
    }

    /// A reply whose address names a followed call.
    #[cold]
    pub(super) fn publish_call_reply(
        &mut self,
        slot: Slot,
        (to, token): (ChannelAddress, CallToken),
        content: &Content<'_>,
        asking: Option<PublishOrigin>,
    ) -> Fate {
        self.served(slot, token.call);
        if to.shard == self.index {
            return match self.take_call_reply(to, token, content) {
                true => Fate::HandedOn,
                false => Fate::Unroutable,
            };
        }
        let reply = CallReply {
            to,
            token,
            message: Message::from(content),
            origin: asking,
        };
        self.neighbours
            .send(to.shard, Mail::CallReply(Box::new(reply)));
        self.wait_for_outbox(slot, to.shard);
        match asking {
            Some(_) => Fate::ASKED,
            None => Fate::HandedOn,
        }
    }

    pub(super) fn remote_call_reply(&mut self, reply: CallReply) {
        let CallReply {
            to,
            token,
            message,
            origin,
        } = reply;
        let fate = match self.take_call_reply(to, token, &message.content()) {
            true => Fate::HandedOn,
            false => Fate::Unroutable,
        };
        if let Some(origin) = origin {
            self.tell_publisher(origin, fate, message);
        }
    }

    /// False: nobody gets the reply. One behind the end of a call that the broker answers for is
    /// late.
    pub(super) fn take_call_reply(
        &mut self,
        to: ChannelAddress,
        token: CallToken,
        content: &Content<'_>,
    ) -> bool {
        let key = token.call.key;
        let is_its_callers = self.book.get(key).is_some_and(|call| call.caller == to);
        if is_its_callers {
            let is_final = token.errors;
            self.end_call(key, CallEnd::Answered { is_final });
        } else if token.errors {
            self.late_reply_count += 1;
            return false;
        }
        self.hand_reply(to, content)
    }

    /// The caller says that it does not want the call's reply any more. False: there is none with
    /// this correlation id on its channel.
    pub(super) fn cancel_calls(&mut self, caller: ChannelAddress, correlation_id: &[u8]) -> bool {
        let Some(channel) = self.channel_mut(caller) else {
            return false;
        };
        let from = (Name::from(correlation_id), CallKey::MIN);
        let calls = channel.calls.range(from..);
        let calls = calls.take_while(|(other, _)| other.as_bytes() == correlation_id);
        let keys: Vec<CallKey> = calls.map(|(_, key)| *key).collect();
        for key in &keys {
            self.fail_own_call(*key, Status::Cancelled);
        }
        !keys.is_empty()
    }

    /// The channel is gone: nobody waits for the calls that it has made.
    pub(super) fn abandon_calls(&mut self, channel: &Channel) {
        if channel.calls.is_empty() {
            return;
        }
        let connection = &mut self.connections[channel.address.slot as usize];
        connection.call_count -= channel.calls.len();
        for (_, key) in &channel.calls {
            let call = self.book.strike_out(*key);
            let call = call.expect("a channel's calls are in the book");
            self.timers.cancel_call(key.index, call.alarm);
            let purges = call.purges;
            self.tell_queue(&call, CallEnd::CallerGone { purges });
        }
    }

    /// Strikes a call out: it ends here, and once. `None`: it has ended already.
    fn end_call(&mut self, key: CallKey, end: CallEnd) -> Option<Call> {
        let call = self.book.strike_out(key)?;
        self.timers.cancel_call(key.index, call.alarm);
        let connection = &mut self.connections[call.caller.slot as usize];
        connection.call_count -= 1;
        let channel = connection.channel_mut(call.caller.channel);
        let channel: &mut Channel = channel.expect("its calls end with the channel");
        channel.calls.remove(&(call.correlation_id.clone(), key));
        self.tell_queue(&call, end);
        Some(call)
    }

    /// Behind the request, however long that takes to get there.
    fn tell_queue(&mut self, call: &Call, end: CallEnd) {
        let (queue, call) = (call.queue, call.token.call);
        if queue.shard == self.index {
            self.request_ended(queue, call, end);
        } else {
            self.neighbours
                .send(queue.shard, Mail::CallEnded { queue, call, end });
        }
    }

    /// The broker's answer to a call that has not begun.
    fn answer(&mut self, caller: ChannelAddress, properties: &Properties<'_>, status: Status) {
        let name = self.sealer.reply_name(spelling_of(properties), caller);
        let correlation_id = properties.correlation_id().unwrap_or_default();
        let properties = properties_of(correlation_id, &status.headers());
        self.hand_reply(caller, &own_content(name.as_bytes(), &properties));
    }

    /// What a key of the default exchange means that names no queue.
    #[cold]
    pub(super) fn route_to_nobody(
        &mut self,
        content: &Content<'_>,
        caller: ChannelAddress,
    ) -> Fate {
        if content.routing_key == CANCEL {
            let whole = content.properties.0.concat();
            let walked = Properties::walk(&whole, TABLE_DEPTH_MAX);
            let properties = walked.expect("walked when it was published");
            if self.cancel_calls(caller, properties.correlation_id().unwrap_or_default()) {
                return Fate::HandedOn;
            }
        }
        Fate::Unroutable
    }
}

fn spelling_of(properties: &Properties<'_>) -> &'static [u8] {
    match properties.reply_to() {
        Some(REPLY_TO_LAVINMQ) => REPLY_TO_LAVINMQ,
        _ => REPLY_TO,
    }
}
