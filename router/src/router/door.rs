//! A request at the door: the lane that it would enter, and whether it may.

use std::time::Duration;

use batcher::{Instant, Request};
use models::VariantId;

use super::{Router, Variant};
use crate::admit::{Ask, Outlook};
use crate::cluster::Cluster;
use crate::dispatch::Rank;
use crate::lane::{Lane, LaneId};
use crate::roster::Roster;
use crate::{Rejection, Shape};

impl Router {
    pub(super) fn arrived(
        &mut self,
        request: &Request,
        variant: VariantId,
        shape: Shape,
        now: Instant,
    ) {
        self.tally.arrived += 1;
        self.note_asked(request, variant);
        match self.enter(request, variant, shape, now) {
            Ok(lane) => self.joined(lane, now),
            Err(rejection) => self.refuse(request.id, rejection),
        }
    }

    pub(super) fn enter(
        &mut self,
        request: &Request,
        id: VariantId,
        shape: Shape,
        now: Instant,
    ) -> Result<LaneId, Rejection> {
        let lane = self.knock(request, id, shape, now)?;
        let state = &self.lanes[lane];
        let alone = state.estimate.profile().time(1);
        self.load.asked(request.rows, alone, state.batcher.queue().arrivals(), now);
        self.pass(request, id, lane, now)
    }

    /// Enters a lane after another one has refused: the request is asked once, not twice.
    pub(super) fn enter_instead(
        &mut self,
        request: &Request,
        id: VariantId,
        shape: Shape,
        now: Instant,
    ) -> Result<LaneId, Rejection> {
        let lane = self.knock(request, id, shape, now)?;
        self.pass(request, id, lane, now)
    }

    /// The lane that a request asks to enter; it is told so.
    fn knock(
        &mut self,
        request: &Request,
        id: VariantId,
        shape: Shape,
        now: Instant,
    ) -> Result<LaneId, Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        let open = |variant: &&Variant| !variant.retired;
        self.variant(id).filter(open).ok_or(Rejection::NotServed)?;
        let lane = self.lane_for(id, shape).ok_or(Rejection::TooManyShapes)?;
        self.lanes[lane].batcher.note_offer(request.rows, now);
        Ok(lane)
    }

    fn pass(
        &mut self,
        request: &Request,
        id: VariantId,
        lane: LaneId,
        now: Instant,
    ) -> Result<LaneId, Rejection> {
        let variant = self.variant_mut(id);
        if variant.waiting >= variant.spec.queue_max {
            return Err(Rejection::QueueFull);
        }
        if !self.store.is_empty() {
            self.fetch(request, id, lane, now);
        }
        if self.cluster.count(id) == 0 && !self.expected(id) {
            return Err(self.absent(id));
        }
        self.admit(request, lane, now)?;
        self.wake(id);
        self.lanes[lane].batcher.push(*request).map_err(|_| Rejection::QueueFull)?;
        self.ranks[lane] = Rank::UNKNOWN;
        self.active.insert(lane);
        self.variant_mut(id).waiting += 1;
        self.watch_hopeless(lane);
        Ok(lane)
    }

    /// Tells the dispatch policy of a variant of which nothing waits.
    fn wake(&mut self, id: VariantId) {
        let Self { dispatch, cluster, variants, .. } = self;
        let Some(variant) = variants.get(id.index()).and_then(Option::as_ref) else { return };
        if variant.waiting == 0 {
            dispatch.woke(id, variant.spec.weight, &mut cluster.with(id));
        }
    }

    fn admit(&mut self, request: &Request, lane: LaneId, now: Instant) -> Result<(), Rejection> {
        let Self { admission, cluster, lanes, load, active, .. } = self;
        let choosy = load.choosy();
        let view = FromLane { cluster, lanes, active, lane, now, choosy };
        let lane = &lanes[lane];
        let (queue, profile) = (lane.batcher.queue(), lane.estimate.profile());
        let batch_max = lane.batch_max;
        admission.admit(&Ask { request, queue, profile, batch_max, outlook: &view, now })
    }
}

/// What can be seen from one lane of the executors.
struct FromLane<'a> {
    cluster: &'a Cluster,
    lanes: &'a [Lane],
    active: &'a Roster,
    lane: LaneId,
    now: Instant,
    choosy: bool,
}

impl Outlook for FromLane<'_> {
    fn earliest_start(&self) -> Instant {
        self.cluster.earliest_start(self.lanes[self.lane].variant, self.now)
    }

    fn sooner(&self) -> Duration {
        self.cluster.sooner(self.lanes[self.lane].variant, self.now)
    }

    fn choosy(&self) -> bool {
        self.choosy
    }

    fn backlog(&self) -> Duration {
        let own = self.lanes[self.lane].variant;
        let shares = |lane: &&Lane| {
            let mut theirs = self.cluster.with(lane.variant);
            lane.variant == own || theirs.any(|executor| self.cluster.has(executor, own))
        };
        self.active.iter().map(|lane| &self.lanes[lane]).filter(shares).map(Lane::backlog).sum()
    }

    fn starts(&self, into: &mut Vec<Instant>) {
        let variant = self.lanes[self.lane].variant;
        let start = |executor| self.cluster.planned_start(executor, variant, self.now);
        into.clear();
        into.extend(self.cluster.with(variant).map(start));
        into.extend(self.cluster.starts_after_arrival(variant, self.now));
    }
}
