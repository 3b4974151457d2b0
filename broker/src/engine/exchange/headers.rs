//! Message headers against binding arguments (AMQP 0-9-1 3.1.3.4), with RabbitMQ's `x-match`.

use super::super::wire::arguments::{self, Value};
use super::quoted;

const X_MATCH: &[u8] = b"x-match";

/// How many of a binding's arguments must be found among the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    All,
    Any,
}

/// What a binding's `x-match` asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    mode: Mode,
    /// `x-match` says `…-with-x`: keys that begin with "x-" are compared too.
    with_x: bool,
}

/// Errors: `x-match` is there and none of the four words that RabbitMQ knows.
pub(super) fn check_match(arguments: &[u8]) -> Result<(), String> {
    match arguments::find(arguments, X_MATCH) {
        None => Ok(()),
        Some(Value::LongString(word)) if Match::named(word).is_some() => Ok(()),
        Some(Value::LongString(word)) => Err(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            quoted(word)
        )),
        Some(value) => Err(format!(
            "Invalid x-match field type {}; expected longstr",
            value.type_name()
        )),
    }
}

impl Match {
    /// `arguments` of an exchange of another type may say anything.
    pub(super) fn new(arguments: &[u8]) -> Match {
        let given = match arguments::find(arguments, X_MATCH) {
            Some(Value::LongString(word)) => Match::named(word),
            _ => None,
        };
        given.unwrap_or(Match {
            mode: Mode::All,
            with_x: false,
        })
    }

    fn named(word: &[u8]) -> Option<Match> {
        let (mode, with_x) = match word {
            b"all" => (Mode::All, false),
            b"any" => (Mode::Any, false),
            b"all-with-x" => (Mode::All, true),
            b"any-with-x" => (Mode::Any, true),
            _ => return None,
        };
        Some(Match { mode, with_x })
    }

    /// `arguments`: the inside of a field table, checked.
    pub(super) fn is_met(self, arguments: &[u8], headers: &Headers<'_>) -> bool {
        let mut expected = arguments::entries(arguments)
            .filter(|(key, _)| *key != X_MATCH && (self.with_x || !key.starts_with(b"x-")))
            .map(|(key, value)| headers.have(key, &value));
        match self.mode {
            Mode::All => expected.all(|found| found),
            Mode::Any => expected.any(|found| found),
        }
    }
}

/// The headers of a message, to be looked up many times: each binding asks for several.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    /// Of entries with the same key the first alone counts.
    entries: Vec<(&'a [u8], Value<'a>)>,
    is_sorted: bool,
}

/// As many are found faster one after another.
const UNSORTED_COUNT_MAX: usize = 8;

impl<'a> Headers<'a> {
    /// `inside`: of a field table, checked.
    pub(super) fn new(inside: &'a [u8]) -> Headers<'a> {
        let mut entries: Vec<(&[u8], Value<'_>)> = arguments::entries(inside).collect();
        let is_sorted = entries.len() > UNSORTED_COUNT_MAX;
        if is_sorted {
            entries.sort_by_key(|(key, _)| *key);
            entries.dedup_by_key(|(key, _)| *key);
        }
        Headers { entries, is_sorted }
    }

    fn have(&self, key: &[u8], expected: &Value<'_>) -> bool {
        let entries = &self.entries;
        let at = match self.is_sorted {
            true => entries.binary_search_by_key(&key, |(key, _)| *key).ok(),
            false => entries.iter().position(|(other, _)| *other == key),
        };
        at.is_some_and(|at| expected.matches(&entries[at].1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_headers_with_the_same_key_the_first_counts() {
        for others in [0, 2, 100] {
            let mut inside = Vec::new();
            arguments::push_entry(&mut inside, b"k", &Value::Integer(1));
            for number in 0..others {
                let key = format!("other {number}");
                arguments::push_entry(&mut inside, key.as_bytes(), &Value::Integer(number));
            }
            arguments::push_entry(&mut inside, b"k", &Value::Integer(2));
            let headers = Headers::new(&inside);
            assert!(headers.have(b"k", &Value::Integer(1)), "of {others}");
            assert!(!headers.have(b"k", &Value::Integer(2)), "of {others}");
            assert!(!headers.have(b"missing", &Value::Void), "of {others}");
        }
    }
}
