//! A thread beside those that measure, for connections beside those that call: idle ones, held
//! open and watched, and ones that come and go at a rate.

use super::connect::{Place, Seat};
use super::dial::Dialer;
use super::shared::{Clock, Shared};
use super::sockets::Sockets;
use crate::audit::{Audit, Outstanding};
use crate::client::{Fault, Standing, Tally};
use crate::recorder::{Recorder, new_histogram};
use broker::engine::time::Timestamp;
use broker::runtime::ring::Completion;
use hdrhistogram::Histogram;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Connections whose set-up is under way at once: the server's backlog is not to overflow.
const SETTING_UP_MAX: usize = 64;

/// Connections that come and go at once; when they are so many, the rate is not reached.
const VISITORS_MAX: usize = 256;

/// How often heartbeats and timeouts are looked at: with ten thousand idle ones, seldom.
const TICK: Duration = Duration::from_millis(500);

/// While something is under way, or may begin.
const POLL: Duration = Duration::from_millis(1);

/// For visitors to leave once the calls are over, and for goodbyes to be answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the thread has to tell at the end.
pub struct Bystanders {
    pub idle_count: u64,
    pub churn: Churn,
    pub tally: Tally,
}

/// Connections that came and went.
#[derive(Clone, Debug)]
pub struct Churn {
    pub opened_count: u64,
    pub closed_count: u64,
    /// Nanoseconds from the connect to the confirmed close, of those that got there.
    pub latency: Histogram<u64>,
    pub seconds: f64,
    /// Of the calls that they made.
    pub audit: Audit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Idle,
    Visitor { began: Timestamp, has_called: bool },
}

struct Thread {
    dialer: Arc<Dialer>,
    shared: Arc<Shared>,
    sockets: Sockets,
    /// By member.
    kinds: Vec<Kind>,
    /// Members whose socket is closed.
    free: Vec<usize>,
    /// Members that are over, while the ring holds their socket.
    leaving: Vec<usize>,
    setting_up_count: usize,
    ready_idle_count: u64,
    visitor_count: usize,
    tally: Tally,
    churn: Churn,
    next_tick: Timestamp,
}

/// Until the calls are over. Errors: a sentence for the user.
pub fn run(dialer: Arc<Dialer>, shared: Arc<Shared>) -> Result<Bystanders, String> {
    let result = Thread::new(dialer, Arc::clone(&shared)).and_then(Thread::run);
    result
        .inspect_err(|reason| shared.fail(reason.clone()))
        .map_err(|reason| format!("bystanders: {reason}"))
}

impl Thread {
    fn new(dialer: Arc<Dialer>, shared: Arc<Shared>) -> Result<Thread, String> {
        let recorder = Recorder::new(false, dialer.plan.interval);
        Ok(Thread {
            sockets: Sockets::new(Vec::new()).map_err(|error| ring_failed(&error))?,
            dialer,
            shared,
            kinds: Vec::new(),
            free: Vec::new(),
            leaving: Vec::new(),
            setting_up_count: 0,
            ready_idle_count: 0,
            visitor_count: 0,
            tally: Tally::new(recorder),
            churn: Churn {
                opened_count: 0,
                closed_count: 0,
                latency: new_histogram(),
                seconds: 0.0,
                audit: Audit::default(),
            },
            next_tick: Timestamp(0),
        })
    }

    fn run(mut self) -> Result<Bystanders, String> {
        self.open_idle()?;
        self.shared.set_bystanders_ready();
        while self.shared.start().is_none() && !self.shared.has_failed() {
            self.turn(POLL)?;
        }
        self.churn()?;
        self.say_goodbye()?;
        Ok(Bystanders {
            idle_count: self.ready_idle_count,
            churn: self.churn,
            tally: self.tally,
        })
    }

    fn open_idle(&mut self) -> Result<(), String> {
        let idle_count = self.dialer.plan.besides.idle_count;
        let mut opened_count = 0;
        while self.ready_idle_count < u64::from(idle_count) && !self.shared.has_failed() {
            while opened_count < idle_count && self.setting_up_count < SETTING_UP_MAX {
                let seat = self.dialer.seat(Place::Idle, self.now());
                self.take_in(seat?, Kind::Idle);
                opened_count += 1;
            }
            self.turn(POLL)?;
            if let Some(reason) = self.tally.errors.keys().next() {
                return Err(format!("an idle connection: {reason}"));
            }
        }
        Ok(())
    }

    /// While calls go on: as many a second as asked for, if they find room.
    fn churn(&mut self) -> Result<(), String> {
        let start = self.shared.start().unwrap_or(self.now());
        let gap_ns = self.dialer.plan.besides.churn.map(|per_s| 1e9 / per_s);
        while self.shared.is_calling() && !self.shared.has_failed() {
            let now = self.now();
            let mut wait = TICK;
            if let Some(gap_ns) = gap_ns {
                let due =
                    |count: u64| start.plus(Duration::from_nanos((count as f64 * gap_ns) as u64));
                while self.visitor_count < VISITORS_MAX
                    && due(self.churn.opened_count) <= self.now()
                {
                    self.open_visitor();
                }
                wait = due(self.churn.opened_count).since(now).min(TICK);
            }
            self.turn(wait.clamp(POLL / 10, POLL * 10))?;
        }
        self.churn.seconds = self.now().since(start).as_secs_f64();
        let end = self.now().plus(CLOSE_TIMEOUT);
        while self.visitor_count > 0 && self.now() < end {
            self.turn(POLL)?;
        }
        let late_count = self.visitor_count as u64;
        self.tally
            .count_error("a visitor that never got away", late_count);
        Ok(())
    }

    fn open_visitor(&mut self) {
        let began = self.now();
        let number = self.churn.opened_count;
        self.churn.opened_count += 1;
        match self.dialer.seat(Place::Visitor(number), began) {
            Ok(seat) => {
                self.visitor_count += 1;
                let has_called = !self.dialer.plan.besides.churn_calls;
                self.take_in(seat, Kind::Visitor { began, has_called });
            }
            Err(reason) => self.tally.count_error(&format!("churn: {reason}"), 1),
        }
    }

    fn say_goodbye(&mut self) -> Result<(), String> {
        for index in 0..self.sockets.members.len() {
            self.sockets.members[index].client.close(&mut self.tally);
            self.sockets.mark_dirty(index);
        }
        let end = self.now().plus(CLOSE_TIMEOUT);
        let is_over =
            |thread: &Thread| thread.sockets.members.iter().all(|member| member.is_over());
        while !is_over(self) && self.now() < end {
            self.turn(POLL * 5)?;
        }
        Ok(())
    }

    fn take_in(&mut self, seat: Seat, kind: Kind) {
        self.setting_up_count += 1;
        match self.free.pop() {
            Some(index) => {
                self.kinds[index] = kind;
                self.sockets.replace(index, seat);
            }
            None => {
                self.kinds.push(kind);
                self.sockets.add(seat);
            }
        }
    }

    fn turn(&mut self, wait: Duration) -> Result<(), String> {
        let turned = self.sockets.turn(wait, &self.shared.clock);
        turned.map_err(|error| ring_failed(&error))?;
        while let Some(completion) = self.sockets.ring.poll_completion() {
            self.handle_completion(completion);
        }
        let now = self.now();
        if now >= self.next_tick {
            self.next_tick = now.plus(TICK);
            self.handle_tick(now);
        }
        let members = &mut self.sockets.members;
        let free = &mut self.free;
        self.leaving.retain(|index| {
            let is_closed = members[*index].release_socket();
            if is_closed {
                free.push(*index);
            }
            !is_closed
        });
        Ok(())
    }

    fn handle_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Received {
                token,
                result,
                armed,
            } => {
                let index = token as usize;
                let now = self.now();
                let member = &mut self.sockets.members[index];
                member.is_receiving = armed;
                let handled = match result {
                    Ok(Some(received)) => {
                        let bytes = self.sockets.ring.bytes(&received);
                        let handled = member.client.handle_bytes(bytes, now, &mut self.tally);
                        self.sockets.ring.recycle(received);
                        handled
                    }
                    Ok(None) => Err(Fault::Disconnected),
                    Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Ok(()),
                    Err(error) => Err(socket_fault(&error)),
                };
                self.handle_progress(index, handled);
                if !armed && !self.sockets.members[index].is_over() {
                    self.sockets.receive(index);
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

    fn handle_tick(&mut self, now: Timestamp) {
        let timeout = self.dialer.plan.timeout;
        for index in 0..self.sockets.members.len() {
            let member = &mut self.sockets.members[index];
            if !member.is_over() {
                let handled = member.client.handle_deadline(now, timeout, &mut self.tally);
                self.handle_progress(index, handled);
            }
        }
    }

    /// A member has read something, or can read no more: the next thing that it is there for.
    fn handle_progress(&mut self, index: usize, handled: Result<(), Fault>) {
        let now = self.now();
        let member = &mut self.sockets.members[index];
        let was_over = member.is_closed_for_good;
        if let Err(fault) = handled {
            member.client.handle_fault(&fault, &mut self.tally);
        }
        match member.client.standing() {
            Standing::Ready => {
                if !member.is_ready {
                    member.is_ready = true;
                    self.setting_up_count -= 1;
                    self.ready_idle_count += u64::from(self.kinds[index] == Kind::Idle);
                }
                self.go_on(index, now);
            }
            Standing::Over if !was_over => self.handle_over(index, now),
            Standing::SettingUp | Standing::Closing | Standing::Over => {}
        }
        self.sockets.mark_dirty(index);
    }

    /// A visitor calls, if it is to, and leaves.
    fn go_on(&mut self, index: usize, now: Timestamp) {
        let Kind::Visitor { began, has_called } = self.kinds[index] else {
            return;
        };
        let client = &mut self.sockets.members[index].client;
        if !has_called && client.can_issue() {
            client.issue(Outstanding {
                intended: now,
                sent: now,
                // Its latency is not the load's.
                is_measured: false,
            });
            let has_called = true;
            self.kinds[index] = Kind::Visitor { began, has_called };
        } else if has_called && !client.is_busy() {
            client.close(&mut self.tally);
        }
    }

    fn handle_over(&mut self, index: usize, now: Timestamp) {
        let member = &mut self.sockets.members[index];
        member.is_closed_for_good = true;
        if !member.is_ready {
            self.setting_up_count -= 1;
        }
        if let Kind::Visitor { began, .. } = self.kinds[index] {
            self.visitor_count -= 1;
            if member.is_ready && member.client.is_closed_by_us() {
                self.churn.closed_count += 1;
                let latency = now.since(began).as_nanos() as u64;
                self.churn.latency.saturating_record(latency);
            }
            if let Some(audit) = member.client.audit() {
                self.churn.audit.add(audit);
            }
            self.leaving.push(index);
        }
    }

    fn now(&self) -> Timestamp {
        let clock: Clock = self.shared.clock;
        clock.now()
    }
}

fn ring_failed(error: &io::Error) -> String {
    format!("network ring: {error}")
}

fn socket_fault(error: &io::Error) -> Fault {
    Fault::Socket {
        text: error.to_string(),
    }
}
