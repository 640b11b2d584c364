//! Bytes of requests and answers that are held at once, those of HTTP and gRPC together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::status::{Failure, Refusal};

/// When a client may come back: bodies are held for as long as a request is, which is not known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// So many bytes for all.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: AtomicUsize::new(0) }
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// So much is held that clients who do not take their answers stand in the way of others.
    pub(crate) fn scarce(&self) -> bool {
        self.held() > self.bytes_max / 2
    }

    /// Holds so many more bytes of an answer: made it is sent, and only later requests pay for it.
    pub(crate) fn hold_answer(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Holds so many more bytes, which must be released even where they are too many.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Failure> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.bytes_max {
            return Ok(());
        }
        let bytes_max = self.bytes_max;
        Err(Failure::Crowded(Refusal {
            error: format!(
                "the requests and answers under way hold more than the {bytes_max} bytes that --bodies-bytes-max \
                 allows in all: try again later"
            ),
            reason: "bodies_full",
            predicted: None,
            deadline: None,
            retry_after: Some(RETRY_AFTER),
        }))
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Claim {
    /// A claim of bytes that are held already.
    pub(crate) fn of_held(budget: &Arc<Budget>, bytes: usize) -> Self {
        Self { budget: Arc::clone(budget), bytes }
    }

    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes += bytes;
        self.budget.hold(bytes)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
