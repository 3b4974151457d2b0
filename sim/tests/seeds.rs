//! Lives of the broker: those that once ended badly, some fresh ones, and some lived twice.

use sim::{Outcome, Overrides, Tally, live, shrink};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const FRESH_COUNT: u64 = 1000;

fn must_live(seed: u64) -> Tally {
    let outcome = live(seed, &Overrides::default(), 0);
    if let Some((text, step)) = outcome.failure {
        panic!("seed {seed}, step {step}: {text} (make sim OPTIONS=\"--seed {seed} --trace\")");
    }
    outcome.tally
}

#[test]
fn every_seed_that_ever_failed_lives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds.txt");
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap().trim());
    for seed in lines.filter(|line| !line.is_empty()) {
        must_live(seed.parse().expect("a seed per line"));
    }
}

/// Other seeds each time: what they find is a bug of the broker, not of this test, and its seed
/// belongs into `seeds.txt`.
#[test]
fn a_thousand_fresh_seeds_live() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let from = clock.as_nanos() as u64 >> 16;
    println!("fresh seeds from {from}");
    for seed in from..from + FRESH_COUNT {
        must_live(seed);
    }
}

/// Lives in which nothing happens would prove nothing. The same seeds each time, as some of this
/// happens in few lives.
#[test]
fn much_happens_in_a_thousand_lives() {
    let mut tally = Tally::default();
    for seed in 0..1000 {
        tally += must_live(seed);
    }
    let enough = [
        (tally.deliveries, 3000),
        (tally.redeliveries, 300),
        (tally.replies, 300),
        (tally.returns, 200),
        (tally.confirms, 300),
        (tally.channel_errors, 300),
        (tally.connection_errors, 100),
        (tally.refusals, 10),
        (tally.dead_letters, 60),
    ];
    for (count, min) in enough {
        assert!(count >= min, "{tally:?}");
    }
}

#[test]
fn two_lives_of_a_seed_are_the_same_whether_or_not_somebody_watches() {
    for seed in 0..100 {
        let one = live(seed, &Overrides::default(), 0);
        let other = live(seed, &Overrides::default(), 10_000);
        assert_eq!(one.fingerprint, other.fingerprint, "seed {seed}");
        let next = live(seed + 1, &Overrides::default(), 0);
        assert_ne!(one.fingerprint, next.fingerprint, "seed {seed}");
    }
}

/// As if it were a bug that anything is delivered twice.
fn live_once_only(seed: u64, overrides: &Overrides) -> Outcome {
    let mut outcome = live(seed, overrides, 0);
    if outcome.tally.redeliveries > 0 {
        outcome.failure = Some(("delivered again".into(), 0));
    }
    outcome
}

#[test]
fn a_failing_life_is_made_smaller_and_fails_still() {
    let fails = |seed: &u64| {
        live_once_only(*seed, &Overrides::default())
            .failure
            .is_some()
    };
    let seeds: Vec<u64> = (0..1000).filter(fails).take(10).collect();
    assert_eq!(seeds.len(), 10);
    let mut smaller_count = 0;
    for seed in seeds {
        let (overrides, smallest) = shrink(&|overrides| live_once_only(seed, overrides));
        assert!(live_once_only(seed, &overrides).failure.is_some());
        let before = live(seed, &Overrides::default(), 0).swarm.step_count;
        smaller_count += usize::from(smallest.swarm.step_count < before / 2);
    }
    assert!(
        smaller_count >= 5,
        "only {smaller_count} of 10 are half as long"
    );
}

#[test]
fn the_deliberate_bugs_fit_the_code() {
    #[derive(serde::Deserialize)]
    struct Bugs {
        bug: Vec<Bug>,
    }
    #[derive(serde::Deserialize)]
    struct Bug {
        name: String,
        file: String,
        find: String,
        replace: String,
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(here.join("bugs.toml")).unwrap();
    let bugs: Bugs = toml::from_str(&text).unwrap();
    assert!(bugs.bug.len() >= 10);
    for bug in bugs.bug {
        let code = fs::read_to_string(here.join("..").join(&bug.file)).unwrap();
        assert_eq!(code.matches(&bug.find).count(), 1, "{}", bug.name);
        assert_ne!(bug.find, bug.replace, "{}", bug.name);
    }
}
