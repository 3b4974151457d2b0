//! What the threads of a run and the one that watches them know of each other.

use super::glance::Books;
use super::processor::own_busy_time;
use crate::supply::Stock;
use broker::engine::time::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Nanoseconds since the run began, the same on all threads, never 0.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            base: Instant::now(),
        }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.base.elapsed().as_nanos() as u64 + 1)
    }
}

#[derive(Debug)]
pub struct Shared {
    pub clock: Clock,
    pub stock: Arc<Stock>,
    /// Connections whose set-up is done.
    ready_count: AtomicUsize,
    /// When the first call may go out; 0 until all connections are ready.
    start: AtomicU64,
    /// Threads with calls in flight or to come.
    calling_count: AtomicUsize,
    /// The idle connections are all there; true if there are to be none.
    bystanders_ready: AtomicBool,
    /// Some thread has no more calls to issue.
    is_draining: AtomicBool,
    failure: Mutex<Option<String>>,
    has_failed: AtomicBool,
    pub gauges: Vec<Gauge>,
}

/// One thread's state, for the progress line.
#[derive(Debug)]
pub struct Gauge {
    pub returned_count: AtomicU64,
    pub error_count: AtomicU64,
    /// The kernel's number for the thread; 0 until it runs.
    pub thread_id: AtomicU32,
    /// Nanoseconds that it looked whether something had fallen due, in vain.
    pub spun_ns: AtomicU64,
    books: Mutex<Books>,
}

impl Shared {
    pub fn new(thread_count: usize) -> Shared {
        Shared {
            clock: Clock::start(),
            stock: Arc::default(),
            ready_count: AtomicUsize::new(0),
            start: AtomicU64::new(0),
            calling_count: AtomicUsize::new(thread_count),
            bystanders_ready: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            gauges: (0..thread_count)
                .map(|_| Gauge {
                    returned_count: AtomicU64::new(0),
                    error_count: AtomicU64::new(0),
                    thread_id: AtomicU32::new(0),
                    spun_ns: AtomicU64::new(0),
                    books: Mutex::new(Books::new()),
                })
                .collect(),
        }
    }

    pub fn add_ready(&self, count: usize) {
        self.ready_count.fetch_add(count, Ordering::Relaxed);
    }

    pub fn ready_count(&self) -> usize {
        self.ready_count.load(Ordering::Relaxed)
    }

    pub fn set_start(&self, start: Timestamp) {
        self.start.store(start.0, Ordering::Relaxed);
    }

    pub fn start(&self) -> Option<Timestamp> {
        match self.start.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Timestamp(nanos)),
        }
    }

    pub fn set_bystanders_ready(&self) {
        self.bystanders_ready.store(true, Ordering::Relaxed);
    }

    pub fn are_bystanders_ready(&self) -> bool {
        self.bystanders_ready.load(Ordering::Relaxed)
    }

    /// One thread has issued its last call.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// One thread's last call has ended.
    pub fn finish_calling(&self) {
        self.calling_count.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn is_calling(&self) -> bool {
        self.calling_count.load(Ordering::Relaxed) > 0
    }

    /// The run cannot go on. The first reason is kept.
    pub fn fail(&self, reason: String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(reason);
        self.has_failed.store(true, Ordering::Release);
    }

    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn returned_count(&self) -> u64 {
        self.gauges
            .iter()
            .map(|gauge| gauge.returned_count.load(Ordering::Relaxed))
            .sum()
    }

    pub fn error_count(&self) -> u64 {
        self.gauges
            .iter()
            .map(|gauge| gauge.error_count.load(Ordering::Relaxed))
            .sum()
    }
}

impl Gauge {
    /// How long the thread has been busy, but for looking in vain.
    pub fn busy_time(&self) -> Option<Duration> {
        let busy = own_busy_time(self.thread_id.load(Ordering::Relaxed))?;
        let spun = Duration::from_nanos(self.spun_ns.load(Ordering::Relaxed));
        Some(busy.saturating_sub(spun))
    }

    /// Shows the books of the thread, unless somebody looks at them just now: calls do not wait.
    pub fn show_books(&self, write: impl FnOnce(&mut Books)) {
        if let Ok(mut books) = self.books.try_lock() {
            write(&mut books);
        }
    }

    pub fn books(&self) -> Books {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.clone()
    }
}
