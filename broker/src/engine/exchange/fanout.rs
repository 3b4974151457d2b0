//! Every binding, whatever the routing key (AMQP 0-9-1 3.1.3.2).

use super::{Binding, Destination, push_unique};

#[derive(Debug, Default)]
pub(super) struct Fanout {
    bindings: Vec<Binding>,
}

impl Fanout {
    pub(super) fn bind(&mut self, binding: &Binding) -> bool {
        push_unique(&mut self.bindings, binding)
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Binding) -> bool) {
        self.bindings.retain(keep);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter()
    }

    pub(super) fn count(&self) -> usize {
        self.bindings.len()
    }

    pub(super) fn each_destination<'a>(&'a self, each: impl FnMut(&'a Destination)) {
        self.bindings
            .iter()
            .map(|binding| &binding.destination)
            .for_each(each);
    }
}
