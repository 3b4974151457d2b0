//! The broker as its clients see it: every test is a sentence about the real binary.

mod broken_peers;
mod direct_reply;
mod handshake;
