//! The judge: what a broker may do, given what has arrived and what it has sent. It is no second
//! broker; it follows both histories at the broker's own boundary and names the first thing that
//! must not be. What cannot be told at once is a suspicion, and told when the world is at rest.

mod channel;
mod confirms;
mod delivery;
mod ends;
mod letters;
mod message;
mod rest;
mod rules;

pub use channel::{Effect, QueueRef, Verdict};
pub use message::{Message, Route, body_of};
pub use rest::{Leftovers, Rest};

use crate::peer::LOOSE_QUEUES;
use crate::rules::{GRAVE, Rules};
use crate::swarm::Swarm;
use crate::wire::{Heard, Ids};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::channel::AMQPMethod as ChannelMethod;
use amq_protocol::protocol::connection::AMQPMethod as ConnectionMethod;
use broker::engine::time::Timestamp;
use channel::ChannelView;
use std::collections::{BTreeMap, BTreeSet};

/// A connection's number; none is given twice.
pub type Conn = usize;

/// A channel of a connection, between one channel.open and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub conn: Conn,
    pub channel: u16,
    /// How often the channel was opened before.
    pub epoch: u32,
}

/// What a peer means by octets that it has written; takes effect when all of them have arrived.
#[derive(Debug)]
pub enum Act {
    TuneOk {
        frame_max: u32,
        heartbeat_s: u16,
    },
    OpenChannel(u16),
    CloseChannel(u16),
    CloseChannelOk(u16),
    CloseConnection,
    CloseConnectionOk,
    Method {
        channel: u16,
        ids: Ids,
        answer: Option<Ids>,
        verdict: Verdict,
        effect: Effect,
    },
    Publish {
        channel: u16,
        message: usize,
        verdict: Verdict,
    },
    /// `requeue`: `None` acknowledges.
    Settle {
        channel: u16,
        tags: Vec<u64>,
        requeue: Option<bool>,
    },
    /// What must, or may, cost the connection with one of these codes, or without a word.
    Wild(&'static [u16]),
}

/// A queue whose messages are followed one by one.
#[derive(Debug)]
pub struct QueueView {
    pub name: String,
    /// Where it lives.
    shard: u16,
    pub rules: Rules,
    /// It goes with this connection.
    pub owner: Option<Conn>,
    pub is_gone: bool,
    /// Deliveries without acknowledgement may have been lost with a connection.
    is_lossy: bool,
    /// Messages may have come back to it.
    had_returns: bool,
    /// Among them such as nobody was sent.
    had_bounces: bool,
    /// Nobody promises to consume from it.
    pub is_unread: bool,
    /// A channel has ended that may have been handed messages that it was never sent.
    has_unseen_returns: bool,
    /// Letters may come to it, nobody knows how many.
    has_letters: bool,
    /// Messages that were published to it, and the octets of their bodies.
    entered_count: u64,
    entered_len: u64,
    /// Who was sent its latest message, by the consumer's tag.
    active: Option<(Place, String)>,
}

impl QueueView {
    fn new(name: String, shard: u16, rules: Rules) -> QueueView {
        QueueView {
            name,
            shard,
            rules,
            owner: None,
            is_gone: false,
            is_lossy: false,
            had_returns: false,
            had_bounces: false,
            is_unread: false,
            has_unseen_returns: false,
            has_letters: false,
            entered_count: 0,
            entered_len: 0,
            active: None,
        }
    }

    /// Can there ever have been more than it may hold?
    fn may_be_over(&self) -> bool {
        let is_over = |max: Option<u64>, count| max.is_some_and(|max| count > max);
        self.has_letters
            || is_over(self.rules.length_max, self.entered_count)
            || is_over(self.rules.body_len_max, self.entered_len)
    }
}

#[derive(Debug)]
struct ConnView {
    shard: u16,
    accepted_at: Timestamp,
    last_heard: Timestamp,
    /// 0 before tune-ok.
    frame_len_max: usize,
    heartbeat_s: u16,
    is_open: bool,
    /// Nothing of what it sends counts any more.
    has_ended: bool,
    close_arrived: bool,
    /// connection.close was sent to it.
    is_refused: bool,
    /// The last method of the connection was sent to it.
    is_dismissed: bool,
    is_released: bool,
    is_blocked: bool,
    wild: Option<&'static [u16]>,
    channels: BTreeMap<u16, ChannelView>,
    epochs: BTreeMap<u16, u32>,
    /// Followed queues that it takes from without acknowledgement.
    no_ack_queues: BTreeSet<usize>,
}

/// How much a life had to judge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub connections: u64,
    pub messages: u64,
    pub deliveries: u64,
    pub redeliveries: u64,
    pub replies: u64,
    pub returns: u64,
    pub confirms: u64,
    pub channel_errors: u64,
    pub connection_errors: u64,
    pub refusals: u64,
    pub dead_letters: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.redeliveries += other.redeliveries;
        self.replies += other.replies;
        self.returns += other.returns;
        self.confirms += other.confirms;
        self.channel_errors += other.channel_errors;
        self.connection_errors += other.connection_errors;
        self.refusals += other.refusals;
        self.dead_letters += other.dead_letters;
    }
}

/// What is only true if one of these comes true.
#[derive(Debug)]
struct Suspicion {
    text: String,
    /// Unless one of these channels has ended.
    unless_ended: Vec<Place>,
    /// Unless messages came back to this queue.
    unless_returns: Option<usize>,
    /// Unless this message's copy has been sent more often than its queue lets it come back, as
    /// will be seen of those who read late, or the queue had messages back that nobody was sent.
    unless_spent: Option<(usize, usize)>,
}

pub struct Oracle {
    pub messages: Vec<Message>,
    pub queues: Vec<QueueView>,
    pub reply_names: BTreeMap<String, Place>,
    pub tally: Tally,
    pub now: Timestamp,
    /// Queues that are not followed, and what they are declared with.
    loose: Vec<(String, Rules)>,
    /// From here on nothing waits to be executed, and nobody publishes of his own accord.
    settled_at: Option<Timestamp>,
    /// When the last part began in which all that waits is taken.
    serving_at: Option<Timestamp>,
    conns: Vec<ConnView>,
    suspicions: Vec<Suspicion>,
    failure: Option<String>,
    next_consumer: u32,
    connection_shares: Vec<usize>,
    is_shutting_down: bool,
    is_short_of_room: bool,
    is_short_of_assembly: bool,
}

impl Oracle {
    pub fn new(swarm: &Swarm) -> Oracle {
        let (max, count) = (swarm.connection_count_max, usize::from(swarm.shard_count));
        let share = |index| max / count + usize::from(index < max % count);
        Oracle {
            messages: Vec::new(),
            queues: Vec::new(),
            reply_names: BTreeMap::new(),
            tally: Tally::default(),
            now: Timestamp::default(),
            loose: LOOSE_QUEUES
                .iter()
                .zip(&swarm.loose_rules)
                .map(|(name, rules)| (name.to_string(), rules.clone()))
                .collect(),
            settled_at: None,
            serving_at: None,
            conns: Vec::new(),
            suspicions: Vec::new(),
            failure: None,
            next_consumer: 0,
            connection_shares: (0..count).map(share).collect(),
            is_shutting_down: false,
            is_short_of_room: swarm.limits.unsent_len_max < 1 << 20,
            is_short_of_assembly: swarm.is_short_of_assembly(),
        }
    }

    pub fn fail(&mut self, text: String) {
        self.failure.get_or_insert(text);
    }

    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    // Connections.

    pub fn connected(&mut self, conn: Conn, shard: u16, now: Timestamp) {
        assert_eq!(conn, self.conns.len());
        self.tally.connections += 1;
        self.conns.push(ConnView {
            shard,
            accepted_at: now,
            last_heard: now,
            frame_len_max: 0,
            heartbeat_s: 0,
            is_open: false,
            has_ended: false,
            close_arrived: false,
            is_refused: false,
            is_dismissed: false,
            is_released: false,
            is_blocked: false,
            wild: None,
            channels: BTreeMap::new(),
            epochs: BTreeMap::new(),
            no_ack_queues: BTreeSet::new(),
        });
        if self.connection_count(shard) > self.connection_shares[usize::from(shard)] {
            self.fail(format!("shard {shard} has more connections than it may"));
        }
    }

    pub fn refused(&mut self, shard: u16) {
        if self.connection_count(shard) < self.connection_shares[usize::from(shard)] {
            self.fail(format!(
                "shard {shard} refuses a connection it has room for"
            ));
        }
    }

    fn connection_count(&self, shard: u16) -> usize {
        let mine = self.conns.iter().filter(|conn| conn.shard == shard);
        mine.filter(|conn| !conn.is_released).count()
    }

    pub fn frame_len_max(&self, conn: Conn) -> usize {
        self.conns[conn].frame_len_max
    }

    pub fn heard_from(&mut self, conn: Conn, now: Timestamp) {
        self.conns[conn].last_heard = now;
    }

    pub fn released(&mut self, conn: Conn) {
        self.conns[conn].is_released = true;
    }

    pub fn shut_down(&mut self) {
        self.is_shutting_down = true;
    }

    fn has_ended(&self, place: Place) -> bool {
        let conn = &self.conns[place.conn];
        let view = conn.channels.get(&place.channel);
        conn.has_ended || view.is_none_or(|view| view.place != place || view.has_ended)
    }

    /// A queue that is declared in peace and lasts.
    pub fn lasting_queue(&mut self, name: String, shard: u16, rules: Rules) {
        self.queues.push(QueueView::new(name, shard, rules));
        let keys = |view: &QueueView| view.rules.letters.as_ref()?.routing_key.clone();
        let keys: Vec<String> = self.queues.iter().filter_map(keys).collect();
        for view in &mut self.queues {
            view.has_letters |= keys.contains(&view.name) || view.name == GRAVE;
        }
    }

    /// All that peers have written is executed.
    pub fn settled(&mut self) {
        self.settled_at = Some(self.now);
    }

    /// From here on somebody takes all that waits.
    pub fn serving(&mut self) {
        self.serving_at = Some(self.now);
    }

    /// Long since: the broker knows of it on every shard.
    fn has_gone(&self, place: Place) -> bool {
        self.conns[place.conn].is_released
    }

    // What arrives.

    pub fn arrived(&mut self, conn: Conn, act: Act) {
        let view = &mut self.conns[conn];
        view.close_arrived |= matches!(act, Act::CloseConnection);
        if view.has_ended {
            return;
        }
        match act {
            Act::TuneOk {
                frame_max,
                heartbeat_s,
            } => {
                view.frame_len_max = frame_max as usize;
                view.heartbeat_s = heartbeat_s;
            }
            Act::OpenChannel(number) => {
                let epoch = view.epochs.entry(number).or_default();
                let place = Place {
                    conn,
                    channel: number,
                    epoch: *epoch,
                };
                *epoch += 1;
                let previous = view.channels.insert(number, ChannelView::new(place));
                assert!(previous.is_none(), "peers open only what is closed");
            }
            Act::CloseChannel(number) => {
                if let Some(channel) = view.channels.get_mut(&number) {
                    channel.close_arrived = true;
                    self.end_channel(conn, number, Some(self.now));
                }
            }
            Act::CloseChannelOk(number) => {
                let is_over = |channel: &ChannelView| channel.is_refused && !channel.close_arrived;
                if view.channels.get(&number).is_some_and(is_over) {
                    view.channels.remove(&number);
                }
            }
            Act::CloseConnection => self.end_connection(conn, Some(self.now)),
            Act::CloseConnectionOk => {}
            Act::Wild(codes) => view.wild = Some(codes),
            Act::Method { channel, .. }
            | Act::Publish { channel, .. }
            | Act::Settle { channel, .. } => {
                if view
                    .channels
                    .get(&channel)
                    .is_some_and(|view| !view.has_ended)
                {
                    self.channel_act(conn, channel, act);
                } else if let Act::Publish { message, .. } = act {
                    self.messages[message].is_void = true;
                }
            }
        }
    }

    // What is sent.

    pub fn emitted(&mut self, conn: Conn, heard: &Heard) {
        let view = &mut self.conns[conn];
        if view.is_dismissed {
            return self.fail(format!("c{conn} is told something after the last word"));
        }
        match heard {
            Heard::ProtocolHeader if view.wild.is_some() => view.is_dismissed = true,
            Heard::ProtocolHeader => self.fail(format!("c{conn} is told the protocol")),
            Heard::Heartbeat if view.heartbeat_s > 0 => {}
            Heard::Heartbeat => self.fail(format!("c{conn} wants no heartbeats")),
            Heard::Method(0, AMQPClass::Connection(method)) => self.connection_said(conn, method),
            Heard::Method(number, method) => {
                if !view.channels.contains_key(number) {
                    return self.fail(format!("c{conn} has no channel {number}: {method:?}"));
                }
                match method {
                    AMQPClass::Channel(ChannelMethod::Close(close)) => {
                        let ids = (close.class_id, close.method_id);
                        self.channel_refused(conn, *number, (close.reply_code, ids));
                    }
                    AMQPClass::Channel(ChannelMethod::CloseOk(_)) => {
                        let channel = view.channels.remove(number);
                        let channel = channel.expect("looked up above");
                        if !channel.close_arrived {
                            self.fail(format!("c{conn} has not closed channel {number}"));
                        } else if let Some(pending) = channel.unanswered() {
                            self.fail(format!("c{conn}/{number} is not told: {pending:?}"));
                        }
                    }
                    method => self.channel_said(conn, *number, method),
                }
            }
            Heard::Content(content) => self.content(conn, content),
        }
    }

    fn connection_said(&mut self, conn: Conn, method: &ConnectionMethod) {
        let view = &mut self.conns[conn];
        match method {
            ConnectionMethod::Start(_) | ConnectionMethod::Tune(_) if !view.is_open => {}
            ConnectionMethod::OpenOk(_) if !view.is_open => view.is_open = true,
            ConnectionMethod::Blocked(_) if !view.is_blocked => view.is_blocked = true,
            ConnectionMethod::Unblocked(_) if view.is_blocked => view.is_blocked = false,
            ConnectionMethod::CloseOk(_) if view.close_arrived => view.is_dismissed = true,
            ConnectionMethod::Close(close) if !view.is_refused => {
                view.is_refused = true;
                self.tally.connection_errors += 1;
                let code = close.reply_code;
                let is_explained = view.wild.is_some_and(|codes| codes.contains(&code))
                    || view.has_ended
                    || self.is_shutting_down && code == 320
                    || self.is_short_of_assembly && code == 506;
                if !is_explained {
                    let text = &close.reply_text;
                    let ids = (close.class_id, close.method_id);
                    self.fail(format!(
                        "c{conn} is closed for no reason: {code} {ids:?} {text}"
                    ));
                }
                self.end_connection(conn, None);
            }
            other => self.fail(format!("c{conn} did not ask for {other:?}")),
        }
    }

    fn suspect(&mut self, text: String, unless_ended: Vec<Place>) {
        self.suspicions.push(Suspicion {
            text,
            unless_ended,
            unless_returns: None,
            unless_spent: None,
        });
    }
}
