//! Routing key equal to binding key (AMQP 0-9-1 3.1.3.1).

use super::super::name::Name;
use super::{Binding, Destination, push_unique};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Direct {
    by_key: BTreeMap<Name, Vec<Binding>>,
}

impl Direct {
    pub(super) fn bind(&mut self, binding: &Binding) -> bool {
        push_unique(
            self.by_key.entry(binding.routing_key.clone()).or_default(),
            binding,
        )
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Binding) -> bool) {
        self.by_key.retain(|_, bindings| {
            bindings.retain(&mut keep);
            !bindings.is_empty()
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.by_key.values().flatten()
    }

    pub(super) fn count(&self) -> usize {
        self.by_key.values().map(Vec::len).sum()
    }

    pub(super) fn each_destination<'a>(
        &'a self,
        routing_key: &[u8],
        each: impl FnMut(&'a Destination),
    ) {
        let bindings = self.by_key.get(routing_key).into_iter().flatten();
        bindings.map(|binding| &binding.destination).for_each(each);
    }
}
