//! Mailboxes between shards: one bounded ring for each ordered pair of shards and lane. It moves
//! mail by value, looks into none, and knows neither sockets nor doorbells, only who must be rung.
//!
//! Two promises hang on one pattern (write yours, fence, read theirs): mail never waits in front
//! of a sleeping shard, and neither does a sender behind a mailbox that has room again.

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Mails of one lane of a pair, as long as there are few shards.
const MAILBOX_COUNT_MAX: usize = 1024;
const MAILBOX_COUNT_MIN: usize = 128;

/// Pairs grow with the square of the shards: each shard's mailboxes stay within this many mails.
const MAILS_PER_SHARD_MAX: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Urgent,
    Ordinary,
}

impl Lane {
    /// In the order in which they are served.
    pub const ALL: [Lane; 2] = [Lane::Urgent, Lane::Ordinary];
}

/// What a shard shows to the others; only its owner sets these, others only clear `asleep`.
/// Alone in its cache lines, since neighbours look at it after every batch.
#[repr(align(128))]
struct Presence {
    asleep: AtomicBool,
    /// Per neighbour: has mail for it that found its mailbox full. Means something while asleep.
    wants_room: Box<[AtomicBool]>,
}

/// One shard's ends of all its mailboxes.
pub struct Mailboxes<M> {
    index: u16,
    presences: Arc<[Presence]>,
    /// By shard; `None` for ourselves.
    neighbours: Vec<Option<Neighbour<M>>>,
}

struct Neighbour<M> {
    /// By lane.
    outgoing: [Outgoing<M>; 2],
    incoming: [Consumer<M>; 2],
    has_new_mail: bool,
    has_new_room: bool,
}

struct Outgoing<M> {
    producer: Producer<M>,
    /// The last `send` left mail behind.
    is_blocked: bool,
}

impl<M> Mailboxes<M> {
    /// The mailboxes of `count` shards, in order.
    pub fn for_shards(count: u16) -> Vec<Mailboxes<M>> {
        let share = MAILS_PER_SHARD_MAX / usize::from(count);
        Self::with_capacity(count, share.clamp(MAILBOX_COUNT_MIN, MAILBOX_COUNT_MAX))
    }

    /// The same with room for `capacity` mails in each.
    pub fn with_capacity(count: u16, capacity: usize) -> Vec<Mailboxes<M>> {
        let presence = || Presence {
            asleep: AtomicBool::new(false),
            wants_room: (0..count).map(|_| AtomicBool::new(false)).collect(),
        };
        let presences: Arc<[Presence]> = (0..count).map(|_| presence()).collect();
        let mut shards: Vec<Mailboxes<M>> = (0..count)
            .map(|index| Mailboxes {
                index,
                presences: Arc::clone(&presences),
                neighbours: (0..count).map(|_| None).collect(),
            })
            .collect();
        for low in 0..usize::from(count) {
            for high in low + 1..usize::from(count) {
                let (up, from_low) = mailbox_pair(capacity);
                let (down, from_high) = mailbox_pair(capacity);
                shards[low].neighbours[high] = Some(Neighbour::new(up, from_high));
                shards[high].neighbours[low] = Some(Neighbour::new(down, from_low));
            }
        }
        shards
    }

    pub fn index(&self) -> u16 {
        self.index
    }

    pub fn count(&self) -> u16 {
        u16::try_from(self.neighbours.len()).expect("made from a u16")
    }

    /// Moves mail from the front of `outbox` as far as there is room; whether any was moved.
    pub fn send(&mut self, to: u16, lane: Lane, outbox: &mut VecDeque<M>) -> bool {
        let Some(neighbour) = &mut self.neighbours[usize::from(to)] else {
            return false;
        };
        let count = outbox.len();
        let outgoing = &mut neighbour.outgoing[lane as usize];
        while let Some(mail) = outbox.pop_front() {
            if let Err(PushError::Full(mail)) = outgoing.producer.push(mail) {
                outbox.push_front(mail);
                break;
            }
        }
        outgoing.is_blocked = !outbox.is_empty();
        let has_moved = outbox.len() < count;
        neighbour.has_new_mail |= has_moved;
        has_moved
    }

    pub fn receive(&mut self, from: u16, lane: Lane) -> Option<M> {
        let neighbour = self.neighbours[usize::from(from)].as_mut()?;
        let mail = neighbour.incoming[lane as usize].pop().ok()?;
        neighbour.has_new_room = true;
        Some(mail)
    }

    /// Whether this neighbour sleeps and what was sent to it or received from it since the last
    /// call concerns it: ring it. It has been marked awake, so nobody else rings it.
    #[must_use]
    pub fn must_ring(&mut self, neighbour_index: u16) -> bool {
        let Some(neighbour) = &mut self.neighbours[usize::from(neighbour_index)] else {
            return false;
        };
        let has_new_mail = std::mem::take(&mut neighbour.has_new_mail);
        let has_new_room = std::mem::take(&mut neighbour.has_new_room);
        if !has_new_mail && !has_new_room {
            return false;
        }
        let presence = &self.presences[usize::from(neighbour_index)];
        // Pairs with the fence in `try_sleep`: either we see it asleep, or it sees our work.
        fence(Ordering::SeqCst);
        let wants_room = || presence.wants_room[usize::from(self.index)].load(Ordering::Relaxed);
        (has_new_mail || has_new_room && wants_room())
            && presence.asleep.load(Ordering::Relaxed)
            && presence.asleep.swap(false, Ordering::Relaxed)
    }

    /// Announces that we are about to block. False: there is work after all, do not block.
    #[must_use]
    pub fn try_sleep(&mut self) -> bool {
        let presence = &self.presences[usize::from(self.index)];
        for (neighbour, wants_room) in self.neighbours.iter().zip(&presence.wants_room) {
            let is_blocked = neighbour.as_ref().is_some_and(Neighbour::is_blocked);
            wants_room.store(is_blocked, Ordering::Relaxed);
        }
        presence.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.neighbours.iter().flatten().any(Neighbour::has_work) {
            self.wake();
            return false;
        }
        true
    }

    /// After blocking: no doorbell is needed until the next `try_sleep`.
    pub fn wake(&mut self) {
        let presence = &self.presences[usize::from(self.index)];
        presence.asleep.store(false, Ordering::Relaxed);
    }
}

impl<M> Neighbour<M> {
    fn new(outgoing: [Producer<M>; 2], incoming: [Consumer<M>; 2]) -> Neighbour<M> {
        Neighbour {
            outgoing: outgoing.map(|producer| Outgoing {
                producer,
                is_blocked: false,
            }),
            incoming,
            has_new_mail: false,
            has_new_room: false,
        }
    }

    fn is_blocked(&self) -> bool {
        self.outgoing.iter().any(|outgoing| outgoing.is_blocked)
    }

    fn has_work(&self) -> bool {
        let has_room = |outgoing: &Outgoing<M>| outgoing.is_blocked && !outgoing.producer.is_full();
        self.incoming.iter().any(|incoming| !incoming.is_empty())
            || self.outgoing.iter().any(has_room)
    }
}

fn mailbox_pair<M>(capacity: usize) -> ([Producer<M>; 2], [Consumer<M>; 2]) {
    let (urgent_in, urgent_out) = RingBuffer::new(capacity);
    let (ordinary_in, ordinary_out) = RingBuffer::new(capacity);
    ([urgent_in, ordinary_in], [urgent_out, ordinary_out])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    /// Far beyond what any wait here needs: only a lost wake-up meets it.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn mail_arrives_in_order_and_lanes_are_apart() {
        let mut shards = Mailboxes::with_capacity(2, 4);
        let (mut one, mut zero) = (shards.pop().unwrap(), shards.pop().unwrap());
        zero.send(1, Lane::Ordinary, &mut VecDeque::from([10, 11]));
        zero.send(1, Lane::Urgent, &mut VecDeque::from([1]));
        assert_eq!(one.receive(0, Lane::Urgent), Some(1));
        assert_eq!(one.receive(0, Lane::Urgent), None);
        assert_eq!(one.receive(0, Lane::Ordinary), Some(10));
        assert_eq!(one.receive(0, Lane::Ordinary), Some(11));
    }

    #[test]
    fn a_full_mailbox_leaves_the_mail_with_its_sender_who_is_rung_when_there_is_room() {
        let mut shards = Mailboxes::with_capacity(2, 2);
        let (mut one, mut zero) = (shards.pop().unwrap(), shards.pop().unwrap());
        let mut outbox = VecDeque::from([1, 2, 3]);
        zero.send(1, Lane::Urgent, &mut outbox);
        assert_eq!(outbox, [3]);
        assert!(zero.try_sleep());
        assert!(!one.must_ring(0), "nothing happened for it");
        assert_eq!(one.receive(0, Lane::Urgent), Some(1));
        assert!(one.must_ring(0));
        assert!(!one.must_ring(0), "once");
        assert!(!zero.try_sleep(), "there is room");
        zero.send(1, Lane::Urgent, &mut outbox);
        assert!(outbox.is_empty() && zero.try_sleep());
        assert_eq!(one.receive(0, Lane::Urgent), Some(2));
        assert!(!one.must_ring(0), "it waits for no room");
    }

    #[test]
    fn only_a_sleeping_neighbour_is_rung_and_only_once() {
        let mut shards = Mailboxes::with_capacity(3, 4);
        let mut two = shards.pop().unwrap();
        let (mut one, mut zero) = (shards.pop().unwrap(), shards.pop().unwrap());
        zero.send(2, Lane::Urgent, &mut VecDeque::from([1]));
        assert!(!zero.must_ring(2), "it is awake");
        assert!(!two.try_sleep(), "there is mail");
        assert_eq!(two.receive(0, Lane::Urgent), Some(1));
        assert!(two.try_sleep());
        zero.send(2, Lane::Urgent, &mut VecDeque::from([2]));
        one.send(2, Lane::Urgent, &mut VecDeque::from([3]));
        assert!(zero.must_ring(2));
        assert!(!one.must_ring(2));
        assert!(!zero.must_ring(1));
    }

    #[test]
    fn a_lone_shard_has_nobody_to_wait_for() {
        let mut lone = Mailboxes::<u32>::for_shards(1).pop().unwrap();
        assert!(lone.try_sleep());
        assert!(!lone.must_ring(0));
        assert_eq!(lone.receive(0, Lane::Urgent), None);
    }

    /// Sends `count` numbers on each lane to the other one, as its mailboxes allow, until all of
    /// the other's have come; `thread::park` stands in for the ring, whose doorbells are as
    /// sticky.
    fn exchange(mut mailboxes: Mailboxes<u32>, count: u32, other: &Thread) -> u64 {
        let to = 1 - mailboxes.index();
        let mut outboxes = [VecDeque::new(), VecDeque::new()];
        let (mut next, mut due, mut sleep_count) = ([0; 2], [0; 2], 0);
        while due != [count; 2] || next != [count; 2] || outboxes.iter().any(|o| !o.is_empty()) {
            for lane in Lane::ALL {
                let at = lane as usize;
                while next[at] < count && outboxes[at].len() < 5 {
                    outboxes[at].push_back(next[at]);
                    next[at] += 1;
                }
                mailboxes.send(to, lane, &mut outboxes[at]);
                // Fewer than fit, so that mailboxes are met full and empty.
                for _ in 0..2 {
                    if let Some(number) = mailboxes.receive(to, lane) {
                        assert_eq!(number, due[at]);
                        due[at] += 1;
                    }
                }
            }
            if mailboxes.must_ring(to) {
                other.unpark();
            }
            let more_to_make = (0..2).any(|at| next[at] < count && outboxes[at].is_empty());
            let is_done = due == [count; 2] && outboxes.iter().all(VecDeque::is_empty);
            if !more_to_make && !is_done && mailboxes.try_sleep() {
                let start = Instant::now();
                thread::park_timeout(PATIENCE);
                assert!(start.elapsed() < PATIENCE, "a wake-up was lost");
                sleep_count += 1;
                mailboxes.wake();
            }
        }
        sleep_count
    }

    #[test]
    fn a_million_mails_cross_both_ways_and_no_wake_up_is_lost() {
        for capacity in [1, 3] {
            let mut shards = Mailboxes::with_capacity(2, capacity);
            let (one, zero) = (shards.pop().unwrap(), shards.pop().unwrap());
            let here = thread::current();
            let (tell, told) = mpsc::channel::<Thread>();
            let neighbour = thread::spawn(move || {
                tell.send(thread::current()).unwrap();
                exchange(one, 125_000, &here)
            });
            let sleep_count = exchange(zero, 125_000, &told.recv().unwrap());
            let sleep_count = sleep_count + neighbour.join().unwrap();
            assert!(
                sleep_count > 100,
                "slept only {sleep_count} times: nothing was proven"
            );
        }
    }
}
