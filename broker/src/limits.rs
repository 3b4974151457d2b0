//! Every maximum of the broker, with the decision that is taken when it is reached.

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

const _: () = assert!(FRAME_LEN_MIN <= FRAME_LEN_MAX_BEFORE_OPEN);
const _: () = assert!(FRAME_LEN_MAX_BEFORE_OPEN <= FRAME_LEN_MAX);
const _: () = assert!(TABLE_DEPTH_MAX_BEFORE_OPEN <= TABLE_DEPTH_MAX);
