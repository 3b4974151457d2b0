//! Policies: rules for all queues and exchanges whose names match a pattern, as in RabbitMQ.

use super::{DeadLetters, Dispatch, Overflow, Rules};
use crate::engine::name::Name;
use crate::limits::{LIFETIME_MS_MAX, PATTERN_LEN_MAX, PATTERN_SIZE_MAX};
use regex::bytes::{Regex, RegexBuilder};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Policy {
    pub name: Name,
    pattern: Regex,
    pub apply_to: ApplyTo,
    /// Of several that match, the highest applies, alone.
    pub priority: i32,
    pub definition: Definition,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplyTo {
    #[default]
    All,
    Queues,
    Exchanges,
}

/// What a policy says. A queue's own arguments are stronger, but of two limits the lower counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    pub message_ttl: Option<Duration>,
    pub expires: Option<Duration>,
    pub length_max: Option<usize>,
    pub body_len_max: Option<usize>,
    pub overflow: Option<Overflow>,
    pub dead_letter_exchange: Option<Name>,
    pub dead_letter_routing_key: Option<Name>,
    pub delivery_limit: Option<u32>,
    pub alternate_exchange: Option<Name>,
    pub rpc_purge_on_gone: Option<bool>,
    pub rpc_shed: Option<bool>,
    pub rpc_slow: Option<Duration>,
    pub dispatch: Option<Dispatch>,
}

/// A value in a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyValue {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

impl PolicyValue {
    fn shown(&self) -> String {
        match self {
            PolicyValue::Boolean(value) => value.to_string(),
            PolicyValue::Integer(number) => number.to_string(),
            PolicyValue::Text(text) => format!("{text:?}"),
        }
    }
}

impl ApplyTo {
    pub fn parse(word: &str) -> Option<ApplyTo> {
        match word {
            "all" => Some(ApplyTo::All),
            "queues" | "classic_queues" => Some(ApplyTo::Queues),
            "exchanges" => Some(ApplyTo::Exchanges),
            _ => None,
        }
    }
}

impl Policy {
    /// `pattern`: a regular expression, which may match anywhere in a name. Errors: for people.
    pub fn new(
        name: Name,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i32,
        definition: Definition,
    ) -> Result<Policy, String> {
        if pattern.len() > PATTERN_LEN_MAX {
            return Err(format!("a pattern of more than {PATTERN_LEN_MAX} octets"));
        }
        let mut builder = RegexBuilder::new(pattern);
        let builder = builder
            .size_limit(PATTERN_SIZE_MAX)
            .dfa_size_limit(PATTERN_SIZE_MAX);
        let pattern = builder.build();
        let pattern = pattern.map_err(|error| format!("invalid regular expression: {error}"))?;
        Ok(Policy {
            name,
            pattern,
            apply_to,
            priority,
            definition,
        })
    }

    pub fn is_for_queue(&self, name: &Name) -> bool {
        self.apply_to != ApplyTo::Exchanges && self.pattern.is_match(name.as_bytes())
    }

    pub fn is_for_exchange(&self, name: &Name) -> bool {
        self.apply_to != ApplyTo::Queues && self.pattern.is_match(name.as_bytes())
    }
}

impl Definition {
    /// Errors: for people.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a PolicyValue)>,
    ) -> Result<Definition, String> {
        let mut definition = Definition::default();
        let mut count = 0;
        for (key, value) in entries {
            definition.take(key, value)?;
            count += 1;
        }
        if count == 0 {
            return Err("a policy that says nothing".into());
        }
        Ok(definition)
    }

    fn take(&mut self, key: &str, value: &PolicyValue) -> Result<(), String> {
        match key {
            "message-ttl" => self.message_ttl = Some(lifetime(key, value)?),
            "expires" => {
                let expires = lifetime(key, value)?;
                if expires.is_zero() {
                    return Err(format!("{key} must be more than 0"));
                }
                self.expires = Some(expires);
            }
            "max-length" => self.length_max = Some(count(key, value)?),
            "max-length-bytes" => self.body_len_max = Some(count(key, value)?),
            "delivery-limit" => {
                let limit = count(key, value)?;
                self.delivery_limit = Some(u32::try_from(limit).unwrap_or(u32::MAX));
            }
            "overflow" => {
                let word = text(key, value)?;
                let overflow = Overflow::parse(word.as_bytes());
                let overflow = overflow.ok_or_else(|| format!("{word:?} is no overflow"))?;
                self.overflow = Some(overflow);
            }
            "dead-letter-exchange" => self.dead_letter_exchange = Some(name(key, value)?),
            "dead-letter-routing-key" => self.dead_letter_routing_key = Some(name(key, value)?),
            "alternate-exchange" => self.alternate_exchange = Some(name(key, value)?),
            "rpc-purge-on-gone" => self.rpc_purge_on_gone = Some(boolean(key, value)?),
            "rpc-shed" => self.rpc_shed = Some(boolean(key, value)?),
            "rpc-slow-ms" => self.rpc_slow = Some(lifetime(key, value)?),
            "dispatch" => {
                let word = text(key, value)?;
                let dispatch = Dispatch::parse(word.as_bytes());
                let dispatch = dispatch.ok_or_else(|| format!("{word:?} is no dispatch"))?;
                self.dispatch = Some(dispatch);
            }
            _ => return Err(format!("{key} is not recognised")),
        }
        Ok(())
    }

    /// The rules of a queue that this applies to, with what its own arguments say.
    pub fn apply_to(&self, own: Option<&Rules>) -> Rules {
        let mut rules = own.cloned().unwrap_or_default();
        rules.message_ttl = lower(rules.message_ttl, self.message_ttl);
        rules.expires = lower(rules.expires, self.expires);
        rules.length_max = lower(rules.length_max, self.length_max);
        rules.body_len_max = lower(rules.body_len_max, self.body_len_max);
        rules.delivery_limit = lower(rules.delivery_limit, self.delivery_limit);
        rules.overflow = rules.overflow.or(self.overflow);
        rules.rpc_purge_on_gone |= self.rpc_purge_on_gone.unwrap_or(false);
        rules.rpc_shed |= self.rpc_shed.unwrap_or(false);
        rules.rpc_slow = lower(rules.rpc_slow, self.rpc_slow);
        rules.dispatch = rules.dispatch.or(self.dispatch);
        if rules.dead_letters.is_none() {
            rules.dead_letters = self
                .dead_letter_exchange
                .clone()
                .map(|exchange| DeadLetters {
                    exchange,
                    routing_key: None,
                });
        }
        if let Some(dead_letters) = &mut rules.dead_letters
            && dead_letters.routing_key.is_none()
        {
            dead_letters
                .routing_key
                .clone_from(&self.dead_letter_routing_key);
        }
        rules
    }
}

fn lower<T: Ord>(own: Option<T>, policy: Option<T>) -> Option<T> {
    match (own, policy) {
        (Some(own), Some(policy)) => Some(own.min(policy)),
        (own, policy) => own.or(policy),
    }
}

fn lifetime(key: &str, value: &PolicyValue) -> Result<Duration, String> {
    match value {
        PolicyValue::Integer(ms) => match u64::try_from(*ms) {
            Ok(ms) if ms <= LIFETIME_MS_MAX => Ok(Duration::from_millis(ms)),
            _ => Err(format!("{key} must be 0 to {LIFETIME_MS_MAX}, not {ms}")),
        },
        other => Err(format!("{key} must be a number, not {}", other.shown())),
    }
}

fn boolean(key: &str, value: &PolicyValue) -> Result<bool, String> {
    match value {
        PolicyValue::Boolean(value) => Ok(*value),
        other => Err(format!(
            "{key} must be true or false, not {}",
            other.shown()
        )),
    }
}

fn count(key: &str, value: &PolicyValue) -> Result<usize, String> {
    match value {
        PolicyValue::Integer(count) => {
            usize::try_from(*count).map_err(|_| format!("{key} must not be {count}"))
        }
        other => Err(format!("{key} must be a number, not {}", other.shown())),
    }
}

fn text<'a>(key: &str, value: &'a PolicyValue) -> Result<&'a str, String> {
    match value {
        PolicyValue::Text(text) => Ok(text),
        other => Err(format!("{key} must be a text, not {}", other.shown())),
    }
}

fn name(key: &str, value: &PolicyValue) -> Result<Name, String> {
    let text = text(key, value)?;
    if text.len() > 255 {
        return Err(format!("{key} has more than 255 octets"));
    }
    Ok(Name::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(entries: &[(&str, PolicyValue)]) -> Result<Definition, String> {
        Definition::parse(entries.iter().map(|(key, value)| (*key, value)))
    }

    #[test]
    fn of_two_limits_the_lower_counts_and_of_two_words_the_queues_own() {
        let policy = definition(&[
            ("message-ttl", PolicyValue::Integer(100)),
            ("max-length", PolicyValue::Integer(5)),
            ("overflow", PolicyValue::Text("reject-publish".into())),
            ("dead-letter-exchange", PolicyValue::Text("policys".into())),
            ("dead-letter-routing-key", PolicyValue::Text("key".into())),
        ]);
        let policy = policy.expect("all are known");
        let own = Rules {
            message_ttl: Some(Duration::from_millis(200)),
            length_max: Some(3),
            overflow: Some(Overflow::DropHead),
            dead_letters: Some(DeadLetters {
                exchange: Name::from("own"),
                routing_key: None,
            }),
            ..Rules::default()
        };
        let both = policy.apply_to(Some(&own));
        assert_eq!(both.message_ttl, Some(Duration::from_millis(100)));
        assert_eq!(
            (both.length_max, both.overflow),
            (Some(3), Some(Overflow::DropHead))
        );
        let dead_letters = both.dead_letters.expect("its own");
        assert_eq!(dead_letters.exchange, Name::from("own"));
        assert_eq!(dead_letters.routing_key, Some(Name::from("key")));
        assert!(policy.apply_to(None).may_reject());
    }

    #[test]
    fn a_definition_of_what_nobody_knows_is_refused() {
        let refused = |key, value| definition(&[(key, value)]).unwrap_err();
        assert_eq!(
            refused("ha-mode", PolicyValue::Integer(1)),
            "ha-mode is not recognised"
        );
        for (key, value) in [
            ("message-ttl", PolicyValue::Integer(-1)),
            ("message-ttl", PolicyValue::Text("soon".into())),
            ("expires", PolicyValue::Integer(0)),
            ("max-length", PolicyValue::Integer(-1)),
            ("overflow", PolicyValue::Text("tail".into())),
            ("dead-letter-exchange", PolicyValue::Integer(1)),
        ] {
            refused(key, value);
        }
        assert!(definition(&[]).is_err());
    }

    #[test]
    fn a_pattern_costs_little_or_is_refused() {
        let policy = |pattern: &str| {
            let name = Name::from("p");
            Policy::new(name, pattern, ApplyTo::All, 0, Definition::default())
        };
        let hostile = policy("(a*)*b").expect("matched in linear time");
        assert!(!hostile.is_for_queue(&Name::from("a".repeat(255).as_str())));
        assert!(policy("(").is_err());
        assert!(policy("(?=ahead)").is_err());
        assert!(policy("((((a{1000}){1000}){1000}){1000})").is_err());
        assert!(policy(&"a".repeat(PATTERN_LEN_MAX + 1)).is_err());
    }
}
