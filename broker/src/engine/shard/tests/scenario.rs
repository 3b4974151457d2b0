//! Where scenarios take place and in which order: placements, pieces, seeds.

use super::super::{Settings, User};
use super::world::World;
use crate::limits;

/// Where a scenario takes place.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub shard_count: u16,
    /// The shard of each place that a scenario speaks of.
    pub places: [u16; 4],
    /// Octets that arrive at once.
    pub piece_len: usize,
    pub seed: u64,
}

const WHOLE: usize = usize::MAX;

impl Layout {
    pub const ONE: Layout = Layout {
        shard_count: 1,
        places: [0; 4],
        piece_len: WHOLE,
        seed: 1,
    };
    /// Every place on the other shard than the one before.
    pub const TWO: Layout = Layout {
        shard_count: 2,
        places: [0, 1, 0, 1],
        ..Layout::ONE
    };
}

/// Runs a scenario wherever its peers can be, with whole and torn input, in several orders.
pub fn everywhere(scenario: impl Fn(&mut World)) {
    everywhere_with(&settings(), scenario);
}

pub fn everywhere_with(settings: &Settings, scenario: impl Fn(&mut World)) {
    const PLACES: [(u16, [u16; 4]); 7] = [
        (1, [0; 4]),
        (2, [0; 4]),
        (2, [1; 4]),
        (2, [0, 1, 0, 1]),
        (2, [1, 0, 1, 0]),
        (3, [1, 2, 0, 1]),
        (3, [2, 1, 1, 0]),
    ];
    for (shard_count, places) in PLACES {
        for (piece_len, seeds) in [(WHOLE, 1..4), (1, 4..5), (7, 5..6)] {
            for seed in seeds {
                let layout = Layout {
                    shard_count,
                    places,
                    piece_len,
                    seed,
                };
                let mut world = World::with(layout, settings.clone());
                scenario(&mut world);
                world.end();
            }
        }
    }
}

pub fn settings() -> Settings {
    let user = |name: &str, loopback_only| User {
        name: name.into(),
        password: "secret".into(),
        loopback_only,
    };
    Settings {
        users: vec![user("guest", true), user("service", false)],
        vhosts: vec!["/".into()],
        policies: Vec::new(),
        heartbeat_s: 60,
        frame_len_max: limits::FRAME_LEN_MAX,
        channel_max: limits::CHANNEL_MAX,
        connection_count_max: 1000,
        body_len_max: limits::BODY_LEN_MAX,
        queued_len_max: 1 << 32,
        calls_measured_per_second: u32::MAX, // all: which must change nothing for anybody
        started_at_s: 1_800_000_000,
        limits: limits::Limits::SHIPPED,
        secret: [7; 16],
    }
}

/// A repeatable source of choices (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }
}
