//! What a connection owes its client: answers to the requests that have arrived whole, and the bytes of answers that
//! the client has yet to take. When the server ends, a connection that owes nothing is closed; one whose client takes
//! nothing is closed where memory is scarce.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;

use crate::budget::Budget;

/// What one connection owes.
#[derive(Debug)]
pub struct Owed {
    /// That of all connections.
    budget: Arc<Budget>,
    answers: AtomicUsize,
    /// Bytes of answers of which not all is written, and which are not given up.
    untaken: AtomicUsize,
    /// The last write was not taken.
    blocked: AtomicBool,
    /// Bytes written so far.
    written: AtomicUsize,
}

impl Owed {
    /// Nothing yet; the bytes of answers will count against `budget`.
    #[must_use]
    pub fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            answers: AtomicUsize::new(0),
            untaken: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            written: AtomicUsize::new(0),
        })
    }

    /// What its requests and answers count against.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// One answer more, until the promise is dropped.
    #[must_use]
    pub fn promise(self: &Arc<Self>) -> Promise {
        self.answers.fetch_add(1, Ordering::Relaxed);
        Promise(Arc::clone(self))
    }

    /// Counts bytes of an answer until they are written or given up.
    pub(crate) fn counted(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.budget.hold_answer(bytes.len());
        self.untaken.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { bytes, owed: Arc::clone(self) })
    }

    /// Whether there is an answer to be made, or bytes that the client does not take yet.
    pub(crate) fn any(&self) -> bool {
        self.answers.load(Ordering::Relaxed) > 0 || self.blocked.load(Ordering::Relaxed)
    }

    /// Whether there are bytes that the client does not take, and others could use the memory.
    pub(crate) fn in_the_way(&self) -> bool {
        let untaken = self.untaken.load(Ordering::Relaxed) > 0;
        (untaken || self.blocked.load(Ordering::Relaxed)) && self.budget.scarce()
    }

    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// Notes what became of a write: so many bytes, or none yet. Only the connection's own task writes.
    pub(crate) fn note_write(&self, bytes: Option<usize>) {
        self.blocked.store(bytes.is_none(), Ordering::Relaxed);
        if let Some(bytes) = bytes {
            self.written.store(self.written().wrapping_add(bytes), Ordering::Relaxed);
        }
    }
}

/// An answer that is owed until this is dropped.
#[derive(Debug)]
pub struct Promise(Arc<Owed>);

impl Promise {
    /// See [`Owed::counted`].
    pub(crate) fn counted(&self, bytes: Bytes) -> Bytes {
        self.0.counted(bytes)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of an answer on their way out.
struct Counted {
    bytes: Bytes,
    owed: Arc<Owed>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.owed.untaken.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.owed.budget.release(self.bytes.len());
    }
}
