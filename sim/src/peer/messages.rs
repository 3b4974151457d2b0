//! Publishing: requests, replies, and messages that nobody can take.

use super::acts::REPLY_TO;
use super::{Peer, Task, Unfinished};
use crate::oracle::{Act, Message, Route, Verdict, body_of};
use crate::rules::{draw_lifetime, hits};
use crate::wire::publish_frames;
use crate::world::World;
use amq_protocol::protocol::basic::{AMQPProperties, Publish};
use amq_protocol::types::{AMQPValue, FieldTable};

impl Peer {
    /// A request to one of the queues that last, or to several through an exchange that lasts.
    pub(super) fn request(&mut self, world: &mut World, number: u16) {
        let count = world.swarm.queue_count;
        let queue = world.dice.roll(count);
        let name = world.oracle.queues[queue].name.clone();
        let all: Vec<usize> = (0..count).collect();
        let mut headers = None;
        let (exchange, key, queues) = match world.dice.roll(10) {
            0 => ("xd", format!("k{queue}"), vec![queue]),
            1 => ("xt", format!("t.{queue}.x"), vec![queue]),
            2 => ("xt", "t.all.x.y".into(), all),
            3 => ("xf", String::new(), all),
            4 => {
                let mut table = FieldTable::default();
                table.insert("q".into(), AMQPValue::LongInt(queue as i32));
                headers = Some(table);
                ("xh", "any".into(), vec![queue])
            }
            _ => ("", name, vec![queue]),
        };
        let mut message = Message::new(exchange, &key, Route::Queues(queues));
        if let Some(headers) = headers {
            message.properties = message.properties.with_headers(headers);
        }
        let place = self.place(number);
        let channel = self.channel(number);
        if channel.has_replies {
            message.properties = message.properties.with_reply_to(REPLY_TO.into());
            message.asks_from = place;
        } else if let Some(callback) = &channel.callback {
            message.properties = message.properties.with_reply_to(callback.as_str().into());
        }
        message.mandatory = world.dice.one_in(4);
        self.publish(world, number, message, Verdict::Fine);
    }

    /// Answers one of its tasks, sometimes for the first of two times.
    pub(super) fn reply(&mut self, world: &mut World, number: u16) {
        let channel = self.channel(number);
        if channel.tasks.is_empty() {
            return;
        }
        if self.kind == super::Kind::Clerk && world.swarm.limits.assembly_len_max < 1000 {
            // It would cost its connection.
            self.channel(number).tasks.clear();
            return;
        }
        let channel = self.channel(number);
        let at = world.dice.roll(channel.tasks.len());
        let task = channel.tasks.swap_remove(at);
        let Some(reply_to) = &task.reply_to else {
            return;
        };
        let queue = world
            .oracle
            .queues
            .iter()
            .position(|queue| &queue.name == reply_to);
        let route = match (world.oracle.reply_names.get(reply_to), queue) {
            (Some(place), _) => Route::Direct(*place),
            (None, Some(queue)) => Route::Queues(vec![queue]),
            (None, None) => return,
        };
        let mut message = Message::new("", reply_to, route);
        let Task { message: id, .. } = task;
        message.properties = AMQPProperties::default().with_correlation_id(id.to_string().into());
        message.mandatory = world.dice.one_in(4);
        self.publish(world, number, message, Verdict::Fine);
        if world.dice.one_in(12) {
            self.channel(number).tasks.push(task);
        }
    }

    /// To where nobody is, or not at all.
    pub(super) fn publish_oddly(&mut self, world: &mut World, number: u16) {
        let (exchange, key, verdict) = match world.dice.roll(8) {
            0 => ("none", "x", Verdict::Must(&[404])),
            1 => (
                "",
                "amq.rabbitmq.reply-to.g1h2AA5yZXBseUAxMjM0NTY3OA",
                Verdict::Fine,
            ),
            2 => ("xd", "none", Verdict::Fine),
            _ => ("", "nowhere", Verdict::Fine),
        };
        let mut message = Message::new(exchange, key, Route::Nowhere);
        message.mandatory = world.dice.one_in(2);
        self.publish(world, number, message, verdict);
    }

    /// A bare reply name without a reply consumer, or in somebody else's name.
    pub(super) fn publish_wrongly(&mut self, world: &mut World, number: u16) {
        let mut message = Message::new("", "nowhere", Route::Nowhere);
        message.properties = match self.channel(number).has_replies {
            false => message.properties.with_reply_to(REPLY_TO.into()),
            true => message.properties.with_user_id("somebody".into()),
        };
        self.publish(world, number, message, Verdict::Must(&[406]));
    }

    pub(super) fn publish(
        &mut self,
        world: &mut World,
        number: u16,
        mut message: Message,
        verdict: Verdict,
    ) {
        let id = world.oracle.messages.len();
        let dice = &mut world.dice;
        message.body_len = match dice.roll(4) {
            0 => world.swarm.body_len_max,
            1 => 0,
            _ => dice.roll(world.swarm.body_len_max + 1).min(600),
        };
        if self.kind == super::Kind::Clerk {
            message.body_len = message.body_len.min(100);
        }
        message.properties = message.properties.with_message_id(id.to_string().into());
        if dice.one_in(4) {
            message.properties = message.properties.with_delivery_mode(2).with_priority(3);
        }
        let rates = world.swarm.rates;
        if hits(dice, rates.priority) {
            let priority = dice.pick(&[0, 1, 2, 9]);
            message.properties = message.properties.with_priority(priority);
        }
        message.expiration = draw_lifetime(dice, rates.expiration);
        if let Some(expiration) = message.expiration {
            let text = expiration.as_millis().to_string();
            message.properties = message.properties.with_expiration(text.into());
        }
        let is_too_large = message.body_len as u64 > world.swarm.broker_body_len_max;
        // What is refused for its size is refused before anything else is looked at.
        let verdict = if is_too_large {
            Verdict::Must(&[406])
        } else {
            verdict
        };
        let publish = Publish {
            exchange: message.exchange.as_str().into(),
            routing_key: message.routing_key.as_str().into(),
            mandatory: message.mandatory,
            ..Publish::default()
        };
        let body: Vec<u8> = body_of(id, message.body_len).collect();
        let piece_count = 1 + dice.roll(4);
        let piece_len = (body.len() / piece_count).clamp(1, self.frame_max - 8);
        let properties = message.properties.clone();
        let frames = publish_frames(number, publish, properties, &body, piece_len);
        world.oracle.messages.push(message);
        let act = Act::Publish {
            channel: number,
            message: id,
            verdict,
        };
        let mut act = Some(act);
        if matches!(verdict, Verdict::Must(_)) {
            // The first frames may do it.
            self.write(world, &[], act.take());
        }
        if self.unfinished.is_none() && world.dice.one_in(4) {
            self.unfinished = Some(Unfinished {
                channel: number,
                frames: frames.into(),
                act,
            });
        } else {
            self.write(world, &frames.concat(), act);
        }
    }
}
