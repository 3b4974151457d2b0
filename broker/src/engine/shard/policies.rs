//! Policies come and go; each shard's queues follow.

use super::Shard;
use super::registrar::Then;
use crate::engine::address::{QueueAddress, VhostIndex};
use crate::engine::name::Name;
use crate::engine::rules::Policy;
use crate::engine::time::Timestamp;
use crate::engine::topology::Change;

impl Shard {
    /// A policy for the virtual host with this name, on all shards; in place of one with the same
    /// name. Errors: there is no such virtual host.
    pub fn handle_set_policy(
        &mut self,
        vhost: &str,
        policy: Policy,
        now: Timestamp,
    ) -> Result<(), String> {
        self.change_policies(vhost, Change::SetPolicy(Box::new(policy)), now)
    }

    /// The end of a policy, if there is one with this name. Errors: no such virtual host.
    pub fn handle_clear_policy(
        &mut self,
        vhost: &str,
        name: Name,
        now: Timestamp,
    ) -> Result<(), String> {
        self.change_policies(vhost, Change::ClearPolicy { name }, now)
    }

    /// Those of a virtual host, as this shard's copy says.
    pub fn policies(&self, vhost: &str) -> Option<&[Policy]> {
        self.vhost_named(vhost)
            .map(|vhost| self.topology(vhost).policies())
    }

    pub(super) fn vhost_named(&self, name: &str) -> Option<VhostIndex> {
        let found = self
            .settings
            .vhosts
            .iter()
            .position(|vhost| vhost == name)?;
        Some(VhostIndex(u16::try_from(found).expect("limited in number")))
    }

    fn change_policies(
        &mut self,
        vhost: &str,
        change: Change,
        now: Timestamp,
    ) -> Result<(), String> {
        self.now = now;
        let index = self.vhost_named(vhost);
        let index = index.ok_or_else(|| format!("vhost {vhost} not found"))?;
        self.propose(index, change, None, Then::Nothing);
        self.finish();
        Ok(())
    }

    /// Gives the virtual host's queues the rules that they have now.
    pub(super) fn follow_policies(&mut self, vhost: VhostIndex) {
        let topology = &self.topologies[usize::from(vhost.0)];
        let mut changed: Vec<QueueAddress> = Vec::new();
        for (_, queue) in &mut self.queues {
            if queue.vhost == vhost {
                let rules = topology.rules_for(&queue.name, &queue.attributes, queue.is_listed);
                if rules.as_deref() != queue.rules() {
                    queue.set_rules(rules, self.now);
                    // What is still being declared may be withdrawn, but not end.
                    let listed = topology.queue(queue.name.as_bytes());
                    let is_known = listed.is_some_and(|entry| entry.address == queue.address);
                    if is_known || !queue.is_listed {
                        changed.push(queue.address);
                    }
                }
            }
        }
        for address in changed {
            self.drop_overflow(address);
            self.agenda.queues.push(address);
            self.schedule_queue(address);
        }
    }
}
