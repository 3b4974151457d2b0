//! The ways to call that are asked for by option: a queue per call, confirms, persistence, many
//! queues; and what is explained by workers and requesters that are killed.

use super::*;
use crate::casualties::Casualties;
use std::sync::Arc;

fn requester(reply: ReplyStyle, is_confirmed: bool, queues: &[&str]) -> Pair {
    let purpose = Purpose::Requester {
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        reply,
        is_mandatory: false,
        is_persistent: true,
        is_confirmed,
        follow: Follow::default(),
    };
    let part = Part::Requester {
        run: RUN,
        index: 3,
        in_flight: 4,
    };
    let mut pair = Pair::new(purpose, part, BODY_LEN);
    pair.run().unwrap();
    pair
}

fn settle(pair: &mut Pair, method: &HotMethod<'_>) {
    encode_hot(&mut pair.peer.to_client, 1, method);
    pair.run().unwrap();
}

const ACK_BOTH: HotMethod<'static> = HotMethod::Ack {
    delivery_tag: 2,
    multiple: true,
};

#[test]
fn a_queue_per_call_is_declared_named_and_deleted_for_each() {
    let mut requester = requester(ReplyStyle::QueuePerCall, false, &["jobs"]);
    let set_up_len = requester.peer.said.len();
    let first = requester.issue();
    let second = requester.issue();
    assert_eq!(first.reply_to, b"amq.gen-1");
    assert_eq!(second.reply_to, b"amq.gen-2");
    let declared_twice = [(50, 10), (60, 20), (50, 10), (60, 20)];
    assert_eq!(requester.peer.said[set_up_len..], declared_twice);
    let reply = answered(&second, b"amq.gen-2");
    requester.deliver(&reply);
    assert_eq!(requester.peer.said.last(), Some(&(50, 40)));
    assert_eq!(requester.client.audit().unwrap().returned_once, 1);
    requester.deliver(&reply);
    assert_eq!(requester.client.audit().unwrap().duplicated, 1);
    requester.deliver(&answered(&first, b"amq.gen-1"));
    assert_eq!(requester.client.audit().unwrap().returned_once, 2);
    assert!(!requester.client.is_busy());
}

#[test]
fn the_call_with_a_queue_of_its_own_lasts_until_the_queue_is_gone() {
    let mut requester = requester(ReplyStyle::QueuePerCall, false, &["jobs"]);
    let reply = answered(&requester.issue(), b"amq.gen-1");
    requester.peer.deliver(1, &reply);
    requester.peer.deliver(2, &reply);
    let octets = std::mem::take(&mut requester.peer.to_client);
    let (client, tally) = (&mut requester.client, &mut requester.tally);
    client.handle_bytes(&octets, NOW, tally).unwrap();
    assert_eq!(client.in_flight(), 1);
    assert_eq!(client.audit().unwrap().duplicated, 1);
    requester.run().unwrap();
    assert_eq!(requester.client.in_flight(), 0);
    assert_eq!(requester.client.audit().unwrap().returned_once, 1);
}

#[test]
fn confirms_are_counted_and_the_run_waits_for_them() {
    let mut requester = requester(ReplyStyle::Direct, true, &["jobs"]);
    assert!(requester.peer.said.contains(&(85, 10)));
    for _ in 0..2 {
        let reply = answered(&requester.issue(), b"address");
        requester.deliver(&reply);
    }
    assert!(requester.client.is_busy());
    settle(&mut requester, &ACK_BOTH);
    assert!(!requester.client.is_busy());
    assert_eq!(requester.client.audit().unwrap().confirmed, 2);
    settle(&mut requester, &ACK_BOTH);
    assert_eq!(
        requester.tally.errors["a confirm that the broker did not owe"],
        1
    );
}

#[test]
fn a_refused_publish_has_failed_and_one_never_confirmed_is_an_error() {
    let mut requester = requester(ReplyStyle::Direct, true, &["jobs"]);
    requester.issue();
    let reply = answered(&requester.issue(), b"address");
    requester.deliver(&reply);
    let nack = HotMethod::Nack {
        delivery_tag: 1,
        multiple: false,
        requeue: false,
    };
    settle(&mut requester, &nack);
    assert_eq!(requester.client.audit().unwrap().failed, 1);
    assert_eq!(requester.tally.errors["basic.nack by the broker"], 1);
    let later = NOW.plus(Duration::from_secs(5));
    let (client, tally) = (&mut requester.client, &mut requester.tally);
    client
        .handle_deadline(later, Duration::from_secs(5), tally)
        .unwrap();
    assert_eq!(tally.errors["timeout: no confirm in time"], 1);
    assert!(!client.is_busy());
}

#[test]
fn requests_and_replies_are_persistent_if_asked_for_and_go_to_the_queues_in_turn() {
    let mut requester = requester(ReplyStyle::Direct, false, &["a", "b", "c"]);
    let keys: Vec<Vec<u8>> = (0..4)
        .map(|_| {
            let request = requester.issue();
            assert_eq!(request.delivery_mode, Some(2));
            requester.deliver(&answered(&request, b"address"));
            request.routing_key
        })
        .collect();
    assert_eq!(keys, [b"a", b"b", b"c", b"a"]);
    assert!(requester.client.audit().unwrap().is_clean());
}

#[test]
fn a_worker_of_many_queues_consumes_from_each_and_deletes_those_it_keeps() {
    let purpose = Purpose::Worker {
        queues: vec!["a".to_owned(), "b".to_owned()],
        is_auto_ack: true,
        prefetch: 0,
        is_persistent: true,
        keeps_queues: true,
        rules: QueueRules::default(),
        heap: None,
    };
    let mut worker = Pair::new(purpose, Part::Worker, BODY_LEN);
    worker.run().unwrap();
    let expected = [(50, 10), (60, 20), (50, 10), (60, 20)];
    assert_eq!(worker.peer.said[4..], expected);
    let mut requester = requester(ReplyStyle::Direct, false, &["a"]);
    let request = requester.issue();
    worker.deliver(&request);
    assert_eq!(worker.peer.published[0].delivery_mode, Some(2));
    worker.client.close(&mut worker.tally);
    worker.run().unwrap();
    assert_eq!(worker.peer.said[8..], [(50, 40), (50, 40), (10, 50)]);
}

#[test]
fn a_worker_answers_its_first_queue_while_it_sets_up_the_second() {
    let mut requester = requester(ReplyStyle::Direct, false, &["a"]);
    let request = requester.issue();
    let purpose = Purpose::Worker {
        queues: vec!["a".to_owned(), "b".to_owned()],
        is_auto_ack: true,
        prefetch: 0,
        is_persistent: false,
        keeps_queues: false,
        rules: QueueRules::default(),
        heap: None,
    };
    let mut worker = Pair::new(purpose, Part::Worker, BODY_LEN);
    // Until it has asked for the first queue's messages, before the broker has answered.
    while !worker.peer.said.contains(&(60, 20)) {
        let answer = std::mem::take(&mut worker.peer.to_client);
        let (client, tally) = (&mut worker.client, &mut worker.tally);
        client.handle_bytes(&answer, NOW, tally).unwrap();
        worker
            .peer
            .handle_bytes(&worker.client.take_outbound(Vec::new(), NOW));
    }
    worker.peer.deliver(1, &request);
    worker.run().unwrap();
    assert_eq!(worker.peer.published.len(), 1);
    assert!(worker.tally.errors.is_empty());
}

#[test]
fn a_second_answer_is_explained_only_by_a_redelivery_after_a_kill() {
    for (was_killed, expected) in [(true, (1, 0)), (false, (0, 1))] {
        let mut requester = requester(ReplyStyle::Direct, false, &["jobs"]);
        let casualties = Arc::new(Casualties::new(true, Duration::from_millis(100)));
        requester.client.set_casualties(&casualties);
        if was_killed {
            casualties.record(["jobs".to_owned()].iter(), NOW);
        }
        let request = requester.issue();
        requester.deliver(&answered(&request, b"address"));
        requester.deliver(&answered_as(&request, b"address", true));
        let audit = requester.client.audit().unwrap();
        assert_eq!((audit.repeated, audit.duplicated), expected);
        assert_eq!(audit.is_clean(), was_killed);
        assert_eq!(requester.tally.errors.is_empty(), was_killed);
    }
}

#[test]
fn a_killed_requester_begins_anew_with_its_books_and_no_call_in_flight() {
    let mut old = requester(ReplyStyle::Direct, true, &["jobs"]);
    let request = old.issue();
    old.client.kill();
    assert_eq!(old.client.standing(), Standing::Over);
    let reply = answered(&request, b"address");
    old.peer.deliver(1, &reply);
    let octets = std::mem::take(&mut old.peer.to_client);
    let handled = old.client.handle_bytes(&octets, NOW, &mut old.tally);
    assert_eq!(handled, Ok(()), "the dead read nothing");
    let mut new = requester(ReplyStyle::Direct, true, &["jobs"]);
    new.client.succeed(&mut old.client);
    let next = new.issue();
    assert_ne!(next.correlation, request.correlation);
    let audit = new.client.audit().unwrap();
    assert_eq!((audit.issued, audit.failed_with_requester), (2, 1));
    new.deliver(&reply);
    assert_eq!(new.client.audit().unwrap().duplicated, 1);
}
