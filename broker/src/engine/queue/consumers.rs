//! Who consumes from a queue, and whose turn it is within the highest priority: round robin, unless
//! `dispatch` has a say in it.
//!
//! A consumer that cannot take a message is parked and costs nothing until something changes for
//! it: an acknowledgement, a drained connection, a flow.

use super::super::address::ChannelAddress;
use super::super::name::Name;
use super::super::rules::Dispatch;
use super::super::time::Timestamp;
use super::dispatch::Work;
use slab::Slab;
use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

/// Names a consumer of one queue for as long as it consumes; `serial` is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerKey {
    index: u32,
    serial: u32,
}

#[derive(Debug)]
pub struct Consumer {
    pub channel: ChannelAddress,
    /// The channel's own index for it.
    pub handle: u32,
    pub tag: Name,
    pub no_ack: bool,
    pub exclusive: bool,
    pub priority: i32,
    /// Deliveries that may be unacknowledged; 0 is without limit.
    pub prefetch: u16,
    /// Its channel lives on another shard and has a prefetch over all its consumers: each delivery
    /// needs a token from there.
    pub is_limited: bool,
    pub token: Token,
    /// Octets on the way to its connection on another shard.
    pub transit_len: usize,
    pub(super) outstanding: u32,
    pub work: Work,
    is_parked: bool,
    serial: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    None,
    Asked,
    Held,
}

impl Consumer {
    pub fn new(channel: ChannelAddress, handle: u32, tag: Name) -> Consumer {
        Consumer {
            channel,
            handle,
            tag,
            no_ack: false,
            exclusive: false,
            priority: 0,
            prefetch: 0,
            is_limited: false,
            token: Token::None,
            transit_len: 0,
            outstanding: 0,
            work: Work::default(),
            is_parked: true,
            serial: 0,
        }
    }

    /// Its own limits allow one more; its connection has still to agree.
    #[inline]
    pub fn has_credit(&self, transit_len_max: usize) -> bool {
        (self.no_ack || self.prefetch == 0 || self.outstanding < u32::from(self.prefetch))
            && self.transit_len < transit_len_max
    }

    /// Deliveries that it has not acknowledged.
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }
}

/// Invariant: each consumer that is not parked is in exactly one ring, that of its priority. Where
/// there is one active consumer, all others are parked.
#[derive(Debug, Default)]
pub struct Consumers {
    pub(super) all: Slab<Consumer>,
    pub(super) turns: Turns,
    next_serial: u32,
    single_active: Option<SingleActive>,
    pub dispatch: Dispatch,
    pub(super) random: u64,
}

/// `x-single-active-consumer`: the one that has come first takes all turns until it leaves.
#[derive(Debug, Default)]
struct SingleActive {
    active: Option<ConsumerKey>,
    /// Who comes next, in the order in which they came.
    successors: VecDeque<ConsumerKey>,
}

/// Rings by priority.
///
/// Invariant: `highest` is above all `lower` ones, and empty only if there are none; no other is
/// empty. It stands by itself since nearly always it is the only one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) highest: Level,
    lower: BTreeMap<i32, VecDeque<ConsumerKey>>,
}

#[derive(Debug, Default)]
pub(super) struct Level {
    priority: i32,
    pub(super) ring: VecDeque<ConsumerKey>,
}

impl Turns {
    #[inline]
    fn next(&mut self) -> Option<ConsumerKey> {
        let ring = &mut self.highest.ring;
        let key = *ring.front()?;
        ring.rotate_left(1);
        Some(key)
    }

    /// One of those next in turn, by their places; it goes to the end of its ring.
    pub(super) fn next_at(&mut self, place: usize) -> Option<ConsumerKey> {
        let key = self.highest.ring.remove(place)?;
        self.highest.ring.push_back(key);
        Some(key)
    }

    fn remove(&mut self, priority: i32, key: ConsumerKey) {
        if self.highest.priority == priority {
            take_out(&mut self.highest.ring, key);
            if self.highest.ring.is_empty()
                && let Some((priority, ring)) = self.lower.pop_last()
            {
                self.highest = Level { priority, ring };
            }
        } else if let Entry::Occupied(mut level) = self.lower.entry(priority) {
            take_out(level.get_mut(), key);
            if level.get().is_empty() {
                level.remove();
            }
        }
    }

    fn push(&mut self, priority: i32, key: ConsumerKey) {
        let highest = &mut self.highest;
        if highest.ring.is_empty() {
            highest.priority = priority;
        }
        match priority.cmp(&highest.priority) {
            Ordering::Equal => highest.ring.push_back(key),
            Ordering::Less => self.lower.entry(priority).or_default().push_back(key),
            Ordering::Greater => {
                let ring = VecDeque::from([key]);
                let before = std::mem::replace(highest, Level { priority, ring });
                self.lower.insert(before.priority, before.ring);
            }
        }
    }

    fn levels(&self) -> impl Iterator<Item = (i32, &VecDeque<ConsumerKey>)> {
        let lower = self.lower.iter().map(|(priority, ring)| (*priority, ring));
        lower.chain([(self.highest.priority, &self.highest.ring)])
    }
}

fn take_out(ring: &mut VecDeque<ConsumerKey>, key: ConsumerKey) {
    // `next` has just put it last, which is the usual case.
    match ring.back() == Some(&key) {
        true => drop(ring.pop_back()),
        false => ring.retain(|other| *other != key),
    }
}

impl Consumers {
    pub fn new(single_active: bool) -> Consumers {
        Consumers {
            single_active: single_active.then(SingleActive::default),
            ..Consumers::default()
        }
    }

    pub fn is_single_active(&self) -> bool {
        self.single_active.is_some()
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Somebody consumes, and nobody else may.
    pub fn has_exclusive(&self) -> bool {
        // Who is exclusive is alone.
        self.all.len() == 1 && self.all.iter().any(|(_, consumer)| consumer.exclusive)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConsumerKey, &Consumer)> {
        self.all.iter().map(|(index, consumer)| {
            let index = u32::try_from(index).expect("given out as such");
            (
                ConsumerKey {
                    index,
                    serial: consumer.serial,
                },
                consumer,
            )
        })
    }

    pub fn add(&mut self, mut consumer: Consumer) -> ConsumerKey {
        consumer.serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = consumer.serial;
        let index = u32::try_from(self.all.insert(consumer)).expect("memory ends before keys do");
        let key = ConsumerKey { index, serial };
        match &mut self.single_active {
            Some(single) if single.active.is_some() => single.successors.push_back(key),
            Some(single) => single.active = Some(key),
            None => {}
        }
        self.unpark(key);
        key
    }

    pub fn remove(&mut self, key: ConsumerKey) -> Option<Consumer> {
        self.park(key);
        self.get(key)?;
        let removed = self.all.remove(key.index as usize);
        if let Some(single) = &mut self.single_active {
            match single.active == Some(key) {
                true => single.active = single.successors.pop_front(),
                false => single.successors.retain(|other| *other != key),
            }
            if let Some(active) = single.active {
                self.unpark(active);
            }
        }
        Some(removed)
    }

    #[inline]
    pub fn get(&self, key: ConsumerKey) -> Option<&Consumer> {
        self.all
            .get(key.index as usize)
            .filter(|consumer| consumer.serial == key.serial)
    }

    #[inline]
    pub fn get_mut(&mut self, key: ConsumerKey) -> Option<&mut Consumer> {
        self.all
            .get_mut(key.index as usize)
            .filter(|consumer| consumer.serial == key.serial)
    }

    /// Whose turn it is; it goes to the end of its ring.
    #[inline]
    #[allow(clippy::should_implement_trait)] // turns never end, and no adapter would make sense
    pub fn next(&mut self, now: Timestamp) -> Option<ConsumerKey> {
        match self.dispatch {
            Dispatch::RoundRobin => self.turns.next(),
            Dispatch::LeastOutstanding => self.next_idlest(),
            Dispatch::Fastest => self.next_fastest(now),
        }
    }

    /// Takes it out of turn until `unpark`.
    pub fn park(&mut self, key: ConsumerKey) {
        let Some(consumer) = self.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut consumer.is_parked, true) {
            return;
        }
        let priority = consumer.priority;
        self.turns.remove(priority, key);
    }

    /// Lets it take turns again, last.
    pub fn unpark(&mut self, key: ConsumerKey) {
        if let Some(single) = &self.single_active
            && single.active != Some(key)
        {
            return;
        }
        let Some(consumer) = self.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut consumer.is_parked, false) {
            return;
        }
        let priority = consumer.priority;
        self.turns.push(priority, key);
    }

    /// One more delivery of it awaits its acknowledgement.
    pub fn hand_out(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.get_mut(key) {
            consumer.outstanding += 1;
        }
    }

    /// One delivery of it has been settled. False: it consumes no more.
    pub fn settle(&mut self, key: ConsumerKey) -> bool {
        let Some(consumer) = self.get_mut(key) else {
            return false;
        };
        assert!(
            consumer.outstanding > 0,
            "only what was handed out is settled"
        );
        consumer.outstanding -= 1;
        self.unpark(key);
        true
    }

    pub fn invariants(&self) {
        let levels: Vec<_> = self.turns.levels().collect();
        assert!(levels.len() == 1 || levels.is_sorted_by(|a, b| a.0 < b.0));
        for (priority, ring) in &levels {
            assert!(levels.len() == 1 || !ring.is_empty());
            for key in *ring {
                let consumer = self.get(*key).expect("a ring holds only consumers");
                assert!(!consumer.is_parked && consumer.priority == *priority);
            }
        }
        let in_rings: usize = levels.iter().map(|(_, ring)| ring.len()).sum();
        assert_eq!(
            in_rings,
            self.iter()
                .filter(|(_, consumer)| !consumer.is_parked)
                .count()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(priority: i32) -> Consumer {
        let channel = ChannelAddress {
            shard: 0,
            channel: 1,
            slot: 0,
            generation: 0,
        };
        Consumer {
            priority,
            prefetch: 1,
            ..Consumer::new(channel, 0, Name::from("tag"))
        }
    }

    fn has_credit(consumer: &Consumer) -> bool {
        consumer.has_credit(1)
    }

    #[test]
    fn turns_go_round_within_the_highest_priority() {
        let mut consumers = Consumers::default();
        let low = consumers.add(consumer(0));
        let a = consumers.add(consumer(5));
        let b = consumers.add(consumer(5));
        let turns: Vec<_> = (0..4)
            .filter_map(|_| consumers.next(Timestamp(0)))
            .collect();
        assert_eq!(turns, [a, b, a, b]);
        consumers.park(a);
        consumers.park(b);
        assert_eq!(consumers.next(Timestamp(0)), Some(low));
        consumers.unpark(b);
        assert_eq!(consumers.next(Timestamp(0)), Some(b));
        consumers.invariants();
    }

    #[test]
    fn a_single_active_consumer_takes_all_turns_until_it_leaves() {
        let mut consumers = Consumers::new(true);
        let first = consumers.add(consumer(0));
        let second = consumers.add(consumer(9));
        let third = consumers.add(consumer(0));
        consumers.unpark(third);
        let turns: Vec<_> = (0..2)
            .filter_map(|_| consumers.next(Timestamp(0)))
            .collect();
        assert_eq!(turns, [first, first]);
        consumers.park(first);
        assert_eq!(consumers.next(Timestamp(0)), None);
        consumers.remove(second);
        consumers.remove(first);
        consumers.invariants();
        assert_eq!(consumers.next(Timestamp(0)), Some(third));
        consumers.remove(third);
        assert_eq!(consumers.next(Timestamp(0)), None);
    }

    #[test]
    fn a_removed_consumer_is_not_mistaken_for_its_successor() {
        let mut consumers = Consumers::default();
        let first = consumers.add(consumer(0));
        consumers.hand_out(first);
        assert!(consumers.remove(first).is_some());
        let second = consumers.add(consumer(0));
        assert!(!consumers.settle(first));
        assert!(consumers.get(first).is_none());
        assert!(consumers.get(second).is_some_and(has_credit));
        consumers.invariants();
    }

    #[test]
    fn prefetch_ends_the_credit_and_an_acknowledgement_gives_it_back() {
        let mut consumers = Consumers::default();
        let key = consumers.add(consumer(0));
        consumers.hand_out(key);
        assert!(!consumers.get(key).is_some_and(has_credit));
        assert!(consumers.settle(key));
        assert!(consumers.get(key).is_some_and(has_credit));
    }
}
