//! Opens the connections, one after another in a known order, and deals them to the threads.

use super::dial::Dialer;
use crate::arguments::{AckMode, ConnectOrder};
use crate::call::REQUESTER_COUNT_MAX;
use crate::client::{
    Client, NatsPurpose, NatsSettings, Part, Purpose, Service, Settings, queue_name,
};
use crate::plan::{AmqpTarget, NatsTarget, Plan, Target};
use broker::engine::time::Timestamp;
use std::net::TcpStream;

/// Descriptors besides the connections that last: those that come and go, rings, executors,
/// standard streams.
const DESCRIPTORS_BESIDES: u64 = 1024;

/// A connection that is open, before its first octet.
pub struct Seat {
    pub stream: TcpStream,
    pub client: Client,
    pub name: String,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Worker(u32),
    Requester(u32),
    /// Beside the load, held open.
    Idle,
    /// Beside the load: the connection with this number comes, may call, and goes.
    Visitor(u64),
}

/// All connections, a list for each thread. Errors: a sentence for the user.
pub fn connect_all(dialer: &Dialer, now: Timestamp) -> Result<Vec<Vec<Seat>>, String> {
    let plan = &dialer.plan;
    let mut threads: Vec<Vec<Seat>> = (0..plan.thread_count).map(|_| Vec::new()).collect();
    for place in places(plan) {
        // In this order, each open before the next: a server may deal its connections in turn.
        threads[thread_of(place, plan)].push(dialer.seat(place, now)?);
    }
    Ok(threads)
}

fn places(plan: &Plan) -> Vec<Place> {
    let workers = (0..plan.worker_count).map(Place::Worker);
    let requesters = (0..plan.requester_count).map(Place::Requester);
    match plan.connect_order {
        ConnectOrder::Grouped => workers.chain(requesters).collect(),
        ConnectOrder::Paired => {
            let paired_count = plan.worker_count.min(plan.requester_count);
            let pairs = (0..paired_count).flat_map(|i| [Place::Worker(i), Place::Requester(i)]);
            let rest_of_workers = workers.skip(paired_count as usize);
            let rest_of_requesters = requesters.skip(paired_count as usize);
            pairs
                .chain(rest_of_workers)
                .chain(rest_of_requesters)
                .collect()
        }
    }
}

/// Requesters first, so that one requester and one worker have two threads if there are two.
fn thread_of(place: Place, plan: &Plan) -> usize {
    let index = match place {
        Place::Requester(index) => index,
        Place::Worker(index) => plan.requester_count + index,
        Place::Idle | Place::Visitor(_) => 0,
    };
    index as usize % plan.thread_count
}

/// Requesters of the threads before this one.
pub fn requesters_before(thread: usize, plan: &Plan) -> u32 {
    let is_before = |index: &u32| thread_of(Place::Requester(*index), plan) < thread;
    (0..plan.requester_count).filter(is_before).count() as u32
}

pub fn seat(plan: &Plan, run: u32, place: Place, stream: TcpStream, now: Timestamp) -> Seat {
    let (part, index, name) = match place {
        Place::Worker(index) => (Part::Worker, index, format!("worker {index}")),
        Place::Requester(index) => {
            let part = Part::Requester {
                run,
                index,
                in_flight: plan.in_flight,
            };
            (part, index, format!("requester {index}"))
        }
        Place::Idle => (Part::Bystander, 0, "idle connection".to_owned()),
        Place::Visitor(_) if !plan.besides.churn_calls => {
            (Part::Bystander, 0, "visitor".to_owned())
        }
        Place::Visitor(number) => {
            let index = visitor_index(number, plan);
            let part = Part::Requester {
                run,
                index,
                in_flight: 1,
            };
            (part, index, "visitor".to_owned())
        }
    };
    let mut client = match &plan.target {
        Target::Relay { .. } => {
            let pair = u16::try_from(index).expect("the plan limits the pairs");
            Client::new_relay(part, pair, plan.shape.sizes.clone())
        }
        Target::Nats(target) => {
            let settings = nats_settings(target, run, place);
            Client::new_nats(settings, part, plan.shape.sizes.clone(), now)
        }
        Target::Amqp(target) => {
            let settings = settings(target, plan, run, place);
            Client::new_amqp(settings, part, plan.shape.sizes.clone(), now)
        }
    };
    if let Some(times) = &plan.shape.service {
        let seed = plan.seed.wrapping_add(u64::from(index));
        let slowness = match place {
            Place::Worker(0) => plan.shape.slow_worker,
            _ => None,
        };
        let service = Service::new(times.clone(), plan.shape.server_count, seed);
        client.set_service(service.slower(slowness));
    }
    Seat {
        stream,
        client,
        name,
        place,
    }
}

fn settings(target: &AmqpTarget, plan: &Plan, run: u32, place: Place) -> Settings {
    let place = match place {
        Place::Visitor(_) if !plan.besides.churn_calls => Place::Idle,
        // As a requester of the load whose turn it is would call.
        Place::Visitor(number) => {
            Place::Requester((number % u64::from(plan.requester_count)) as u32)
        }
        place => place,
    };
    let purpose = match place {
        Place::Idle | Place::Visitor(_) => Purpose::Bystander,
        Place::Worker(index) => Purpose::Worker {
            queues: queues(run, index, plan.worker_count, target.queue_count),
            is_auto_ack: target.ack == AckMode::Auto,
            prefetch: target.prefetch,
            is_persistent: target.is_persistent,
            keeps_queues: plan.besides.kill_workers.is_some(),
            rules: target.rules,
            heap: target.heap,
        },
        Place::Requester(index) => Purpose::Requester {
            queues: queues(run, index, plan.requester_count, target.queue_count),
            reply: target.reply,
            is_mandatory: target.is_mandatory,
            is_persistent: target.is_persistent,
            is_confirmed: target.is_confirmed,
            follow: target.follow,
        },
    };
    Settings {
        username: target.username.clone(),
        password: target.password.clone(),
        vhost: target.vhost.clone(),
        purpose,
    }
}

fn nats_settings(target: &NatsTarget, run: u32, place: Place) -> NatsSettings {
    let subject = |index: u32| queue_name(run, index % target.subject_count);
    let purpose = match place {
        Place::Worker(index) => NatsPurpose::Worker {
            subject: subject(index),
        },
        Place::Requester(index) => NatsPurpose::requester(subject(index), run, index),
        Place::Idle | Place::Visitor(_) => unreachable!("the plan refuses them with NATS"),
    };
    NatsSettings {
        username: target.username.clone(),
        password: target.password.clone(),
        purpose,
    }
}

/// A requester's index that none of the load has, and no visitor near in time.
fn visitor_index(number: u64, plan: &Plan) -> u32 {
    let free_count = u64::from(REQUESTER_COUNT_MAX - plan.requester_count).max(1);
    let index = u64::from(plan.requester_count) + number % free_count;
    index.min(u64::from(REQUESTER_COUNT_MAX - 1)) as u32
}

/// One queue, shared if there are fewer than sharers; else every one whose turn comes to `index`.
fn queues(run: u32, index: u32, sharer_count: u32, queue_count: u32) -> Vec<String> {
    (index % queue_count..queue_count)
        .step_by(sharer_count as usize)
        .map(|queue| queue_name(run, queue))
        .collect()
}

/// For all connections that the plan has at once.
pub fn raise_descriptor_limit(plan: &Plan) -> Result<(), String> {
    let besides = u64::from(plan.besides.idle_count) + DESCRIPTORS_BESIDES;
    let wanted = plan.connection_count() as u64 + besides;
    let (soft, hard) = rlimit::Resource::NOFILE
        .get()
        .map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        return Err(format!(
            "{wanted} open files are needed, the hard limit is {hard}: ulimit -n"
        ));
    }
    rlimit::Resource::NOFILE
        .set(wanted, hard)
        .map_err(|error| format!("cannot raise the limit of open files: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    #[test]
    fn grouped_connects_workers_first_and_paired_takes_turns() {
        use Place::{Requester, Worker};
        let grouped = plan("--requesters 2 --workers 2").unwrap();
        assert_eq!(
            places(&grouped),
            [Worker(0), Worker(1), Requester(0), Requester(1)]
        );
        let paired = plan("--requesters 3 --workers 2 --connect-order paired").unwrap();
        let expected = [
            Worker(0),
            Requester(0),
            Worker(1),
            Requester(1),
            Requester(2),
        ];
        assert_eq!(places(&paired), expected);
    }

    #[test]
    fn queues_are_shared_or_dealt_until_each_is_served() {
        assert_eq!(queues(1, 3, 4, 2), [queue_name(1, 1)]);
        assert_eq!(queues(1, 3, 4, 4), [queue_name(1, 3)]);
        let dealt = [queue_name(1, 1), queue_name(1, 4), queue_name(1, 7)];
        assert_eq!(queues(1, 1, 3, 8), dealt);
    }

    #[test]
    fn one_requester_and_one_worker_use_two_threads() {
        let plan = plan("--requesters 1 --workers 1 --threads 2").unwrap();
        assert_eq!(thread_of(Place::Requester(0), &plan), 0);
        assert_eq!(thread_of(Place::Worker(0), &plan), 1);
    }
}
