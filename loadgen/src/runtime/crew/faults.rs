//! Kills this thread's workers and requesters at random, at the rates asked for, and seats those
//! that come back.

use super::{Crew, POLL};
use crate::client::Standing;
use crate::plan::Plan;
use crate::runtime::connect::{Place, Seat};
use crate::runtime::dial::Dialer;
use crate::runtime::member::Member;
use crate::runtime::restart::{Order, Restarted};
use broker::engine::time::Timestamp;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{io, mem};

/// For those to come back whose part another thread would miss at the end.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Faults {
    dialer: Arc<Dialer>,
    orders: Sender<Order>,
    restarted: Receiver<Restarted>,
    reply: Sender<Restarted>,
    random: Random,
    workers: Kills,
    requesters: Kills,
    /// Killed members whose socket the ring has not let go of.
    dying: Vec<usize>,
    /// Back already, while the dead one's socket is in use yet.
    waiting: Vec<(usize, Seat)>,
}

/// When to kill the next of some members.
struct Kills {
    members: Vec<usize>,
    /// `None`: never.
    mean_gap_ns: Option<f64>,
    next: Option<Timestamp>,
}

impl Faults {
    pub fn new(dialer: &Arc<Dialer>, orders: Sender<Order>, index: usize) -> Faults {
        let (reply, restarted) = channel();
        Faults {
            dialer: Arc::clone(dialer),
            orders,
            restarted,
            reply,
            random: Random::new(u64::from(dialer.run) << 16 | index as u64),
            workers: Kills::none(),
            requesters: Kills::none(),
            dying: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// The members are known, the calls begin: each thread has its share of the kills.
    pub fn begin(&mut self, members: &[Member], plan: &Plan, start: Timestamp) {
        let besides = &plan.besides;
        let indices = |is_requester: bool| -> Vec<usize> {
            let is_such = |index: &usize| {
                matches!(members[*index].place, Place::Requester(_)) == is_requester
            };
            (0..members.len()).filter(is_such).collect()
        };
        self.workers = Kills::new(indices(false), besides.kill_workers, plan.worker_count);
        self.requesters = Kills::new(indices(true), besides.kill_requesters, plan.requester_count);
        for kills in [&mut self.workers, &mut self.requesters] {
            kills.schedule(start, &mut self.random);
        }
    }
}

impl Kills {
    fn none() -> Kills {
        Kills::new(Vec::new(), None, 1)
    }

    fn new(members: Vec<usize>, per_s: Option<f64>, member_count_total: u32) -> Kills {
        let share = members.len() as f64 / f64::from(member_count_total);
        let mean_gap_ns = per_s
            .filter(|_| !members.is_empty())
            .map(|per_s| 1e9 / (per_s * share));
        Kills {
            members,
            mean_gap_ns,
            next: None,
        }
    }

    fn schedule(&mut self, after: Timestamp, random: &mut Random) {
        self.next = self.mean_gap_ns.map(|mean_gap_ns| {
            // Poisson, so that kills fall at any point of a call.
            let gap_ns = -(1.0 - random.fraction()).ln() * mean_gap_ns;
            after.plus(Duration::from_nanos(gap_ns as u64))
        });
    }

    /// The member to kill by `now`.
    fn poll(&mut self, now: Timestamp, random: &mut Random) -> Option<usize> {
        let due = self.next.filter(|next| *next <= now)?;
        self.schedule(due, random);
        Some(self.members[random.below(self.members.len())])
    }
}

impl Crew {
    /// Once a turn, in a run with faults.
    pub fn make_faults(&mut self, now: Timestamp) {
        let Some(mut faults) = self.faults.take() else {
            return;
        };
        // Nobody is killed once the last calls are awaited: they shall come to an end.
        let is_on = self.shared.is_calling() && !self.shared.is_draining();
        while is_on && let Some(index) = faults.workers.poll(now, &mut faults.random) {
            self.kill(index, &mut faults, now);
        }
        while is_on && let Some(index) = faults.requesters.poll(now, &mut faults.random) {
            self.kill(index, &mut faults, now);
        }
        let members = &mut self.sockets.members;
        faults
            .dying
            .retain(|index| !members[*index].release_socket());
        while let Ok(restarted) = faults.restarted.try_recv() {
            match restarted.seat {
                Ok(seat) => faults.waiting.push((restarted.index, seat)),
                Err(reason) => {
                    self.sockets.members[restarted.index].returns = false;
                    self.tally.count_error(&format!("restart: {reason}"), 1);
                }
            }
        }
        for (index, seat) in mem::take(&mut faults.waiting) {
            if self.sockets.members[index].has_socket() {
                faults.waiting.push((index, seat));
            } else {
                self.take_back(index, seat);
            }
        }
        self.faults = Some(faults);
    }

    /// One that was killed is back: a requester with its books and the calls that are due.
    fn take_back(&mut self, index: usize, mut seat: Seat) {
        let killed = &mut self.sockets.members[index];
        seat.client.succeed(&mut killed.client);
        let (turn, due) = (killed.turn, mem::take(&mut killed.due));
        self.sockets.replace(index, seat);
        let member = &mut self.sockets.members[index];
        (member.turn, member.due) = (turn, due);
        // Its place in the set-up was counted when it was new.
        member.is_ready = true;
    }

    /// Who was killed last comes back to delete its queues.
    pub fn await_restarted(&mut self) -> io::Result<()> {
        let end = self.shared.clock.now().plus(RESTART_TIMEOUT);
        let is_away =
            |member: &Member| member.returns || member.client.standing() == Standing::SettingUp;
        while self.faults.is_some()
            && self.sockets.members.iter().any(is_away)
            && self.shared.clock.now() < end
        {
            self.turn(POLL)?;
        }
        Ok(())
    }

    fn kill(&mut self, index: usize, faults: &mut Faults, now: Timestamp) {
        let member = &mut self.sockets.members[index];
        if member.client.standing() != Standing::Ready {
            return;
        }
        match member.place {
            Place::Worker(_) => self.tally.kills.workers += 1,
            Place::Requester(_) => self.tally.kills.requesters += 1,
            Place::Idle | Place::Visitor(_) => {}
        }
        if let Some(casualties) = &faults.dialer.casualties {
            casualties.record(member.client.queues_answered().iter(), now);
        }
        let order = Order {
            at: now.plus(faults.dialer.plan.besides.restart_after),
            place: member.place,
            index,
            reply: faults.reply.clone(),
        };
        // Some of what would have gone out next still goes: a frame may end in its middle.
        let sent_share = faults.random.fraction();
        let is_reset = faults.random.below(2) == 0;
        member.kill(sent_share, is_reset, now);
        self.sockets.cancel_receive(index);
        // The thread that takes orders outlives all crews, but for a panic of its own.
        self.sockets.members[index].returns = faults.orders.send(order).is_ok();
        faults.dying.push(index);
    }
}

/// xorshift64*: plenty for choosing whom and when.
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Random {
        Random {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1, without 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.fraction() * count as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_come_at_the_rate_asked_for_and_choose_among_all() {
        let mut random = Random::new(7);
        // Two of four members at 100/s: 50/s here.
        let mut kills = Kills::new(vec![3, 5], Some(100.0), 4);
        kills.schedule(Timestamp(0), &mut random);
        let now = Timestamp(100_000_000_000);
        let mut counts = [0, 0];
        while let Some(index) = kills.poll(now, &mut random) {
            counts[usize::from(index == 5)] += 1;
        }
        let total: i32 = counts.iter().sum();
        assert!((4700..5300).contains(&total), "{total}");
        assert!(counts.iter().all(|count| *count > 2200), "{counts:?}");
    }

    #[test]
    fn nobody_is_killed_if_nobody_asked() {
        let mut random = Random::new(7);
        let mut kills = Kills::new(vec![1], None, 1);
        kills.schedule(Timestamp(0), &mut random);
        assert_eq!(kills.poll(Timestamp(u64::MAX), &mut random), None);
    }
}
