//! AMQP 0-9-1 without I/O.
//!
//! One [`shard::Shard`] is the whole broker as one thread sees it. The shell calls it in turns:
//!
//! 1. every fact that is ready goes in by a `handle_*`;
//! 2. `poll_output` is drained, `outbox` is moved into the mailboxes;
//! 3. the shell sleeps until the next fact or `next_deadline`.
//!
//! The engine never awaits, reads no clock, draws no randomness of its own and iterates no
//! randomly seeded map, so the same inputs give the same outputs.

pub mod address;
pub mod buffer;
mod call;
mod channel;
mod connection;
pub mod exchange;
pub mod message;
pub mod name;
pub mod queue;
pub mod rules;
pub mod shard;
pub mod time;
pub mod topology;
mod violation;
pub mod wire;
