//! Content frames: in one piece behind their publish, or collected by the channel.

use super::publish::Publication;
use super::{Shard, Slot};
use crate::engine::channel::{ContentError, Published};
use crate::engine::connection::{Phase, TornBody};
use crate::engine::name::Name;
use crate::engine::violation::{MethodId, Violation};
use crate::engine::wire::basic::{CLASS_BASIC, METHOD_PUBLISH, decode_content_header};
use crate::engine::wire::frame::{
    FRAME_END, FrameError, FrameKind, RawFrame, split_body_head, split_frame,
};
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::SHARED_LEN_MIN;
use bytes::Bytes;
use std::borrow::Cow;

/// Header and body as they lie in the receive buffer.
pub(super) struct WholeContent<'a> {
    pub(super) properties: &'a [u8],
    pub(super) body: &'a [u8],
    /// Octets of all its frames.
    pub(super) len: usize,
}

/// The content right behind a publish, if it is complete and has at most one body frame. Whatever
/// is wrong with it is found again, and reported, on the way of content in pieces.
#[inline]
pub(super) fn whole_content(
    bytes: &[u8],
    channel: u16,
    frame_len_max: u32,
) -> Option<WholeContent<'_>> {
    let header_frame = split_frame(bytes, frame_len_max).ok()??;
    if header_frame.kind != FrameKind::Header || header_frame.channel != channel {
        return None;
    }
    let (class_id, header) = decode_content_header(header_frame.payload).ok()?;
    if class_id != CLASS_BASIC {
        return None;
    }
    let len = header_frame.frame_len();
    if header.body_len == 0 {
        return Some(WholeContent {
            properties: header.properties,
            body: &[],
            len,
        });
    }
    let body_frame = split_frame(&bytes[len..], frame_len_max).ok()??;
    let fits = body_frame.kind == FrameKind::Body
        && body_frame.channel == channel
        && body_frame.payload.len() as u64 == header.body_len;
    fits.then(|| WholeContent {
        properties: header.properties,
        body: body_frame.payload,
        len: len + body_frame.frame_len(),
    })
}

/// How far the content behind a publish has come.
#[derive(Debug)]
pub(super) enum Extent<'a> {
    Whole(Gathered<'a>),
    /// The rest has yet to come.
    Missing,
    /// Frames of other channels are between its own, or something is wrong with it.
    Mixed,
}

/// Content in however many body frames.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    pub(super) properties: &'a [u8],
    pub(super) body: Cow<'a, [u8]>,
    /// Octets of all its frames.
    pub(super) len: usize,
}

/// The content right behind a publish, if it is complete.
pub(super) fn gather_content(bytes: &[u8], channel: u16, frame_len_max: u32) -> Extent<'_> {
    let next = |at: usize| match split_frame(&bytes[at..], frame_len_max) {
        Ok(Some(frame)) if frame.channel == channel => Ok(frame),
        Ok(None) => Err(Extent::Missing),
        _ => Err(Extent::Mixed),
    };
    let header_frame = match next(0) {
        Ok(frame) if frame.kind == FrameKind::Header => frame,
        Ok(_) => return Extent::Mixed,
        Err(extent) => return extent,
    };
    let Ok((CLASS_BASIC, header)) = decode_content_header(header_frame.payload) else {
        return Extent::Mixed;
    };
    let mut gathered = Gathered {
        properties: header.properties,
        body: Cow::Borrowed(&[]),
        len: header_frame.frame_len(),
    };
    while (gathered.body.len() as u64) < header.body_len {
        let frame = match next(gathered.len) {
            Ok(frame) if frame.kind == FrameKind::Body => frame,
            Ok(_) => return Extent::Mixed,
            Err(extent) => return extent,
        };
        gathered.len += frame.frame_len();
        match gathered.body.is_empty() {
            true => gathered.body = Cow::Borrowed(frame.payload),
            false => gathered.body.to_mut().extend_from_slice(frame.payload),
        }
    }
    match gathered.body.len() as u64 == header.body_len {
        true => Extent::Whole(gathered),
        false => Extent::Mixed,
    }
}

impl Shard {
    pub(super) fn content_header(
        &mut self,
        slot: Slot,
        frame: &RawFrame<'_>,
    ) -> Result<(), Violation> {
        let Some(open) = self.expect_open(slot, frame.channel)? else {
            return Ok(());
        };
        let (class_id, header) = decode_content_header(frame.payload)?;
        if class_id != CLASS_BASIC {
            return Err(ContentError::WrongClass { class_id }.into());
        }
        if header.body_len > self.settings.body_len_max {
            let channel = self.connections[slot as usize].channel(open);
            let target = channel.and_then(|channel| channel.assembly.target());
            if let Some((b"", routing_key)) = target {
                let routing_key = Name::from(routing_key);
                self.refuse_reply(slot, routing_key.as_bytes());
            }
            return Err(self.body_too_large(header.body_len));
        }
        let connection = &mut self.connections[slot as usize];
        if header.body_len > 0 {
            let len = header.body_len + header.properties.len() as u64;
            connection.check_assembly(len, &self.settings.limits)?;
        }
        let channel = connection
            .channel_mut(open)
            .expect("open, as was just checked");
        if let Some(published) = channel.assembly.header(&header)? {
            self.publish_assembled(slot, open, *published)?;
        }
        Ok(())
    }

    pub(super) fn content_body(
        &mut self,
        slot: Slot,
        frame: &RawFrame<'_>,
    ) -> Result<(), Violation> {
        let Some(open) = self.expect_open(slot, frame.channel)? else {
            return Ok(());
        };
        let connection = &mut self.connections[slot as usize];
        let channel = connection
            .channel_mut(open)
            .expect("open, as was just checked");
        if let Some(published) = channel.assembly.body(frame.payload)? {
            self.publish_assembled(slot, open, *published)?;
        }
        Ok(())
    }

    /// Gives the beginning of a body frame to its channel, if `bytes` are that and the channel
    /// waits for it, and says how many octets that took: all or none. Whatever is wrong with the
    /// frame is found, and reported, once all of it is there.
    pub(super) fn begin_torn_body(&mut self, slot: Slot, bytes: &[u8]) -> usize {
        let Some((head, part)) = split_body_head(bytes) else {
            return 0;
        };
        let connection = &mut self.connections[slot as usize];
        if connection.phase != Phase::Open {
            return 0;
        }
        let part = &part[..part.len().min(head.payload_len)];
        match connection.channel_mut(head.channel) {
            Some(channel) if channel.assembly.has_room(head.payload_len) => {
                channel.assembly.body_part(part);
            }
            _ => return 0,
        }
        connection.torn_body = Some(TornBody {
            channel: head.channel,
            missing_len: head.payload_len - part.len(),
        });
        bytes.len()
    }

    /// The next octets of a body frame that came torn; says how many it took. If its channel has
    /// failed meanwhile, the rest of the frame is thrown away.
    pub(super) fn continue_torn_body(&mut self, slot: Slot, bytes: &[u8]) -> usize {
        let connection = &mut self.connections[slot as usize];
        let may_go_on = connection.may_execute() || connection.may_overtake();
        let Some(mut torn) = connection.torn_body.filter(|_| may_go_on) else {
            return 0;
        };
        let (part, rest) = bytes.split_at(bytes.len().min(torn.missing_len));
        if let Some(channel) = connection.channel_mut(torn.channel)
            && channel.assembly.has_room(part.len())
        {
            channel.assembly.body_part(part);
        }
        let Some(&end) = rest.first() else {
            torn.missing_len -= part.len();
            connection.torn_body = Some(torn);
            return bytes.len();
        };
        connection.torn_body = None;
        if end != FRAME_END {
            self.fail(slot, 0, FrameError::MissingEnd { found: end }.into());
            return bytes.len();
        }
        if connection.phase == Phase::Open {
            let frame = RawFrame {
                kind: FrameKind::Body,
                channel: torn.channel,
                payload: &[],
            };
            if let Err(violation) = self.content_body(slot, &frame) {
                let violation = violation.of(MethodId::basic(METHOD_PUBLISH));
                self.fail(slot, torn.channel, violation);
            }
        }
        part.len() + 1
    }

    /// The channel's number, or `None` if it is closing and its frames are ignored.
    fn expect_open(&mut self, slot: Slot, number: u16) -> Result<Option<u16>, Violation> {
        match self.connections[slot as usize].channel(number) {
            Some(channel) => Ok((!channel.is_closing).then_some(number)),
            None => {
                let text = "expected 'channel.open'";
                Err(Violation::connection(ReplyCode::ChannelError, text))
            }
        }
    }

    fn publish_assembled(
        &mut self,
        slot: Slot,
        number: u16,
        published: Published,
    ) -> Result<(), Violation> {
        // A long body outlives this call in the outbounds and queues that share it.
        let is_shared = published.body.len() >= SHARED_LEN_MIN;
        let (owned, shared) = match is_shared {
            true => (Vec::new(), Some(Bytes::from(published.body))),
            false => (published.body, None),
        };
        self.publish(
            slot,
            number,
            &Publication {
                exchange: published.exchange.as_bytes(),
                routing_key: published.routing_key.as_bytes(),
                mandatory: published.mandatory,
                properties: &published.properties,
                body: shared.as_deref().unwrap_or(&owned),
                shared: shared.as_ref(),
                goes_by: false,
            },
        )
    }

    pub(super) fn body_too_large(&self, body_len: u64) -> Violation {
        ContentError::BodyTooLarge {
            body_len,
            body_len_max: self.settings.body_len_max,
        }
        .into()
    }
}

impl From<ContentError> for Violation {
    fn from(error: ContentError) -> Violation {
        match error {
            ContentError::Unexpected { expected } => Violation::connection(
                ReplyCode::UnexpectedFrame,
                format!("expected {expected}, got another frame instead"),
            ),
            ContentError::BodyTooLarge {
                body_len,
                body_len_max,
            } => Violation::channel(
                ReplyCode::PreconditionFailed,
                format!(
                    "message size {body_len} is larger than configured max size {body_len_max}"
                ),
            ),
            ContentError::BodyOverrun => Violation::connection(
                ReplyCode::FrameError,
                "more body octets than the content header announced",
            ),
            ContentError::WrongClass { class_id } => Violation::connection(
                ReplyCode::UnexpectedFrame,
                format!("expected content header for class 60, got one for class {class_id}"),
            ),
        }
    }
}
