//! The broker as its clients see it: every test is a sentence about the real binary.

// The whole crate is tests; clippy knows that only of the functions marked `#[test]`.
#![allow(clippy::unwrap_used)]

mod amqprs_client;
mod broken_peers;
mod churn;
mod delivery;
mod direct_reply;
mod faulty_network;
mod handshake;
mod hang_ups;
mod lapin_client;
mod limits;
mod loadgen_faults;
mod loadgen_services;
mod queues;
mod refusals;
mod resets;
mod segments;
mod shortage;
mod shutdown;
mod slow_calls;

use std::time::Duration;

/// Runs an asynchronous client's test, for a minute at most.
fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    let test = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    let outcome = runtime.expect("a runtime of two threads").block_on(test);
    outcome.expect("the test ends in a minute");
}
