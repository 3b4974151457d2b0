//! One thread: its connections, its ring, its share of the calls.

mod faults;

use super::alarms::Alarms;
use super::connect::{Place, Seat, requesters_before};
use super::member::Member;
use super::processor::own_thread_id;
use super::shared::Shared;
use super::sockets::Sockets;
use crate::audit::{Audit, Outstanding};
use crate::client::{Fault, Server, Standing, Tally};
use crate::pacer::{Pacing, Schedule, Share, Thinkers};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::supply::{Supply, Ticket};
use broker::engine::time::Timestamp;
use broker::runtime::ring::Completion;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use faults::Faults;

/// How often timeouts, heartbeats and the end of the run are looked at.
const TICK: Duration = Duration::from_millis(100);

/// While connections are set up, and while one thread waits for another: short, as nothing on
/// the ring tells of it.
const POLL: Duration = Duration::from_millis(1);

/// After the last reply: a second copy of it would come at once.
const LINGER: Duration = Duration::from_millis(50);

/// For the server to confirm our goodbyes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Twice as often as the progress line shows it.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// What one thread has to tell at the end.
pub struct Outcome {
    pub tally: Tally,
    pub audit: Audit,
    pub server: Option<Server>,
    /// With a rate: calls that had fallen due and found no room in flight until the end.
    pub unsent_count: u64,
}

pub struct Crew {
    index: usize,
    sockets: Sockets,
    shared: Arc<Shared>,
    timeout: Duration,
    shows_progress: bool,
    /// Indices of the members that call.
    requesters: Vec<usize>,
    tally: Tally,
    supply: Supply,
    pacing: Pacing,
    /// In a run whose workers take their time.
    alarms: Option<Box<Alarms>>,
    in_flight: usize,
    next_tick: Timestamp,
    next_progress: Timestamp,
    /// The supply has nothing left: what is in flight is all that is waited for.
    is_draining: bool,
    unsent_count: u64,
    /// Between the first call and the last reply of this thread.
    is_calling: bool,
    /// When the last turn ended, and how much of the time no turn brought anything, though none
    /// of it was slept.
    turned: Timestamp,
    spun_ns: u64,
    spin: Duration,
    /// In a run that kills.
    faults: Option<Box<Faults>>,
}

impl Crew {
    pub fn new(
        index: usize,
        seats: Vec<Seat>,
        plan: &Plan,
        shared: Arc<Shared>,
        shows_progress: bool,
    ) -> io::Result<Crew> {
        let requesters: Vec<usize> = (0..seats.len())
            .filter(|seat| matches!(seats[*seat].place, Place::Requester(_)))
            .collect();
        let mut members: Vec<Member> = seats.into_iter().map(Member::new).collect();
        for (turn, index) in requesters.iter().enumerate() {
            members[*index].turn = turn;
        }
        let supply = Supply::new(
            Arc::clone(&shared.stock),
            plan.warmup,
            plan.amount,
            plan.thread_count,
        );
        Ok(Crew {
            index,
            sockets: Sockets::new(members)?,
            shared,
            timeout: plan.timeout,
            shows_progress,
            requesters,
            tally: Tally::new(Recorder::new(plan.pace.is_some(), plan.interval)),
            supply,
            pacing: Pacing::Closed,
            alarms: plan.shape.service.as_ref().map(|_| Box::default()),
            in_flight: plan.in_flight as usize,
            next_tick: Timestamp(0),
            next_progress: Timestamp(0),
            is_draining: false,
            unsent_count: 0,
            is_calling: false,
            turned: Timestamp(0),
            spun_ns: 0,
            spin: plan.spin,
            faults: None,
        })
    }

    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = Some(Box::new(faults));
    }

    /// The whole life of the thread. Errors: the ring failed.
    pub fn run(mut self, plan: &Plan) -> io::Result<Outcome> {
        let thread_id = &self.shared.gauges[self.index].thread_id;
        thread_id.store(own_thread_id(), Ordering::Relaxed);
        if let Some(start) = self.set_up()? {
            self.begin(plan, start);
            self.call_all()?;
            self.await_restarted()?;
            self.linger(LINGER)?;
        }
        self.say_goodbye()?;
        Ok(self.finish())
    }

    /// Until every connection of every thread is ready; `None` if one of them cannot be.
    fn set_up(&mut self) -> io::Result<Option<Timestamp>> {
        loop {
            if self.shared.has_failed() {
                return Ok(None);
            }
            if let Some(start) = self.shared.start() {
                return Ok(Some(start));
            }
            self.turn(POLL)?;
        }
    }

    fn begin(&mut self, plan: &Plan, start: Timestamp) {
        self.supply.set_start(start);
        self.tally.recorder.series.set_start(start);
        let share = Share {
            requester_count: self.requesters.len() as u32,
            requesters_before: requesters_before(self.index, plan),
            requester_count_total: plan.requester_count,
        };
        self.pacing = match (plan.pace, &plan.shape.think) {
            _ if share.requester_count == 0 => Pacing::Closed,
            (Some(pace), _) => Pacing::Open(Schedule::new(start, pace, share)),
            (None, Some(times)) => {
                let seed = plan.seed.wrapping_add(u64::from(share.requesters_before));
                let requester_count = self.requesters.len();
                let thinkers = Thinkers::new(times.clone(), seed, self.in_flight, requester_count);
                Pacing::Thinking(thinkers)
            }
            (None, None) => Pacing::Closed,
        };
        self.next_progress = start.plus(PROGRESS_INTERVAL);
        if let Some(faults) = &mut self.faults {
            faults.begin(&self.sockets.members, plan, start);
        }
    }

    /// From the first call of this thread to the last one of all threads.
    fn call_all(&mut self) -> io::Result<()> {
        let start = self.shared.start().expect("the set-up has waited for it");
        while let now = self.shared.clock.now()
            && now < start
        {
            self.turn(start.since(now))?;
        }
        self.is_calling = true;
        for requester in 0..self.requesters.len() {
            self.issue_ready(self.requesters[requester]);
        }
        while self.shared.is_calling() && !self.shared.has_failed() {
            let wait = self.wait();
            self.turn(wait)?;
            if self.is_calling && self.is_drained() {
                self.is_calling = false;
                self.shared.finish_calling();
            }
        }
        Ok(())
    }

    fn linger(&mut self, duration: Duration) -> io::Result<()> {
        let end = self.shared.clock.now().plus(duration);
        while let now = self.shared.clock.now()
            && now < end
        {
            self.turn(end.since(now).min(TICK))?;
        }
        Ok(())
    }

    fn say_goodbye(&mut self) -> io::Result<()> {
        for index in 0..self.sockets.members.len() {
            self.sockets.members[index].client.close(&mut self.tally);
            self.sockets.mark_dirty(index);
        }
        let end = self.shared.clock.now().plus(CLOSE_TIMEOUT);
        while self.shared.clock.now() < end && !self.sockets.members.iter().all(Member::is_over) {
            self.turn(POLL)?;
        }
        Ok(())
    }

    fn finish(self) -> Outcome {
        Outcome {
            audit: self.audit(),
            server: self
                .sockets
                .members
                .first()
                .and_then(|member| member.client.server().cloned()),
            unsent_count: self.unsent_count,
            tally: self.tally,
        }
    }

    /// One turn: send what is ready, wait, handle what came.
    fn turn(&mut self, wait: Duration) -> io::Result<()> {
        self.sockets.turn(wait, &self.shared.clock)?;
        let mut is_vain = wait.is_zero();
        while let Some(completion) = self.sockets.ring.poll_completion() {
            is_vain = false;
            self.handle_completion(completion);
        }
        let now = self.shared.clock.now();
        is_vain &= !self.issue_due(now);
        is_vain &= !self.handle_alarms(now);
        if is_vain {
            self.spun_ns += now.since(self.turned).as_nanos() as u64;
        }
        self.turned = now;
        if self.faults.is_some() {
            self.make_faults(now);
        }
        if now >= self.next_tick {
            self.handle_tick(now);
        }
        let gauge = &self.shared.gauges[self.index];
        let returned_count = self.tally.returned_count;
        gauge
            .returned_count
            .store(returned_count, Ordering::Relaxed);
        gauge.spun_ns.store(self.spun_ns, Ordering::Relaxed);
        Ok(())
    }

    fn wait(&self) -> Duration {
        let now = self.shared.clock.now();
        let limit = if self.is_draining || self.faults.is_some() {
            POLL
        } else {
            self.next_tick.since(now)
        };
        let call_due = self.pacing.next_due().filter(|_| !self.is_draining);
        let alarm_due = self.alarms.as_ref().and_then(|alarms| alarms.next_due());
        [call_due, alarm_due]
            .into_iter()
            .flatten()
            .map(|due| due.since(now).saturating_sub(self.spin))
            .fold(limit, Duration::min)
    }

    fn handle_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Received {
                token,
                result,
                armed,
            } => {
                let index = token as usize;
                match result {
                    Ok(Some(received)) => {
                        let now = self.shared.clock.now();
                        let bytes = self.sockets.ring.bytes(&received);
                        let client = &mut self.sockets.members[index].client;
                        let handled = client.handle_bytes(bytes, now, &mut self.tally);
                        self.sockets.ring.recycle(received);
                        self.handle_progress(index, handled);
                    }
                    Ok(None) => self.handle_progress(index, Err(Fault::Disconnected)),
                    // The receive ran out of buffers; they are back by the next turn.
                    Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {}
                    Err(error) => self.handle_progress(index, Err(socket_fault(&error))),
                }
                if !armed {
                    self.sockets.members[index].is_receiving = false;
                    if !self.sockets.members[index].is_over() {
                        self.sockets.receive(index);
                    }
                }
            }
            Completion::Sent {
                token,
                buffer,
                result,
            } => {
                let index = token as usize;
                if let Some(result) = self.sockets.handle_sent(index, buffer, result) {
                    self.handle_progress(index, result.map_err(|error| socket_fault(&error)));
                }
            }
            // It accepts nothing, is rung by nobody, and sends in one piece.
            _ => {}
        }
    }

    /// A member has read something, or can read no more.
    fn handle_progress(&mut self, index: usize, handled: Result<(), Fault>) {
        let member = &mut self.sockets.members[index];
        if let Err(fault) = handled {
            if !member.is_ready {
                self.shared.fail(format!("{}: {fault}", member.name));
            }
            // Other threads may have said goodbye already, and a relay hangs up on both of a pair.
            if !self.shared.is_calling() {
                member.client.expect_end();
            }
            member.client.handle_fault(&fault, &mut self.tally);
        }
        if !member.is_ready && member.client.standing() == Standing::Ready {
            member.is_ready = true;
            self.shared.add_ready(1);
        }
        if let Some(alarms) = &mut self.alarms
            && let Some(due) = member.client.next_due()
            && !member.is_over()
        {
            alarms.set(index, due);
        }
        if self.is_calling {
            self.issue_ready(index);
        }
        self.sockets.mark_dirty(index);
    }

    /// Issues what the member may have in flight, as far as calls are left (and, with a rate, have
    /// fallen due).
    fn issue_ready(&mut self, index: usize) {
        let member = &mut self.sockets.members[index];
        if self.is_draining || !member.client.can_issue() {
            return;
        }
        let now = self.shared.clock.now();
        let is_paced = !matches!(self.pacing, Pacing::Closed);
        while member.client.can_issue() {
            let intended = match member.due.front() {
                Some(intended) => *intended,
                None if is_paced => break,
                None => now,
            };
            let Some(ticket) = self.supply.take(now) else {
                self.start_draining();
                return;
            };
            member.due.pop_front();
            member.client.issue(Outstanding {
                intended,
                sent: now,
                is_measured: ticket == Ticket::Measured,
            });
        }
        if let Pacing::Thinking(thinkers) = &mut self.pacing {
            let busy_count = member.client.in_flight() + member.due.len();
            thinkers.rest(member.turn, busy_count, now);
        }
        self.sockets.mark_dirty(index);
    }

    /// Has members send what only time sets off. True if some did.
    fn handle_alarms(&mut self, now: Timestamp) -> bool {
        let mut has_acted = false;
        while let Some(alarms) = &mut self.alarms
            && let Some(index) = alarms.poll(now)
        {
            has_acted = true;
            let client = &mut self.sockets.members[index].client;
            client.handle_due(now, &mut self.tally);
            // The dead send nothing: their alarms would come again at once.
            if let Some(due) = client.next_due().filter(|due| *due > now) {
                alarms.set(index, due);
            }
            self.sockets.mark_dirty(index);
        }
        has_acted
    }

    /// Issues what the schedule has let fall due. True if something has.
    fn issue_due(&mut self, now: Timestamp) -> bool {
        let mut has_acted = false;
        while !self.is_draining
            && let Some((turn, intended)) = self.pacing.poll_arrival(now)
        {
            has_acted = true;
            let index = self.requesters[turn];
            let member = &mut self.sockets.members[index];
            if self.supply.is_measuring() {
                // What finds no room waits for the server; what finds some waited for us.
                if member.due.is_empty() && member.client.can_issue() {
                    self.tally.recorder.record_lag(intended, now);
                } else {
                    self.tally.recorder.held_back_count += 1;
                }
            }
            member.due.push_back(intended);
            self.issue_ready(index);
        }
        has_acted
    }

    fn handle_tick(&mut self, now: Timestamp) {
        self.next_tick = now.plus(TICK.min(self.timeout / 4).max(POLL));
        for index in 0..self.sockets.members.len() {
            let member = &mut self.sockets.members[index];
            if member.is_over() {
                continue;
            }
            let handled = member
                .client
                .handle_deadline(now, self.timeout, &mut self.tally);
            self.handle_progress(index, handled);
        }
        if self.is_calling && self.supply.is_over(now) {
            self.start_draining();
        }
        // Seconds without a reply are to be seen as such.
        if self.is_calling && !self.is_draining && !self.tally.recorder.series.is_empty() {
            self.tally.recorder.series.advance(now);
        }
        let gauge = &self.shared.gauges[self.index];
        gauge
            .error_count
            .store(self.tally.errors.values().sum(), Ordering::Relaxed);
        if self.shows_progress && self.is_calling && now >= self.next_progress {
            self.next_progress = now.plus(PROGRESS_INTERVAL);
            self.show_books();
        }
    }

    fn show_books(&self) {
        let recorder = &self.tally.recorder;
        self.shared.gauges[self.index].show_books(|books| {
            books.latency.clone_from(&recorder.since_intended);
            books.lag.clone_from(&recorder.lag);
            books.audit = self.audit();
            let members = self.sockets.members.iter();
            books.in_flight = members.map(|member| member.client.in_flight() as u64).sum();
        });
    }

    fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        let members = self.sockets.members.iter();
        for requester_audit in members.filter_map(|member| member.client.audit()) {
            audit.add(requester_audit);
        }
        audit
    }

    /// No call will follow; those that are due but never found room stay unsent.
    fn start_draining(&mut self) {
        if self.is_draining {
            return;
        }
        self.is_draining = true;
        self.shared.start_draining();
        let waits = |member: &&Member| member.client.in_flight() > 0 && !member.client.can_issue();
        let unsent = |member: &Member| member.due.len() as u64;
        self.unsent_count = self.sockets.members.iter().filter(waits).map(unsent).sum();
    }

    /// No call of this thread is in flight or to come.
    fn is_drained(&self) -> bool {
        let is_idle = |index: &usize| {
            let member = &self.sockets.members[*index];
            !member.client.is_busy() && (self.is_draining || (member.is_over() && !member.returns))
        };
        // `all` stops at the first requester as long as calls go on.
        self.requesters.iter().all(is_idle)
    }
}

fn socket_fault(error: &io::Error) -> Fault {
    Fault::Socket {
        text: error.to_string(),
    }
}
