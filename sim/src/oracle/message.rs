//! A message that some peer has published, and what has become of it.

use super::letters::{self, Death, Reason};
use super::{Oracle, Place};
use crate::rules::Rules;
use crate::wire::Content;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, AMQPProperties};
use broker::engine::time::Timestamp;
use std::time::Duration;

/// Where it must go.
#[derive(Clone, Debug)]
pub enum Route {
    /// To exactly these of the queues that are followed.
    Queues(Vec<usize>),
    /// To the requester there, and to nobody else.
    Direct(Place),
    Nowhere,
    /// Who knows: its names come and go.
    Loose,
}

#[derive(Debug)]
pub struct Message {
    pub exchange: String,
    pub routing_key: String,
    pub properties: AMQPProperties,
    pub body_len: usize,
    pub mandatory: bool,
    pub route: Route,
    /// The time that its publisher gives it.
    pub expiration: Option<Duration>,
    /// Its bare reply_to becomes the name of this channel.
    pub asks_from: Option<Place>,
    // Set when it arrives, and later.
    pub(super) from: Option<Place>,
    pub(super) arrived_at: Timestamp,
    /// Its place among all that its channel has published.
    pub(super) order: u64,
    /// It has been executed; before, nobody knows.
    pub(super) is_certain: bool,
    /// When that was known.
    pub(super) certain_at: Option<Timestamp>,
    /// Confirmed, by one word or the other.
    pub(super) is_acked: bool,
    pub(super) is_nacked: bool,
    /// It never can be executed.
    pub(super) is_void: bool,
    pub(super) is_returned: bool,
    /// Nobody was there for it when it arrived, and its publisher wants to know.
    pub(super) must_return: bool,
    /// To a requester.
    pub(super) is_delivered: bool,
    /// One for each queue of its route, and for each that its letters were seen to reach.
    pub(super) copies: Vec<Copy>,
}

/// A message in one queue.
#[derive(Debug)]
pub(super) struct Copy {
    pub queue: usize,
    /// How it came there; a message as it was published has none.
    pub deaths: Vec<Death>,
    /// It was not there before.
    pub since: Timestamp,
    /// How often somebody was sent it, and when first.
    pub sent_count: u64,
    pub first_sent_at: Option<Timestamp>,
    /// The queue cannot have had it back before.
    pub returned_at: Option<Timestamp>,
    /// When somebody has said that nobody wants it.
    pub rejected_at: Option<Timestamp>,
    /// A letter of it was seen.
    pub died: Option<Reason>,
    /// Its publisher was told that there was no room for it.
    pub is_refused: bool,
    /// Who has it, as far as can be told: one, unless one of them has ended.
    pub holders: Vec<Place>,
    /// Acknowledged, or delivered without.
    pub done: Option<Done>,
    /// Acknowledged on a channel that has ended since: nobody knows.
    pub is_unsure: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub by: Place,
    pub is_certain: bool,
}

impl Copy {
    pub fn new(queue: usize, deaths: Vec<Death>, since: Timestamp) -> Copy {
        Copy {
            queue,
            deaths,
            since,
            sent_count: 0,
            first_sent_at: None,
            returned_at: None,
            rejected_at: None,
            died: None,
            is_refused: false,
            holders: Vec::new(),
            done: None,
            is_unsure: false,
        }
    }

    pub fn was_sent(&self) -> bool {
        self.sent_count > 0
    }
}

impl Message {
    pub fn new(exchange: &str, routing_key: &str, route: Route) -> Message {
        let queues = match &route {
            Route::Queues(queues) => queues.clone(),
            _ => Vec::new(),
        };
        let new = |queue| Copy::new(queue, Vec::new(), Timestamp::default());
        let copies = queues.into_iter().map(new);
        Message {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            properties: AMQPProperties::default(),
            body_len: 0,
            mandatory: false,
            copies: copies.collect(),
            route,
            expiration: None,
            asks_from: None,
            from: None,
            arrived_at: Timestamp::default(),
            order: 0,
            is_certain: false,
            certain_at: None,
            is_acked: false,
            is_nacked: false,
            is_void: false,
            is_returned: false,
            must_return: false,
            is_delivered: false,
        }
    }

    /// The message has surely been executed.
    pub(super) fn make_certain(&mut self, now: Timestamp) {
        self.is_certain = true;
        self.certain_at.get_or_insert(now);
    }

    /// How long it may wait in a queue with these rules; a letter has no time of its own.
    pub(super) fn lifetime_in(&self, rules: &Rules, deaths: &[Death]) -> Option<Duration> {
        let own = self.expiration.filter(|_| deaths.is_empty());
        match (own, rules.message_ttl) {
            (Some(own), Some(ttl)) => Some(own.min(ttl)),
            (own, ttl) => own.or(ttl),
        }
    }

    /// Its rank among those of a queue; 0 where there are none.
    pub(super) fn priority_in(&self, rules: &Rules) -> u8 {
        let own = self.properties.priority().unwrap_or(0);
        rules.priority_max.map_or(0, |max| own.min(max))
    }
}

/// The octets of a message's body follow from its number.
pub fn body_of(message: usize, len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(move |at| (message.wrapping_mul(31).wrapping_add(at) % 251) as u8)
}

impl Oracle {
    /// The message that content claims to be, if it is that, unchanged but for its deaths.
    pub(super) fn identify(&mut self, content: &Content) -> Result<(usize, Vec<Death>), String> {
        let properties = &content.properties;
        let id = properties.message_id().as_ref().ok_or("no message id")?;
        let id: usize = id.as_str().parse().map_err(|_| format!("message {id}"))?;
        let message = self.messages.get(id).ok_or("a message that nobody made")?;
        if message.from.is_none() {
            return Err(format!("m{id} has not arrived"));
        }
        if message.is_void {
            return Err(format!(
                "m{id} came behind the error that closed its channel"
            ));
        }
        let (exchange, routing_key) = match &content.method {
            Basic::Deliver(deliver) => (&deliver.exchange, &deliver.routing_key),
            Basic::GetOk(get_ok) => (&get_ok.exchange, &get_ok.routing_key),
            Basic::Return(returned) => (&returned.exchange, &returned.routing_key),
            other => return Err(format!("content of {other:?}")),
        };
        let address = (exchange.as_str(), routing_key.as_str());
        let deaths = self
            .read_deaths(message, properties, address)
            .map_err(|error| format!("m{id}: {error}"))?;
        let is_same_body = content.body.len() == message.body_len
            && body_of(id, message.body_len).eq(content.body.iter().copied());
        if !is_same_body {
            return Err(format!("m{id} has another body"));
        }
        let mut expected = message.properties.clone();
        if let Some(place) = message.asks_from {
            let name = properties.reply_to().as_ref().ok_or("reply_to is lost")?;
            expected = expected.with_reply_to(name.clone());
            self.learn_reply_name(name.as_str(), place)?;
        }
        if !letters::is_same(properties, &expected, !deaths.is_empty()) {
            return Err(format!("m{id} has other properties: {properties:?}"));
        }
        Ok((id, deaths))
    }

    fn learn_reply_name(&mut self, name: &str, place: Place) -> Result<(), String> {
        if !name.starts_with("amq.rabbitmq.reply-to.") {
            return Err(format!("'{name}' is no reply address"));
        }
        match self.reply_names.insert(name.to_string(), place) {
            Some(known) if known != place => Err(format!("'{name}' is {known:?} and {place:?}")),
            _ => Ok(()),
        }
    }
}
