//! A thread that connects again what was killed, so that no thread that measures waits for it.

use super::connect::{Place, Seat};
use super::dial::Dialer;
use super::shared::Clock;
use broker::engine::time::Timestamp;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// While nothing is due.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// A connection wanted, not before `at`.
pub struct Order {
    pub at: Timestamp,
    pub place: Place,
    /// The member's index in its crew.
    pub index: usize,
    pub reply: Sender<Restarted>,
}

pub struct Restarted {
    pub index: usize,
    pub seat: Result<Seat, String>,
}

/// Gives where to send orders; the thread ends with the last sender.
pub fn start(dialer: Arc<Dialer>, clock: Clock) -> Result<Sender<Order>, String> {
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name("restarts".to_owned())
        .spawn(move || serve(&dialer, clock, &receiver))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(sender)
}

fn serve(dialer: &Dialer, clock: Clock, orders: &Receiver<Order>) {
    let mut waiting: Vec<Order> = Vec::new();
    loop {
        let now = clock.now();
        let due = waiting.iter().map(|order| order.at).min();
        let wait = due.map_or(IDLE_WAIT, |due| due.since(now));
        match orders.recv_timeout(wait) {
            Ok(order) => waiting.push(order),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = clock.now();
        for order in waiting.extract_if(.., |order| order.at <= now) {
            let seat = dialer.seat(order.place, clock.now());
            let index = order.index;
            // The crew may have ended meanwhile: then nobody waits for it.
            let _ = order.reply.send(Restarted { index, seat });
        }
    }
}
