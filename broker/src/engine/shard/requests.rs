//! What is asked of a queue: on its own shard and, by mail, from any other.

use super::called::request_for;
use super::mail::Mail;
use super::registrar::Then;
use super::{Shard, Slot};
use crate::engine::address::{
    ChannelAddress, ConnectionAddress, QueueAddress, ReplyAddress, VhostIndex,
};
use crate::engine::call::Status;
use crate::engine::channel::Pending;
use crate::engine::name::Name;
use crate::engine::queue::{Consumer, ConsumerKey, Queue, Queued, Worker};
use crate::engine::time::Timestamp;
use crate::engine::topology::Change;
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;

/// A method that only the queue's own shard can execute.
#[derive(Debug)]
pub struct QueueRequest {
    pub asker: ConnectionAddress,
    pub vhost: VhostIndex,
    /// As the client wrote it, for error texts.
    pub name: Name,
    pub kind: RequestKind,
}

#[derive(Debug)]
pub enum RequestKind {
    Inspect,
    /// Does a requester wait under this direct reply-to address?
    InspectReply {
        to: ReplyAddress,
    },
    Consume(ConsumeRequest),
    Cancel {
        key: ConsumerKey,
    },
    Get {
        no_ack: bool,
    },
    Purge,
    Delete {
        if_unused: bool,
        if_empty: bool,
    },
}

#[derive(Debug)]
pub struct ConsumeRequest {
    pub handle: u32,
    pub tag: Name,
    pub no_ack: bool,
    pub exclusive: bool,
    pub priority: i32,
    pub prefetch: u16,
    pub is_limited: bool,
}

/// A queue that is no more: whom to tell, once all shards know.
#[derive(Debug)]
pub(super) struct DeletedQueue {
    address: QueueAddress,
    /// The channel that asked for it, on any shard.
    answer: Option<(ChannelAddress, QueueAnswer)>,
    /// Each with the handle that its channel knows it by.
    consumers: Vec<(ChannelAddress, u32, ConsumerKey)>,
}

#[derive(Debug)]
pub enum QueueAnswer {
    Inspected {
        message_count: usize,
        consumer_count: usize,
    },
    ReplyInspected,
    Consuming {
        key: ConsumerKey,
    },
    Cancelled,
    /// `unacked`: the queue's key for the message if it must be acknowledged.
    Got {
        queued: Queued,
        unacked: Option<u32>,
        message_count: usize,
    },
    Empty,
    Purged {
        message_count: usize,
    },
    Deleted {
        message_count: usize,
    },
}

impl Shard {
    /// Asks the queue wherever it lives. The connection executes nothing before the answer.
    pub(super) fn request(
        &mut self,
        (slot, number): (Slot, u16),
        pending: Pending,
        queue: QueueAddress,
        name: Name,
        kind: RequestKind,
    ) {
        let connection = &mut self.connections[slot as usize];
        connection.waits.answer = true;
        let (asker, vhost) = (connection.address, connection.vhost);
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        channel.pending = Some(pending);
        let origin = channel.address;
        let request = QueueRequest {
            asker,
            vhost,
            name,
            kind,
        };
        if queue.shard == self.index {
            self.answer_request(origin, queue, request);
        } else {
            let request = Box::new(request);
            self.neighbours.send(
                queue.shard,
                Mail::Request {
                    origin,
                    queue,
                    request,
                },
            );
        }
    }

    /// Queue side.
    pub(super) fn answer_request(
        &mut self,
        origin: ChannelAddress,
        address: QueueAddress,
        request: QueueRequest,
    ) {
        let answer = match request.kind {
            RequestKind::Delete {
                if_unused,
                if_empty,
            } => {
                let checked = self.check_deletable(address, &request, if_unused, if_empty);
                match checked {
                    // The answer comes once all shards have forgotten the name.
                    Ok(true) => {
                        let message_count = self.queue(address).map_or(0, Queue::message_count);
                        let answer = QueueAnswer::Deleted { message_count };
                        return self.delete_queue(address, Some((origin, answer)));
                    }
                    Ok(false) => Ok(QueueAnswer::Deleted { message_count: 0 }),
                    Err(violation) => Err(violation),
                }
            }
            RequestKind::Cancel { key } => {
                // An auto-delete queue goes with it, and the client may declare the name anew.
                if self.remove_consumer(address, key) {
                    let answer = Some((origin, QueueAnswer::Cancelled));
                    return self.delete_queue(address, answer);
                }
                Ok(QueueAnswer::Cancelled)
            }
            RequestKind::InspectReply { to } => match self.is_requester_alive(to) {
                true => Ok(QueueAnswer::ReplyInspected),
                false => {
                    let topology = self.topology(request.vhost);
                    Err(topology.no_queue(request.name.as_bytes()))
                }
            },
            _ => self.execute_request(origin, address, request),
        };
        self.send_answer(origin, address, answer);
    }

    fn send_answer(
        &mut self,
        to: ChannelAddress,
        queue: QueueAddress,
        answer: Result<QueueAnswer, Violation>,
    ) {
        if to.shard == self.index {
            self.handle_answer(to, queue, answer);
        } else {
            let answer = Box::new(answer);
            self.neighbours
                .send(to.shard, Mail::Answer { to, queue, answer });
        }
    }

    fn execute_request(
        &mut self,
        origin: ChannelAddress,
        address: QueueAddress,
        request: QueueRequest,
    ) -> Result<QueueAnswer, Violation> {
        let now = self.now;
        self.usable(address, &request)?.last_used = now;
        while !self.drop_expired(address) {}
        let queue = &mut self.queues[address.index as usize];
        let before = queue.kept_len();
        let mut purged = Vec::new();
        let answer = match request.kind {
            RequestKind::Consume(consume) => {
                let key = add_consumer(queue, origin, consume).ok_or_else(|| {
                    let queue = self.topologies[usize::from(request.vhost.0)]
                        .queue_text(request.name.as_bytes());
                    let text = format!("{queue} in exclusive use");
                    Violation::channel(ReplyCode::AccessRefused, text)
                })?;
                self.agenda.queues.push(address);
                QueueAnswer::Consuming { key }
            }
            RequestKind::Get { no_ack } => get(queue, origin, no_ack, now),
            RequestKind::Purge => {
                let message_count = queue.message_count();
                purged = queue.take_waiting_calls();
                queue.purge();
                QueueAnswer::Purged { message_count }
            }
            _ => QueueAnswer::Inspected {
                message_count: queue.message_count(),
                consumer_count: queue.consumers.count(),
            },
        };
        let after = self.queues[address.index as usize].kept_len();
        self.pressure.account(before, after);
        self.schedule_queue(address);
        self.fail_calls(address, purged, Status::Purged);
        Ok(answer)
    }

    /// Errors: 404 if it is not there, 405 if it is another connection's.
    fn usable(
        &mut self,
        address: QueueAddress,
        request: &QueueRequest,
    ) -> Result<&mut Queue, Violation> {
        let topology = &self.topologies[usize::from(request.vhost.0)];
        let name = request.name.as_bytes();
        let queue = self.queues.get_mut(address.index as usize);
        let queue = queue.filter(|queue| queue.address == address);
        let queue = queue.ok_or_else(|| topology.no_queue(name))?;
        let owner = queue.attributes.exclusive;
        if owner.is_some_and(|owner| owner != request.asker) {
            return Err(topology.locked_queue(name));
        }
        Ok(queue)
    }

    /// False: there is no such queue, which is as good as deleted. Errors: 405, 406.
    fn check_deletable(
        &mut self,
        address: QueueAddress,
        request: &QueueRequest,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<bool, Violation> {
        if self.queue(address).is_none() {
            return Ok(false);
        }
        let queue = self.usable(address, request)?;
        let what = if if_empty && !queue.is_empty() {
            "not empty"
        } else if if_unused && !queue.consumers.is_empty() {
            "in use"
        } else {
            return Ok(true);
        };
        let topology = self.topology(request.vhost);
        let text = format!("{} {what}", topology.queue_text(request.name.as_bytes()));
        Err(Violation::channel(ReplyCode::PreconditionFailed, text))
    }

    /// The consumer is gone, or to be gone; an auto-delete queue goes with its last one.
    pub(super) fn forget_consumer(&mut self, address: QueueAddress, key: ConsumerKey) {
        if self.remove_consumer(address, key) {
            self.delete_queue(address, None);
        }
    }

    /// True: it was the last one of an auto-delete queue, which is to be deleted.
    fn remove_consumer(&mut self, address: QueueAddress, key: ConsumerKey) -> bool {
        let now = self.now;
        let Some(queue) = self.queue_mut(address) else {
            return false;
        };
        if queue.consumers.remove(key).is_none() {
            return false;
        }
        if queue.consumers.is_empty() {
            let is_over = queue.attributes.auto_delete;
            queue.last_used = now;
            self.fail_hopeless(address);
            if is_over {
                return true;
            }
            self.schedule_queue(address);
        } else if queue.consumers.is_single_active() {
            // Another one is active now.
            self.agenda.queues.push(address);
        }
        false
    }

    /// Deletes a local queue with its messages, and tells all shards, then who asked for it, then
    /// its consumers.
    pub(super) fn delete_queue(
        &mut self,
        address: QueueAddress,
        answer: Option<(ChannelAddress, QueueAnswer)>,
    ) {
        if self.queue_mut(address).is_none() {
            return;
        }
        let mut queue = self.queues.remove(address.index as usize);
        self.timers.cancel_queue(address.index, queue.alarm);
        self.pressure.account(queue.kept_len(), 0);
        self.fail_requests(&mut queue);
        self.services.close(address.index);
        if let Some(owner) = queue.attributes.exclusive
            && let Some(connection) = self.connections.get_mut(owner.slot as usize)
        {
            connection
                .exclusive_queues
                .retain(|other| *other != address);
        }
        let consumers = queue.consumers.iter();
        let deleted = DeletedQueue {
            address,
            answer,
            consumers: consumers
                .map(|(key, consumer)| (consumer.channel, consumer.handle, key))
                .collect(),
        };
        if queue.is_listed || self.topology(queue.vhost).is_bound(address) {
            let name = queue.is_listed.then(|| queue.name.clone());
            let change = Change::DeleteQueue { name, address };
            let then = Then::QueueDeleted(Box::new(deleted));
            self.propose(queue.vhost, change, None, then);
        } else {
            self.queue_deleted(deleted);
        }
    }

    /// All shards have forgotten the queue. Who asked for that is told first, as by RabbitMQ: a
    /// client that consumes from what it deletes expects the cancel behind the delete-ok.
    pub(super) fn queue_deleted(&mut self, deleted: DeletedQueue) {
        let queue = deleted.address;
        if let Some((asker, answer)) = deleted.answer {
            self.send_answer(asker, queue, Ok(answer));
            if asker.shard == self.index {
                self.resume(asker.slot);
            }
        }
        for (to, handle, consumer) in deleted.consumers {
            if to.shard == self.index {
                self.consumer_gone(to, handle, queue, consumer);
                continue;
            }
            let mail = Mail::ConsumerGone {
                to,
                handle,
                queue,
                consumer,
            };
            self.neighbours.send(to.shard, mail);
        }
    }
}

/// `None`: somebody consumes alone, or wants to and is not.
fn add_consumer(
    queue: &mut Queue,
    channel: ChannelAddress,
    consume: ConsumeRequest,
) -> Option<ConsumerKey> {
    let is_alone = queue.consumers.has_exclusive();
    let is_shared = !queue.consumers.is_empty() || queue.consumers.is_single_active();
    if is_alone || (consume.exclusive && is_shared) {
        return None;
    }
    let mut consumer = Consumer::new(channel, consume.handle, consume.tag);
    consumer.no_ack = consume.no_ack;
    consumer.exclusive = consume.exclusive;
    consumer.priority = consume.priority;
    consumer.prefetch = consume.prefetch;
    consumer.is_limited = consume.is_limited && channel.shard != queue.address.shard;
    Some(queue.consumers.add(consumer))
}

fn get(queue: &mut Queue, to: ChannelAddress, no_ack: bool, now: Timestamp) -> QueueAnswer {
    let Some(mut queued) = queue.pop() else {
        return QueueAnswer::Empty;
    };
    let unacked = (!no_ack).then(|| queue.hold(queued.clone(), None));
    if queued.message.is_call() {
        let worker = Worker {
            channel: to,
            consumer: None,
            is_held: !no_ack,
        };
        queued.message = request_for(queue, &queued.message, worker, now);
    }
    QueueAnswer::Got {
        queued,
        unacked,
        message_count: queue.message_count(),
    }
}
