//! What a connection owes its client: answers to the requests that have arrived whole, and the bytes of answers that
//! the client has yet to take. When the server ends, a connection that owes nothing is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What one connection owes.
#[derive(Debug, Default)]
pub struct Owed {
    answers: AtomicUsize,
    /// The last write was not taken.
    blocked: AtomicBool,
    /// Bytes written so far.
    written: AtomicUsize,
}

impl Owed {
    /// One answer more, until the promise is dropped.
    #[must_use]
    pub fn promise(self: &Arc<Self>) -> Promise {
        self.answers.fetch_add(1, Ordering::Relaxed);
        Promise(Arc::clone(self))
    }

    /// Whether there is an answer to be made, or bytes that the client does not take yet.
    pub(crate) fn any(&self) -> bool {
        self.answers.load(Ordering::Relaxed) > 0 || self.blocked.load(Ordering::Relaxed)
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

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.answers.fetch_sub(1, Ordering::Relaxed);
    }
}
