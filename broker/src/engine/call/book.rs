//! The calls of a shard's callers that are under way.

use crate::engine::address::{CallKey, CallToken, ChannelAddress, QueueAddress};
use crate::engine::name::Name;
use crate::engine::time::Timestamp;
use slab::Slab;

#[derive(Debug)]
pub struct Call {
    pub caller: ChannelAddress,
    pub token: CallToken,
    pub reply_path: ReplyPath,
    /// Empty if it has none.
    pub correlation_id: Name,
    /// Where the request went.
    pub queue: QueueAddress,
    /// Its request shall not be handed out once the caller has left.
    pub purges: bool,
    /// Its caller wants to read in the reply where the time went.
    pub is_timed: bool,
    /// When it is followed no longer, if its caller has not asked for that.
    pub unasked_until: Option<Timestamp>,
    /// The time of its entry among the shard's timers.
    pub alarm: Option<Timestamp>,
}

/// How the reply will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyPath {
    /// By the call's own address, which begins as the caller has spelt it.
    Direct { spelling: &'static [u8] },
    /// Through a queue of this shard, with the call's correlation id.
    Queue(QueueAddress),
}

#[derive(Debug, Default)]
pub struct Book {
    calls: Slab<Call>,
    next_generation: u64,
}

impl Book {
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// The key of the next call, to be entered at once.
    pub fn next_key(&self) -> CallKey {
        CallKey {
            index: u32::try_from(self.calls.vacant_key()).expect("limited in number"),
            generation: self.next_generation,
        }
    }

    pub fn enter(&mut self, call: Call) {
        assert_eq!(call.token.call.key, self.next_key());
        self.next_generation += 1;
        self.calls.insert(call);
    }

    pub fn get(&self, key: CallKey) -> Option<&Call> {
        let call = self.calls.get(key.index as usize);
        call.filter(|call| call.token.call.key == key)
    }

    pub fn get_mut(&mut self, key: CallKey) -> Option<&mut Call> {
        let call = self.calls.get_mut(key.index as usize);
        call.filter(|call| call.token.call.key == key)
    }

    /// The call at a place, whichever it is.
    pub fn at(&mut self, index: u32) -> Option<&mut Call> {
        self.calls.get_mut(index as usize)
    }

    /// Ends a call. `None`: it has ended already.
    pub fn strike_out(&mut self, key: CallKey) -> Option<Call> {
        self.get(key)?;
        Some(self.calls.remove(key.index as usize))
    }
}
