//! The built-in services `amq.rpc.ping`, `amq.rpc.info` and `amq.rpc.stats`: which queues are
//! called, who works on them, and where the time of their calls goes.
//!
//! What each shard knows of its queues is gathered once for all that ask in the same turn.

use super::Shard;
use super::mail::Mail;
use super::publish::Fate;
use crate::engine::address::{ChannelAddress, ReplyName, VhostIndex, parse_reply_name};
use crate::engine::call::{Service, json_properties, own_content};
use crate::engine::message::{Content, Message};
use crate::engine::name::Name;
use crate::engine::queue::Queue;
use crate::engine::wire::properties::Properties;
use crate::limits::{ASKER_COUNT_MAX, TABLE_DEPTH_MAX};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a publish on the default exchange with one of these keys asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Ping,
    Info,
    Stats,
}

impl Question {
    pub(super) fn of(routing_key: &[u8]) -> Option<Question> {
        match routing_key {
            b"amq.rpc.ping" => Some(Question::Ping),
            b"amq.rpc.info" => Some(Question::Info),
            b"amq.rpc.stats" => Some(Question::Stats),
            _ => None,
        }
    }
}

/// A queue that is called, or that others may call: what its shard knows of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ServiceReport {
    pub name: String,
    /// That has it.
    pub shard: u16,
    /// Messages that wait.
    pub message_count: usize,
    pub dispatch: &'static str,
    pub workers: Vec<WorkerReport>,
    /// Calls that wait, and those that workers have.
    pub waiting_count: u64,
    pub worker_count: u64,
    /// Since the oldest of them began.
    pub oldest_us: Option<u64>,
    /// Calls that ended per second, averaged over the last minute.
    pub calls_per_second: f64,
    /// How many calls have ended, by how.
    pub ended: BTreeMap<String, u64>,
    /// Times of the calls that were answered, in microseconds.
    pub queued_us: Percentiles,
    pub worker_us: Percentiles,
    pub whole_us: Percentiles,
}

#[derive(Clone, Debug, Serialize)]
pub struct WorkerReport {
    pub consumer_tag: String,
    /// That its connection is on.
    pub shard: u16,
    pub prefetch: u16,
    pub priority: i32,
    pub unacknowledged: u32,
    /// Calls that it has.
    pub calls: u32,
    /// How long an answer takes it of late, in microseconds; 0 if that is not known.
    pub service_us: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Percentiles {
        Percentiles {
            count: histogram.len(),
            min: histogram.min(),
            mean: (histogram.mean() * 10.0).round() / 10.0,
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// Who wants to know something.
#[derive(Debug)]
struct Asker {
    question: Question,
    /// `None`: of all services.
    service: Option<String>,
    reply_to: Name,
    correlation_id: Name,
}

/// What is being gathered for those who asked about one virtual host.
#[derive(Debug, Default)]
struct Inquiry {
    /// Shards that have not said what they have.
    missing_count: usize,
    services: Vec<ServiceReport>,
    askers: Vec<Asker>,
    /// Who asked after it had begun: the next one's.
    later: Vec<Asker>,
    has_begun: bool,
}

#[derive(Debug, Default)]
pub(super) struct Inquiries(BTreeMap<VhostIndex, Inquiry>);

impl Inquiries {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

impl Shard {
    /// What this shard's queues of a virtual host know of their calls: of those that have been
    /// called, and of those that somebody works on and others may call.
    pub fn services(&self, vhost: VhostIndex) -> Vec<ServiceReport> {
        let queues = self.queues.iter().map(|(_, queue)| queue);
        let queues = queues.filter(|queue| queue.vhost == vhost);
        let services = queues.filter_map(|queue| {
            let service = self.services.get(queue.address.index);
            let is_open = queue.attributes.exclusive.is_none() && !queue.consumers.is_empty();
            (is_open || service.is_some()).then(|| self.service_report(queue, service))
        });
        services.collect()
    }

    fn service_report(&self, queue: &Queue, service: Option<&Service>) -> ServiceReport {
        let us = |duration: std::time::Duration| u64::try_from(duration.as_micros());
        let underway = queue.underway();
        let workers = queue.consumers.iter().map(|(_, consumer)| WorkerReport {
            consumer_tag: text(&consumer.tag),
            shard: consumer.channel.shard,
            prefetch: consumer.prefetch,
            priority: consumer.priority,
            unacknowledged: consumer.outstanding(),
            calls: consumer.work.call_count,
            service_us: us(consumer.work.service_time).unwrap_or(u64::MAX),
        });
        let mut report = ServiceReport {
            name: text(&queue.name),
            shard: self.index,
            message_count: queue.message_count(),
            dispatch: queue.consumers.dispatch.word(),
            workers: workers.collect(),
            waiting_count: underway.waiting_count,
            worker_count: underway.worker_count,
            oldest_us: underway.oldest.and_then(|at| us(self.now.since(at)).ok()),
            ..ServiceReport::default()
        };
        if let Some(service) = service {
            let ended = service.ended.iter();
            report.ended = ended
                .map(|(how, count)| (how.to_string(), *count))
                .collect();
            report.calls_per_second = (service.rate(self.now) * 100.0).round() / 100.0;
            report.queued_us = Percentiles::of(&service.queued);
            report.worker_us = Percentiles::of(&service.worker);
            report.whole_us = Percentiles::of(&service.whole);
        }
        report
    }

    /// Somebody asks. The answer goes to `reply_to`, in JSON; the body names one service, or
    /// is empty.
    pub(super) fn inquire(
        &mut self,
        caller: ChannelAddress,
        question: Question,
        content: &Content<'_>,
    ) -> Fate {
        let whole = content.properties.0.concat();
        let walked = Properties::walk(&whole, TABLE_DEPTH_MAX);
        let properties = walked.expect("walked when it was published");
        let Some(reply_to) = properties.reply_to() else {
            return Fate::Unroutable;
        };
        let vhost = self.vhost_of(caller.slot);
        let inquiry = self.inquiries.0.entry(vhost).or_default();
        if inquiry.askers.len() + inquiry.later.len() >= ASKER_COUNT_MAX {
            return Fate::Rejected;
        }
        let service = String::from_utf8_lossy(content.body);
        let asker = Asker {
            question,
            service: (!service.is_empty()).then(|| service.into_owned()),
            reply_to: Name::from(reply_to),
            correlation_id: Name::from(properties.correlation_id().unwrap_or_default()),
        };
        match inquiry.has_begun {
            true => inquiry.later.push(asker),
            false => inquiry.askers.push(asker),
        }
        if inquiry.askers.len() == 1 && !inquiry.has_begun {
            self.agenda.inquiries.push(vhost);
        }
        Fate::HandedOn
    }

    /// Asks all shards for those who have asked here.
    pub(super) fn begin_inquiry(&mut self, vhost: VhostIndex) {
        let services = self.services(vhost);
        let Some(inquiry) = self.inquiries.0.get_mut(&vhost) else {
            return;
        };
        inquiry.has_begun = true;
        inquiry.services = services;
        inquiry.missing_count = self.neighbours.shard_count() - 1;
        match inquiry.missing_count {
            0 => self.end_inquiry(vhost),
            _ => self.neighbours.send_all(|| Mail::AskServices { vhost }),
        }
    }

    pub(super) fn report_services(&mut self, to: u16, vhost: VhostIndex) {
        let services = Box::new(self.services(vhost));
        let mail = Mail::Services { vhost, services };
        self.neighbours.send(to, mail);
    }

    pub(super) fn services_reported(&mut self, vhost: VhostIndex, services: Vec<ServiceReport>) {
        let Some(inquiry) = self.inquiries.0.get_mut(&vhost) else {
            return;
        };
        inquiry.services.extend(services);
        inquiry.missing_count -= 1;
        if inquiry.missing_count == 0 {
            self.end_inquiry(vhost);
        }
    }

    fn end_inquiry(&mut self, vhost: VhostIndex) {
        let Some(mut inquiry) = self.inquiries.0.remove(&vhost) else {
            return;
        };
        inquiry.services.sort_by(|a, b| a.name.cmp(&b.name));
        for asker in inquiry.askers {
            let answer = answer(&asker, &inquiry.services);
            self.send_json(vhost, &asker, &answer);
        }
        if !inquiry.later.is_empty() {
            let next = Inquiry {
                askers: inquiry.later,
                ..Inquiry::default()
            };
            self.inquiries.0.insert(vhost, next);
            self.agenda.inquiries.push(vhost);
        }
    }

    fn send_json(&mut self, vhost: VhostIndex, asker: &Asker, answer: &Value) {
        let body = answer.to_string();
        let (reply_to, correlation_id) = (asker.reply_to.as_bytes(), &asker.correlation_id);
        let properties = json_properties(correlation_id.as_bytes());
        let message = Message::from(&Content {
            body: body.as_bytes(),
            ..own_content(reply_to, &properties)
        });
        match parse_reply_name(reply_to) {
            Some(ReplyName::Full { opaque }) => {
                if let Some(to) = self.sealer.open_reply(opaque) {
                    self.send_reply(to.channel, message);
                }
            }
            Some(ReplyName::Bare) => {}
            None => self.forward(vhost, &message, &[], &[]),
        }
    }

    fn send_reply(&mut self, to: ChannelAddress, message: Message) {
        if to.shard == self.index {
            self.hand_reply(to, &message.content());
            return;
        }
        let origin = None;
        let mail = Mail::Reply {
            to,
            message,
            origin,
        };
        self.neighbours.send(to.shard, mail);
    }
}

fn answer(asker: &Asker, services: &[ServiceReport]) -> Value {
    let wanted = |service: &&ServiceReport| {
        let name = asker.service.as_ref();
        name.is_none_or(|name| *name == service.name)
    };
    let shown = services.iter().filter(wanted).map(|service| {
        let name = &service.name;
        match asker.question {
            Question::Ping => json!({ "name": name, "workers": service.workers.len() }),
            Question::Info => json!({
                "name": name,
                "shard": service.shard,
                "dispatch": service.dispatch,
                "messages": service.message_count,
                "workers": service.workers,
            }),
            Question::Stats => json!({
                "name": name,
                "workers": service.workers.len(),
                "in_flight": {
                    "queued": service.waiting_count,
                    "worker": service.worker_count,
                    "oldest_us": service.oldest_us,
                },
                "calls_per_second": service.calls_per_second,
                "ended": service.ended,
                "queued_us": service.queued_us,
                "worker_us": service.worker_us,
                "whole_us": service.whole_us,
            }),
        }
    });
    json!({ "services": shown.collect::<Vec<Value>>() })
}

fn text(name: &Name) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}
