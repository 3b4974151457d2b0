//! The called side of followed calls: queues that have their requests, workers that are to answer
//! them.

use super::deliver::{Enqueued, Parcel};
use super::mail::Mail;
use super::{Shard, Slot};
use crate::engine::address::{
    CallAddress, ChannelAddress, QueueAddress, ReplyAddress, ReplyName, parse_reply_name,
};
use crate::engine::call::{self, CallEnd, Outcome, Status};
use crate::engine::channel::Channel;
use crate::engine::message::{Content, Message, Passing};
use crate::engine::name::Name;
use crate::engine::queue::{ConsumerKey, Ended, Marks, Queue, Queued, Reason, Record, Worker};
use crate::engine::time::Timestamp;
use crate::engine::violation::Violation;
use crate::engine::wire::arguments::{self, Value};
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
        let queue = self.queue(address)?;
        let has_worker = !queue.consumers.is_empty();
        let rules = queue.rules();
        let may_shed = rules.is_some_and(|rules| rules.rpc_shed);
        let has_slow = rules.is_some_and(|rules| rules.rpc_slow.is_some());
        let service = self.services.open(address.index);
        let is_shed = may_shed && service.is_some_and(|it| it.sheds(token.deadline.since(now)));
        let failure = match token {
            _ if token.deadline <= now => Some(Status::DeadlinePassed),
            _ if token.errors && !has_worker => Some(Status::NoWorker),
            _ if is_shed => Some(Status::Shed),
            _ => None,
        };
        let marks = has_slow.then(|| Box::new(marks_of(&passing.content)));
        if let Some(status) = failure {
            let record = Record::of(&token, marks);
            self.measure(address, &record, status.into(), now);
            self.fail_call(token.call, status);
            return Some(Enqueued::Delivered);
        }
        let queue = &mut self.queues[address.index as usize];
        queue.add_request(&token, marks);
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
        let token = passing.content.call().expect(REQUEST);
        match is_empty.then(|| self.pick_consumer(address)).flatten() {
            Some(consumer) => {
                self.hand_over_request(address, consumer, Parcel::Passing(passing));
                Enqueued::Delivered
            }
            None if token.errors && self.pressure.is_high() => {
                self.request_given_up(address, token.call, Status::MemoryShort);
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
        let worker = Worker {
            channel: consumer.channel,
            consumer: Some(key),
            is_held: !consumer.no_ack,
        };
        let stamped = request_for(queue, &queued.message, worker, self.now);
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
        if let Some(ended) = queue.and_then(|queue| queue.request_given_up(call)) {
            self.ended(address, &ended, status.into(), self.now);
            self.fail_call(call, status);
        }
    }

    /// A call has ended as far as its queue is concerned.
    fn ended(
        &mut self,
        address: QueueAddress,
        ended: &Ended,
        outcome: Outcome,
        ended_at: Timestamp,
    ) {
        let consumer = ended.worker.and_then(|worker| worker.consumer);
        if let Some(key) = consumer
            && let Some(queue) = self.queue_mut(address)
        {
            match (outcome, ended.record.handed_at) {
                (Outcome::Answered, Some(handed_at)) => {
                    queue.consumers.call_answered(key, handed_at, ended_at);
                }
                _ => queue.consumers.call_over(key),
            }
        }
        self.measure(address, &ended.record, outcome, ended_at);
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
        self.fail_calls(address, calls, Status::NoWorker);
    }

    /// The queue has given up these, which waited in it.
    pub(super) fn fail_calls(
        &mut self,
        address: QueueAddress,
        calls: Vec<(CallAddress, Record)>,
        status: Status,
    ) {
        for (call, record) in calls {
            self.measure(address, &record, status.into(), self.now);
            self.fail_call(call, status);
        }
    }

    /// The queue is gone: what waited in it ends, what its workers have they may still answer.
    pub(super) fn fail_requests(&mut self, queue: &mut Queue) {
        for (worker, call) in queue.take_worked_on() {
            self.leave_to_worker(worker, call);
        }
        let waiting = queue.take_waiting_calls();
        self.fail_calls(queue.address, waiting, Status::NoSuchQueue);
    }

    /// Nothing that becomes of the call will be known here.
    fn leave_to_worker(&mut self, worker: Worker, call: CallAddress) {
        let (to, end) = (worker.channel, CallEnd::Unanswered);
        match (worker.is_held, to.shard == self.index) {
            (true, true) => self.orphan_request(to, call),
            (true, false) => self.neighbours.send(to.shard, Mail::Orphaned { to, call }),
            (false, true) => self.need_not_answer(to, call, end),
            (false, false) => {
                let mail = Mail::CallOver { to, call, end };
                self.neighbours.send(to.shard, mail);
            }
        }
    }

    /// The caller's shard says that the call is over.
    pub(super) fn request_ended(
        &mut self,
        address: QueueAddress,
        call: CallAddress,
        end: CallEnd,
        ended_at: Timestamp,
    ) {
        let Some(queue) = self.queue_mut(address) else {
            return;
        };
        let before = queue.kept_len();
        let purges = queue.rules().is_some_and(|rules| rules.rpc_purge_on_gone);
        let ended = match end {
            CallEnd::Answered { is_final: true } | CallEnd::Cancelled => queue.end_request(call),
            CallEnd::Failed { is_final: true, .. } => queue.end_request(call),
            CallEnd::CallerGone { purges: true } => queue.end_request(call),
            CallEnd::CallerGone { .. } if purges => queue.end_request(call),
            CallEnd::Answered { .. } | CallEnd::Failed { .. } => queue.forget_request(call),
            CallEnd::CallerGone { .. } | CallEnd::DeadlinePassed | CallEnd::Unanswered => {
                queue.forget_request(call)
            }
        };
        let after = queue.kept_len();
        self.pressure.account(before, after);
        let Some(ended) = ended else {
            return;
        };
        self.ended(address, &ended, end.outcome(), ended_at);
        match ended.worker.map(|worker| worker.channel) {
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
        let Some(token) = content.call() else {
            return;
        };
        let walked = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX);
        let properties = walked.expect("walked when the message was published");
        let correlation_id = Name::from(properties.correlation_id().unwrap_or_default());
        let served = &mut self.connections[to.slot as usize].served;
        let delivery = (to.channel, delivery_tag);
        served.add(token.call, delivery, correlation_id, self.now);
    }

    /// A worker's message is longer than any may be: if it is the reply to a call that it has, the
    /// caller hears of it.
    #[cold]
    pub(super) fn refuse_reply(&mut self, slot: Slot, routing_key: &[u8]) {
        if let Some(ReplyName::Full { opaque }) = parse_reply_name(routing_key)
            && let Some(ReplyAddress { token, .. }) = self.sealer.open_reply(opaque)
            && let Some(token) = token
            && self.served(slot, token.call).is_some()
        {
            self.fail_call(token.call, Status::ReplyTooLarge);
        }
    }

    /// A worker publishes the reply of a call: whatever becomes of its channel now, the call has
    /// its end. Says when its connection got the request, if it has.
    pub(super) fn served(&mut self, slot: Slot, call: CallAddress) -> Option<Timestamp> {
        let served = &mut self.connections[slot as usize].served;
        served.remove(call).map(|request| request.delivered_at)
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
        let Some(request) = connection.served.remove(call) else {
            return;
        };
        let (channel, outbound) = connection
            .channel_and_outbound(to.channel)
            .expect("looked up above");
        let is_flowing = channel.limiter.is_flowing();
        let consumer = channel.control_consumer.clone().filter(|_| is_flowing);
        if let (Some(consumer), Some(event)) = (consumer, end.event()) {
            let properties = call::over_properties(
                request.correlation_id.as_bytes(),
                event,
                request.delivery_tag(),
            );
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

/// The request as a worker gets it. Nobody would tell him that the call is over if its queue has
/// forgotten it: then it is a message like any other.
pub(super) fn request_for(
    queue: &mut Queue,
    message: &Message,
    worker: Worker,
    now: Timestamp,
) -> Message {
    let token = message.content().call().expect(REQUEST);
    let stamped = call::stamped(message, now);
    match queue.request_handed_out(token.call, worker, now) {
        true => stamped,
        false => stamped.unmarked(),
    }
}

/// What people recognise the call of this request by.
fn marks_of(content: &Content<'_>) -> Marks {
    let whole = content.properties.0.concat();
    let walked = Properties::walk(&whole, TABLE_DEPTH_MAX);
    let properties = walked.expect("walked when it was published");
    let headers = arguments::entries(properties.headers().unwrap_or_default());
    let mut traceparents = headers.filter_map(|entry| match entry {
        (b"traceparent", Value::LongString(text)) if text.len() <= 255 => Some(Name::from(text)),
        _ => None,
    });
    Marks {
        correlation_id: Name::from(properties.correlation_id().unwrap_or_default()),
        traceparent: traceparents.next().unwrap_or_default(),
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
