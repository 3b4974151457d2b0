//! What peers say and hear, generated and parsed by `amq-protocol`, never by the broker's codec.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::basic::{AMQPMethod as Basic, AMQPProperties};
use amq_protocol::protocol::{AMQPClass, basic};
use std::collections::BTreeMap;

/// Class and method.
pub type Ids = (u16, u16);

pub fn ids(method: &AMQPClass) -> Ids {
    (method.get_amqp_class_id(), method.get_amqp_method_id())
}

pub fn encode(frame: &AMQPFrame) -> Vec<u8> {
    let written = gen_frame(frame)(WriteContext::from(Vec::new()));
    written
        .expect("writing to a Vec cannot fail")
        .into_inner()
        .0
}

pub fn encode_method(channel: u16, method: AMQPClass) -> Vec<u8> {
    encode(&AMQPFrame::Method(channel, method))
}

/// One piece for each frame; bodies are cut into `piece_len`.
pub fn publish_frames(
    channel: u16,
    publish: basic::Publish,
    properties: AMQPProperties,
    body: &[u8],
    piece_len: usize,
) -> Vec<Vec<u8>> {
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: body.len() as u64,
        properties,
    };
    let mut frames = vec![
        encode_method(channel, AMQPClass::Basic(Basic::Publish(publish))),
        encode(&AMQPFrame::Header(channel, header)),
    ];
    let pieces = body.chunks(piece_len);
    frames.extend(pieces.map(|piece| encode(&AMQPFrame::Body(channel, piece.to_vec()))));
    frames
}

#[derive(Clone, Debug)]
pub enum Heard {
    ProtocolHeader,
    Heartbeat,
    Method(u16, AMQPClass),
    Content(Box<Content>),
}

/// basic.deliver, get-ok or return, whole.
#[derive(Clone, Debug)]
pub struct Content {
    pub channel: u16,
    pub method: Basic,
    pub properties: AMQPProperties,
    pub body: Vec<u8>,
}

/// Puts the frames of a connection together to what was said.
#[derive(Default)]
pub struct Ear {
    /// Of the frames that are legal on the connection.
    pub frame_len_max: usize,
    open: BTreeMap<u16, (Basic, Option<AMQPContentHeader>, Vec<u8>)>,
}

impl Ear {
    /// What `octets` say, each with the count of octets up to its end.
    /// Errors: what no client would understand.
    pub fn hear(&mut self, octets: &[u8]) -> Result<Vec<(usize, Heard)>, String> {
        let mut heard = Vec::new();
        let mut rest = octets;
        while !rest.is_empty() {
            let (behind, frame) =
                parse_frame(rest).map_err(|error| format!("no frame: {error:?}"))?;
            let frame_len = rest.len() - behind.len();
            rest = behind;
            let said = self.frame(frame, frame_len)?;
            heard.extend(said.map(|said| (octets.len() - rest.len(), said)));
        }
        Ok(heard)
    }

    fn frame(&mut self, frame: AMQPFrame, frame_len: usize) -> Result<Option<Heard>, String> {
        if frame_len > self.frame_len_max && self.frame_len_max > 0 {
            return Err(format!("a frame of {frame_len} octets"));
        }
        match frame {
            AMQPFrame::ProtocolHeader(_) => Ok(Some(Heard::ProtocolHeader)),
            AMQPFrame::Heartbeat => Ok(Some(Heard::Heartbeat)),
            AMQPFrame::InvalidHeartbeat(channel) => Err(format!("heartbeat on {channel}")),
            AMQPFrame::Method(channel, method) => self.method(channel, method),
            AMQPFrame::Header(channel, header) => {
                let open = self
                    .open
                    .get_mut(&channel)
                    .ok_or("a header without method")?;
                if open.1.replace(header).is_some() {
                    return Err("two headers".into());
                }
                self.conclude(channel)
            }
            AMQPFrame::Body(channel, body) => {
                let open = self.open.get_mut(&channel).ok_or("a body without method")?;
                if body.is_empty() || open.1.is_none() {
                    return Err("a body without header, or an empty one".into());
                }
                open.2.extend(body);
                self.conclude(channel)
            }
        }
    }

    fn method(&mut self, channel: u16, method: AMQPClass) -> Result<Option<Heard>, String> {
        if self.open.contains_key(&channel) {
            return Err(format!("{method:?} within content on {channel}"));
        }
        match method {
            AMQPClass::Basic(method @ (Basic::Deliver(_) | Basic::GetOk(_) | Basic::Return(_))) => {
                self.open.insert(channel, (method, None, Vec::new()));
                Ok(None)
            }
            method => Ok(Some(Heard::Method(channel, method))),
        }
    }

    fn conclude(&mut self, channel: u16) -> Result<Option<Heard>, String> {
        let (_, header, body) = &self.open[&channel];
        let body_size = header.as_ref().map_or(0, |header| header.body_size);
        match (body.len() as u64).cmp(&body_size) {
            std::cmp::Ordering::Less => return Ok(None),
            std::cmp::Ordering::Greater => return Err("more body than announced".into()),
            std::cmp::Ordering::Equal => {}
        }
        let Some((method, Some(header), body)) = self.open.remove(&channel) else {
            return Err("content without header".into());
        };
        Ok(Some(Heard::Content(Box::new(Content {
            channel,
            method,
            properties: header.properties,
            body,
        }))))
    }
}
