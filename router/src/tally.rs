//! Plain counters of what happened; the shells turn them into metrics and reports.

use crate::Rejection;

/// What happened to all requests so far. `arrived` is the sum of refused, cancelled, finished, failed, and those
/// that still wait or run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that asked.
    pub arrived: u64,
    /// Refused, by [`Rejection::index`].
    pub refused: [u64; Rejection::ALL.len()],
    /// Left while they waited.
    pub cancelled: u64,
    /// Requests of batches that ran.
    pub finished: u64,
    /// Of those, the ones whose batch ended after their deadline.
    pub late: u64,
    /// Requests of batches that failed.
    pub failed: u64,
    /// Batches launched.
    pub batches: u64,
    /// Rows of those batches.
    pub rows: u64,
    /// Of those batches, the ones that were withdrawn before they started.
    pub withdrawn: u64,
    /// Of those batches, the ones that were broken off while they ran.
    pub aborted: u64,
    /// Weights that executors were asked to load.
    pub loads: u64,
    /// Of those, the ones that failed.
    pub loads_failed: u64,
    /// Weights that executors let go.
    pub evictions: u64,
}

impl Tally {
    /// All refusals.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }
}
