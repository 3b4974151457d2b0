//! The harness of the black-box tests: starts and stops the broker under test, and speaks to it
//! as a raw peer that can break any rule of the protocol. It knows nothing of the broker's code.
//!
//! - `BROKER_URL` (`amqp://host:port/`, user guest/guest): test that broker instead of our own.
//! - `RONDO_BROKER`: the binary to start; else `broker` in the target directory of the tests.

pub mod loadgen;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod rpc;
pub mod wire;
pub mod work;

pub use peer::Peer;
pub use process::{Broker, on_one_and_two_shards};
pub use proxy::Proxy;
pub use work::Delivery;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a test waits for something that must happen: generous, a slow machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A name that no other test uses, for brokers that outlive one test.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}.{}.{count}", std::process::id())
}
