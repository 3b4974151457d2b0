//! Who may hear what: follows a whole history of deliveries and finds the one that must not be.
//!
//! Requests ("m1", "m2", ...) go to one queue each by the default exchange. Replies say for whom
//! they are ("r7>3.1.0": peer, channel, how often that was opened before).

use super::heard::{Content, Heard};
use super::world::Peer;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use amq_protocol::protocol::channel::AMQPMethod as ChannelMethod;
use amq_protocol::protocol::connection::AMQPMethod as ConnectionMethod;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub type Place = (Peer, u16);

#[derive(Clone, Debug)]
pub struct Consumer {
    pub queue: String,
    pub no_ack: bool,
    pub prefetch: u16,
}

/// A channel as its peer sees it.
#[derive(Debug, Default)]
pub struct View {
    /// How often it was opened before.
    pub epoch: u64,
    pub is_open: bool,
    /// The peer has closed and opened it, and not heard of it yet.
    pub is_resting: bool,
    pub is_requester: bool,
    pub is_stopped: bool,
    pub prefetch: u16,
    pub global: u16,
    pub consumers: BTreeMap<String, Consumer>,
    /// By tag: message, consumer (none for a get).
    pub deliveries: BTreeMap<u64, (u64, String)>,
    /// Gets on their way: queue, without acknowledgement.
    pub gets: VecDeque<(String, bool)>,
}

#[derive(Debug, Default)]
pub struct Audit {
    pub views: BTreeMap<Place, View>,
    /// Full reply names that have been seen, and whose they are.
    pub names: Vec<(String, String)>,
    /// Who has an unacknowledged message, since which turn; two at most while it is not known
    /// which of both had it first.
    holders: BTreeMap<u64, Vec<(Place, u64)>>,
    turn: u64,
    /// Messages that must come back only if this channel, of this epoch, has ended.
    suspicions: Vec<(u64, Place, u64)>,
    /// Delivered, and to be acknowledged; in which turn first.
    seen: BTreeMap<u64, u64>,
    /// Acknowledged, or delivered without: never to be heard of again. Since which turn.
    done: BTreeMap<u64, u64>,
    /// Acknowledged on a channel that has ended since: nobody knows.
    unsure: BTreeSet<u64>,
    replies: BTreeSet<u64>,
    /// Of this round: message, channel, epoch.
    publishing: Vec<(u64, Place, u64)>,
    settling: Vec<(u64, Place, u64)>,
    /// Surely in a queue once.
    published: BTreeSet<u64>,
}

impl Audit {
    pub fn view(&mut self, place: Place) -> &mut View {
        self.views.entry(place).or_default()
    }

    pub fn signature(&mut self, place: Place) -> String {
        format!("{}.{}.{}", place.0.0, place.1, self.view(place).epoch)
    }

    pub fn publishes(&mut self, place: Place, id: u64) {
        let epoch = self.view(place).epoch;
        self.publishing.push((id, place, epoch));
    }

    /// The peer settles what it has heard with this tag.
    pub fn settles(&mut self, place: Place, tag: u64, requeue: bool) {
        let view = self.view(place);
        let epoch = view.epoch;
        if let Some((id, _)) = view.deliveries.remove(&tag) {
            self.release(id, place);
            if !requeue {
                self.settling.push((id, place, epoch));
            }
        }
    }

    fn release(&mut self, id: u64, place: Place) {
        if let Some(holders) = self.holders.get_mut(&id) {
            holders.retain(|(holder, _)| *holder != place);
        }
    }

    /// The channel has ended, for whatever reason.
    fn close(&mut self, place: Place) {
        let view = self.views.entry(place).or_default();
        for (id, _) in std::mem::take(&mut view.deliveries).into_values() {
            if let Some(holders) = self.holders.get_mut(&id) {
                holders.retain(|(holder, _)| *holder != place);
            }
        }
        *view = View {
            epoch: view.epoch + 1,
            ..View::default()
        };
    }

    pub fn leave(&mut self, peer: Peer) {
        let places: Vec<Place> = self.views.keys().copied().filter(|p| p.0 == peer).collect();
        places.into_iter().for_each(|place| self.close(place));
    }

    pub fn hear(&mut self, history: Vec<(u64, Peer, Heard)>) {
        for (turn, peer, heard) in history {
            self.turn = turn;
            match heard {
                Heard::Method(_, AMQPClass::Connection(ConnectionMethod::Close(_))) => {
                    self.leave(peer);
                }
                Heard::Method(number, AMQPClass::Channel(method)) => {
                    self.channel_method((peer, number), &method);
                }
                Heard::Method(number, AMQPClass::Basic(Basic::GetEmpty(_))) => {
                    self.view((peer, number)).gets.pop_front();
                }
                Heard::Content(content) => self.content(peer, &content),
                _ => {}
            }
        }
    }

    fn channel_method(&mut self, place: Place, method: &ChannelMethod) {
        match method {
            ChannelMethod::OpenOk(_) => self.view(place).is_open = true,
            ChannelMethod::Close(_) | ChannelMethod::CloseOk(_) => self.close(place),
            ChannelMethod::FlowOk(flow_ok) => self.view(place).is_stopped = !flow_ok.active,
            _ => {}
        }
    }

    fn content(&mut self, peer: Peer, content: &Content) {
        let place = (peer, content.channel);
        let text = content.text();
        let view = self
            .views
            .get_mut(&place)
            .expect("a channel that was opened");
        let (queue, key, consumer) = match &content.method {
            Basic::Return(_) => return,
            Basic::Deliver(deliver) => {
                assert!(
                    view.is_open && !view.is_stopped,
                    "{place:?} {}",
                    content.text()
                );
                let tag = deliver.consumer_tag.to_string();
                if tag == "r" {
                    return self.reply(place, &text);
                }
                let consumer = view
                    .consumers
                    .get(&tag)
                    .expect("a consumer of this channel");
                (consumer.clone(), &deliver.routing_key, tag)
            }
            Basic::GetOk(get_ok) => {
                let (queue, no_ack) = view.gets.pop_front().expect("somebody has asked");
                let prefetch = 0;
                let get = Consumer {
                    queue,
                    no_ack,
                    prefetch,
                };
                (get, &get_ok.routing_key, String::new())
            }
            other => panic!("no content: {other:?}"),
        };
        if let Some(signature) = text.strip_prefix('a') {
            self.names.push((content.reply_to(), signature.into()));
        }
        let id = text
            .strip_prefix('m')
            .map(|id| id.parse().expect("m and a number"));
        if id.is_some() {
            assert_eq!(queue.queue, key.as_str());
        }
        self.request(place, content, id, (queue, consumer));
    }

    fn request(
        &mut self,
        place: Place,
        content: &Content,
        id: Option<u64>,
        (consumer, tag): (Consumer, String),
    ) {
        // What goes to many queues is followed only as far as prefetch goes.
        let id = id.unwrap_or(u64::MAX);
        if id != u64::MAX {
            self.check_repetition(place, content, id);
        }
        if consumer.no_ack {
            self.done.insert(id, self.turn);
            self.done.remove(&u64::MAX);
            return;
        }
        let view = self.view(place);
        let previous = view
            .deliveries
            .insert(content.delivery_tag(), (id, tag.clone()));
        assert!(previous.is_none(), "a delivery tag is given once");
        let of_consumers = view.deliveries.values().filter(|(_, tag)| !tag.is_empty());
        let of_this = of_consumers
            .clone()
            .filter(|(_, other)| *other == tag)
            .count();
        let (max, global) = (usize::from(consumer.prefetch), usize::from(view.global));
        if !tag.is_empty() {
            assert!(
                max == 0 || of_this <= max,
                "prefetch {max}: {place:?} {tag}"
            );
            assert!(
                global == 0 || of_consumers.count() <= global,
                "global {global}: {place:?}"
            );
        }
        if id != u64::MAX {
            self.holders.entry(id).or_default().push((place, self.turn));
            self.seen.entry(id).or_insert(self.turn);
        }
    }

    fn check_repetition(&mut self, place: Place, content: &Content, id: u64) {
        let turn = self.turn;
        let was = |since: Option<&u64>| since.is_some_and(|since| *since < turn);
        assert!(!was(self.done.get(&id)), "m{id} is done: {place:?}");
        let is_flagged = content.redelivered() || !was(self.seen.get(&id));
        assert!(is_flagged, "m{id} is not flagged: {place:?}");
        let holders = self.holders.entry(id).or_default();
        for (holder, _) in holders.extract_if(.., |(_, since)| *since < turn) {
            let epoch = self.views.get(&holder).map_or(0, |view| view.epoch);
            self.suspicions.push((id, holder, epoch));
        }
    }

    fn reply(&mut self, place: Place, text: &str) {
        let (id, signature) = text[1..]
            .split_once('>')
            .expect("a reply says for whom it is");
        assert_eq!(signature, self.signature(place), "a reply for another");
        let id = id.parse().expect("a number");
        assert!(self.replies.insert(id), "reply {id} came twice");
    }

    /// Everything written has been executed.
    pub fn end_round(&mut self) {
        let has_ended = |views: &BTreeMap<Place, View>, place: Place, epoch: u64| {
            views
                .get(&place)
                .is_none_or(|view| view.epoch != epoch || !view.is_open)
        };
        for (id, place, epoch) in std::mem::take(&mut self.suspicions) {
            assert!(has_ended(&self.views, place, epoch), "m{id} is {place:?}'s");
        }
        for (id, holders) in &self.holders {
            assert!(holders.len() <= 1, "m{id} is at several: {holders:?}");
        }
        self.holders.retain(|_, holders| !holders.is_empty());
        for (id, place, epoch) in std::mem::take(&mut self.settling) {
            if has_ended(&self.views, place, epoch) {
                self.unsure.insert(id);
            } else {
                self.done.insert(id, self.turn);
            }
        }
        for (id, place, epoch) in std::mem::take(&mut self.publishing) {
            if !has_ended(&self.views, place, epoch) {
                self.published.insert(id);
            }
        }
        for view in self.views.values_mut() {
            view.is_resting = false;
        }
    }

    /// `left`: the messages of all queues that were never emptied, once all others have gone.
    pub fn conclude(&self, left: &[u64]) {
        let found: BTreeSet<u64> = left.iter().copied().collect();
        assert_eq!(found.len(), left.len(), "nothing is there twice");
        for id in &found {
            assert!(!self.done.contains_key(id), "m{id} is done and still there");
        }
        for id in &self.published {
            let is_accounted = found.contains(id) || self.done.contains_key(id);
            assert!(is_accounted || self.unsure.contains(id), "m{id} is lost");
        }
    }
}
