//! Every maximum of the broker, with the decision that is taken when it is reached.

use std::time::Duration;

// Frames and content.

/// Octets of a frame around its payload: type, channel, payload length, frame end.
pub const FRAME_OVERHEAD: u32 = 8;

/// The spec's smallest legal frame-max (AMQP 0-9-1 4.2.3); a peer that tunes lower is refused.
pub const FRAME_LEN_MIN: u32 = 4096;

/// Largest frame we propose, RabbitMQ's default. Lower is honoured, higher is refused.
pub const FRAME_LEN_MAX: u32 = 128 * 1024;

/// Largest frame accepted before `connection.open-ok`: a stranger gets little memory.
pub const FRAME_LEN_MAX_BEFORE_OPEN: u32 = 8 * 1024;

/// Nesting of field tables and arrays: deeper is a syntax error (502).
pub const TABLE_DEPTH_MAX: u32 = 16;

/// The same before `connection.open-ok`.
pub const TABLE_DEPTH_MAX_BEFORE_OPEN: u32 = 4;

/// Default for the largest message body; checked at the content header, before memory is taken.
/// Larger closes the channel (406).
pub const BODY_LEN_MAX: u64 = 16 * 1024 * 1024;

/// What the body limit may be configured to: two such messages fit what may be unsent, so one
/// large reply behind another does not close its reader.
pub const BODY_LEN_MAX_MAX: u64 = Limits::SHIPPED.unsent_len_max as u64 / 2;

/// Memory reserved for a body before its octets have come.
pub const ASSEMBLY_LEN_RESERVED: usize = 16 * 1024;

/// When that is full, as much as so many times what has come is reserved.
pub const ASSEMBLY_GROWTH: usize = 8;

/// Pieces of a body from this length on are sent from where they lie, shorter ones are copied: a
/// piece sent apart costs about as much as copying so many octets.
pub const SHARED_LEN_MIN: usize = 16 * 1024;

// Connections.

/// Default for connections of the whole process; further ones are closed at once. Each shard has
/// its part of them, and connections are dealt in turn.
pub const CONNECTION_COUNT_MAX: usize = 16_384;

/// From accept to `connection.open`; slower peers are closed.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// From our `connection.close` to the peer's close-ok; then the socket is closed regardless.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Default heartbeat interval proposed to clients.
pub const HEARTBEAT_S: u16 = 60;

/// Virtual hosts; each has the limits of names to itself.
pub const VHOST_COUNT_MAX: usize = 1024;

// Channels and consumers.

/// Default for the highest channel number, RabbitMQ's.
pub const CHANNEL_MAX: u16 = 2047;

// Queues and shards.

/// Arguments of one binding, and their octets; each costs a look at every message's headers, and
/// every shard keeps them. More is refused (406).
pub const BINDING_ARGUMENT_COUNT_MAX: usize = 64;
pub const BINDING_ARGUMENTS_LEN_MAX: usize = 4096;

/// Weight of a binding to a consistent hash exchange; more is refused (406). Each takes points in
/// a ring, and counts for so many bindings.
pub const HASH_WEIGHT_MAX: u32 = 1000;

/// Routing keys that a message names in its headers `CC` and `BCC`; more is refused (406).
pub const COPY_COUNT_MAX: usize = 256;

/// What a message in a queue counts for beside its own octets.
pub const MESSAGE_OVERHEAD: usize = 128;

/// Milliseconds for which a message or an unused queue may be asked to live: ten years, as in
/// RabbitMQ; more is refused (406).
pub const LIFETIME_MS_MAX: u64 = 315_360_000_000;

/// Messages whose time is over that a queue drops in one go; the rest follows in the next turn, so
/// that a million at once hold up nobody.
pub const EXPIRED_COUNT_PER_TURN: usize = 512;

/// Dead letters that a shard sends on in one go; the rest follows in the next turn. One may lead to
/// others without end that anybody would live to see: queues that push out at once, all bound to
/// the exchange that they push out to.
pub const LETTER_COUNT_PER_TURN: usize = 64;

/// Policies of a virtual host; each costs a look at the name of every new queue and exchange.
pub const POLICY_COUNT_MAX: usize = 256;

/// Octets of a policy's pattern, and of what it is compiled to.
pub const PATTERN_LEN_MAX: usize = 1024;
pub const PATTERN_SIZE_MAX: usize = 256 * 1024;

/// Queues of a shard whose calls are measured; of further ones nothing is known.
pub const SERVICE_COUNT_MAX: usize = 1024;

/// Calls that nobody asked to follow and that each shard follows to measure them.
pub const CALLS_MEASURED_PER_SECOND: u32 = 1000;

/// Calls of one connection that are followed to measure them, though nobody has asked for that, and
/// how long each is: what is not answered by then may never be.
pub const SAMPLE_COUNT_MAX: usize = 1024;
pub const SAMPLE_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a call is followed because its queue wants that, while its caller has asked for
/// nothing.
pub const UNASKED_TIME_MAX: Duration = Duration::from_secs(3600);

/// Who may wait at a time for what is known of the services of a virtual host, per shard; one more
/// is refused.
pub const ASKER_COUNT_MAX: usize = 1024;

/// Slow calls that a shard logs; the others are counted in the next line.
pub const SLOW_CALL_COUNT_PER_SECOND: u32 = 100;

/// Shards of one process.
pub const SHARD_COUNT_MAX: u16 = 64;

/// The maxima that can be lowered, so that a small world reaches every one of them. A broker runs
/// with [`Limits::SHIPPED`]; what else is a maximum is given by the protocol or by `Settings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unsent octets from which on a connection gets no further delivery from a queue, and its own
    /// frames wait: it has to read first.
    pub unsent_len_high: usize,
    /// Unsent octets at which it goes on.
    pub unsent_len_low: usize,
    /// Unsent octets (direct replies come from others, so they cannot wait in a queue) at which
    /// the connection is closed: its peer does not read. One that is below what the handshake
    /// takes lets nobody in.
    pub unsent_len_max: usize,
    /// Octets received but not executed (the connection waits for something) at which we stop
    /// reading. Less than a frame will do: who waits for the rest of a frame alone is read.
    pub backlog_len_max: usize,
    /// The same for who waits for memory: what may go on behind the rest shall come through.
    pub parked_len_max: usize,
    /// Messages that one connection may have half sent, over all its channels, by the length of
    /// their properties and announced bodies; more closes it (506).
    pub assembly_len_max: u64,
    /// Publishes that the transactions of one connection keep until tx.commit, over all its
    /// channels, [`MESSAGE_OVERHEAD`] included; more closes the channel, which rolls back (506).
    pub transaction_len_max: usize,
    /// Consumers of one channel; one more is refused (406).
    pub consumer_count_max: usize,
    /// Direct replies kept for a channel that said `channel.flow(false)`; more closes the channel
    /// (506).
    pub held_reply_count_max: usize,
    /// Their octets; the first is kept however long it is.
    pub held_reply_len_max: usize,
    /// Calls of one connection that the broker follows and that have not ended; one more is
    /// answered with 429, or refused (506) if its caller has not asked for answers.
    pub call_count_max: usize,
    /// Queues that all shards know by name; one more is refused (506). Server-named exclusive ones
    /// are limited by the same number, per shard.
    pub queue_count_max: usize,
    /// Exchanges, those that are always there included; one more is refused (506).
    pub exchange_count_max: usize,
    /// Bindings; one more is refused (506). One with a pattern of many words, or with a weight,
    /// counts for several.
    pub binding_count_max: usize,
    /// Octets on their way to a consumer on another shard, before its connection has sent them:
    /// from there on its queue gives it nothing.
    pub transit_len_max: usize,
    /// Octets of a shard's dead letters that wait to be sent on, overhead included. From there on
    /// those are dropped that other dead letters have led to.
    pub letters_len_max: usize,
    /// Mail waiting for one neighbour from which on the connections that produce it are not
    /// executed, until less than half of it waits.
    pub outbox_count_max: usize,
}

impl Limits {
    pub const SHIPPED: Limits = Limits {
        unsent_len_high: 256 * 1024,
        unsent_len_low: 64 * 1024,
        unsent_len_max: 64 * 1024 * 1024,
        backlog_len_max: 128 * 1024,
        parked_len_max: 1024 * 1024,
        assembly_len_max: 64 * 1024 * 1024,
        transaction_len_max: 32 * 1024 * 1024,
        consumer_count_max: 16 * 1024,
        held_reply_count_max: 1024,
        held_reply_len_max: 1024 * 1024,
        call_count_max: 64 * 1024,
        queue_count_max: 1_000_000,
        exchange_count_max: 100_000,
        binding_count_max: 1_000_000,
        transit_len_max: 256 * 1024,
        letters_len_max: 256 * 1024 * 1024,
        outbox_count_max: 4096,
    };

    /// Does everything that waits at one of them go on some time? `backlog_len_max` and
    /// `parked_len_max` may be anything, since reading stops only while the connection waits; what
    /// is refused at its maximum waits for nothing.
    pub const fn is_sound(&self) -> bool {
        self.unsent_len_low < self.unsent_len_high
            && self.unsent_len_high < self.unsent_len_max
            && self.transit_len_max > 0
            && self.outbox_count_max > 0
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::SHIPPED
    }
}

const _: () = assert!(FRAME_LEN_MIN <= FRAME_LEN_MAX_BEFORE_OPEN);
const _: () = assert!(FRAME_LEN_MAX_BEFORE_OPEN <= FRAME_LEN_MAX);
const _: () = assert!(TABLE_DEPTH_MAX_BEFORE_OPEN <= TABLE_DEPTH_MAX);
const _: () = assert!(BODY_LEN_MAX <= BODY_LEN_MAX_MAX);
const _: () = assert!(BODY_LEN_MAX_MAX <= Limits::SHIPPED.assembly_len_max);
const _: () = assert!(BODY_LEN_MAX_MAX <= Limits::SHIPPED.transaction_len_max as u64);
// A transaction that comes back as a whole does not look like a peer that does not read.
const _: () = assert!(2 * Limits::SHIPPED.transaction_len_max <= Limits::SHIPPED.unsent_len_max);
const _: () = assert!(Limits::SHIPPED.is_sound());
// Nobody stops being read for one frame.
const _: () = assert!(FRAME_LEN_MAX as usize <= Limits::SHIPPED.backlog_len_max);
