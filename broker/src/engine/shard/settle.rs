//! basic.ack, nack, reject, recover: what becomes of messages that were handed out.

use super::mail::Mail;
use super::{Shard, Slot};
use crate::engine::address::QueueAddress;
use crate::engine::channel::{Channel, Delivery};
use crate::engine::queue::Settlement;
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;

impl Shard {
    #[inline]
    pub(super) fn ack(
        &mut self,
        slot: Slot,
        number: u16,
        delivery_tag: u64,
        multiple: bool,
    ) -> Result<(), Violation> {
        self.settle_tags(slot, number, delivery_tag, multiple, Settlement::Done)
    }

    pub(super) fn nack(
        &mut self,
        slot: Slot,
        number: u16,
        delivery_tag: u64,
        multiple: bool,
        requeue: bool,
    ) -> Result<(), Violation> {
        let settlement = if requeue {
            Settlement::Requeue
        } else {
            Settlement::Rejected
        };
        self.settle_tags(slot, number, delivery_tag, multiple, settlement)
    }

    /// Errors: 406 for a tag that is not outstanding, also with `multiple`, where 0 is all there
    /// are.
    #[inline]
    fn settle_tags(
        &mut self,
        slot: Slot,
        number: u16,
        delivery_tag: u64,
        multiple: bool,
        settlement: Settlement,
    ) -> Result<(), Violation> {
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        let unknown = || {
            let text = format!("unknown delivery tag {delivery_tag}");
            Violation::channel(ReplyCode::PreconditionFailed, text)
        };
        if !multiple {
            let delivery = channel.unacked.take(delivery_tag).ok_or_else(unknown)?;
            match channel.publishing.transaction_mut() {
                Some(transaction) => transaction.note(delivery, settlement),
                None => self.settle_delivery(slot, number, delivery, settlement),
            }
            return Ok(());
        }
        let through = match delivery_tag {
            0 => u64::MAX,
            tag if channel.unacked.is_outstanding(tag) => tag,
            _ => return Err(unknown()),
        };
        let deliveries = channel.unacked.take_through(through);
        if let Some(transaction) = channel.publishing.transaction_mut() {
            for delivery in deliveries {
                transaction.note(delivery, settlement);
            }
            return Ok(());
        }
        self.settle_deliveries(slot, number, &deliveries, settlement);
        Ok(())
    }

    /// basic.recover with `requeue`: everything outstanding goes back.
    pub(super) fn recover(&mut self, slot: Slot, number: u16) {
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(number)
            .expect("open, as the caller has checked");
        let deliveries = channel.unacked.take_through(u64::MAX);
        self.settle_deliveries(slot, number, &deliveries, Settlement::Requeue);
    }

    /// What is requeued is back before the room that it made is used.
    #[inline]
    fn settle_delivery(
        &mut self,
        slot: Slot,
        number: u16,
        delivery: Delivery,
        settlement: Settlement,
    ) {
        if settlement != Settlement::Done {
            self.returned(slot, number, delivery.tag);
        }
        self.settle(delivery.queue, delivery.unacked, settlement);
        if delivery.is_counted {
            self.give_back_room(slot, number, 1);
        }
    }

    /// The same of several: all of them are back before.
    fn settle_deliveries(
        &mut self,
        slot: Slot,
        number: u16,
        deliveries: &[Delivery],
        settlement: Settlement,
    ) {
        let mut counted_count = 0;
        for delivery in deliveries {
            if settlement != Settlement::Done {
                self.returned(slot, number, delivery.tag);
            }
            self.settle(delivery.queue, delivery.unacked, settlement);
            counted_count += u32::from(delivery.is_counted);
        }
        if counted_count > 0 {
            self.give_back_room(slot, number, counted_count);
        }
    }

    /// `count` deliveries do not count against the channel's common prefetch any more.
    #[inline]
    pub(super) fn give_back_room(&mut self, slot: Slot, number: u16, count: u32) {
        let channel = self.connections[slot as usize].channel_mut(number);
        let channel: &mut Channel = channel.expect("its deliveries were just taken from it");
        channel.limiter.give_back(count);
        if channel.limiter.restrains() {
            let to = channel.address;
            self.limiter_has_room(to);
        }
    }

    /// Wherever the queue lives.
    #[inline]
    pub(super) fn settle(&mut self, queue: QueueAddress, unacked: u32, settlement: Settlement) {
        if queue.shard == self.index {
            self.settle_here(queue, unacked, settlement);
        } else {
            self.neighbours.send(
                queue.shard,
                Mail::Settle {
                    queue,
                    unacked,
                    settlement,
                },
            );
        }
    }

    #[inline]
    pub(super) fn settle_here(
        &mut self,
        address: QueueAddress,
        unacked: u32,
        settlement: Settlement,
    ) {
        let Some(queue) = self.queue_mut(address) else {
            return;
        };
        let before = queue.kept_len();
        if settlement == Settlement::Done {
            queue.acknowledge(unacked);
            let after = queue.kept_len();
            if !queue.is_empty() {
                self.agenda.queues.push(address);
            }
            self.pressure.account(before, after);
            return;
        }
        let given_up = queue.settle(unacked, settlement);
        let after = queue.kept_len();
        self.agenda.queues.push(address);
        self.pressure.account(before, after);
        if let Some((queued, reason)) = given_up {
            self.give_up(address, queued, reason);
        }
        self.drop_overflow(address);
    }
}
