//! The names that every shard knows: exchanges, bindings, listed queues.
//!
//! Each shard has a copy and reads only that. A [`Change`] is checked and ordered by the registrar
//! shard and then applied by all, so the copies go through the same states. Server-named
//! exclusive queues are not listed: their names carry their address. Only their bindings are here.

mod policies;
mod texts;

use super::address::{ConnectionAddress, QueueAddress};
use super::exchange::{
    Binding, Destination, Exchange, ExchangeAttributes, ExchangeType, HashOn, Routing,
};
use super::name::Name;
use super::rules::{Policy, QueueArguments};
use super::violation::Violation;
use super::wire::reply_code::ReplyCode;
use crate::limits::Limits;
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What must be equal when a queue is declared again.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueAttributes {
    pub durable: bool,
    pub auto_delete: bool,
    /// The only connection that may use it.
    pub exclusive: Option<ConnectionAddress>,
    pub arguments: Option<Box<QueueArguments>>,
}

impl QueueAttributes {
    /// It is another connection's. Whether it still exists, only its own shard can say for sure.
    pub fn is_locked_for(&self, asker: ConnectionAddress) -> bool {
        self.exclusive.is_some_and(|owner| owner != asker)
    }

    /// Publishers may hear that their message was refused.
    pub fn may_reject(&self) -> bool {
        let arguments = self.arguments.as_ref();
        arguments.is_some_and(|arguments| arguments.rules.may_reject())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueEntry {
    pub address: QueueAddress,
    pub attributes: QueueAttributes,
}

#[derive(Clone, Debug)]
pub enum Change {
    DeclareExchange {
        name: Name,
        attributes: ExchangeAttributes,
    },
    DeleteExchange {
        name: Name,
        if_unused: bool,
    },
    DeclareQueue {
        name: Name,
        entry: QueueEntry,
    },
    /// `name`: `None` for a queue that is not listed.
    DeleteQueue {
        name: Option<Name>,
        address: QueueAddress,
    },
    Bind {
        source: Name,
        binding: Box<Binding>,
    },
    Unbind {
        source: Name,
        binding: Box<Binding>,
    },
    /// In place of any with the same name.
    SetPolicy(Box<Policy>),
    ClearPolicy {
        name: Name,
    },
}

impl Change {
    /// Do queues have other rules after it?
    pub fn is_of_policies(&self) -> bool {
        matches!(self, Change::SetPolicy(_) | Change::ClearPolicy { .. })
    }
}

/// What a change that was not refused came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// All copies must follow.
    Applied,
    /// It was so already; nothing to tell the others.
    Unchanged,
    /// `DeclareQueue` found this equivalent queue.
    Exists(Box<QueueEntry>),
}

/// Of one virtual host.
#[derive(Debug)]
pub struct Topology {
    /// For texts.
    vhost: Name,
    limits: Limits,
    exchanges: BTreeMap<Name, Exchange>,
    queues: HashMap<Name, QueueEntry, RandomState>,
    /// Those that may refuse a message: who confirms its publish has to ask them.
    rejecting: BTreeSet<QueueAddress>,
    /// Those whose calls the broker follows whatever their callers ask for.
    following: BTreeSet<QueueAddress>,
    /// Sources that each destination is bound to, so that its end costs what it was bound to.
    sources: BTreeMap<Destination, BTreeSet<Name>>,
    /// Of all exchanges, by their sizes.
    binding_count: usize,
    /// Each name once.
    policies: Vec<Policy>,
}

const PREDECLARED: [(&str, ExchangeType); 6] = [
    ("", ExchangeType::Direct),
    ("amq.direct", ExchangeType::Direct),
    ("amq.fanout", ExchangeType::Fanout),
    ("amq.topic", ExchangeType::Topic),
    ("amq.headers", ExchangeType::Headers),
    ("amq.match", ExchangeType::Headers),
];

impl Topology {
    /// `hash_keys`: so that nobody outside can choose names that collide.
    pub fn new(vhost: Name, hash_keys: RandomState, limits: Limits) -> Topology {
        let exchange = |(name, exchange_type)| {
            let attributes = ExchangeAttributes {
                exchange_type,
                is_delayed: false,
                durable: true,
                auto_delete: false,
                internal: false,
                alternate: None,
                hash_on: HashOn::RoutingKey,
            };
            (Name::from(name), Exchange::new(attributes))
        };
        Topology {
            vhost,
            limits,
            exchanges: PREDECLARED.map(exchange).into(),
            queues: HashMap::with_hasher(hash_keys),
            rejecting: BTreeSet::new(),
            following: BTreeSet::new(),
            sources: BTreeMap::new(),
            binding_count: 0,
            policies: Vec::new(),
        }
    }

    #[inline]
    pub fn queue(&self, name: &[u8]) -> Option<&QueueEntry> {
        self.queues.get(name)
    }

    pub fn exchange(&self, name: &[u8]) -> Option<&Exchange> {
        self.exchanges.get(name)
    }

    /// May this queue refuse a message?
    #[inline]
    pub fn may_reject(&self, queue: QueueAddress) -> bool {
        !self.rejecting.is_empty() && self.rejecting.contains(&queue)
    }

    /// Is there any queue whose calls the broker follows whatever their callers ask for?
    #[inline]
    pub fn has_following(&self) -> bool {
        !self.following.is_empty()
    }

    pub fn follows_calls(&self, queue: QueueAddress) -> bool {
        self.following.contains(&queue)
    }

    pub fn has_binding(&self, source: &Name, binding: &Binding) -> bool {
        let exchange = self.exchanges.get(source);
        exchange.is_some_and(|exchange| exchange.has(binding))
    }

    pub fn is_bound(&self, queue: QueueAddress) -> bool {
        self.sources.contains_key(&Destination::Queue(queue))
    }

    /// Adds to `queues` every queue, once, that a message to `exchange` reaches.
    pub fn route(
        &self,
        exchange: &Exchange,
        routing: &Routing<'_>,
        queues: &mut Vec<QueueAddress>,
    ) {
        // Exchanges may be bound, and be alternates of each other, in a circle: each is visited
        // once.
        let mut seen: BTreeSet<&Name> = BTreeSet::new();
        let mut frontier: Vec<&Exchange> = Vec::new();
        let mut condense_len = 64;
        let mut next = Some(exchange);
        while let Some(exchange) = next {
            let mut is_wanted = false;
            for key in routing.keys(exchange) {
                exchange.each_destination(key, routing.properties, |destination| {
                    is_wanted = true;
                    match destination {
                        Destination::Queue(queue) => queues.push(*queue),
                        Destination::Exchange(name) if seen.insert(name) => {
                            frontier.extend(self.exchanges.get(name));
                        }
                        Destination::Exchange(_) => {}
                    }
                });
                // However many ways lead to the same queues, no more memory than twice for them.
                if queues.len() > condense_len {
                    condense(queues);
                    condense_len = 2 * queues.len() + 64;
                }
            }
            if let Some(alternate) = exchange.alternate()
                && !is_wanted
                && seen.insert(alternate)
            {
                frontier.extend(self.exchanges.get(alternate));
            }
            next = frontier.pop();
        }
        condense(queues);
    }

    /// Errors leave everything as it was.
    pub fn apply(&mut self, change: &Change) -> Result<Changed, Violation> {
        match change {
            Change::DeclareExchange { name, attributes } => self.declare_exchange(name, attributes),
            Change::DeleteExchange { name, if_unused } => self.delete_exchange(name, *if_unused),
            Change::DeclareQueue { name, entry } => self.declare_queue(name, entry),
            Change::DeleteQueue { name, address } => Ok(self.delete_queue(name.as_ref(), *address)),
            Change::SetPolicy(policy) => self.set_policy(policy),
            Change::ClearPolicy { name } => Ok(self.clear_policy(name)),
            Change::Bind { source, binding } => self.bind(source, binding),
            Change::Unbind { source, binding } => Ok(self.unbind(source, binding)),
        }
    }

    fn declare_exchange(
        &mut self,
        name: &Name,
        attributes: &ExchangeAttributes,
    ) -> Result<Changed, Violation> {
        if let Some(exchange) = self.exchanges.get(name) {
            self.check_exchange(name, &exchange.attributes, attributes)?;
            return Ok(Changed::Unchanged);
        }
        if self.exchanges.len() >= self.limits.exchange_count_max {
            return Err(too_many("exchanges", self.limits.exchange_count_max));
        }
        let mut exchange = Exchange::new(attributes.clone());
        exchange.policy_alternate = self.alternate_for(name);
        self.exchanges.insert(name.clone(), exchange);
        Ok(Changed::Applied)
    }

    fn delete_exchange(&mut self, name: &Name, if_unused: bool) -> Result<Changed, Violation> {
        let Some(exchange) = self.exchanges.get(name) else {
            return Ok(Changed::Unchanged);
        };
        if if_unused && !exchange.is_unused() {
            return Err(Violation::channel(
                ReplyCode::PreconditionFailed,
                format!("{} in use", self.exchange_text(name.as_bytes())),
            ));
        }
        self.binding_count -= exchange.size();
        let bindings = exchange.bindings();
        let destinations: BTreeSet<Destination> = bindings.map(|b| b.destination.clone()).collect();
        self.exchanges.remove(name);
        for destination in &destinations {
            self.forget_source(destination, name);
        }
        self.forget(Destination::Exchange(name.clone()));
        Ok(Changed::Applied)
    }

    fn declare_queue(&mut self, name: &Name, entry: &QueueEntry) -> Result<Changed, Violation> {
        if let Some(existing) = self.queues.get(name) {
            // Who asks is known at its shard only: one that may be locked is asked itself.
            let received = entry.attributes.exclusive;
            if existing
                .attributes
                .exclusive
                .is_none_or(|owner| received == Some(owner))
            {
                self.check_queue(name, &existing.attributes, &entry.attributes)?;
            }
            return Ok(Changed::Exists(Box::new(existing.clone())));
        }
        if self.queues.len() >= self.limits.queue_count_max {
            return Err(too_many("queues", self.limits.queue_count_max));
        }
        if let Some(rules) = self.rules_for(name, &entry.attributes, true) {
            if rules.may_reject() {
                self.rejecting.insert(entry.address);
            }
            if rules.follows_calls() {
                self.following.insert(entry.address);
            }
        }
        self.queues.insert(name.clone(), entry.clone());
        Ok(Changed::Applied)
    }

    fn delete_queue(&mut self, name: Option<&Name>, address: QueueAddress) -> Changed {
        if let Some(name) = name {
            // The name may have been given anew: only this very queue goes.
            if self
                .queues
                .get(name)
                .is_some_and(|entry| entry.address == address)
            {
                self.queues.remove(name);
            }
        }
        self.rejecting.remove(&address);
        self.following.remove(&address);
        self.forget(Destination::Queue(address));
        Changed::Applied
    }

    fn bind(&mut self, source: &Name, binding: &Binding) -> Result<Changed, Violation> {
        self.expect_exchange(source)?;
        if let Destination::Exchange(name) = &binding.destination {
            self.expect_exchange(name)?;
        }
        let exchange = self.exchanges.get_mut(source).expect("looked up just now");
        exchange
            .check(binding)
            .map_err(|text| Violation::channel(ReplyCode::PreconditionFailed, text))?;
        let size = exchange.size_of(binding);
        if self.binding_count + size > self.limits.binding_count_max {
            return Err(too_many("bindings", self.limits.binding_count_max));
        }
        if !exchange.bind(binding) {
            return Ok(Changed::Unchanged);
        }
        self.binding_count += size;
        let sources = self.sources.entry(binding.destination.clone()).or_default();
        sources.insert(source.clone());
        Ok(Changed::Applied)
    }

    /// What is not there is unbound, whatever is missing.
    fn unbind(&mut self, source: &Name, binding: &Binding) -> Changed {
        let Some(exchange) = self.exchanges.get_mut(source) else {
            return Changed::Unchanged;
        };
        if !exchange.unbind(binding) {
            return Changed::Unchanged;
        }
        self.binding_count -= exchange.size_of(binding);
        let is_abandoned = exchange.is_abandoned();
        if !exchange.leads_to(&binding.destination) {
            self.forget_source(&binding.destination, source);
        }
        if is_abandoned {
            self.exchanges.remove(source);
            self.forget(Destination::Exchange(source.clone()));
        }
        Changed::Applied
    }

    /// No binding of `source` leads to `destination` any more.
    fn forget_source(&mut self, destination: &Destination, source: &Name) {
        if let Some(sources) = self.sources.get_mut(destination) {
            sources.remove(source);
            if sources.is_empty() {
                self.sources.remove(destination);
            }
        }
    }

    /// Removes all bindings to `destination`. What goes with them may be a destination as well: a
    /// list instead of recursion, since peers choose how long such a chain is.
    fn forget(&mut self, destination: Destination) {
        let mut gone = vec![destination];
        while let Some(destination) = gone.pop() {
            for source in self.sources.remove(&destination).unwrap_or_default() {
                let Some(exchange) = self.exchanges.get_mut(&source) else {
                    continue;
                };
                let size = exchange.size();
                exchange.forget(&destination);
                self.binding_count -= size - exchange.size();
                if exchange.is_abandoned() {
                    self.exchanges.remove(&source);
                    gone.push(Destination::Exchange(source));
                }
            }
        }
    }

    /// Everything in it, a line each, sorted: equal for equal copies.
    pub fn listing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, entry) in &self.queues {
            lines.push(format!(
                "queue {name:?} {:?} {:?}",
                entry.address, entry.attributes
            ));
        }
        for (name, exchange) in &self.exchanges {
            lines.push(format!("exchange {name:?} {:?}", exchange.attributes));
            let bindings = exchange.bindings();
            lines.extend(bindings.map(|binding| format!("binding {name:?} {binding:?}")));
        }
        lines.extend(
            self.policies
                .iter()
                .map(|policy| format!("policy {policy:?}")),
        );
        lines.sort_unstable();
        lines
    }

    /// Every listed queue, in the order of names.
    #[cfg(test)]
    pub fn listed(&self) -> Vec<(Name, QueueEntry)> {
        let mut listed: Vec<_> = self
            .queues
            .iter()
            .map(|(n, e)| (n.clone(), e.clone()))
            .collect();
        listed.sort_by(|a, b| a.0.cmp(&b.0));
        listed
    }

    /// Queues that some binding leads to.
    #[cfg(test)]
    pub fn bound_queues(&self) -> Vec<QueueAddress> {
        let queue = |destination: &Destination| match destination {
            Destination::Queue(address) => Some(*address),
            Destination::Exchange(_) => None,
        };
        self.sources.keys().filter_map(queue).collect()
    }

    pub fn expect_exchange(&self, name: &Name) -> Result<&Exchange, Violation> {
        self.exchanges
            .get(name)
            .ok_or_else(|| self.no_exchange(name.as_bytes()))
    }
}

fn condense(queues: &mut Vec<QueueAddress>) {
    if queues.len() > 1 {
        queues.sort_unstable();
        queues.dedup();
    }
}

fn too_many(what: &str, max: usize) -> Violation {
    Violation::channel(ReplyCode::ResourceError, format!("more than {max} {what}"))
}
