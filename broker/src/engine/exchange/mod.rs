//! Exchanges: one file per type, each answering one question: which destinations does this
//! routing key, with these properties, reach?

mod consistent_hash;
mod delayed;
mod destinations;
mod direct;
mod fanout;
mod headers;
mod routing;
mod topic;

use super::address::QueueAddress;
use super::name::Name;
use super::wire::properties::Properties;
use consistent_hash::ConsistentHash;
pub use consistent_hash::HashOn;
pub use delayed::{DELAYED_TYPE, delay, without_delay};
use direct::Direct;
use fanout::Fanout;
use headers::{Headers, Match};
pub use routing::Routing;
use std::collections::BTreeMap;
use topic::Topic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeType {
    Direct,
    Fanout,
    Topic,
    Headers,
    ConsistentHash,
}

impl ExchangeType {
    pub fn parse(name: &str) -> Option<ExchangeType> {
        match name {
            "direct" => Some(ExchangeType::Direct),
            "fanout" => Some(ExchangeType::Fanout),
            "topic" => Some(ExchangeType::Topic),
            "headers" => Some(ExchangeType::Headers),
            "x-consistent-hash" => Some(ExchangeType::ConsistentHash),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            ExchangeType::Direct => "direct",
            ExchangeType::Fanout => "fanout",
            ExchangeType::Topic => "topic",
            ExchangeType::Headers => "headers",
            ExchangeType::ConsistentHash => "x-consistent-hash",
        }
    }
}

/// What a client says of an exchange when it declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeAttributes {
    pub exchange_type: ExchangeType,
    /// It was declared as `x-delayed-message`, with the other type as its `x-delayed-type`.
    pub is_delayed: bool,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    /// Gets what no binding wants; there may be no such exchange.
    pub alternate: Option<Name>,
    /// Of a consistent hash. The first declaration counts: it need not be repeated.
    pub hash_on: HashOn,
}

impl ExchangeAttributes {
    /// The type that was asked for.
    pub fn type_name(&self) -> &'static str {
        match self.is_delayed {
            true => DELAYED_TYPE,
            false => self.exchange_type.name(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    Queue(QueueAddress),
    Exchange(Name),
}

/// One binding, as a client gave it; two are the same if all parts are equal. Ordered by their
/// destination first, so that those of one destination lie together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    pub destination: Destination,
    pub routing_key: Name,
    /// The inside of a field table, checked, its keys in order.
    pub arguments: Box<[u8]>,
}

/// Invariant: `matcher` knows what is in `bindings` and nothing else, and `size` is the sum of
/// their sizes.
#[derive(Debug)]
pub struct Exchange {
    pub attributes: ExchangeAttributes,
    /// The alternate that a policy names.
    pub policy_alternate: Option<Name>,
    /// With what a headers exchange asks for, which it finds nowhere else.
    bindings: BTreeMap<Binding, Match>,
    matcher: Matcher,
    size: usize,
}

/// The bindings again, in the order in which messages ask for them.
#[derive(Debug)]
enum Matcher {
    Direct(Direct),
    Fanout(Fanout),
    Topic(Topic),
    Headers,
    ConsistentHash(ConsistentHash),
}

impl Exchange {
    pub fn new(attributes: ExchangeAttributes) -> Exchange {
        let matcher = match attributes.exchange_type {
            ExchangeType::Direct => Matcher::Direct(Direct::default()),
            ExchangeType::Fanout => Matcher::Fanout(Fanout::default()),
            ExchangeType::Topic => Matcher::Topic(Topic::default()),
            ExchangeType::Headers => Matcher::Headers,
            ExchangeType::ConsistentHash => Matcher::ConsistentHash(ConsistentHash::default()),
        };
        Exchange {
            attributes,
            policy_alternate: None,
            bindings: BTreeMap::new(),
            matcher,
            size: 0,
        }
    }

    /// Gets what no binding wants. What the exchange was declared with is stronger.
    pub fn alternate(&self) -> Option<&Name> {
        self.attributes
            .alternate
            .as_ref()
            .or(self.policy_alternate.as_ref())
    }

    /// Errors: what this type of exchange cannot use, in RabbitMQ's words.
    pub fn check(&self, binding: &Binding) -> Result<(), String> {
        match &self.matcher {
            Matcher::Direct(_) | Matcher::Fanout(_) | Matcher::Topic(_) => Ok(()),
            Matcher::Headers => headers::check_match(&binding.arguments),
            Matcher::ConsistentHash(_) => {
                consistent_hash::weight(binding.routing_key.as_bytes()).map(drop)
            }
        }
    }

    /// What a binding counts for: most for one, those that take more memory for more.
    pub fn size_of(&self, binding: &Binding) -> usize {
        let routing_key = binding.routing_key.as_bytes();
        match &self.matcher {
            Matcher::Direct(_) | Matcher::Fanout(_) | Matcher::Headers => 1,
            Matcher::Topic(_) => topic::size(routing_key),
            Matcher::ConsistentHash(_) => consistent_hash::size(routing_key),
        }
    }

    /// False if the same binding was there already. `check` has found nothing wrong with it.
    pub fn bind(&mut self, binding: &Binding) -> bool {
        if self.bindings.contains_key(binding) {
            return false;
        }
        self.size += self.size_of(binding);
        let expected = Match::new(&binding.arguments);
        self.bindings.insert(binding.clone(), expected);
        let destination = &binding.destination;
        match &mut self.matcher {
            Matcher::Direct(direct) => direct.insert(&binding.routing_key, destination),
            Matcher::Fanout(fanout) => fanout.insert(destination),
            Matcher::Topic(topic) => topic.insert(binding.routing_key.as_bytes(), destination),
            Matcher::Headers | Matcher::ConsistentHash(_) => {}
        }
        self.weigh(destination);
        true
    }

    /// False if there was no such binding.
    pub fn unbind(&mut self, binding: &Binding) -> bool {
        let was_there = self.remove(binding);
        if was_there {
            self.weigh(&binding.destination);
        }
        was_there
    }

    /// Removes every binding to `destination`.
    pub fn forget(&mut self, destination: &Destination) {
        let bindings: Vec<Binding> = self.bindings_to(destination).cloned().collect();
        for binding in &bindings {
            self.remove(binding);
        }
        self.weigh(destination);
    }

    /// Leaves the weight of its destination as it is.
    fn remove(&mut self, binding: &Binding) -> bool {
        if self.bindings.remove(binding).is_none() {
            return false;
        }
        self.size -= self.size_of(binding);
        let destination = &binding.destination;
        match &mut self.matcher {
            Matcher::Direct(direct) => direct.remove(&binding.routing_key, destination),
            Matcher::Fanout(fanout) => fanout.remove(destination),
            Matcher::Topic(topic) => topic.remove(binding.routing_key.as_bytes(), destination),
            Matcher::Headers | Matcher::ConsistentHash(_) => {}
        }
        true
    }

    /// Several bindings of one destination weigh as much as the heaviest of them.
    fn weigh(&mut self, destination: &Destination) {
        if !matches!(self.matcher, Matcher::ConsistentHash(_)) {
            return;
        }
        let keys = self.bindings_to(destination).map(|b| &b.routing_key);
        let weights = keys.filter_map(|key| consistent_hash::weight(key.as_bytes()).ok());
        let heaviest = weights.max().unwrap_or(0);
        if let Matcher::ConsistentHash(ring) = &mut self.matcher {
            ring.set_weight(destination, heaviest);
        }
    }

    fn bindings_to<'a>(
        &'a self,
        destination: &'a Destination,
    ) -> impl Iterator<Item = &'a Binding> + use<'a> {
        let first = Binding {
            destination: destination.clone(),
            routing_key: Name::default(),
            arguments: Box::default(),
        };
        let behind = self.bindings.range(first..).map(|(binding, _)| binding);
        behind.take_while(move |binding| binding.destination == *destination)
    }

    pub fn has(&self, binding: &Binding) -> bool {
        self.bindings.contains_key(binding)
    }

    pub fn leads_to(&self, destination: &Destination) -> bool {
        self.bindings_to(destination).next().is_some()
    }

    pub fn is_unused(&self) -> bool {
        self.bindings.is_empty()
    }

    /// An auto-delete exchange goes with its last binding.
    pub fn is_abandoned(&self) -> bool {
        self.attributes.auto_delete && self.is_unused()
    }

    /// Of all bindings.
    pub fn size(&self) -> usize {
        self.size
    }

    /// In order.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.keys()
    }

    /// Whether another routing key could lead elsewhere.
    fn heeds_routing_key(&self) -> bool {
        matches!(self.matcher, Matcher::Direct(_) | Matcher::Topic(_))
    }

    /// Calls `each` for every matching binding's destination; one destination may come twice.
    pub fn each_destination<'a>(
        &'a self,
        routing_key: &[u8],
        properties: &Properties<'_>,
        mut each: impl FnMut(&'a Destination),
    ) {
        match &self.matcher {
            Matcher::Direct(direct) => direct.each_destination(routing_key, each),
            Matcher::Fanout(fanout) => fanout.each_destination(each),
            Matcher::Topic(topic) => drop(topic.each_destination(routing_key, each)),
            Matcher::Headers => {
                let headers = Headers::new(properties.headers().unwrap_or_default());
                for (binding, expected) in &self.bindings {
                    if expected.is_met(&binding.arguments, &headers) {
                        each(&binding.destination);
                    }
                }
            }
            Matcher::ConsistentHash(ring) => {
                let hash = self.attributes.hash_on.hash(routing_key, properties);
                ring.destination(hash).into_iter().for_each(each);
            }
        }
    }
}

/// As RabbitMQ's texts quote what a peer has said.
fn quoted(octets: &[u8]) -> String {
    match octets {
        [] => "<<>>".into(),
        octets => format!("<<\"{}\">>", String::from_utf8_lossy(octets)),
    }
}
