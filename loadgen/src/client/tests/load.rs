//! Bodies of many sizes, and workers who take their time.

use super::*;
use crate::call::CallId;
use crate::distribution::Distribution;

const UNIFORM: Distribution = Distribution::Uniform {
    from: 16,
    to: 10_000,
};

fn requester(sizes: Sizes) -> Pair {
    let purpose = Purpose::Requester {
        queues: vec!["jobs".to_owned()],
        reply: ReplyStyle::Direct,
        is_mandatory: false,
        is_persistent: false,
        is_confirmed: false,
        follow: Follow::default(),
    };
    let part = Part::Requester {
        run: RUN,
        index: 3,
        in_flight: 1,
    };
    let mut pair = Pair::sized(purpose, part, sizes);
    pair.run().unwrap();
    pair
}

fn worker(sizes: Sizes, is_auto_ack: bool) -> Pair {
    let purpose = Purpose::Worker {
        queues: vec!["jobs".to_owned()],
        is_auto_ack,
        prefetch: 0,
        is_persistent: false,
        keeps_queues: false,
        rules: QueueRules::default(),
        heap: None,
    };
    let mut pair = Pair::sized(purpose, Part::Worker, sizes);
    pair.run().unwrap();
    pair
}

#[test]
fn each_call_has_the_sizes_that_its_id_gives_it() {
    for reply in [None, Some(UNIFORM), Some(Distribution::Fixed(20))] {
        let sizes = Sizes::new(UNIFORM, reply, 1);
        let mut requester = requester(sizes.clone());
        let mut worker = worker(sizes.clone(), true);
        let mut lens = std::collections::BTreeSet::new();
        for sequence in 0..20 {
            let request = requester.issue();
            let call = CallId {
                run: RUN,
                requester: 3,
                sequence,
            };
            assert_eq!(request.body.len(), sizes.request_len(call));
            lens.insert(request.body.len());
            worker.deliver(&request);
            let reply = worker.peer.published.pop().unwrap();
            assert_eq!(reply.body.len(), sizes.reply_len(call));
            requester.deliver(&reply);
        }
        assert!(lens.len() > 15);
        let audit = requester.client.audit().unwrap();
        assert!(audit.is_clean() && audit.returned_once == 20, "{audit:?}");
        assert!(worker.tally.errors.is_empty() && requester.tally.errors.is_empty());
    }
}

#[test]
fn a_worker_that_makes_replies_anew_does_not_hide_a_spoilt_request() {
    let sizes = Sizes::new(UNIFORM, Some(Distribution::Fixed(40)), 1);
    let mut requester = requester(sizes.clone());
    let mut worker = worker(sizes, true);
    let mut request = requester.issue();
    *request.body.last_mut().unwrap() ^= 1;
    worker.deliver(&request);
    assert_eq!(worker.tally.errors["a request with altered octets"], 1);
    let reply = worker.peer.published.pop().unwrap();
    requester.deliver(&reply);
    assert_eq!(requester.client.audit().unwrap().corrupted, 1);
}

#[test]
fn a_busy_worker_answers_and_acknowledges_when_the_time_has_passed() {
    let mut requester = requester(Sizes::fixed(BODY_LEN));
    let mut worker = worker(Sizes::fixed(BODY_LEN), false);
    let service = Service::new(Distribution::Fixed(1000), 1, 1);
    worker.client.set_service(service);
    let request = requester.issue();
    worker.deliver(&request);
    assert!(worker.peer.published.is_empty() && worker.peer.acked.is_empty());
    let due = worker.client.next_due().unwrap();
    assert_eq!(due, Timestamp(NOW.0 + 1000));
    let early = Timestamp(due.0 - 1);
    worker.client.handle_due(early, &mut worker.tally);
    assert!(!worker.client.has_outbound());
    worker.client.handle_due(due, &mut worker.tally);
    worker.run().unwrap();
    assert_eq!(worker.peer.acked, [1]);
    requester.deliver(&worker.peer.published.pop().unwrap());
    assert!(requester.client.audit().unwrap().is_clean());
    assert_eq!(worker.client.next_due(), None);
}

#[test]
fn a_killed_worker_answers_nothing_any_more() {
    let mut requester = requester(Sizes::fixed(BODY_LEN));
    let mut worker = worker(Sizes::fixed(BODY_LEN), true);
    worker
        .client
        .set_service(Service::new(Distribution::Fixed(1000), 1, 1));
    worker.deliver(&requester.issue());
    worker.client.kill();
    worker
        .client
        .handle_due(Timestamp(u64::MAX), &mut worker.tally);
    assert!(!worker.client.has_outbound());
}
