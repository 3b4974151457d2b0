//! Peers: clients that know the protocol, each with a bent of its own, and some that break it.
//! A peer knows only what it has read; what it writes comes with what it means by it.

mod acts;
mod greeting;
mod messages;
mod names;
mod wild;

pub use acts::ACT_COUNT;
pub use names::QUEUES as LOOSE_QUEUES;

use crate::link::{PeerEnd, Stage};
use crate::oracle::{Act, Effect, Place, Verdict};
use crate::wire::{Content, Heard, Ids, encode_method, ids};
use crate::world::World;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use amq_protocol::protocol::channel::{self, AMQPMethod as ChannelMethod};
use amq_protocol::protocol::connection::{self, AMQPMethod as ConnectionMethod};
use amq_protocol::protocol::queue::AMQPMethod as QueueMethod;
use amq_protocol::protocol::{AMQPClass, basic};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Requester,
    Worker,
    /// Declares, binds and deletes.
    Churner,
    /// Sends legal frames in illegal order, and octets that are no frames.
    Wild,
    /// Declares what lasts, serves what is left at the end, and meets no faults.
    Clerk,
}

impl Kind {
    /// Those that are drawn.
    pub const ALL: [Kind; 4] = [Kind::Requester, Kind::Worker, Kind::Churner, Kind::Wild];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Away,
    Greeting,
    Open,
    /// It has closed its connection, or been told to.
    Closing,
    /// It has done what will cost its connection, and says no more.
    Doomed,
}

pub struct Peer {
    pub kind: Kind,
    pub link: Option<usize>,
    phase: Phase,
    frame_max: usize,
    channel_max: u16,
    pub heartbeat_s: u16,
    /// Steps of the handshake that are still to be written.
    greeting: VecDeque<(Vec<u8>, Option<Act>)>,
    channels: BTreeMap<u16, PeerChannel>,
    epochs: BTreeMap<u16, u32>,
    unfinished: Option<Unfinished>,
    tag_count: u32,
}

/// A publish of which some frames are still to be written.
struct Unfinished {
    channel: u16,
    frames: VecDeque<Vec<u8>>,
    act: Option<Act>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Opening,
    Open,
    Closing,
}

#[derive(Default)]
struct PeerChannel {
    epoch: u32,
    standing: Standing,
    /// By tag: whether without acknowledgement.
    consumers: BTreeMap<String, bool>,
    /// Tags that it has cancelled.
    cancelled: Vec<String>,
    /// Consumes whose tag the broker makes, and others, not answered yet.
    consuming: VecDeque<(Option<String>, bool)>,
    /// Gets on their way: whether without acknowledgement.
    gets: VecDeque<bool>,
    /// Delivery tags to be settled.
    holds: BTreeMap<u64, usize>,
    /// Requests to be answered.
    tasks: Vec<Task>,
    has_replies: bool,
    has_asked_callback: bool,
    callback: Option<String>,
    has_callback_consumer: bool,
    recovering_count: usize,
    is_stopped: bool,
    is_confirming: bool,
    has_limit: bool,
}

#[derive(Clone, Debug)]
struct Task {
    message: usize,
    reply_to: Option<String>,
}

impl Peer {
    pub fn new(kind: Kind) -> Peer {
        Peer {
            kind,
            link: None,
            phase: Phase::Away,
            frame_max: 0,
            channel_max: 0,
            heartbeat_s: 0,
            greeting: VecDeque::new(),
            channels: BTreeMap::new(),
            epochs: BTreeMap::new(),
            unfinished: None,
            tag_count: 0,
        }
    }

    pub fn is_away(&self) -> bool {
        self.phase == Phase::Away
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub fn is_doomed(&self) -> bool {
        self.phase == Phase::Doomed
    }

    /// It is gone, without a word.
    pub fn vanish(&mut self, world: &mut World, end: PeerEnd) {
        if let Some(link) = self.link {
            world.end_link(link, end);
        }
        self.forget(world);
    }

    fn forget(&mut self, world: &mut World) {
        if let Some(link) = self.link.take() {
            world.links.all[link].is_orphan = true;
        }
        self.phase = Phase::Away;
        self.channels.clear();
        self.epochs.clear();
        self.greeting.clear();
        self.unfinished = None;
    }

    // Writing.

    fn write(&mut self, world: &mut World, octets: &[u8], act: Option<Act>) {
        let Some(link) = self.link.map(|link| &mut world.links.all[link]) else {
            return;
        };
        match act {
            // Its first octet may do it.
            Some(act @ Act::Wild(_)) => {
                link.write(&[], Some(act));
                link.write(octets, None);
            }
            act => link.write(octets, act),
        }
    }

    fn say(&mut self, world: &mut World, channel: u16, method: AMQPClass, act: Act) {
        self.write(world, &encode_method(channel, method), Some(act));
    }

    /// A method, and what it may come to.
    fn ask(
        &mut self,
        world: &mut World,
        channel: u16,
        method: AMQPClass,
        verdict: Verdict,
        (effect, nowait): (Effect, bool),
    ) {
        let ids = ids(&method);
        let answer = (!nowait).then(|| answer_of(ids)).flatten();
        let act = Act::Method {
            channel,
            ids,
            answer,
            verdict,
            effect,
        };
        self.say(world, channel, method, act);
    }

    pub fn heartbeat(&mut self, world: &mut World) {
        if self.phase == Phase::Open && self.unfinished.is_none() {
            self.write(world, b"\x08\0\0\0\0\0\0\xce", None);
        }
    }

    // Reading.

    /// Reads at most so many octets, and does what is called for at once.
    pub fn read(&mut self, world: &mut World, len_max: u64) {
        let Some(link) = self.link else { return };
        let heard = world.links.all[link].read(len_max);
        for heard in heard {
            self.hear(world, heard);
        }
        let Some(link) = self.link.map(|link| &world.links.all[link]) else {
            return;
        };
        let is_over = matches!(link.stage, Stage::Joining | Stage::Gone);
        if is_over && link.is_read_out() {
            self.forget(world);
        }
    }

    fn hear(&mut self, world: &mut World, heard: Heard) {
        match heard {
            Heard::ProtocolHeader | Heard::Heartbeat => {}
            Heard::Method(0, AMQPClass::Connection(method)) => {
                self.hear_of_connection(world, &method);
            }
            Heard::Method(number, method) => self.hear_on_channel(world, number, &method),
            Heard::Content(content) => self.hear_content(&content),
        }
    }

    fn hear_of_connection(&mut self, world: &mut World, method: &ConnectionMethod) {
        match method {
            ConnectionMethod::Start(_) => self.greet_on(world),
            ConnectionMethod::Tune(_) => {
                // tune-ok, and open behind it.
                self.greet_on(world);
                self.greet_on(world);
            }
            ConnectionMethod::OpenOk(_) if self.phase == Phase::Greeting => {
                self.phase = Phase::Open;
            }
            ConnectionMethod::Close(_) => {
                // Some never answer; time will end them.
                if self.kind != Kind::Wild || !world.dice.one_in(4) {
                    let close_ok = ConnectionMethod::CloseOk(connection::CloseOk {});
                    let method = AMQPClass::Connection(close_ok);
                    self.say(world, 0, method, Act::CloseConnectionOk);
                }
                self.phase = Phase::Closing;
                self.unfinished = None;
            }
            ConnectionMethod::CloseOk(_) => self.forget(world),
            _ => {}
        }
    }

    fn hear_on_channel(&mut self, world: &mut World, number: u16, method: &AMQPClass) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        match method {
            AMQPClass::Channel(ChannelMethod::OpenOk(_)) => channel.standing = Standing::Open,
            AMQPClass::Channel(ChannelMethod::CloseOk(_)) => drop(self.channels.remove(&number)),
            AMQPClass::Channel(ChannelMethod::Close(_)) => {
                if channel.standing != Standing::Closing {
                    self.channels.remove(&number);
                }
                if self
                    .unfinished
                    .as_ref()
                    .is_some_and(|u| u.channel == number)
                {
                    self.unfinished = None;
                }
                let close_ok = ChannelMethod::CloseOk(channel::CloseOk {});
                let method = AMQPClass::Channel(close_ok);
                self.say(world, number, method, Act::CloseChannelOk(number));
            }
            AMQPClass::Channel(ChannelMethod::FlowOk(ok)) => channel.is_stopped = !ok.active,
            AMQPClass::Queue(QueueMethod::DeclareOk(ok))
                if channel.has_asked_callback && ok.queue.as_str().starts_with("amq.gen") =>
            {
                channel.callback = Some(ok.queue.to_string());
            }
            AMQPClass::Basic(method) => channel.hear_basic(method),
            _ => {}
        }
    }

    fn hear_content(&mut self, content: &Content) {
        let Some(channel) = self.channels.get_mut(&content.channel) else {
            return;
        };
        let (tag, no_ack) = match &content.method {
            Basic::Deliver(deliver) => {
                let consumer = deliver.consumer_tag.as_str();
                let no_ack = channel.consumers.get(consumer).copied().unwrap_or(true);
                (deliver.delivery_tag, no_ack)
            }
            Basic::GetOk(get_ok) => {
                let no_ack = channel.gets.pop_front().unwrap_or(true);
                (get_ok.delivery_tag, no_ack)
            }
            _ => return,
        };
        let id = content.properties.message_id().as_ref();
        let Some(message) = id.and_then(|id| id.as_str().parse().ok()) else {
            return;
        };
        if !no_ack {
            channel.holds.insert(tag, message);
        }
        let reply_to = content.properties.reply_to().as_ref();
        let reply_to = reply_to.map(ToString::to_string);
        if reply_to.is_some() {
            channel.tasks.push(Task { message, reply_to });
        }
    }

    fn place(&self, number: u16) -> Option<Place> {
        Some(Place {
            conn: self.link?,
            channel: number,
            epoch: self.channels.get(&number)?.epoch,
        })
    }

    /// Channels on which it may write now.
    fn open_channels(&self) -> Vec<u16> {
        let busy = self
            .unfinished
            .as_ref()
            .map(|unfinished| unfinished.channel);
        let open = self.channels.iter().filter(|(number, channel)| {
            channel.standing == Standing::Open && Some(**number) != busy
        });
        open.map(|(number, _)| *number).collect()
    }
}

impl PeerChannel {
    fn hear_basic(&mut self, method: &Basic) {
        match method {
            Basic::ConsumeOk(ok) => {
                if let Some((_, no_ack)) = self.consuming.pop_front() {
                    self.consumers.insert(ok.consumer_tag.to_string(), no_ack);
                }
            }
            Basic::CancelOk(basic::CancelOk { consumer_tag })
            | Basic::Cancel(basic::Cancel { consumer_tag, .. }) => {
                self.consumers.remove(consumer_tag.as_str());
            }
            Basic::GetEmpty(_) => drop(self.gets.pop_front()),
            Basic::RecoverOk(_) => {
                self.recovering_count = self.recovering_count.saturating_sub(1);
                self.holds.clear();
            }
            _ => {}
        }
    }
}

/// Class and method of the answer, for methods that have one.
fn answer_of((class, method): Ids) -> Option<Ids> {
    match (class, method) {
        (60, 40 | 80 | 90 | 100 | 120) => None,
        (40, 40) => Some((40, 51)),
        (class, method) => Some((class, method + 1)),
    }
}
