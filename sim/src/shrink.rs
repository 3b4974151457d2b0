//! Makes a failing life smaller, as long as it still fails: fewer steps, then fewer peers and
//! shards, then fewer steps again.

use crate::life::Outcome;
use crate::swarm::Overrides;

/// The smallest failing life found near one that fails, and how small it was made. `live`: lives
/// the seed's life, otherwise as it is told.
pub fn shrink(live: &impl Fn(&Overrides) -> Outcome) -> (Overrides, Outcome) {
    let overrides = Overrides::default();
    let mut best = (overrides, live(&overrides));
    shorten(live, &mut best);
    let swarm = best.1.swarm.clone();
    for peer_count in 1..=swarm.peer_count {
        for shard_count in 1..=swarm.shard_count {
            let smaller = Overrides {
                peer_count: Some(peer_count),
                shard_count: Some(shard_count),
                // Other peers need other steps.
                step_count: Some(swarm.step_count.max(300)),
            };
            let outcome = live(&smaller);
            if outcome.failure.is_none() {
                continue;
            }
            let mut smaller = (smaller, outcome);
            shorten(live, &mut smaller);
            if size(&smaller.1) < size(&best.1) {
                return smaller;
            }
        }
    }
    best
}

fn size(outcome: &Outcome) -> usize {
    let swarm = &outcome.swarm;
    swarm.step_count * (swarm.peer_count + usize::from(swarm.shard_count))
}

/// Fewer steps: the same life, calmed down earlier.
fn shorten(live: &impl Fn(&Overrides) -> Outcome, best: &mut (Overrides, Outcome)) {
    let (mut passing, mut failing) = (0, best.1.swarm.step_count);
    let mut fails_with = |step_count| {
        let overrides = Overrides {
            step_count: Some(step_count),
            ..best.0
        };
        let outcome = live(&overrides);
        let fails = outcome.failure.is_some();
        if fails {
            *best = (overrides, outcome);
        }
        fails
    };
    while passing + 1 < failing {
        let middle = passing + (failing - passing) / 2;
        match fails_with(middle) {
            true => failing = middle,
            false => passing = middle,
        }
    }
}
