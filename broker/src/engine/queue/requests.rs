//! A queue's messages that are the requests of followed calls.

use super::calls::{Ended, Marks, Record, Underway, Worker};
use super::{Queue, Queued};
use crate::engine::address::{CallAddress, CallKey, CallToken};
use crate::engine::name::Name;
use crate::engine::time::Timestamp;

impl Queue {
    /// The request of a call comes, to wait or to be handed out at once.
    pub fn add_request(&mut self, token: &CallToken, marks: Option<Box<Marks>>) {
        let calls = self.calls.get_or_insert_default();
        calls.add(token, marks);
    }

    /// A request goes to a worker. False: its call has been forgotten.
    pub fn request_handed_out(&mut self, call: CallAddress, to: Worker, now: Timestamp) -> bool {
        let Some(calls) = self.calls.as_mut().filter(|calls| calls.knows(call)) else {
            return false;
        };
        calls.handed_out(call, to, now);
        if let Some(consumer) = to.consumer {
            self.consumers.call_began(consumer, now);
        }
        true
    }

    /// The call has ended, and nobody shall be bothered with its request. `None`: it had ended.
    pub fn end_request(&mut self, call: CallAddress) -> Option<Ended> {
        let ended = self.calls.as_mut()?.end(call);
        self.tidy_up();
        ended
    }

    /// The call has ended, and its request goes its way like any other message. `None`: it had
    /// ended.
    pub fn forget_request(&mut self, call: CallAddress) -> Option<Ended> {
        self.calls.as_mut()?.forget(call)
    }

    /// The queue gives the request up. `None`: its call had ended.
    pub fn request_given_up(&mut self, call: CallAddress) -> Option<Ended> {
        self.calls.as_mut()?.given_up(call)
    }

    /// The reply of a call is to come here.
    pub fn await_reply(&mut self, correlation_id: Name, call: CallKey) {
        self.awaited.insert((correlation_id, call));
    }

    #[inline]
    pub fn awaits_replies(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Which call has a message with this correlation id for its reply?
    pub fn reply_of(&self, correlation_id: &[u8]) -> Option<CallKey> {
        let from = (Name::from(correlation_id), CallKey::MIN);
        let (id, call) = self.awaited.range(from..).next()?;
        (id.as_bytes() == correlation_id).then_some(*call)
    }

    /// The call is over.
    pub fn await_no_more(&mut self, correlation_id: &Name, call: CallKey) {
        self.awaited.remove(&(correlation_id.clone(), call));
    }

    /// How many calls wait and are with workers, and since when.
    pub fn underway(&self) -> Underway {
        let calls = self.calls.as_ref();
        calls.map_or(Underway::default(), |calls| calls.underway())
    }

    /// Does a call wait for a consumer and none is there?
    pub fn has_hopeless_calls(&self) -> bool {
        let calls = self.calls.as_ref();
        calls.is_some_and(|calls| calls.has_hopeless()) && self.consumers.is_empty()
    }

    /// Takes those calls, and drops their requests.
    pub fn take_hopeless_calls(&mut self) -> Vec<(CallAddress, Record)> {
        let calls = self.calls.as_mut();
        let hopeless = calls.map_or(Vec::new(), |calls| calls.take_hopeless());
        self.tidy_up();
        hopeless
    }

    /// Takes the calls that wait. Their requests are about to be dropped.
    pub fn take_waiting_calls(&mut self) -> Vec<(CallAddress, Record)> {
        let calls = self.calls.as_mut();
        calls.map_or(Vec::new(), |calls| calls.take_waiting())
    }

    /// The queue is going: takes those whose workers have yet to acknowledge them, and those that
    /// end without a word if their workers do.
    pub fn take_worked_on(&mut self) -> Vec<(Worker, CallAddress)> {
        let calls = self.calls.as_mut();
        calls.map_or(Vec::new(), |calls| calls.take_worked_on())
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
            && let Some(worker) = calls.came_back(token.call)
            && let Some(consumer) = worker.consumer
        {
            self.consumers.call_over(consumer);
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
        for (key, consumer) in self.consumers.iter() {
            assert_eq!(consumer.work.call_count as usize, calls.count_at(key));
        }
        let is_over = |queued: &&Queued| {
            let token = queued.message.content().call();
            token.is_some_and(|token| calls.is_over(token.call))
        };
        let over = self.waiting.iter().filter(is_over);
        assert_eq!(over.count(), self.calls_over());
        assert!(!self.waiting.front().as_ref().is_some_and(is_over));
    }
}
