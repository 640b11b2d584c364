//! What follows from an event or from the passing of time: give up the hopeless, start batches, set the alarm.

use std::time::Duration;

use batcher::{Candidate, Instant, RequestId, prefix_within_deadlines};
use models::{BatchId, ExecutorId, VariantId};

use super::{Batch, Reason, Router};
use crate::dispatch::Offer;
use crate::lane::LaneId;
use crate::{Action, Rejection};

/// A variant counts as in use for so long after it was asked for.
const IN_USE: Duration = Duration::from_secs(1);

/// A batch to start.
struct Choice {
    executor: ExecutorId,
    offer: Offer,
}

impl Router {
    pub(super) fn step(&mut self, now: Instant) {
        self.timeout = None;
        if self.active.is_empty() {
            return;
        }
        self.refuse_stranded();
        self.give_up_hopeless(now);
        while let Some(choice) = self.choose(now) {
            self.launch(&choice, now);
        }
        self.wake_for_hopeless();
    }

    /// Remembers the earliest reason to be called again.
    fn wake(&mut self, at: Instant, reason: Reason) {
        if self.timeout.is_none_or(|(earliest, _)| at < earliest) {
            self.timeout = Some((at, reason));
        }
    }

    /// When a batch of that variant could start anywhere, as planned.
    fn earliest_start(&self, variant: VariantId, now: Instant) -> Instant {
        let starts =
            self.cluster.with(variant).map(|executor| self.cluster.planned_start(executor, now));
        starts.min().unwrap_or(Instant::NEVER)
    }

    /// Answers requests as soon as they can no longer be met, not when an executor comes free.
    fn give_up_hopeless(&mut self, now: Instant) {
        let mut from = 0;
        while let Some(&lane) = self.active.range(from..).next() {
            from = lane + 1;
            let start = self.earliest_start(self.lanes[lane].variant, now);
            let profile = self.lanes[lane].estimate.profile();
            if self.lanes[lane].batcher.queue().first_hopeless(profile) > start {
                continue;
            }
            let waiting = self.lanes[lane].batcher.queue().iter();
            let hopeless =
                waiting.filter(|request| start + profile.time(request.rows) > request.deadline.0);
            let hopeless: Vec<_> = hopeless.map(|request| request.id).collect();
            self.give_up(lane, &hopeless);
        }
    }

    fn give_up(&mut self, lane: LaneId, hopeless: &[RequestId]) {
        for &id in hopeless {
            if self.remove_waiting(lane, id) {
                self.refuse(id, Rejection::DeadlineHopeless);
            }
        }
        self.unload_if_served(self.lanes[lane].variant);
    }

    fn wake_for_hopeless(&mut self) {
        let lanes = self.active.iter().map(|&lane| &self.lanes[lane]);
        let first =
            lanes.map(|lane| lane.batcher.queue().first_hopeless(lane.estimate.profile())).min();
        if let Some(first) = first.filter(|&first| first < Instant::NEVER) {
            self.wake(first + Duration::from_nanos(1), Reason::Hopeless);
        }
    }

    /// The next batch to start, on the executor that is free first; sets the alarm for those that are not yet.
    fn choose(&mut self, now: Instant) -> Option<Choice> {
        if self.active.is_empty() {
            return None;
        }
        let mut open: Option<(Instant, ExecutorId)> = None;
        let mut tried = Instant::ZERO;
        let mut tried_id = None;
        loop {
            for executor in self.cluster.ids() {
                let opens = self.cluster.opens(executor, self.settings.lead);
                if opens > now {
                    if opens < Instant::NEVER && self.timeout.is_none_or(|(at, _)| opens < at) {
                        self.timeout = Some((opens, Reason::Lead));
                    }
                    continue;
                }
                let key = (self.cluster.planned_start(executor, now), executor);
                let untried = tried_id.is_none_or(|id| key > (tried, id));
                if untried && open.is_none_or(|open| key < open) {
                    open = Some(key);
                }
            }
            let (start, executor) = open.take()?;
            (tried, tried_id) = (start, Some(executor));
            if let Some(offer) = self.best_offer(executor, start, now) {
                return Some(Choice { executor, offer });
            }
        }
    }

    /// What that executor should start, of all queues whose variant it has.
    fn best_offer(&mut self, executor: ExecutorId, start: Instant, now: Instant) -> Option<Offer> {
        let mut offers = std::mem::take(&mut self.spare.offers);
        offers.clear();
        let mut from = 0;
        while let Some(&lane) = self.active.range(from..).next() {
            from = lane + 1;
            if self.cluster.has(executor, self.lanes[lane].variant) {
                offers.extend(self.offer(lane, executor, start, now));
            }
        }
        let chosen = self.dispatch.choose(&offers).map(|index| offers[index]);
        self.spare.offers = offers;
        chosen
    }

    /// The batch of that lane that may start there, if any; sets the alarm if its window opens later.
    fn offer(
        &mut self,
        lane: LaneId,
        executor: ExecutorId,
        start: Instant,
        now: Instant,
    ) -> Option<Offer> {
        let variant = self.lanes[lane].variant;
        let state = &mut self.lanes[lane];
        let plan = state.batcher.plan(state.estimate.profile(), start);
        if !plan.drop.is_empty() {
            // Another executor that frees sooner may still serve them; its own turn decides.
            if start > self.earliest_start(variant, now) {
                return None;
            }
            self.give_up(lane, &plan.drop);
        }
        let candidate = plan.candidate?;
        if candidate.earliest > start {
            self.wake(candidate.earliest, Reason::Window);
            return None;
        }
        let candidate = self.within_courtesy(lane, executor, candidate, now)?;
        let head = self.lanes[lane].batcher.queue().head()?;
        Some(Offer { lane, variant, candidate, priority: head.priority, arrived: head.arrived })
    }

    /// Cuts a batch that would hold its executor for longer than a tighter model in use can wait, unless another
    /// executor will be free for that model in time. Where no other executor would take it, even a long batch of one
    /// must start: nothing would ever call for it again.
    fn within_courtesy(
        &self,
        lane: LaneId,
        executor: ExecutorId,
        candidate: Candidate,
        now: Instant,
    ) -> Option<Candidate> {
        let state = &self.lanes[lane];
        let profile = state.estimate.profile();
        let limit = self.courtesy(state.variant, executor, now);
        if limit.is_none_or(|limit| profile.time(candidate.rows) <= limit) {
            return Some(candidate);
        }
        let rows_max = profile.largest_batch_within(limit.unwrap_or(Duration::MAX));
        let takes = |other: ExecutorId| {
            let limit = self.courtesy(state.variant, other, now);
            limit.is_none_or(|limit| profile.time(1) <= limit)
        };
        let mut others = self.cluster.with(state.variant).filter(|&other| other != executor);
        if rows_max == 0 && others.any(takes) {
            return None;
        }
        prefix_within_deadlines(
            state.batcher.queue().iter(),
            profile,
            rows_max.max(1),
            candidate.earliest,
        )
    }

    /// The longest time that a batch of `variant` may hold that executor for the sake of tighter models in use.
    fn courtesy(&self, variant: VariantId, executor: ExecutorId, now: Instant) -> Option<Duration> {
        let mut limit: Option<Duration> = None;
        for other in self.variants.iter().flatten() {
            let Some(slo) = other.spec.slo else { continue };
            if other.spec.variant == variant || !self.cluster.has(executor, other.spec.variant) {
                continue;
            }
            let in_use = other.lanes.iter().map(|&(_, lane)| &self.lanes[lane]);
            let in_use =
                in_use.filter(|lane| now.since(lane.batcher.queue().last_offer()) < IN_USE);
            let Some(run) = in_use.map(|lane| lane.estimate.profile().time(1)).max() else {
                continue;
            };
            let patience = slo.latency.saturating_sub(run * 2);
            let mut others =
                self.cluster.with(other.spec.variant).filter(|&other| other != executor);
            if !others.any(|other| self.cluster.planned_start(other, now) <= now + patience) {
                limit = Some(limit.map_or(patience, |limit| limit.min(patience)));
            }
        }
        limit
    }

    fn launch(&mut self, choice: &Choice, now: Instant) {
        let Choice { executor, offer } = *choice;
        let Offer { lane, variant, candidate, .. } = offer;
        let id = BatchId(self.batch_next);
        self.batch_next += 1;
        let mut requests = self.spare.requests.pop().unwrap_or_default();
        let mut deadlines = self.spare.deadlines.pop().unwrap_or_default();
        let state = &mut self.lanes[lane];
        deadlines.extend(
            state.batcher.queue().iter().take(candidate.requests).map(|request| request.deadline.0),
        );
        state.batcher.take(&candidate, &mut requests);
        state.running += 1;
        let (median, planned) = (
            state.estimate.profile().median(candidate.rows),
            state.estimate.profile().time(candidate.rows),
        );
        let start = self.cluster.launch(executor, median, planned, now);
        self.forget_waiting(lane, requests.len());
        self.variant_mut(variant).running += 1;
        self.tally.batches += 1;
        self.tally.rows += u64::from(candidate.rows);
        let (rows, latest) = (candidate.rows, candidate.latest);
        self.batches.insert(
            id,
            Batch { executor, variant, requests, rows, start, latest, lane, deadlines },
        );
        self.actions.push_back(Action::Launch { executor, batch: id, variant, rows });
    }
}
