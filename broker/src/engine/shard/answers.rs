//! Answers to what was asked of a queue, back at the channel that asked.

use super::Shard;
use super::mail::Mail;
use super::requests::QueueAnswer;
use crate::engine::address::{ChannelAddress, QueueAddress};
use crate::engine::channel::{Delivery, Pending};
use crate::engine::queue::{ConsumerKey, Queued, Settlement};
use crate::engine::violation::Violation;
use crate::engine::wire::basic::{GetOk, HotMethod};
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic;
use amq_protocol::protocol::queue;

impl Shard {
    pub(super) fn handle_answer(
        &mut self,
        to: ChannelAddress,
        queue: QueueAddress,
        answer: Result<QueueAnswer, Violation>,
    ) {
        let Some(channel) = self.channel_mut(to) else {
            return self.decline_answer(queue, answer);
        };
        let pending = channel.pending.take().expect("an answer has its question");
        self.connections[to.slot as usize].waits.answer = false;
        match answer {
            Ok(answer) => self.conclude_pending(to, queue, pending, answer),
            Err(violation) => self.refused_pending(to, pending, violation),
        }
    }

    fn refused_pending(&mut self, to: ChannelAddress, pending: Pending, violation: Violation) {
        match pending {
            // Its name had not left our copy when we looked: declare it as what it is, new.
            Pending::DeclareQueue {
                name,
                no_wait,
                declared: Some(attributes),
            } if violation.code == ReplyCode::NotFound => {
                self.declare_named(to.slot, to.channel, name, attributes, no_wait);
                return;
            }
            Pending::Consume { handle, .. } => {
                if let Some(channel) = self.channel_mut(to) {
                    channel.remove_consumer(handle);
                }
            }
            _ => {}
        }
        self.fail_late(to, violation);
    }

    /// The channel is gone: what the answer granted goes back.
    fn decline_answer(&mut self, queue: QueueAddress, answer: Result<QueueAnswer, Violation>) {
        let is_local = queue.shard == self.index;
        match answer {
            Ok(QueueAnswer::Consuming { key }) if is_local => self.forget_consumer(queue, key),
            Ok(QueueAnswer::Consuming { key: consumer }) => {
                self.neighbours
                    .send(queue.shard, Mail::Forget { queue, consumer });
            }
            Ok(QueueAnswer::Got {
                unacked: Some(unacked),
                ..
            }) => {
                self.settle(queue, unacked, Settlement::Undelivered);
            }
            Ok(QueueAnswer::Got {
                queued,
                unacked: None,
                ..
            }) if is_local => {
                self.take_back(queue, queued);
            }
            Ok(QueueAnswer::Got {
                queued,
                unacked: None,
                ..
            }) => {
                let queued = Box::new(queued);
                self.neighbours
                    .send(queue.shard, Mail::Undelivered { queue, queued });
            }
            _ => {}
        }
    }

    fn conclude_pending(
        &mut self,
        to: ChannelAddress,
        queue: QueueAddress,
        pending: Pending,
        answer: QueueAnswer,
    ) {
        let (slot, number) = (to.slot, to.channel);
        match (pending, answer) {
            (
                Pending::DeclareQueue { name, no_wait, .. },
                QueueAnswer::Inspected {
                    message_count,
                    consumer_count,
                },
            ) => self.declare_ok(to, &name, (message_count, consumer_count), no_wait),
            (Pending::DeclareReply { name, no_wait }, QueueAnswer::ReplyInspected) => {
                self.declare_ok(to, &name, (0, 1), no_wait);
            }
            (Pending::Consume { handle, no_wait }, QueueAnswer::Consuming { key }) => {
                self.consuming(to, handle, key, no_wait);
            }
            (Pending::Cancel { tag, no_wait }, QueueAnswer::Cancelled) => {
                if !no_wait {
                    self.cancel_ok(slot, number, &tag);
                }
            }
            (
                Pending::Get,
                QueueAnswer::Got {
                    queued,
                    unacked,
                    message_count,
                },
            ) => {
                self.get_ok(to, queue, &queued, unacked, message_count);
            }
            (Pending::Get, QueueAnswer::Empty) => {
                let empty = basic::AMQPMethod::GetEmpty(basic::GetEmpty {});
                self.send(slot, number, AMQPClass::Basic(empty));
            }
            (Pending::Purge { no_wait }, QueueAnswer::Purged { message_count }) => {
                if !no_wait {
                    let message_count = u32::try_from(message_count).unwrap_or(u32::MAX);
                    let purge_ok = queue::AMQPMethod::PurgeOk(queue::PurgeOk { message_count });
                    self.send(slot, number, AMQPClass::Queue(purge_ok));
                }
            }
            (Pending::DeleteQueue { no_wait }, QueueAnswer::Deleted { message_count }) => {
                self.delete_ok(slot, number, message_count, no_wait);
            }
            (pending, answer) => {
                unreachable!("each question has its own answer: {pending:?} {answer:?}")
            }
        }
    }

    fn consuming(&mut self, to: ChannelAddress, handle: u32, key: ConsumerKey, no_wait: bool) {
        let Some(channel) = self.channel_mut(to) else {
            return;
        };
        let known = &mut channel.consumers[handle as usize];
        known.key = Some(key);
        let tag = known.tag.clone();
        if !no_wait {
            self.consume_ok(to.slot, to.channel, &tag);
        }
    }

    fn get_ok(
        &mut self,
        to: ChannelAddress,
        queue: QueueAddress,
        queued: &Queued,
        unacked: Option<u32>,
        message_count: usize,
    ) {
        let connection = &mut self.connections[to.slot as usize];
        let frame_len_max = connection.tuning.frame_len_max;
        let Some((channel, outbound)) = connection.channel_and_outbound(to.channel) else {
            return;
        };
        let delivery_tag = channel.take_delivery_tag();
        let content = queued.message.content();
        let get_ok = HotMethod::GetOk(GetOk {
            delivery_tag,
            redelivered: queued.place.is_redelivered(),
            exchange: content.exchange,
            routing_key: content.routing_key,
            message_count: u32::try_from(message_count).unwrap_or(u32::MAX),
        });
        outbound.push_content(to.channel, &get_ok, &content, frame_len_max);
        if let Some(unacked) = unacked {
            let tag = delivery_tag;
            channel.unacked.push(Delivery {
                tag,
                queue,
                unacked,
                is_counted: false,
            });
        }
        self.agenda.touch(connection);
        if queued.message.is_call() {
            self.serve(to, delivery_tag, &queued.message);
        }
    }
}
