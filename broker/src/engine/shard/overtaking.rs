//! Replies first: while a connection waits for memory, what frees memory or needs none goes by what
//! waits: acknowledgements, direct replies, cancels, and requests that the broker refuses rather
//! than keep. The rest stays in the backlog in its order, and a channel's methods behind its own
//! publishes.

use super::calls::CANCEL;
use super::content::{Extent, Gathered, gather_content};
use super::publish::Publication;
use super::{Shard, Slot};
use crate::engine::address::{ReplyName, parse_reply_name};
use crate::engine::call::Wishes;
use crate::engine::channel::{Channel, Publishing};
use crate::engine::connection::{Connection, Parked, ParkedFrames, Phase};
use crate::engine::violation::Violation;
use crate::engine::wire::arguments;
use crate::engine::wire::basic::{self, HotMethod, Publish};
use crate::engine::wire::frame::{FrameKind, RawFrame, split_frame};
use crate::engine::wire::properties::Properties;
use crate::limits::TABLE_DEPTH_MAX;
use std::collections::BTreeSet;
use std::mem;

/// Class and method (AMQP 0-9-1 1.4.2.10).
const CONNECTION_CLOSE: (u16, u16) = (10, 50);

/// What becomes of a frame whose connection waits for memory.
#[derive(Debug)]
enum Way<'a> {
    /// It is executed.
    Go,
    /// The publish that begins with it is executed, though others of its channel stay.
    Publish(Publish<'a>, Gathered<'a>),
    /// A publish stays, or part of its content.
    ParkPublish,
    ParkContent,
    /// A method stays, and all of its channel behind it.
    ParkMethod,
    /// It is judged again when more has come, or when the wait is over.
    Stop,
    /// The peer says goodbye: it need not wait for memory any more.
    Leave,
}

impl Shard {
    /// Executes what has come behind the parked frames and need not wait.
    pub(super) fn overtake(&mut self, slot: Slot) {
        loop {
            let connection = &self.connections[slot as usize];
            if !connection.may_overtake() || connection.backlog.len() == connection.parked.len {
                return;
            }
            match self.overtake_until_error(slot) {
                Some((number, violation)) => self.fail(slot, number, violation),
                None => return,
            }
        }
    }

    /// Says on which channel what went wrong, if nothing that comes before it waits.
    fn overtake_until_error(&mut self, slot: Slot) -> Option<(u16, Violation)> {
        let connection = &mut self.connections[slot as usize];
        let mut backlog = mem::take(&mut connection.backlog);
        let mut parked_len = connection.parked.len;
        let mut at = parked_len;
        if connection.torn_body.is_some() {
            at += self.continue_torn_body(slot, &backlog[at..]);
        }
        let (mut failure, mut is_leaving) = (None, false);
        loop {
            let connection = &self.connections[slot as usize];
            // If the wait is over, or another one has begun, the parked ones come first.
            if !connection.may_overtake() || connection.parked.len != parked_len {
                break;
            }
            let Ok(Some(frame)) = split_frame(&backlog[at..], connection.frame_len_max()) else {
                break; // an error is found again in its turn
            };
            let (len, number) = (frame.frame_len(), frame.channel);
            let behind = &backlog[at + len..];
            let done = match self.way_of(slot, &frame, behind) {
                Way::Stop => break,
                Way::Leave => {
                    is_leaving = true;
                    break;
                }
                Way::Go => self.frame(slot, &frame, behind),
                Way::Publish(publish, content) => {
                    self.publish_first(slot, number, &publish, &content)
                }
                way => {
                    self.park(slot, number, &way, len);
                    backlog.copy_within(at..at + len, parked_len);
                    parked_len += len;
                    at += len;
                    continue;
                }
            };
            match done {
                Ok(content_len) => at += len + content_len,
                // Of content that has begun, its publish came before all that waits.
                Err(violation) if parked_len == 0 || frame.kind != FrameKind::Method => {
                    at += len;
                    failure = Some((number, violation));
                    break;
                }
                Err(_) => break, // it is found again in its turn
            }
        }
        backlog.drain(parked_len..at);
        let connection = &mut self.connections[slot as usize];
        if connection.phase == Phase::Gone {
            return None;
        }
        connection.backlog = backlog;
        if is_leaving {
            connection.is_leaving = true;
            connection.waits.memory = false;
            connection.parked = Parked::default();
            self.resume(slot);
        }
        failure
    }

    /// Says how long the content was.
    fn publish_first(
        &mut self,
        slot: Slot,
        number: u16,
        publish: &Publish<'_>,
        content: &Gathered<'_>,
    ) -> Result<usize, Violation> {
        let publication = Publication {
            exchange: publish.exchange,
            routing_key: publish.routing_key,
            mandatory: publish.mandatory,
            properties: content.properties,
            body: &content.body,
            shared: None,
            goes_by: true,
        };
        self.publish(slot, number, &publication)?;
        Ok(content.len)
    }

    fn park(&mut self, slot: Slot, number: u16, way: &Way<'_>, len: usize) {
        let connection = &mut self.connections[slot as usize];
        connection.parked.len += len;
        let frames = connection.parked.channels.entry(number).or_default();
        match way {
            Way::ParkMethod => frames.has_method = true,
            Way::ParkPublish => {
                frames.publish_count += 1;
                let count = frames.publish_count;
                let channel = connection.channel_mut(number);
                let confirm = channel.and_then(|channel| channel.publishing.confirm_mut());
                if let Some(confirm) = confirm.filter(|it| it.reserved_count() < count) {
                    confirm.reserve();
                }
            }
            _ => {}
        }
    }

    /// The connection is gone. Something may have gone by what is parked, an acknowledgement of the
    /// request to which a parked message is the reply: its publishes are executed as if they had
    /// not waited.
    pub(super) fn execute_parked(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        let parked = mem::take(&mut connection.parked);
        if parked.len == 0 || connection.phase != Phase::Open {
            return;
        }
        let backlog = mem::take(&mut connection.backlog);
        let frame_len_max = connection.frame_len_max();
        let (mut rest, mut held) = (&backlog[..parked.len], BTreeSet::new());
        while let Ok(Some(frame)) = split_frame(rest, frame_len_max) {
            rest = &rest[frame.frame_len()..];
            let is_method = frame.kind == FrameKind::Method;
            if is_method && !matches!(basic::decode_hot(frame.payload), Ok(Some(_))) {
                held.insert(frame.channel);
            }
            if held.contains(&frame.channel) {
                continue;
            }
            self.connections[slot as usize].waits.memory = false;
            match self.frame(slot, &frame, rest) {
                Ok(content_len) => rest = &rest[content_len..],
                Err(_) => drop(held.insert(frame.channel)),
            }
        }
    }

    fn way_of<'a>(&self, slot: Slot, frame: &RawFrame<'a>, behind: &'a [u8]) -> Way<'a> {
        let connection = &self.connections[slot as usize];
        let number = frame.channel;
        let parked = connection.parked.channels.get(&number);
        match frame.kind {
            FrameKind::Heartbeat => Way::Go,
            _ if number == 0 && connection.parked.channels.is_empty() => Way::Go,
            _ if number == 0 => match basic::method_ids(frame.payload) {
                Ok(CONNECTION_CLOSE) => Way::Leave,
                _ => Way::Stop,
            },
            FrameKind::Method => {
                let parked = parked.copied().unwrap_or_default();
                self.way_of_method(connection, frame, parked, behind)
            }
            // Content that has begun is completed.
            FrameKind::Header | FrameKind::Body => match parked {
                Some(_) if !has_begun(connection.channel(number)) => Way::ParkContent,
                _ => Way::Go,
            },
        }
    }

    fn way_of_method<'a>(
        &self,
        connection: &Connection,
        frame: &RawFrame<'a>,
        parked: ParkedFrames,
        behind: &'a [u8],
    ) -> Way<'a> {
        let in_turn = match parked.has_method || parked.publish_count > 0 {
            true => Way::ParkMethod,
            false => Way::Go,
        };
        let channel = connection.channel(frame.channel);
        let Some(channel) = channel.filter(|channel| !channel.is_closing) else {
            return in_turn;
        };
        let hot = match basic::decode_hot(frame.payload) {
            Ok(Some(hot)) => hot,
            _ => return in_turn,
        };
        match (hot, &channel.publishing) {
            _ if parked.has_method || has_begun(Some(channel)) => in_turn,
            // What a transaction publishes is kept at its commit, and nothing comes before that.
            (_, Publishing::Transaction(_)) => Way::ParkMethod,
            (HotMethod::Publish(publish), _) => {
                let frame_len_max = connection.tuning.frame_len_max;
                match gather_content(behind, frame.channel, frame_len_max) {
                    Extent::Missing => Way::Stop,
                    // Once its number is given away it waits its turn.
                    _ if has_number(channel, parked) => Way::ParkPublish,
                    Extent::Whole(content)
                        if self.needs_no_memory(connection, channel, &publish, &content) =>
                    {
                        match in_turn {
                            Way::Go => Way::Go,
                            _ => Way::Publish(publish, content),
                        }
                    }
                    _ => Way::ParkPublish,
                }
            }
            (HotMethod::Ack { .. } | HotMethod::Nack { .. } | HotMethod::Reject { .. }, _) => {
                Way::Go
            }
            _ => in_turn,
        }
    }

    /// Is it one that no queue keeps: a direct reply, the cancel of a call in flight, or a request
    /// whose caller rather hears that it is not kept?
    fn needs_no_memory(
        &self,
        connection: &Connection,
        channel: &Channel,
        publish: &Publish<'_>,
        content: &Gathered<'_>,
    ) -> bool {
        let is_refused =
            publish.immediate || content.body.len() as u64 > self.settings.body_len_max;
        let Ok(properties) = Properties::walk(content.properties, TABLE_DEPTH_MAX) else {
            return false;
        };
        let headers = properties.headers().unwrap_or_default();
        let has_copies = arguments::entries(headers).any(|(key, _)| matches!(key, b"CC" | b"BCC"));
        if is_refused || !publish.exchange.is_empty() || has_copies {
            return false;
        }
        let correlation_id = properties.correlation_id().unwrap_or_default();
        match parse_reply_name(publish.routing_key) {
            Some(ReplyName::Full { .. }) => true,
            Some(ReplyName::Bare) => false,
            None if publish.routing_key == CANCEL => channel.has_call(correlation_id),
            None => {
                let is_direct = channel.reply_name(properties.reply_to());
                let wishes = Wishes::of(&properties, connection.capabilities.rpc_errors);
                matches!(is_direct, Ok(Some(_))) && matches!(wishes, Ok(Some(it)) if it.errors)
            }
        }
    }
}

/// Is a publish on it half executed?
fn has_begun(channel: Option<&Channel>) -> bool {
    channel.is_some_and(|channel| !channel.assembly.is_idle())
}

/// Has the next publish to be judged been judged before, in an earlier wait?
fn has_number(channel: &Channel, parked: ParkedFrames) -> bool {
    match &channel.publishing {
        Publishing::Confirm(confirm) => confirm.reserved_count() > parked.publish_count,
        _ => false,
    }
}
