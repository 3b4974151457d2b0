//! What a peer does next, as its kind and the swarm incline it.

use super::{Kind, Peer, PeerChannel, Phase, Standing, Unfinished};
use crate::oracle::{Act, Effect, QueueRef, Verdict};
use crate::rules::Rules;
use crate::world::World;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{
    AMQPMethod as Basic, Ack, Cancel, Consume, Get, Nack, Qos, Recover, Reject,
};
use amq_protocol::protocol::channel::{self, AMQPMethod as ChannelMethod};
use amq_protocol::protocol::confirm::{self, AMQPMethod as ConfirmMethod};
use amq_protocol::protocol::connection::{self, AMQPMethod as ConnectionMethod};
use amq_protocol::protocol::queue::{self, AMQPMethod as QueueMethod};
use broker::engine::time::Timestamp;

pub const REPLY_TO: &str = "amq.rabbitmq.reply-to";
pub const ACT_COUNT: usize = 21;

/// How inclined each kind is to each act, in the order of `act_on_channel`.
const INCLINATIONS: [[u32; ACT_COUNT]; 5] = [
    // Requester.
    [
        2, 1, 1, 40, 4, 20, 1, 1, 1, 1, 12, 6, 3, 2, 1, 2, 1, 1, 1, 0, 0,
    ],
    // Worker.
    [
        2, 1, 1, 2, 40, 30, 12, 3, 3, 4, 1, 0, 2, 2, 2, 1, 0, 0, 1, 0, 0,
    ],
    // Churner.
    [
        2, 2, 1, 4, 4, 12, 3, 2, 3, 2, 1, 3, 2, 1, 1, 2, 40, 12, 12, 0, 0,
    ],
    // Wild.
    [
        3, 3, 2, 10, 10, 12, 6, 3, 3, 3, 4, 3, 3, 3, 2, 6, 8, 6, 6, 8, 4,
    ],
    // Clerk.
    [0; ACT_COUNT],
];

impl Peer {
    /// Writes something, or not.
    pub fn act(&mut self, world: &mut World) {
        if self.phase != Phase::Open {
            return;
        }
        if self.unfinished.is_some() && world.dice.one_in(2) {
            return self.write_on(world);
        }
        let inclinations = INCLINATIONS[self.kind as usize];
        let mut weights = [0; ACT_COUNT];
        for (at, weight) in weights.iter_mut().enumerate() {
            *weight = inclinations[at] * world.swarm.acts[at];
        }
        // A peer without a channel can do nothing else.
        if self.channels.is_empty() {
            return self.open_channel(world);
        }
        let Some(act) = world.dice.weighted(&weights) else {
            return;
        };
        match act {
            0 => return self.open_channel(world),
            2 if world.dice.one_in(6) => return self.close_connection(world),
            2 => return,
            20 if world.dice.one_in(4) => return self.go_wild(world),
            20 => return,
            _ => {}
        }
        let open = self.open_channels();
        if !open.is_empty() {
            let number = world.dice.pick(&open);
            self.act_on_channel(world, number, act);
        }
    }

    fn act_on_channel(&mut self, world: &mut World, number: u16, act: usize) {
        match act {
            1 => self.close_channel(world, number),
            3 => self.request(world, number),
            4 => self.reply(world, number),
            5 => self.settle(world, number),
            6 => self.consume(world, number),
            7 => self.get(world, number),
            8 => self.cancel(world, number),
            9 => self.qos(world, number),
            10 => self.consume_replies(world, number),
            11 => self.use_callback(world, number),
            12 => self.confirm(world, number),
            13 => self.flow(world, number),
            14 => self.recover(world, number),
            15 => self.publish_oddly(world, number),
            16 => self.churn(world, number),
            17 => self.publish_loosely(world, number),
            18 => self.take_loosely(world, number),
            _ => self.misbehave(world, number),
        }
    }

    pub fn open_channel(&mut self, world: &mut World) {
        let number = 1 + world.dice.roll(self.channel_max.clamp(1, 3).into()) as u16;
        if self.channels.contains_key(&number) {
            return;
        }
        let epoch = self.epochs.entry(number).or_default();
        let channel = PeerChannel {
            epoch: *epoch,
            ..PeerChannel::default()
        };
        *epoch += 1;
        self.channels.insert(number, channel);
        let method = AMQPClass::Channel(ChannelMethod::Open(channel::Open {}));
        self.say(world, number, method, Act::OpenChannel(number));
    }

    fn close_channel(&mut self, world: &mut World, number: u16) {
        self.channel(number).standing = Standing::Closing;
        let method = AMQPClass::Channel(ChannelMethod::Close(channel::Close::default()));
        self.say(world, number, method, Act::CloseChannel(number));
    }

    pub fn close_connection(&mut self, world: &mut World) {
        self.phase = Phase::Closing;
        self.unfinished = None;
        let method = AMQPClass::Connection(ConnectionMethod::Close(connection::Close::default()));
        self.say(world, 0, method, Act::CloseConnection);
    }

    pub(super) fn channel(&mut self, number: u16) -> &mut PeerChannel {
        self.channels
            .get_mut(&number)
            .expect("the caller has picked one of them")
    }

    /// The next frame of what was begun.
    pub(super) fn write_on(&mut self, world: &mut World) {
        let Some(Unfinished { frames, act, .. }) = &mut self.unfinished else {
            return;
        };
        let Some(frame) = frames.pop_front() else {
            return;
        };
        let is_last = frames.is_empty();
        let act = if is_last { act.take() } else { None };
        if is_last {
            self.unfinished = None;
        }
        self.write(world, &frame, act);
    }

    pub(super) fn next_tag(&mut self) -> String {
        self.tag_count += 1;
        format!("t{}", self.tag_count)
    }

    // Taking messages.

    fn consume(&mut self, world: &mut World, number: u16) {
        if self.channel(number).consumers.len() >= 4 {
            return;
        }
        let queue = world.dice.roll(world.swarm.queue_count + 1);
        let name = world.oracle.queues[queue].name.clone();
        let no_ack = world.dice.one_in(4);
        let verdict = one_more_consumer(world);
        self.consume_from(
            world,
            number,
            (QueueRef::Followed(queue), &name),
            no_ack,
            verdict,
        );
    }

    pub(super) fn consume_from(
        &mut self,
        world: &mut World,
        number: u16,
        (queue, name): (QueueRef, &str),
        no_ack: bool,
        verdict: Verdict,
    ) {
        let nowait = world.dice.one_in(8);
        let tag = (nowait || !world.dice.one_in(8)).then(|| self.next_tag());
        let mut consume = Consume {
            queue: name.into(),
            consumer_tag: tag.clone().unwrap_or_default().into(),
            no_ack,
            exclusive: queue == QueueRef::Loose && world.dice.one_in(8),
            nowait,
            ..Consume::default()
        };
        if world.dice.one_in(6) {
            let priority = amq_protocol::types::AMQPValue::LongInt(world.dice.roll(3) as i32);
            consume.arguments.insert("x-priority".into(), priority);
        }
        let channel = self.channel(number);
        match (&tag, nowait) {
            (Some(tag), true) => drop(channel.consumers.insert(tag.clone(), no_ack)),
            _ => channel.consuming.push_back((tag.clone(), no_ack)),
        }
        let effect = Effect::AddConsumer {
            tag,
            queue,
            no_ack,
            prefetch: 0,
            asked_at: Timestamp::default(),
        };
        let method = AMQPClass::Basic(Basic::Consume(consume));
        self.ask(world, number, method, verdict, (effect, nowait));
    }

    fn get(&mut self, world: &mut World, number: u16) {
        let queue = world.dice.roll(world.swarm.queue_count + 1);
        let name = world.oracle.queues[queue].name.clone();
        self.get_from(
            world,
            number,
            (QueueRef::Followed(queue), &name),
            Verdict::Fine,
        );
    }

    pub(super) fn get_from(
        &mut self,
        world: &mut World,
        number: u16,
        (queue, name): (QueueRef, &str),
        verdict: Verdict,
    ) {
        let no_ack = world.dice.one_in(2);
        self.channel(number).gets.push_back(no_ack);
        let method = AMQPClass::Basic(Basic::Get(Get {
            queue: name.into(),
            no_ack,
        }));
        let asked_at = Timestamp::default();
        let effect = Effect::Get {
            queue,
            no_ack,
            asked_at,
        };
        self.ask(world, number, method, verdict, (effect, false));
    }

    fn cancel(&mut self, world: &mut World, number: u16) {
        let channel = self.channel(number);
        let is_live = |tag: &&String| !channel.cancelled.contains(tag);
        let tags: Vec<String> = channel.consumers.keys().filter(is_live).cloned().collect();
        let Some(at) = tags.len().checked_sub(1) else {
            return;
        };
        let tag = tags[world.dice.roll(at + 1)].clone();
        let nowait = world.dice.one_in(8);
        let channel = self.channel(number);
        channel.cancelled.push(tag.clone());
        if tag.starts_with('r') {
            channel.has_replies = false;
        }
        let method = AMQPClass::Basic(Basic::Cancel(Cancel {
            consumer_tag: tag.clone().into(),
            nowait,
        }));
        self.ask(
            world,
            number,
            method,
            Verdict::Fine,
            (Effect::Cancel(tag), nowait),
        );
    }

    fn consume_replies(&mut self, world: &mut World, number: u16) {
        if std::mem::replace(&mut self.channel(number).has_replies, true) {
            return;
        }
        let tag = format!("r{}", self.next_tag());
        let nowait = world.dice.one_in(4);
        let channel = self.channel(number);
        match nowait {
            true => drop(channel.consumers.insert(tag.clone(), true)),
            false => channel.consuming.push_back((Some(tag.clone()), true)),
        }
        let method = AMQPClass::Basic(Basic::Consume(Consume {
            queue: REPLY_TO.into(),
            consumer_tag: tag.clone().into(),
            no_ack: true,
            nowait,
            ..Consume::default()
        }));
        let verdict = one_more_consumer(world);
        self.ask(
            world,
            number,
            method,
            verdict,
            (Effect::AddReplies(tag), nowait),
        );
    }

    /// An exclusive queue of its own, and once its name is known a consumer of it.
    fn use_callback(&mut self, world: &mut World, number: u16) {
        let channel = self.channel(number);
        if let Some(name) = channel.callback.clone() {
            let is_first = !std::mem::replace(&mut channel.has_callback_consumer, true);
            let queues = &world.oracle.queues;
            let at = queues.iter().position(|queue| queue.name == name);
            if let Some(at) = at.filter(|_| is_first) {
                let no_ack = world.dice.one_in(2);
                let has_end = world.oracle.queues[at].rules.expires.is_some();
                let queue = (QueueRef::Followed(at), name.as_str());
                let verdict = match has_end {
                    true => Verdict::May(&[404, 406]),
                    false => one_more_consumer(world),
                };
                self.consume_from(world, number, queue, no_ack, verdict);
            }
        } else if !std::mem::replace(&mut channel.has_asked_callback, true) {
            let rules = Rules::of_callback(&mut world.dice, &world.swarm.rates);
            let method = AMQPClass::Queue(QueueMethod::Declare(queue::Declare {
                exclusive: true,
                arguments: rules.arguments(),
                ..queue::Declare::default()
            }));
            let effect = (Effect::DeclareCallback(Box::new(rules)), false);
            self.ask(world, number, method, Verdict::May(&[506]), effect);
        }
    }

    // Settling.

    fn settle(&mut self, world: &mut World, number: u16) {
        let channel = self.channel(number);
        if channel.recovering_count > 0 {
            return;
        }
        let tags: Vec<u64> = channel.holds.keys().copied().collect();
        if tags.is_empty() {
            return;
        }
        let tag = world.dice.pick(&tags);
        let requeue = world
            .dice
            .pick(&[None, None, None, Some(true), Some(false)]);
        let multiple = world.dice.one_in(4);
        self.settle_tag(world, number, (tag, multiple), requeue);
    }

    pub(super) fn settle_tag(
        &mut self,
        world: &mut World,
        number: u16,
        (tag, multiple): (u64, bool),
        requeue: Option<bool>,
    ) {
        let method = match requeue {
            None => Basic::Ack(Ack {
                delivery_tag: tag,
                multiple,
            }),
            Some(requeue) if !multiple && world.dice.one_in(2) => Basic::Reject(Reject {
                delivery_tag: tag,
                requeue,
            }),
            Some(requeue) => Basic::Nack(Nack {
                delivery_tag: tag,
                multiple,
                requeue,
            }),
        };
        let channel = self.channel(number);
        let tags: Vec<u64> = match multiple {
            true => channel.holds.range(..=tag).map(|(tag, _)| *tag).collect(),
            false => vec![tag],
        };
        channel.holds.retain(|tag, _| !tags.contains(tag));
        let act = Act::Settle {
            channel: number,
            tags,
            requeue,
        };
        self.say(world, number, AMQPClass::Basic(method), act);
    }

    fn recover(&mut self, world: &mut World, number: u16) {
        let channel = self.channel(number);
        channel.recovering_count += 1;
        channel.holds.clear();
        let method = AMQPClass::Basic(Basic::Recover(Recover { requeue: true }));
        self.ask(
            world,
            number,
            method,
            Verdict::Fine,
            (Effect::Recover, false),
        );
    }

    // The channel itself.

    fn qos(&mut self, world: &mut World, number: u16) {
        let prefetch_count = world.dice.pick(&[0, 1, 1, 2, 3]);
        let global = world.dice.one_in(3);
        let method = AMQPClass::Basic(Basic::Qos(Qos {
            prefetch_count,
            global,
        }));
        let effect = match global {
            true => Effect::GlobalPrefetch(prefetch_count),
            false => Effect::Prefetch(prefetch_count),
        };
        self.channel(number).has_limit |= global && prefetch_count > 0;
        self.ask(world, number, method, Verdict::Fine, (effect, false));
    }

    fn confirm(&mut self, world: &mut World, number: u16) {
        if std::mem::replace(&mut self.channel(number).is_confirming, true) {
            return;
        }
        let nowait = world.dice.one_in(2);
        let method = AMQPClass::Confirm(ConfirmMethod::Select(confirm::Select { nowait }));
        self.ask(
            world,
            number,
            method,
            Verdict::Fine,
            (Effect::Confirm, nowait),
        );
    }

    fn flow(&mut self, world: &mut World, number: u16) {
        let active = self.channel(number).is_stopped || world.dice.one_in(2);
        self.set_flow(world, number, active);
    }

    pub(super) fn set_flow(&mut self, world: &mut World, number: u16, active: bool) {
        self.channel(number).is_stopped = !active;
        let method = AMQPClass::Channel(ChannelMethod::Flow(channel::Flow { active }));
        self.ask(
            world,
            number,
            method,
            Verdict::Fine,
            (Effect::Flow(active), false),
        );
    }

    /// Nothing new: finishes what it has begun and gives back what it holds. False: nothing was
    /// left to do.
    pub fn wind_up(&mut self, world: &mut World) -> bool {
        if self.phase != Phase::Open || self.kind == Kind::Clerk && self.channels.is_empty() {
            return false;
        }
        if self.unfinished.is_some() {
            self.write_on(world);
            return true;
        }
        let mut has_done = false;
        for number in self.open_channels() {
            if self.channel(number).is_stopped {
                self.set_flow(world, number, true);
                has_done = true;
            }
            // What is begun on this channel comes first.
            while self.unfinished.is_none() && !self.channel(number).tasks.is_empty() {
                self.reply(world, number);
                has_done = true;
            }
            if self.channel(number).recovering_count > 0 {
                continue;
            }
            while let Some((tag, _)) = self.channel(number).holds.last_key_value() {
                let tag = (*tag, true);
                self.settle_tag(world, number, tag, None);
                has_done = true;
            }
        }
        has_done
    }

    /// Takes all that waits in the queues that last.
    pub fn serve(&mut self, world: &mut World) {
        let queues = 0..=world.swarm.queue_count;
        let Some(number) = self.open_channels().first().copied() else {
            return;
        };
        for queue in queues {
            let name = world.oracle.queues[queue].name.clone();
            let queue = (QueueRef::Followed(queue), name.as_str());
            self.consume_from(world, number, queue, false, Verdict::Fine);
        }
    }
}

/// The broker may have had enough of them.
fn one_more_consumer(world: &World) -> Verdict {
    match world.swarm.limits.consumer_count_max {
        0..100 => Verdict::May(&[406]),
        _ => Verdict::Fine,
    }
}
