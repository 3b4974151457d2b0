//! What a shard holds, in numbers: for tests and the simulator, which compare them with what
//! should be there. It only looks.

use super::Shard;
use crate::engine::channel::{Channel, Confirm};
use crate::engine::connection::Connection;
use crate::engine::queue::Queue;
use crate::engine::topology::Topology;

/// What a shard holds, counted by walking everything: too slow for a busy broker. All are zero,
/// and the shard idle, before its first connection and after its last one has gone with all
/// queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Slots held, also by connections that the shell has yet to release.
    pub connection_count: usize,
    /// Those that wait for the peer's close-ok included.
    pub channel_count: usize,
    /// Consumers of direct replies.
    pub reply_consumer_count: usize,
    /// Ordinary consumers as this shard's channels know them, also before their queue has agreed.
    pub channel_consumer_count: usize,
    /// Ordinary consumers as this shard's queues know them.
    pub queue_consumer_count: usize,
    /// Deliveries that this shard's channels hold, those settled in a transaction included.
    pub channel_unacked_count: usize,
    /// Room under channels' common prefetch that is given out to deliveries on their way.
    pub token_count: usize,
    /// Messages that this shard's queues hold as handed out.
    pub queue_unacked_count: usize,
    /// Publishes taken in confirm mode and not acknowledged yet.
    pub unconfirmed_count: usize,
    /// Octets that transactions keep.
    pub transaction_len: usize,
    pub queue_count: usize,
    pub exclusive_queue_count: usize,
    /// Messages that wait in queues.
    pub message_count: usize,
    /// Calls of this shard's connections that have not ended.
    pub call_count: usize,
    /// Requests that this shard's queues know of and whose calls have not ended.
    pub request_count: usize,
    /// Calls that this shard's connections have to answer.
    pub served_count: usize,
    /// Queues whose calls are measured.
    pub service_count: usize,
    /// Virtual hosts whose services somebody here has asked for and not been told.
    pub inquiry_count: usize,
    /// Messages that an exchange holds back.
    pub delayed_count: usize,
    /// Dead letters that wait to be sent on.
    pub letter_count: usize,
    /// Octets of messages in queues, waiting or handed out, overhead included.
    pub queued_len: usize,
    /// Content announced and not complete, properties included.
    pub assembly_len: u64,
    /// Of them, the most of one connection.
    pub assembly_len_max: u64,
    /// The most direct replies held for one channel.
    pub held_reply_count_max: usize,
    /// The most ordinary consumers of one channel.
    pub consumer_count_max: usize,
    /// Changes of the topology proposed here without an outcome yet, and (registrar) those that
    /// not all shards have applied.
    pub proposal_count: usize,
    /// Connections that wait for anything.
    pub waiting_count: usize,
    /// Of them, those that wait for memory, perhaps among other things.
    pub memory_waiting_count: usize,
    /// Octets received and not executed.
    pub backlog_len: usize,
    /// Of them, the most of one connection.
    pub backlog_len_max: usize,
    /// Deliveries from other shards that wait for their connection to send.
    pub withheld_count: usize,
    /// Octets that peers have not been sent.
    pub unsent_len: usize,
    /// Of them, the most of one connection.
    pub unsent_len_max: usize,
    /// The most on its way from a queue here to one consumer on another shard.
    pub transit_len_max: usize,
    /// Mail that waits.
    pub outbox_count: usize,
    /// Of it, the most for one neighbour.
    pub outbox_count_max: usize,
    /// Nothing is left to do, and no output waits for the shell.
    pub is_idle: bool,
}

impl Census {
    fn add_connection(&mut self, connection: &Connection) {
        self.connection_count += 1;
        self.waiting_count += usize::from(connection.waits.any());
        self.memory_waiting_count += usize::from(connection.waits.memory);
        let (backlog_len, unsent_len) =
            (connection.backlog.len(), connection.outbound.unsent_len());
        self.backlog_len += backlog_len;
        self.backlog_len_max = self.backlog_len_max.max(backlog_len);
        self.unsent_len += unsent_len;
        self.unsent_len_max = self.unsent_len_max.max(unsent_len);
        self.withheld_count += connection.withheld.len();
        self.served_count += connection.served.count();
        self.assembly_len += connection.assembly_len();
        self.assembly_len_max = self.assembly_len_max.max(connection.assembly_len());
        connection
            .channels()
            .for_each(|channel| self.add_channel(channel));
    }

    fn add_channel(&mut self, channel: &Channel) {
        let consumer_count = channel.consumers.len();
        let unconfirmed_count = channel.publishing.confirm().map(Confirm::unconfirmed_count);
        self.channel_count += 1;
        self.reply_consumer_count += usize::from(channel.reply_consumer.is_some());
        self.channel_consumer_count += consumer_count;
        self.consumer_count_max = self.consumer_count_max.max(consumer_count);
        self.channel_unacked_count += channel.held_count();
        self.token_count += channel.limiter.used_count() - channel.limited_count();
        self.transaction_len += channel.transaction_len();
        self.unconfirmed_count += unconfirmed_count.unwrap_or(0);
        self.held_reply_count_max = self.held_reply_count_max.max(channel.held_reply_count());
    }

    fn add_queue(&mut self, queue: &Queue) {
        self.queue_count += 1;
        self.exclusive_queue_count += usize::from(queue.attributes.exclusive.is_some());
        self.queue_consumer_count += queue.consumers.count();
        self.queue_unacked_count += queue.unacked_count();
        self.request_count += queue.request_count();
        self.message_count += queue.message_count();
        self.queued_len += queue.kept_len();
        for (_, consumer) in queue.consumers.iter() {
            self.transit_len_max = self.transit_len_max.max(consumer.transit_len);
        }
    }
}

impl Shard {
    pub fn census(&self) -> Census {
        let agenda = &self.agenda;
        let mut census = Census {
            delayed_count: self.delayed.count(),
            letter_count: self.letters.count(),
            call_count: self.book.count(),
            service_count: self.services.count(),
            inquiry_count: self.inquiries.count(),
            proposal_count: self.registrar.pending_count(),
            outbox_count: self.neighbours.counts().sum(),
            outbox_count_max: self.neighbours.counts().max().unwrap_or(0),
            is_idle: !agenda.has_work() && agenda.outputs.is_empty(),
            ..Census::default()
        };
        let connections = self.connections.iter();
        connections.for_each(|(_, connection)| census.add_connection(connection));
        let queues = self.queues.iter();
        queues.for_each(|(_, queue)| census.add_queue(queue));
        census
    }

    /// The names that all shards know, as this one's copy says: a line per queue, exchange and
    /// binding of each virtual host, sorted. Equal on all shards while no change is on its way.
    pub fn topology_listing(&self) -> Vec<String> {
        let listings = self.topologies.iter().map(Topology::listing);
        let with_vhost = |(vhost, listing): (&String, Vec<String>)| {
            let lines = listing
                .into_iter()
                .map(|line| format!("{line} in {vhost:?}"));
            lines.collect::<Vec<String>>()
        };
        self.settings
            .vhosts
            .iter()
            .zip(listings)
            .flat_map(with_vhost)
            .collect()
    }
}
