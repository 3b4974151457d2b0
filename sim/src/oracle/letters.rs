//! Dead letters: a message that a queue has given up is another copy wherever it comes to, known
//! by its deaths. A copy is followed from its death on, also through queues where nobody saw it.

use super::message::{Copy, Message};
use super::{Oracle, Suspicion};
use crate::rules::{GRAVE, GRAVE_EXCHANGE, Letters, Overflow, Rules};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::{AMQPValue, FieldTable};
use broker::engine::time::Timestamp;

/// As the broker of `Swarm::settings` writes the time of its start.
const STARTED_AT_S: u64 = crate::swarm::STARTED_AT_S;

/// So many deaths in one step, and nobody has seen the copies between: more is not looked for.
const UNSEEN_COUNT_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Rejected,
    Expired,
    MaxLength,
    DeliveryLimit,
}

impl Reason {
    const ALL: [(&str, Reason); 4] = [
        ("rejected", Reason::Rejected),
        ("expired", Reason::Expired),
        ("maxlen", Reason::MaxLength),
        ("delivery_limit", Reason::DeliveryLimit),
    ];

    fn parse(text: &str) -> Option<Reason> {
        let mut all = Reason::ALL.into_iter();
        all.find(|(name, _)| *name == text)
            .map(|(_, reason)| reason)
    }
}

/// An entry of `x-death`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    pub queue: String,
    pub reason: Reason,
    pub count: i64,
}

/// One more death, in front.
fn bury(deaths: &[Death], queue: &str, reason: Reason) -> Vec<Death> {
    let is_same = |death: &&Death| death.queue == queue && death.reason == reason;
    let count = deaths
        .iter()
        .find(is_same)
        .map_or(1, |death| death.count + 1);
    let latest = Death {
        queue: queue.into(),
        reason,
        count,
    };
    let others = deaths.iter().filter(|death| !is_same(death)).cloned();
    std::iter::once(latest).chain(others).collect()
}

/// What may have been before the latest death: an entry that has counted before may have stood
/// anywhere.
fn before(deaths: &[Death]) -> Vec<Vec<Death>> {
    let Some((latest, others)) = deaths.split_first() else {
        return Vec::new();
    };
    if latest.count <= 1 {
        return vec![others.to_vec()];
    }
    let earlier = Death {
        count: latest.count - 1,
        ..latest.clone()
    };
    let places = 0..=others.len();
    let insert = |at| {
        let mut deaths = others.to_vec();
        deaths.insert(at, earlier.clone());
        deaths
    };
    places.map(insert).collect()
}

// What the headers say.

fn text<'a>(table: &'a FieldTable, key: &str) -> Result<&'a str, String> {
    match table.inner().get(key) {
        Some(AMQPValue::LongString(text)) => {
            std::str::from_utf8(text.as_bytes()).map_err(|error| error.to_string())
        }
        other => Err(format!("{key} is {other:?}")),
    }
}

fn deaths_of(headers: &FieldTable) -> Result<Vec<(Death, FieldTable)>, String> {
    let entries = match headers.inner().get("x-death") {
        None => return Ok(Vec::new()),
        Some(AMQPValue::FieldArray(entries)) => entries.as_slice(),
        other => return Err(format!("x-death is {other:?}")),
    };
    let entry = |entry: &AMQPValue| {
        let AMQPValue::FieldTable(table) = entry else {
            return Err(format!("a death is {entry:?}"));
        };
        let reason = Reason::parse(text(table, "reason")?).ok_or("a death of another reason")?;
        let Some(AMQPValue::LongLongInt(count)) = table.inner().get("count") else {
            return Err(format!("a death without count: {table:?}"));
        };
        let death = Death {
            queue: text(table, "queue")?.into(),
            reason,
            count: *count,
        };
        Ok((death, table.clone()))
    };
    entries.iter().map(entry).collect()
}

fn is_added(key: &str) -> bool {
    let prefixes = ["x-first-death-", "x-last-death-"];
    ["x-death", "x-delivery-count"].contains(&key)
        || prefixes.iter().any(|prefix| key.starts_with(prefix))
}

/// Are these the same but for what queues add? What has died has lost its expiration.
pub(super) fn is_same(actual: &AMQPProperties, published: &AMQPProperties, has_died: bool) -> bool {
    let headers = actual.headers().as_ref();
    let has_additions =
        headers.is_some_and(|it| it.inner().keys().any(|key| is_added(key.as_str())));
    if !has_additions {
        return !has_died && actual == published;
    }
    let mut own = FieldTable::default();
    for (key, value) in headers.into_iter().flat_map(|headers| headers.inner()) {
        if !is_added(key.as_str()) {
            own.insert(key.clone(), value.clone());
        }
    }
    if has_died && actual.expiration().is_some() {
        return false;
    }
    let even = |properties: &AMQPProperties, headers| {
        let time = match has_died {
            true => "".into(),
            false => properties.expiration().clone().unwrap_or_default(),
        };
        properties
            .clone()
            .with_headers(headers)
            .with_expiration(time)
    };
    let headers = published.headers().clone().unwrap_or_default();
    even(actual, own) == even(published, headers)
}

/// How often its queue says that it has come back there.
pub(super) fn delivery_count(properties: &AMQPProperties) -> Option<u64> {
    match properties
        .headers()
        .as_ref()?
        .inner()
        .get("x-delivery-count")
    {
        Some(AMQPValue::LongLongInt(count)) => u64::try_from(*count).ok(),
        _ => None,
    }
}

impl Oracle {
    /// What the content says of its deaths, if that can be. `address`: its exchange and key.
    pub(super) fn read_deaths(
        &self,
        message: &Message,
        properties: &AMQPProperties,
        address: (&str, &str),
    ) -> Result<Vec<Death>, String> {
        let headers = properties.headers().clone().unwrap_or_default();
        let entries = deaths_of(&headers)?;
        let deaths: Vec<Death> = entries.iter().map(|(death, _)| death.clone()).collect();
        let Some(latest) = deaths.first() else {
            let own = (message.exchange.as_str(), message.routing_key.as_str());
            return match address == own {
                true => Ok(deaths),
                false => Err("it has another address".into()),
            };
        };
        let letters = self
            .rules_of(&latest.queue)
            .and_then(|it| it.letters.as_ref());
        let letters = letters.ok_or_else(|| format!("{} sends no letters", latest.queue))?;
        self.check_address(message, &deaths, letters, address)?;
        for (prefix, death) in [("x-last-death", latest), ("x-first-death", latest)] {
            let reason = text(&headers, &format!("{prefix}-reason"))?;
            let queue = text(&headers, &format!("{prefix}-queue"))?;
            text(&headers, &format!("{prefix}-exchange"))?;
            let is_known =
                |it: &Death| it.queue == queue && Reason::parse(reason) == Some(it.reason);
            let is_right = match prefix {
                "x-last-death" => is_known(death),
                _ => deaths.iter().any(is_known),
            };
            if !is_right {
                return Err(format!("{prefix} is {reason} in {queue}, of {deaths:?}"));
            }
        }
        for (_, entry) in &entries {
            let Some(AMQPValue::Timestamp(at)) = entry.inner().get("time") else {
                return Err(format!("a death without time: {entry:?}"));
            };
            let seconds = |time: Timestamp| STARTED_AT_S + time.0 / 1_000_000_000;
            if *at < seconds(message.arrived_at) || *at > seconds(self.now) {
                return Err(format!("a death at {at}"));
            }
        }
        if let [(Death { count: 1, .. }, entry)] = entries.as_slice() {
            check_first(message, entry)?;
        }
        Ok(deaths)
    }

    fn check_address(
        &self,
        message: &Message,
        deaths: &[Death],
        letters: &Letters,
        (exchange, routing_key): (&str, &str),
    ) -> Result<(), String> {
        if letters.exchange != exchange {
            return Err(format!("it comes by '{exchange}' instead of {letters:?}"));
        }
        let is_right = match &letters.routing_key {
            Some(key) => key == routing_key,
            // It keeps the key that it had, its own or that of an earlier letter.
            None => {
                let rules = deaths
                    .iter()
                    .filter_map(|death| self.rules_of(&death.queue));
                let mut keys =
                    rules.filter_map(|rules| rules.letters.as_ref()?.routing_key.as_ref());
                routing_key == message.routing_key || keys.any(|key| key == routing_key)
            }
        };
        match is_right {
            true => Ok(()),
            false => Err(format!("it comes with '{routing_key}' by {letters:?}")),
        }
    }

    fn rules_of(&self, queue: &str) -> Option<&Rules> {
        let followed = self.queues.iter().find(|view| view.name == queue);
        let loose = self.loose.iter().find(|(name, _)| *name == queue);
        followed
            .map(|view| &view.rules)
            .or(loose.map(|(_, rules)| rules))
    }

    /// Followed queues to which a letter of `queue` with these deaths, the latest of which was
    /// there, leads.
    pub(super) fn targets(&self, queue: usize, deaths: &[Death]) -> Vec<usize> {
        let Some(letters) = &self.queues[queue].rules.letters else {
            return Vec::new();
        };
        let name = match (letters.exchange.as_str(), &letters.routing_key) {
            ("", Some(key)) => key.as_str(),
            (GRAVE_EXCHANGE, _) => GRAVE,
            _ => return Vec::new(),
        };
        // Round in a circle without anybody having rejected it, it would go for ever.
        let mut cycle = deaths
            .iter()
            .take_while(|death| death.reason != Reason::Rejected);
        if cycle.any(|death| death.queue == name) {
            return Vec::new();
        }
        let target = self.queues.iter().position(|view| view.name == name);
        target.into_iter().collect()
    }

    /// The copy of a message that comes out of `queue` with these deaths, which may have come
    /// there unseen.
    pub(super) fn find_copy(
        &mut self,
        id: usize,
        queue: usize,
        deaths: &[Death],
    ) -> Result<usize, String> {
        self.follow(id, queue, deaths, UNSEEN_COUNT_MAX)
    }

    fn follow(
        &mut self,
        id: usize,
        queue: usize,
        deaths: &[Death],
        depth: usize,
    ) -> Result<usize, String> {
        let is_it = |copy: &Copy| copy.queue == queue && copy.deaths == deaths;
        if let Some(at) = self.messages[id].copies.iter().position(is_it) {
            return Ok(at);
        }
        let name = self.queues[queue].name.clone();
        let Some(latest) = deaths.first().filter(|_| depth > 0) else {
            return Err(format!("m{id} comes out of {name}, it never was in there"));
        };
        let is_source = |view: &super::QueueView| view.name == latest.queue;
        let Some(source) = self.queues.iter().position(is_source) else {
            return Err(format!("m{id} comes to {name} by way of {latest:?}"));
        };
        if !self.targets(source, deaths).contains(&queue) {
            return Err(format!("m{id} comes to {name} with {deaths:?}"));
        }
        let mut error = None;
        for earlier in before(deaths) {
            match self.follow(id, source, &earlier, depth - 1) {
                Ok(parent) => return self.die(id, parent, latest.reason, queue, deaths),
                Err(text) => drop(error.get_or_insert(text)),
            }
        }
        Err(error.unwrap_or_else(|| format!("m{id} has {deaths:?}")))
    }

    /// A copy has died, which its letter in `queue` proves; may it?
    fn die(
        &mut self,
        id: usize,
        parent: usize,
        reason: Reason,
        queue: usize,
        deaths: &[Death],
    ) -> Result<usize, String> {
        let since = self.check_death(id, parent, reason)?;
        self.tally.dead_letters += 1;
        let message = &mut self.messages[id];
        message.copies[parent].died = Some(reason);
        let letter = Copy::new(queue, deaths.to_vec(), since);
        message.copies.push(letter);
        Ok(message.copies.len() - 1)
    }

    /// The earliest time of this death.
    fn check_death(&mut self, id: usize, at: usize, reason: Reason) -> Result<Timestamp, String> {
        let message = &self.messages[id];
        let copy = &message.copies[at];
        let view = &self.queues[copy.queue];
        let (rules, name) = (&view.rules, &view.name);
        if let Some(other) = copy.died {
            return Err(format!("m{id} dies of {reason:?} and {other:?} in {name}"));
        }
        let since = match reason {
            Reason::Rejected => copy
                .rejected_at
                .ok_or_else(|| format!("m{id} is not rejected by anybody in {name}"))?,
            Reason::Expired => {
                let lifetime = message.lifetime_in(rules, &copy.deaths);
                let lifetime =
                    lifetime.ok_or_else(|| format!("m{id} has no end in {name}, but expires"))?;
                let end = copy.since.plus(lifetime);
                if self.now < end {
                    return Err(format!("m{id} expires too early in {name}"));
                }
                end
            }
            Reason::MaxLength => {
                if !view.may_be_over() || rules.overflow == Overflow::RejectPublish {
                    return Err(format!("m{id} is too much for {name}, which has room"));
                }
                copy.since
            }
            Reason::DeliveryLimit => {
                let limit = rules.delivery_limit.map(u64::from);
                let limit = limit.ok_or_else(|| format!("{name} has no delivery limit: m{id}"))?;
                if copy.sent_count <= limit {
                    let text = format!("m{id} came not back to {name} too often");
                    self.suspicions.push(Suspicion {
                        text,
                        unless_ended: Vec::new(),
                        unless_returns: None,
                        unless_spent: Some((id, at)),
                    });
                }
                copy.since
            }
        };
        let holders = copy.holders.clone();
        let done = copy.done.filter(|_| copy.rejected_at.is_none());
        let name = name.clone();
        for holder in holders {
            let text = format!("m{id} dies in {name}, but {holder:?} has it");
            self.suspect(text, vec![holder]);
        }
        if let Some(done) = done {
            let text = format!("m{id} dies in {name}, but {:?} is done with it", done.by);
            match done.is_certain {
                true => return Err(text),
                false => self.suspect(text, vec![done.by]),
            }
        }
        Ok(since)
    }

    /// Has every letter that a rejection surely made been seen, or may it be gone again?
    pub(super) fn is_letter_lost(&self, message: &Message, copy: &Copy) -> bool {
        let is_certain = copy.done.is_some_and(|done| done.is_certain);
        if copy.rejected_at.is_none() || !is_certain || copy.died.is_some() {
            return false;
        }
        let deaths = bury(
            &copy.deaths,
            &self.queues[copy.queue].name,
            Reason::Rejected,
        );
        let targets = self.targets(copy.queue, &deaths);
        let depth = UNSEEN_COUNT_MAX;
        targets
            .iter()
            .any(|target| !self.may_vanish(message, (*target, &deaths), depth))
    }

    /// May a copy that nobody has seen be gone for good, by the rules of its queue and of those
    /// that its letters come to?
    pub(super) fn may_vanish(
        &self,
        message: &Message,
        (queue, deaths): (usize, &[Death]),
        depth: usize,
    ) -> bool {
        let view = &self.queues[queue];
        if depth == 0 || view.is_gone || view.is_lossy || view.is_unread {
            return true;
        }
        let copy = message
            .copies
            .iter()
            .find(|copy| copy.queue == queue && copy.deaths == deaths);
        let ends = self.possible_ends(message, queue, deaths, copy);
        ends.into_iter().any(|end| {
            let Some(reason) = end else { return true };
            let deaths = bury(deaths, &view.name, reason);
            let targets = self.targets(queue, &deaths);
            let may_vanish =
                |target: &usize| self.may_vanish(message, (*target, &deaths), depth - 1);
            targets.is_empty() || targets.iter().any(may_vanish)
        })
    }

    /// How the queue may have ended it. `None`: without a trace.
    fn possible_ends(
        &self,
        message: &Message,
        queue: usize,
        deaths: &[Death],
        copy: Option<&Copy>,
    ) -> Vec<Option<Reason>> {
        let view = &self.queues[queue];
        let rules = &view.rules;
        let mut ends = Vec::new();
        let lifetime = message.lifetime_in(rules, deaths);
        if lifetime.is_some_and(|lifetime| message.arrived_at.plus(lifetime) <= self.now) {
            ends.push(Some(Reason::Expired));
        }
        if rules.has_limit() && view.may_be_over() {
            let is_taken = message.is_acked && deaths.is_empty();
            match rules.overflow {
                Overflow::DropHead => ends.push(Some(Reason::MaxLength)),
                _ if is_taken => {}
                Overflow::RejectPublish => ends.push(None),
                Overflow::RejectPublishDlx => ends.push(Some(Reason::MaxLength)),
            }
        }
        if let Some(limit) = rules.delivery_limit {
            let sent_count = copy.map_or(0, |copy| copy.sent_count);
            if sent_count > u64::from(limit) || view.has_unseen_returns {
                ends.push(Some(Reason::DeliveryLimit));
            }
        }
        ends
    }
}

/// The entry of a message that has died once.
fn check_first(message: &Message, entry: &FieldTable) -> Result<(), String> {
    let (exchange, key) = (&message.exchange, &message.routing_key);
    if text(entry, "exchange")? != exchange.as_str() {
        return Err(format!("a death by another exchange: {entry:?}"));
    }
    let keys = match entry.inner().get("routing-keys") {
        Some(AMQPValue::FieldArray(keys)) => keys.as_slice(),
        other => return Err(format!("routing-keys are {other:?}")),
    };
    if keys != [AMQPValue::LongString(key.as_str().into())] {
        return Err(format!("a death with other routing keys: {entry:?}"));
    }
    let expiration = message.properties.expiration().as_ref();
    let expected = expiration.map(|time| AMQPValue::LongString(time.as_str().into()));
    if entry.inner().get("original-expiration") != expected.as_ref() {
        return Err(format!("a death of another expiration: {entry:?}"));
    }
    Ok(())
}
