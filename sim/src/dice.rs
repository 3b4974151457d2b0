//! The one source of choices of a life, and the fingerprint of all that came of them.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::hash::{DefaultHasher, Hasher};

pub struct Dice {
    generator: Xoshiro256PlusPlus,
    fingerprint: DefaultHasher,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice {
            generator: Xoshiro256PlusPlus::seed_from_u64(seed),
            fingerprint: DefaultHasher::new(),
        }
    }

    /// Below `sides`, which is not 0.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.generator.random_range(0..sides)
    }

    pub fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    pub fn per_mille(&mut self, rate: u32) -> bool {
        rate > 0 && self.roll(1000) < rate as usize
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.roll(items.len())]
    }

    /// An index, as often as its weight says. `None`: all weights are 0.
    pub fn weighted(&mut self, weights: &[u32]) -> Option<usize> {
        let total: u32 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        let mut left = self.roll(total as usize) as u32;
        weights.iter().position(|weight| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        })
    }

    /// Something happened: it goes into the fingerprint.
    pub fn note(&mut self, what: &[u64]) {
        for number in what {
            self.fingerprint.write_u64(*number);
        }
    }

    pub fn note_octets(&mut self, octets: &[u8]) {
        self.fingerprint.write(octets);
    }

    /// Equal for two runs of a seed, or the engine (or this world) is not deterministic.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }
}
