//! Patterns of words: `*` is one word, `#` any number of them (AMQP 0-9-1 3.1.3.3).
//!
//! A tree of the patterns' words is walked once per message, all its branches that match at the
//! same time. A pattern that does not match costs nothing from its first wrong word on.

use super::Destination;
use super::destinations::Destinations;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};

const ROOT: u32 = 0;

/// Words of a pattern that count for one binding: each takes a node of its own.
const WORDS_PER_SIZE: usize = 4;

/// Invariant: `nodes[ROOT]` is the empty pattern, every other node hangs below it at one place, and
/// has destinations or a child.
#[derive(Debug)]
pub(super) struct Topic {
    nodes: Slab<Node>,
}

/// The patterns that begin with the same words.
#[derive(Debug, Default)]
struct Node {
    /// Of the pattern that ends here.
    destinations: Destinations,
    literals: BTreeMap<Box<[u8]>, u32>,
    star: Option<u32>,
    hash: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    Literal(&'a [u8]),
    Star,
    Hash,
}

impl Default for Topic {
    fn default() -> Topic {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::default());
        assert!(root == ROOT as usize, "the first of an empty slab");
        Topic { nodes }
    }
}

impl Topic {
    pub(super) fn insert(&mut self, pattern: &[u8], destination: &Destination) {
        let mut at = ROOT;
        for word in canonical(pattern) {
            at = match self.nodes[at as usize].child(word) {
                Some(child) => child,
                None => {
                    let child = self.nodes.insert(Node::default());
                    let child = u32::try_from(child).expect("bindings are limited");
                    self.nodes[at as usize].set_child(word, Some(child));
                    child
                }
            };
        }
        self.nodes[at as usize].destinations.insert(destination);
    }

    pub(super) fn remove(&mut self, pattern: &[u8], destination: &Destination) {
        let mut at = ROOT;
        let mut path = Vec::new();
        for word in canonical(pattern) {
            let child = self.nodes[at as usize].child(word);
            path.push((at, word));
            at = child.expect("what is removed was inserted before");
        }
        self.nodes[at as usize].destinations.remove(destination);
        while self.nodes[at as usize].is_bare()
            && let Some((parent, word)) = path.pop()
        {
            self.nodes.remove(at as usize);
            self.nodes[parent as usize].set_child(word, None);
            at = parent;
        }
        if self.nodes[ROOT as usize].is_bare() {
            *self = Topic::default();
        }
    }

    /// Returns how many nodes it has looked at. That is at most words times nodes, and that only
    /// for nodes behind a `#`: others are looked at once, if all words before them match.
    pub(super) fn each_destination<'a>(
        &'a self,
        routing_key: &[u8],
        mut each: impl FnMut(&'a Destination),
    ) -> usize {
        let mut walk = Walk::new(&self.nodes);
        for word in Words::of(routing_key) {
            walk.step(word);
        }
        for at in walk.reached.iter().chain(&walk.staying) {
            let destinations = self.nodes[*at as usize].destinations.iter();
            destinations.for_each(&mut each);
        }
        walk.step_count
    }
}

impl Node {
    fn child(&self, word: Word<'_>) -> Option<u32> {
        match word {
            Word::Literal(word) => self.literals.get(word).copied(),
            Word::Star => self.star,
            Word::Hash => self.hash,
        }
    }

    fn set_child(&mut self, word: Word<'_>, child: Option<u32>) {
        match (word, child) {
            (Word::Literal(word), Some(child)) => drop(self.literals.insert(word.into(), child)),
            (Word::Literal(word), None) => drop(self.literals.remove(word)),
            (Word::Star, _) => self.star = child,
            (Word::Hash, _) => self.hash = child,
        }
    }

    /// Nothing ends here or behind.
    fn is_bare(&self) -> bool {
        self.destinations.is_empty()
            && self.literals.is_empty()
            && self.star.is_none()
            && self.hash.is_none()
    }
}

/// Where all patterns stand after some words of a routing key.
///
/// Invariant: no node stands in `reached` twice, since it has one parent; nor in `staying`, which
/// `stays` takes care of.
struct Walk<'a> {
    nodes: &'a Slab<Node>,
    /// Nodes reached by the latest word.
    reached: Vec<u32>,
    /// The same, a word before.
    left: Vec<u32>,
    /// Nodes of a `#`: it swallows whatever comes, so they are never left.
    staying: Vec<u32>,
    stays: BTreeSet<u32>,
    step_count: usize,
}

impl<'a> Walk<'a> {
    fn new(nodes: &'a Slab<Node>) -> Walk<'a> {
        let mut walk = Walk {
            nodes,
            reached: Vec::new(),
            left: Vec::new(),
            staying: Vec::new(),
            stays: BTreeSet::new(),
            step_count: 0,
        };
        walk.enter(ROOT);
        walk
    }

    fn step(&mut self, word: &[u8]) {
        std::mem::swap(&mut self.reached, &mut self.left);
        self.reached.clear();
        // What comes to stay by this word has not seen it.
        let staying_count = self.staying.len();
        for index in 0..self.left.len() {
            self.follow(self.left[index], word);
        }
        for index in 0..staying_count {
            self.follow(self.staying[index], word);
        }
    }

    fn follow(&mut self, from: u32, word: &[u8]) {
        self.step_count += 1;
        let node = &self.nodes[from as usize];
        let literal = node.literals.get(word).copied();
        for child in [literal, node.star].into_iter().flatten() {
            self.enter(child);
        }
    }

    /// With it the `#` behind it, which needs no word. There is no further one behind that.
    fn enter(&mut self, at: u32) {
        self.reached.push(at);
        if let Some(hash) = self.nodes[at as usize].hash
            && self.stays.insert(hash)
        {
            self.staying.push(hash);
        }
    }
}

/// The words of a pattern with every run of `*` and `#` put in order: the `*` first, then one `#`
/// for all. That asks for the same, and never has two `#` that could share words in many ways.
fn canonical(pattern: &[u8]) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    for word in Words::of(pattern) {
        let behind_hash = words.last() == Some(&Word::Hash);
        match word {
            b"#" if behind_hash => {}
            b"#" => words.push(Word::Hash),
            b"*" if behind_hash => words.insert(words.len() - 1, Word::Star),
            b"*" => words.push(Word::Star),
            literal => words.push(Word::Literal(literal)),
        }
    }
    words
}

/// What a binding with this pattern counts for.
pub(super) fn size(pattern: &[u8]) -> usize {
    Words::of(pattern).count().div_ceil(WORDS_PER_SIZE).max(1)
}

/// The words between dots; an empty string has none, as in RabbitMQ.
struct Words<'a>(Option<&'a [u8]>);

impl<'a> Words<'a> {
    fn of(text: &'a [u8]) -> Self {
        Words((!text.is_empty()).then_some(text))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

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
    use crate::engine::name::Name;
    use proptest::prelude::*;

    fn destination(number: usize) -> Destination {
        Destination::Exchange(Name::from(format!("{number}").as_str()))
    }

    /// The numbers of the patterns that match, and the steps that took.
    fn matching(topic: &Topic, key: &str) -> (BTreeSet<String>, usize) {
        let mut found = BTreeSet::new();
        let step_count = topic.each_destination(key.as_bytes(), |destination| {
            let Destination::Exchange(name) = destination else {
                panic!("not one of ours");
            };
            assert!(found.insert(name.to_string()), "{name} comes once");
        });
        (found, step_count)
    }

    fn topic_of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Topic {
        let mut topic = Topic::default();
        for (number, pattern) in patterns.into_iter().enumerate() {
            topic.insert(pattern.as_bytes(), &destination(number));
        }
        topic
    }

    fn matches(pattern: &str, key: &str) -> bool {
        !matching(&topic_of([pattern]), key).0.is_empty()
    }

    /// As the specification says it, whatever it takes.
    fn matches_plainly(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, key) => key.is_none(),
            (Some((&"#", behind)), None) => matches_plainly(behind, key),
            (Some((&"#", behind)), Some((_, key_behind))) => {
                matches_plainly(behind, key) || matches_plainly(pattern, key_behind)
            }
            (Some(_), None) => false,
            (Some((&expected, behind)), Some((&word, key_behind))) => {
                (expected == "*" || expected == word) && matches_plainly(behind, key_behind)
            }
        }
    }

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
            ("#.*.#.*", "a", false),
            ("#.*.#.*", "a.b", true),
            ("#.a.#.b.#", "x.a.y.a.b", true),
            ("a..b", "a..b", true),
            ("a.*.b", "a..b", true),
            ("a", "a.", false),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(matches(pattern, key), *expected, "{pattern} {key}");
        }
    }

    const PATTERN_WORDS: [&str; 6] = ["a", "b", "", "*", "#", "#"];

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_plain_definition_whatever_is_bound_and_unbound(
            patterns in prop::collection::vec(
                prop::collection::vec(prop::sample::select(PATTERN_WORDS.to_vec()), 0..7),
                1..12,
            ),
            key in prop::collection::vec(prop::sample::select(vec!["a", "b", ""]), 0..7),
            kept in prop::collection::vec(any::<bool>(), 12),
        ) {
            let joined: Vec<String> = patterns.iter().map(|words| words.join(".")).collect();
            let mut topic = topic_of(joined.iter().map(String::as_str));
            for (number, pattern) in joined.iter().enumerate().filter(|(n, _)| !kept[*n]) {
                topic.remove(pattern.as_bytes(), &destination(number));
            }
            // One empty word and no word at all are written alike, and mean none.
            let words = |text: &[&'static str]| match text {
                [""] => Vec::new(),
                text => text.to_vec(),
            };
            let expected: BTreeSet<String> = patterns
                .iter()
                .enumerate()
                .filter(|(number, _)| kept[*number])
                .filter(|(_, pattern)| matches_plainly(&words(pattern), &words(&key)))
                .map(|(number, _)| number.to_string())
                .collect();
            prop_assert_eq!(matching(&topic, &key.join(".")).0, expected);
            for (number, pattern) in joined.iter().enumerate().filter(|(n, _)| kept[*n]) {
                topic.remove(pattern.as_bytes(), &destination(number));
            }
            prop_assert_eq!(topic.nodes.len(), 1);
        }
    }

    #[test]
    fn many_hashes_take_no_more_steps_than_one() {
        let key = ["a"; 128].join(".");
        for pattern in ["#.".repeat(127) + "z", "#.*.".repeat(63) + "z"] {
            let (found, step_count) = matching(&topic_of([pattern.as_str()]), &key);
            assert!(found.is_empty());
            assert!(step_count <= 2 * 128 + 1, "{step_count} steps");
        }
    }

    #[test]
    fn hostile_patterns_take_a_step_per_word_and_hash_at_most() {
        let hashes = "#.a.".repeat(63) + "z";
        let ends = (0..10_000).map(|number| format!("#.b.{number}.#"));
        let patterns: Vec<String> = ends.chain([hashes]).collect();
        let topic = topic_of(patterns.iter().map(String::as_str));
        let (found, step_count) = matching(&topic, &["a"; 128].join("."));
        assert!(found.is_empty());
        assert!(step_count <= 128 * 2 * 64, "{step_count} steps");
    }

    #[test]
    fn bindings_that_do_not_match_take_no_steps() {
        let others = (0..100_000).map(|number| format!("x{number}.#.y.*.{number}"));
        let patterns: Vec<String> = others.chain(["a.*.c".into()]).collect();
        let topic = topic_of(patterns.iter().map(String::as_str));
        let (found, step_count) = matching(&topic, "a.b.c");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["100000"]);
        assert_eq!(step_count, 3);
    }
}
