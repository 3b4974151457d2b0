//! `x-delayed-message`: an exchange of another type that holds messages back for as long as they
//! ask for, as RabbitMQ's plugin of that name does.

use super::super::wire::arguments::{self, Value};
use super::super::wire::properties::Properties;
use crate::limits::LIFETIME_MS_MAX;
use std::time::Duration;

pub const DELAYED_TYPE: &str = "x-delayed-message";

const DELAY: &[u8] = b"x-delay";

/// What a message's header `x-delay` asks for: milliseconds, more than none. What asks for more
/// than a message may live waits no longer than that.
pub fn delay(properties: &Properties<'_>) -> Option<Duration> {
    match arguments::find(properties.headers()?, DELAY)? {
        Value::Integer(ms) if ms > 0 => Some(Duration::from_millis(
            ms.unsigned_abs().min(LIFETIME_MS_MAX),
        )),
        _ => None,
    }
}

/// The property list of a message that has been held back: no other exchange does it again.
pub fn without_delay(properties: &Properties<'_>) -> Vec<u8> {
    let headers = properties.headers().unwrap_or_default();
    let mut rewritten = arguments::without(headers, DELAY);
    if let Some(Value::Integer(ms)) = arguments::find(headers, DELAY) {
        arguments::push_entry(&mut rewritten, DELAY, &Value::Integer(ms.saturating_neg()));
    }
    properties.rewritten(&rewritten, true)
}
