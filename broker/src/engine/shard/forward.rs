//! Messages without a publisher who waits for them: from a queue that gave them up, or from an
//! exchange that held them back.

use super::Shard;
use super::mail::Mail;
use crate::engine::address::{QueueAddress, VhostIndex};
use crate::engine::exchange::Routing;
use crate::engine::message::{Message, Passing};
use crate::engine::wire::properties::Properties;
use crate::limits::TABLE_DEPTH_MAX;
use std::iter;

impl Shard {
    /// Sends a message to wherever its exchange leads, but not to the queues in `excluded`. An
    /// exchange that is not there, or leads nowhere, is the end of it. `copies`: routing keys
    /// beside its own; `excluded`: in order, as a peer may have named thousands.
    pub(super) fn forward(
        &mut self,
        vhost: VhostIndex,
        message: &Message,
        copies: &[&[u8]],
        excluded: &[QueueAddress],
    ) {
        let mut routed = std::mem::take(&mut self.agenda.routed);
        self.route_message(vhost, message, copies, &mut routed);
        for queue in routed.drain(..) {
            if excluded.binary_search(&queue).is_ok() {
                continue;
            }
            if queue.shard == self.index {
                self.enqueue(queue, &mut Passing::kept(message));
            } else {
                let message = message.clone();
                self.neighbours
                    .send(queue.shard, Mail::Forward { queue, message });
            }
        }
        self.agenda.routed = routed;
    }

    /// Each queue once.
    fn route_message(
        &self,
        vhost: VhostIndex,
        message: &Message,
        copies: &[&[u8]],
        queues: &mut Vec<QueueAddress>,
    ) {
        let content = message.content();
        let walked = Properties::walk(content.properties.0[0], TABLE_DEPTH_MAX);
        let properties = walked.expect("walked when the message was published");
        let routing = Routing {
            routing_key: content.routing_key,
            copies,
            properties: &properties,
        };
        if !content.exchange.is_empty() {
            let topology = self.topology(vhost);
            if let Some(exchange) = topology.exchange(content.exchange) {
                topology.route(exchange, &routing, queues);
            }
            return;
        }
        let keys = iter::once(&routing.routing_key).chain(routing.copies);
        queues.extend(keys.filter_map(|key| self.address_of(vhost, key)));
        queues.sort_unstable();
        queues.dedup();
    }

    /// Where the queue with this name is, or was.
    #[inline]
    pub(super) fn address_of(&self, vhost: VhostIndex, name: &[u8]) -> Option<QueueAddress> {
        let listed = self.topology(vhost).queue(name).map(|entry| entry.address);
        listed.or_else(|| self.sealer.open_queue(name, vhost))
    }
}
