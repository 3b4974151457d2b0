//! Which calls a connection has been handed and has not answered.

use crate::engine::address::CallAddress;
use crate::engine::name::Name;
use crate::engine::time::Timestamp;
use std::collections::BTreeMap;

/// A delivery: channel number and delivery tag.
type DeliveryKey = (u16, u64);

/// Invariant: both maps say the same.
#[derive(Debug, Default)]
pub struct Served {
    by_call: BTreeMap<CallAddress, Request>,
    by_delivery: BTreeMap<DeliveryKey, CallAddress>,
}

/// A request that the connection has.
#[derive(Clone, Debug)]
pub struct Request {
    delivery: DeliveryKey,
    pub correlation_id: Name,
    pub delivered_at: Timestamp,
    /// It has no queue any more to go back to.
    is_orphan: bool,
}

impl Request {
    pub fn delivery_tag(&self) -> u64 {
        self.delivery.1
    }
}

/// A request whose channel is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    pub call: CallAddress,
    pub delivery_tag: u64,
    pub is_orphan: bool,
}

impl Served {
    pub fn count(&self) -> usize {
        self.by_call.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    /// A request has been delivered, perhaps again.
    pub fn add(
        &mut self,
        call: CallAddress,
        delivery: DeliveryKey,
        correlation_id: Name,
        delivered_at: Timestamp,
    ) {
        self.remove(call);
        let request = Request {
            delivery,
            correlation_id,
            delivered_at,
            is_orphan: false,
        };
        self.by_call.insert(call, request);
        self.by_delivery.insert(delivery, call);
    }

    /// The connection has answered the call, or need not any more. Gives the request, if it had
    /// one.
    pub fn remove(&mut self, call: CallAddress) -> Option<Request> {
        let request = self.by_call.remove(&call)?;
        self.by_delivery.remove(&request.delivery);
        Some(request)
    }

    /// The request has no queue any more to go back to. False: the connection has not got it.
    pub fn orphan(&mut self, call: CallAddress) -> bool {
        let request = self.by_call.get_mut(&call);
        request.is_some_and(|request| {
            request.is_orphan = true;
            true
        })
    }

    /// The delivery went back, and somebody else will answer the call; or nobody will, if that is
    /// returned.
    pub fn returned(&mut self, delivery: DeliveryKey) -> Option<CallAddress> {
        let call = self.by_delivery.remove(&delivery)?;
        let request = self.by_call.remove(&call)?;
        request.is_orphan.then_some(call)
    }

    /// The channel is gone: takes what was delivered on it.
    pub fn take_channel(&mut self, number: u16) -> Vec<Abandoned> {
        let all = (number, u64::MIN)..=(number, u64::MAX);
        let deliveries = self.by_delivery.range(all);
        let abandoned = deliveries.map(|((_, delivery_tag), call)| Abandoned {
            call: *call,
            delivery_tag: *delivery_tag,
            is_orphan: self.by_call[call].is_orphan,
        });
        let abandoned: Vec<Abandoned> = abandoned.collect();
        for abandoned in &abandoned {
            self.remove(abandoned.call);
        }
        abandoned
    }

    pub fn invariants(&self) {
        assert_eq!(self.by_call.len(), self.by_delivery.len());
        for (call, request) in &self.by_call {
            assert_eq!(self.by_delivery.get(&request.delivery), Some(call));
        }
    }
}
