//! Classes basic (the cold part) and confirm: qos, consume, cancel, get, recover, select.

use super::called::CONTROL;
use super::consumer_arguments::priority;
use super::declare::out_of_order;
use super::mail::Mail;
use super::requests::{ConsumeRequest, RequestKind};
use super::{Shard, Slot};
use crate::engine::address::{ChannelAddress, QueueAddress, ReplyName, parse_reply_name};
use crate::engine::channel::{ChannelConsumer, Limiter, Pending};
use crate::engine::name::Name;
use crate::engine::queue::ConsumerKey;
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::access::{AMQPMethod as AccessMethod, RequestOk};
use amq_protocol::protocol::basic::{
    AMQPMethod, Cancel, CancelOk, Consume, ConsumeOk, Get, Qos, QosOk, RecoverOk,
};
use amq_protocol::protocol::confirm::{AMQPMethod as ConfirmMethod, SelectOk};

impl Shard {
    pub(super) fn basic_method(
        &mut self,
        slot: Slot,
        number: u16,
        method: AMQPMethod,
    ) -> Result<(), Violation> {
        match method {
            AMQPMethod::Qos(qos) => {
                self.qos(slot, number, &qos);
                Ok(())
            }
            AMQPMethod::Consume(consume) => self.consume(slot, number, &consume),
            AMQPMethod::Cancel(cancel) => {
                self.cancel(slot, number, &cancel);
                Ok(())
            }
            AMQPMethod::Get(get) => self.get(slot, number, &get),
            AMQPMethod::Recover(recover) => self.recover_if(slot, number, recover.requeue, true),
            AMQPMethod::RecoverAsync(recover) => {
                self.recover_if(slot, number, recover.requeue, false)
            }
            // A client that was told of its consumer's end may say so.
            AMQPMethod::CancelOk(_) => Ok(()),
            _ => Err(out_of_order()),
        }
    }

    /// `global` limits the channel; otherwise each consumer that comes later, and, as in RabbitMQ,
    /// the channel's limit is lifted.
    fn qos(&mut self, slot: Slot, number: u16, qos: &Qos) {
        let channel_max = if qos.global { qos.prefetch_count } else { 0 };
        self.change_limiter(slot, number, |limiter| limiter.set_max(channel_max));
        if !qos.global
            && let Some(channel) = self.connections[slot as usize].channel_mut(number)
        {
            channel.prefetch = qos.prefetch_count;
        }
        self.send(slot, number, AMQPClass::Basic(AMQPMethod::QosOk(QosOk {})));
    }

    /// Changes what restrains all consumers of the channel, and tells those on other shards.
    pub(super) fn change_limiter(
        &mut self,
        slot: Slot,
        number: u16,
        change: impl FnOnce(&mut Limiter),
    ) {
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        let before = channel.limiter.restrains();
        change(&mut channel.limiter);
        let is_limited = channel.limiter.restrains();
        let to = channel.address;
        if is_limited != before {
            for (_, known) in &channel.consumers {
                if let Some(consumer) = known.key
                    && known.queue.shard != self.index
                {
                    let restrain = Mail::Restrain {
                        queue: known.queue,
                        consumer,
                        is_limited,
                    };
                    self.neighbours.send(known.queue.shard, restrain);
                }
            }
        }
        self.limiter_has_room(to);
    }

    fn consume(&mut self, slot: Slot, number: u16, consume: &Consume) -> Result<(), Violation> {
        let tag = consume.consumer_tag.as_str().as_bytes();
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        if !tag.is_empty() && channel.has_tag(tag) {
            let text = format!("attempt to reuse consumer tag '{}'", consume.consumer_tag);
            return Err(Violation::connection(ReplyCode::NotAllowed, text));
        }
        let count_max = self.settings.limits.consumer_count_max;
        if channel.consumers.len() >= count_max {
            let text = format!("more than {count_max} consumers on a channel");
            return Err(Violation::channel(ReplyCode::PreconditionFailed, text));
        }
        let is_limited = channel.limiter.restrains();
        let prefetch = channel.prefetch;
        let tag = match tag {
            [] => self.generated_tag(),
            tag => Name::from(tag),
        };
        match parse_reply_name(consume.queue.as_str().as_bytes()) {
            Some(ReplyName::Bare) => return self.consume_replies(slot, number, tag, consume),
            Some(ReplyName::Full { .. }) => {
                let text = format!("cannot consume from '{}'", consume.queue);
                return Err(Violation::channel(ReplyCode::AccessRefused, text));
            }
            None if consume.queue.as_str().as_bytes() == CONTROL => {
                let (no_ack, no_wait) = (consume.no_ack, consume.nowait);
                return self.consume_control((slot, number), tag, no_ack, no_wait);
            }
            None => {}
        }
        let (name, queue) = self.resolve(slot, number, consume.queue.as_str())?;
        let consumer = ConsumeRequest {
            handle: 0,
            tag: tag.clone(),
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            priority: priority(
                &consume.arguments,
                &self.topology_of(slot).queue_text(name.as_bytes()),
            )?,
            prefetch,
            is_limited,
        };
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        let no_wait = consume.nowait;
        let known = ChannelConsumer {
            tag,
            queue,
            key: None,
            credit_owed: 0,
        };
        let handle = channel.add_consumer(known);
        let kind = RequestKind::Consume(ConsumeRequest { handle, ..consumer });
        let pending = Pending::Consume { handle, no_wait };
        self.request((slot, number), pending, queue, name, kind);
        Ok(())
    }

    /// basic.consume of `amq.rabbitmq.reply-to`, in either spelling.
    fn consume_replies(
        &mut self,
        slot: Slot,
        number: u16,
        tag: Name,
        consume: &Consume,
    ) -> Result<(), Violation> {
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        let refused = |text| Err(Violation::channel(ReplyCode::PreconditionFailed, text));
        if !consume.no_ack {
            return refused("reply consumer cannot acknowledge");
        }
        if channel.reply_consumer.is_some() {
            return refused("reply consumer already set");
        }
        channel.set_reply_consumer(tag.clone(), &self.sealer);
        if !consume.nowait {
            self.consume_ok(slot, number, &tag);
        }
        Ok(())
    }

    pub(super) fn consume_ok(&mut self, slot: Slot, number: u16, tag: &Name) {
        let consume_ok = ConsumeOk {
            consumer_tag: tag.to_string().into(),
        };
        self.send(
            slot,
            number,
            AMQPClass::Basic(AMQPMethod::ConsumeOk(consume_ok)),
        );
    }

    /// A tag that is unknown on the channel is answered all the same, as RabbitMQ does.
    fn cancel(&mut self, slot: Slot, number: u16, cancel: &Cancel) {
        let tag = Name::from(cancel.consumer_tag.as_str());
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        let no_wait = cancel.nowait;
        if let Some(handle) = channel.consumer_by_tag(tag.as_bytes()) {
            let known = channel.remove_consumer(handle);
            let key = known
                .key
                .expect("nothing is executed while a consume is pending");
            channel.limiter.forget(known.queue, key);
            let kind = RequestKind::Cancel { key };
            let pending = Pending::Cancel { tag, no_wait };
            self.request((slot, number), pending, known.queue, Name::default(), kind);
            return;
        }
        if channel
            .reply_consumer
            .as_ref()
            .is_some_and(|reply| reply.tag == tag)
        {
            channel.reply_consumer = None;
            channel.take_held_replies();
        } else if channel.control_consumer.as_ref() == Some(&tag) {
            channel.control_consumer = None;
        }
        if !no_wait {
            self.cancel_ok(slot, number, &tag);
        }
    }

    pub(super) fn cancel_ok(&mut self, slot: Slot, number: u16, tag: &Name) {
        let cancel_ok = CancelOk {
            consumer_tag: tag.to_string().into(),
        };
        self.send(
            slot,
            number,
            AMQPClass::Basic(AMQPMethod::CancelOk(cancel_ok)),
        );
    }

    /// A consumer's queue was deleted: the client hears of it if it said that it can.
    pub(super) fn consumer_gone(
        &mut self,
        to: ChannelAddress,
        handle: u32,
        queue: QueueAddress,
        consumer: ConsumerKey,
    ) {
        let Some(channel) = self.channel_mut(to) else {
            return;
        };
        if channel.consumer_mut(handle, queue, consumer).is_none() {
            return;
        }
        channel.limiter.forget(queue, consumer);
        let tag = channel.remove_consumer(handle).tag;
        if self.connections[to.slot as usize]
            .capabilities
            .consumer_cancel_notify
        {
            let cancel = Cancel {
                consumer_tag: tag.to_string().into(),
                nowait: true,
            };
            self.send(
                to.slot,
                to.channel,
                AMQPClass::Basic(AMQPMethod::Cancel(cancel)),
            );
        }
    }

    fn get(&mut self, slot: Slot, number: u16, get: &Get) -> Result<(), Violation> {
        if parse_reply_name(get.queue.as_str().as_bytes()).is_some() {
            let text = "basic.get on a direct reply-to name is not supported";
            return Err(Violation::connection(ReplyCode::NotImplemented, text));
        }
        let (name, queue) = self.resolve(slot, number, get.queue.as_str())?;
        let kind = RequestKind::Get { no_ack: get.no_ack };
        self.request((slot, number), Pending::Get, queue, name, kind);
        Ok(())
    }

    fn recover_if(
        &mut self,
        slot: Slot,
        number: u16,
        requeue: bool,
        answered: bool,
    ) -> Result<(), Violation> {
        if !requeue {
            let text = "requeue=false";
            return Err(Violation::connection(ReplyCode::NotImplemented, text));
        }
        self.recover(slot, number);
        if answered {
            self.send(
                slot,
                number,
                AMQPClass::Basic(AMQPMethod::RecoverOk(RecoverOk {})),
            );
        }
        Ok(())
    }

    pub(super) fn confirm_method(
        &mut self,
        slot: Slot,
        number: u16,
        method: ConfirmMethod,
    ) -> Result<(), Violation> {
        let ConfirmMethod::Select(select) = method else {
            return Err(out_of_order());
        };
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        if !channel.publishing.select_confirm() {
            let text = "cannot switch from tx to confirm mode";
            return Err(Violation::channel(ReplyCode::PreconditionFailed, text));
        }
        if !select.nowait {
            self.send(
                slot,
                number,
                AMQPClass::Confirm(ConfirmMethod::SelectOk(SelectOk {})),
            );
        }
        Ok(())
    }

    /// AMQP 0-8's access tickets: old clients ask for one, any will do.
    pub(super) fn access_method(
        &mut self,
        slot: Slot,
        number: u16,
        method: AccessMethod,
    ) -> Result<(), Violation> {
        let AccessMethod::Request(_) = method else {
            return Err(out_of_order());
        };
        self.send(
            slot,
            number,
            AMQPClass::Access(AccessMethod::RequestOk(RequestOk {})),
        );
        Ok(())
    }

    fn generated_tag(&mut self) -> Name {
        let shard = self.index;
        Name::from(format!("amq.ctag-{shard}-{}", self.take_generation()).as_str())
    }
}
