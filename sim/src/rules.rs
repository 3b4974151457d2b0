//! What the queues of a life are declared with: drawn from the dice, as arguments of
//! queue.declare, and as the oracle reads them.

use crate::dice::Dice;
use amq_protocol::types::{AMQPValue, FieldTable};
use std::time::Duration;

/// An hour: nobody in any life sees its end.
const LONG_MS: u64 = 3_600_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    #[default]
    DropHead,
    RejectPublish,
    RejectPublishDlx,
}

/// Where a queue's dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letters {
    pub exchange: String,
    /// `None`: each keeps its own.
    pub routing_key: Option<String>,
}

/// The arguments of one queue.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub message_ttl: Option<Duration>,
    pub expires: Option<Duration>,
    pub length_max: Option<u64>,
    pub body_len_max: Option<u64>,
    pub overflow: Overflow,
    pub letters: Option<Letters>,
    pub priority_max: Option<u8>,
    pub is_single_active: bool,
    pub delivery_limit: Option<u32>,
    /// `x-dispatch`.
    pub dispatch: Option<&'static str>,
    /// `x-rpc-slow-ms`: its calls are followed, which changes nothing for anybody.
    pub slow_ms: Option<u64>,
}

/// How frequent each rule is in a life, in eighths.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub message_ttl: u32,
    pub expires: u32,
    pub length_max: u32,
    pub refusal: u32,
    pub letters: u32,
    pub priority_max: u32,
    pub single_active: u32,
    pub delivery_limit: u32,
    pub dispatch: u32,
    pub slow_ms: u32,
    /// Of messages: with a time of their own, and with a priority.
    pub expiration: u32,
    pub priority: u32,
}

impl Rates {
    pub fn draw(dice: &mut Dice) -> Rates {
        let is_plain = dice.one_in(4);
        let mut rate = || match is_plain {
            true => 0,
            false => dice.pick(&[0, 0, 1, 4, 7]),
        };
        Rates {
            message_ttl: rate(),
            expires: rate(),
            length_max: rate(),
            refusal: rate(),
            letters: rate(),
            priority_max: rate(),
            single_active: rate(),
            delivery_limit: rate(),
            dispatch: rate(),
            slow_ms: rate(),
            expiration: rate(),
            priority: rate(),
        }
    }
}

/// Is it one of so many eighths?
pub fn hits(dice: &mut Dice, rate: u32) -> bool {
    rate > 0 && dice.roll(8) < rate as usize
}

fn one_of<T: Copy>(dice: &mut Dice, rate: u32, values: &[T]) -> Option<T> {
    hits(dice, rate).then(|| dice.pick(values))
}

/// The time that a message may have, short or without end.
pub fn draw_lifetime(dice: &mut Dice, rate: u32) -> Option<Duration> {
    one_of(dice, rate, &[0, 1, 20, 300, LONG_MS]).map(Duration::from_millis)
}

fn letters(exchange: &str, routing_key: Option<&str>) -> Letters {
    Letters {
        exchange: exchange.into(),
        routing_key: routing_key.map(Into::into),
    }
}

fn draw_letters(dice: &mut Dice, rate: u32, places: &[Letters]) -> Option<Letters> {
    hits(dice, rate).then(|| places[dice.roll(places.len())].clone())
}

impl Rules {
    /// Of a queue that lasts: its letters go to the grave, back into it, or nowhere.
    pub fn of_lasting(dice: &mut Dice, rates: &Rates, name: &str) -> Rules {
        let places = [
            letters("", Some(GRAVE)),
            letters(GRAVE_EXCHANGE, None),
            letters("", Some(name)),
            letters("none", None),
        ];
        Rules {
            expires: None,
            ..Rules::draw(dice, rates, &places)
        }
    }

    /// Of the queue that dead letters come to: it may send them back after a while.
    pub fn of_grave(dice: &mut Dice, rates: &Rates) -> Rules {
        let rate = rates.message_ttl.min(2);
        let message_ttl = one_of(dice, rate, &[0, 20, 300]).map(Duration::from_millis);
        Rules {
            message_ttl,
            letters: message_ttl.map(|_| letters("", Some("s0"))),
            is_single_active: hits(dice, rates.single_active),
            ..Rules::default()
        }
    }

    /// Of a queue whose messages nobody follows.
    pub fn of_loose(dice: &mut Dice, rates: &Rates) -> Rules {
        let places = [
            letters("", Some("l1")),
            letters("e0", None),
            letters("", Some("l0")),
        ];
        Rules::draw(dice, rates, &places)
    }

    /// Of an exclusive queue that the broker names.
    pub fn of_callback(dice: &mut Dice, rates: &Rates) -> Rules {
        Rules {
            expires: draw_expires(dice, rates.expires),
            message_ttl: draw_lifetime(dice, rates.message_ttl.min(1)),
            ..Rules::default()
        }
    }

    fn draw(dice: &mut Dice, rates: &Rates, places: &[Letters]) -> Rules {
        Rules {
            message_ttl: draw_lifetime(dice, rates.message_ttl),
            expires: draw_expires(dice, rates.expires),
            length_max: one_of(dice, rates.length_max, &[0, 1, 1, 2, 3]),
            body_len_max: one_of(dice, rates.length_max.min(1), &[0, 10, 700]),
            overflow: one_of(dice, rates.refusal, &Overflow::REFUSING).unwrap_or_default(),
            letters: draw_letters(dice, rates.letters, places),
            priority_max: one_of(dice, rates.priority_max, &[1, 3, 10]),
            is_single_active: hits(dice, rates.single_active),
            delivery_limit: one_of(dice, rates.delivery_limit, &[0, 1, 2]),
            dispatch: one_of(dice, rates.dispatch, &["least-outstanding", "fastest"]),
            slow_ms: one_of(dice, rates.slow_ms, &[0, 5]),
        }
    }

    pub fn has_limit(&self) -> bool {
        self.length_max.is_some() || self.body_len_max.is_some()
    }

    /// Publishers may be told that there was no room.
    pub fn may_refuse(&self) -> bool {
        self.overflow != Overflow::DropHead && self.has_limit()
    }

    pub fn arguments(&self) -> FieldTable {
        let mut table = FieldTable::default();
        let mut number = |key: &str, value: Option<u64>| {
            if let Some(value) = value {
                table.insert(key.into(), AMQPValue::LongLongInt(value as i64));
            }
        };
        let ms = |time: Duration| time.as_millis() as u64;
        number("x-message-ttl", self.message_ttl.map(ms));
        number("x-expires", self.expires.map(ms));
        number("x-max-length", self.length_max);
        number("x-max-length-bytes", self.body_len_max);
        number("x-max-priority", self.priority_max.map(Into::into));
        number("x-delivery-limit", self.delivery_limit.map(Into::into));
        number("x-rpc-slow-ms", self.slow_ms);
        let mut text = |key: &str, value: &str| {
            table.insert(key.into(), AMQPValue::LongString(value.into()));
        };
        match self.overflow {
            Overflow::DropHead => {}
            Overflow::RejectPublish => text("x-overflow", "reject-publish"),
            Overflow::RejectPublishDlx => text("x-overflow", "reject-publish-dlx"),
        }
        if let Some(letters) = &self.letters {
            text("x-dead-letter-exchange", &letters.exchange);
            if let Some(key) = &letters.routing_key {
                text("x-dead-letter-routing-key", key);
            }
        }
        if let Some(dispatch) = self.dispatch {
            text("x-dispatch", dispatch);
        }
        if self.is_single_active {
            table.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        table
    }
}

impl Overflow {
    const REFUSING: [Overflow; 2] = [Overflow::RejectPublish, Overflow::RejectPublishDlx];
}

/// The queue that dead letters come to, and the exchange that leads there by any key.
pub const GRAVE: &str = "d0";
pub const GRAVE_EXCHANGE: &str = "xg";

/// Short, so that each queue's end comes within the life.
fn draw_expires(dice: &mut Dice, rate: u32) -> Option<Duration> {
    one_of(dice, rate, &[1, 50, 500]).map(Duration::from_millis)
}
