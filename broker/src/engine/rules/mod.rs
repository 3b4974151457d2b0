//! What a queue does with messages beyond keeping them: the rules that its arguments and a policy
//! set.
//!
//! Rules answer questions; the queue and its shard act.

mod arguments;
mod policy;

pub use arguments::{QueueArguments, integer, type_name};
pub use policy::{ApplyTo, Definition, Policy, PolicyValue};

use crate::engine::name::Name;
use crate::engine::time::Timestamp;
use std::time::Duration;

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The message in front goes.
    #[default]
    DropHead,
    /// The new one is refused.
    RejectPublish,
    /// The same, and it is dead-lettered.
    RejectPublishDlx,
}

impl Overflow {
    pub fn parse(word: &[u8]) -> Option<Overflow> {
        match word {
            b"drop-head" => Some(Overflow::DropHead),
            b"reject-publish" => Some(Overflow::RejectPublish),
            b"reject-publish-dlx" => Some(Overflow::RejectPublishDlx),
            _ => None,
        }
    }
}

/// Who of those that can take a message gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dispatch {
    #[default]
    RoundRobin,
    /// Who has the fewest deliveries or calls to do.
    LeastOutstanding,
    /// The better one of two, by how long the next call would take.
    Fastest,
}

impl Dispatch {
    pub fn parse(word: &[u8]) -> Option<Dispatch> {
        match word {
            b"round-robin" => Some(Dispatch::RoundRobin),
            b"least-outstanding" => Some(Dispatch::LeastOutstanding),
            b"fastest" => Some(Dispatch::Fastest),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Dispatch::RoundRobin => "round-robin",
            Dispatch::LeastOutstanding => "least-outstanding",
            Dispatch::Fastest => "fastest",
        }
    }
}

/// Where messages go that the queue gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    pub exchange: Name,
    /// `None`: the message keeps its own.
    pub routing_key: Option<Name>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub message_ttl: Option<Duration>,
    /// How long the queue may be without use.
    pub expires: Option<Duration>,
    /// Messages that may wait.
    pub length_max: Option<usize>,
    /// Octets of the bodies that may wait.
    pub body_len_max: Option<usize>,
    /// `None`: as [`Overflow::DropHead`], unless a policy says otherwise.
    pub overflow: Option<Overflow>,
    pub dead_letters: Option<DeadLetters>,
    pub priority_max: Option<u8>,
    pub single_active_consumer: bool,
    /// How often a message may come back.
    pub delivery_limit: Option<u32>,
    /// Requests whose callers have left shall not be handed out.
    pub rpc_purge_on_gone: bool,
    /// Calls with less time left than workers take are refused.
    pub rpc_shed: bool,
    /// Calls that took so long are logged.
    pub rpc_slow: Option<Duration>,
    /// `None`: as [`Dispatch::RoundRobin`], unless a policy says otherwise.
    pub dispatch: Option<Dispatch>,
}

impl Rules {
    /// Is there too much for these limits?
    pub fn is_over(&self, length: usize, body_len: usize) -> bool {
        self.length_max.is_some_and(|max| length > max)
            || self.body_len_max.is_some_and(|max| body_len > max)
    }

    pub fn overflow(&self) -> Overflow {
        self.overflow.unwrap_or_default()
    }

    /// The broker has to follow the calls whose requests come here, whatever their callers ask for.
    pub fn follows_calls(&self) -> bool {
        let is_by_load = self.dispatch.unwrap_or_default() != Dispatch::RoundRobin;
        self.rpc_purge_on_gone || self.rpc_slow.is_some() || is_by_load
    }

    /// Publishers may hear that their message was refused.
    pub fn may_reject(&self) -> bool {
        self.overflow() != Overflow::DropHead
            && (self.length_max.is_some() || self.body_len_max.is_some())
    }
}

/// When a message's time is over: its own expiration or the queue's, whichever is sooner.
pub fn expires_at(rules: Option<&Rules>, expiration_ms: Option<u64>, now: Timestamp) -> Timestamp {
    let own = expiration_ms.map(Duration::from_millis);
    let ttl = rules.and_then(|rules| rules.message_ttl);
    let time_left = match (own, ttl) {
        (Some(own), Some(ttl)) => Some(own.min(ttl)),
        (own, ttl) => own.or(ttl),
    };
    time_left.map_or(Timestamp::NEVER, |time_left| now.plus(time_left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_two_times_wins() {
        let rules = Rules {
            message_ttl: Some(Duration::from_millis(100)),
            ..Rules::default()
        };
        let now = Timestamp(5);
        let at = |ms| now.plus(Duration::from_millis(ms));
        assert_eq!(expires_at(Some(&rules), Some(50), now), at(50));
        assert_eq!(expires_at(Some(&rules), Some(200), now), at(100));
        assert_eq!(expires_at(Some(&rules), None, now), at(100));
        assert_eq!(expires_at(None, Some(0), now), now);
        assert_eq!(expires_at(None, None, now), Timestamp::NEVER);
    }

    #[test]
    fn a_limit_is_passed_by_the_one_behind_it() {
        let rules = Rules {
            length_max: Some(2),
            body_len_max: Some(10),
            ..Rules::default()
        };
        assert!(!rules.is_over(2, 10));
        assert!(rules.is_over(3, 10));
        assert!(rules.is_over(2, 11));
        assert!(!Rules::default().is_over(usize::MAX, usize::MAX));
    }
}
