//! The arguments of queue.declare: which are known, what is wrong with them, and whether a
//! redeclaration gives the same. Unknown ones are passed over, as RabbitMQ does.

use super::{DeadLetters, Dispatch, Overflow, Rules};
use crate::engine::name::Name;
use crate::limits::LIFETIME_MS_MAX;
use amq_protocol::types::{AMQPValue, FieldTable};
use std::time::Duration;

/// What a queue was declared with. Only what is known is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueArguments {
    /// In the order of `KNOWN`.
    given: Vec<(&'static str, AMQPValue)>,
    pub rules: Rules,
}

/// RabbitMQ's, but for `x-delivery-limit`, which there only quorum queues have, and those that
/// begin with `x-rpc-` and `x-dispatch`, which are ours. Those without a rule are checked and
/// compared, and mean nothing here.
const KNOWN: [&str; 18] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-queue-type",
    "x-queue-master-locator",
    "x-rpc-purge-on-gone",
    "x-rpc-shed",
    "x-rpc-slow-ms",
    "x-dispatch",
];

/// Those of RabbitMQ's other queue types: a queue that would pass them over promises too much.
const OF_OTHER_TYPES: [&str; 7] = [
    "x-initial-cluster-size",
    "x-max-age",
    "x-max-in-memory-bytes",
    "x-max-in-memory-length",
    "x-quorum-initial-group-size",
    "x-stream-filter-size-bytes",
    "x-stream-max-segment-size-bytes",
];

impl QueueArguments {
    /// `None`: nothing that is known. Errors: what is wrong, as RabbitMQ words it; `queue` says
    /// "queue 'q' in vhost '/'".
    pub fn parse(arguments: &FieldTable, queue: &str) -> Result<Option<QueueArguments>, String> {
        let table = arguments.inner();
        for key in OF_OTHER_TYPES {
            if table.contains_key(key) {
                return Err(format!(
                    "invalid arg '{key}' for {queue} of queue type rabbit_classic_queue"
                ));
            }
        }
        let mut parsed = QueueArguments::default();
        for key in KNOWN {
            if let Some(value) = table.get(key) {
                parsed.take(key, value, queue)?;
                parsed.given.push((key, value.clone()));
            }
        }
        if let Some(AMQPValue::LongString(_)) = table.get("x-dead-letter-routing-key")
            && parsed.rules.dead_letters.is_none()
        {
            return Err(invalid(
                "x-dead-letter-routing-key",
                queue,
                "routing_key_but_no_dlx_defined",
            ));
        }
        Ok((!parsed.given.is_empty()).then_some(parsed))
    }

    fn take(&mut self, key: &'static str, value: &AMQPValue, queue: &str) -> Result<(), String> {
        let rules = &mut self.rules;
        let wrong = |what: String| invalid(key, queue, &what);
        match key {
            "x-message-ttl" => rules.message_ttl = Some(lifetime(value).map_err(wrong)?),
            "x-expires" => {
                let expires = lifetime(value).map_err(wrong)?;
                if expires.is_zero() {
                    return Err(wrong("{value_zero,0}".into()));
                }
                rules.expires = Some(expires);
            }
            "x-max-length" => rules.length_max = Some(count(value).map_err(wrong)?),
            "x-max-length-bytes" => rules.body_len_max = Some(count(value).map_err(wrong)?),
            "x-max-priority" => rules.priority_max = Some(priority_max(value).map_err(wrong)?),
            "x-delivery-limit" => {
                let limit = count(value).map_err(wrong)?;
                rules.delivery_limit = Some(u32::try_from(limit).unwrap_or(u32::MAX));
            }
            "x-overflow" => rules.overflow = Some(overflow(value).map_err(wrong)?),
            "x-dead-letter-exchange" => {
                let exchange = name(value).ok_or_else(|| {
                    let kind = type_name(value);
                    format!("invalid type '{kind}' for arg '{key}' in {queue}")
                })?;
                rules.dead_letters = Some(DeadLetters {
                    exchange,
                    routing_key: None,
                });
            }
            // `KNOWN` has the exchange before it.
            "x-dead-letter-routing-key" => {
                let routing_key = name(value).ok_or_else(|| wrong(unacceptable(value)))?;
                if let Some(dead_letters) = &mut rules.dead_letters {
                    dead_letters.routing_key = Some(routing_key);
                }
            }
            "x-single-active-consumer" => {
                rules.single_active_consumer = boolean(value).map_err(wrong)?;
            }
            "x-rpc-purge-on-gone" => rules.rpc_purge_on_gone = boolean(value).map_err(wrong)?,
            "x-rpc-shed" => rules.rpc_shed = boolean(value).map_err(wrong)?,
            "x-rpc-slow-ms" => rules.rpc_slow = Some(lifetime(value).map_err(wrong)?),
            "x-dispatch" => rules.dispatch = Some(dispatch(value).map_err(wrong)?),
            "x-queue-version" => match count(value).map_err(wrong)? {
                1 | 2 => {}
                other => {
                    return Err(wrong(format!("\"unsupported queue version '{other}'\"")));
                }
            },
            "x-queue-type" => one_of(value, "type", &["classic"]).map_err(wrong)?,
            "x-queue-mode" => one_of(value, "mode", &["default", "lazy"]).map_err(wrong)?,
            _ => drop(text(value).ok_or_else(|| wrong(unacceptable(value)))?),
        }
        Ok(())
    }

    /// The first argument that a redeclaration has otherwise, in RabbitMQ's words: "arg", then
    /// "received … but current is …". `x-queue-type: classic` is what a queue is without it.
    pub fn difference(
        current: Option<&QueueArguments>,
        received: Option<&QueueArguments>,
    ) -> Option<(&'static str, String)> {
        let value = |arguments: Option<&QueueArguments>, key| {
            let given = arguments.map_or(&[][..], |arguments| &arguments.given);
            let found = given.iter().find(|(other, _)| *other == key);
            found.map(|(_, value)| value.clone())
        };
        let compared = KNOWN.into_iter().filter(|key| *key != "x-queue-type");
        for key in compared {
            let text = match (value(current, key), value(received, key)) {
                (None, None) => continue,
                (Some(current), Some(received)) if is_same(&current, &received) => continue,
                (Some(current), Some(received)) => {
                    format!(
                        "received '{}' but current is '{}'",
                        said(&received),
                        said(&current)
                    )
                }
                (Some(current), None) => format!(
                    "received none but current is the value '{}' of type '{}'",
                    said(&current),
                    type_name(&current)
                ),
                (None, Some(received)) => format!(
                    "received the value '{}' of type '{}' but current is none",
                    said(&received),
                    type_name(&received)
                ),
            };
            return Some((key, text));
        }
        None
    }
}

fn invalid(key: &str, queue: &str, what: &str) -> String {
    format!("invalid arg '{key}' for {queue}: {what}")
}

fn unacceptable(value: &AMQPValue) -> String {
    format!("{{unacceptable_type,{}}}", type_name(value))
}

fn boolean(value: &AMQPValue) -> Result<bool, String> {
    match value {
        AMQPValue::Boolean(value) => Ok(*value),
        other => Err(unacceptable(other)),
    }
}

/// A number of milliseconds.
fn lifetime(value: &AMQPValue) -> Result<Duration, String> {
    let ms = not_negative(value)?;
    if ms > LIFETIME_MS_MAX {
        return Err(format!("{{value_too_large,{ms}}}"));
    }
    Ok(Duration::from_millis(ms))
}

fn count(value: &AMQPValue) -> Result<usize, String> {
    Ok(usize::try_from(not_negative(value)?).unwrap_or(usize::MAX))
}

fn priority_max(value: &AMQPValue) -> Result<u8, String> {
    let max = not_negative(value)?;
    u8::try_from(max).map_err(|_| format!("{{max_value_exceeded,{max}}}"))
}

fn not_negative(value: &AMQPValue) -> Result<u64, String> {
    let number =
        integer(value).ok_or_else(|| format!("\"expected integer, got {}\"", type_name(value)))?;
    u64::try_from(number).map_err(|_| format!("{{value_negative,{number}}}"))
}

fn overflow(value: &AMQPValue) -> Result<Overflow, String> {
    let word = text(value).ok_or_else(|| unacceptable(value))?;
    Overflow::parse(word).ok_or_else(|| "invalid_overflow".into())
}

fn dispatch(value: &AMQPValue) -> Result<Dispatch, String> {
    let word = text(value).ok_or_else(|| unacceptable(value))?;
    let unsupported = || {
        let word = String::from_utf8_lossy(word);
        format!("\"unsupported dispatch '{word}'\"")
    };
    Dispatch::parse(word).ok_or_else(unsupported)
}

fn one_of(value: &AMQPValue, what: &str, supported: &[&str]) -> Result<(), String> {
    let text = text(value).ok_or_else(|| unacceptable(value))?;
    if supported.iter().any(|word| word.as_bytes() == text) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(text);
    Err(format!("\"unsupported queue {what} '{text}'\""))
}

/// A name fits a short string.
fn name(value: &AMQPValue) -> Option<Name> {
    text(value).filter(|text| text.len() <= 255).map(Name::from)
}

fn text(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// Integers of all widths.
pub fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(value) => Some((*value).into()),
        AMQPValue::ShortShortUInt(value) => Some((*value).into()),
        AMQPValue::ShortInt(value) => Some((*value).into()),
        AMQPValue::ShortUInt(value) => Some((*value).into()),
        AMQPValue::LongInt(value) => Some((*value).into()),
        AMQPValue::LongUInt(value) => Some((*value).into()),
        AMQPValue::LongLongInt(value) => Some(*value),
        _ => None,
    }
}

/// Integers of all widths are one type.
fn is_same(a: &AMQPValue, b: &AMQPValue) -> bool {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// What RabbitMQ calls a value's type.
pub fn type_name(value: &AMQPValue) -> &'static str {
    match value {
        AMQPValue::Boolean(_) => "bool",
        AMQPValue::ShortShortInt(_) => "byte",
        AMQPValue::ShortShortUInt(_) => "unsignedbyte",
        AMQPValue::ShortInt(_) => "short",
        AMQPValue::ShortUInt(_) => "unsignedshort",
        AMQPValue::LongInt(_) => "signedint",
        AMQPValue::LongUInt(_) => "unsignedint",
        AMQPValue::LongLongInt(_) => "long",
        AMQPValue::Float(_) => "float",
        AMQPValue::Double(_) => "double",
        AMQPValue::DecimalValue(_) => "decimal",
        AMQPValue::ShortString(_) | AMQPValue::LongString(_) => "longstr",
        AMQPValue::FieldArray(_) => "array",
        AMQPValue::Timestamp(_) => "timestamp",
        AMQPValue::FieldTable(_) => "table",
        AMQPValue::ByteArray(_) => "binary",
        AMQPValue::Void => "void",
    }
}

/// A value as an error text has it; whatever is no plain word or number has passed no check.
fn said(value: &AMQPValue) -> String {
    match (value, integer(value), text(value)) {
        (AMQPValue::Boolean(value), ..) => value.to_string(),
        (_, Some(number), _) => number.to_string(),
        (.., Some(text)) => String::from_utf8_lossy(text).into_owned(),
        (other, None, None) => type_name(other).to_string(),
    }
}
