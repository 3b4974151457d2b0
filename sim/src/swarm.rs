//! What a life is like: in each some faults are off, some rare and some frequent (swarm testing,
//! Groce et al., ISSTA 2012), and so are the things that peers do.

use crate::dice::Dice;
use crate::peer::{ACT_COUNT, Kind, LOOSE_QUEUES};
use crate::rules::{Rates, Rules};
use broker::engine::shard::{Settings, User};
use broker::limits::{self, Limits};

/// When the broker of every life began, in seconds since 1970.
pub const STARTED_AT_S: u64 = 1_800_000_000;

/// Octets that arrive at once.
#[derive(Clone, Copy, Debug)]
pub enum Pieces {
    Whole,
    /// At most so many.
    Small(usize),
    /// Anything from one octet to all.
    Any,
}

/// How often each fault happens, per thousand steps.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A connection is reset, at any octet.
    pub cut: u32,
    /// A peer closes its own side.
    pub half_close: u32,
    /// A peer sends octets that are no frames, wherever it stands, and nothing more.
    pub garbage: u32,
    /// A peer stops reading, or reads again.
    pub deafen: u32,
    /// A lane of mail is held back, or let go.
    pub hold_mail: u32,
    /// A shard does nothing for a while.
    pub stall: u32,
    /// Time jumps.
    pub jump: u32,
}

#[derive(Clone, Debug)]
pub struct Swarm {
    pub shard_count: u16,
    pub mailbox_capacity: usize,
    pub mails_per_turn: usize,
    pub pieces: Pieces,
    /// Unread octets that the kernel takes for a peer.
    pub kernel_len_max: usize,
    pub peer_count: usize,
    pub step_count: usize,
    /// Queues that last, and that requests go to; the grave is one more.
    pub queue_count: usize,
    /// How frequent rules of queues are.
    pub rates: Rates,
    /// Of the queues that come and go, by their place among the names.
    pub loose_rules: [Rules; LOOSE_QUEUES.len()],
    /// The longest pause between two steps.
    pub pause_us_max: usize,
    pub faults: Faults,
    pub kinds: [u32; Kind::ALL.len()],
    /// By act: a peer's inclination is multiplied by it.
    pub acts: [u32; ACT_COUNT],
    pub body_len_max: usize,
    pub connection_count_max: usize,
    pub queued_len_max: usize,
    pub calls_measured_per_second: u32,
    pub frame_len_max: u32,
    pub channel_max: u16,
    pub heartbeat_s: u16,
    /// Bodies that the broker takes.
    pub broker_body_len_max: u64,
    pub limits: Limits,
}

/// What a person, or the shrinker, wants to be otherwise than the seed says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub peer_count: Option<usize>,
    pub step_count: Option<usize>,
    pub shard_count: Option<u16>,
}

impl Swarm {
    pub fn draw(dice: &mut Dice, overrides: &Overrides) -> Swarm {
        let shard_count = dice.pick(&[1, 1, 2, 2, 2, 2, 3, 3, 4, 8]);
        let peer_count = 2 + dice.roll(7);
        let step_count = dice.pick(&[150, 300, 300, 600, 1200]);
        let shard_count = overrides.shard_count.unwrap_or(shard_count);
        let peer_count = overrides.peer_count.unwrap_or(peer_count);
        let step_count = overrides.step_count.unwrap_or(step_count);
        let body_len_max = dice.pick(&[8, 8, 60, 600, 600, 6000, 40_000]);
        let is_crowded = dice.one_in(6);
        let is_full = dice.one_in(4);
        let rates = Rates::draw(dice);
        Swarm {
            shard_count,
            mailbox_capacity: dice.pick(&[1, 1, 2, 3, 8, 1024, 1024]),
            mails_per_turn: dice.pick(&[1, 2, 256, 256]),
            pieces: match dice.roll(5) {
                0 | 1 => Pieces::Whole,
                2 => Pieces::Small(1 + dice.roll(9)),
                _ => Pieces::Any,
            },
            kernel_len_max: dice.pick(&[20, 300, 4096, 1 << 20, 1 << 20, 1 << 20]),
            peer_count,
            step_count,
            queue_count: 1 + dice.roll(3),
            loose_rules: [(); LOOSE_QUEUES.len()].map(|()| Rules::of_loose(dice, &rates)),
            rates,
            pause_us_max: dice.pick(&[5000, 5000, 100_000, 1_000_000]),
            faults: Faults::draw(dice),
            kinds: [(); Kind::ALL.len()].map(|()| dice.pick(&[0, 1, 2, 4])),
            acts: [(); ACT_COUNT].map(|()| dice.pick(&[0, 1, 1, 2, 4])),
            body_len_max,
            connection_count_max: match is_crowded {
                true => usize::from(shard_count) * (1 + dice.roll(3)),
                false => 1000,
            },
            queued_len_max: match is_full {
                true => usize::from(shard_count) * dice.pick(&[1, 300, 2000]),
                false => 1 << 30,
            },
            calls_measured_per_second: dice.pick(&[0, 1, 1000, u32::MAX, u32::MAX]),
            frame_len_max: dice.pick(&[4096, 4096, 8192, limits::FRAME_LEN_MAX]),
            channel_max: dice.pick(&[1, 2, 4, 2047]),
            heartbeat_s: dice.pick(&[0, 0, 1, 60]),
            broker_body_len_max: dice.pick(&[100, 5000, limits::BODY_LEN_MAX]),
            limits: draw_limits(dice, body_len_max),
        }
    }

    pub fn settings(&self) -> Settings {
        Settings {
            users: vec![User {
                name: "guest".into(),
                password: "guest".into(),
                loopback_only: true,
            }],
            vhosts: vec!["/".into()],
            policies: Vec::new(),
            heartbeat_s: self.heartbeat_s,
            frame_len_max: self.frame_len_max,
            channel_max: self.channel_max,
            connection_count_max: self.connection_count_max,
            body_len_max: self.broker_body_len_max,
            queued_len_max: self.queued_len_max,
            calls_measured_per_second: self.calls_measured_per_second,
            started_at_s: STARTED_AT_S,
            secret: [7; 16],
            limits: self.limits,
        }
    }
}

/// Each as it ships, or absurdly low.
fn draw_limits(dice: &mut Dice, body_len_max: usize) -> Limits {
    let shipped = Limits::SHIPPED;
    // So low that a body may fit and its properties do not, now and then.
    let assembly_len_max = match dice.roll(12) {
        0 => body_len_max as u64 + 10,
        1..=4 => 4000,
        _ => shipped.assembly_len_max,
    };
    let mut limit = |low: &[usize], shipped: usize| match dice.one_in(3) {
        true => dice.pick(low),
        false => shipped,
    };
    let unsent_len_high = limit(&[2, 500, 5000], shipped.unsent_len_high);
    Limits {
        unsent_len_high,
        unsent_len_low: unsent_len_high / 4,
        // Below what one life can pile up at a peer that reads, it would end the innocent.
        unsent_len_max: match body_len_max {
            0..=600 => limit(&[300 << 10], shipped.unsent_len_max),
            _ => shipped.unsent_len_max,
        },
        assembly_len_max,
        transaction_len_max: shipped.transaction_len_max,
        backlog_len_max: limit(&[1, 100, 5000], shipped.backlog_len_max),
        parked_len_max: limit(&[1, 100, 5000], shipped.parked_len_max),
        // The exchanges and bindings that last, and some more.
        exchange_count_max: limit(&[12], shipped.exchange_count_max),
        binding_count_max: limit(&[19], shipped.binding_count_max),
        call_count_max: shipped.call_count_max,
        queue_count_max: limit(&[7], shipped.queue_count_max),
        consumer_count_max: limit(&[4], shipped.consumer_count_max),
        held_reply_count_max: limit(&[1, 3], shipped.held_reply_count_max),
        held_reply_len_max: limit(&[1, 1000], shipped.held_reply_len_max),
        transit_len_max: limit(&[1, 300, 3000], shipped.transit_len_max),
        // The judge misses what is dropped.
        letters_len_max: shipped.letters_len_max,
        outbox_count_max: limit(&[1, 2, 10], shipped.outbox_count_max),
    }
}

impl Swarm {
    /// A connection may have begun too much: messages that it publishes may cost it (506).
    pub fn is_short_of_assembly(&self) -> bool {
        self.limits.assembly_len_max < Limits::SHIPPED.assembly_len_max
    }
}

impl Faults {
    fn draw(dice: &mut Dice) -> Faults {
        if dice.one_in(8) {
            return Faults::NONE;
        }
        let mut rate = |rates: &[u32]| dice.pick(rates);
        Faults {
            cut: rate(&[0, 1, 1, 10]),
            half_close: rate(&[0, 0, 1, 5]),
            garbage: rate(&[0, 0, 1, 5]),
            deafen: rate(&[0, 2, 20]),
            hold_mail: rate(&[0, 3, 30]),
            stall: rate(&[0, 2, 20]),
            jump: rate(&[0, 0, 1, 5]),
        }
    }

    pub const NONE: Faults = Faults {
        cut: 0,
        half_close: 0,
        garbage: 0,
        deafen: 0,
        hold_mail: 0,
        stall: 0,
        jump: 0,
    };
}
