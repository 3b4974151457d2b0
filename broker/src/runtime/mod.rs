//! The shell: executors, sockets, mailboxes, clock. It holds no protocol decision.

pub mod ring;
