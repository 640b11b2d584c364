//! Which queue gets the free executor? One policy, one file, one row in [`DISPATCHES`].

mod earliest_latest_start;

use batcher::{Candidate, Instant};
use models::VariantId;

use crate::lane::LaneId;

/// Decides which of the batches on offer an executor starts.
pub(crate) trait Dispatch: Send {
    /// The position of the chosen offer; `None` only if there is none.
    fn choose(&mut self, offers: &[Offer]) -> Option<usize>;
}

/// A queue's candidate for an executor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Which queue.
    pub(crate) lane: LaneId,
    /// Of which variant.
    pub(crate) variant: VariantId,
    /// The batch and its launch window.
    pub(crate) candidate: Candidate,
    /// The priority level of its most urgent request.
    pub(crate) priority: u32,
    /// When its most urgent request arrived.
    pub(crate) arrived: Instant,
}

/// One row of the table of dispatch policies.
#[derive(Clone, Copy)]
pub struct DispatchEntry {
    /// The name in settings.
    pub name: &'static str,
    /// Who goes first, in a sentence.
    pub summary: &'static str,
    /// Whose idea it is.
    pub source: &'static str,
    pub(crate) build: fn() -> Box<dyn Dispatch>,
}

impl std::fmt::Debug for DispatchEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DispatchEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every dispatch policy; the first is the default.
pub const DISPATCHES: [DispatchEntry; 1] = [earliest_latest_start::ENTRY];
