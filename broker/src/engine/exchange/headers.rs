//! Message headers against binding arguments (AMQP 0-9-1 3.1.3.4), with RabbitMQ's `x-match`.

use super::super::wire::arguments::{self, Value};
use super::super::wire::method;
use super::{Binding, Destination};
use amq_protocol::types::{AMQPValue, FieldTable};

#[derive(Debug, Default)]
pub(super) struct Headers {
    bindings: Vec<(Match, Binding)>,
}

/// How many of a binding's arguments must be found among the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    All,
    Any,
}

/// A binding's arguments, ready to compare.
#[derive(Debug)]
struct Match {
    mode: Mode,
    /// `x-match` says `…-with-x`: keys that begin with "x-" are compared too.
    with_x: bool,
    /// The inside of a field table.
    expected: Vec<u8>,
}

impl Headers {
    pub(super) fn bind(&mut self, binding: &Binding) -> bool {
        let is_new = !self.bindings.iter().any(|(_, kept)| kept == binding);
        if is_new {
            self.bindings
                .push((Match::new(&binding.arguments), binding.clone()));
        }
        is_new
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Binding) -> bool) {
        self.bindings.retain(|(_, binding)| keep(binding));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().map(|(_, binding)| binding)
    }

    pub(super) fn count(&self) -> usize {
        self.bindings.len()
    }

    pub(super) fn each_destination<'a>(
        &'a self,
        headers: &[u8],
        each: impl FnMut(&'a Destination),
    ) {
        let matching = self
            .bindings
            .iter()
            .filter(|(expected, _)| expected.matches(headers));
        matching
            .map(|(_, binding)| &binding.destination)
            .for_each(each);
    }
}

/// True if `x-match` is absent or one of the four words that RabbitMQ knows.
pub fn has_valid_match(arguments: &FieldTable) -> bool {
    match arguments.inner().get("x-match") {
        None => true,
        Some(value) => mode(value).is_some(),
    }
}

fn mode(value: &AMQPValue) -> Option<(Mode, bool)> {
    let AMQPValue::LongString(text) = value else {
        return None;
    };
    match text.as_bytes() {
        b"all" => Some((Mode::All, false)),
        b"any" => Some((Mode::Any, false)),
        b"all-with-x" => Some((Mode::All, true)),
        b"any-with-x" => Some((Mode::Any, true)),
        _ => None,
    }
}

impl Match {
    fn new(arguments: &FieldTable) -> Match {
        let given = arguments.inner().get("x-match").and_then(mode);
        let (mode, with_x) = given.unwrap_or((Mode::All, false));
        Match {
            mode,
            with_x,
            expected: method::encode_table(arguments),
        }
    }

    fn matches(&self, headers: &[u8]) -> bool {
        let mut expected = arguments::entries(&self.expected)
            .filter(|(key, _)| *key != b"x-match" && (self.with_x || !key.starts_with(b"x-")))
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
