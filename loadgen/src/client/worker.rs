//! A connection that answers: at once, or each request after the time that serving it takes.

use super::Tally;
use super::content::Delivery;
use super::heap::Heap;
use super::role::Arrival;
use super::template::ReplyEncoder;
use crate::body;
use crate::distribution::Distribution;
use crate::sizes::Sizes;
use broker::engine::time::Timestamp;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

pub struct Worker {
    /// There once its consumers may get something.
    pub replies: Option<ReplyEncoder>,
    sizes: Sizes,
    /// A reply's body that is not its request's; kept to be filled again.
    body: Vec<u8>,
    service: Option<Box<Service>>,
    pub heap: Option<Box<Heap>>,
}

impl Worker {
    pub fn new(sizes: Sizes) -> Worker {
        Worker {
            replies: None,
            sizes,
            body: Vec::new(),
            service: None,
            heap: None,
        }
    }

    pub fn set_service(&mut self, service: Service) {
        self.service = Some(Box::new(service));
    }

    pub fn handle_request(
        &mut self,
        arrival: &Arrival<'_>,
        outbound: &mut Vec<u8>,
        tally: &mut Tally,
    ) {
        match &mut self.service {
            None => self.answer(&arrival.delivery, outbound, tally),
            Some(service) => service.begin(&arrival.delivery, arrival.now),
        }
    }

    pub fn handle_blocked(&mut self, is_blocked: bool, tally: &mut Tally) {
        if let Some(heap) = &mut self.heap {
            heap.set_blocked(is_blocked);
            tally.heap.blocked_count += u64::from(is_blocked);
        }
    }

    /// When the next reply is to go out, if one is being worked at.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.service.as_ref().and_then(|service| service.next_due())
    }

    /// Answers one request whose time has passed; false if there is none.
    pub fn handle_due(
        &mut self,
        now: Timestamp,
        outbound: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> bool {
        let ended = self.service.as_mut().and_then(|service| service.end(now));
        if let Some(request) = &ended {
            let slowness = self.service.as_ref().and_then(|service| service.slowness);
            tally.slow_answer_count += u64::from(slowness.is_some());
            self.answer(&request.as_delivery(), outbound, tally);
        }
        ended.is_some()
    }

    fn answer(&mut self, request: &Delivery<'_>, outbound: &mut Vec<u8>, tally: &mut Tally) {
        let Some(replies) = &mut self.replies else {
            return tally.count_error("request before consume-ok", 1);
        };
        if let Some(heap) = &self.heap {
            heap.push(outbound);
            tally.heap.answer_count += u64::from(heap.is_blocked());
        }
        let is_relay = matches!(replies, ReplyEncoder::Relay { .. });
        if request.reply_to.is_empty() && !is_relay {
            replies.push_ack_only(outbound, request);
            return tally.count_error("a request without reply_to", 1);
        }
        if !self.sizes.has_own_replies() {
            return replies.push(outbound, request);
        }
        let call = body::decode_call(request.body)
            .filter(|call| body::is_request(request.body, *call, self.sizes.request_len(*call)));
        let Some(call) = call else {
            // Sent back as it is, so that the requester sees that its call was spoilt.
            replies.push(outbound, request);
            return tally.count_error("a request with altered octets", 1);
        };
        self.body.resize(self.sizes.reply_len(call), 0);
        body::fill_request(&mut self.body, call);
        let reply = Delivery {
            body: &self.body,
            ..*request
        };
        replies.push(outbound, &reply);
    }
}

/// So many servers who each take one request after the other, first come, first served.
///
/// Invariant: `free` has an entry for each server.
#[derive(Debug)]
pub struct Service {
    /// Nanoseconds.
    times: Distribution,
    random: Xoshiro256PlusPlus,
    /// When each is done with what it has.
    free: BinaryHeap<Reverse<Timestamp>>,
    /// By the time at which they are done.
    requests: BinaryHeap<Reverse<Request>>,
    begun_count: u64,
    /// How many times as long as the others it takes.
    slowness: Option<f64>,
}

/// A delivery kept for later. What it is ordered by comes first, and is never the same twice.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    done: Timestamp,
    number: u64,
    delivery_tag: u64,
    redelivered: bool,
    correlation: Box<[u8]>,
    reply_to: Box<[u8]>,
    body: Box<[u8]>,
}

impl Service {
    /// Asserts that there is a server.
    pub fn new(times: Distribution, server_count: u32, seed: u64) -> Service {
        assert!(server_count > 0);
        Service {
            times,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            free: (0..server_count).map(|_| Reverse(Timestamp(0))).collect(),
            requests: BinaryHeap::new(),
            begun_count: 0,
            slowness: None,
        }
    }

    pub fn slower(self, slowness: Option<f64>) -> Service {
        Service { slowness, ..self }
    }

    fn begin(&mut self, delivery: &Delivery<'_>, now: Timestamp) {
        let Reverse(free) = self.free.pop().expect("there is a server");
        let nanos = self.times.value(self.random.random()) as f64 * self.slowness.unwrap_or(1.0);
        let nanos = nanos as u64;
        let done = free.max(now).plus(Duration::from_nanos(nanos));
        self.free.push(Reverse(done));
        self.requests.push(Reverse(Request {
            done,
            number: self.begun_count,
            delivery_tag: delivery.delivery_tag,
            redelivered: delivery.redelivered,
            correlation: delivery.correlation.into(),
            reply_to: delivery.reply_to.into(),
            body: delivery.body.into(),
        }));
        self.begun_count += 1;
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.requests.peek().map(|Reverse(request)| request.done)
    }

    fn end(&mut self, now: Timestamp) -> Option<Request> {
        self.next_due().filter(|done| *done <= now)?;
        self.requests.pop().map(|Reverse(request)| request)
    }
}

impl Request {
    fn as_delivery(&self) -> Delivery<'_> {
        Delivery {
            delivery_tag: self.delivery_tag,
            redelivered: self.redelivered,
            correlation: &self.correlation,
            reply_to: &self.reply_to,
            status: None,
            timing: None,
            body: &self.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(delivery_tag: u64) -> Delivery<'static> {
        Delivery {
            delivery_tag,
            redelivered: false,
            correlation: b"c",
            reply_to: b"r",
            status: None,
            timing: None,
            body: b"b",
        }
    }

    /// The deliveries that are done by `now`.
    fn done(service: &mut Service, now: u64) -> Vec<u64> {
        let mut tags = Vec::new();
        while let Some(request) = service.end(Timestamp(now)) {
            tags.push(request.delivery_tag);
        }
        tags
    }

    #[test]
    fn one_server_takes_one_request_after_the_other() {
        let mut service = Service::new(Distribution::Fixed(100), 1, 1);
        for tag in 1..4 {
            service.begin(&request(tag), Timestamp(tag));
        }
        assert_eq!(service.next_due(), Some(Timestamp(101)));
        assert!(done(&mut service, 100).is_empty());
        assert_eq!(done(&mut service, 201), [1, 2]);
        // Idle since 301, it begins at once.
        service.begin(&request(4), Timestamp(1000));
        assert_eq!(done(&mut service, 1099), [3]);
        assert_eq!(done(&mut service, 1100), [4]);
        assert_eq!(service.next_due(), None);
    }

    #[test]
    fn several_servers_work_side_by_side() {
        let mut service = Service::new(Distribution::Fixed(100), 2, 1);
        for tag in 1..6 {
            service.begin(&request(tag), Timestamp(0));
        }
        assert_eq!(done(&mut service, 100), [1, 2]);
        assert_eq!(done(&mut service, 200), [3, 4]);
        assert_eq!(done(&mut service, 300), [5]);
    }

    #[test]
    fn a_loaded_server_is_busy_by_the_mean_of_its_times() {
        let mut service = Service::new(Distribution::Exponential { mean: 1000 }, 1, 1);
        for tag in 0..10_000 {
            service.begin(&request(tag), Timestamp(0));
        }
        let Some(Reverse(end)) = service.free.peek() else {
            panic!()
        };
        assert!((9_700_000..10_300_000).contains(&end.0), "{end:?}");
        assert_eq!(done(&mut service, u64::MAX).len(), 10_000);
    }
}
