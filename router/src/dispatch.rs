//! Which queue gets the free executor? One policy, one file, one row in [`DISPATCHES`].

#[cfg(test)]
mod cases;
mod earliest_latest_start;
mod fair_share;
mod largest_batch;
mod priority_classes;

use std::time::Duration;

use batcher::{Candidate, Instant};
use models::{ExecutorId, VariantId};

use crate::lane::LaneId;

/// How urgent a batch is: by class, then within the class. Less is more urgent.
pub(crate) type Urgency = (u32, u64);

/// How urgent a lane's batch was when it was last looked at. Apart from its lane, since those of all ready lanes are
/// compared for every executor that opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    pub(crate) urgency: Urgency,
    /// Until when it holds, if no request joins or leaves.
    pub(crate) until: Instant,
}

impl Rank {
    /// Since a request joined or left.
    pub(crate) const UNKNOWN: Self = Self { urgency: (0, 0), until: Instant::ZERO };
}

/// Decides which of the batches on offer an executor starts: the one of least urgency value.
pub(crate) trait Dispatch: Send {
    /// How urgent that batch is. As time passes the value may only rise, while no request joins or leaves its queue
    /// and until it [`Self::falls`]: then it is enough to look again at the one that seems most urgent.
    fn urgency(&self, offer: &Offer, now: Instant) -> Urgency;

    /// When the value of that batch falls next, though no request joins or leaves its queue.
    fn falls(&self, _offer: &Offer, _now: Instant) -> Instant {
        Instant::NEVER
    }

    /// A request is about to wait of a variant of that weight and on those executors, of which none does.
    fn woke(
        &mut self,
        _variant: VariantId,
        _weight: f64,
        _executors: &mut dyn Iterator<Item = ExecutorId>,
    ) {
    }

    /// That batch was started.
    fn launched(&mut self, _offer: &Offer, _launch: Launch) {}

    /// So much of a batch's median time at its launch, of that variant, is not run: all of it where the batch was withdrawn,
    /// what was left of it where its run was broken off.
    fn withdrawn(&mut self, _variant: VariantId, _time: Duration) {}
}

/// How a batch was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    /// Where.
    pub(crate) executor: ExecutorId,
    /// How long it takes at the median.
    pub(crate) time: Duration,
    /// When it was given to the executor.
    pub(crate) now: Instant,
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
pub const DISPATCHES: [DispatchEntry; 4] = [
    earliest_latest_start::ENTRY,
    fair_share::ENTRY,
    priority_classes::ENTRY,
    largest_batch::ENTRY,
];

/// The row of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static DispatchEntry> {
    DISPATCHES.iter().find(|entry| entry.name == name)
}

/// How long a request without a deadline gives way to deadlines: a person's patience with a web page.
const PATIENCE: Duration = Duration::from_secs(1);

/// The latest start of a batch; without a deadline the end of its clients' patience, so that it is not starved.
fn latest_start(offer: &Offer) -> Instant {
    offer.candidate.latest.min(offer.arrived + PATIENCE)
}
