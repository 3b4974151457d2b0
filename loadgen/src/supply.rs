//! How many calls may still be issued: warm-up first, then the measured ones. Shared by all
//! threads, so that a fast requester takes what a slow one leaves and the load stays level until
//! the end.

use crate::plan::Amount;
use broker::engine::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What all threads share.
#[derive(Debug, Default)]
pub struct Stock {
    warmup_drawn: AtomicU64,
    measured_drawn: AtomicU64,
    /// Nanoseconds of the first measured call; 0 before it.
    measured_since: AtomicU64,
    /// No more calls, whatever is left.
    stopped: AtomicBool,
}

impl Stock {
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub fn measured_since(&self) -> Option<Timestamp> {
        match self.measured_since.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Timestamp(nanos)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// Audited, not recorded.
    Warmup,
    Measured,
}

/// One thread's access to the [`Stock`].
#[derive(Debug)]
pub struct Supply {
    stock: Arc<Stock>,
    start: Timestamp,
    warmup: Amount,
    amount: Amount,
    chunk_len: u64,
    warmup_left: u64,
    measured_left: u64,
    is_measuring: bool,
}

impl Supply {
    /// `set_start` must follow before the first `take`.
    pub fn new(stock: Arc<Stock>, warmup: Amount, amount: Amount, thread_count: usize) -> Supply {
        // Chunks keep the shared counters out of the hot path, yet small enough that no thread
        // hoards the last calls.
        let chunk_len = match amount {
            Amount::Calls(count) => (count / (64 * thread_count as u64)).clamp(1, 1024),
            Amount::Time(_) => 1024,
        };
        Supply {
            stock,
            start: Timestamp(0),
            warmup,
            amount,
            chunk_len,
            warmup_left: 0,
            measured_left: 0,
            is_measuring: false,
        }
    }

    /// When the warm-up begins.
    pub fn set_start(&mut self, start: Timestamp) {
        self.start = start;
    }

    /// Leave to issue one more call. Once it is `None` it stays so.
    pub fn take(&mut self, now: Timestamp) -> Option<Ticket> {
        if self.stock.is_stopped() {
            return None;
        }
        if !self.is_measuring {
            if self.take_warmup(now) {
                return Some(Ticket::Warmup);
            }
            self.is_measuring = true;
            let since = now.0.max(1);
            let _ = self.stock.measured_since.compare_exchange(
                0,
                since,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        self.take_measured(now).then_some(Ticket::Measured)
    }

    /// The warm-up is over.
    pub fn is_measuring(&self) -> bool {
        self.is_measuring
    }

    /// Whether `take` may still give something.
    pub fn is_over(&self, now: Timestamp) -> bool {
        if self.stock.is_stopped() {
            return true;
        }
        match self.amount {
            Amount::Calls(count) => {
                self.is_measuring
                    && self.measured_left == 0
                    && self.stock.measured_drawn.load(Ordering::Relaxed) >= count
            }
            Amount::Time(duration) => self.is_measuring && self.is_past(duration, now),
        }
    }

    fn take_warmup(&mut self, now: Timestamp) -> bool {
        match self.warmup {
            Amount::Calls(count) => draw(
                &self.stock.warmup_drawn,
                &mut self.warmup_left,
                count,
                self.chunk_len,
            ),
            Amount::Time(duration) => now < self.start.plus(duration),
        }
    }

    fn take_measured(&mut self, now: Timestamp) -> bool {
        match self.amount {
            Amount::Calls(count) => draw(
                &self.stock.measured_drawn,
                &mut self.measured_left,
                count,
                self.chunk_len,
            ),
            Amount::Time(duration) => !self.is_past(duration, now),
        }
    }

    fn is_past(&self, duration: Duration, now: Timestamp) -> bool {
        self.stock
            .measured_since()
            .is_some_and(|since| now >= since.plus(duration))
    }
}

fn draw(drawn: &AtomicU64, left: &mut u64, count: u64, chunk_len: u64) -> bool {
    if *left == 0 {
        if drawn.load(Ordering::Relaxed) >= count {
            return false;
        }
        let from = drawn.fetch_add(chunk_len, Ordering::Relaxed);
        *left = count.saturating_sub(from).min(chunk_len);
        if *left == 0 {
            return false;
        }
    }
    *left -= 1;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(stock: &Arc<Stock>, warmup: Amount, amount: Amount) -> Supply {
        let mut supply = Supply::new(Arc::clone(stock), warmup, amount, 2);
        supply.set_start(Timestamp(100));
        supply
    }

    #[test]
    fn two_threads_together_draw_exactly_what_was_asked_for() {
        let stock = Arc::new(Stock::default());
        let mut threads = [0, 1].map(|_| supply(&stock, Amount::Calls(5), Amount::Calls(1001)));
        let (mut warmup, mut measured) = (0, 0);
        let mut idle = 0;
        for index in (0..2).cycle() {
            match threads[index].take(Timestamp(200)) {
                Some(Ticket::Warmup) => warmup += 1,
                Some(Ticket::Measured) => measured += 1,
                None => idle += 1,
            }
            if idle > 3 {
                break;
            }
        }
        assert_eq!((warmup, measured), (5, 1001));
        assert!(threads.iter().all(|thread| thread.is_over(Timestamp(200))));
    }

    #[test]
    fn time_counts_from_the_end_of_the_warmup() {
        let stock = Arc::new(Stock::default());
        let second = Duration::from_nanos(1000);
        let mut supply = supply(&stock, Amount::Time(second), Amount::Time(2 * second));
        assert_eq!(supply.take(Timestamp(1099)), Some(Ticket::Warmup));
        assert_eq!(stock.measured_since(), None);
        assert_eq!(supply.take(Timestamp(1150)), Some(Ticket::Measured));
        assert_eq!(stock.measured_since(), Some(Timestamp(1150)));
        assert_eq!(supply.take(Timestamp(3149)), Some(Ticket::Measured));
        assert_eq!(supply.take(Timestamp(3150)), None);
        assert!(supply.is_over(Timestamp(3150)));
    }

    #[test]
    fn a_stopped_stock_gives_nothing() {
        let stock = Arc::new(Stock::default());
        let mut supply = supply(&stock, Amount::Calls(0), Amount::Calls(10));
        assert_eq!(supply.take(Timestamp(200)), Some(Ticket::Measured));
        stock.stop();
        assert_eq!(supply.take(Timestamp(200)), None);
        assert!(supply.is_over(Timestamp(200)));
    }
}
