//! What the calls are like, checked.

use super::check_range;
use crate::arguments::ShapeArguments;
use crate::body::BODY_LEN_MIN;
use crate::distribution::Distribution;
use crate::sizes::{BODY_LEN_MAX, Sizes};

const SERVER_COUNT_MAX: u64 = 1 << 16;

const SLOWNESS_MAX: f64 = 1000.0;

/// A minute: what takes longer is no call, and would outlive every timeout.
const TIME_NS_MAX: u64 = 60_000_000_000;

/// Times are in nanoseconds. Invariant: `server_count > 0`.
#[derive(Clone, Debug)]
pub struct Shape {
    pub sizes: Sizes,
    /// Closed loop: before each call.
    pub think: Option<Distribution>,
    /// For each request, at the worker.
    pub service: Option<Distribution>,
    /// Requests that a worker serves at a time.
    pub server_count: u32,
    /// How much longer the first worker takes.
    pub slow_worker: Option<f64>,
}

impl Shape {
    /// Errors: one sentence for the person who typed the arguments.
    pub fn new(arguments: &ShapeArguments, seed: u64) -> Result<Shape, String> {
        check_sizes("--size", &arguments.size)?;
        if let Some(reply_size) = &arguments.reply_size {
            check_sizes("--reply-size", reply_size)?;
        }
        for (name, times) in [
            ("--think", &arguments.think),
            ("--service", &arguments.service),
        ] {
            if times
                .as_ref()
                .is_some_and(|times| times.mean() > TIME_NS_MAX as f64)
            {
                return Err(format!("{name} must be at most a minute"));
            }
        }
        let server_count = arguments.service_concurrency;
        check_range(
            "--service-concurrency",
            u64::from(server_count),
            1,
            SERVER_COUNT_MAX,
        )?;
        if arguments
            .slow_worker
            .is_some_and(|factor| !(1.0..=SLOWNESS_MAX).contains(&factor))
        {
            return Err(format!(
                "--slow-worker must be between 1 and {SLOWNESS_MAX}"
            ));
        }
        let (size, reply_size) = (arguments.size.clone(), arguments.reply_size.clone());
        Ok(Shape {
            sizes: Sizes::new(size, reply_size, seed),
            think: arguments.think.clone(),
            service: arguments.service.clone(),
            server_count,
            slow_worker: arguments.slow_worker,
        })
    }

    /// Something about the calls is drawn at random.
    pub fn is_random(&self) -> bool {
        [
            Some(self.sizes.request()),
            self.sizes.reply(),
            self.think.as_ref(),
            self.service.as_ref(),
        ]
        .into_iter()
        .flatten()
        .any(Distribution::is_random)
    }
}

/// Exponential sizes below the least one are made as long as that.
fn check_sizes(name: &str, sizes: &Distribution) -> Result<(), String> {
    let least = match sizes {
        Distribution::Exponential { mean } => *mean,
        _ => sizes.min(),
    };
    let (min, max) = (BODY_LEN_MIN as u64, BODY_LEN_MAX as u64);
    check_range(name, least, min, max)?;
    check_range(name, sizes.max(), min, max)
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;

    #[test]
    fn shapes_that_cannot_be_are_refused_with_a_sentence() {
        for line in [
            "--size 15",
            "--size uniform:15-64",
            "--size 1000000000",
            "--size exp:100000000",
            "--reply-size 8",
            "--think 2m",
            "--service exp:2m",
            "--service 1ms --service-concurrency 0",
            "--service 1ms --slow-worker 0.5",
        ] {
            let message = plan(line).expect_err(line);
            assert!(message.len() > 10, "{line}: {message}");
        }
    }

    #[test]
    fn what_is_drawn_at_random_is_known_to_be() {
        assert!(!plan("--size 100 --think 1ms").unwrap().shape.is_random());
        assert!(plan("--size uniform:16-64").unwrap().shape.is_random());
        assert!(plan("--service exp:1ms").unwrap().shape.is_random());
    }
}
