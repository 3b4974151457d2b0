//! What the benches share: the octets that clients send, and shards in memory that take them.

// Not published: `pub` here is for the benches beside it.
#![allow(unreachable_pub, missing_docs)]

pub mod bytes;
pub mod route;
pub mod world;
