//! What a transaction keeps until tx.commit or tx.rollback: publishes and settlements, in order.
//!
//! It knows neither shards nor who consumes: what comes of it is the shard's work.

use super::super::address::QueueAddress;
use super::super::message::Message;
use super::super::name::Name;
use super::super::queue::Settlement;
use super::Delivery;
use crate::limits::MESSAGE_OVERHEAD;
use std::collections::BTreeMap;
use std::time::Duration;

/// basic.publish as it was, checked.
#[derive(Debug)]
pub struct KeptPublish {
    pub message: Message,
    pub mandatory: bool,
    pub route: Route,
}

#[derive(Debug)]
pub enum Route {
    /// The default exchange: whom the routing key and these further ones name is looked up at
    /// commit, as in RabbitMQ.
    Default { copies: Vec<Name> },
    /// Any other exchange: routed when it was published, as in RabbitMQ. Whoever of them is gone
    /// at commit does not get it.
    Queues(Vec<QueueAddress>),
    /// The exchange holds it back, from the commit on.
    Delayed { delay: Duration, copies: Vec<Name> },
}

impl KeptPublish {
    /// What it counts for under `transaction_len_max`.
    pub fn len(&self) -> usize {
        let route_len = match &self.route {
            Route::Default { copies } | Route::Delayed { copies, .. } => Name::sum_len(copies),
            Route::Queues(queues) => queues.len() * size_of::<QueueAddress>(),
        };
        self.message.len() + MESSAGE_OVERHEAD + route_len
    }
}

/// Invariant: `len` is the sum over `publishes`; no delivery in `settlements` is outstanding.
#[derive(Debug, Default)]
pub struct Transaction {
    publishes: Vec<KeptPublish>,
    settlements: Vec<(Delivery, Settlement)>,
    len: usize,
}

impl Transaction {
    pub fn keep(&mut self, publish: KeptPublish) {
        self.len += publish.len();
        self.publishes.push(publish);
    }

    pub fn note(&mut self, delivery: Delivery, settlement: Settlement) {
        self.settlements.push((delivery, settlement));
    }

    /// Octets that its publishes hold, overhead included.
    pub fn publishes_len(&self) -> usize {
        self.len
    }

    pub fn settlement_count(&self) -> usize {
        self.settlements.len()
    }

    /// Those that count against the channel's prefetch.
    pub fn limited_count(&self) -> usize {
        let noted = self.settlements.iter();
        noted.filter(|(delivery, _)| delivery.is_counted).count()
    }

    /// All that it keeps; the next transaction begins.
    pub fn take(&mut self) -> (Vec<KeptPublish>, Vec<(Delivery, Settlement)>) {
        let Transaction {
            publishes,
            settlements,
            ..
        } = std::mem::take(self);
        (publishes, settlements)
    }

    pub fn invariants(&self) {
        let len: usize = self.publishes.iter().map(KeptPublish::len).sum();
        assert_eq!(self.len, len);
    }
}

/// A commit on its way: what shards have still to say before tx.commit-ok.
#[derive(Debug)]
pub struct Commit {
    /// Shards that have not applied their part.
    pub missing_count: usize,
    /// Mandatory publishes that have reached nobody yet, by their place in the transaction.
    pub unrouted: BTreeMap<u32, Message>,
    /// A full queue refused one.
    pub is_refused: bool,
    /// Settled deliveries that count against the channel's prefetch until then.
    pub counted_count: u32,
}
