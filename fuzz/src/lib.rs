//! What the `connection` target drives: shards in memory, and scripts of frames.

pub mod script;
pub mod world;
