//! Thousands of hostile lives of a whole broker: the real engine, mailboxes and turns, around them
//! an invented world, and a judge who knows what correct means.
//!
//! `life` runs one life; `world` holds shards, mail and links; `peer` is who talks, `oracle` who
//! judges; `swarm` says what a life is like, and every choice comes from `dice`.

mod describe;
mod dice;
mod life;
mod link;
mod oracle;
mod peer;
mod rules;
mod shrink;
mod swarm;
mod trace;
mod wire;
mod world;

pub use life::{Outcome, live};
pub use oracle::Tally;
pub use shrink::shrink;
pub use swarm::Overrides;
