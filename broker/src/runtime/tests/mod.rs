//! The shell with real sockets in invented time: small rings, faults of the network, and the
//! engine behind them, on the thread of the test.

mod closing;
mod doorbells;
mod hang_up;
mod peer;
mod small_rings;
mod stand;
