//! Callback queues and topology: whose a queue is, how it dies, what is refused and how.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use blackbox::wire::{self, Bytes, Properties, method};
use blackbox::work::{AUTO_DELETE, CONSUME_EXCLUSIVE, DURABLE, EXCLUSIVE, NO_ACK, PASSIVE};
use blackbox::{Broker, Peer, on_one_and_two_shards, unique};

#[test]
fn callback_queues_answer_calls_within_and_across_shards() {
    on_one_and_two_shards(|broker| {
        let queue = unique("callbacks");
        let mut worker = Peer::open(broker);
        worker.declare(1, &queue, AUTO_DELETE);
        worker.qos(1, 1, false);
        worker.consume(1, &queue, "", 0);
        for number in 0..6u8 {
            let mut caller = Peer::open(broker);
            let callback = caller.declare(1, "", EXCLUSIVE).queue.to_string();
            assert!(callback.starts_with("amq.gen-"), "{callback}");
            caller.consume(1, &callback, "", NO_ACK);
            let properties = Properties::default()
                .reply_to(&callback)
                .correlation_id("id");
            caller.publish(1, &queue, &properties, &[number]);
            let request = worker.expect_delivery(1);
            assert_eq!(request.reply_to(), callback);
            let id = Properties::default().correlation_id("id");
            worker.publish(1, &callback, &id, &request.body);
            worker.ack(1, request.delivery_tag);
            let reply = caller.expect_delivery(1);
            assert_eq!((reply.body, reply.header), (vec![number], id.encode()));
        }
    });
}

#[test]
fn an_exclusive_queue_is_locked_for_other_connections() {
    on_one_and_two_shards(|broker| {
        let mut owner = Peer::open(broker);
        let queue = unique("mine");
        owner.declare(1, &queue, EXCLUSIVE);
        let text = format!(
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in \
             vhost '/'"
        );
        let named = |method_id| method(50, method_id).short(0).shortstr(&queue);
        let consume = method(60, 20)
            .short(0)
            .shortstr(&queue)
            .shortstr("")
            .octet(0)
            .table(&[]);
        let bind = named(20)
            .shortstr("amq.fanout")
            .shortstr("")
            .octet(0)
            .table(&[]);
        let cases = [
            (50, 10, named(10).octet(EXCLUSIVE).table(&[])),
            (50, 10, named(10).octet(PASSIVE).table(&[])),
            (50, 20, bind),
            (50, 30, named(30).octet(0)),
            (50, 40, named(40).octet(0)),
            (60, 20, consume),
            (60, 70, method(60, 70).short(0).shortstr(&queue).octet(0)),
        ];
        // From both shards, if there are two.
        let mut others = [Peer::open(broker), Peer::open(broker)];
        for (channel, (class_id, method_id, bytes)) in (2..).zip(cases) {
            for other in &mut others {
                other.open_channel(channel);
                other.send(&bytes.frame(channel));
                other
                    .expect_channel_close(channel)
                    .expect(405, &text, class_id, method_id);
            }
        }
        assert_eq!(owner.declare(1, &queue, PASSIVE).queue.as_str(), queue);
    });
}

#[test]
fn an_exclusive_queue_dies_with_its_connection() {
    on_one_and_two_shards(|broker| {
        let mut owner = Peer::open(broker);
        let queue = owner.declare(1, "", EXCLUSIVE).queue.to_string();
        owner.close_channel(1);
        owner.open_channel(1);
        owner.declare(1, &queue, PASSIVE);
        owner.close_connection();
        let mut other = Peer::open(broker);
        other.send_declare(1, &queue, PASSIVE);
        let text = format!("NOT_FOUND - no queue '{queue}' in vhost '/'");
        other.expect_channel_close(1).expect(404, &text, 50, 10);
    });
}

#[test]
fn an_auto_delete_queue_dies_with_its_last_consumer() {
    on_one_and_two_shards(|broker| {
        let queue = unique("auto");
        let mut peer = Peer::open(broker);
        peer.declare(1, &queue, AUTO_DELETE);
        let mut other = Peer::open(broker);
        let tags = [
            peer.consume(1, &queue, "", 0),
            other.consume(1, &queue, "", 0),
        ];
        cancel(&mut peer, &tags[0]);
        assert_eq!(peer.declare(1, &queue, PASSIVE).consumer_count, 1);
        cancel(&mut other, &tags[1]);
        other.send_declare(1, &queue, PASSIVE);
        other
            .expect_channel_close(1)
            .expect(404, "NOT_FOUND - no queue", 50, 10);
    });
}

fn cancel(peer: &mut Peer, tag: &str) {
    peer.send(&method(60, 30).shortstr(tag).octet(0).frame(1));
    match peer.expect_method(1) {
        AMQPClass::Basic(Basic::CancelOk(ok)) => assert_eq!(ok.consumer_tag.as_str(), tag),
        other => panic!("not basic.cancel-ok: {other:?}"),
    }
}

#[test]
fn deleting_a_queue_cancels_its_consumers() {
    on_one_and_two_shards(|broker| {
        let queue = unique("deleted");
        let mut consumer = Peer::open(broker);
        consumer.declare(1, &queue, 0);
        consumer.consume(1, &queue, "told", 0);
        let mut other = Peer::open(broker);
        other.delete(1, &queue);
        match consumer.expect_method(1) {
            AMQPClass::Basic(Basic::Cancel(cancel)) => {
                assert_eq!(cancel.consumer_tag.as_str(), "told");
            }
            other => panic!("not basic.cancel: {other:?}"),
        }
        // Deleting what is not there is no error.
        other.delete(1, &queue);
    });
}

#[test]
fn callback_queues_per_call_leave_nothing_behind() {
    on_one_and_two_shards(|broker| {
        let mut peer = Peer::open(broker);
        let mut last = String::new();
        for _ in 0..500 {
            let queue = peer
                .declare(1, "", EXCLUSIVE | AUTO_DELETE)
                .queue
                .to_string();
            assert_ne!(queue, last);
            let tag = peer.consume(1, &queue, "", NO_ACK);
            peer.publish(1, &queue, &Properties::default(), b"x");
            assert_eq!(peer.expect_delivery(1).body, b"x");
            cancel(&mut peer, &tag);
            last = queue;
        }
        peer.send_declare(1, &last, PASSIVE);
        peer.expect_channel_close(1)
            .expect(404, "NOT_FOUND", 50, 10);
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    let broker = Broker::start(2);
    let mut peer = Peer::open_connection(&broker);
    let no_queue = "NOT_FOUND - no queue 'absent' in vhost '/'";
    let no_exchange = "NOT_FOUND - no exchange 'absent' in vhost '/'";
    let consume = method(60, 20)
        .short(0)
        .shortstr("absent")
        .shortstr("")
        .octet(0)
        .table(&[]);
    let bind = method(50, 20)
        .short(0)
        .shortstr("absent")
        .shortstr("amq.direct")
        .shortstr("k");
    let exchange = method(40, 10)
        .short(0)
        .shortstr("absent")
        .shortstr("direct")
        .octet(PASSIVE);
    let cases = [
        (
            50,
            10,
            no_queue,
            method(50, 10)
                .short(0)
                .shortstr("absent")
                .octet(PASSIVE)
                .table(&[]),
        ),
        (50, 20, no_queue, bind.octet(0).table(&[])),
        (
            50,
            30,
            no_queue,
            method(50, 30).short(0).shortstr("absent").octet(0),
        ),
        (60, 20, no_queue, consume),
        (
            60,
            70,
            no_queue,
            method(60, 70).short(0).shortstr("absent").octet(0),
        ),
        (40, 10, no_exchange, exchange.table(&[])),
    ];
    for (channel, (class_id, method_id, text, bytes)) in (1..).zip(cases) {
        peer.open_channel(channel);
        peer.send(&bytes.frame(channel));
        peer.expect_channel_close(channel)
            .expect(404, text, class_id, method_id);
    }
    peer.open_channel(100);
    peer.publish_as(100, &wire::publish("absent", "k", false), &[0, 0], b"x");
    peer.expect_channel_close(100)
        .expect(404, no_exchange, 60, 40);
    // The other channels of the connection did not notice.
    peer.open_channel(101);
    peer.close_channel(101);
}

#[test]
fn redeclaring_a_queue_differently_is_refused() {
    let broker = Broker::start(2);
    let queue = unique("same");
    let mut peer = Peer::open(&broker);
    peer.declare(1, &queue, AUTO_DELETE);
    peer.declare(1, &queue, AUTO_DELETE);
    let mut other = Peer::open(&broker);
    other.send_declare(1, &queue, 0);
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{queue}' in vhost '/': \
         received 'false' but current is 'true'"
    );
    other.expect_channel_close(1).expect(406, &text, 50, 10);
    peer.delete(1, &queue);
}

#[test]
fn names_of_the_broker_are_not_for_clients() {
    let broker = Broker::start(2);
    let mut peer = Peer::open(&broker);
    peer.send_declare(1, "amq.mine", DURABLE);
    let text = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";
    peer.expect_channel_close(1).expect(403, text, 50, 10);
    peer.open_channel(1);
    let declare = method(40, 10)
        .short(0)
        .shortstr("amq.mine")
        .shortstr("direct");
    peer.send(&declare.octet(0).table(&[]).frame(1));
    let text = "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'";
    peer.expect_channel_close(1).expect(403, text, 40, 10);
    peer.open_channel(1);
    let bind = method(50, 20)
        .short(0)
        .shortstr("whatever")
        .shortstr("")
        .shortstr("k");
    peer.send(&bind.octet(0).table(&[]).frame(1));
    let refusal = peer.expect_channel_close(1);
    assert!([403, 404].contains(&refusal.code), "{refusal:?}");
}

#[test]
fn an_unknown_delivery_tag_closes_the_channel() {
    let broker = Broker::start(2);
    let mut peer = Peer::open(&broker);
    let text = "PRECONDITION_FAILED - unknown delivery tag 7";
    peer.ack(1, 7);
    peer.expect_channel_close(1).expect(406, text, 60, 80);
    peer.open_channel(1);
    peer.nack(1, 7, true);
    peer.expect_channel_close(1).expect(406, text, 60, 120);
    peer.open_channel(1);
    peer.send(&method(60, 90).longlong(7).octet(0).frame(1));
    peer.expect_channel_close(1).expect(406, text, 60, 90);
}

#[test]
fn acknowledging_twice_closes_the_channel() {
    on_one_and_two_shards(|broker| {
        let queue = unique("twice");
        let mut owner = Peer::open(broker);
        owner.declare(1, &queue, EXCLUSIVE);
        owner.publish(1, &queue, &Properties::default(), b"x");
        let got = owner
            .get(1, &queue, false)
            .expect("it was published on this channel");
        owner.ack(1, got.delivery_tag);
        owner.ack(1, got.delivery_tag);
        let text = "PRECONDITION_FAILED - unknown delivery tag 1";
        owner.expect_channel_close(1).expect(406, text, 60, 80);
    });
}

#[test]
fn an_exclusive_consumer_keeps_others_away() {
    on_one_and_two_shards(|broker| {
        let queue = unique("alone");
        let mut first = Peer::open(broker);
        first.declare(1, &queue, AUTO_DELETE);
        first.consume(1, &queue, "", CONSUME_EXCLUSIVE);
        let mut second = Peer::open(broker);
        second.send_consume(1, &queue, "", 0);
        let text = format!("ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use");
        second.expect_channel_close(1).expect(403, &text, 60, 20);
    });
}

#[test]
fn deleting_a_queue_in_use_or_not_empty_can_be_refused() {
    let broker = Broker::start(2);
    let queue = unique("kept");
    let mut peer = Peer::open(&broker);
    peer.declare(1, &queue, EXCLUSIVE);
    peer.publish(1, &queue, &Properties::default(), b"x");
    peer.send(&method(50, 40).short(0).shortstr(&queue).octet(2).frame(1));
    let text = format!("PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty");
    peer.expect_channel_close(1).expect(406, &text, 50, 40);
    peer.open_channel(1);
    peer.consume(1, &queue, "", NO_ACK);
    peer.expect_delivery(1);
    peer.send(&method(50, 40).short(0).shortstr(&queue).octet(1).frame(1));
    let text = format!("PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use");
    peer.expect_channel_close(1).expect(406, &text, 50, 40);
}

#[test]
fn every_exchange_type_routes_across_shards() {
    on_one_and_two_shards(|broker| {
        let mut near = Peer::open(broker);
        let mut far = Peer::open(broker);
        let text = |name: &str, value: &str| {
            Bytes::default()
                .shortstr(name)
                .octet(b'S')
                .longstr(value.as_bytes())
                .0
        };
        let all = [text("x-match", "all"), text("colour", "red")].concat();
        let cases: [(&str, &str, &[u8], &str, &str); 4] = [
            ("direct", "key", &[], "key", "other"),
            ("topic", "a.*.#", &[], "a.b.c.d", "a"),
            ("fanout", "", &[], "anything", ""),
            ("headers", "", &all, "", ""),
        ];
        for (kind, binding, arguments, hit, miss) in cases {
            let (queue, exchange) = (unique("to"), unique(kind));
            let declare = method(40, 10).short(0).shortstr(&exchange).shortstr(kind);
            far.send(&declare.octet(0).table(&[]).frame(1));
            far.expect_method(1);
            near.declare(1, &queue, EXCLUSIVE);
            let bind = method(50, 20).short(0).shortstr(&queue).shortstr(&exchange);
            near.send(&bind.shortstr(binding).octet(0).table(arguments).frame(1));
            near.expect_method(1);
            near.consume(1, &queue, "", NO_ACK);
            let red = Bytes::default().table(&text("colour", "red"));
            let red = Properties::default().with(wire::HEADERS_BIT, red).encode();
            if kind != "fanout" {
                far.publish_as(1, &wire::publish(&exchange, miss, false), &[0, 0], b"miss");
            }
            far.publish_as(1, &wire::publish(&exchange, hit, false), &red, b"hit");
            let delivery = near.expect_delivery(1);
            assert_eq!(
                (&delivery.body[..], &delivery.exchange),
                (&b"hit"[..], &exchange)
            );
            far.send(
                &method(40, 20)
                    .short(0)
                    .shortstr(&exchange)
                    .octet(0)
                    .frame(1),
            );
            far.expect_method(1);
        }
    });
}
