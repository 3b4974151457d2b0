//! Requests and replies as octets. All that stays the same from call to call is encoded once.

use super::content::Delivery;
use super::nats::{self, NatsPurpose};
use super::relay::{Overhead, push_message};
use super::session::{CHANNEL, Session};
use super::setup::Purpose;
use crate::body::turn_into_reply;
use crate::call::{CORRELATION_LEN, CallId};
use crate::plan::Follow;
use broker::engine::wire::arguments::{Value, push_entry};
use broker::engine::wire::basic::{HotMethod, Publish, encode_content, encode_hot};
use broker::engine::wire::frame::FRAME_END;
use broker::engine::wire::properties::{Properties, PropertyParts, encode_properties};
use broker::limits::{FRAME_OVERHEAD, TABLE_DEPTH_MAX};

/// Survives a restart of the broker, in a durable queue (AMQP 0-9-1 1.8.3.4).
pub const DELIVERY_MODE_PERSISTENT: u8 = 2;

/// Where a header frame has the body's length: after the frame's head, the class and the weight
/// (AMQP 0-9-1 4.2.6.1).
const BODY_LEN_AT: usize = 7 + 2 + 2;

/// The frame kind of a body (AMQP 0-9-1 4.2.3).
const KIND_BODY: u8 = 3;

#[derive(Clone, Debug)]
pub enum RequestTemplate {
    Amqp {
        /// The publish and header frames, with two blanks: the body's length and the correlation
        /// id.
        prefix: Vec<u8>,
        body_len_at: usize,
        correlation_at: usize,
        frame_max: u32,
    },
    Nats {
        /// All of the PUB line before the correlation id, which ends the reply's subject.
        prefix: Vec<u8>,
    },
    Relay {
        overhead: Overhead,
    },
}

impl RequestTemplate {
    /// `None` if the purpose is a worker's.
    pub fn new_nats(purpose: &NatsPurpose) -> Option<RequestTemplate> {
        let NatsPurpose::Requester { subject, inbox } = purpose else {
            return None;
        };
        Some(RequestTemplate::Nats {
            prefix: format!("PUB {subject} {inbox}.").into_bytes(),
        })
    }

    /// One for each queue of the session; none if it is no requester's.
    pub fn all(session: &Session) -> Vec<RequestTemplate> {
        let Purpose::Requester { queues, .. } = session.purpose() else {
            return Vec::new();
        };
        let templates = queues.iter();
        templates
            .filter_map(|queue| RequestTemplate::new(session, queue))
            .collect()
    }

    fn new(session: &Session, queue: &str) -> Option<RequestTemplate> {
        let Purpose::Requester {
            is_mandatory,
            is_persistent,
            follow,
            ..
        } = session.purpose()
        else {
            return None;
        };
        let frame_max = session.frame_max();
        let placeholder = [0xff; CORRELATION_LEN];
        let mut properties = Vec::new();
        let reply_to = session.reply_to().as_bytes();
        let delivery_mode = is_persistent.then_some(DELIVERY_MODE_PERSISTENT);
        encode_properties(
            &mut properties,
            Some(&placeholder),
            Some(reply_to),
            delivery_mode,
        );
        if *follow != Follow::default() {
            properties = with_wishes(&properties, *follow);
        }
        let mut prefix = Vec::new();
        let publish = HotMethod::Publish(Publish {
            exchange: b"",
            routing_key: queue.as_bytes(),
            mandatory: *is_mandatory,
            immediate: false,
        });
        encode_hot(&mut prefix, CHANNEL, &publish);
        let method_len = prefix.len();
        let parts = PropertyParts([&properties, &[], &[]]);
        // Of an empty body this is the header frame, and nothing else.
        encode_content(&mut prefix, CHANNEL, parts, &[], frame_max);
        // No other octets of the two frames look like it: names are UTF-8.
        let correlation_at = prefix
            .windows(CORRELATION_LEN)
            .position(|octets| octets == placeholder)
            .expect("encode_properties wrote the correlation id");
        Some(RequestTemplate::Amqp {
            prefix,
            body_len_at: method_len + BODY_LEN_AT,
            correlation_at,
            frame_max,
        })
    }

    pub fn push(&self, outbound: &mut Vec<u8>, call: CallId, body: &[u8]) {
        match self {
            RequestTemplate::Relay { overhead } => {
                push_message(outbound, body, *overhead);
            }
            RequestTemplate::Nats { prefix } => {
                let mut correlation = [0; CORRELATION_LEN];
                call.write_correlation(&mut correlation);
                nats::push_message(outbound, prefix, &correlation, body);
            }
            RequestTemplate::Amqp {
                prefix,
                body_len_at,
                correlation_at,
                frame_max,
            } => {
                let body_len_at = outbound.len() + body_len_at;
                let correlation_at = outbound.len() + correlation_at;
                outbound.extend_from_slice(prefix);
                let body_len = (body.len() as u64).to_be_bytes();
                outbound[body_len_at..][..body_len.len()].copy_from_slice(&body_len);
                let correlation: &mut [u8; CORRELATION_LEN] = outbound[correlation_at..]
                    .first_chunk_mut()
                    .expect("the prefix holds the whole correlation id");
                call.write_correlation(correlation);
                push_body(outbound, body, *frame_max);
            }
        }
    }
}

/// The same properties with headers that ask the broker to follow the call.
fn with_wishes(properties: &[u8], follow: Follow) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, is_wished) in [
        (&b"x-rpc-errors"[..], follow.errors),
        (b"x-rpc-timing", follow.timing),
    ] {
        if is_wished {
            push_entry(&mut headers, name, &Value::Boolean(true));
        }
    }
    if let Some(deadline) = follow.deadline {
        let ms = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
        push_entry(&mut headers, b"x-rpc-deadline-ms", &Value::Integer(ms));
    }
    let walked = Properties::walk(properties, TABLE_DEPTH_MAX);
    let properties = walked.expect("encode_properties wrote them");
    properties.rewritten(&headers, true)
}

fn push_body(outbound: &mut Vec<u8>, body: &[u8], frame_max: u32) {
    for chunk in body.chunks((frame_max - FRAME_OVERHEAD) as usize) {
        let chunk_len = u32::try_from(chunk.len()).expect("chunks are shorter than frame_max");
        let [channel_high, channel_low] = CHANNEL.to_be_bytes();
        outbound.extend_from_slice(&[KIND_BODY, channel_high, channel_low]);
        outbound.extend_from_slice(&chunk_len.to_be_bytes());
        outbound.extend_from_slice(chunk);
        outbound.push(FRAME_END);
    }
}

#[derive(Clone, Debug)]
pub enum ReplyEncoder {
    Amqp {
        frame_max: u32,
        is_auto_ack: bool,
        delivery_mode: Option<u8>,
        /// The property list of the reply; kept to be filled again.
        properties: Vec<u8>,
    },
    Nats,
    Relay {
        overhead: Overhead,
    },
}

impl ReplyEncoder {
    /// `None` if the session is a requester's.
    pub fn new(session: &Session) -> Option<ReplyEncoder> {
        let Purpose::Worker {
            is_auto_ack,
            is_persistent,
            ..
        } = session.purpose()
        else {
            return None;
        };
        Some(ReplyEncoder::Amqp {
            frame_max: session.frame_max(),
            is_auto_ack: *is_auto_ack,
            delivery_mode: is_persistent.then_some(DELIVERY_MODE_PERSISTENT),
            properties: Vec::new(),
        })
    }

    /// The reply to `request`, then its acknowledgement if the worker owes one.
    pub fn push(&mut self, outbound: &mut Vec<u8>, request: &Delivery<'_>) {
        match self {
            ReplyEncoder::Relay { overhead } => {
                let body_at = push_message(outbound, request.body, *overhead);
                turn_into_reply(&mut outbound[body_at..][..request.body.len()], false);
            }
            ReplyEncoder::Nats => {
                let body_at = nats::push_message(outbound, b"PUB ", request.reply_to, request.body);
                turn_into_reply(&mut outbound[body_at..][..request.body.len()], false);
            }
            ReplyEncoder::Amqp {
                frame_max,
                is_auto_ack,
                delivery_mode,
                properties,
            } => {
                let publish = HotMethod::Publish(Publish {
                    exchange: b"",
                    routing_key: request.reply_to,
                    mandatory: false,
                    immediate: false,
                });
                encode_hot(outbound, CHANNEL, &publish);
                properties.clear();
                let correlation = Some(request.correlation).filter(|octets| !octets.is_empty());
                encode_properties(properties, correlation, None, *delivery_mode);
                let parts = PropertyParts([properties, &[], &[]]);
                encode_content(outbound, CHANNEL, parts, request.body, *frame_max);
                let body_at = body_start(outbound, request.body.len(), *frame_max);
                turn_into_reply(&mut outbound[body_at..], request.redelivered);
                if !*is_auto_ack {
                    push_ack(outbound, request.delivery_tag);
                }
            }
        }
    }

    /// A request that asks for no reply is only acknowledged.
    pub fn push_ack_only(&self, outbound: &mut Vec<u8>, request: &Delivery<'_>) {
        if let ReplyEncoder::Amqp {
            is_auto_ack: false, ..
        } = self
        {
            push_ack(outbound, request.delivery_tag);
        }
    }
}

/// Where the body begins in octets that end with it, in frames. At the end if it is empty.
fn body_start(outbound: &[u8], body_len: usize, frame_max: u32) -> usize {
    const HEAD_LEN: usize = 7;
    let frame_count = body_len.div_ceil((frame_max - FRAME_OVERHEAD) as usize);
    let frames_len = body_len + frame_count * FRAME_OVERHEAD as usize;
    outbound.len() - frames_len + HEAD_LEN * frame_count.min(1)
}

fn push_ack(outbound: &mut Vec<u8>, delivery_tag: u64) {
    encode_hot(
        outbound,
        CHANNEL,
        &HotMethod::Ack {
            delivery_tag,
            multiple: false,
        },
    );
}
