//! A queue by itself: messages that wait, are handed out, acknowledged or returned. Then the same
//! from outside, by basic.publish and basic.get.

use crate::bytes::{ACK_TAG_AT, CHANNEL, encode_ack, publish, short_string};
use crate::case::{Case, Step};
use crate::world::World;
use amq_protocol::protocol::{AMQPClass, basic};
use broker::engine::address::{QueueAddress, VhostIndex};
use broker::engine::message::{Content, Message};
use broker::engine::name::Name;
use broker::engine::queue::{Queue, Settlement};
use broker::engine::time::Timestamp;
use broker::engine::topology::QueueAttributes;
use broker::engine::wire::method::encode_method;
use broker::engine::wire::properties::PropertyParts;
use std::hint::black_box;

const QUEUE: &[u8] = b"bench.requests";
const WAITING: usize = 10_000;

pub(crate) fn cases() -> Vec<Case> {
    let kept = || {
        Box::new(|| {
            black_box(message());
        }) as Step
    };
    vec![
        Case::new("queue", "keep a message of 64 B and drop it", kept),
        Case::new("queue", "push and pop, empty", || push_and_pop(0)),
        Case::new("queue", "push and pop, 10,000 waiting", || {
            push_and_pop(WAITING)
        }),
        Case::new("queue", "push, pop, hold, ack", || {
            push_and_settle(Settlement::Done)
        }),
        Case::new("queue", "push, pop, hold, requeue, pop", || {
            push_and_settle(Settlement::Requeue)
        }),
        Case::new(
            "queue",
            "basic.publish, basic.get, basic.ack",
            publish_and_get,
        ),
    ]
}

fn push_and_pop(waiting: usize) -> Step {
    let message = message();
    let mut queue = queue();
    for _ in 0..waiting {
        push(&mut queue, &message);
    }
    Box::new(move || {
        push(&mut queue, &message);
        black_box(queue.pop().expect("just pushed"));
    })
}

fn push_and_settle(settlement: Settlement) -> Step {
    let message = message();
    let mut queue = queue();
    Box::new(move || {
        push(&mut queue, &message);
        let queued = queue.pop().expect("just pushed");
        let key = queue.hold(queued, None);
        queue.settle(black_box(key), settlement);
        assert_eq!(queue.pop().is_some(), settlement == Settlement::Requeue);
    })
}

fn publish_and_get() -> Step {
    let mut world = World::new(1);
    let peer = world.connect(0);
    world.declare(peer, QUEUE);
    let get = AMQPClass::Basic(basic::AMQPMethod::Get(basic::Get {
        queue: short_string(QUEUE),
        no_ack: false,
    }));
    let mut turn = publish(QUEUE, None, &[0x5A; 64]);
    let publish_len = turn.len();
    encode_method(&mut turn, CHANNEL, &get);
    let ack_at = turn.len();
    encode_ack(&mut turn);
    let mut delivery_tag: u64 = 0;
    Box::new(move || {
        delivery_tag += 1;
        turn[ack_at + ACK_TAG_AT..][..8].copy_from_slice(&delivery_tag.to_be_bytes());
        world.feed(peer, &turn);
        world.expect_received(peer, publish_len);
    })
}

fn queue() -> Queue {
    let address = QueueAddress {
        shard: 0,
        index: 0,
        generation: 1,
    };
    let attributes = QueueAttributes {
        durable: false,
        auto_delete: false,
        exclusive: None,
        arguments: None,
    };
    Queue::new(
        (Name::from(QUEUE), VhostIndex(0)),
        address,
        attributes,
        None,
        Timestamp(0),
    )
}

fn push(queue: &mut Queue, message: &Message) {
    let queued = queue.admit(&message.content(), message.clone(), Timestamp(0));
    queue.push(queued);
}

fn message() -> Message {
    Message::from(&Content {
        shared: None,
        exchange: b"",
        routing_key: QUEUE,
        properties: PropertyParts([b"\x04\x00\x0800000000", &[], &[]]),
        body: black_box(&[0x5A; 64]),
        call: None,
    })
}
