//! The hot methods of class basic.

use super::values::{FRAME_MAX, name, reference_bytes, reference_frame};
use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::{AMQPClass, basic};
use broker::engine::wire::basic as ours;
use broker::engine::wire::basic::HotMethod;
use broker::engine::wire::frame::{FrameKind, split_frame};
use broker::engine::wire::method::decode_method;
use proptest::prelude::*;

fn method() -> impl Strategy<Value = basic::AMQPMethod> {
    let flags = || any::<(bool, bool)>();
    prop_oneof![
        (name(), name(), flags()).prop_map(|(exchange, routing_key, (mandatory, immediate))| {
            basic::AMQPMethod::Publish(basic::Publish {
                exchange,
                routing_key,
                mandatory,
                immediate,
            })
        }),
        (name(), any::<u64>(), any::<bool>(), name(), name()).prop_map(
            |(consumer_tag, delivery_tag, redelivered, exchange, routing_key)| {
                basic::AMQPMethod::Deliver(basic::Deliver {
                    consumer_tag,
                    delivery_tag,
                    redelivered,
                    exchange,
                    routing_key,
                })
            }
        ),
        (any::<u16>(), name(), name(), name()).prop_map(
            |(reply_code, reply_text, exchange, routing_key)| {
                basic::AMQPMethod::Return(basic::Return {
                    reply_code,
                    reply_text,
                    exchange,
                    routing_key,
                })
            }
        ),
        (any::<u64>(), any::<bool>(), name(), name(), any::<u32>()).prop_map(
            |(delivery_tag, redelivered, exchange, routing_key, message_count)| {
                basic::AMQPMethod::GetOk(basic::GetOk {
                    delivery_tag,
                    redelivered,
                    exchange,
                    routing_key,
                    message_count,
                })
            }
        ),
        (any::<u64>(), any::<bool>()).prop_map(|(delivery_tag, multiple)| {
            basic::AMQPMethod::Ack(basic::Ack {
                delivery_tag,
                multiple,
            })
        }),
        (any::<u64>(), flags()).prop_map(|(delivery_tag, (multiple, requeue))| {
            basic::AMQPMethod::Nack(basic::Nack {
                delivery_tag,
                multiple,
                requeue,
            })
        }),
        (any::<u64>(), any::<bool>()).prop_map(|(delivery_tag, requeue)| {
            basic::AMQPMethod::Reject(basic::Reject {
                delivery_tag,
                requeue,
            })
        }),
    ]
}

/// The same method as the reference has it, in our terms.
fn as_ours(method: &basic::AMQPMethod) -> HotMethod<'_> {
    match method {
        basic::AMQPMethod::Publish(m) => HotMethod::Publish(ours::Publish {
            exchange: m.exchange.as_str().as_bytes(),
            routing_key: m.routing_key.as_str().as_bytes(),
            mandatory: m.mandatory,
            immediate: m.immediate,
        }),
        basic::AMQPMethod::Deliver(m) => HotMethod::Deliver(ours::Deliver {
            consumer_tag: m.consumer_tag.as_str().as_bytes(),
            delivery_tag: m.delivery_tag,
            redelivered: m.redelivered,
            exchange: m.exchange.as_str().as_bytes(),
            routing_key: m.routing_key.as_str().as_bytes(),
        }),
        basic::AMQPMethod::Return(m) => HotMethod::Return(ours::Return {
            reply_code: m.reply_code,
            reply_text: m.reply_text.as_str().as_bytes(),
            exchange: m.exchange.as_str().as_bytes(),
            routing_key: m.routing_key.as_str().as_bytes(),
        }),
        basic::AMQPMethod::GetOk(m) => HotMethod::GetOk(ours::GetOk {
            delivery_tag: m.delivery_tag,
            redelivered: m.redelivered,
            exchange: m.exchange.as_str().as_bytes(),
            routing_key: m.routing_key.as_str().as_bytes(),
            message_count: m.message_count,
        }),
        basic::AMQPMethod::Ack(m) => HotMethod::Ack {
            delivery_tag: m.delivery_tag,
            multiple: m.multiple,
        },
        basic::AMQPMethod::Nack(m) => HotMethod::Nack {
            delivery_tag: m.delivery_tag,
            multiple: m.multiple,
            requeue: m.requeue,
        },
        basic::AMQPMethod::Reject(m) => HotMethod::Reject {
            delivery_tag: m.delivery_tag,
            requeue: m.requeue,
        },
        other => panic!("not a hot method: {other:?}"),
    }
}

proptest! {
    #[test]
    fn we_read_what_the_reference_writes(method in method(), channel: u16) {
        let class = AMQPClass::Basic(method.clone());
        let bytes = reference_bytes(&AMQPFrame::Method(channel, class.clone()));
        let frame = split_frame(&bytes, FRAME_MAX).unwrap().unwrap();
        prop_assert_eq!((frame.kind, frame.channel), (FrameKind::Method, channel));
        prop_assert_eq!(ours::decode_hot(frame.payload), Ok(Some(as_ours(&method))));
        prop_assert_eq!(decode_method(frame.payload, 1), Ok(class));
    }

    #[test]
    fn we_write_what_the_reference_writes_and_it_reads_it(method in method(), channel: u16) {
        let mut out = Vec::new();
        ours::encode_hot(&mut out, channel, &as_ours(&method));
        let frame = AMQPFrame::Method(channel, AMQPClass::Basic(method));
        prop_assert_eq!(&out, &reference_bytes(&frame));
        prop_assert_eq!(reference_frame(&out), frame);
    }

    #[test]
    fn we_read_a_method_exactly_when_the_reference_does(
        method in method(),
        at: prop::sample::Index,
        octet: u8,
        cut: prop::sample::Index,
    ) {
        let bytes = reference_bytes(&AMQPFrame::Method(1, AMQPClass::Basic(method)));
        let mut payload = bytes[7..bytes.len() - 1].to_vec();
        let changed = at.index(payload.len() - 4) + 4;
        payload[changed] = octet;
        if cut.index(4) == 0 {
            payload.truncate(4 + cut.index(payload.len() - 4));
        }
        // The reference wants UTF-8, which the hot methods do not ask for.
        let theirs = decode_method(&payload, 1).is_ok();
        let ours = ours::decode_hot(&payload);
        prop_assert!(!theirs || matches!(ours, Ok(Some(_))));
        if !theirs && matches!(ours, Ok(Some(_))) {
            prop_assert!(std::str::from_utf8(&payload).is_err());
        }
    }
}
