//! A queue's messages that are the requests of followed calls.

use super::{Queue, Queued};
use crate::engine::address::{CallAddress, CallToken, ChannelAddress};

impl Queue {
    /// The request of a call comes, to wait or to be handed out at once.
    pub fn add_request(&mut self, token: &CallToken) {
        let calls = self.calls.get_or_insert_default();
        calls.add(token.call, token.errors);
    }

    /// A request goes to a worker.
    pub fn request_handed_out(&mut self, call: CallAddress, to: ChannelAddress, is_held: bool) {
        if let Some(calls) = &mut self.calls {
            calls.handed_out(call, to, is_held);
        }
    }

    /// The call has ended, and nobody shall be bothered with its request. Says who has it.
    pub fn end_request(&mut self, call: CallAddress) -> Option<ChannelAddress> {
        let worker = self.calls.as_mut()?.end(call);
        self.tidy_up();
        worker
    }

    /// The call has ended, and its request goes its way like any other message. Says who has it.
    pub fn forget_request(&mut self, call: CallAddress) -> Option<ChannelAddress> {
        self.calls.as_mut()?.forget(call)
    }

    /// The queue gives the request up. True: its call has not ended yet.
    pub fn request_given_up(&mut self, call: CallAddress) -> bool {
        let calls = self.calls.as_mut();
        calls.is_some_and(|calls| calls.given_up(call))
    }

    /// Does a call wait for a consumer and none is there?
    pub fn has_hopeless_calls(&self) -> bool {
        let calls = self.calls.as_ref();
        calls.is_some_and(|calls| calls.has_hopeless()) && self.consumers.is_empty()
    }

    /// Takes those calls, and drops their requests.
    pub fn take_hopeless_calls(&mut self) -> Vec<CallAddress> {
        let calls = self.calls.as_mut();
        let hopeless = calls.map_or(Vec::new(), |calls| calls.take_hopeless());
        self.tidy_up();
        hopeless
    }

    /// Takes the calls that wait. Their requests are about to be dropped.
    pub fn take_waiting_calls(&mut self) -> Vec<CallAddress> {
        let calls = self.calls.as_mut();
        calls.map_or(Vec::new(), |calls| calls.take_waiting())
    }

    /// Those whose workers have yet to acknowledge them, and who that is.
    pub fn take_held_requests(&mut self) -> Vec<(ChannelAddress, CallAddress)> {
        let calls = self.calls.as_mut();
        calls.map_or(Vec::new(), |calls| calls.take_held())
    }

    /// Requests whose calls have not ended, by looking at all.
    pub fn request_count(&self) -> usize {
        self.calls.as_ref().map_or(0, |calls| calls.count())
    }

    pub(super) fn calls_over(&self) -> usize {
        self.calls.as_ref().map_or(0, |calls| calls.over_count())
    }

    #[cold]
    pub(super) fn request_acknowledged(&mut self, queued: &Queued) {
        if let Some(token) = queued.message.content().call()
            && let Some(calls) = &mut self.calls
        {
            calls.acknowledged(token.call);
        }
    }

    /// Has the call of a request that is coming back ended? If so it is done with.
    #[cold]
    pub(super) fn is_done_with(&mut self, queued: &Queued) -> bool {
        match (queued.message.content().call(), &mut self.calls) {
            (Some(token), Some(calls)) => calls.is_done_with(token.call),
            _ => false,
        }
    }

    /// A request that was handed out waits again.
    #[cold]
    pub(super) fn request_came_back(&mut self, queued: &Queued) {
        if let Some(token) = queued.message.content().call()
            && let Some(calls) = &mut self.calls
        {
            calls.came_back(token.call);
        }
    }

    /// Is the message, which has just left those that wait, of no use to anybody?
    pub(super) fn is_over(&mut self, queued: &Queued) -> bool {
        match (queued.message.content().call(), &mut self.calls) {
            (Some(token), Some(calls)) => calls.passes_over(token.call),
            _ => false,
        }
    }

    /// What `pop` does where calls are known.
    #[cold]
    pub(super) fn pop_request(&mut self) -> Option<Queued> {
        let queued = self.waiting.pop()?;
        self.forget_waiting(&queued);
        self.pass_over();
        Some(queued)
    }

    /// What `acknowledge` does where calls are known.
    #[cold]
    pub(super) fn acknowledge_request(&mut self, key: u32) {
        let queued = self.release(key);
        self.request_acknowledged(&queued);
    }

    /// Drops requests of calls that have ended, so that the message in front is none.
    #[inline]
    pub(super) fn pass_over(&mut self) {
        if self.calls_over() > 0 {
            self.pop_over();
        }
    }

    #[cold]
    fn pop_over(&mut self) {
        while let Some(queued) = self.waiting.front().cloned()
            && self.is_over(&queued)
        {
            self.waiting.pop();
            self.forget_waiting(&queued);
        }
    }

    /// Requests of ended calls never make up more than half of what waits.
    fn tidy_up(&mut self) {
        if 2 * self.calls_over() > self.waiting.len() {
            self.sweep();
        } else {
            self.pass_over();
        }
    }

    fn sweep(&mut self) {
        let Some(calls) = &mut self.calls else {
            return;
        };
        let mut swept = Vec::new();
        self.waiting.retain(|queued| {
            let token = queued.message.content().call();
            let is_over = token.is_some_and(|token| calls.passes_over(token.call));
            if is_over {
                swept.push(queued.clone());
            }
            !is_over
        });
        swept.iter().for_each(|queued| self.forget_waiting(queued));
    }

    pub(super) fn request_invariants(&self) {
        let Some(calls) = &self.calls else {
            return;
        };
        calls.invariants();
        let is_over = |queued: &&Queued| {
            let token = queued.message.content().call();
            token.is_some_and(|token| calls.is_over(token.call))
        };
        let over = self.waiting.iter().filter(is_over);
        assert_eq!(over.count(), self.calls_over());
        assert!(!self.waiting.front().as_ref().is_some_and(is_over));
    }
}
