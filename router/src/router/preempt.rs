//! Preemption, on executors that can break off a run: a batch that cannot wait takes the place of one that its policy
//! holds to be worth less.

use std::cmp::Reverse;

use batcher::Instant;
use models::{BatchId, ExecutorId};

use super::Router;
use super::step::Wish;
use crate::Action;
use crate::lane::LaneId;

impl Router {
    /// Breaks off the smallest run that this lane's policy would see end for its batch, if that batch cannot wait for an
    /// executor. Who was in that run waits again, and may run with those for whom it was broken off.
    pub(super) fn preempt(&mut self, lane: LaneId, now: Instant) {
        let variant = self.lanes[lane].variant;
        // What this very step has launched does not run yet.
        let launched = |id: BatchId| {
            let is_it =
                |action: &Action| matches!(action, Action::Launch { batch, .. } if *batch == id);
            self.actions.iter().any(is_it)
        };
        let runs = self.cluster.preemptible(variant).filter(|&(_, id, _)| !launched(id));
        let runs = runs
            .map(|(executor, id, began)| (self.batches[&id].rows, Reverse(began), executor, id));
        let Some((running, _, executor, id)) = runs.min() else { return };
        let batcher = &self.lanes[lane].batcher;
        if !batcher.preempts(batcher.queue().rows(), running) {
            return;
        }
        let candidate = self.plan(lane, now, None, now);
        // Nobody is given up for a batch that is only thought of.
        self.spare.drop.clear();
        let candidate = candidate.filter(|candidate| {
            candidate.earliest <= now
                && candidate.latest < self.cluster.earliest_start(variant, now)
        });
        let candidate =
            candidate.and_then(|batch| self.within_courtesy(lane, executor, batch, now));
        let preempts = |rows| self.lanes[lane].batcher.preempts(rows, running);
        if !candidate.is_some_and(|candidate| preempts(candidate.rows)) {
            return;
        }
        let broken_off = self.abort(executor, id, now);
        let opening = self.cluster.opening_of(executor, now);
        let opening = opening.expect("an executor that holds nothing takes a batch");
        if let Wish::Launch(offer) = self.wish(lane, opening, now) {
            self.launch(executor, &offer, now);
        }
        self.give_up_hopeless(broken_off, now);
        if !self.store.is_empty() {
            self.pursue(executor, now);
        }
        self.fill(executor, now);
    }

    /// From when on a lane's requests may be served: at once where its policy may preempt for them.
    pub(super) fn served_from(&self, lane: LaneId, now: Instant) -> Instant {
        let state = &self.lanes[lane];
        let preempts = || {
            state.batcher.preempts(u32::MAX, 1)
                && self.cluster.preemptible(state.variant).next().is_some()
        };
        if self.cluster.preempts() && preempts() {
            now
        } else {
            self.cluster.earliest_start(state.variant, now)
        }
    }

    /// Breaks off a run. Returns the lane where its requests wait again.
    fn abort(&mut self, executor: ExecutorId, id: BatchId, now: Instant) -> LaneId {
        let batch = self.batches.remove(&id).expect("a held batch is in the table");
        self.actions.push_back(Action::Abort { executor, batch: id });
        self.tally.aborted += 1;
        let left = batch.time.saturating_sub(self.cluster.ran(executor, now));
        self.dispatch.withdrawn(batch.variant, left);
        self.cluster.finish(executor, id);
        self.cluster.rest(executor);
        self.wait_again(batch)
    }
}
