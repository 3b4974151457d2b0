//! What a shard does in a turn beside receiving: takes its mail, and drains what has come of it
//! all. It knows no kernel, so the simulator runs these very lines around shards of its own.

use super::mesh::{Lane, Mailboxes};
use crate::engine::shard::{Mail, Output, Shard};
use crate::engine::time::Timestamp;

/// The sockets around a shard, and the way to its neighbours' doors.
pub trait Surroundings {
    fn execute(&mut self, shard: &mut Shard, output: Output, now: Timestamp);

    /// Starts one send for each connection with something to send. False: there was none.
    fn flush(&mut self, shard: &mut Shard, now: Timestamp) -> bool;

    /// Wakes a neighbour that sleeps.
    fn ring(&mut self, neighbour: u16);
}

/// Takes at most `count_max` mails of each lane and neighbour, lane by lane.
pub fn handle_mail(
    shard: &mut Shard,
    mailboxes: &mut Mailboxes<Mail>,
    count_max: usize,
    now: Timestamp,
) {
    for lane in Lane::ALL {
        for from in 0..mailboxes.count() {
            handle_lane(shard, mailboxes, (from, lane), count_max, now);
        }
    }
}

pub fn handle_lane(
    shard: &mut Shard,
    mailboxes: &mut Mailboxes<Mail>,
    (from, lane): (u16, Lane),
    count_max: usize,
    now: Timestamp,
) {
    for _ in 0..count_max {
        let Some(mail) = mailboxes.receive(from, lane) else {
            return;
        };
        shard.handle_mail(from, mail, now);
    }
}

/// Until nothing comes of it any more. Nothing new is read meanwhile, so that ends.
pub fn drain(
    shard: &mut Shard,
    mailboxes: &mut Mailboxes<Mail>,
    surroundings: &mut impl Surroundings,
    now: Timestamp,
) {
    loop {
        execute_outputs(shard, surroundings, now);
        if !surroundings.flush(shard, now) && !send_mail(shard, mailboxes, surroundings) {
            return;
        }
        // Connections that waited for room in a mailbox may have more to say.
        shard.handle_outbox_room(now);
    }
}

pub fn execute_outputs(shard: &mut Shard, surroundings: &mut impl Surroundings, now: Timestamp) {
    while let Some(output) = shard.poll_output() {
        surroundings.execute(shard, output, now);
    }
}

/// Whether any mail has left.
fn send_mail(
    shard: &mut Shard,
    mailboxes: &mut Mailboxes<Mail>,
    surroundings: &mut impl Surroundings,
) -> bool {
    let mut has_sent = false;
    for to in 0..mailboxes.count() {
        let Some(outbox) = shard.outbox(to) else {
            continue;
        };
        for (lane, outbox) in [
            (Lane::Urgent, &mut outbox.urgent),
            (Lane::Ordinary, &mut outbox.ordinary),
        ] {
            has_sent |= mailboxes.send(to, lane, outbox);
        }
        if mailboxes.must_ring(to) {
            surroundings.ring(to);
        }
    }
    has_sent
}
