//! What a request asks of the broker for its call: headers that begin with `x-rpc-`.

use crate::engine::violation::Violation;
use crate::engine::wire::arguments::{self, Value};
use crate::engine::wire::properties::{Properties, parse_expiration};
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::LIFETIME_MS_MAX;
use std::time::Duration;

const PREFIX: &[u8] = b"x-rpc-";
const ERRORS: &[u8] = b"x-rpc-errors";
const DEADLINE_MS: &[u8] = b"x-rpc-deadline-ms";
const PURGE_ON_GONE: &[u8] = b"x-rpc-purge-on-gone";
const TIMING: &[u8] = b"x-rpc-timing";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The broker shall answer where no worker can.
    pub errors: bool,
    /// How long the caller waits.
    pub budget: Option<Duration>,
    /// The request shall not be handed out once the caller has left.
    pub purges: bool,
    /// The reply shall say where the time went.
    pub timing: bool,
}

impl Wishes {
    /// `errors`: what the caller's connection asks for already. `None`: the request asks for
    /// nothing, whatever its `expiration` is. Errors: 406 for values that make no sense.
    pub fn of(properties: &Properties<'_>, errors: bool) -> Result<Option<Wishes>, Violation> {
        let mut wishes = Wishes {
            errors,
            ..Wishes::default()
        };
        let headers = properties.headers().unwrap_or_default();
        for (key, value) in arguments::entries(headers).filter(|(key, _)| key.starts_with(PREFIX)) {
            match (key, value) {
                (ERRORS, Value::Boolean(errors)) => wishes.errors = errors,
                (DEADLINE_MS, Value::Integer(ms)) if is_lifetime(ms) => {
                    wishes.budget = Some(Duration::from_millis(ms.unsigned_abs()));
                }
                (PURGE_ON_GONE, Value::Boolean(purges)) => wishes.purges = purges,
                (TIMING, Value::Boolean(timing)) => wishes.timing = timing,
                (ERRORS | DEADLINE_MS | PURGE_ON_GONE | TIMING, value) => {
                    return Err(refused(key, &value));
                }
                _ => {}
            }
        }
        if wishes == Wishes::default() {
            return Ok(None);
        }
        if let Some(text) = properties.expiration()
            && let Ok(ms) = parse_expiration(text)
        {
            let expiration = Duration::from_millis(ms);
            wishes.budget = Some(wishes.budget.map_or(expiration, |it| it.min(expiration)));
        }
        Ok(Some(wishes))
    }
}

fn is_lifetime(ms: i64) -> bool {
    u64::try_from(ms).is_ok_and(|ms| ms <= LIFETIME_MS_MAX)
}

fn refused(key: &[u8], value: &Value<'_>) -> Violation {
    let key = String::from_utf8_lossy(key);
    let text = match value {
        Value::Integer(value) => format!("invalid value {value} of header '{key}'"),
        other => format!("invalid type '{}' of header '{key}'", other.type_name()),
    };
    Violation::channel(ReplyCode::PreconditionFailed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(
        headers: &[(&[u8], Value<'_>)],
        expiration: &[u8],
    ) -> Result<Option<Wishes>, Violation> {
        let mut inside = Vec::new();
        for (key, value) in headers {
            arguments::push_entry(&mut inside, key, value);
        }
        let mut list = vec![0x20, 0];
        if !expiration.is_empty() {
            list[0] |= 0x01;
        }
        list.extend_from_slice(&(inside.len() as u32).to_be_bytes());
        list.extend_from_slice(&inside);
        if !expiration.is_empty() {
            list.push(expiration.len() as u8);
            list.extend_from_slice(expiration);
        }
        Wishes::of(&Properties::walk(&list, 2).unwrap(), false)
    }

    #[test]
    fn who_asks_for_nothing_wishes_nothing() {
        let none = Ok(None);
        assert_eq!(wishes(&[], b""), none);
        assert_eq!(wishes(&[(b"x-rpcs", Value::Void)], b"10"), none);
        assert_eq!(wishes(&[(b"x-rpc-later", Value::Void)], b"10"), none);
    }

    #[test]
    fn the_smaller_of_both_budgets_counts() {
        let budget = |ms: i64, expiration: &[u8]| {
            let headers = [(DEADLINE_MS, Value::Integer(ms))];
            wishes(&headers, expiration).unwrap().unwrap().budget
        };
        assert_eq!(budget(5, b""), Some(Duration::from_millis(5)));
        assert_eq!(budget(5, b"3"), Some(Duration::from_millis(3)));
        assert_eq!(budget(5, b"7"), Some(Duration::from_millis(5)));
        let errors = wishes(&[(ERRORS, Value::Boolean(true))], b"7")
            .unwrap()
            .unwrap();
        assert!(errors.errors);
        assert_eq!(errors.budget, Some(Duration::from_millis(7)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = |headers: &[(&[u8], Value<'_>)]| wishes(headers, b"").unwrap_err().text;
        assert_eq!(
            text(&[(DEADLINE_MS, Value::Integer(-1))]),
            "invalid value -1 of header 'x-rpc-deadline-ms'"
        );
        assert_eq!(
            text(&[(ERRORS, Value::LongString(b"yes"))]),
            "invalid type 'longstr' of header 'x-rpc-errors'"
        );
        assert!(wishes(&[(DEADLINE_MS, Value::Integer(i64::MAX))], b"").is_err());
    }
}
