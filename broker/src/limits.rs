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
pub const BODY_LEN_MAX_MAX: u64 = UNSENT_LEN_MAX as u64 / 2;

/// Bodies that one connection may have half sent, over all its channels; more closes it (506).
pub const ASSEMBLY_LEN_MAX: u64 = 64 * 1024 * 1024;

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

/// Unsent octets above which a connection gets no further delivery from a queue, and its own
/// frames wait: it has to read first.
pub const UNSENT_LEN_HIGH: usize = 256 * 1024;

/// Unsent octets below which it goes on.
pub const UNSENT_LEN_LOW: usize = 64 * 1024;

/// Unsent octets (direct replies come from others, so they cannot wait in a queue) at which the
/// connection is closed: its peer does not read.
pub const UNSENT_LEN_MAX: usize = 64 * 1024 * 1024;

/// Octets received but not executed (the connection waits for an answer) at which we stop reading.
pub const BACKLOG_LEN_MAX: usize = 128 * 1024;

// Channels and consumers.

/// Default for the highest channel number, RabbitMQ's.
pub const CHANNEL_MAX: u16 = 2047;

/// Consumers of one channel; one more is refused (406).
pub const CONSUMER_COUNT_MAX: usize = 16 * 1024;

/// Direct replies, and their octets, kept for a channel that said `channel.flow(false)`; more
/// closes the channel (506).
pub const HELD_REPLY_COUNT_MAX: usize = 1024;
pub const HELD_REPLY_LEN_MAX: usize = 1024 * 1024;

// Queues and shards.

/// Queues that all shards know by name; one more is refused (506). Server-named exclusive ones
/// are limited by the same number, per shard.
pub const QUEUE_COUNT_MAX: usize = 1_000_000;

/// Exchanges; one more is refused (506).
pub const EXCHANGE_COUNT_MAX: usize = 100_000;

/// Bindings; one more is refused (506).
pub const BINDING_COUNT_MAX: usize = 1_000_000;

/// Arguments of one binding, and their octets; each costs a look at every message's headers, and
/// every shard keeps them. More is refused (406).
pub const BINDING_ARGUMENT_COUNT_MAX: usize = 64;
pub const BINDING_ARGUMENTS_LEN_MAX: usize = 4096;

/// What a message in a queue counts for beside its own octets.
pub const MESSAGE_OVERHEAD: usize = 128;

/// Octets on their way to a consumer on another shard, before its connection has sent them.
pub const TRANSIT_LEN_MAX: usize = 256 * 1024;

/// Mail waiting for one neighbour above which the connections that produce it are not executed.
pub const OUTBOX_COUNT_MAX: usize = 4096;

/// Shards of one process.
pub const SHARD_COUNT_MAX: u16 = 64;

const _: () = assert!(FRAME_LEN_MIN <= FRAME_LEN_MAX_BEFORE_OPEN);
const _: () = assert!(FRAME_LEN_MAX_BEFORE_OPEN <= FRAME_LEN_MAX);
const _: () = assert!(TABLE_DEPTH_MAX_BEFORE_OPEN <= TABLE_DEPTH_MAX);
const _: () = assert!(BODY_LEN_MAX <= BODY_LEN_MAX_MAX && BODY_LEN_MAX_MAX <= ASSEMBLY_LEN_MAX);
const _: () = assert!(UNSENT_LEN_LOW < UNSENT_LEN_HIGH && UNSENT_LEN_HIGH < UNSENT_LEN_MAX);
// A whole frame must fit, or a paused connection could never go on.
const _: () = assert!(FRAME_LEN_MAX as usize <= BACKLOG_LEN_MAX);
