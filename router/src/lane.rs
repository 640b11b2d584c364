//! A lane: the queue of one variant and one shape, with what is believed of its run times.

use batcher::Batcher;
use models::VariantId;

use crate::estimate::Estimate;

/// Index of a lane in the router's table.
pub(crate) type LaneId = usize;

/// Rows of equal inner dimensions of one variant wait here.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) variant: VariantId,
    pub(crate) batcher: Batcher,
    pub(crate) estimate: Estimate,
    /// Batches of this lane that executors hold.
    pub(crate) running: u32,
    /// The most rows of a batch of several requests.
    pub(crate) batch_max: u32,
}

impl Lane {
    /// Nothing waits or runs here, so that its place can be given to another shape.
    pub(crate) fn idle(&self) -> bool {
        self.running == 0 && self.batcher.queue().is_empty()
    }
}
