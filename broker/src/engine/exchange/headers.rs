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

    /// Both are the inside of a field table, checked.
    pub(super) fn is_met(self, arguments: &[u8], headers: &[u8]) -> bool {
        let mut expected = arguments::entries(arguments)
            .filter(|(key, _)| *key != X_MATCH && (self.with_x || !key.starts_with(b"x-")))
            .map(|(key, value)| is_present(headers, key, &value));
        match self.mode {
            Mode::All => expected.all(|found| found),
            Mode::Any => expected.any(|found| found),
        }
    }
}

fn is_present(headers: &[u8], key: &[u8], expected: &Value<'_>) -> bool {
    arguments::find(headers, key).is_some_and(|found| expected.matches(&found))
}
