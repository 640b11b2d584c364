//! A request at the door: the lane that it would enter, and whether it may.

use std::time::Duration;

use batcher::{Deadline, Instant, Request};
use models::VariantId;

use super::{Router, Variant};
use crate::admit::{Ask, Outlook};
use crate::cluster::Cluster;
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
        match self.enter(request, variant, shape, now) {
            Ok(lane) => self.consider(lane, now),
            Err(rejection) => self.refuse(request.id, rejection),
        }
    }

    fn enter(
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
        let variant = self.variant(id).filter(open).ok_or(Rejection::NotServed)?;
        let full = variant.waiting >= variant.spec.queue_max;
        let lane = self.lane_for(id, shape).ok_or(Rejection::TooManyShapes)?;
        self.lanes[lane].batcher.note_offer(request.rows, now);
        if full {
            return Err(Rejection::QueueFull);
        }
        self.admit(request, lane, now)?;
        self.lanes[lane].batcher.push(*request).map_err(|_| Rejection::QueueFull)?;
        self.lanes[lane].urgency = None;
        self.active.insert(lane);
        self.variant_mut(id).waiting += 1;
        self.watch_hopeless(lane);
        Ok(lane)
    }

    fn admit(&mut self, request: &Request, lane: LaneId, now: Instant) -> Result<(), Rejection> {
        let Self { admission, cluster, lanes, active, .. } = self;
        let view = FromLane { cluster, lanes, active, lane, now };
        let lane = &lanes[lane];
        let (queue, profile) = (lane.batcher.queue(), lane.estimate.profile());
        let batch_max = lane.batch_max;
        admission.admit(&Ask { request, queue, profile, batch_max, outlook: &view, now })
    }
}

/// What can be seen from one lane of the executors and of the other lanes.
struct FromLane<'a> {
    cluster: &'a Cluster,
    lanes: &'a [Lane],
    active: &'a Roster,
    lane: LaneId,
    now: Instant,
}

impl FromLane<'_> {
    fn others(&self) -> impl Iterator<Item = &Lane> {
        let variant = self.lanes[self.lane].variant;
        let others = self.active.iter().filter(|&other| other != self.lane);
        let others = others.map(|other| &self.lanes[other]);
        others.filter(move |other| self.cluster.share(variant, other.variant))
    }
}

impl Outlook for FromLane<'_> {
    fn executors(&self) -> u32 {
        self.cluster.count(self.lanes[self.lane].variant)
    }

    fn idle(&self) -> u32 {
        self.cluster.count_idle(self.lanes[self.lane].variant)
    }

    fn rivals(&self) -> u32 {
        let others = self.active.len() - usize::from(self.active.contains(self.lane));
        u32::try_from(others).unwrap_or(u32::MAX)
    }

    fn starts(&self, into: &mut Vec<Instant>) {
        let executors = self.cluster.with(self.lanes[self.lane].variant);
        into.clear();
        into.extend(executors.map(|executor| self.cluster.planned_start(executor, self.now)));
    }

    fn backlog(&self, priority: u32, deadline: Deadline) -> Duration {
        let mut backlog = Duration::ZERO;
        for other in self.others() {
            let rows = other.batcher.queue().rows_ahead_of(priority, deadline);
            let (full, rest) = (rows / other.batch_max, rows % other.batch_max);
            let profile = other.estimate.profile();
            backlog += profile.time(other.batch_max) * full;
            backlog += if rest > 0 { profile.time(rest) } else { Duration::ZERO };
        }
        backlog
    }
}
