//! Patterns of words: `*` is one word, `#` any number of them (AMQP 0-9-1 3.1.3.3).

use super::super::name::Name;
use super::{Binding, Destination, push_unique};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Topic {
    by_pattern: BTreeMap<Name, Vec<Binding>>,
}

impl Topic {
    pub(super) fn bind(&mut self, binding: &Binding) -> bool {
        push_unique(
            self.by_pattern
                .entry(binding.routing_key.clone())
                .or_default(),
            binding,
        )
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Binding) -> bool) {
        self.by_pattern.retain(|_, bindings| {
            bindings.retain(&mut keep);
            !bindings.is_empty()
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.by_pattern.values().flatten()
    }

    pub(super) fn count(&self) -> usize {
        self.by_pattern.values().map(Vec::len).sum()
    }

    pub(super) fn each_destination<'a>(
        &'a self,
        routing_key: &[u8],
        mut each: impl FnMut(&'a Destination),
    ) {
        for (pattern, bindings) in &self.by_pattern {
            if matches(pattern.as_bytes(), routing_key) {
                bindings
                    .iter()
                    .map(|binding| &binding.destination)
                    .for_each(&mut each);
            }
        }
    }
}

/// Goes back only to the latest `#`, so the time is at most pattern times key, however many `#`
/// the pattern has.
fn matches(pattern: &[u8], routing_key: &[u8]) -> bool {
    let mut pattern = Words::of(pattern);
    let mut key = Words::of(routing_key);
    // After the latest `#`: the pattern behind it, and the key from where it stops swallowing.
    let mut retry: Option<(Words<'_>, Words<'_>)> = None;
    loop {
        let (pattern_before, key_before) = (pattern, key);
        match (pattern.next(), key.next()) {
            (Some(b"#"), _) => {
                key = key_before;
                retry = Some((pattern, key));
                continue;
            }
            (Some(b"*"), Some(_)) => continue,
            (Some(expected), Some(word)) if expected == word => continue,
            (None, None) => return true,
            _ => {}
        }
        debug_assert!(pattern_before.0.is_some() || key_before.0.is_some());
        let Some((pattern_behind, mut swallowing)) = retry else {
            return false;
        };
        if swallowing.next().is_none() {
            return false;
        }
        (pattern, key) = (pattern_behind, swallowing);
        retry = Some((pattern, key));
    }
}

/// The words between dots; an empty string has none, as in RabbitMQ.
#[derive(Clone, Copy)]
struct Words<'a>(Option<&'a [u8]>);

impl<'a> Words<'a> {
    fn of(text: &'a [u8]) -> Self {
        Words((!text.is_empty()).then_some(text))
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let dot = text.iter().position(|&octet| octet == b'.');
        self.0 = dot.map(|at| &text[at + 1..]);
        Some(dot.map_or(text, |at| &text[..at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_specification_says() {
        let cases: &[(&str, &str, bool)] = &[
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("*.b", "a.b", true),
            ("*", "", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.b.c", true),
            ("a.#.c", "a.b.b.d", false),
            ("#.c", "a.c.c", true),
            ("#.#", "a", true),
            ("*.#", "", false),
            ("#.*", "a", true),
            ("#.a.#.b.#", "x.a.y.a.b", true),
            ("a..b", "a..b", true),
            ("a.*.b", "a..b", true),
            ("a", "a.", false),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), key.as_bytes()),
                *expected,
                "{pattern} {key}"
            );
        }
    }

    #[test]
    fn many_hashes_take_no_exponential_time() {
        let pattern = [b"#.".repeat(120), b"z".to_vec()].concat();
        let key = b"a.".repeat(120);
        assert!(!matches(&pattern, &key));
    }
}
