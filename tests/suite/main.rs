//! The broker as its clients see it: every test is a sentence about the real binary.

mod broken_peers;
mod delivery;
mod direct_reply;
mod handshake;
mod limits;
mod queues;
mod shutdown;
