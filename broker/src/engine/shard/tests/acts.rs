//! What a peer does on a whim.

use super::audit::{Consumer, Place};
use super::chaos::Chaos;
use super::client::*;
use amq_protocol::protocol::basic::{AMQPProperties, Consume, Publish};
use amq_protocol::protocol::{channel, confirm, exchange, queue, tx};

/// The first two are never purged or deleted, so nothing may be lost there.
pub const QUEUES: [&str; 5] = ["keep0", "keep1", "q2", "q3", "q4"];
pub const KEPT: usize = 2;
const EXCHANGES: [&str; 4] = ["amq.fanout", "amq.topic", "e0", "e1"];

impl Chaos {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.world.dice.roll(sides)
    }

    /// Mostly one that is surely there.
    fn queue(&mut self) -> &'static str {
        match self.roll(8) {
            0 => self.loose_queue(),
            at => QUEUES[at % KEPT],
        }
    }

    /// Not one of those that keep what they have.
    fn loose_queue(&mut self) -> &'static str {
        QUEUES[KEPT + self.world.dice.roll(QUEUES.len() - KEPT)]
    }

    pub fn consume(&mut self, place: Place, queue: &str, no_ack: bool) {
        self.latest_id += 1;
        let tag = format!("c{}", self.latest_id);
        let exclusive = self.roll(60) == 0;
        let prefetch = self.audit.view(place).prefetch;
        let consumer = Consumer {
            queue: queue.into(),
            no_ack,
            prefetch,
        };
        let consume = Consume {
            no_ack,
            exclusive,
            ..consume(queue, &tag)
        };
        self.audit.view(place).consumers.insert(tag, consumer);
        self.world.send(place.0, place.1, consume);
    }

    fn publish(&mut self, (peer, number): Place) {
        let requester = self.audit.view((peer, number)).is_requester;
        let queue = self.queue();
        let exchange = match self.roll(10) {
            0 => EXCHANGES[2 + self.roll(2)],
            at => EXCHANGES[at % 2],
        };
        self.latest_id += 1;
        let id = self.latest_id;
        let none = AMQPProperties::default();
        let mut publish = Publish {
            mandatory: self.roll(2) == 0,
            ..to("", queue)
        };
        let (properties, body) = match self.roll(8) {
            0 => {
                publish.exchange = exchange.into();
                (none, "noise".to_string())
            }
            1 if requester => {
                publish.routing_key = "names".into();
                let signature = self.audit.signature((peer, number));
                (with_reply_to(REPLY_TO), format!("a{signature}"))
            }
            2 | 3 if !self.audit.names.is_empty() => {
                let at = self.world.dice.roll(self.audit.names.len());
                let (name, signature) = &self.audit.names[at];
                publish.routing_key = name.as_str().into();
                (none, format!("r{id}>{signature}"))
            }
            _ => {
                if queue.starts_with("keep") {
                    self.audit.publishes((peer, number), id);
                }
                (none, format!("m{id}"))
            }
        };
        let piece_len = 1 + self.roll(20);
        let frames = publish_frames(number, publish, &properties, body.as_bytes(), piece_len);
        self.world.write(peer, &frames.concat());
    }

    fn settle(&mut self, place: Place) {
        let at = self.roll(4);
        let tag = self.audit.view(place).deliveries.keys().nth(at).copied();
        let Some(tag) = tag else { return };
        let multiple = self.roll(4) == 0;
        let (method, requeue) = match self.roll(4) {
            0 => (nack(tag, multiple, true).class(), true),
            1 => (nack(tag, multiple, false).class(), false),
            _ => {
                let mut ack = ack(tag);
                ack.multiple = multiple;
                (ack.class(), false)
            }
        };
        let through = self
            .audit
            .view(place)
            .deliveries
            .range(..=tag)
            .map(|(tag, _)| *tag);
        let tags: Vec<u64> = match multiple {
            true => through.collect(),
            false => vec![tag],
        };
        for tag in tags {
            self.audit.settles(place, tag, requeue);
        }
        self.world.send(place.0, place.1, method);
    }

    /// Declares, deletes, binds and the like: answers do not matter to the audit.
    fn name(&mut self, (peer, number): Place) {
        let (queue, any, exchange) = (
            self.loose_queue(),
            self.queue(),
            EXCHANGES[self.roll(EXCHANGES.len())],
        );
        let other = EXCHANGES[2 + self.roll(2)];
        let (one, two) = (self.roll(6) == 0, self.roll(6) == 0);
        let declare_queue = queue::Declare {
            auto_delete: queue == "q2",
            exclusive: queue == "q4" && one,
            ..declare(queue)
        };
        let delete_queue = queue::Delete {
            if_unused: one,
            if_empty: two,
            ..delete(queue)
        };
        let purge = queue::Purge {
            queue: queue.into(),
            nowait: one,
        };
        let declare_exchange = exchange::Declare {
            auto_delete: other == "e1",
            ..declare_exchange(other, "fanout")
        };
        let delete_exchange = exchange::Delete {
            exchange: other.into(),
            if_unused: one,
            nowait: two,
        };
        let bind_exchange = exchange::Bind {
            destination: exchange.into(),
            source: other.into(),
            ..exchange::Bind::default()
        };
        // What is used may have been deleted by somebody else; mostly it has not.
        let method = match self.roll(20) {
            0..=6 => declare_queue.class(),
            7 => delete_queue.class(),
            8 => {
                self.world.send(peer, number, declare_queue);
                purge.class()
            }
            9..=12 => declare_exchange.class(),
            13 => delete_exchange.class(),
            14 => {
                self.world.send(peer, number, declare_exchange);
                bind_exchange.class()
            }
            15..=17 => bind(any, "amq.fanout", "").class(),
            18 => bind(any, exchange, "").class(),
            _ => passive(any).class(),
        };
        self.world.send(peer, number, method);
    }

    fn misbehave(&mut self, (peer, number): Place) {
        match self.roll(8) {
            0 => self.world.send(peer, number, ack(1_000_000)),
            1 => self.world.send(peer, number, passive("none")),
            2 => self.world.send(peer, 9, declare("q3")),
            3 => self.world.send(peer, number, tx::Select {}),
            4 => self.world.send(peer, number, channel::Open {}),
            5 => self.world.write(peer, b"\x02\0\x01\0\0\0\x01x\xce"),
            6 => self.world.send(peer, number, bind("q3", "none", "")),
            _ => self
                .world
                .send(peer, number, consume_auto("amq.rabbitmq.reply-to.x", "x")),
        }
    }

    pub fn act(&mut self) {
        let at = self.roll(self.peers.len());
        let place = (self.peers[at], 1 + self.roll(2) as u16);
        let (peer, number) = place;
        let view = self.audit.view(place);
        if view.is_resting || !view.is_open {
            return;
        }
        if !view.is_requester && self.roll(4) == 0 {
            self.audit.view(place).is_requester = true;
            self.world.send(peer, number, consume_auto(REPLY_TO, "r"));
        }
        match self.roll(40) {
            0..=12 => self.publish(place),
            13..=20 => self.settle(place),
            21..=23 => {
                let (queue, no_ack) = (self.queue(), self.roll(3) == 0);
                self.consume(place, queue, no_ack);
            }
            24 => {
                let (queue, no_ack) = (self.queue(), self.roll(2) == 0);
                let view = self.audit.view(place);
                view.gets.push_back((queue.into(), no_ack));
                let get = if no_ack { get_auto(queue) } else { get(queue) };
                self.world.send(peer, number, get);
            }
            25 => {
                let at = self.roll(3);
                if let Some(tag) = self.audit.view(place).consumers.keys().nth(at).cloned() {
                    self.world.send(peer, number, cancel(&tag));
                }
            }
            26 | 27 => {
                let prefetch = self.roll(4) as u16;
                self.audit.view(place).prefetch = prefetch;
                self.world.send(peer, number, qos(prefetch, false));
            }
            28 if self.audit.view(place).consumers.is_empty() => {
                let prefetch = self.roll(4) as u16;
                self.audit.view(place).global = prefetch;
                self.world.send(peer, number, qos(prefetch, true));
            }
            30 => self
                .world
                .send(peer, number, confirm::Select { nowait: false }),
            31 => {
                self.audit.view(place).is_resting = true;
                self.world.send(peer, number, channel::Close::default());
                self.world.send(peer, number, channel::Open {});
            }
            32 => self.flow(place),
            34 if self.roll(5) == 0 => self.misbehave(place),
            33..=36 => self.name(place),
            _ => self.settle(place),
        }
    }

    fn flow(&mut self, (peer, number): Place) {
        let is_on = self.roll(2) == 0;
        if is_on {
            self.audit.view((peer, number)).is_stopped = false;
        }
        // Several at once would leave open which of them a delivery came before.
        self.audit.view((peer, number)).is_resting = true;
        self.world.send(peer, number, flow(is_on));
    }
}
