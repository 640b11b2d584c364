//! Variants coming and going, and the lanes in which their requests wait.

use std::time::Duration;

use batcher::{Batcher, Instant, by_name};
use models::VariantId;

use super::{Router, Variant};
use crate::dispatch::Rank;
use crate::estimate::Estimate;
use crate::lane::{Lane, LaneId, batch_max, work_of_row};
use crate::{Action, Shape, VariantSpec};

/// An objective at most one so-many-th of another's is much shorter: models of about equal objectives take turns by
/// their deadlines alone.
const TIGHTER: u32 = 2;

impl Router {
    pub(super) fn loaded(&mut self, spec: VariantSpec, now: Instant) {
        let (id, index) = (spec.variant, spec.variant.index());
        if self.variants.len() <= index {
            self.variants.resize_with(index + 1, || None);
        }
        for &executor in &spec.executors {
            self.cluster.load(executor, spec.variant);
            let known = self.store.shelf(executor).is_none_or(|shelf| shelf.has(spec.variant));
            if let Some(weights) = spec.weights.filter(|_| !known) {
                self.store.keep(executor, spec.variant, weights.bytes, now);
            }
        }
        match &mut self.variants[index] {
            // The same variant on more executors, or again on one that came back.
            Some(variant) => {
                variant.spec = spec;
                variant.retired = false;
            }
            slot @ None => {
                *slot = Some(Variant {
                    spec,
                    lanes: Vec::new(),
                    waiting: 0,
                    retired: false,
                    asked: 0,
                    tighter: Vec::new(),
                });
            }
        }
        self.compare(id);
        self.review(now);
    }

    /// Notes which variants have a much shorter objective than this one, and than which this one has.
    fn compare(&mut self, id: VariantId) {
        let objective =
            |variant: &Variant| variant.spec.slo.map_or(Duration::MAX, |slo| slo.latency);
        let own = objective(self.variant_mut(id));
        let mut tighter = Vec::new();
        for other in self.variants.iter_mut().flatten().filter(|other| other.spec.variant != id) {
            let their = objective(other);
            other.tighter.retain(|&known| known != id);
            if own <= their / TIGHTER {
                other.tighter.push(id);
            }
            if their <= own / TIGHTER {
                tighter.push(other.spec.variant);
            }
        }
        self.variant_mut(id).tighter = tighter;
    }

    pub(super) fn retired(&mut self, id: VariantId) {
        if self.variant(id).is_some() {
            self.variant_mut(id).retired = true;
            self.unload_if_served(id);
        }
    }

    /// Lets a retired variant go once nothing of it waits or runs.
    pub(super) fn unload_if_served(&mut self, id: VariantId) {
        let served = |variant: &Variant| {
            variant.retired && variant.lanes.iter().all(|&(_, lane)| self.lanes[lane].idle())
        };
        if self.variant(id).is_some_and(served) {
            self.variants[id.index()] = None;
            for other in self.variants.iter_mut().flatten() {
                other.tighter.retain(|&known| known != id);
            }
            self.cluster.unload(id);
            self.store.forget(id);
            self.actions.push_back(Action::Unload { variant: id });
        }
    }

    /// The lane of that variant and shape, opened if need be; `None` when too many are in use.
    pub(super) fn lane_for(&mut self, id: VariantId, shape: Shape) -> Option<LaneId> {
        let variant = self.variant(id)?;
        if let Some(&(_, lane)) = variant.lanes.iter().find(|(known, _)| *known == shape.id) {
            return Some(lane);
        }
        let lane = new_lane(&variant.spec, shape);
        if variant.lanes.len() < self.settings.shapes_max {
            let free = self
                .lanes
                .iter()
                .position(|lane| lane.idle() && self.variant(lane.variant).is_none());
            let at = free.unwrap_or(self.lanes.len());
            if at == self.lanes.len() {
                self.lanes.push(lane);
                self.ranks.push(Rank::UNKNOWN);
            } else {
                self.lanes[at] = lane;
            }
            self.variant_mut(id).lanes.push((shape.id, at));
            return Some(at);
        }
        let idle =
            variant.lanes.iter().enumerate().filter(|(_, (_, lane))| self.lanes[*lane].idle());
        let oldest =
            idle.min_by_key(|(_, (_, lane))| self.lanes[*lane].batcher.queue().last_offer());
        let (place, &(_, at)) = oldest?;
        self.lanes[at] = lane;
        self.variant_mut(id).lanes[place] = (shape.id, at);
        Some(at)
    }

    /// Refuses all that waits in lanes whose variant no executor has any more.
    pub(super) fn refuse_stranded(&mut self) {
        let lost = |&lane: &LaneId| {
            let variant = self.lanes[lane].variant;
            self.cluster.count(variant) == 0 && !self.expected(variant)
        };
        let stranded: Vec<LaneId> = self.active.iter().filter(lost).collect();
        for lane in stranded {
            let waiting: Vec<_> =
                self.lanes[lane].batcher.queue().iter().map(|request| request.id).collect();
            for id in waiting {
                self.remove_waiting(lane, id);
                let reason = self.absent(self.lanes[lane].variant);
                self.refuse(id, reason);
            }
            self.unload_if_served(self.lanes[lane].variant);
        }
    }
}

/// A new shape is first believed to cost its share of the profiled one, by its number of elements.
#[expect(clippy::cast_precision_loss, reason = "element counts are far below 2^53")]
fn new_lane(spec: &VariantSpec, shape: Shape) -> Lane {
    let entry = by_name(&spec.policy).unwrap_or(&batcher::ALL[0]);
    let profile = match (shape.elements, spec.profiled_elements) {
        (0, _) | (_, 0) => spec.profile.clone(),
        (elements, profiled) if elements == profiled => spec.profile.clone(),
        (elements, profiled) => spec.profile.scaled(elements as f64 / profiled as f64),
    };
    let batch_max = batch_max(spec);
    Lane {
        variant: spec.variant,
        batcher: Batcher::new((entry.build)(&spec.settings), spec.queue_max),
        running: 0,
        batch_max,
        row: work_of_row(&profile, batch_max),
        estimate: Estimate::new(profile),
        hopeless: Instant::NEVER,
    }
}
