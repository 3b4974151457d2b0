//! One connection: its phase, what was agreed with its peer, its channels and both buffers.
//!
//! It knows nothing of queues or other connections.

mod handshake;
mod heartbeat;

pub use handshake::{start, tune};
pub use heartbeat::Verdict;

use super::address::{ConnectionAddress, QueueAddress, VhostIndex};
use super::buffer::Outbound;
use super::call::Served;
use super::channel::Channel;
use super::shard::RemoteDelivery;
use super::time::Timestamp;
use super::violation::Violation;
use super::wire::reply_code::ReplyCode;
use crate::limits::{
    FRAME_LEN_MAX_BEFORE_OPEN, Limits, TABLE_DEPTH_MAX, TABLE_DEPTH_MAX_BEFORE_OPEN,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// How far the connection has come (AMQP 0-9-1 2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    AwaitProtocolHeader,
    AwaitStartOk,
    AwaitTuneOk,
    AwaitOpen,
    Open,
    /// We sent connection.close and ignore everything but its close-ok.
    Closing {
        since: Timestamp,
    },
    /// The shell was told to close the socket; nothing is executed or encoded any more.
    Gone,
}

/// What the peer said it can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capabilities {
    pub authentication_failure_close: bool,
    pub consumer_cancel_notify: bool,
    pub connection_blocked: bool,
    /// Every call is to be followed, and answered by the broker where no worker can.
    pub rpc_errors: bool,
}

/// What connection.tune-ok agreed on; before it, what is bearable from a stranger.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub frame_len_max: u32,
    pub channel_max: u16,
    /// 0 is without heartbeats.
    pub heartbeat_s: u16,
}

/// Why frames that are there are not executed. Each has somebody who ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// For another shard's answer to a method of ours.
    pub answer: bool,
    /// For memory: its latest message had to be kept while queues were full. Some frames need not
    /// wait for that.
    pub memory: bool,
    /// For room in the outbox towards another shard.
    pub outbox: bool,
    /// For its peer to read what it has been sent.
    pub unsent: bool,
}

impl Waits {
    pub fn any(self) -> bool {
        self.answer || self.memory || self.outbox || self.unsent
    }
}

/// Frames at the front of the backlog that wait for memory, while others behind them do not.
///
/// Invariant: nothing is parked unless the connection waits for memory.
#[derive(Debug, Default)]
pub struct Parked {
    /// Octets.
    pub len: usize,
    /// By the numbers of their channels.
    pub channels: BTreeMap<u16, ParkedFrames>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ParkedFrames {
    pub publish_count: usize,
    /// Something else is parked too: nothing of the channel may come before it.
    pub has_method: bool,
}

/// A body frame of which only the beginning has come. Its payload goes to its channel as it comes,
/// so that a large frame is not collected first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornBody {
    pub channel: u16,
    /// Octets of the payload that have not come; the frame's end is behind them.
    pub missing_len: usize,
}

#[derive(Debug)]
pub struct Connection {
    pub address: ConnectionAddress,
    pub peer: SocketAddr,
    pub phase: Phase,
    pub user: String,
    /// From connection.open on.
    pub vhost: VhostIndex,
    pub capabilities: Capabilities,
    pub tuning: Tuning,
    pub waits: Waits,
    /// The shell was told to stop receiving.
    pub is_reading_paused: bool,
    /// The shell was told that there is something to send.
    pub is_dirty: bool,
    /// A queue had a message for it while too much was unsent.
    pub is_starved: bool,
    /// Credit is to go back to queues on other shards once it has drained.
    pub owes_credit: bool,
    /// Received, not executed: part of a frame, or whole ones while it waits.
    pub backlog: Vec<u8>,
    pub parked: Parked,
    /// It has said goodbye, behind what is left to execute: it waits for memory no more.
    pub is_leaving: bool,
    /// What the next octets belong to, if not to a new frame.
    pub torn_body: Option<TornBody>,
    pub outbound: Outbound,
    /// Deliveries from queues on other shards, which do not see how much is unsent here; in order.
    pub withheld: VecDeque<RemoteDelivery>,
    pub exclusive_queues: Vec<QueueAddress>,
    /// Its calls that have not ended, over all channels.
    pub call_count: usize,
    /// Calls of others that it has to answer.
    pub served: Served,
    pub opened: Timestamp,
    pub last_received: Timestamp,
    pub last_sent: Timestamp,
    /// When its entry among the timers will be looked at.
    pub timer: Option<Timestamp>,
    /// By number, as far as `channel_max` goes; 0 is the connection itself and always empty.
    channels: Vec<Option<Box<Channel>>>,
    /// Those beyond it: as in RabbitMQ the maximum is one of channels, not of their numbers.
    far_channels: BTreeMap<u16, Box<Channel>>,
    /// Of both.
    channel_count: usize,
}

impl Connection {
    pub fn new(address: ConnectionAddress, peer: SocketAddr, now: Timestamp) -> Connection {
        Connection {
            address,
            peer,
            phase: Phase::AwaitProtocolHeader,
            user: String::new(),
            vhost: VhostIndex::default(),
            capabilities: Capabilities::default(),
            tuning: Tuning {
                frame_len_max: FRAME_LEN_MAX_BEFORE_OPEN,
                channel_max: 0,
                heartbeat_s: 0,
            },
            waits: Waits::default(),
            is_reading_paused: false,
            is_dirty: false,
            is_starved: false,
            owes_credit: false,
            backlog: Vec::new(),
            parked: Parked::default(),
            is_leaving: false,
            torn_body: None,
            outbound: Outbound::default(),
            withheld: VecDeque::new(),
            exclusive_queues: Vec::new(),
            call_count: 0,
            served: Served::default(),
            opened: now,
            last_received: now,
            last_sent: now,
            timer: None,
            channels: Vec::new(),
            far_channels: BTreeMap::new(),
            channel_count: 0,
        }
    }

    /// Octets, overhead included, that its next frame may have.
    #[inline]
    pub fn frame_len_max(&self) -> u32 {
        match self.phase {
            Phase::Open | Phase::Closing { .. } => self.tuning.frame_len_max,
            _ => FRAME_LEN_MAX_BEFORE_OPEN,
        }
    }

    pub fn table_depth_max(&self) -> u32 {
        match self.phase {
            Phase::Open | Phase::Closing { .. } => TABLE_DEPTH_MAX,
            _ => TABLE_DEPTH_MAX_BEFORE_OPEN,
        }
    }

    #[inline]
    pub fn channel(&self, number: u16) -> Option<&Channel> {
        match self.channels.get(usize::from(number)) {
            Some(channel) => channel.as_deref(),
            None => self.far_channel(number),
        }
    }

    #[cold]
    fn far_channel(&self, number: u16) -> Option<&Channel> {
        self.far_channels.get(&number).map(|channel| &**channel)
    }

    #[inline]
    pub fn channel_mut(&mut self, number: u16) -> Option<&mut Channel> {
        channel_in(&mut self.channels, &mut self.far_channels, number)
    }

    /// The channel and the outbound that its frames go to, together.
    #[inline]
    pub fn channel_and_outbound(&mut self, number: u16) -> Option<(&mut Channel, &mut Outbound)> {
        let channel = channel_in(&mut self.channels, &mut self.far_channels, number)?;
        Some((channel, &mut self.outbound))
    }

    /// The number must be free.
    pub fn insert_channel(&mut self, number: u16, channel: Channel) {
        let (at, channel) = (usize::from(number), Box::new(channel));
        let before = if number > self.tuning.channel_max {
            self.far_channels.insert(number, channel)
        } else {
            if self.channels.len() <= at {
                self.channels.resize_with(at + 1, || None);
            }
            self.channels[at].replace(channel)
        };
        assert!(before.is_none(), "a second channel.open was refused before");
        self.channel_count += 1;
    }

    pub fn remove_channel(&mut self, number: u16) -> Option<Box<Channel>> {
        let removed = match self.channels.get_mut(usize::from(number)) {
            Some(channel) => channel.take(),
            None => self.far_channels.remove(&number),
        };
        self.channel_count -= usize::from(removed.is_some());
        removed
    }

    /// Those that are open, and those of which the peer has not said close-ok.
    pub fn channel_count(&self) -> usize {
        self.channel_count
    }

    pub fn channel_numbers(&self) -> Vec<u16> {
        let open = (0..=u16::MAX)
            .zip(&self.channels)
            .filter(|(_, channel)| channel.is_some());
        let far = self.far_channels.keys().copied();
        open.map(|(number, _)| number).chain(far).collect()
    }

    /// Those that are open, and those of which the peer has not said close-ok.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        let near = self.channels.iter().flatten();
        near.chain(self.far_channels.values())
            .map(|channel| &**channel)
    }

    /// May frames be executed now?
    #[inline]
    pub fn may_execute(&self) -> bool {
        !self.waits.any() && self.phase != Phase::Gone
    }

    /// May frames be executed that need no memory?
    pub fn may_overtake(&self) -> bool {
        let waits = Waits {
            memory: false,
            ..self.waits
        };
        self.waits.memory && !waits.any() && self.phase == Phase::Open
    }

    /// May a queue hand it one more delivery?
    #[inline]
    pub fn may_deliver(&self, limits: &Limits) -> bool {
        self.outbound.unsent_len() < limits.unsent_len_high
    }

    /// Does it take requests, or hold some? Consumers of queues that are its own alone are those of
    /// callers.
    pub fn is_worker(&self) -> bool {
        let is_shared = |queue: &QueueAddress| !self.exclusive_queues.contains(queue);
        self.channels().any(|channel| {
            let mut queues = channel
                .consumers
                .iter()
                .map(|(_, consumer)| &consumer.queue);
            channel.held_count() > 0 || queues.any(is_shared)
        })
    }

    /// Must a delivery that a queue has handed it already wait here?
    #[inline]
    pub fn must_withhold(&self, limits: &Limits) -> bool {
        !self.withheld.is_empty() || !self.may_deliver(limits)
    }

    /// Its peer has read enough for what waited to go on.
    pub fn is_drained(&self, limits: &Limits) -> bool {
        self.outbound.unsent_len() <= limits.unsent_len_low
    }

    /// Too much is waiting to be executed: stop reading.
    pub fn is_backlog_full(&self, limits: &Limits) -> bool {
        let len_max = match self.waits.memory {
            true => limits.parked_len_max,
            false => limits.backlog_len_max,
        };
        self.waits.any() && self.backlog.len() >= len_max
    }

    /// Octets that the unfinished content of all its channels will take, as announced.
    pub fn assembly_len(&self) -> u64 {
        let announced = self
            .channels()
            .map(|channel| channel.assembly.announced_len());
        announced.sum()
    }

    /// Errors: 506 if, with `len` octets more, all channels together announced more than one
    /// connection may have half sent.
    pub fn check_assembly(&self, len: u64, limits: &Limits) -> Result<(), Violation> {
        let len_max = limits.assembly_len_max;
        if self.assembly_len().saturating_add(len) > len_max {
            let text = format!("more than {len_max} octets of unfinished messages");
            return Err(Violation::connection(ReplyCode::ResourceError, text));
        }
        Ok(())
    }

    /// Errors: 506 if, with `len` octets more, its transactions keep more than they may together.
    pub fn check_transactions(&self, len: usize, limits: &Limits) -> Result<(), Violation> {
        let len_max = limits.transaction_len_max;
        let kept_len: usize = self.channels().map(Channel::transaction_len).sum();
        if kept_len + len > len_max {
            let text = format!("more than {len_max} octets in transactions of one connection");
            return Err(Violation::channel(ReplyCode::ResourceError, text));
        }
        Ok(())
    }

    pub fn invariants(&self, limits: &Limits) {
        assert!(self.channel(0).is_none());
        self.channels()
            .for_each(|channel| channel.invariants(limits));
        assert_eq!(self.channel_count, self.channels().count());
        let calls = self.channels().map(|channel| channel.calls.len());
        assert_eq!(self.call_count, calls.sum::<usize>());
        self.served.invariants();
        assert!(self.phase != Phase::Gone || self.channel_count == 0);
        assert!(self.phase != Phase::Gone || self.withheld.is_empty());
        assert!(self.parked.len <= self.backlog.len());
        assert!(self.parked.len == 0 || (self.waits.memory && self.torn_body.is_none()));
    }
}

#[inline]
fn channel_in<'a>(
    channels: &'a mut [Option<Box<Channel>>],
    far_channels: &'a mut BTreeMap<u16, Box<Channel>>,
    number: u16,
) -> Option<&'a mut Channel> {
    match channels.get_mut(usize::from(number)) {
        Some(channel) => channel.as_deref_mut(),
        None => far_channels.get_mut(&number).map(|channel| &mut **channel),
    }
}
