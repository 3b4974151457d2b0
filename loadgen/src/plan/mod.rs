//! What the run will do: the arguments, checked once, in the words of the other rooms.

mod besides;
mod shape;
mod target;

pub use besides::{Besides, sources_wanted};
pub use shape::Shape;
pub use target::{AmqpTarget, Follow, NatsTarget, QueueRules, Target};

use crate::arguments::{ConnectOrder, LoadArguments};
use crate::call::REQUESTER_COUNT_MAX;
use crate::pacer::{Arrival, Pace};
use std::time::Duration;

/// Calls in flight that one requester may have: its table of open calls is taken up front.
const IN_FLIGHT_MAX: u32 = 1 << 16;

/// Each interval of each thread has a histogram of its own.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// From a timer to the processor it takes some 30 µs, more in a virtual machine; timer slack has no
/// part in it (PR_SET_TIMERSLACK changes nothing to a wait on the ring).
const SPIN: Duration = Duration::from_micros(50);

const THREAD_COUNT_MAX: usize = 256;

/// Invariant: every count is at least 1 and within its maximum; the pace is positive; with a relay
/// there are as many workers as requesters.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    pub requester_count: u32,
    pub worker_count: u32,
    /// Per requester.
    pub in_flight: u32,
    pub amount: Amount,
    pub warmup: Amount,
    pub shape: Shape,
    /// For all that is drawn at random.
    pub seed: u64,
    /// `None`: closed loop.
    pub pace: Option<Pace>,
    /// Of the time series.
    pub interval: Duration,
    pub timeout: Duration,
    pub thread_count: usize,
    /// How long before something falls due a thread looks for it without sleeping.
    pub spin: Duration,
    pub connect_order: ConnectOrder,
    pub besides: Besides,
    /// The server's process, if its processor time is to be measured.
    pub server_pid: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Calls(u64),
    Time(Duration),
}

impl Plan {
    /// Errors: one sentence for the person who typed the arguments.
    pub fn new(target: Target, load: &LoadArguments) -> Result<Plan, String> {
        check_range(
            "--requesters",
            u64::from(load.requesters),
            1,
            u64::from(REQUESTER_COUNT_MAX),
        )?;
        check_range(
            "--workers",
            u64::from(load.workers),
            1,
            u64::from(REQUESTER_COUNT_MAX),
        )?;
        let in_flight = load
            .in_flight
            .unwrap_or(if load.rate.is_some() { 1024 } else { 1 });
        check_range(
            "--in-flight",
            u64::from(in_flight),
            1,
            u64::from(IN_FLIGHT_MAX),
        )?;
        let thread_count = load.threads.unwrap_or_else(default_thread_count);
        check_range("--threads", thread_count as u64, 1, THREAD_COUNT_MAX as u64)?;
        if load.rate.is_some_and(|rate| !(1e-3..=1e9).contains(&rate)) {
            return Err("--rate must be between 0.001 and 1e9 calls a second".to_owned());
        }
        let amount = match (load.calls, load.duration) {
            (_, Some(duration)) => Amount::Time(duration),
            (calls, None) => Amount::Calls(calls.unwrap_or(100_000)),
        };
        if amount == Amount::Calls(0) || amount == Amount::Time(Duration::ZERO) {
            return Err("nothing to do: --calls or --duration is zero".to_owned());
        }
        if load
            .interval
            .is_some_and(|interval| interval < INTERVAL_MIN)
        {
            return Err("--interval must be at least 100ms".to_owned());
        }
        if load.timeout.is_zero() {
            return Err("--timeout must be more than zero".to_owned());
        }
        let besides = Besides::new(&target, load)?;
        Ok(Plan {
            target,
            requester_count: load.requesters,
            worker_count: load.workers,
            in_flight,
            amount,
            warmup: load.warmup,
            shape: Shape::new(&load.shape, load.seed)?,
            seed: load.seed,
            pace: load.rate.map(|calls_per_s| Pace {
                calls_per_s,
                arrival: load.arrival,
                seed: load.seed,
            }),
            interval: load.interval.unwrap_or_else(|| default_interval(amount)),
            timeout: load.timeout,
            thread_count: thread_count.min(connection_count(load)),
            spin: load.spin.unwrap_or_else(|| default_spin(thread_count)),
            connect_order: load.connect_order,
            besides,
            server_pid: None,
        })
    }

    /// Something about the load is drawn at random.
    pub fn is_random(&self) -> bool {
        let is_poisson = |pace: Pace| pace.arrival == Arrival::Poisson;
        self.pace.is_some_and(is_poisson) || self.shape.is_random()
    }

    pub fn connection_count(&self) -> usize {
        (self.requester_count + self.worker_count) as usize
    }
}

fn connection_count(load: &LoadArguments) -> usize {
    (load.requesters + load.workers) as usize
}

// The broker under test has the other half.
fn default_thread_count() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Waking takes about as long. None if there are cores for either side's threads only.
fn default_spin(thread_count: usize) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores >= 2 * thread_count {
        SPIN
    } else {
        Duration::ZERO
    }
}

/// About a hundred to a run whose length is known.
fn default_interval(amount: Amount) -> Duration {
    match amount {
        Amount::Calls(_) => Duration::from_secs(1),
        Amount::Time(duration) => (duration / 100).clamp(INTERVAL_MIN, Duration::from_secs(60)),
    }
}

fn check_range(name: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!(
            "{name} must be between {min} and {max}, not {value}"
        ))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command};
    use clap::Parser;

    /// The plan of `loadgen rpc` and these options.
    pub fn plan(options: &str) -> Result<Plan, String> {
        let words = ["loadgen", "rpc"]
            .into_iter()
            .chain(options.split_whitespace());
        let Command::Rpc(arguments) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("another command")
        };
        let target = Target::new(&arguments.url, &arguments.amqp, &arguments.load)?;
        Plan::new(target, &arguments.load)
    }

    #[test]
    fn defaults_are_a_closed_loop_of_sixteen() {
        let plan = plan("").unwrap();
        assert_eq!(
            (plan.requester_count, plan.worker_count, plan.in_flight),
            (16, 16, 1)
        );
        assert_eq!(plan.amount, Amount::Calls(100_000));
        assert_eq!(plan.target.address(), "127.0.0.1:5672");
        let Target::Amqp(target) = plan.target else {
            panic!("not AMQP")
        };
        assert_eq!((target.vhost.as_str(), target.queue_count), ("/", 16));
    }

    #[test]
    fn a_rate_allows_more_in_flight() {
        assert_eq!(plan("--rate 1000").unwrap().in_flight, 1024);
        assert_eq!(plan("--rate 1000 --in-flight 3").unwrap().in_flight, 3);
        assert!(plan("--rate 0").is_err());
    }

    #[test]
    fn contradictions_are_refused_with_a_sentence() {
        for line in [
            "--size 15",
            "--prefetch 10",
            "--queues 0",
            "--url amqps://localhost",
            "--url nats://localhost --ack manual",
            "--url nats://localhost --reply queue",
            "--url nats://localhost --mandatory",
            "--url nats://localhost --dispatch fastest",
            "--deadline 5ms",
            "--heap 1000",
            "--rpc-errors --heap 0",
            "--rpc-errors --rpc-shed",
            "--rpc-timing --reply queue",
            "--url nats://localhost/path",
            "--url nats://",
            "--calls 0",
            "--requesters 0",
            "--in-flight 1000000",
            "--url relay://127.0.0.1:1 --workers 1 --requesters 2",
        ] {
            let message = plan(line).expect_err(line);
            assert!(message.len() > 10, "{line}: {message}");
        }
    }

    #[test]
    fn a_nats_url_has_a_port_of_its_own_and_perhaps_a_user() {
        for (url, address, username, password) in [
            ("nats://localhost", "localhost:4222", "", None),
            (
                "nats://me:p%40ss@127.0.0.1:1",
                "127.0.0.1:1",
                "me",
                Some("p@ss"),
            ),
            ("nats://token@[::1]:2", "[::1]:2", "token", None),
        ] {
            let Target::Nats(target) = plan(&format!("--url {url}")).unwrap().target else {
                panic!("not NATS")
            };
            assert_eq!(
                (target.address.as_str(), target.username.as_str()),
                (address, username)
            );
            assert_eq!(target.password.as_deref(), password);
            assert_eq!(target.subject_count, 16);
        }
    }

    #[test]
    fn a_url_is_taken_apart() {
        let plan = plan("--url amqp://me:p%40ss@127.0.0.1:5673/a%2fb").unwrap();
        let Target::Amqp(target) = plan.target else {
            panic!("not AMQP")
        };
        assert_eq!(target.username, "me");
        assert_eq!(target.password, "p@ss");
        assert_eq!(target.vhost, "a/b");
        assert_eq!(target.address, "127.0.0.1:5673");
    }
}
