//! Weights that come and go: loaded for a request that nobody could answer in time, or because a placement says so.

use batcher::{Instant, Request};
use models::{ExecutorId, VariantId};

use super::Router;
use crate::lane::LaneId;
use crate::place::Placement;
use crate::store::Shelf;
use crate::{Action, Rejection, Weights};

/// A queue whose head has waited for this share of its time is more than its executors can do: its weights are brought
/// to one more. Long before anything is late, and longer than a full batch makes anyone wait.
const SATURATED: u32 = 4;

/// Where weights could be loaded: when a batch could start there, then whose weights were not used for longest.
type Where = (Instant, Instant, std::cmp::Reverse<u64>, ExecutorId);

impl Router {
    pub(super) fn memory_stated(&mut self, executor: ExecutorId, bytes: u64, on_demand: bool) {
        self.store.state(executor, bytes, on_demand);
        for spec in self.variants.iter().flatten().map(|variant| &variant.spec) {
            if let Some(weights) = spec.weights.filter(|_| self.cluster.has(executor, spec.variant))
            {
                self.store.keep(executor, spec.variant, weights.bytes, Instant::ZERO);
            }
        }
    }

    pub(super) fn placement_decided(&mut self, placement: Placement, now: Instant) {
        self.store.target = Some(placement);
        let executors: Vec<_> = self.store.executors().collect();
        for &executor in &executors {
            self.keep_leaving(executor);
        }
        for executor in executors {
            self.pursue(executor, now);
        }
        self.refuse_stranded();
    }

    /// What was to leave an executor and is still there is used again: the next placement says anew what must go.
    fn keep_leaving(&mut self, executor: ExecutorId) {
        let kept: Vec<_> =
            self.store.shelf(executor).map(|shelf| shelf.kept().collect()).unwrap_or_default();
        for id in kept {
            if !self.expects(executor, id) {
                self.cluster.load(executor, id);
            }
        }
    }

    pub(super) fn weights_loaded(&mut self, executor: ExecutorId, id: VariantId, now: Instant) {
        if !self.cluster.arrived(executor, id) {
            return;
        }
        self.store.settle(executor, id);
        self.cluster.load(executor, id);
        self.moved = true;
        let lanes: Vec<LaneId> = self
            .variant(id)
            .map(|variant| variant.lanes.iter().map(|&(_, lane)| lane).collect())
            .unwrap_or_default();
        for lane in lanes {
            if self.active.contains(lane) {
                self.consider(lane, now);
            }
        }
        self.pursue(executor, now);
    }

    /// Weights did not come: whoever waits for them alone is told, and what else is to come there is gone on with.
    pub(super) fn weights_failed(&mut self, executor: ExecutorId, id: VariantId, now: Instant) {
        if !self.cluster.arrived(executor, id) {
            return;
        }
        self.tally.loads_failed += 1;
        self.store.fail(executor, id, now);
        self.moved = true;
        self.refuse_stranded();
        self.pursue(executor, now);
    }

    /// Whether weights that were asked for are still wanted there.
    #[must_use]
    pub fn expects(&self, executor: ExecutorId, variant: VariantId) -> bool {
        self.cluster.arriving(variant).any(|other| other == executor)
    }

    /// What executors that stated their memory hold, in place or on its way.
    #[must_use]
    pub fn present(&self) -> Placement {
        let executors = self.store.executors().last().map_or(0, |last| last.index() + 1);
        let on = |executor: ExecutorId| {
            let kept = self.store.shelf(executor).into_iter().flat_map(Shelf::kept);
            kept.map(move |variant| (executor, variant))
        };
        Placement::of_pairs(executors, self.store.executors().flat_map(on))
    }

    /// The executors on which a variant is in place, and those to which it is on its way.
    #[must_use]
    pub fn places(&self, variant: VariantId) -> (Vec<ExecutorId>, Vec<ExecutorId>) {
        (self.cluster.with(variant).collect(), self.cluster.arriving(variant).collect())
    }

    /// Whether a variant is somewhere, comes, or would be loaded for a request.
    #[must_use]
    pub fn reachable(&self, id: VariantId) -> bool {
        let weights = self.variant(id).and_then(|variant| variant.spec.weights);
        let holds = |shelf: &Shelf| {
            shelf.on_demand && weights.is_some_and(|weights| weights.bytes <= shelf.bytes())
        };
        let mut shelves = self.store.executors().filter_map(|one| self.store.shelf(one));
        self.cluster.count(id) > 0 || self.expected(id) || shelves.any(holds)
    }

    /// Bytes that are free on an executor that stated its memory, and all that it has.
    #[must_use]
    pub fn memory(&self, executor: ExecutorId) -> Option<(u64, u64)> {
        self.store.shelf(executor).map(|shelf| (shelf.free(), shelf.bytes()))
    }

    /// Why nobody can answer for a variant that no executor has.
    pub(super) fn absent(&self, id: VariantId) -> Rejection {
        if self.store.failed(id) { Rejection::LoadFailed } else { Rejection::NoExecutor }
    }

    /// Whether that variant will be in place somewhere, though it is not.
    pub(super) fn expected(&self, id: VariantId) -> bool {
        let untried =
            |executor: ExecutorId| self.store.shelf(executor).is_none_or(|shelf| !shelf.failed(id));
        let wanted = |target: &Placement| target.of(id).any(untried);
        self.cluster.arriving(id).next().is_some() || self.store.target.as_ref().is_some_and(wanted)
    }

    /// Brings weights to one more executor if that request would else be late, or if its queue is too long.
    pub(super) fn fetch(&mut self, request: &Request, id: VariantId, lane: LaneId, now: Instant) {
        let weights = self.variant(id).and_then(|variant| variant.spec.weights);
        let Some(weights) = weights else { return };
        let state = &self.lanes[lane];
        let run = state.estimate.profile().time(request.rows);
        let start = self.cluster.earliest_start(id, now);
        // Who has no deadline misses it all the same where nothing will ever start.
        let misses = start == Instant::NEVER || start + run > request.deadline.0;
        let saturated = state.batcher.queue().head().is_some_and(|head| {
            let patience = head.deadline.slack(head.arrived) / SATURATED;
            now.since(head.arrived) > patience
        });
        if !misses && (!saturated || self.cluster.arriving(id).next().is_some()) {
            return;
        }
        let Some((start, .., executor)) = self.roomiest(id, weights, now) else { return };
        if start + run <= request.deadline.0 {
            self.load(executor, id, now);
            self.adopt(executor, id);
        }
    }

    /// What was loaded on demand stays until the next placement: to go on with the present one would undo it at once.
    fn adopt(&mut self, executor: ExecutorId, id: VariantId) {
        let target = self.store.target.as_mut();
        let Some(target) = target.filter(|target| executor.index() < target.executors()) else {
            return;
        };
        target.insert(executor.index(), id.index());
        for victim in &self.spare.victims {
            target.remove(executor.index(), victim.index());
        }
    }

    /// Where a batch of that variant could start first if its weights were asked for now.
    fn roomiest(&self, id: VariantId, weights: Weights, now: Instant) -> Option<Where> {
        let mut victims = Vec::new();
        let place = |executor: ExecutorId| {
            let shelf = self.store.shelf(executor).filter(|shelf| shelf.on_demand)?;
            if shelf.has(id) || !shelf.may_try(id, now) {
                return None;
            }
            let may_go = |other| self.may_go(executor, other);
            let used = shelf.victims(weights.bytes, may_go, &mut victims)?;
            let loaded = shelf.loaded_at(weights.load, now);
            let start = self.cluster.planned_start(executor, id, now).max(loaded);
            Some((start, used, std::cmp::Reverse(shelf.free()), executor))
        };
        self.store.executors().filter_map(place).min()
    }

    /// Weights on that executor that no one would miss at once: no batch of them is held there, and nobody waits for
    /// them, or they are elsewhere too.
    fn may_go(&self, executor: ExecutorId, id: VariantId) -> bool {
        let waits = self.variant(id).is_some_and(|variant| variant.waiting > 0);
        self.cluster.has(executor, id)
            && !self.holds(executor, id)
            && (!waits || self.cluster.count(id) > 1)
    }

    fn holds(&self, executor: ExecutorId, id: VariantId) -> bool {
        let mut held = self.cluster.held(executor);
        held.any(|batch| self.batches.get(&batch).is_some_and(|batch| batch.variant == id))
    }

    /// When a batch of a variant that is nowhere could start, if its weights are on their way or could be asked for.
    pub(super) fn coming(&self, id: VariantId, now: Instant) -> Option<Instant> {
        let weights = self.variant(id)?.spec.weights?;
        let arriving = self.cluster.starts_after_arrival(id, now).min();
        let asked = || self.roomiest(id, weights, now).map(|(start, ..)| start);
        let placed = || self.expected(id).then(|| now + weights.load);
        arriving.or_else(asked).or_else(placed)
    }

    /// Asks for weights, after making room for them.
    fn load(&mut self, executor: ExecutorId, id: VariantId, now: Instant) {
        let weights = self.variant(id).and_then(|variant| variant.spec.weights);
        let weights = weights.expect("weights that are asked for have a size");
        let mut victims = std::mem::take(&mut self.spare.victims);
        if let Some(shelf) = self.store.shelf(executor) {
            shelf.victims(weights.bytes, |other| self.may_go(executor, other), &mut victims);
        }
        for &victim in &victims {
            self.evict(executor, victim);
        }
        self.spare.victims = victims;
        self.store.keep(executor, id, weights.bytes, now);
        let at = self.store.queue_load(executor, weights.load, now);
        self.cluster.expect(executor, id, at);
        self.tally.loads += 1;
        self.actions.push_back(Action::Load { executor, variant: id });
    }

    fn evict(&mut self, executor: ExecutorId, id: VariantId) {
        self.cluster.evict(executor, id);
        self.store.evict(executor, id);
        self.tally.evictions += 1;
        self.actions.push_back(Action::Evict { executor, variant: id });
    }

    /// Goes on with the placement on that executor: one load at a time, so that what must go stays in use for longest.
    pub(super) fn pursue(&mut self, executor: ExecutorId, now: Instant) {
        let Some(target) = self.store.target.take() else { return };
        let missing = || {
            let shelf = self.store.shelf(executor)?;
            let comes =
                |&id: &VariantId| !shelf.has(id) && shelf.may_try(id, now) && self.loadable(id);
            target.on(executor).find(comes)
        };
        let loads = |id| self.cluster.arriving(id).any(|other| other == executor);
        let next = missing().filter(|_| !target.on(executor).any(loads));
        let cleared = next.filter(|&id| self.clear_for(executor, id, &target));
        if let Some(id) = cleared {
            self.load(executor, id, now);
        } else if let Some(id) = next {
            self.drain_for(executor, id, &target);
        }
        self.store.target = Some(target);
        if cleared.is_some() {
            self.refuse_stranded();
        }
    }

    fn loadable(&self, id: VariantId) -> bool {
        self.variant(id).is_some_and(|variant| !variant.retired && variant.spec.weights.is_some())
    }

    /// Lets go what the placement does not want there until those weights fit; a batch that is held there comes first.
    fn clear_for(&mut self, executor: ExecutorId, id: VariantId, target: &Placement) -> bool {
        let Some(weights) = self.variant(id).and_then(|variant| variant.spec.weights) else {
            return false;
        };
        let mut victims = std::mem::take(&mut self.spare.victims);
        let may_go = |other| {
            !target.has(executor, other)
                && !self.expects(executor, other)
                && !self.holds(executor, other)
        };
        let shelf = self.store.shelf(executor);
        let fits =
            shelf.is_some_and(|shelf| shelf.victims(weights.bytes, may_go, &mut victims).is_some());
        if fits {
            for &victim in &victims {
                self.evict(executor, victim);
            }
        }
        self.spare.victims = victims;
        fits
    }

    /// Launches nothing more there of what must go before those weights fit: under load there is always a batch ahead,
    /// and nothing would ever leave.
    fn drain_for(&mut self, executor: ExecutorId, id: VariantId, target: &Placement) {
        let Some(weights) = self.variant(id).and_then(|variant| variant.spec.weights) else {
            return;
        };
        let mut victims = std::mem::take(&mut self.spare.victims);
        let may_go = |other| !target.has(executor, other) && !self.expects(executor, other);
        let shelf = self.store.shelf(executor);
        if shelf.is_some_and(|shelf| shelf.victims(weights.bytes, may_go, &mut victims).is_some()) {
            for &victim in &victims {
                self.cluster.evict(executor, victim);
            }
            self.moved = true;
        }
        self.spare.victims = victims;
    }
}
