//! What a message carries with it from the queues that gave it up: the headers `x-death`,
//! `x-first-death-…`, `x-last-death-…` and `x-delivery-count`, as RabbitMQ writes them.

use super::Queued;
use crate::engine::message::Message;
use crate::engine::rules::DeadLetters;
use crate::engine::wire::arguments::{self, Value};
use crate::engine::wire::properties::Properties;
use crate::limits::TABLE_DEPTH_MAX;

/// Why a queue gives a message up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Rejected,
    Expired,
    MaxLength,
    DeliveryLimit,
}

impl Reason {
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Reason::Rejected => b"rejected",
            Reason::Expired => b"expired",
            Reason::MaxLength => b"maxlen",
            Reason::DeliveryLimit => b"delivery_limit",
        }
    }
}

/// One entry of `x-death`.
#[derive(Clone, Copy, Debug)]
pub struct Death<'a> {
    pub queue: &'a [u8],
    pub reason: Reason,
    /// Seconds since 1970.
    pub time_s: u64,
}

const WALKED: &str = "a kept message has properties that were walked when it was published";

impl Death<'_> {
    /// The message as it goes to the dead letter exchange, with the routing key that goes with it.
    pub fn letter(&self, message: &Message, to: &DeadLetters) -> Message {
        let content = message.content();
        let properties = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX).expect(WALKED);
        let headers = properties.headers().unwrap_or_default();
        let mut rewritten = Vec::with_capacity(headers.len() + 256);
        for (key, entry) in arguments::raw_entries(headers) {
            let is_ours = key == b"x-death" || key.starts_with(b"x-last-death-");
            // A routing key of the queue's takes the place of all of the publisher's.
            let is_replaced = key == b"CC" && to.routing_key.is_some();
            if !is_ours && !is_replaced {
                rewritten.extend_from_slice(entry);
            }
        }
        let deaths = self.deaths(&properties, content.exchange, content.routing_key);
        let text = Value::LongString;
        let mut push = |key: &[u8], value| arguments::push_entry(&mut rewritten, key, &value);
        push(b"x-death", Value::Array(&deaths));
        if arguments::find(headers, b"x-death").is_none() {
            push(b"x-first-death-reason", text(self.reason.as_bytes()));
            push(b"x-first-death-queue", text(self.queue));
            push(b"x-first-death-exchange", text(content.exchange));
        }
        push(b"x-last-death-reason", text(self.reason.as_bytes()));
        push(b"x-last-death-queue", text(self.queue));
        push(b"x-last-death-exchange", text(content.exchange));
        let routing_key = to.routing_key.as_ref();
        message.readdressed(
            to.exchange.as_bytes(),
            routing_key.map_or(content.routing_key, |key| key.as_bytes()),
            &properties.rewritten(&rewritten, false),
        )
    }

    /// The inside of `x-death` with this death in front: one more of those in this queue for this
    /// reason, or the first.
    fn deaths(&self, properties: &Properties<'_>, exchange: &[u8], routing_key: &[u8]) -> Vec<u8> {
        let headers = properties.headers().unwrap_or_default();
        let mut entry = Vec::new();
        let mut others = Vec::new();
        for earlier in earlier_deaths(headers) {
            if entry.is_empty() && self.is_same(earlier) {
                entry = one_more(earlier);
            } else {
                arguments::push_value(&mut others, &Value::Table(earlier));
            }
        }
        if entry.is_empty() {
            entry = self.entry(properties, exchange, routing_key);
        }
        let mut deaths = Vec::with_capacity(entry.len() + others.len() + 5);
        arguments::push_value(&mut deaths, &Value::Table(&entry));
        deaths.extend_from_slice(&others);
        deaths
    }

    fn entry(&self, properties: &Properties<'_>, exchange: &[u8], routing_key: &[u8]) -> Vec<u8> {
        let headers = properties.headers().unwrap_or_default();
        let mut keys = Vec::new();
        arguments::push_value(&mut keys, &Value::LongString(routing_key));
        for copy in carbon_copies(headers) {
            arguments::push_value(&mut keys, &Value::LongString(copy));
        }
        let mut entry = Vec::new();
        let mut push = |key: &[u8], value| arguments::push_entry(&mut entry, key, &value);
        push(b"count", Value::Integer(1));
        push(b"reason", Value::LongString(self.reason.as_bytes()));
        push(b"queue", Value::LongString(self.queue));
        push(b"time", Value::Timestamp(self.time_s));
        push(b"exchange", Value::LongString(exchange));
        push(b"routing-keys", Value::Array(&keys));
        if let Some(expiration) = properties.expiration() {
            push(b"original-expiration", Value::LongString(expiration));
        }
        entry
    }

    fn is_same(&self, earlier: &[u8]) -> bool {
        let text = |key| arguments::find(earlier, key);
        text(b"queue") == Some(Value::LongString(self.queue))
            && text(b"reason") == Some(Value::LongString(self.reason.as_bytes()))
    }
}

/// The same entry with a count that is higher by one.
fn one_more(earlier: &[u8]) -> Vec<u8> {
    let count = match arguments::find(earlier, b"count") {
        Some(Value::Integer(count)) => count.saturating_add(1),
        _ => 1,
    };
    let mut entry = Vec::with_capacity(earlier.len() + 8);
    arguments::push_entry(&mut entry, b"count", &Value::Integer(count));
    let others = arguments::raw_entries(earlier).filter(|(key, _)| *key != b"count");
    others.for_each(|(_, raw)| entry.extend_from_slice(raw));
    entry
}

fn earlier_deaths(headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    let deaths = match arguments::find(headers, b"x-death") {
        Some(Value::Array(deaths)) => deaths,
        _ => &[],
    };
    arguments::elements(deaths).filter_map(|death| match death {
        Value::Table(inside) => Some(inside),
        _ => None,
    })
}

/// Further routing keys of a message: the texts of its header `CC`.
fn carbon_copies(headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    let copies = match arguments::find(headers, b"CC") {
        Some(Value::Array(copies)) => copies,
        _ => &[],
    };
    arguments::elements(copies).filter_map(|copy| match copy {
        Value::LongString(key) => Some(key),
        _ => None,
    })
}

/// The queues that this letter has been through without anybody having rejected it since: back in
/// one of them it would go round for ever, and is dropped instead.
pub fn queues_of_cycle(headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    let rejected = Some(Value::LongString(Reason::Rejected.as_bytes()));
    earlier_deaths(headers)
        .take_while(move |death| arguments::find(death, b"reason") != rejected)
        .filter_map(|death| match arguments::find(death, b"queue") {
            Some(Value::LongString(queue)) => Some(queue),
            _ => None,
        })
}

/// The message with a header that says how often it came back.
pub(super) fn with_delivery_count(queued: &Queued) -> Message {
    let content = queued.message.content();
    let properties = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX).expect(WALKED);
    let mut headers = Vec::new();
    let others = arguments::raw_entries(properties.headers().unwrap_or_default());
    let others = others.filter(|(key, _)| *key != b"x-delivery-count");
    others.for_each(|(_, entry)| headers.extend_from_slice(entry));
    let count = Value::Integer(queued.place.return_count().into());
    arguments::push_entry(&mut headers, b"x-delivery-count", &count);
    let properties = properties.rewritten(&headers, true);
    queued.message.with_properties(&properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::Content;
    use crate::engine::name::Name;
    use crate::engine::wire::properties::PropertyParts;

    fn message(properties: &[u8]) -> Message {
        Message::from(&Content {
            exchange: b"ex",
            routing_key: b"key",
            properties: PropertyParts([properties, b"", b""]),
            body: b"body",
            shared: None,
            call: None,
        })
    }

    fn bury(message: &Message, queue: &str, reason: Reason) -> Message {
        let death = Death {
            queue: queue.as_bytes(),
            reason,
            time_s: 7,
        };
        let to = DeadLetters {
            exchange: Name::from("dlx"),
            routing_key: None,
        };
        death.letter(message, &to)
    }

    /// Each death in order: queue, reason, count.
    fn deaths(message: &Message) -> Vec<(String, String, i64)> {
        let properties = message.content().properties.0[0].to_vec();
        let properties = Properties::walk(&properties, TABLE_DEPTH_MAX).unwrap();
        let text = |death: &[u8], key: &[u8]| match arguments::find(death, key) {
            Some(Value::LongString(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let count = |death: &[u8]| match arguments::find(death, b"count") {
            Some(Value::Integer(count)) => count,
            _ => 0,
        };
        let deaths = earlier_deaths(properties.headers().unwrap());
        let deaths =
            deaths.map(|death| (text(death, b"queue"), text(death, b"reason"), count(death)));
        deaths.collect()
    }

    fn cycle(message: &Message) -> Vec<String> {
        let content = message.content();
        let properties = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX).unwrap();
        let queues = queues_of_cycle(properties.headers().unwrap());
        queues
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    #[test]
    fn deaths_are_counted_by_queue_and_reason_the_latest_first() {
        let mut letter = message(b"\x01\x00\x0210");
        for (queue, reason) in [
            ("a", Reason::Expired),
            ("b", Reason::Rejected),
            ("a", Reason::Expired),
            ("a", Reason::MaxLength),
        ] {
            letter = bury(&letter, queue, reason);
        }
        let expected = [
            ("a", "maxlen", 1),
            ("a", "expired", 2),
            ("b", "rejected", 1),
        ];
        let expected = expected.map(|(q, reason, count)| (q.into(), reason.into(), count));
        assert_eq!(deaths(&letter), expected);
        let content = letter.content();
        assert_eq!(
            (content.exchange, content.routing_key),
            (&b"dlx"[..], &b"key"[..])
        );
        assert_eq!(content.properties.expiration_ms(), None);
    }

    #[test]
    fn a_cycle_is_what_nobody_rejected() {
        let mut letter = bury(&message(b"\0\0"), "a", Reason::Rejected);
        assert!(cycle(&letter).is_empty());
        letter = bury(&letter, "b", Reason::Expired);
        letter = bury(&letter, "c", Reason::DeliveryLimit);
        assert_eq!(cycle(&letter), ["c", "b"]);
    }

    #[test]
    fn forged_headers_are_replaced_or_passed_over() {
        for value in [
            &b"S\0\0\0\x04junk"[..],
            b"A\0\0\0\x01V",
            b"A\0\0\0\x05F\0\0\0\0",
            b"V",
        ] {
            let mut properties = b"\x20\0\0\0\0\0".to_vec();
            properties.extend_from_slice(b"\x07x-death");
            properties.extend_from_slice(value);
            properties[5] = u8::try_from(properties.len() - 6).unwrap();
            let letter = bury(&message(&properties), "q", Reason::Rejected);
            assert_eq!(deaths(&letter)[0], ("q".into(), "rejected".into(), 1));
        }
    }
}
