//! Routing key equal to binding key (AMQP 0-9-1 3.1.3.1).

use super::super::name::Name;
use super::Destination;
use super::destinations::Destinations;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Direct {
    by_key: BTreeMap<Name, Destinations>,
}

impl Direct {
    pub(super) fn insert(&mut self, key: &Name, destination: &Destination) {
        let destinations = self.by_key.entry(key.clone()).or_default();
        destinations.insert(destination);
    }

    pub(super) fn remove(&mut self, key: &Name, destination: &Destination) {
        let destinations = self.by_key.get_mut(key);
        let destinations = destinations.expect("what is removed was inserted before");
        destinations.remove(destination);
        if destinations.is_empty() {
            self.by_key.remove(key);
        }
    }

    pub(super) fn each_destination<'a>(
        &'a self,
        routing_key: &[u8],
        each: impl FnMut(&'a Destination),
    ) {
        let destinations = self.by_key.get(routing_key).into_iter();
        destinations.flat_map(Destinations::iter).for_each(each);
    }
}
