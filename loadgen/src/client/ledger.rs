//! The account of a run: each request is opened once and ends once, whatever becomes of its task.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::Notify;

use super::{nanoseconds, now};
use crate::{Outcome, Record};

/// What is told of each request that counts, when it ends.
pub(super) type Watch = Box<dyn FnMut(&Record) + Send>;

pub(super) struct Ledger {
    start: Instant,
    /// Requests due before it are those of the warm-up.
    counts_from_ns: u64,
    pages: Mutex<Pages>,
    none_open: Notify,
}

struct Pages {
    open: usize,
    warm_up: Vec<Record>,
    counted: Vec<Record>,
    watch: Watch,
}

impl Ledger {
    pub(super) fn new(start: Instant, counts_from_ns: u64, watch: Watch) -> Self {
        let pages = Pages { open: 0, warm_up: Vec::new(), counted: Vec::new(), watch };
        Self { start, counts_from_ns, pages: Mutex::new(pages), none_open: Notify::new() }
    }

    pub(super) fn elapsed_ns(&self) -> u64 {
        nanoseconds(now().saturating_duration_since(self.start))
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("no holder panics")
    }

    /// Opens a request; it ends when its ticket does.
    pub(super) fn open(self: &Arc<Self>, share: usize, intended_ns: u64) -> Ticket {
        self.pages().open += 1;
        let ledger = Arc::clone(self);
        Ticket { ledger, share, intended_ns, lag_ns: 0, outcome: Outcome::Cancelled }
    }

    /// Returns when no request is open.
    pub(super) async fn settled(&self) {
        while self.pages().open > 0 {
            self.none_open.notified().await;
        }
    }

    /// The warm-up's records and those that count, with times from the end of the warm-up.
    pub(super) fn close(&self) -> (Vec<Record>, Vec<Record>) {
        let mut pages = self.pages();
        assert_eq!(pages.open, 0, "a request has not ended");
        (std::mem::take(&mut pages.warm_up), std::mem::take(&mut pages.counted))
    }

    fn end(&self, mut record: Record) {
        let mut pages = self.pages();
        if record.intended_ns < self.counts_from_ns {
            pages.warm_up.push(record);
        } else {
            record.intended_ns -= self.counts_from_ns;
            (pages.watch)(&record);
            pages.counted.push(record);
        }
        pages.open -= 1;
        if pages.open == 0 {
            self.none_open.notify_one();
        }
    }
}

/// A request that has not ended. One that is dropped without an answer was cancelled.
pub(super) struct Ticket {
    ledger: Arc<Ledger>,
    share: usize,
    intended_ns: u64,
    lag_ns: u64,
    outcome: Outcome,
}

impl Ticket {
    pub(super) fn share(&self) -> usize {
        self.share
    }

    pub(super) fn intended_ns(&self) -> u64 {
        self.intended_ns
    }

    /// Notes how late the client is in sending.
    pub(super) fn sends(&mut self) {
        self.lag_ns = self.latency_ns();
    }

    pub(super) fn latency_ns(&self) -> u64 {
        self.ledger.elapsed_ns().saturating_sub(self.intended_ns)
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Cancelled);
        let (share, intended_ns, lag_ns) = (self.share, self.intended_ns, self.lag_ns);
        let latency_ns = self.latency_ns();
        self.ledger.end(Record { share, intended_ns, lag_ns, latency_ns, outcome });
    }
}
