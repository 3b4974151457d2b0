//! The shell: executors, sockets, mailboxes, clock. It holds no protocol decision.

mod acceptor;
mod bell;
mod boot;
mod clock;
mod drive;
pub(crate) mod machine;
pub mod mesh;
pub mod ring;
mod socket;
mod sockets;
#[cfg(test)]
mod tests;
pub mod turn;

pub use boot::run;
