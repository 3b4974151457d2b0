//! Each destination gets a share of the messages by its weight, the same key always the same
//! destination (RabbitMQ's plugin `rabbitmq_consistent_hash_exchange`).
//!
//! A ring of points: a message goes to the destination of the next point behind its hash. When
//! destinations come and go, only what was theirs goes elsewhere.

use super::super::name::Name;
use super::super::wire::arguments::{self, Value};
use super::super::wire::properties::Properties;
use super::{Destination, quoted};
use crate::limits::HASH_WEIGHT_MAX;
use siphasher::sip::SipHasher13;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// Points of a destination of weight 1: shares stray by about an eighth.
const POINTS_PER_WEIGHT: u32 = 64;

/// What of a message is hashed; what a message does not have is hashed as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    #[default]
    RoutingKey,
    Header(Name),
    MessageId,
    CorrelationId,
    Timestamp,
}

/// Invariant: `members`, what `numbers` says of their places, and the second halves of `points`
/// speak of the same destinations, each with weight times `POINTS_PER_WEIGHT` points.
#[derive(Debug, Default)]
pub(super) struct ConsistentHash {
    points: BTreeSet<(u64, u32)>,
    numbers: BTreeMap<Destination, u32>,
    members: Slab<Member>,
}

#[derive(Debug)]
struct Member {
    destination: Destination,
    weight: u32,
}

impl ConsistentHash {
    /// 0: it is no destination any more.
    pub(super) fn set_weight(&mut self, destination: &Destination, weight: u32) {
        let number = *self.numbers.entry(destination.clone()).or_insert_with(|| {
            let (destination, weight) = (destination.clone(), 0);
            let number = self.members.insert(Member {
                destination,
                weight,
            });
            u32::try_from(number).expect("bindings are limited")
        });
        let member = &mut self.members[number as usize];
        for place in member.weight * POINTS_PER_WEIGHT..weight * POINTS_PER_WEIGHT {
            self.points.insert((point(destination, place), number));
        }
        for place in weight * POINTS_PER_WEIGHT..member.weight * POINTS_PER_WEIGHT {
            self.points.remove(&(point(destination, place), number));
        }
        member.weight = weight;
        if weight == 0 {
            self.members.remove(number as usize);
            self.numbers.remove(destination);
        }
    }

    pub(super) fn destination(&self, hash: u64) -> Option<&Destination> {
        let behind = self.points.range((hash, 0)..).next();
        let (_, number) = behind.or_else(|| self.points.first())?;
        let member = self.members.get(*number as usize);
        member.map(|member| &member.destination)
    }
}

impl HashOn {
    pub(super) fn hash(&self, routing_key: &[u8], properties: &Properties<'_>) -> u64 {
        let mut hasher = hasher();
        match self {
            HashOn::RoutingKey => hasher.write(routing_key),
            HashOn::Header(name) => {
                let headers = properties.headers().unwrap_or_default();
                if let Some(value) = arguments::find(headers, name.as_bytes()) {
                    write_value(&mut hasher, &value);
                }
            }
            HashOn::MessageId => hasher.write(properties.message_id().unwrap_or_default()),
            HashOn::CorrelationId => hasher.write(properties.correlation_id().unwrap_or_default()),
            HashOn::Timestamp => {
                if let Some(timestamp) = properties.timestamp() {
                    hasher.write_u64(timestamp);
                }
            }
        }
        hasher.finish()
    }
}

/// Errors: the binding key is no weight.
pub(super) fn weight(binding_key: &[u8]) -> Result<u32, String> {
    let text = String::from_utf8_lossy(binding_key);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(format!(
            "The binding key must be an integer: {}",
            quoted(binding_key)
        ));
    }
    let is_zero = digits.bytes().all(|octet| octet == b'0');
    if is_zero || text.starts_with('-') {
        return Err("The binding key must be greater than 0".into());
    }
    match digits.parse() {
        Ok(weight) if weight <= HASH_WEIGHT_MAX => Ok(weight),
        _ => Err(format!("The binding key must be at most {HASH_WEIGHT_MAX}")),
    }
}

/// What a binding with this key counts for.
pub(super) fn size(binding_key: &[u8]) -> usize {
    let weight = weight(binding_key).unwrap_or(1);
    weight as usize * POINTS_PER_WEIGHT as usize
}

fn point(destination: &Destination, place: u32) -> u64 {
    let mut hasher = hasher();
    destination.hash(&mut hasher);
    hasher.write_u32(place);
    hasher.finish()
}

/// Without a secret: all shards must agree. Who finds keys that collide could as well send one
/// key again and again.
fn hasher() -> SipHasher13 {
    SipHasher13::new_with_keys(0, 0)
}

fn write_value(hasher: &mut SipHasher13, value: &Value<'_>) {
    match value {
        Value::Boolean(value) => hasher.write_u8((*value).into()),
        Value::Integer(value) => hasher.write_i64(*value),
        Value::Float(value) => hasher.write_u64(value.to_bits()),
        Value::Decimal { scale, value } => {
            hasher.write_u8(*scale);
            hasher.write_u32(*value);
        }
        Value::LongString(octets)
        | Value::ByteArray(octets)
        | Value::Table(octets)
        | Value::Array(octets) => hasher.write(octets),
        Value::Timestamp(value) => hasher.write_u64(*value),
        Value::Void => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_COUNT: usize = 20_000;

    fn destination(number: usize) -> Destination {
        Destination::Exchange(Name::from(format!("{number}").as_str()))
    }

    fn ring(weights: &[u32]) -> ConsistentHash {
        let mut ring = ConsistentHash::default();
        for (number, weight) in weights.iter().enumerate() {
            ring.set_weight(&destination(number), *weight);
        }
        ring
    }

    /// Where each of many keys goes.
    fn homes(ring: &ConsistentHash) -> Vec<Destination> {
        let properties = Properties::walk(b"\x00\x00", 1).unwrap();
        let hash = |number: usize| {
            HashOn::RoutingKey.hash(format!("key.{number}").as_bytes(), &properties)
        };
        let home = |number| ring.destination(hash(number)).unwrap().clone();
        (0..KEY_COUNT).map(home).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        let homes = homes(&ring(&[1, 1, 2, 4]));
        for (number, weight) in [1, 1, 2, 4].into_iter().enumerate() {
            let share = homes.iter().filter(|d| **d == destination(number)).count();
            let expected = KEY_COUNT * weight / 8;
            assert!(share > expected / 2 && share < expected * 3 / 2, "{share}");
        }
    }

    #[test]
    fn who_stays_keeps_its_keys_when_others_come_and_go() {
        let mut ring = ring(&[1; 8]);
        let before = homes(&ring);
        ring.set_weight(&destination(8), 1);
        for (before, after) in before.iter().zip(homes(&ring)) {
            assert!(*before == after || after == destination(8));
        }
        ring.set_weight(&destination(8), 0);
        assert_eq!(homes(&ring), before);
        ring.set_weight(&destination(3), 0);
        for (before, after) in before.iter().zip(homes(&ring)) {
            assert!(*before == after || *before == destination(3));
        }
    }

    #[test]
    fn nothing_is_left_of_what_is_gone() {
        let mut ring = ring(&[1, HASH_WEIGHT_MAX, 3]);
        ring.set_weight(&destination(1), 2);
        assert!(ring.points.len() <= 6 * POINTS_PER_WEIGHT as usize);
        for number in 0..3 {
            ring.set_weight(&destination(number), 0);
        }
        assert!(ring.points.is_empty() && ring.numbers.is_empty() && ring.members.is_empty());
        assert_eq!(ring.destination(7), None);
    }

    #[test]
    fn a_weight_is_a_positive_number_of_modest_size() {
        for (key, expected) in [("1", 1), ("+7", 7), ("007", 7), ("1000", 1000)] {
            assert_eq!(weight(key.as_bytes()), Ok(expected), "{key}");
        }
        for (key, start) in [
            ("", "The binding key must be an integer: <<>>"),
            ("a", "The binding key must be an integer: <<\"a\">>"),
            ("1.5", "The binding key must be an integer"),
            (" 1", "The binding key must be an integer"),
            ("+", "The binding key must be an integer"),
            ("0", "The binding key must be greater than 0"),
            ("-3", "The binding key must be greater than 0"),
            ("1001", "The binding key must be at most 1000"),
            (
                "99999999999999999999",
                "The binding key must be at most 1000",
            ),
        ] {
            let text = weight(key.as_bytes()).unwrap_err();
            assert!(text.starts_with(start), "{key}: {text}");
        }
    }

    #[test]
    fn the_property_or_header_that_was_asked_for_is_hashed() {
        // Headers h = "v", correlation id "c", message id "m", timestamp 9.
        let list = b"\x24\xc0\x00\x00\x00\x08\x01hS\x00\x00\x00\x01v\x01c\x01m\
            \x00\x00\x00\x00\x00\x00\x00\x09";
        let all = Properties::walk(list, 1).unwrap();
        let none = Properties::walk(b"\x00\x00", 1).unwrap();
        let hashes = [
            HashOn::RoutingKey,
            HashOn::Header(Name::from("h")),
            HashOn::MessageId,
            HashOn::CorrelationId,
            HashOn::Timestamp,
        ]
        .map(|hash_on| {
            let same = hash_on.hash(b"k", &all) == hash_on.hash(b"other", &all);
            assert_eq!(same, hash_on != HashOn::RoutingKey);
            let is_given = hash_on.hash(b"k", &all) != hash_on.hash(b"k", &none);
            assert_eq!(is_given, hash_on != HashOn::RoutingKey);
            hash_on.hash(b"k", &all)
        });
        assert_eq!(BTreeSet::from(hashes).len(), hashes.len());
        let text = [HashOn::MessageId.hash(b"k", &all), hasher_of(b"m")];
        assert_eq!(text[0], text[1]);
    }

    fn hasher_of(octets: &[u8]) -> u64 {
        let mut hasher = hasher();
        hasher.write(octets);
        hasher.finish()
    }
}
