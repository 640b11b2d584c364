//! A lane: the queue of one variant and one shape, with what is believed of its run times.

use std::time::Duration;

use batcher::{Batcher, Instant};
use models::{LatencyProfile, VariantId};

use crate::VariantSpec;
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
    /// The [`work_of_row`] as measured when the model was loaded.
    pub(crate) row: Duration,
    /// From when a request that waits here is hopeless, as its alarm is set.
    pub(crate) hopeless: Instant,
}

impl Lane {
    /// Nothing waits or runs here, so that its place can be given to another shape.
    pub(crate) fn idle(&self) -> bool {
        self.running == 0 && self.batcher.queue().is_empty()
    }

    /// Executor time that all that waits here takes in full batches, as planned.
    pub(crate) fn backlog(&self) -> Duration {
        self.time_of(self.batcher.queue().rows())
    }

    /// Executor time that so many rows take in full batches, as planned.
    pub(crate) fn time_of(&self, rows: u32) -> Duration {
        if rows == 0 {
            return Duration::ZERO;
        }
        let size = rows.min(self.batch_max).max(1);
        let time = self.estimate.profile().time(size);
        if rows == size { time } else { time.mul_f64(f64::from(rows) / f64::from(size)) }
    }

    /// All that wait here could run as one batch that starts then, in time for the most urgent.
    pub(crate) fn fits_one_batch(&self, start: Instant) -> bool {
        let queue = self.batcher.queue();
        let end = start + self.estimate.profile().time(queue.rows());
        queue.rows() <= self.batch_max && queue.head().is_none_or(|head| end <= head.deadline.0)
    }

    /// When the first of those that wait can no longer be run alone in time.
    pub(crate) fn first_hopeless(&self) -> Instant {
        self.batcher.queue().first_hopeless(self.estimate.profile())
    }
}

/// The most rows of a batch of several requests.
pub(crate) fn batch_max(spec: &VariantSpec) -> u32 {
    spec.settings.batch_max.max(1)
}

/// What a row takes of an executor as part of a full batch.
pub(crate) fn work_of_row(profile: &LatencyProfile, batch_max: u32) -> Duration {
    profile.time(batch_max) / batch_max
}
