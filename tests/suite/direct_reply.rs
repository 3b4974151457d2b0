//! Direct reply-to: the rules of RabbitMQ, one by one.

use std::time::Duration;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use blackbox::rpc::{Bystander, Caller, REPLY_TO, Worker, call};
use blackbox::wire::{self, Properties, method};
use blackbox::work::{CONSUME_NOWAIT, NO_ACK, PASSIVE};
use blackbox::{Broker, Peer, on_one_and_two_shards, unique};

const PREFIX: &str = "amq.rabbitmq.reply-to.";

#[test]
fn calls_are_answered_within_and_across_shards() {
    on_one_and_two_shards(|broker| {
        let mut workers: Vec<_> = (0..4).map(|_| Worker::start(broker)).collect();
        let mut callers: Vec<_> = (0..5).map(|_| Caller::start(broker)).collect();
        for worker in &mut workers {
            for caller in &mut callers {
                call(caller, worker, b"hello");
                call(caller, worker, b"");
                call(caller, worker, &[7; 300_000]);
            }
        }
    });
}

#[test]
fn the_worker_sees_a_full_address_and_the_caller_its_own_tag() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Peer::open(broker);
        assert_eq!(caller.consume(1, REPLY_TO, "mine", NO_ACK), "mine");
        let properties = Properties::default().reply_to(REPLY_TO);
        for delivery_tag in 1..=3 {
            caller.publish(1, &worker.queue, &properties, b"question");
            let request = worker.next_request();
            let address = request.reply_to();
            assert!(
                address.starts_with(PREFIX) && address.len() > PREFIX.len(),
                "{address}"
            );
            worker.answer(&request, b"answer");
            let reply = caller.expect_delivery(1);
            assert_eq!(reply.consumer_tag, "mine");
            // RabbitMQ does not count direct replies.
            assert!(reply.delivery_tag == delivery_tag || !broker.is_own());
            assert!(!reply.redelivered);
            assert_eq!((reply.exchange.as_str(), reply.routing_key), ("", address));
            assert_eq!(reply.header, [0, 0], "no properties were published");
        }
    });
}

#[test]
fn every_exchange_rewrites_the_bare_name_and_leaves_other_names_alone() {
    let broker = Broker::start(2);
    let mut worker = Worker::start(&broker);
    let mut caller = Caller::start(&broker);
    let bind = method(50, 20)
        .short(0)
        .shortstr(&worker.queue)
        .shortstr("amq.topic");
    worker
        .peer
        .send(&bind.shortstr("ask.#").octet(0).table(&[]).frame(1));
    worker.peer.expect_method(1);
    let publish = wire::publish("amq.topic", "ask.me", false);
    let bare = Properties::default().reply_to(REPLY_TO).encode();
    caller.peer.publish_as(1, &publish, &bare, b"x");
    assert!(worker.next_request().reply_to().starts_with(PREFIX));
    for name in [
        "amq.rabbitmq.reply-to.x",
        "amq.rabbitmq.reply-tx",
        "elsewhere",
        "",
    ] {
        let other = Properties::default().reply_to(name).encode();
        caller.peer.publish_as(1, &publish, &other, b"x");
        let request = worker.next_request();
        assert_eq!(request.header, other, "{name}");
    }
}

#[test]
fn lavinmqs_spelling_works_too_and_comes_back_as_spelled() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ does not know this name") else {
        return;
    };
    let mut worker = Worker::start(&broker);
    let mut caller = Peer::open(&broker);
    caller.consume(1, "amq.direct.reply-to", "", NO_ACK);
    let properties = Properties::default().reply_to("amq.direct.reply-to");
    caller.publish(1, &worker.queue, &properties, b"x");
    let request = worker.next_request();
    assert!(
        request.reply_to().starts_with("amq.direct.reply-to."),
        "{}",
        request.reply_to()
    );
    worker.answer(&request, b"y");
    assert_eq!(caller.expect_delivery(1).body, b"y");
}

#[test]
fn a_reply_consumer_must_not_ask_for_acknowledgements() {
    let broker = Broker::start(1);
    let mut peer = Peer::open(&broker);
    peer.send_consume(1, REPLY_TO, "", 0);
    let text = "PRECONDITION_FAILED - reply consumer cannot acknowledge";
    peer.expect_channel_close(1).expect(406, text, 60, 20);
}

#[test]
fn a_channel_has_one_reply_consumer() {
    let broker = Broker::start(1);
    let mut peer = Peer::open(&broker);
    peer.consume(1, REPLY_TO, "first", NO_ACK);
    peer.open_channel(2);
    peer.consume(2, REPLY_TO, "first", NO_ACK);
    peer.send_consume(1, REPLY_TO, "second", NO_ACK);
    let text = "PRECONDITION_FAILED - reply consumer already set";
    peer.expect_channel_close(1).expect(406, text, 60, 20);
}

#[test]
fn a_used_tag_is_refused_before_anything_else_is_looked_at() {
    let broker = Broker::start(1);
    let mut peer = Peer::open(&broker);
    let queue = peer
        .declare(1, "", blackbox::work::EXCLUSIVE)
        .queue
        .to_string();
    peer.consume(1, &queue, "taken", NO_ACK);
    peer.send_consume(1, REPLY_TO, "taken", 0);
    let text = "NOT_ALLOWED - attempt to reuse consumer tag 'taken'";
    peer.expect_connection_close().expect(530, text, 60, 20);
}

#[test]
fn the_reply_consumers_tag_is_taken_for_other_consumers_too() {
    let Some(broker) = Broker::start_own(1, "RabbitMQ lets it through") else {
        return;
    };
    let mut peer = Peer::open(&broker);
    peer.consume(1, REPLY_TO, "taken", NO_ACK);
    let queue = peer
        .declare(1, "", blackbox::work::EXCLUSIVE)
        .queue
        .to_string();
    peer.send_consume(1, &queue, "taken", NO_ACK);
    let text = "NOT_ALLOWED - attempt to reuse consumer tag 'taken'";
    peer.expect_connection_close().expect(530, text, 60, 20);
}

#[test]
fn an_empty_tag_becomes_a_generated_one_and_nowait_is_honoured() {
    let broker = Broker::start(1);
    let mut peer = Peer::open(&broker);
    assert!(
        peer.consume(1, REPLY_TO, "", NO_ACK)
            .starts_with("amq.ctag-")
    );
    peer.open_channel(2);
    peer.send_consume(2, REPLY_TO, "quiet", NO_ACK | CONSUME_NOWAIT);
    // The next word on this channel answers the next request, not the consume.
    assert_eq!(peer.declare(2, REPLY_TO, 0).consumer_count, 1);
}

#[test]
fn publishing_with_the_bare_name_needs_a_reply_consumer_on_that_channel() {
    let broker = Broker::start(1);
    let mut peer = Peer::open(&broker);
    peer.consume(1, REPLY_TO, "", NO_ACK);
    peer.open_channel(2);
    let properties = Properties::default().reply_to(REPLY_TO);
    peer.publish(2, "whatever", &properties, b"x");
    let text = "PRECONDITION_FAILED - fast reply consumer does not exist";
    peer.expect_channel_close(2).expect(406, text, 60, 40);
}

#[test]
fn declaring_the_bare_name_is_passive_whatever_the_flags() {
    let broker = Broker::start(1);
    let mut peer = Peer::open(&broker);
    for flags in [0, PASSIVE] {
        let ok = peer.declare(1, REPLY_TO, flags);
        assert_eq!(ok.queue.as_str(), REPLY_TO);
        assert_eq!((ok.message_count, ok.consumer_count), (0, 1));
    }
}

#[test]
fn declaring_a_full_address_tells_whether_the_caller_lives() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        caller.request(&worker.queue, b"x");
        let address = worker.next_request().reply_to();
        for flags in [0, PASSIVE] {
            let ok = worker.peer.declare(1, &address, flags);
            assert_eq!(ok.queue.as_str(), address);
            assert_eq!((ok.message_count, ok.consumer_count), (0, 1));
        }
        caller.peer.close_connection();
        worker.peer.send_declare(1, &address, PASSIVE);
        worker
            .peer
            .expect_channel_close(1)
            .expect(404, "NOT_FOUND", 50, 10);
    });
}

#[test]
fn declaring_a_forged_address_finds_nothing() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ 3.10 fails on some of these") else {
        return;
    };
    let mut worker = Worker::start(&broker);
    let mut caller = Caller::start(&broker);
    caller.request(&worker.queue, b"x");
    let address = worker.next_request().reply_to();
    for (channel, forged) in (2..).zip(forgeries(&address)) {
        worker.peer.open_channel(channel);
        worker.peer.send_declare(channel, &forged, PASSIVE);
        worker
            .peer
            .expect_channel_close(channel)
            .expect(404, "NOT_FOUND", 50, 10);
    }
}

/// Names that look like `address` and are not it.
fn forgeries(address: &str) -> Vec<String> {
    let opaque = address.strip_prefix(PREFIX).expect("a full reply address");
    let mut swapped = opaque.as_bytes().to_vec();
    // In the part that is sealed: the address of a measured call has more behind it.
    swapped[16] = if swapped[16] == b'A' { b'B' } else { b'A' };
    let swapped = String::from_utf8(swapped).expect("one letter was swapped for another");
    let long = "A".repeat(255 - PREFIX.len());
    [
        "",
        ".",
        "x",
        "0.0",
        &swapped,
        &opaque[..opaque.len() / 2],
        &long,
        "\u{e9}\u{0}",
    ]
    .map(|opaque| format!("{PREFIX}{opaque}"))
    .into()
}

#[test]
fn binding_unbinding_deleting_and_purging_a_reply_name_is_refused() {
    let Some(broker) = Broker::start_own(2, "older RabbitMQ allows some of it") else {
        return;
    };
    let mut worker = Worker::start(&broker);
    let mut caller = Caller::start(&broker);
    caller.request(&worker.queue, b"x");
    let address = worker.next_request().reply_to();
    let mut channel = 1;
    for name in [
        REPLY_TO,
        &address,
        "amq.rabbitmq.reply-to.forged",
        "amq.direct.reply-to",
    ] {
        let named = |method_id| method(50, method_id).short(0).shortstr(name);
        let bound = |bytes: wire::Bytes| bytes.shortstr("amq.fanout").shortstr("");
        let cases = [
            (20, bound(named(20)).octet(0).table(&[])),
            (50, bound(named(50)).table(&[])),
            (40, named(40).octet(0)),
            (30, named(30).octet(0)),
        ];
        for (method_id, bytes) in cases {
            channel += 1;
            caller.peer.open_channel(channel);
            caller.peer.send(&bytes.frame(channel));
            let refusal = caller.peer.expect_channel_close(channel);
            refusal.expect(403, "ACCESS_REFUSED", 50, method_id);
        }
    }
}

#[test]
fn basic_get_of_a_reply_name_is_not_implemented() {
    let broker = Broker::start_own(1, "RabbitMQ 3.10 says something else");
    let Some(broker) = broker else { return };
    let mut peer = Peer::open(&broker);
    peer.send_get(1, REPLY_TO, true);
    // 540 is a hard error: it ends the connection.
    peer.expect_connection_close()
        .expect(540, "NOT_IMPLEMENTED", 60, 70);
}

#[test]
fn a_cancelled_reply_consumer_gets_nothing_and_another_may_follow() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Peer::open(broker);
        let properties = Properties::default().reply_to(REPLY_TO);
        caller.consume(1, REPLY_TO, "one", NO_ACK);
        caller.publish(1, &worker.queue, &properties, b"x");
        let stale = worker.next_request();
        caller.send(&method(60, 30).shortstr("one").octet(0).frame(1));
        match caller.expect_method(1) {
            AMQPClass::Basic(Basic::CancelOk(ok)) => assert_eq!(ok.consumer_tag.as_str(), "one"),
            other => panic!("not basic.cancel-ok: {other:?}"),
        }
        worker.answer(&stale, b"too late");
        worker.peer.declare(1, REPLY_TO, 0);
        caller.consume(1, REPLY_TO, "two", NO_ACK);
        caller.publish(1, &worker.queue, &properties, b"x");
        let request = worker.next_request();
        worker.answer(&request, b"in time");
        let reply = caller.expect_delivery(1);
        assert_eq!(
            (reply.consumer_tag.as_str(), reply.body),
            ("two", b"in time".to_vec())
        );
    });
}

#[test]
fn a_reply_to_nobody_is_dropped_in_silence_and_confirmed() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        caller.request(&worker.queue, b"x");
        let request = worker.next_request();
        caller.peer.close_connection();
        let mut publisher = Peer::open(broker);
        publisher.select_confirms(1);
        let mut names = vec![request.reply_to()];
        if broker.is_own() {
            names.extend(forgeries(&request.reply_to()));
        }
        for (delivery_tag, name) in (1..).zip(names) {
            publisher.publish(1, &name, &Properties::default(), b"y");
            let ack = publisher.expect_ack(1);
            assert_eq!(ack.delivery_tag, delivery_tag, "{name}");
        }
    });
}

#[test]
fn a_mandatory_reply_to_nobody_is_returned() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        caller.request(&worker.queue, b"x");
        let address = worker.next_request().reply_to();
        caller.peer.close_connection();
        worker.peer.select_confirms(1);
        let properties = Properties::default().correlation_id("7").encode();
        worker.peer.publish_as(
            1,
            &wire::publish("", &address, true),
            &properties,
            b"answer",
        );
        let (code, returned) = worker.peer.expect_return(1);
        assert_eq!((code, returned.body), (312, b"answer".to_vec()));
        assert_eq!(
            (returned.header, returned.routing_key),
            (properties, address)
        );
        assert_eq!(worker.peer.expect_ack(1).delivery_tag, 1);
    });
}

#[test]
fn a_mandatory_reply_that_arrives_is_confirmed_and_not_returned() {
    on_one_and_two_shards(|broker| {
        if !broker.is_own() {
            return eprintln!("skipped: RabbitMQ up to 4.1 returns every mandatory reply");
        }
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        worker.peer.select_confirms(1);
        for delivery_tag in 1..=10 {
            caller.request(&worker.queue, b"x");
            let address = worker.next_request().reply_to();
            worker
                .peer
                .publish_as(1, &wire::publish("", &address, true), &[0, 0], b"y");
            assert_eq!(worker.peer.expect_ack(1).delivery_tag, delivery_tag);
            assert_eq!(caller.next_reply().body, b"y");
        }
    });
}

#[test]
fn the_address_is_bound_to_its_channel() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        caller.request(&worker.queue, b"x");
        let stale = worker.next_request();
        caller.peer.close_channel(1);
        caller.peer.open_channel(1);
        caller.peer.consume(1, REPLY_TO, "", NO_ACK);
        worker.answer(&stale, b"for the channel that was");
        caller.request(&worker.queue, b"x");
        let request = worker.next_request();
        assert_ne!(request.reply_to(), stale.reply_to());
        worker.answer(&request, b"for the channel that is");
        assert_eq!(caller.next_reply().body, b"for the channel that is");
    });
}

#[test]
fn callers_with_the_same_tag_get_their_own_replies() {
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut callers: Vec<_> = (0..4).map(|_| Peer::open(broker)).collect();
        let properties = Properties::default().reply_to(REPLY_TO);
        let mut requests = Vec::new();
        for (number, caller) in callers.iter_mut().enumerate() {
            caller.consume(1, REPLY_TO, "same", NO_ACK);
            caller.publish(1, &worker.queue, &properties, &[number as u8]);
            requests.push(worker.next_request());
        }
        let mut last = callers.pop().expect("there are four");
        last.close_connection();
        for request in requests.iter().rev() {
            worker.answer(request, &request.body);
        }
        for (number, caller) in callers.iter_mut().enumerate() {
            assert_eq!(caller.expect_delivery(1).body, [number as u8]);
        }
    });
}

#[test]
fn a_reply_with_a_foreign_user_id_is_refused() {
    let broker = Broker::start(2);
    let mut worker = Worker::start(&broker);
    let mut caller = Caller::start(&broker);
    caller.request(&worker.queue, b"x");
    let address = worker.next_request().reply_to();
    let user = wire::Bytes::default().shortstr("root");
    let forged = Properties::default().with(wire::USER_ID_BIT, user);
    worker.peer.publish(1, &address, &forged, b"y");
    let text = "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was";
    worker
        .peer
        .expect_channel_close(1)
        .expect(406, text, 60, 40);
    assert!(caller.peer.is_silent_for(Duration::from_millis(50)));
}

#[test]
fn a_forged_reply_reaches_nobody() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ 3.10 fails on some of these") else {
        return;
    };
    let mut bystander = Bystander::start(&broker);
    let mut worker = Worker::start(&broker);
    let mut caller = Caller::start(&broker);
    let id = caller.request(&worker.queue, b"x");
    let request = worker.next_request();
    for name in forgeries(&request.reply_to()) {
        worker
            .peer
            .publish(1, &name, &Properties::default(), b"forged");
    }
    worker.answer(&request, b"true");
    let reply = caller.next_reply();
    assert_eq!(
        (reply.correlation_id(), reply.body),
        (Some(id), b"true".to_vec())
    );
    bystander.must_be_served();
}

#[test]
fn a_second_reply_to_the_same_address_arrives_too() {
    // Callers scatter one request to many workers: the address is not used up by one reply.
    on_one_and_two_shards(|broker| {
        let mut worker = Worker::start(broker);
        let mut caller = Caller::start(broker);
        caller.request(&worker.queue, b"x");
        let request = worker.next_request();
        worker.answer(&request, b"first");
        worker.answer(&request, b"second");
        assert_eq!(caller.next_reply().body, b"first");
        assert_eq!(caller.next_reply().body, b"second");
    });
}

#[test]
fn a_request_to_an_unknown_queue_is_dropped_or_returned_if_mandatory() {
    let broker = Broker::start(2);
    let mut caller = Caller::start(&broker);
    let nowhere = unique("nowhere");
    caller.request(&nowhere, b"x");
    let properties = Properties::default().reply_to(REPLY_TO).encode();
    caller
        .peer
        .publish_as(1, &wire::publish("", &nowhere, true), &properties, b"y");
    let (code, returned) = caller.peer.expect_return(1);
    assert_eq!((code, returned.body), (312, b"y".to_vec()));
}
