//! Policies of a virtual host, and what follows from them for its names.

use super::{Changed, QueueAttributes, Topology, too_many};
use crate::engine::name::Name;
use crate::engine::rules::{Overflow, Policy, Rules};
use crate::engine::violation::Violation;
use crate::limits::POLICY_COUNT_MAX;
use std::collections::BTreeSet;

impl Topology {
    /// Those that are there from the start.
    #[must_use]
    pub fn with_policies(mut self, policies: impl Iterator<Item = Policy>) -> Topology {
        self.policies.extend(policies);
        self.follow_policies();
        self
    }

    /// In no order that means anything.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    pub(super) fn set_policy(&mut self, policy: &Policy) -> Result<Changed, Violation> {
        let known = self
            .policies
            .iter()
            .position(|known| known.name == policy.name);
        match known {
            Some(at) => self.policies[at] = policy.clone(),
            None if self.policies.len() >= POLICY_COUNT_MAX => {
                return Err(too_many("policies", POLICY_COUNT_MAX));
            }
            None => self.policies.push(policy.clone()),
        }
        self.follow_policies();
        Ok(Changed::Applied)
    }

    pub(super) fn clear_policy(&mut self, name: &Name) -> Changed {
        let before = self.policies.len();
        self.policies.retain(|policy| policy.name != *name);
        if self.policies.len() == before {
            return Changed::Unchanged;
        }
        self.follow_policies();
        Changed::Applied
    }

    /// What a queue does by its arguments and its policy. `None`: it only keeps messages.
    ///
    /// One that is not listed refuses nothing by policy: publishers on other shards would not know
    /// that they have to ask.
    pub fn rules_for(
        &self,
        name: &Name,
        attributes: &QueueAttributes,
        is_listed: bool,
    ) -> Option<Box<Rules>> {
        let own = attributes
            .arguments
            .as_deref()
            .map(|arguments| &arguments.rules);
        let mut rules = match (own, self.queue_policy(name)) {
            (None, None) => return None,
            (Some(own), None) => own.clone(),
            (own, Some(policy)) => policy.definition.apply_to(own),
        };
        if !is_listed && rules.may_reject() {
            rules.overflow = Some(Overflow::DropHead);
        }
        Some(Box::new(rules))
    }

    /// The one that applies to a queue: of those that match, the one with the highest priority.
    pub fn queue_policy(&self, name: &Name) -> Option<&Policy> {
        let matching = self
            .policies
            .iter()
            .filter(|policy| policy.is_for_queue(name));
        matching.max_by_key(|policy| (policy.priority, &policy.name))
    }

    pub(super) fn alternate_for(&self, exchange: &Name) -> Option<Name> {
        let matching = self
            .policies
            .iter()
            .filter(|policy| policy.is_for_exchange(exchange));
        let policy = matching.max_by_key(|policy| (policy.priority, &policy.name))?;
        policy.definition.alternate_exchange.clone()
    }

    fn follow_policies(&mut self) {
        let (mut rejecting, mut following) = (BTreeSet::new(), BTreeSet::new());
        for (name, entry) in &self.queues {
            if let Some(rules) = self.rules_for(name, &entry.attributes, true) {
                rejecting.extend(rules.may_reject().then_some(entry.address));
                following.extend(rules.follows_calls().then_some(entry.address));
            }
        }
        (self.rejecting, self.following) = (rejecting, following);
        let names: Vec<Name> = self.exchanges.keys().cloned().collect();
        for name in names {
            let alternate = self.alternate_for(&name);
            if let Some(exchange) = self.exchanges.get_mut(&name) {
                exchange.policy_alternate = alternate;
            }
        }
    }
}
