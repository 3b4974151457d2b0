//! What a queue knows of the followed calls whose requests it has been given.
//!
//! A call ends at its caller's shard, perhaps while its request waits: what waits then is of no use
//! to anybody and is passed over, or swept out together with others.

use super::super::address::{CallAddress, ChannelAddress};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Request {
    /// The call ends if nobody consumes.
    errors: bool,
    /// Its call has ended.
    is_over: bool,
    whereabouts: Whereabouts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Waiting,
    HandedOut {
        to: ChannelAddress,
        /// It comes back unless it is acknowledged.
        is_held: bool,
    },
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
}

impl Calls {
    /// Those whose calls have not ended.
    pub fn count(&self) -> usize {
        let requests = self.requests.values();
        requests.filter(|request| !request.is_over).count()
    }

    /// Requests that wait though their calls have ended.
    pub fn over_count(&self) -> usize {
        self.over_count
    }

    /// Does a call wait that ends if nobody consumes?
    pub fn has_hopeless(&self) -> bool {
        self.errors_count > 0
    }

    /// A new request waits, or is about to be handed out.
    pub fn add(&mut self, call: CallAddress, errors: bool) {
        let request = Request {
            errors,
            is_over: false,
            whereabouts: Whereabouts::Waiting,
        };
        self.errors_count += usize::from(errors);
        let before = self.requests.insert(call, request);
        assert!(before.is_none(), "a call has one request");
    }

    /// A request that waited goes to a worker.
    pub fn handed_out(&mut self, call: CallAddress, to: ChannelAddress, is_held: bool) {
        self.leave_waiting(call);
        if let Some(request) = self.requests.get_mut(&call) {
            request.whereabouts = Whereabouts::HandedOut { to, is_held };
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

    /// A request that was handed out waits again.
    pub fn came_back(&mut self, call: CallAddress) {
        if let Some(request) = self.requests.get_mut(&call) {
            request.whereabouts = Whereabouts::Waiting;
            self.errors_count += usize::from(request.errors);
        }
    }

    /// The worker has acknowledged the request, and may still answer it.
    pub fn acknowledged(&mut self, call: CallAddress) {
        let Some(request) = self.requests.get_mut(&call) else {
            return;
        };
        if request.is_over {
            self.requests.remove(&call);
        } else if let Whereabouts::HandedOut { is_held, .. } = &mut request.whereabouts {
            *is_held = false;
        }
    }

    /// The call has ended; its request is not to be handed out any more. Says who has it.
    pub fn end(&mut self, call: CallAddress) -> Option<ChannelAddress> {
        self.leave_waiting(call);
        let request = self.requests.get_mut(&call)?;
        if std::mem::replace(&mut request.is_over, true) {
            return None;
        }
        match request.whereabouts {
            Whereabouts::Waiting => {
                self.over_count += 1;
                None
            }
            Whereabouts::HandedOut { to, is_held } => {
                if !is_held {
                    self.requests.remove(&call);
                }
                Some(to)
            }
        }
    }

    /// The call has ended, and its request goes its way like any other message. Says who has it.
    pub fn forget(&mut self, call: CallAddress) -> Option<ChannelAddress> {
        if self.requests.get(&call)?.is_over {
            return None;
        }
        self.leave_waiting(call);
        match self.requests.remove(&call)?.whereabouts {
            Whereabouts::Waiting => None,
            Whereabouts::HandedOut { to, .. } => Some(to),
        }
    }

    /// The queue gives the request up. True: its call has not ended yet.
    pub fn given_up(&mut self, call: CallAddress) -> bool {
        self.leave_waiting(call);
        let request = self.requests.remove(&call);
        request.is_some_and(|request| !request.is_over)
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
    pub fn take_hopeless(&mut self) -> Vec<CallAddress> {
        let waiting = self.requests.iter();
        let hopeless = waiting
            .filter(|(_, request)| request.errors && request.is_waiting() && !request.is_over);
        let hopeless: Vec<CallAddress> = hopeless.map(|(call, _)| *call).collect();
        for call in &hopeless {
            self.end(*call);
        }
        hopeless
    }

    /// Nothing waits any more: takes the calls whose requests did and that have not ended.
    pub fn take_waiting(&mut self) -> Vec<CallAddress> {
        let mut calls = Vec::new();
        self.requests.retain(|call, request| {
            if request.is_waiting() && !request.is_over {
                calls.push(*call);
            }
            !request.is_waiting()
        });
        (self.over_count, self.errors_count) = (0, 0);
        calls
    }

    /// Takes the calls whose requests would come back from their workers.
    pub fn take_held(&mut self) -> Vec<(ChannelAddress, CallAddress)> {
        let mut held = Vec::new();
        self.requests
            .retain(|call, request| match request.whereabouts {
                Whereabouts::HandedOut { to, is_held: true } => {
                    held.push((to, *call));
                    false
                }
                _ => true,
            });
        held
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
