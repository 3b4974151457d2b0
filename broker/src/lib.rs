//! Rondo's broker as a library: an engine without I/O inside a shell without protocol.
//!
//! - [`engine`]: AMQP 0-9-1 as plain synchronous values. Bytes and facts go in by `handle_*`,
//!   work comes out by `poll_*`; no sockets, no files, no clock.
//! - `runtime`: glommio executors, the io_uring network ring, the mailboxes between shards. It
//!   knows no protocol.
//! - [`limits`]: every maximum, in one place.

#[cfg(feature = "runtime")]
pub mod config;
pub mod engine;
pub mod limits;
#[cfg(feature = "runtime")]
pub mod runtime;
