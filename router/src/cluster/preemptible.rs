//! Which runs can be broken off.

use std::time::Duration;

use batcher::Instant;
use models::{BatchId, ExecutorId, VariantId};

use super::{Cluster, common, executor_id};

impl Cluster {
    /// Some executor is or was there that can break off a run.
    pub(crate) fn preempts(&self) -> bool {
        !self.preemptible.is_empty()
    }

    /// The runs of executors that have that variant and can break them off, each with when it began. One that has another
    /// batch behind it is about to end, and is none of them.
    pub(crate) fn preemptible(
        &self,
        variant: VariantId,
    ) -> impl Iterator<Item = (ExecutorId, BatchId, Instant)> + '_ {
        let placed = self.placed(variant).into_iter();
        let executors = placed.flat_map(|placed| common(placed, &self.preemptible));
        executors.filter_map(|index| {
            let state = &self.executors[index];
            let batch = state.running.filter(|_| state.next.is_none())?;
            Some((executor_id(index), batch, state.began))
        })
    }

    /// How long the run there has taken so far.
    pub(crate) fn ran(&self, executor: ExecutorId, now: Instant) -> Duration {
        now.since(self.executors[executor.index()].began)
    }
}
