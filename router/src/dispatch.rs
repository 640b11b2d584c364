//! Which queue gets the free executor? One policy, one file, one row in [`DISPATCHES`].

mod earliest_latest_start;

use std::time::Duration;

use batcher::{Candidate, Instant};
use models::VariantId;

use crate::lane::LaneId;

/// How urgent a batch is: by class, then within the class. Less is more urgent.
pub(crate) type Urgency = (u32, u64);

/// Decides which of the batches on offer an executor starts: the one of least urgency value.
pub(crate) trait Dispatch: Send {
    /// How urgent that batch is. As time passes the value may only rise, while no request joins or leaves its queue:
    /// then it is enough to look again at the one that seems most urgent.
    fn urgency(&self, offer: &Offer) -> Urgency;

    /// That batch was started, and takes so long at the median.
    fn launched(&mut self, _offer: &Offer, _time: Duration) {}
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
