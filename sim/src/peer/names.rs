//! Names that come and go: queues, exchanges and bindings that everybody may take from everybody.

use super::Peer;
use crate::dice::Dice;
use crate::oracle::{Effect, Message, QueueRef, Route, Verdict};
use crate::rules::{GRAVE, GRAVE_EXCHANGE, Rules};
use crate::world::World;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::exchange::{self, AMQPMethod as Exchange};
use amq_protocol::protocol::queue::{self, AMQPMethod as Queue};
use amq_protocol::types::FieldTable;

pub const QUEUES: [&str; 4] = ["l0", "l1", "l2", "l3"];
const EXCHANGES: [&str; 3] = ["e0", "e1", "e2"];
const KINDS: [&str; 4] = ["direct", "fanout", "topic", "headers"];
const KEYS: [&str; 5] = ["", "a", "a.b", "a.*.#", "#"];
/// Of each type one.
const LASTING: [&str; 4] = ["xd", "xt", "xf", "xh"];
const KINDS_OF_LASTING: [&str; 4] = ["direct", "topic", "fanout", "headers"];

/// Gone, somebody else's, or not as declared.
const NAMES: Verdict = Verdict::May(&[403, 404, 405, 406, 506]);

impl Peer {
    pub(super) fn churn(&mut self, world: &mut World, number: u16) {
        let (method, nowait) = match world.dice.roll(16) {
            0 => return self.ask_for_requester(world, number),
            1..=10 => queue_method(&mut world.dice, &world.swarm.loose_rules),
            _ => exchange_method(&mut world.dice),
        };
        self.ask(world, number, method, NAMES, (Effect::None, nowait));
    }

    /// Does somebody still wait for replies under this name?
    fn ask_for_requester(&mut self, world: &mut World, number: u16) {
        let count = world.oracle.reply_names.len();
        if count == 0 {
            return;
        }
        let at = world.dice.roll(count);
        let Some(name) = world.oracle.reply_names.keys().nth(at) else {
            return;
        };
        let method = AMQPClass::Queue(Queue::Declare(queue::Declare {
            queue: name.as_str().into(),
            passive: true,
            ..queue::Declare::default()
        }));
        self.ask(world, number, method, NAMES, (Effect::None, false));
    }

    pub(super) fn publish_loosely(&mut self, world: &mut World, number: u16) {
        let dice = &mut world.dice;
        let (exchange, key) = match dice.one_in(2) {
            true => ("", dice.pick(&QUEUES)),
            false => (dice.pick(&EXCHANGES), dice.pick(&["", "a", "a.b"])),
        };
        let mut message = Message::new(exchange, key, Route::Loose);
        message.mandatory = dice.one_in(2);
        let verdict = match exchange {
            "" => Verdict::Fine,
            _ => Verdict::May(&[403, 404]),
        };
        self.publish(world, number, message, verdict);
    }

    pub(super) fn take_loosely(&mut self, world: &mut World, number: u16) {
        let queue = (QueueRef::Loose, world.dice.pick(&QUEUES));
        let no_ack = world.dice.one_in(2);
        match world.dice.one_in(2) {
            true => self.get_from(world, number, queue, NAMES),
            false if self.channel(number).consumers.len() < 4 => {
                self.consume_from(world, number, queue, no_ack, NAMES);
            }
            false => {}
        }
    }

    /// What lasts: queues `s0`, `s1`, … and an exchange of each type that leads to them; the
    /// grave, and an exchange of its own.
    pub fn declare_lasting(&mut self, world: &mut World, queues: &[usize]) {
        let Some(number) = self.open_channels().first().copied() else {
            return;
        };
        let fine = |peer: &mut Peer, world: &mut World, method| {
            peer.ask(world, number, method, Verdict::Fine, (Effect::None, false));
        };
        let grave = (GRAVE_EXCHANGE, "fanout");
        let exchanges = LASTING.into_iter().zip(KINDS_OF_LASTING);
        for (exchange, kind) in exchanges.chain([grave]) {
            let declare = exchange::Declare {
                exchange: exchange.into(),
                kind: kind.into(),
                ..exchange::Declare::default()
            };
            fine(self, world, AMQPClass::Exchange(Exchange::Declare(declare)));
        }
        for at in queues {
            let queue = &world.oracle.queues[*at];
            let name = queue.name.clone();
            let declare = queue::Declare {
                queue: name.as_str().into(),
                arguments: queue.rules.arguments(),
                ..queue::Declare::default()
            };
            fine(self, world, AMQPClass::Queue(Queue::Declare(declare)));
            let keys = match name == GRAVE {
                true => vec![(GRAVE_EXCHANGE, String::new())],
                false => vec![
                    ("xd", format!("k{at}")),
                    ("xt", format!("t.{at}.*")),
                    ("xt", "t.all.#".into()),
                    ("xf", String::new()),
                    ("xh", String::new()),
                ],
            };
            for (exchange, key) in keys {
                let mut bind = queue::Bind {
                    queue: name.as_str().into(),
                    exchange: exchange.into(),
                    routing_key: key.as_str().into(),
                    ..queue::Bind::default()
                };
                if exchange == "xh" {
                    let value = amq_protocol::types::AMQPValue::LongInt(*at as i32);
                    bind.arguments.insert("q".into(), value);
                }
                fine(self, world, AMQPClass::Queue(Queue::Bind(bind)));
            }
        }
    }
}

/// Something about a queue, and whether no answer is wanted.
fn queue_method(dice: &mut Dice, rules: &[Rules; QUEUES.len()]) -> (AMQPClass, bool) {
    let at = dice.roll(QUEUES.len());
    let queue = QUEUES[at];
    let exchange = match dice.one_in(2) {
        true => dice.pick(&EXCHANGES),
        false => dice.pick(&LASTING),
    };
    let (one, two, nowait) = (dice.one_in(4), dice.one_in(4), dice.one_in(6));
    let key = dice.pick(&KEYS);
    let (method, nowait) = match dice.roll(13) {
        0..=5 => {
            let arguments = rules[at].arguments();
            (declare_queue(dice, queue, arguments, nowait), nowait)
        }
        6 => {
            // One that the broker names.
            let declare = queue::Declare {
                auto_delete: one,
                ..queue::Declare::default()
            };
            (Queue::Declare(declare), false)
        }
        7 => {
            let delete = queue::Delete {
                queue: queue.into(),
                if_unused: one,
                if_empty: two,
                nowait,
            };
            (Queue::Delete(delete), nowait)
        }
        8 => {
            let queue = queue.into();
            (Queue::Purge(queue::Purge { queue, nowait }), nowait)
        }
        9..=11 => {
            let bind = queue::Bind {
                queue: queue.into(),
                exchange: exchange.into(),
                routing_key: key.into(),
                nowait,
                ..queue::Bind::default()
            };
            (Queue::Bind(bind), nowait)
        }
        _ => {
            let unbind = queue::Unbind {
                queue: queue.into(),
                exchange: exchange.into(),
                routing_key: key.into(),
                ..queue::Unbind::default()
            };
            (Queue::Unbind(unbind), false)
        }
    };
    (AMQPClass::Queue(method), nowait)
}

fn declare_queue(dice: &mut Dice, queue: &str, arguments: FieldTable, nowait: bool) -> Queue {
    Queue::Declare(queue::Declare {
        queue: queue.into(),
        passive: dice.one_in(6),
        // Mostly the same, or most declares would fail.
        durable: queue == "l1" || dice.one_in(20),
        exclusive: queue == "l2" && dice.one_in(4),
        auto_delete: queue == "l3",
        nowait,
        arguments,
    })
}

/// Something about an exchange, and whether no answer is wanted.
fn exchange_method(dice: &mut Dice) -> (AMQPClass, bool) {
    let (exchange, key) = (dice.pick(&EXCHANGES), dice.pick(&KEYS));
    let source = match dice.one_in(2) {
        true => dice.pick(&EXCHANGES),
        false => dice.pick(&LASTING),
    };
    let nowait = dice.one_in(6);
    let method = match dice.roll(7) {
        0..=2 => Exchange::Declare(exchange::Declare {
            exchange: exchange.into(),
            kind: match dice.one_in(16) {
                true => dice.pick(&KINDS).into(),
                false => "fanout".into(),
            },
            passive: dice.one_in(4),
            auto_delete: exchange == "e1",
            internal: exchange == "e2",
            nowait,
            ..exchange::Declare::default()
        }),
        3 => Exchange::Delete(exchange::Delete {
            exchange: exchange.into(),
            if_unused: dice.one_in(2),
            nowait,
        }),
        4 | 5 => Exchange::Bind(exchange::Bind {
            destination: exchange.into(),
            source: source.into(),
            routing_key: key.into(),
            nowait,
            ..exchange::Bind::default()
        }),
        _ => Exchange::Unbind(exchange::Unbind {
            destination: exchange.into(),
            source: source.into(),
            routing_key: key.into(),
            nowait,
            ..exchange::Unbind::default()
        }),
    };
    (AMQPClass::Exchange(method), nowait)
}
