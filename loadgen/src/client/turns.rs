//! Requests that are sent in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The encoded requests of a run: some for each share, sent in turn.
pub(super) struct Turns<T> {
    by_share: Vec<Turn<T>>,
}

struct Turn<T> {
    requests: Vec<T>,
    sent: AtomicUsize,
}

impl<T> Turns<T> {
    pub(super) fn new(by_share: Vec<Vec<T>>) -> Self {
        let turn = |requests: Vec<T>| Turn { requests, sent: 0.into() };
        Self { by_share: by_share.into_iter().map(turn).collect() }
    }

    /// The next request of that share.
    pub(super) fn next(&self, share: usize) -> &T {
        let turn = &self.by_share[share];
        let sent = turn.sent.fetch_add(1, Ordering::Relaxed);
        &turn.requests[sent % turn.requests.len()]
    }
}
