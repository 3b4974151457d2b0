//! Exchanges: one file per type, each answering one question: which destinations does this
//! routing key, with these headers, reach?

mod direct;
mod fanout;
mod headers;
mod topic;

use super::address::QueueAddress;
use super::name::Name;
use amq_protocol::types::FieldTable;
use direct::Direct;
use fanout::Fanout;
use headers::Headers;
pub use headers::has_valid_match;
use topic::Topic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeType {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl ExchangeType {
    pub fn parse(name: &str) -> Option<ExchangeType> {
        match name {
            "direct" => Some(ExchangeType::Direct),
            "fanout" => Some(ExchangeType::Fanout),
            "topic" => Some(ExchangeType::Topic),
            "headers" => Some(ExchangeType::Headers),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            ExchangeType::Direct => "direct",
            ExchangeType::Fanout => "fanout",
            ExchangeType::Topic => "topic",
            ExchangeType::Headers => "headers",
        }
    }
}

/// What must be equal when an exchange is declared again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeAttributes {
    pub exchange_type: ExchangeType,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    Queue(QueueAddress),
    Exchange(Name),
}

/// One binding, as a client gave it; two are the same if all parts are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub destination: Destination,
    pub routing_key: Name,
    pub arguments: FieldTable,
}

#[derive(Debug)]
pub struct Exchange {
    pub attributes: ExchangeAttributes,
    bindings: Bindings,
}

#[derive(Debug)]
enum Bindings {
    Direct(Direct),
    Fanout(Fanout),
    Topic(Topic),
    Headers(Headers),
}

impl Exchange {
    pub fn new(attributes: ExchangeAttributes) -> Exchange {
        let bindings = match attributes.exchange_type {
            ExchangeType::Direct => Bindings::Direct(Direct::default()),
            ExchangeType::Fanout => Bindings::Fanout(Fanout::default()),
            ExchangeType::Topic => Bindings::Topic(Topic::default()),
            ExchangeType::Headers => Bindings::Headers(Headers::default()),
        };
        Exchange {
            attributes,
            bindings,
        }
    }

    /// False if the same binding was there already.
    pub fn bind(&mut self, binding: &Binding) -> bool {
        match &mut self.bindings {
            Bindings::Direct(bindings) => bindings.bind(binding),
            Bindings::Fanout(bindings) => bindings.bind(binding),
            Bindings::Topic(bindings) => bindings.bind(binding),
            Bindings::Headers(bindings) => bindings.bind(binding),
        }
    }

    /// False if there was no such binding.
    pub fn unbind(&mut self, binding: &Binding) -> bool {
        self.retain(|kept| kept != binding) > 0
    }

    /// Removes every binding to `destination` and says how many there were.
    pub fn forget(&mut self, destination: &Destination) -> usize {
        self.retain(|kept| kept.destination != *destination)
    }

    /// How many bindings were removed.
    fn retain(&mut self, mut keep: impl FnMut(&Binding) -> bool) -> usize {
        let mut removed_count = 0;
        let keep = |binding: &Binding| {
            let kept = keep(binding);
            removed_count += usize::from(!kept);
            kept
        };
        match &mut self.bindings {
            Bindings::Direct(bindings) => bindings.retain(keep),
            Bindings::Fanout(bindings) => bindings.retain(keep),
            Bindings::Topic(bindings) => bindings.retain(keep),
            Bindings::Headers(bindings) => bindings.retain(keep),
        }
        removed_count
    }

    pub fn is_unused(&self) -> bool {
        self.binding_count() == 0
    }

    /// An auto-delete exchange goes with its last binding.
    pub fn is_abandoned(&self) -> bool {
        self.attributes.auto_delete && self.is_unused()
    }

    pub fn binding_count(&self) -> usize {
        match &self.bindings {
            Bindings::Direct(bindings) => bindings.count(),
            Bindings::Fanout(bindings) => bindings.count(),
            Bindings::Topic(bindings) => bindings.count(),
            Bindings::Headers(bindings) => bindings.count(),
        }
    }

    /// In no order that means anything.
    pub fn bindings(&self) -> Vec<&Binding> {
        match &self.bindings {
            Bindings::Direct(bindings) => bindings.iter().collect(),
            Bindings::Fanout(bindings) => bindings.iter().collect(),
            Bindings::Topic(bindings) => bindings.iter().collect(),
            Bindings::Headers(bindings) => bindings.iter().collect(),
        }
    }

    /// Calls `each` for every matching binding's destination; one destination may come twice.
    /// `headers`: the inside of the message's headers table, checked.
    pub fn each_destination<'a>(
        &'a self,
        routing_key: &[u8],
        headers: Option<&[u8]>,
        each: impl FnMut(&'a Destination),
    ) {
        match &self.bindings {
            Bindings::Direct(bindings) => bindings.each_destination(routing_key, each),
            Bindings::Fanout(bindings) => bindings.each_destination(each),
            Bindings::Topic(bindings) => bindings.each_destination(routing_key, each),
            Bindings::Headers(bindings) => {
                bindings.each_destination(headers.unwrap_or_default(), each);
            }
        }
    }
}

/// Adds unless the same is there.
fn push_unique(bindings: &mut Vec<Binding>, binding: &Binding) -> bool {
    let is_new = !bindings.contains(binding);
    if is_new {
        bindings.push(binding.clone());
    }
    is_new
}
