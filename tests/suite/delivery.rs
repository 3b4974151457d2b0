//! What happens to messages: order, prefetch, redelivery, returns, confirms, slow readers.

use std::time::Duration;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use blackbox::rpc::{Bystander, Caller, Worker, call};
use blackbox::wire::{self, Bytes, Properties, method};
use blackbox::work::{AUTO_DELETE, EXCLUSIVE, NO_ACK};
use blackbox::{Broker, Peer, on_one_and_two_shards, unique};

fn none() -> Properties {
    Properties::default()
}

#[test]
fn a_request_whose_worker_dies_goes_to_the_next_worker_flagged_redelivered() {
    on_one_and_two_shards(|broker| {
        let queue = unique("work");
        let mut caller = Caller::start(broker);
        // Kept by the caller's connection: the queue outlives its first worker.
        caller.peer.open_channel(2);
        caller.peer.declare(2, &queue, 0);
        let mut first = Peer::open(broker);
        first.qos(1, 1, false);
        first.consume(1, &queue, "", 0);
        let id = caller.request(&queue, b"do this");
        assert!(!first.expect_delivery(1).redelivered);
        let mut second = Peer::open(broker);
        second.qos(1, 1, false);
        second.consume(1, &queue, "", 0);
        drop(first); // As a killed process goes: no close, the socket just ends.
        let request = second.expect_delivery(1);
        assert!(request.redelivered);
        assert_eq!(
            (request.correlation_id(), &request.body[..]),
            (Some(id.clone()), &b"do this"[..])
        );
        second.publish(1, &request.reply_to(), &none().correlation_id(&id), b"done");
        second.ack(1, request.delivery_tag);
        let reply = caller.next_reply();
        assert_eq!(
            (reply.correlation_id(), reply.body),
            (Some(id), b"done".to_vec())
        );
        caller.peer.delete(2, &queue);
    });
}

#[test]
fn unacked_requests_come_back_in_order_when_their_channel_closes() {
    on_one_and_two_shards(|broker| {
        let queue = unique("back");
        let mut peer = Peer::open(broker);
        peer.declare(1, &queue, AUTO_DELETE);
        peer.open_channel(2);
        peer.consume(2, &queue, "", 0);
        for number in 0..5 {
            peer.publish(1, &queue, &none(), &[number]);
            assert_eq!(peer.expect_delivery(2).body, [number]);
        }
        peer.ack(2, 3);
        let mut other = Peer::open(broker);
        other.consume(1, &queue, "", NO_ACK);
        peer.close_channel(2);
        for number in [0, 1, 3, 4] {
            let delivery = other.expect_delivery(1);
            assert_eq!((delivery.body, delivery.redelivered), (vec![number], true));
        }
    });
}

#[test]
fn a_caller_that_dies_before_its_reply_disturbs_nobody() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut bystander = Bystander::start(broker);
        let mut patient = Caller::start(broker);
        for _ in 0..8 {
            let mut hasty = Caller::start(broker);
            hasty.request(&worker.queue, b"x");
            let request = worker.next_request();
            drop(hasty);
            worker.answer(&request, b"nobody waits for this");
            call(&mut patient, &mut worker, b"but for this");
            bystander.must_be_served();
        }
    });
}

#[test]
fn prefetch_is_honoured_exactly() {
    on_one_and_two_shards(|broker| {
        let queue = unique("prefetch");
        let mut worker = Peer::open(broker);
        worker.declare(1, &queue, EXCLUSIVE);
        let mut publisher = Peer::open(broker);
        publisher.select_confirms(1);
        worker.qos(1, 3, false);
        worker.consume(1, &queue, "", 0);
        for number in 0..10 {
            publisher.publish(1, &queue, &none(), &[number]);
            while publisher.expect_ack(1).delivery_tag <= u64::from(number) {}
        }
        for number in 0..3 {
            assert_eq!(worker.expect_delivery(1).body, [number]);
        }
        assert_eq!(worker.declare(1, &queue, EXCLUSIVE).message_count, 7);
        worker.ack(1, 2);
        assert_eq!(worker.expect_delivery(1).body, [3]);
        assert_eq!(worker.declare(1, &queue, EXCLUSIVE).message_count, 6);
        // Everything up to and including tag 4 at once: three of them are outstanding.
        worker.send(&method(60, 80).longlong(4).octet(1).frame(1));
        for number in 4..7 {
            assert_eq!(worker.expect_delivery(1).body, [number]);
        }
        assert_eq!(worker.declare(1, &queue, EXCLUSIVE).message_count, 3);
    });
}

#[test]
fn a_global_prefetch_is_shared_by_the_channels_consumers() {
    let broker = Broker::start(2);
    let mut peer = Peer::open(&broker);
    let queues = [unique("global"), unique("global")];
    peer.qos(1, 2, true);
    for queue in &queues {
        peer.declare(1, queue, EXCLUSIVE);
        peer.consume(1, queue, queue, 0);
    }
    peer.publish(1, &queues[0], &none(), b"1");
    peer.publish(1, &queues[1], &none(), b"2");
    let first = [peer.expect_delivery(1), peer.expect_delivery(1)];
    // Confirmed, so that the count below is of what has arrived.
    let waiting = |peer: &mut Peer| peer.declare(1, &queues[0], EXCLUSIVE).message_count;
    let mut publisher = Peer::open(&broker);
    publisher.select_confirms(1);
    publisher.publish(1, &queues[0], &none(), b"3");
    publisher.expect_ack(1);
    assert_eq!(waiting(&mut peer), 1);
    peer.ack(1, first[0].delivery_tag);
    assert_eq!(peer.expect_delivery(1).body, b"3");
}

#[test]
fn order_is_kept_from_one_channel_to_one_queue() {
    on_one_and_two_shards(|broker| {
        let queue = unique("order");
        let mut consumer = Peer::open(broker);
        consumer.declare(1, &queue, EXCLUSIVE);
        consumer.consume(1, &queue, "", NO_ACK);
        let mut publisher = Peer::open(broker);
        for number in 0..2000u32 {
            publisher.publish(1, &queue, &none(), &number.to_be_bytes());
        }
        for number in 0..2000u32 {
            let delivery = consumer.expect_delivery(1);
            assert_eq!(delivery.body, number.to_be_bytes());
            assert_eq!(delivery.delivery_tag, u64::from(number) + 1);
        }
    });
}

#[test]
fn requests_are_shared_among_workers() {
    on_one_and_two_shards(|broker| {
        let queue = unique("share");
        let mut workers = [Peer::open(broker), Peer::open(broker), Peer::open(broker)];
        workers[0].declare(1, &queue, AUTO_DELETE);
        for worker in &mut workers {
            worker.qos(1, 1, false);
            worker.consume(1, &queue, "", 0);
        }
        let mut publisher = Peer::open(broker);
        for number in 0..3 {
            publisher.publish(1, &queue, &none(), &[number]);
        }
        let mut bodies: Vec<_> = workers
            .iter_mut()
            .flat_map(|worker| worker.expect_delivery(1).body)
            .collect();
        bodies.sort_unstable();
        assert_eq!(bodies, [0, 1, 2]);
    });
}

#[test]
fn nack_and_reject_requeue_or_drop() {
    on_one_and_two_shards(|broker| {
        let queue = unique("nack");
        let mut peer = Peer::open(broker);
        peer.declare(1, &queue, EXCLUSIVE);
        peer.publish(1, &queue, &none(), b"a");
        let first = peer.get(1, &queue, false).expect("one message waits");
        assert!(!first.redelivered);
        peer.nack(1, first.delivery_tag, true);
        let second = peer.get(1, &queue, false).expect("it came back");
        assert_eq!((second.redelivered, second.body), (true, b"a".to_vec()));
        // basic.reject with requeue, then without.
        peer.send(
            &method(60, 90)
                .longlong(second.delivery_tag)
                .octet(1)
                .frame(1),
        );
        let third = peer.get(1, &queue, false).expect("it came back");
        assert!(third.redelivered);
        peer.send(
            &method(60, 90)
                .longlong(third.delivery_tag)
                .octet(0)
                .frame(1),
        );
        assert!(peer.get(1, &queue, false).is_none());
        peer.publish(1, &queue, &none(), b"b");
        let last = peer.get(1, &queue, false).expect("one message waits");
        peer.nack(1, last.delivery_tag, false);
        assert!(peer.get(1, &queue, false).is_none());
    });
}

#[test]
fn recover_brings_unacked_messages_back() {
    let broker = Broker::start(2);
    let queue = unique("recover");
    let mut peer = Peer::open(&broker);
    peer.declare(1, &queue, EXCLUSIVE);
    peer.consume(1, &queue, "", 0);
    peer.publish(1, &queue, &none(), b"a");
    assert!(!peer.expect_delivery(1).redelivered);
    peer.send(&method(60, 110).octet(1).frame(1));
    let mut recovered = false;
    let mut redelivered = false;
    // The answer and the message may come in either order.
    while !(recovered && redelivered) {
        let frame = peer.expect_frame();
        if frame.kind != wire::METHOD {
            continue;
        }
        match frame.decode_method() {
            AMQPClass::Basic(Basic::RecoverOk(_)) => recovered = true,
            AMQPClass::Basic(Basic::Deliver(deliver)) => redelivered = deliver.redelivered,
            other => panic!("neither recover-ok nor deliver: {other:?}"),
        }
    }
}

#[test]
fn confirms_come_for_every_publish_routed_or_not() {
    on_one_and_two_shards(|broker| {
        let queue = unique("confirm");
        let mut consumer = Peer::open(broker);
        consumer.declare(1, &queue, EXCLUSIVE);
        let mut publisher = Peer::open(broker);
        publisher.select_confirms(1);
        for number in 0..100 {
            let name = if number % 2 == 0 {
                queue.as_str()
            } else {
                "nowhere.to.be.found"
            };
            publisher.publish(1, name, &none(), b"x");
        }
        let mut confirmed = [false; 101];
        while confirmed[1..].contains(&false) {
            let ack = publisher.expect_ack(1);
            let last = ack.delivery_tag as usize;
            let first = if ack.multiple { 1 } else { last };
            confirmed[first..=last].fill(true);
        }
        assert_eq!(consumer.declare(1, &queue, EXCLUSIVE).message_count, 50);
    });
}

#[test]
fn a_mandatory_message_without_a_queue_is_returned_before_its_confirm() {
    on_one_and_two_shards(|broker| {
        let mut peer = Peer::open(broker);
        peer.select_confirms(1);
        let properties = none().correlation_id("c").encode();
        let body = vec![5; 200_000];
        for exchange in ["", "amq.direct", "amq.topic", "amq.fanout", "amq.headers"] {
            let publish = wire::publish(exchange, "no.queue.here", true);
            peer.publish_as(1, &publish, &properties, &body);
            let (code, returned) = peer.expect_return(1);
            assert_eq!((code, returned.exchange.as_str()), (312, exchange));
            assert_eq!(
                (returned.routing_key.as_str(), returned.body),
                ("no.queue.here", body.clone())
            );
            assert_eq!(returned.header, properties);
            peer.expect_ack(1);
        }
    });
}

#[test]
fn a_get_from_an_empty_queue_is_empty() {
    on_one_and_two_shards(|broker| {
        let queue = unique("get");
        let mut peer = Peer::open(broker);
        peer.declare(1, &queue, AUTO_DELETE);
        assert!(peer.get(1, &queue, true).is_none());
        let mut other = Peer::open(broker);
        other.select_confirms(1);
        other.publish(1, &queue, &none(), b"a");
        other.expect_ack(1);
        let got = peer.get(1, &queue, true).expect("it was confirmed");
        assert_eq!((got.routing_key, got.body), (queue.clone(), b"a".to_vec()));
        assert!(peer.get(1, &queue, true).is_none());
        peer.delete(1, &queue);
    });
}

#[test]
fn a_caller_that_stops_reading_does_not_delay_another_behind_the_same_worker() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut deaf = Caller::start(broker);
        let mut other = Caller::start(broker);
        // Small requests, large replies: 32 MiB cannot fit into the deaf caller's sockets.
        let reply = vec![1; 1 << 20];
        for _ in 0..32 {
            deaf.request(&worker.queue, b"tell me everything");
        }
        let requests: Vec<_> = (0..32).map(|_| worker.next_request()).collect();
        for request in &requests {
            worker.answer(request, &reply);
            call(&mut other, &mut worker, b"me too");
        }
    });
}

#[test]
fn a_caller_that_closes_the_flow_gets_its_replies_later() {
    let broker = Broker::start_own(2, "RabbitMQ refuses flow(false) with 540");
    let Some(broker) = broker else { return };
    let mut peer = Peer::open(&broker);
    peer.send(&method(20, 20).octet(0).frame(1));
    match peer.expect_frame().decode_method() {
        AMQPClass::Channel(amq_protocol::protocol::channel::AMQPMethod::FlowOk(ok)) => {
            assert!(!ok.active);
        }
        // Refusing it, as RabbitMQ does, is no silent acceptance either.
        AMQPClass::Connection(_) => return,
        other => panic!("neither flow-ok nor a refusal: {other:?}"),
    }
    let queue = unique("flow");
    peer.declare(1, &queue, EXCLUSIVE);
    peer.consume(1, &queue, "", NO_ACK);
    peer.publish(1, &queue, &none(), b"later");
    assert!(peer.is_silent_for(Duration::from_millis(100)));
    peer.send(&method(20, 20).octet(1).frame(1));
    peer.expect_method(1);
    assert_eq!(peer.expect_delivery(1).body, b"later");
}

#[test]
fn properties_of_every_kind_arrive_byte_for_byte() {
    on_one_and_two_shards(|broker| {
        let queue = unique("properties");
        let mut consumer = Peer::open(broker);
        consumer.declare(1, &queue, EXCLUSIVE);
        consumer.consume(1, &queue, "", NO_ACK);
        let mut publisher = Peer::open(broker);
        let fields = every_field(broker.is_own());
        let all = every_property(&fields);
        publisher.publish(1, &queue, &all, b"x");
        assert_eq!(consumer.expect_delivery(1).header, all.encode());
        // Each alone.
        for bit in 2..16 {
            let mut one = none();
            one = match bit {
                13 => one.with(13, Bytes::default().table(&fields)),
                12 => one.with(12, Bytes::default().octet(2)),
                11 => one.with(11, Bytes::default().octet(9)),
                6 => one.with(6, Bytes::default().longlong(u64::MAX)),
                4 => one.with(4, Bytes::default().shortstr("guest")),
                8 => one.with(8, Bytes::default().shortstr("60000")),
                _ => one.with(bit, Bytes::default().shortstr("\u{fc}")),
            };
            if bit == 8 && broker.is_own() {
                continue; // Message TTL may be refused by name; it is not part of this test.
            }
            publisher.publish(1, &queue, &one, b"x");
            assert_eq!(
                consumer.expect_delivery(1).header,
                one.encode(),
                "bit {bit}"
            );
        }
    });
}

/// All properties but expiration, which asks the broker to do something.
fn every_property(fields: &[u8]) -> Properties {
    let text = |text: &str| Bytes::default().shortstr(text);
    none()
        .with(15, text("text/plain"))
        .with(14, text("utf-8"))
        .with(13, Bytes::default().table(fields))
        .with(12, Bytes::default().octet(2))
        .with(11, Bytes::default().octet(255))
        .with(10, text(&"c".repeat(255)))
        .with(9, text("a.callback.queue"))
        .with(7, text("message"))
        .with(6, Bytes::default().longlong(1 << 40))
        .with(5, text("kind"))
        .with(4, text("guest"))
        .with(3, text("application"))
        .with(2, text("cluster"))
}

/// A table entry of every field type that RabbitMQ knows, edge values among them. It
/// cannot read a float that is no number.
fn every_field(with_nan: bool) -> Vec<u8> {
    let (nan_32, nan_64) = match with_nan {
        true => (0x7FC0_0001, 0x7FF8_0000_0000_0001),
        false => (0x3FC0_0001, 0x3FF8_0000_0000_0001),
    };
    let named = |name: &str, kind: u8| Bytes::default().shortstr(name).octet(kind);
    let array = Bytes::default()
        .octet(b'I')
        .long(1)
        .octet(b'V')
        .octet(b'A')
        .longstr(b"")
        .0;
    let inner = named("", b'V').0;
    [
        named("bool", b't').octet(1),
        named("i8", b'b').octet(0x80),
        named("u8", b'B').octet(0xFF),
        named("i16", b's').short(0x8000),
        named("u16", b'u').short(0xFFFF),
        named("i32", b'I').long(0x8000_0000),
        named("u32", b'i').long(0xFFFF_FFFF),
        named("i64", b'l').longlong(1 << 63),
        named("f32", b'f').long(nan_32),
        named("f64", b'd').longlong(nan_64),
        named("decimal", b'D').octet(2).long(314),
        named("longstr", b'S').longstr(&[0, 0xFF, 0xCE]),
        named("bytes", b'x').longstr(&[0xCE; 5]),
        named("array", b'A').longstr(&array),
        named("timestamp", b'T').longlong(0),
        named("table", b'F').table(&inner),
        named("void", b'V'),
    ]
    .map(|field| field.0)
    .concat()
}
