//! Where bindings with the same pattern lead.

use super::Destination;
use std::collections::BTreeMap;

/// Destinations with the number of bindings that lead to each; none of them is 0.
#[derive(Debug, Default)]
pub(super) struct Destinations(BTreeMap<Destination, u32>);

impl Destinations {
    pub(super) fn insert(&mut self, destination: &Destination) {
        *self.0.entry(destination.clone()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, destination: &Destination) {
        let count = self.0.get_mut(destination);
        let count = count.expect("what is removed was inserted before");
        *count -= 1;
        if *count == 0 {
            self.0.remove(destination);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.keys()
    }
}
