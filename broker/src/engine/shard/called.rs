//! The called side of followed calls: queues that have their requests, workers that are to answer
//! them.

use super::deliver::{Enqueued, Parcel};
use super::mail::Mail;
use super::{Shard, Slot};
use crate::engine::address::{
    CallAddress, ChannelAddress, QueueAddress, ReplyAddress, ReplyName, parse_reply_name,
};
use crate::engine::call::{self, CallEnd, Status};
use crate::engine::channel::Channel;
use crate::engine::message::{Message, Passing};
use crate::engine::name::Name;
use crate::engine::queue::{ConsumerKey, Queue, Queued, Reason};
use crate::engine::violation::Violation;
use crate::engine::wire::basic::{Deliver, HotMethod};
use crate::engine::wire::properties::Properties;
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::TABLE_DEPTH_MAX;

/// Who consumes from this hears which of the calls that it has are over.
pub(super) const CONTROL: &[u8] = b"amq.rpc.control";

const REQUEST: &str = "what is marked as a call has its reply address";

impl Shard {
    /// Gives the request of a call to a local queue. `None`: there is no such queue.
    #[cold]
    pub(super) fn enqueue_request(
        &mut self,
        address: QueueAddress,
        passing: &mut Passing<'_>,
    ) -> Option<Enqueued> {
        let token = passing.content.call().expect(REQUEST);
        let now = self.now;
        let queue = self.queue_mut(address)?;
        let failure = match token {
            _ if token.deadline <= now => Some(Status::DeadlinePassed),
            _ if token.errors && queue.consumers.is_empty() => Some(Status::NoWorker),
            _ => None,
        };
        if let Some(status) = failure {
            self.fail_call(token.call, status);
            return Some(Enqueued::Delivered);
        }
        queue.add_request(&token);
        let enqueued = self.deliver_or_keep_request(address, passing);
        if enqueued == Enqueued::Rejected {
            self.request_given_up(address, token.call, Status::QueueFull);
        }
        Some(enqueued)
    }

    /// Hands a request over, or keeps it, once its queue knows of it.
    fn deliver_or_keep_request(
        &mut self,
        address: QueueAddress,
        passing: &mut Passing<'_>,
    ) -> Enqueued {
        let is_empty = self.queues[address.index as usize].is_empty();
        match is_empty.then(|| self.pick_consumer(address)).flatten() {
            Some(consumer) => {
                self.hand_over_request(address, consumer, Parcel::Passing(passing));
                Enqueued::Delivered
            }
            None => self.keep(address, passing),
        }
    }

    /// A request goes to a worker, with what is left of its time.
    #[cold]
    pub(super) fn hand_over_request(
        &mut self,
        address: QueueAddress,
        key: ConsumerKey,
        parcel: Parcel<'_, '_>,
    ) {
        let queue = &mut self.queues[address.index as usize];
        let queued = parcel.into_queued(queue, self.now);
        let consumer = queue.consumers.get(key).expect("picked just now");
        let (to, is_held) = (consumer.channel, !consumer.no_ack);
        let token = queued.message.content().call().expect(REQUEST);
        queue.request_handed_out(token.call, to, is_held);
        let stamped = call::stamped(&queued.message, self.now);
        self.hand_over_as(address, key, Parcel::Kept(queued), Some(stamped));
    }

    /// The queue was gone before the request was there.
    #[cold]
    pub(super) fn request_without_queue(&mut self, message: &Message) {
        let token = message.content().call().expect(REQUEST);
        self.fail_call(token.call, Status::NoSuchQueue);
    }

    /// The queue gives up a message, perhaps the request of a call.
    pub(super) fn given_up(&mut self, queue: QueueAddress, queued: &Queued, reason: Reason) {
        if let Some(token) = queued.message.content().call() {
            self.request_given_up(queue, token.call, status_of(reason));
        }
    }

    fn request_given_up(&mut self, address: QueueAddress, call: CallAddress, status: Status) {
        let queue = self.queue_mut(address);
        if queue.is_some_and(|queue| queue.request_given_up(call)) {
            self.fail_call(call, status);
        }
    }

    /// Nobody consumes from the queue any more.
    pub(super) fn fail_hopeless(&mut self, address: QueueAddress) {
        let Some(queue) = self.queue_mut(address) else {
            return;
        };
        if !queue.has_hopeless_calls() {
            return;
        }
        let before = queue.kept_len();
        let calls = queue.take_hopeless_calls();
        let after = queue.kept_len();
        self.pressure.account(before, after);
        self.fail_calls(calls, Status::NoWorker);
    }

    pub(super) fn fail_calls(&mut self, calls: Vec<CallAddress>, status: Status) {
        for call in calls {
            self.fail_call(call, status);
        }
    }

    /// The queue is gone: what waited in it ends, what its workers have they may still answer.
    pub(super) fn fail_requests(&mut self, queue: &mut Queue) {
        for (to, call) in queue.take_held_requests() {
            match to.shard == self.index {
                true => self.orphan_request(to, call),
                false => self.neighbours.send(to.shard, Mail::Orphaned { to, call }),
            }
        }
        let waiting = queue.take_waiting_calls();
        self.fail_calls(waiting, Status::NoSuchQueue);
    }

    /// The caller's shard says that the call is over.
    pub(super) fn request_ended(&mut self, address: QueueAddress, call: CallAddress, end: CallEnd) {
        let Some(queue) = self.queue_mut(address) else {
            return;
        };
        let before = queue.kept_len();
        let purges = queue.rules().is_some_and(|rules| rules.rpc_purge_on_gone);
        let worker = match end {
            CallEnd::Answered { is_final: true } | CallEnd::Cancelled => queue.end_request(call),
            CallEnd::CallerGone { purges: true } => queue.end_request(call),
            CallEnd::CallerGone { .. } if purges => queue.end_request(call),
            CallEnd::Answered { .. } | CallEnd::CallerGone { .. } | CallEnd::DeadlinePassed => {
                queue.forget_request(call)
            }
        };
        let after = queue.kept_len();
        self.pressure.account(before, after);
        match worker {
            Some(to) if to.shard == self.index => self.need_not_answer(to, call, end),
            Some(to) => self
                .neighbours
                .send(to.shard, Mail::CallOver { to, call, end }),
            None => {}
        }
    }

    /// A worker's channel has been handed the request of a call.
    #[cold]
    pub(super) fn serve(&mut self, to: ChannelAddress, delivery_tag: u64, message: &Message) {
        let content = message.content();
        let token = content.call().expect(REQUEST);
        let walked = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX);
        let properties = walked.expect("walked when the message was published");
        let correlation_id = Name::from(properties.correlation_id().unwrap_or_default());
        let served = &mut self.connections[to.slot as usize].served;
        served.add(token.call, (to.channel, delivery_tag), correlation_id);
    }

    /// A worker's message is longer than any may be: if it is the reply to a call that it has, the
    /// caller hears of it.
    #[cold]
    pub(super) fn refuse_reply(&mut self, slot: Slot, routing_key: &[u8]) {
        if let Some(ReplyName::Full { opaque }) = parse_reply_name(routing_key)
            && let Some(ReplyAddress { token, .. }) = self.sealer.open_reply(opaque)
            && let Some(token) = token
            && self.served(slot, token.call)
        {
            self.fail_call(token.call, Status::ReplyTooLarge);
        }
    }

    /// A worker publishes the reply of a call: whatever becomes of its channel now, the call has
    /// its end.
    /// False: its connection has not got the request.
    pub(super) fn served(&mut self, slot: Slot, call: CallAddress) -> bool {
        let served = &mut self.connections[slot as usize].served;
        served.remove(call).is_some()
    }

    /// A worker gives a delivery back.
    pub(super) fn returned(&mut self, slot: Slot, number: u16, delivery_tag: u64) {
        let served = &mut self.connections[slot as usize].served;
        if let Some(orphan) = served.returned((number, delivery_tag)) {
            self.fail_call(orphan, Status::NoSuchQueue);
        }
    }

    /// The queue of a request that a worker has is gone.
    pub(super) fn orphan_request(&mut self, to: ChannelAddress, call: CallAddress) {
        let is_there = self.channel_mut(to).is_some();
        if !is_there || !self.connections[to.slot as usize].served.orphan(call) {
            // Answered, and nothing more comes of this; or on its way back to where no queue is.
            self.fail_call(call, Status::NoSuchQueue);
        }
    }

    /// The call that a worker's channel has is over: its control consumer hears of it, if it has
    /// one and the flow is on.
    pub(super) fn need_not_answer(&mut self, to: ChannelAddress, call: CallAddress, end: CallEnd) {
        if self.channel_mut(to).is_none() {
            return;
        }
        let connection = &mut self.connections[to.slot as usize];
        let frame_len_max = connection.tuning.frame_len_max;
        let Some((request_tag, correlation_id)) = connection.served.remove(call) else {
            return;
        };
        let (channel, outbound) = connection
            .channel_and_outbound(to.channel)
            .expect("looked up above");
        let is_flowing = channel.limiter.is_flowing();
        let consumer = channel.control_consumer.clone().filter(|_| is_flowing);
        if let (Some(consumer), Some(event)) = (consumer, end.event()) {
            let properties = call::over_properties(correlation_id.as_bytes(), event, request_tag);
            let deliver = HotMethod::Deliver(Deliver {
                consumer_tag: consumer.as_bytes(),
                delivery_tag: channel.take_delivery_tag(),
                redelivered: false,
                exchange: b"",
                routing_key: CONTROL,
            });
            let content = call::own_content(CONTROL, &properties);
            outbound.push_content(to.channel, &deliver, &content, frame_len_max);
            self.agenda.touch(connection);
        }
    }

    /// basic.consume of `amq.rpc.control`. Errors: 406, as for the consumer of direct replies.
    pub(super) fn consume_control(
        &mut self,
        (slot, number): (Slot, u16),
        tag: Name,
        no_ack: bool,
        no_wait: bool,
    ) -> Result<(), Violation> {
        let refused = |text| Err(Violation::channel(ReplyCode::PreconditionFailed, text));
        let channel = self.connections[slot as usize].channel_mut(number);
        let channel: &mut Channel = channel.expect("open, as the caller has checked");
        if !no_ack {
            return refused("control consumer cannot acknowledge");
        }
        if channel.control_consumer.is_some() {
            return refused("control consumer already set");
        }
        channel.control_consumer = Some(tag.clone());
        if !no_wait {
            self.consume_ok(slot, number, &tag);
        }
        Ok(())
    }

    /// A worker's channel is gone. What it had to acknowledge goes back to its queue; the other
    /// calls that it has not answered nobody will.
    pub(super) fn leave_calls(&mut self, channel: &Channel) {
        let ChannelAddress {
            slot,
            channel: number,
            ..
        } = channel.address;
        let served = &mut self.connections[slot as usize].served;
        if served.is_empty() {
            return;
        }
        for abandoned in served.take_channel(number) {
            let goes_back = channel.unacked.is_outstanding(abandoned.delivery_tag);
            if !goes_back || abandoned.is_orphan {
                self.fail_call(abandoned.call, Status::WorkerGone);
            }
        }
    }
}

/// What it means to a call that its queue gave its request up.
fn status_of(reason: Reason) -> Status {
    match reason {
        Reason::Rejected => Status::Rejected,
        Reason::Expired => Status::DeadlinePassed,
        Reason::MaxLength => Status::QueueFull,
        Reason::DeliveryLimit => Status::DeliveryLimit,
    }
}
