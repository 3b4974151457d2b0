//! How channels and connections end, by whoever's doing, and what they leave behind: nothing.

use super::mail::Mail;
use super::{Output, Shard, Slot};
use crate::engine::channel::Channel;
use crate::engine::connection::Phase;
use crate::engine::queue::Settlement;
use crate::engine::violation::{Scope, Violation};
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::channel::{self, AMQPMethod as ChannelMethod};
use amq_protocol::protocol::connection::{self, AMQPMethod as ConnectionMethod};

impl Shard {
    /// The peer broke the protocol or asked for what cannot be.
    pub(super) fn fail(&mut self, slot: Slot, number: u16, violation: Violation) {
        let connection = &self.connections[slot as usize];
        match (violation.scope, connection.channel(number)) {
            (Scope::Channel, Some(channel)) if !channel.is_closing => {
                self.fail_channel(slot, number, &violation);
            }
            _ => self.fail_connection(slot, &violation),
        }
    }

    fn fail_channel(&mut self, slot: Slot, number: u16, violation: &Violation) {
        self.flush_confirms_of(slot, number);
        let connection = &mut self.connections[slot as usize];
        let failed = connection
            .remove_channel(number)
            .expect("looked up by the caller");
        let mut closing = Channel::new(failed.address);
        closing.is_closing = true;
        connection.insert_channel(number, closing);
        // Only its own question is not waited for any more; the answer will find no channel.
        if failed.pending.is_some() {
            connection.waits.answer = false;
        }
        let peer = connection.peer;
        self.agenda.log(
            false,
            format!("channel {number} of {peer}: {}", violation.reply_text()),
        );
        self.release_channel(*failed);
        let close = channel::Close {
            reply_code: violation.code.value(),
            reply_text: violation.reply_text().into(),
            class_id: violation.method.class_id,
            method_id: violation.method.method_id,
        };
        self.send(
            slot,
            number,
            AMQPClass::Channel(ChannelMethod::Close(close)),
        );
        self.resume(slot);
    }

    fn fail_connection(&mut self, slot: Slot, violation: &Violation) {
        match self.connections[slot as usize].phase {
            // A stranger is told nothing.
            Phase::AwaitProtocolHeader | Phase::AwaitStartOk => {
                self.leave(slot, Output::Close(slot), &violation.reply_text());
            }
            Phase::AwaitTuneOk | Phase::AwaitOpen | Phase::Open => {
                self.send_close(slot, violation);
            }
            // What comes while we wait for close-ok does not matter any more.
            Phase::Closing { .. } | Phase::Gone => {}
        }
    }

    /// connection.close to the peer; its close-ok, or time, ends the connection.
    pub(super) fn send_close(&mut self, slot: Slot, violation: &Violation) {
        self.release_connection(slot);
        let connection = &mut self.connections[slot as usize];
        connection.phase = Phase::Closing { since: self.now };
        let (peer, text) = (connection.peer, violation.reply_text());
        self.agenda
            .log(true, format!("closing connection {peer}: {text}"));
        let close = connection::Close {
            reply_code: violation.code.value(),
            reply_text: text.into(),
            class_id: violation.method.class_id,
            method_id: violation.method.method_id,
        };
        self.send(
            slot,
            0,
            AMQPClass::Connection(ConnectionMethod::Close(close)),
        );
        self.schedule(slot);
        // Its close-ok must be read whatever the connection was waiting for.
        self.resume(slot);
    }

    /// The peer sent connection.close.
    pub(super) fn close_ok(&mut self, slot: Slot, reason: &str) {
        self.release_connection(slot);
        let close_ok = ConnectionMethod::CloseOk(connection::CloseOk {});
        self.send(slot, 0, AMQPClass::Connection(close_ok));
        self.leave(slot, Output::Close(slot), reason);
    }

    /// The peer sent channel.close.
    pub(super) fn channel_close_ok(&mut self, slot: Slot, number: u16) {
        self.flush_confirms_of(slot, number);
        let removed = self.connections[slot as usize].remove_channel(number);
        if let Some(channel) = removed {
            self.release_channel(*channel);
        }
        let close_ok = ChannelMethod::CloseOk(channel::CloseOk {});
        self.send(slot, number, AMQPClass::Channel(close_ok));
    }

    /// The last thing done to a connection; `how` tells the shell.
    pub(super) fn leave(&mut self, slot: Slot, how: Output, reason: &str) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        if connection.phase == Phase::Gone {
            return;
        }
        let peer = connection.peer;
        self.execute_parked(slot);
        self.release_connection(slot);
        let connection = &mut self.connections[slot as usize];
        connection.phase = Phase::Gone;
        connection.backlog = Vec::new();
        if matches!(how, Output::Abort(_)) {
            connection.outbound.clear();
        }
        self.agenda
            .log(false, format!("connection {peer} closed: {reason}"));
        self.agenda.outputs.push_back(how);
    }

    /// Ends the channels and the exclusive queues of a connection.
    fn release_connection(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        connection.waits = Default::default();
        connection.parked = Default::default();
        for number in connection.channel_numbers() {
            self.flush_confirms_of(slot, number);
            let removed = self.connections[slot as usize].remove_channel(number);
            self.release_channel(*removed.expect("listed by the connection itself"));
        }
        self.bounce_withheld(slot, None);
        let exclusive = &mut self.connections[slot as usize].exclusive_queues;
        for queue in std::mem::take(exclusive) {
            self.delete_queue(queue, None);
        }
    }

    /// Gives back what a channel held: its own calls first, so that nothing ends them for a channel
    /// that is gone; then consumers, so that nothing returns to them.
    fn release_channel(&mut self, mut channel: Channel) {
        self.abandon_calls(&channel);
        for (_, consumer) in &channel.consumers {
            // Without a key the queue's answer is still to come; it finds no channel.
            if let Some(key) = consumer.key {
                self.forget_consumer_anywhere(consumer.queue, key);
            }
        }
        self.bounce_withheld(channel.address.slot, Some(channel.address));
        channel.roll_back();
        self.leave_calls(&channel);
        for delivery in channel.unacked.take_through(u64::MAX) {
            self.settle(delivery.queue, delivery.unacked, Settlement::Requeue);
        }
    }

    fn forget_consumer_anywhere(
        &mut self,
        queue: crate::engine::address::QueueAddress,
        consumer: crate::engine::queue::ConsumerKey,
    ) {
        match queue.shard == self.index {
            true => self.forget_consumer(queue, consumer),
            false => self
                .neighbours
                .send(queue.shard, Mail::Forget { queue, consumer }),
        }
    }

    pub(super) fn shut_down(&mut self) {
        let reason = "broker forced connection closure with reason 'shutdown'";
        let violation = Violation::connection(ReplyCode::ConnectionForced, reason);
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let slot = Slot::try_from(slot).expect("slots are given out as such");
            match self.connections[slot as usize].phase {
                Phase::Open => self.send_close(slot, &violation),
                Phase::Closing { .. } | Phase::Gone => {}
                _ => self.leave(slot, Output::Close(slot), reason),
            }
        }
    }
}
