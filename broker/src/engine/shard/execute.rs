//! From octets to methods: splits frames and sends each where it belongs.

use super::content::whole_content;
use super::declare::out_of_order;
use super::publish::Publication;
use super::{Output, Shard, Slot};
use crate::engine::connection::{self, Phase};
use crate::engine::violation::{MethodId, Violation};
use crate::engine::wire::basic::{self, HotMethod, METHOD_PUBLISH};
use crate::engine::wire::frame::{FrameKind, PROTOCOL_HEADER, RawFrame, split_frame};
use crate::engine::wire::method::{self, MethodError};
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as BasicMethod;

impl Shard {
    /// Executes what was received earlier.
    pub(super) fn execute_backlog(&mut self, slot: Slot) {
        let mut backlog = std::mem::take(&mut self.connections[slot as usize].backlog);
        let executed = self.execute(slot, &backlog);
        let connection = &mut self.connections[slot as usize];
        if executed < backlog.len() && connection.phase != Phase::Gone {
            backlog.drain(..executed);
            connection.backlog = backlog;
            self.overtake(slot);
        }
    }

    /// Executes whole frames from the front of `bytes` for as long as the connection may go on,
    /// and says how many octets that took.
    pub(super) fn execute(&mut self, slot: Slot, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        if self.connections[slot as usize].torn_body.is_some() {
            rest = &rest[self.continue_torn_body(slot, rest)..];
        }
        loop {
            let connection = &self.connections[slot as usize];
            if !connection.may_execute() {
                break;
            }
            if connection.phase == Phase::AwaitProtocolHeader {
                match self.protocol_header(slot, rest) {
                    Some(len) => rest = &rest[len..],
                    None => break,
                }
                continue;
            }
            match split_frame(rest, connection.frame_len_max()) {
                Ok(None) => {
                    rest = &rest[self.begin_torn_body(slot, rest)..];
                    break;
                }
                Ok(Some(frame)) => {
                    rest = &rest[frame.frame_len()..];
                    match self.frame(slot, &frame, rest) {
                        Ok(content_len) => rest = &rest[content_len..],
                        Err(violation) => self.fail(slot, frame.channel, violation),
                    }
                }
                Err(error) => {
                    // Nothing behind it can be understood.
                    self.fail(slot, 0, error.into());
                    return bytes.len();
                }
            }
        }
        bytes.len() - rest.len()
    }

    /// AMQP 0-9-1 4.2.2: a wrong header is answered with ours. Returns what it took.
    fn protocol_header(&mut self, slot: Slot, bytes: &[u8]) -> Option<usize> {
        let len = bytes.len().min(PROTOCOL_HEADER.len());
        let connection = &mut self.connections[slot as usize];
        if bytes[..len] != PROTOCOL_HEADER[..len] {
            connection.outbound.push_bytes(&PROTOCOL_HEADER);
            self.agenda.touch(connection);
            self.leave(slot, Output::Close(slot), "not AMQP 0-9-1");
            return None;
        }
        if len < PROTOCOL_HEADER.len() {
            return None;
        }
        connection.phase = Phase::AwaitStartOk;
        connection.outbound.push_method(0, &connection::start());
        self.agenda.touch(connection);
        Some(len)
    }

    /// Executes one frame. Returns how many octets of `behind` (its content) went with it.
    #[inline]
    pub(super) fn frame(
        &mut self,
        slot: Slot,
        frame: &RawFrame<'_>,
        behind: &[u8],
    ) -> Result<usize, Violation> {
        let connection = &self.connections[slot as usize];
        match (connection.phase, frame.kind) {
            (_, FrameKind::Heartbeat) => heartbeat(frame).map(|()| 0),
            (Phase::Closing { .. }, _) => {
                self.frame_while_closing(slot, frame);
                Ok(0)
            }
            (_, FrameKind::Method) if frame.channel == 0 => {
                self.connection_method(slot, frame.payload).map(|()| 0)
            }
            (Phase::Open, FrameKind::Method) => self.channel_method(slot, frame, behind),
            (Phase::Open, FrameKind::Header) if frame.channel > 0 => self
                .content_header(slot, frame)
                .map(|()| 0)
                .map_err(|violation| violation.of(MethodId::basic(METHOD_PUBLISH))),
            (Phase::Open, FrameKind::Body) if frame.channel > 0 => self
                .content_body(slot, frame)
                .map(|()| 0)
                .map_err(|violation| violation.of(MethodId::basic(METHOD_PUBLISH))),
            (Phase::Open, _) => {
                let text = "content frame on channel 0";
                Err(Violation::connection(ReplyCode::ChannelError, text))
            }
            _ => {
                let text = "frame for a channel before connection.open";
                Err(Violation::connection(ReplyCode::CommandInvalid, text))
            }
        }
    }

    fn frame_while_closing(&mut self, slot: Slot, frame: &RawFrame<'_>) {
        use amq_protocol::protocol::connection::AMQPMethod;
        let depth_max = self.connections[slot as usize].table_depth_max();
        if frame.kind != FrameKind::Method || frame.channel != 0 {
            return;
        }
        match method::decode_method(frame.payload, depth_max) {
            Ok(AMQPClass::Connection(AMQPMethod::CloseOk(_))) => {
                self.leave(slot, Output::Close(slot), "closed by us");
            }
            // Both closed at once: the peer's is answered, its answer to ours will not come.
            Ok(AMQPClass::Connection(AMQPMethod::Close(_))) => self.close_ok(slot, "closed by us"),
            _ => {}
        }
    }

    fn connection_method(&mut self, slot: Slot, payload: &[u8]) -> Result<(), Violation> {
        let depth_max = self.connections[slot as usize].table_depth_max();
        let method = method_id(payload);
        match method::decode_method(payload, depth_max).map_err(refusal)? {
            AMQPClass::Connection(decoded) => self
                .session(slot, decoded)
                .map_err(|violation| violation.of(method)),
            _ => {
                let text = "unexpected method in connection state running";
                Err(Violation::connection(ReplyCode::ChannelError, text).of(method))
            }
        }
    }

    /// Executes a method on a channel; publishes take their content along if all of it is there.
    #[inline]
    fn channel_method(
        &mut self,
        slot: Slot,
        frame: &RawFrame<'_>,
        behind: &[u8],
    ) -> Result<usize, Violation> {
        let number = frame.channel;
        let method = method_id(frame.payload);
        let connection = &mut self.connections[slot as usize];
        let Some(channel) = connection.channel_mut(number) else {
            return self.method_without_channel(slot, frame).map(|()| 0);
        };
        if channel.is_closing {
            self.method_while_channel_closing(slot, frame);
            return Ok(0);
        }
        if !channel.assembly.is_idle() {
            let text = "expected content header for class 60, got non content header frame instead";
            return Err(Violation::connection(ReplyCode::UnexpectedFrame, text).of(method));
        }
        channel.method = method;
        let hot = basic::decode_hot(frame.payload).map_err(|m| Violation::from(m).of(method))?;
        let done = match hot {
            Some(HotMethod::Publish(publish)) => {
                return self
                    .begin_publish(slot, number, &publish, behind)
                    .map_err(|violation| violation.of(method));
            }
            Some(HotMethod::Ack {
                delivery_tag,
                multiple,
            }) => self.ack(slot, number, delivery_tag, multiple),
            Some(HotMethod::Nack {
                delivery_tag,
                multiple,
                requeue,
            }) => self.nack(slot, number, delivery_tag, multiple, requeue),
            Some(HotMethod::Reject {
                delivery_tag,
                requeue,
            }) => self.nack(slot, number, delivery_tag, false, requeue),
            Some(HotMethod::Deliver(_) | HotMethod::Return(_) | HotMethod::GetOk(_)) => {
                Err(out_of_order())
            }
            None => self.cold_method(slot, number, frame.payload),
        };
        done.map(|()| 0).map_err(|violation| violation.of(method))
    }

    #[inline]
    fn begin_publish(
        &mut self,
        slot: Slot,
        number: u16,
        publish: &basic::Publish<'_>,
        behind: &[u8],
    ) -> Result<usize, Violation> {
        if publish.immediate {
            let text = "immediate=true";
            return Err(Violation::connection(ReplyCode::NotImplemented, text));
        }
        let frame_len_max = self.connections[slot as usize].tuning.frame_len_max;
        let Some(content) = whole_content(behind, number, frame_len_max) else {
            let connection = &mut self.connections[slot as usize];
            let channel = connection
                .channel_mut(number)
                .expect("looked up by the caller");
            channel.assembly.begin(publish);
            return Ok(0);
        };
        if content.body.len() as u64 > self.settings.body_len_max {
            if publish.exchange.is_empty() {
                self.refuse_reply(slot, publish.routing_key);
            }
            return Err(self.body_too_large(content.body.len() as u64));
        }
        let publication = Publication {
            exchange: publish.exchange,
            routing_key: publish.routing_key,
            mandatory: publish.mandatory,
            properties: content.properties,
            body: content.body,
            shared: None,
            goes_by: false,
        };
        self.publish(slot, number, &publication)?;
        Ok(content.len)
    }

    fn method_without_channel(
        &mut self,
        slot: Slot,
        frame: &RawFrame<'_>,
    ) -> Result<(), Violation> {
        use amq_protocol::protocol::channel::AMQPMethod;
        let depth_max = self.connections[slot as usize].table_depth_max();
        let method = method_id(frame.payload);
        match method::decode_method(frame.payload, depth_max).map_err(refusal)? {
            AMQPClass::Channel(AMQPMethod::Open(_)) => self
                .open_channel(slot, frame.channel)
                .map_err(|violation| violation.of(method)),
            // Both sides closed at once; ours is done already.
            AMQPClass::Channel(AMQPMethod::CloseOk(_)) => Ok(()),
            _ => {
                let text = "expected 'channel.open'";
                Err(Violation::connection(ReplyCode::ChannelError, text).of(method))
            }
        }
    }

    fn method_while_channel_closing(&mut self, slot: Slot, frame: &RawFrame<'_>) {
        use amq_protocol::protocol::channel::AMQPMethod;
        let depth_max = self.connections[slot as usize].table_depth_max();
        match method::decode_method(frame.payload, depth_max) {
            Ok(AMQPClass::Channel(AMQPMethod::CloseOk(_))) => {
                self.connections[slot as usize].remove_channel(frame.channel);
            }
            Ok(AMQPClass::Channel(AMQPMethod::Close(_))) => {
                self.channel_close_ok(slot, frame.channel);
            }
            _ => {}
        }
    }

    fn cold_method(&mut self, slot: Slot, number: u16, payload: &[u8]) -> Result<(), Violation> {
        let depth_max = self.connections[slot as usize].table_depth_max();
        match method::decode_method(payload, depth_max).map_err(refusal)? {
            AMQPClass::Channel(method) => self.channel_session(slot, number, method),
            AMQPClass::Exchange(method) => self.exchange_method(slot, number, method),
            AMQPClass::Queue(method) => self.queue_method(slot, number, method),
            AMQPClass::Basic(method) => {
                check_prefetch_size(&method, payload)?;
                self.basic_method(slot, number, method)
            }
            AMQPClass::Confirm(method) => self.confirm_method(slot, number, method),
            AMQPClass::Access(method) => self.access_method(slot, number, method),
            AMQPClass::Tx(method) => self.tx_method(slot, number, method),
            AMQPClass::Connection(_) => {
                let text = "unimplemented method";
                Err(Violation::connection(ReplyCode::CommandInvalid, text))
            }
        }
    }
}

fn heartbeat(frame: &RawFrame<'_>) -> Result<(), Violation> {
    if frame.channel != 0 || !frame.payload.is_empty() {
        let text = "a heartbeat has channel 0 and no payload";
        return Err(Violation::connection(ReplyCode::FrameError, text));
    }
    Ok(())
}

/// (0, 0) if the payload is too short to have one.
fn method_id(payload: &[u8]) -> MethodId {
    basic::method_ids(payload)
        .map(|(class_id, method_id)| MethodId {
            class_id,
            method_id,
        })
        .unwrap_or_default()
}

fn refusal(error: MethodError) -> Violation {
    error.into()
}

/// basic.qos limits messages, not octets. `amq-protocol` takes the field for a reserved one, so
/// it is read here.
fn check_prefetch_size(method: &BasicMethod, payload: &[u8]) -> Result<(), Violation> {
    let size = payload.get(4..8).and_then(|size| size.try_into().ok());
    let size = size.map_or(0, u32::from_be_bytes);
    if matches!(method, BasicMethod::Qos(_)) && size != 0 {
        let text = format!("prefetch_size!=0 ({size})");
        return Err(Violation::connection(ReplyCode::NotImplemented, text));
    }
    Ok(())
}
