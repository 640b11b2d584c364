//! Preemption, on executors that can break off a run: a batch takes the place of one that its policy holds to be worth
//! less.

use std::cmp::Reverse;

use batcher::{Candidate, Instant, Request, prefix_within_deadlines};
use models::{BatchId, ExecutorId};

use super::Router;
use super::step::Wish;
use crate::Action;
use crate::lane::LaneId;

impl Router {
    /// Breaks off the smallest run that is worth less, by this lane's policy, than the batch that could start in its place.
    /// Who was in that run waits again, and may run with those for whom it was broken off.
    pub(super) fn preempt(&mut self, lane: LaneId, now: Instant) {
        if !self.lanes[lane].batcher.preempts(u32::MAX, 1) {
            return;
        }
        let variant = self.lanes[lane].variant;
        let apart = self.batch_at_once(lane, &[], now);
        // What this very step has launched does not run yet.
        let launched = |id: BatchId| {
            let is_it =
                |action: &Action| matches!(action, Action::Launch { batch, .. } if *batch == id);
            self.actions.iter().any(is_it)
        };
        let runs = self.cluster.preemptible(variant).filter(|&(_, id, _)| !launched(id));
        let gives_way = runs.filter_map(|(executor, id, began)| {
            let run = &self.batches[&id];
            let batcher = &self.lanes[lane].batcher;
            let most = if run.lane == lane { run.rows } else { 0 } + batcher.queue().rows();
            if !batcher.preempts(most, run.rows) {
                return None;
            }
            let batch =
                if run.lane == lane { self.batch_at_once(lane, &run.requests, now) } else { apart };
            let batch = self.within_courtesy(lane, executor, batch?, now)?;
            let preempts = batcher.preempts(batch.rows, run.rows);
            preempts.then_some((run.rows, Reverse(began), executor, id))
        });
        let Some((.., executor, id)) = gives_way.min() else { return };
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

    /// The largest batch of this lane that would be in time if it started now, with the requests of a run of the lane, which
    /// are its most urgent ones and must all be in it.
    fn batch_at_once(&self, lane: LaneId, run: &[Request], now: Instant) -> Option<Candidate> {
        let state = &self.lanes[lane];
        let profile = state.estimate.profile();
        let in_time = |request: &&Request| now + profile.time(request.rows) <= request.deadline.0;
        let waiting = state.batcher.queue().iter().filter(in_time);
        let rows_max = self.variant(state.variant)?.spec.settings.batch_max;
        let batch = prefix_within_deadlines(run.iter().chain(waiting), profile, rows_max, now);
        batch.filter(|batch| batch.requests >= run.len())
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
