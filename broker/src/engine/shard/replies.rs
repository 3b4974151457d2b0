//! Direct reply-to: a reply goes from its publisher straight to the requester's channel.

use super::deliver::RECEIVER;
use super::mail::{Mail, PublishOrigin};
use super::publish::Fate;
use super::{Shard, Slot};
use crate::engine::address::{ChannelAddress, ReplyAddress};
use crate::engine::message::{Content, Message};
use crate::engine::violation::MethodId;
use crate::engine::violation::Violation;
use crate::engine::wire::basic::{Deliver, HotMethod, METHOD_PUBLISH};
use crate::engine::wire::reply_code::ReplyCode;

impl Shard {
    /// `opaque`: what follows the spelling in the routing key.
    #[inline]
    pub(super) fn publish_reply(
        &mut self,
        slot: Slot,
        opaque: &[u8],
        content: &Content<'_>,
        asking: Option<PublishOrigin>,
    ) -> Fate {
        let Some(ReplyAddress { channel: to, token }) = self.sealer.open_reply(opaque) else {
            return Fate::Unroutable;
        };
        if let Some(token) = token {
            return self.publish_call_reply(slot, (to, token), content, asking);
        }
        if to.shard == self.index {
            let is_delivered = self.hand_reply(to, content);
            return if is_delivered {
                Fate::HandedOn
            } else {
                Fate::Unroutable
            };
        }
        let message = Message::from(content);
        self.neighbours.send(
            to.shard,
            Mail::Reply {
                to,
                message,
                origin: asking,
            },
        );
        self.wait_for_outbox(slot, to.shard);
        match asking {
            Some(_) => Fate::ASKED,
            None => Fate::HandedOn,
        }
    }

    pub(super) fn remote_reply(
        &mut self,
        to: ChannelAddress,
        message: Message,
        origin: Option<PublishOrigin>,
    ) {
        let fate = match self.hand_reply(to, &message.content()) {
            true => Fate::HandedOn,
            false => Fate::Unroutable,
        };
        if let Some(origin) = origin {
            self.tell_publisher(origin, fate, message);
        }
    }

    /// False if the requester is gone.
    #[inline]
    pub(super) fn hand_reply(&mut self, to: ChannelAddress, content: &Content<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(to.slot as usize) else {
            return false;
        };
        let frame_len_max = connection.tuning.frame_len_max;
        let Some((channel, outbound)) = connection.channel_and_outbound(to.channel) else {
            return false;
        };
        if channel.address != to {
            return false;
        }
        let Some(reply_consumer) = &channel.reply_consumer else {
            return false;
        };
        if !channel.limiter.is_flowing() {
            return self.hold_reply(to, content);
        }
        let deliver = HotMethod::Deliver(Deliver {
            consumer_tag: reply_consumer.tag.as_bytes(),
            delivery_tag: channel.next_delivery_tag(),
            redelivered: false,
            exchange: content.exchange,
            routing_key: content.routing_key,
        });
        outbound.push_content(to.channel, &deliver, content, frame_len_max);
        channel.take_delivery_tag();
        self.agenda.touch(connection);
        true
    }

    /// The requester said channel.flow(false): its replies wait, up to a limit.
    fn hold_reply(&mut self, to: ChannelAddress, content: &Content<'_>) -> bool {
        let limits = self.settings.limits;
        let channel = self.channel_mut(to).expect(RECEIVER);
        if channel.hold_reply(Message::from(content), &limits) {
            return true;
        }
        let text = "too many direct replies while channel.flow is off";
        let violation =
            Violation::channel(ReplyCode::ResourceError, text).of(MethodId::basic(METHOD_PUBLISH));
        self.fail(to.slot, to.channel, violation);
        false
    }

    /// channel.flow(true).
    pub(super) fn release_held_replies(&mut self, slot: Slot, number: u16) {
        let channel = self.connections[slot as usize]
            .channel_mut(number)
            .expect(RECEIVER);
        let to = channel.address;
        for message in channel.take_held_replies() {
            self.hand_reply(to, &message.content());
        }
    }

    /// Does a requester still wait under this address? (queue.declare of a full reply name)
    /// Not for a call that the broker has answered.
    pub(super) fn is_requester_alive(&mut self, to: ReplyAddress) -> bool {
        let channel = self.channel_mut(to.channel);
        let is_there = channel.is_some_and(|channel| channel.reply_consumer.is_some());
        let answered = to.token.filter(|token| token.errors);
        is_there && answered.is_none_or(|token| self.book.get(token.call.key).is_some())
    }
}
