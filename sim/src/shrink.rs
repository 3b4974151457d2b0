//! Makes a failing life smaller, as long as it still fails: fewer steps, then fewer peers and
//! shards, then fewer steps again.

use crate::life::{Outcome, live};
use crate::swarm::Overrides;

/// The smallest failing life found near the one given, which fails itself.
pub fn shrink(seed: u64, overrides: Overrides) -> (Overrides, Outcome) {
    let mut best = (overrides, live(seed, &overrides, 0));
    shorten(seed, &mut best);
    let swarm = best.1.swarm.clone();
    'smaller: for peer_count in 1..=swarm.peer_count {
        for shard_count in 1..=swarm.shard_count {
            let smaller = Overrides {
                peer_count: Some(peer_count),
                shard_count: Some(shard_count),
                // Other peers need other steps.
                step_count: Some(swarm.step_count.max(300)),
            };
            let outcome = live(seed, &smaller, 0);
            if outcome.failure.is_some() {
                let mut smaller = (smaller, outcome);
                shorten(seed, &mut smaller);
                let size = |outcome: &Outcome| {
                    let swarm = &outcome.swarm;
                    swarm.step_count * (swarm.peer_count + usize::from(swarm.shard_count))
                };
                if size(&smaller.1) < size(&best.1) {
                    best = smaller;
                    break 'smaller;
                }
            }
        }
    }
    best
}

/// Fewer steps: the same life, calmed down earlier.
fn shorten(seed: u64, best: &mut (Overrides, Outcome)) {
    let (mut passing, mut failing) = (0, best.1.swarm.step_count);
    if let Some((_, step)) = best.1.failure
        && step + 1 < failing
        && attempt(seed, best, step + 1)
    {
        failing = step + 1;
    }
    while passing + 1 < failing {
        let middle = passing + (failing - passing) / 2;
        if attempt(seed, best, middle) {
            failing = middle;
        } else {
            passing = middle;
        }
    }
}

fn attempt(seed: u64, best: &mut (Overrides, Outcome), step_count: usize) -> bool {
    let overrides = Overrides {
        step_count: Some(step_count),
        ..best.0
    };
    let outcome = live(seed, &overrides, 0);
    let fails = outcome.failure.is_some();
    if fails {
        *best = (overrides, outcome);
    }
    fails
}
