//! The caller's side of followed calls: from the request to the one reply that ends it.

use super::mail::{CallReply, Mail, PublishOrigin};
use super::publish::Fate;
use super::services::Question;
use super::{Shard, Slot};
use crate::engine::address::{
    CallAddress, CallKey, CallToken, ChannelAddress, QueueAddress, REPLY_TO, REPLY_TO_LAVINMQ,
    VhostIndex, parse_reply_name,
};
use crate::engine::call::{
    self, Call, CallEnd, ReplyPath, Status, Times, Wishes, own_content, properties_of,
};
use crate::engine::channel::Channel;
use crate::engine::exchange::Routing;
use crate::engine::message::{Content, Message, Passing};
use crate::engine::name::Name;
use crate::engine::time::Timestamp;
use crate::engine::violation::Violation;
use crate::engine::wire::properties::{Properties, PropertyParts};
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::{SAMPLE_COUNT_MAX, SAMPLE_TIME_MAX, TABLE_DEPTH_MAX, UNASKED_TIME_MAX};

/// A publish on the default exchange with this key and the correlation id of a call of its channel
/// ends that call.
pub(super) const CANCEL: &[u8] = b"amq.rpc.cancel";

/// What the broker has to know of a call.
struct Following {
    queue: QueueAddress,
    reply_path: ReplyPath,
    /// `None`: it is followed though its caller has asked for nothing.
    wishes: Option<Wishes>,
    /// The queue does not want that either; how many calls it stands for.
    sample_weight: Option<u32>,
}

impl Shard {
    /// Where the request of a call that may be followed goes. Errors: those of the exchange; 406
    /// for wishes that make no sense; 506 for too many calls, if the broker must not say so
    /// otherwise.
    #[cold]
    pub(super) fn route_call(
        &mut self,
        slot: Slot,
        content: &Content<'_>,
        (copies, properties): (&[&[u8]], &Properties<'_>),
        origin: PublishOrigin,
    ) -> Result<Fate, Violation> {
        let vhost = self.vhost_of(slot);
        let Some(reply_path) = self.reply_path(vhost, properties) else {
            return self.route(slot, vhost, content, (copies, properties), origin);
        };
        let has_rpc_errors = self.connections[slot as usize].capabilities.rpc_errors;
        let wishes = match reply_path {
            ReplyPath::Direct { .. } => Wishes::of(properties, has_rpc_errors)?,
            ReplyPath::Queue(_) => None,
        };
        let mut queues = Vec::new();
        let is_plain = self.find_called(vhost, content, (copies, properties), &mut queues)?;
        let follows = |queue| self.topology(vhost).follows_calls(queue);
        let is_asked = wishes.is_some() || queues.iter().any(|queue| follows(*queue));
        let is_sample = !is_asked && self.sampler.is_due(self.now);
        let call_count = self.connections[slot as usize].call_count;
        let sample_weight = is_sample
            .then(|| self.sampler.take(self.now))
            .filter(|_| call_count < SAMPLE_COUNT_MAX);
        let following = match queues[..] {
            _ if is_plain => None,
            [queue] if reply_path == ReplyPath::Queue(queue) => None,
            [queue] if is_asked || sample_weight.is_some() => Some(Following {
                queue,
                reply_path,
                wishes,
                sample_weight,
            }),
            [] if wishes.is_some_and(|it| it.errors) && !is_own_name(content.routing_key) => {
                self.answer(origin.channel, properties, Status::NoSuchQueue);
                return Ok(Fate::Unroutable);
            }
            _ => None,
        };
        let call_count_max = self.call_count_max();
        match following {
            Some(following) if call_count < call_count_max => {
                Ok(self.follow_call(slot, following, content, properties, origin))
            }
            Some(_) if wishes.is_some_and(|it| it.errors) => {
                self.answer(origin.channel, properties, Status::TooManyCalls);
                Ok(Fate::HandedOn)
            }
            Some(_) if wishes.is_some() => {
                let text = format!("more than {call_count_max} calls in flight on a connection");
                Err(Violation::channel(ReplyCode::ResourceError, text))
            }
            // Who asked for nothing is refused nothing.
            _ => self.route(slot, vhost, content, (copies, properties), origin),
        }
    }

    /// How the reply will come. `None`: by no way that can be seen from here.
    fn reply_path(&self, vhost: VhostIndex, properties: &Properties<'_>) -> Option<ReplyPath> {
        match properties.reply_to()? {
            REPLY_TO => Some(ReplyPath::Direct { spelling: REPLY_TO }),
            REPLY_TO_LAVINMQ => Some(ReplyPath::Direct {
                spelling: REPLY_TO_LAVINMQ,
            }),
            name => {
                let queue = self.address_of(vhost, name);
                let queue = queue.filter(|queue| queue.shard == self.index);
                let correlation_id = properties.correlation_id().unwrap_or_default();
                queue
                    .filter(|_| !correlation_id.is_empty())
                    .map(ReplyPath::Queue)
            }
        }
    }

    /// Whom a request reaches. True: it is a message like any other. Errors: those of the exchange.
    fn find_called(
        &self,
        vhost: VhostIndex,
        content: &Content<'_>,
        (copies, properties): (&[&[u8]], &Properties<'_>),
        queues: &mut Vec<QueueAddress>,
    ) -> Result<bool, Violation> {
        if !copies.is_empty() {
            return Ok(true);
        }
        if content.exchange.is_empty() {
            queues.extend(self.address_of(vhost, content.routing_key));
            return Ok(parse_reply_name(content.routing_key).is_some());
        }
        let routing = Routing {
            routing_key: content.routing_key,
            copies,
            properties,
        };
        let delay = self.find_queues(vhost, content.exchange, &routing, queues)?;
        Ok(delay.is_some())
    }

    fn follow_call(
        &mut self,
        slot: Slot,
        following: Following,
        content: &Content<'_>,
        properties: &Properties<'_>,
        origin: PublishOrigin,
    ) -> Fate {
        let Following {
            queue,
            reply_path,
            wishes,
            sample_weight,
        } = following;
        let caller = origin.channel;
        let unasked_until = match (wishes, sample_weight) {
            (Some(_), _) => None,
            (None, None) => Some(self.now.plus(UNASKED_TIME_MAX)),
            (None, Some(_)) => Some(self.now.plus(SAMPLE_TIME_MAX)),
        };
        let wishes = wishes.unwrap_or_default();
        let deadline = wishes.budget.map(|budget| self.now.plus(budget));
        let token = CallToken {
            call: CallAddress {
                shard: self.index,
                key: self.book.next_key(),
            },
            began: self.now,
            deadline: deadline.unwrap_or(Timestamp::NEVER),
            errors: wishes.errors,
            weight: sample_weight.unwrap_or(1),
        };
        let octets = token.to_octets();
        let mut content = Content {
            call: Some(&octets),
            ..*content
        };
        let encoded;
        if let ReplyPath::Direct { spelling } = reply_path {
            let name = self.sealer.call_name(spelling, caller, &token);
            let name_len = u8::try_from(name.as_bytes().len()).expect("a name is a short string");
            encoded = [&[name_len], name.as_bytes()].concat();
            let spliced = properties.splice_reply_to(&encoded);
            content.properties = spliced.expect("a call has a reply address");
        }
        self.enter_call(Call {
            caller,
            token,
            reply_path,
            correlation_id: Name::from(properties.correlation_id().unwrap_or_default()),
            queue,
            purges: wishes.purges,
            is_timed: wishes.timing,
            unasked_until,
            alarm: None,
        });
        let fate = self.hand_to_queue(slot, queue, &mut Passing::new(content), origin);
        if fate == Fate::Unroutable {
            self.fail_call(token.call, Status::NoSuchQueue);
        }
        fate
    }

    fn call_count_max(&self) -> usize {
        self.settings.limits.call_count_max
    }

    fn enter_call(&mut self, call: Call) {
        let (caller, key, reply_path) = (call.caller, call.token.call.key, call.reply_path);
        let correlation_id = call.correlation_id.clone();
        let until = call.unasked_until.unwrap_or(call.token.deadline);
        self.book.enter(call);
        self.connections[caller.slot as usize].call_count += 1;
        let channel = self.channel_mut(caller).expect("it has just published");
        channel.calls.insert((correlation_id.clone(), key));
        if let ReplyPath::Queue(queue) = reply_path
            && let Some(queue) = self.queue_mut(queue)
        {
            queue.await_reply(correlation_id, key);
        }
        if until < Timestamp::NEVER {
            self.schedule_call(key, until);
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
        let Some(call) = self.book.get(key) else {
            return;
        };
        let is_final = call.token.errors;
        let end = match status {
            Status::DeadlinePassed => CallEnd::DeadlinePassed,
            Status::Cancelled => CallEnd::Cancelled,
            _ => CallEnd::Failed { status, is_final },
        };
        if let Some(call) = self.end_call(key, end)
            && let ReplyPath::Direct { spelling } = call.reply_path
            && is_final
        {
            let name = self.sealer.call_name(spelling, call.caller, &call.token);
            let properties = properties_of(call.correlation_id.as_bytes(), &status.headers());
            self.hand_reply(call.caller, &own_content(name.as_bytes(), &properties));
        }
    }

    /// The deadline of a call has passed; or nobody has asked to follow it, and it is followed no
    /// longer.
    pub(super) fn check_call(&mut self, index: u32) {
        let Some(call) = self.book.at(index) else {
            return;
        };
        call.alarm = None;
        let key = call.token.call.key;
        match call.unasked_until {
            Some(_) => drop(self.end_call(key, CallEnd::Unanswered)),
            None => self.fail_own_call(key, Status::DeadlinePassed),
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
        let delivered_at = self.served(slot, token.call);
        if to.shard == self.index {
            return match self.take_call_reply(to, token, delivered_at, content) {
                true => Fate::HandedOn,
                false => Fate::Unroutable,
            };
        }
        let reply = CallReply {
            to,
            token,
            delivered_at,
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
            delivered_at,
            message,
            origin,
        } = reply;
        let fate = match self.take_call_reply(to, token, delivered_at, &message.content()) {
            true => Fate::HandedOn,
            false => Fate::Unroutable,
        };
        if let Some(origin) = origin {
            self.tell_publisher(origin, fate, message);
        }
    }

    /// False: nobody gets the reply. One behind the end of a call that the broker answers for is
    /// late. `delivered_at`: when its worker got the request.
    pub(super) fn take_call_reply(
        &mut self,
        to: ChannelAddress,
        token: CallToken,
        delivered_at: Option<Timestamp>,
        content: &Content<'_>,
    ) -> bool {
        let key = token.call.key;
        let call = self.book.get(key).filter(|call| call.caller == to);
        let is_timed = call.is_some_and(|call| call.is_timed);
        if call.is_some() {
            let is_final = token.errors;
            self.end_call(key, CallEnd::Answered { is_final });
        } else if token.errors {
            self.late_reply_count += 1;
            return false;
        }
        if is_timed {
            let times = Times {
                began: token.began,
                handed_at: delivered_at,
                ended_at: self.now,
            };
            return self.hand_timed_reply(to, &times, content);
        }
        self.hand_reply(to, content)
    }

    /// A reply to a caller that wants to know where the time went.
    fn hand_timed_reply(
        &mut self,
        to: ChannelAddress,
        times: &Times,
        content: &Content<'_>,
    ) -> bool {
        let whole = content.properties.0.concat();
        let walked = Properties::walk(&whole, TABLE_DEPTH_MAX);
        let properties = call::timed(&walked.expect("walked when it was published"), times);
        let content = Content {
            properties: PropertyParts([&properties, &[], &[]]),
            ..*content
        };
        self.hand_reply(to, &content)
    }

    /// A message comes to a queue where replies are awaited.
    #[cold]
    pub(super) fn see_reply(&mut self, queue: QueueAddress, content: &Content<'_>) {
        let whole = content.properties.0.concat();
        let walked = Properties::walk(&whole, TABLE_DEPTH_MAX);
        let correlation_id = walked.ok().and_then(|it| it.correlation_id());
        if let Some(correlation_id) = correlation_id
            && let Some(queue) = self.queue(queue)
            && let Some(key) = queue.reply_of(correlation_id)
        {
            self.end_call(key, CallEnd::Answered { is_final: false });
        }
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
            self.forget_call(&call);
            let purges = call.purges;
            self.tell_queue(&call, CallEnd::CallerGone { purges });
        }
    }

    /// Strikes a call out: it ends here, and once. `None`: it has ended already.
    fn end_call(&mut self, key: CallKey, end: CallEnd) -> Option<Call> {
        let call = self.book.strike_out(key)?;
        self.forget_call(&call);
        let connection = &mut self.connections[call.caller.slot as usize];
        connection.call_count -= 1;
        let channel = connection.channel_mut(call.caller.channel);
        let channel: &mut Channel = channel.expect("its calls end with the channel");
        channel.calls.remove(&(call.correlation_id.clone(), key));
        self.tell_queue(&call, end);
        Some(call)
    }

    fn forget_call(&mut self, call: &Call) {
        let key = call.token.call.key;
        self.timers.cancel_call(key.index, call.alarm);
        if let ReplyPath::Queue(queue) = call.reply_path
            && let Some(queue) = self.queue_mut(queue)
        {
            queue.await_no_more(&call.correlation_id, key);
        }
    }

    /// Behind the request, however long that takes to get there.
    fn tell_queue(&mut self, call: &Call, end: CallEnd) {
        let (queue, call, ended_at) = (call.queue, call.token.call, self.now);
        if queue.shard == self.index {
            self.request_ended(queue, call, end, ended_at);
        } else {
            let mail = Mail::CallEnded {
                queue,
                call,
                end,
                ended_at,
            };
            self.neighbours.send(queue.shard, mail);
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
        if let Some(question) = Question::of(content.routing_key) {
            return self.inquire(caller, question, content);
        }
        Fate::Unroutable
    }
}

/// Is this a key of the default exchange that means something without a queue?
fn is_own_name(routing_key: &[u8]) -> bool {
    routing_key == CANCEL || Question::of(routing_key).is_some()
}

fn spelling_of(properties: &Properties<'_>) -> &'static [u8] {
    match properties.reply_to() {
        Some(REPLY_TO_LAVINMQ) => REPLY_TO_LAVINMQ,
        _ => REPLY_TO,
    }
}
