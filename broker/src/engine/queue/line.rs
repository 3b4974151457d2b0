//! Messages that wait in the order of their positions, and lines of them by priority.

use super::Queued;
use super::blocks::Blocks;
use crate::engine::time::Timestamp;
use std::collections::BTreeMap;

/// Invariant: `ready` ascends by position; no position is in both.
#[derive(Debug, Default)]
pub struct Line {
    ready: Blocks,
    /// Those that came back, by position. Apart from `ready`, so that many at once cost no more
    /// than few.
    returned: BTreeMap<u64, Queued>,
}

impl Line {
    fn len(&self) -> usize {
        self.ready.len() + self.returned.len()
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.returned.is_empty()
    }

    /// The message with the lowest position.
    fn front(&self) -> Option<&Queued> {
        match (self.returned.first_key_value(), self.ready.front()) {
            (Some((position, _)), Some(ready)) if *position > ready.place.sequence => Some(ready),
            (Some((_, returned)), _) => Some(returned),
            (None, ready) => ready,
        }
    }

    fn pop(&mut self) -> Option<Queued> {
        match (self.returned.first_entry(), self.ready.front()) {
            (Some(returned), Some(ready)) if *returned.key() > ready.place.sequence => {
                self.ready.pop_front()
            }
            (Some(returned), _) => Some(returned.remove()),
            (None, _) => self.ready.pop_front(),
        }
    }

    fn retain(&mut self, mut is_kept: impl FnMut(&Queued) -> bool) {
        self.returned.retain(|_, queued| is_kept(queued));
        self.ready.retain(is_kept);
    }

    fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.ready.iter().chain(self.returned.values())
    }

    fn invariants(&self) {
        self.ready.invariants();
        let ascends = |a: &Queued, b: &Queued| a.place.sequence < b.place.sequence;
        assert!(self.ready.iter().is_sorted_by(|a, b| ascends(a, b)));
        assert!(
            self.returned
                .iter()
                .all(|(at, queued)| *at == queued.place.sequence)
        );
    }
}

/// The messages of a queue that wait.
#[derive(Debug)]
pub enum Waiting {
    InOrder(Line),
    /// A line for each priority from 0. What is asked of all costs a look at each line.
    ByPriority(Box<[Line]>),
}

impl Waiting {
    /// `priority_max`: the highest of a queue that has priorities.
    pub fn new(priority_max: Option<u8>) -> Waiting {
        match priority_max {
            None => Waiting::InOrder(Line::default()),
            Some(max) => Waiting::ByPriority((0..=max).map(|_| Line::default()).collect()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Waiting::InOrder(line) => line.len(),
            Waiting::ByPriority(lines) => lines.iter().map(Line::len).sum(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            Waiting::InOrder(line) => line.is_empty(),
            Waiting::ByPriority(lines) => lines.iter().all(Line::is_empty),
        }
    }

    /// A message with a position behind all others of its priority.
    #[inline]
    pub fn push(&mut self, queued: Queued) {
        self.line_mut(queued.place.priority).ready.push_back(queued);
    }

    /// A message that returns to its position.
    pub fn put_back(&mut self, queued: Queued) {
        let line = self.line_mut(queued.place.priority);
        line.returned.insert(queued.place.sequence, queued);
    }

    /// The first of the highest priority.
    pub fn pop(&mut self) -> Option<Queued> {
        match self {
            Waiting::InOrder(line) => line.pop(),
            Waiting::ByPriority(lines) => lines.iter_mut().rev().find_map(Line::pop),
        }
    }

    /// What `pop` would give.
    pub fn front(&self) -> Option<&Queued> {
        match self {
            Waiting::InOrder(line) => line.front(),
            Waiting::ByPriority(lines) => lines.iter().rev().find_map(Line::front),
        }
    }

    /// Drops what is not kept, at the price of looking at all.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&Queued) -> bool) {
        match self {
            Waiting::InOrder(line) => line.retain(is_kept),
            Waiting::ByPriority(lines) => {
                lines.iter_mut().for_each(|line| line.retain(&mut is_kept));
            }
        }
    }

    /// A message in front of its line whose time is over.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<Queued> {
        let is_over = |line: &Line| {
            line.front()
                .is_some_and(|queued| queued.place.expires_at <= now)
        };
        match self {
            Waiting::InOrder(line) => is_over(line).then(|| line.pop()).flatten(),
            Waiting::ByPriority(lines) => {
                let line = lines.iter_mut().find(|line| is_over(line));
                line.and_then(Line::pop)
            }
        }
    }

    /// When the time of the message that is in front of its line is over, of the earliest of all
    /// lines. As in RabbitMQ what is behind has to wait for what is in front.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let expiry = |line: &Line| line.front().map(|queued| queued.place.expires_at);
        let next = match self {
            Waiting::InOrder(line) => expiry(line),
            Waiting::ByPriority(lines) => lines.iter().filter_map(expiry).min(),
        };
        next.filter(|expires_at| *expires_at < Timestamp::NEVER)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.lines().iter().flat_map(Line::iter)
    }

    pub fn invariants(&self) {
        for (priority, line) in self.lines().iter().enumerate() {
            line.invariants();
            let is_here = |queued: &Queued| usize::from(queued.place.priority) == priority;
            assert!(line.iter().all(is_here));
        }
    }

    fn lines(&self) -> &[Line] {
        match self {
            Waiting::InOrder(line) => std::slice::from_ref(line),
            Waiting::ByPriority(lines) => lines,
        }
    }

    #[inline]
    fn line_mut(&mut self, priority: u8) -> &mut Line {
        match self {
            Waiting::InOrder(line) => line,
            Waiting::ByPriority(lines) => &mut lines[usize::from(priority)],
        }
    }
}
