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
        self.retain(|kept| kept != binding)
    }

    /// Removes every binding to `destination`.
    pub fn forget(&mut self, destination: &Destination) -> bool {
        self.retain(|kept| kept.destination != *destination)
    }

    /// True if a binding was removed.
    fn retain(&mut self, keep: impl FnMut(&Binding) -> bool) -> bool {
        match &mut self.bindings {
            Bindings::Direct(bindings) => bindings.retain(keep),
            Bindings::Fanout(bindings) => bindings.retain(keep),
            Bindings::Topic(bindings) => bindings.retain(keep),
            Bindings::Headers(bindings) => bindings.retain(keep),
        }
    }

    pub fn is_unused(&self) -> bool {
        match &self.bindings {
            Bindings::Direct(bindings) => bindings.is_empty(),
            Bindings::Fanout(bindings) => bindings.is_empty(),
            Bindings::Topic(bindings) => bindings.is_empty(),
            Bindings::Headers(bindings) => bindings.is_empty(),
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
