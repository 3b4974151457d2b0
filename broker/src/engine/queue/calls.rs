//! What a queue knows of the followed calls whose requests it has been given.
//!
//! A call ends at its caller's shard, perhaps while its request waits: what waits then is of no use
//! to anybody and is passed over, or swept out together with others.

use super::super::address::{CallAddress, CallToken, ChannelAddress};
use super::super::name::Name;
use super::super::time::Timestamp;
use super::consumers::ConsumerKey;
use std::collections::BTreeMap;

#[derive(Debug)]
struct Request {
    /// The call ends if nobody consumes.
    errors: bool,
    /// Its call has ended.
    is_over: bool,
    whereabouts: Whereabouts,
    record: Record,
}

/// What is known of a call besides.
#[derive(Debug)]
pub struct Record {
    /// When the broker had the request.
    pub began: Timestamp,
    /// When a worker got it last.
    pub handed_at: Option<Timestamp>,
    /// How many calls it stands for.
    pub weight: u32,
    /// Kept if they may be wanted.
    pub marks: Option<Box<Marks>>,
}

/// What people recognise a call by.
#[derive(Debug)]
pub struct Marks {
    pub correlation_id: Name,
    /// Empty if it has none.
    pub traceparent: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Waiting,
    HandedOut(Worker),
}

/// Who has a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    pub channel: ChannelAddress,
    /// `None` for basic.get.
    pub consumer: Option<ConsumerKey>,
    /// It comes back unless it is acknowledged.
    pub is_held: bool,
}

/// A call that has ended, once.
#[derive(Debug)]
pub struct Ended {
    /// Who had its request when it did.
    pub worker: Option<Worker>,
    pub record: Record,
}

/// How many calls there are, by what they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Underway {
    pub waiting_count: u64,
    pub worker_count: u64,
    pub oldest: Option<Timestamp>,
}

/// Requests by their calls; one that is not here is a message like any other.
///
/// Invariant: `over_count` counts those that wait and are over, `errors_count` those that wait, are
/// not over, and end if nobody consumes.
#[derive(Debug, Default)]
pub struct Calls {
    requests: BTreeMap<CallAddress, Request>,
    over_count: usize,
    errors_count: usize,
}

impl Request {
    fn is_waiting(&self) -> bool {
        self.whereabouts == Whereabouts::Waiting
    }

    fn worker(&self) -> Option<Worker> {
        match self.whereabouts {
            Whereabouts::Waiting => None,
            Whereabouts::HandedOut(worker) => Some(worker),
        }
    }
}

impl Record {
    /// Of a request that no worker has had.
    pub fn of(token: &CallToken, marks: Option<Box<Marks>>) -> Record {
        Record {
            began: token.began,
            handed_at: None,
            weight: token.weight,
            marks,
        }
    }

    fn take(&mut self) -> Record {
        Record {
            marks: self.marks.take(),
            ..*self
        }
    }
}

impl Calls {
    /// Those whose calls have not ended.
    pub fn count(&self) -> usize {
        let requests = self.requests.values();
        requests.filter(|request| !request.is_over).count()
    }

    /// The same by where they are, with the oldest.
    pub fn underway(&self) -> Underway {
        let mut underway = Underway::default();
        for request in self.requests.values().filter(|request| !request.is_over) {
            let count = match request.whereabouts {
                Whereabouts::Waiting => &mut underway.waiting_count,
                Whereabouts::HandedOut(_) => &mut underway.worker_count,
            };
            *count += u64::from(request.record.weight);
            let began = request.record.began;
            underway.oldest = Some(underway.oldest.map_or(began, |oldest| oldest.min(began)));
        }
        underway
    }

    /// Those that a consumer has, by looking at all.
    pub fn count_at(&self, consumer: ConsumerKey) -> usize {
        let requests = self.requests.values().filter(|request| !request.is_over);
        let workers = requests.filter_map(Request::worker);
        workers
            .filter(|worker| worker.consumer == Some(consumer))
            .count()
    }

    /// Requests that wait though their calls have ended.
    pub fn over_count(&self) -> usize {
        self.over_count
    }

    /// Does a call wait that ends if nobody consumes?
    pub fn has_hopeless(&self) -> bool {
        self.errors_count > 0
    }

    /// Has the call not ended yet?
    pub fn knows(&self, call: CallAddress) -> bool {
        self.requests.contains_key(&call)
    }

    /// A new request waits, or is about to be handed out.
    pub fn add(&mut self, token: &CallToken, marks: Option<Box<Marks>>) {
        let request = Request {
            errors: token.errors,
            is_over: false,
            whereabouts: Whereabouts::Waiting,
            record: Record::of(token, marks),
        };
        self.errors_count += usize::from(token.errors);
        let before = self.requests.insert(token.call, request);
        assert!(before.is_none(), "a call has one request");
    }

    /// A request that waited goes to a worker.
    pub fn handed_out(&mut self, call: CallAddress, to: Worker, now: Timestamp) {
        self.leave_waiting(call);
        if let Some(request) = self.requests.get_mut(&call) {
            request.whereabouts = Whereabouts::HandedOut(to);
            request.record.handed_at = Some(now);
        }
    }

    /// Has the call of a request that is coming back ended? If so it is forgotten.
    pub fn is_done_with(&mut self, call: CallAddress) -> bool {
        let request = self.requests.get(&call);
        let is_over = request.is_some_and(|request| request.is_over);
        if is_over {
            self.requests.remove(&call);
        }
        is_over
    }

    /// A request that was handed out waits again. Says who had it.
    pub fn came_back(&mut self, call: CallAddress) -> Option<Worker> {
        let request = self.requests.get_mut(&call)?;
        let worker = request.worker();
        request.whereabouts = Whereabouts::Waiting;
        self.errors_count += usize::from(request.errors);
        worker
    }

    /// The worker has acknowledged the request, and may still answer it.
    pub fn acknowledged(&mut self, call: CallAddress) {
        let Some(request) = self.requests.get_mut(&call) else {
            return;
        };
        if request.is_over {
            self.requests.remove(&call);
        } else if let Whereabouts::HandedOut(worker) = &mut request.whereabouts {
            worker.is_held = false;
        }
    }

    /// The call has ended; its request is not to be handed out any more. `None`: it had ended.
    pub fn end(&mut self, call: CallAddress) -> Option<Ended> {
        self.leave_waiting(call);
        let request = self.requests.get_mut(&call)?;
        if std::mem::replace(&mut request.is_over, true) {
            return None;
        }
        let ended = Ended {
            worker: request.worker(),
            record: request.record.take(),
        };
        match ended.worker {
            None => self.over_count += 1,
            Some(Worker { is_held: true, .. }) => {}
            Some(_) => drop(self.requests.remove(&call)),
        }
        Some(ended)
    }

    /// The call has ended, and its request goes its way like any other message. `None`: it had
    /// ended.
    pub fn forget(&mut self, call: CallAddress) -> Option<Ended> {
        if self.requests.get(&call)?.is_over {
            return None;
        }
        self.leave_waiting(call);
        let mut request = self.requests.remove(&call)?;
        Some(Ended {
            worker: request.worker(),
            record: request.record.take(),
        })
    }

    /// The queue gives the request up. `None`: its call had ended.
    pub fn given_up(&mut self, call: CallAddress) -> Option<Ended> {
        self.leave_waiting(call);
        let mut request = self.requests.remove(&call)?;
        (!request.is_over).then(|| Ended {
            worker: request.worker(),
            record: request.record.take(),
        })
    }

    /// Is this request, in front of those that wait, of no use to anybody? If so it is forgotten.
    pub fn passes_over(&mut self, call: CallAddress) -> bool {
        let is_over = self.is_over(call);
        if is_over {
            self.requests.remove(&call);
            self.over_count -= 1;
        }
        is_over
    }

    /// Does this request wait though its call has ended?
    pub fn is_over(&self, call: CallAddress) -> bool {
        let request = self.requests.get(&call);
        request.is_some_and(|request| request.is_over && request.is_waiting())
    }

    /// Nobody consumes: takes the calls that end for it.
    pub fn take_hopeless(&mut self) -> Vec<(CallAddress, Record)> {
        let waiting = self.requests.iter();
        let hopeless = waiting
            .filter(|(_, request)| request.errors && request.is_waiting() && !request.is_over);
        let hopeless: Vec<CallAddress> = hopeless.map(|(call, _)| *call).collect();
        let ended = hopeless.into_iter().map(|call| {
            let ended = self.end(call).expect("it has not ended");
            (call, ended.record)
        });
        ended.collect()
    }

    /// Nothing waits any more: takes the calls whose requests did and that have not ended.
    pub fn take_waiting(&mut self) -> Vec<(CallAddress, Record)> {
        let mut calls = Vec::new();
        self.requests.retain(|call, request| {
            if request.is_waiting() && !request.is_over {
                calls.push((*call, request.record.take()));
            }
            !request.is_waiting()
        });
        (self.over_count, self.errors_count) = (0, 0);
        calls
    }

    /// Takes the calls whose requests would come back from their workers, and those that end
    /// without a word if their workers do.
    pub fn take_worked_on(&mut self) -> Vec<(Worker, CallAddress)> {
        let mut taken = Vec::new();
        self.requests.retain(|call, request| {
            let is_taken = |worker: &Worker| worker.is_held || !request.errors;
            let worker = request.worker().filter(is_taken);
            taken.extend(worker.map(|worker| (worker, *call)));
            worker.is_none()
        });
        taken
    }

    /// The request waits no more, or soon will not.
    fn leave_waiting(&mut self, call: CallAddress) {
        if let Some(request) = self.requests.get(&call)
            && request.is_waiting()
            && request.errors
            && !request.is_over
        {
            self.errors_count -= 1;
        }
    }

    pub fn invariants(&self) {
        let waiting = || {
            self.requests
                .values()
                .filter(|request| request.is_waiting())
        };
        let over_count = waiting().filter(|request| request.is_over).count();
        let errors_count = waiting()
            .filter(|request| request.errors && !request.is_over)
            .count();
        assert_eq!(self.over_count, over_count);
        assert_eq!(self.errors_count, errors_count);
    }
}
