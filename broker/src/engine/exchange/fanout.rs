//! Every binding, whatever the routing key (AMQP 0-9-1 3.1.3.2).

use super::Destination;
use super::destinations::Destinations;

#[derive(Debug, Default)]
pub(super) struct Fanout {
    destinations: Destinations,
}

impl Fanout {
    pub(super) fn insert(&mut self, destination: &Destination) {
        self.destinations.insert(destination);
    }

    pub(super) fn remove(&mut self, destination: &Destination) {
        self.destinations.remove(destination);
    }

    pub(super) fn each_destination<'a>(&'a self, each: impl FnMut(&'a Destination)) {
        self.destinations.iter().for_each(each);
    }
}
