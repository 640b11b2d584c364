//! What follows from an event or from the passing of time: give up the hopeless, start batches, set the alarms.
//!
//! Nothing is looked at that the event does not touch. A lane whose requests wait is in one of three states: *ready*
//! (its window is open and no executor takes its batch), waiting for its *window* (an alarm is set), or held back for
//! the sake of a tighter model (ready too). An executor that opens looks at the ready lanes; a lane that gets a request
//! looks at the open executors.

use std::time::Duration;

use batcher::{Candidate, Instant, Outside, nanos, prefix_within_deadlines};
use models::{BatchId, ExecutorId, VariantId};

use super::{Batch, Router, key_of};
use crate::cluster::Opening;
use crate::dispatch::{Launch, Offer, Rank, Urgency};
use crate::lane::{Lane, LaneId};
use crate::{Action, Rejection};

/// A variant counts as in use for so long after it was asked for.
const IN_USE: Duration = Duration::from_secs(1);

/// A tighter model is made to wait for that part of what it can: all who come early in a long run wait for all of it, and the
/// rest is for what no profile tells, such as a run that takes longer than any did before, and the way out.
const EASY: f64 = 2.0 / 3.0;
/// Those who have waited for that part of their objective are at risk.
const AT_RISK: f64 = 0.5;
/// A lane that keeps its executors busy for at most that part of the time keeps up.
const SUSTAINED: f64 = 0.9;

/// What a lane has for an executor.
pub(super) enum Wish {
    /// A batch to start now.
    Launch(Offer),
    /// Nothing before its window opens; the alarm is set.
    Window,
    /// Nothing on this executor.
    NotHere,
    /// Nothing at all: no request is left.
    Nothing,
}

/// Room that the list of a batch's requests has from the start, so that it need not grow one day.
const BATCH_USUAL: usize = 64;

impl Router {
    /// Takes note of the executors that are about to end their batch.
    pub(super) fn open_leads(&mut self, now: Instant) {
        self.moved = false;
        while let Some(executor) = self.cluster.open_next(now) {
            self.spare.opened.push(executor);
        }
    }

    /// Does what the alarms that are due call for.
    fn ring(&mut self, now: Instant) {
        if self.cluster.next_straggler().is_some_and(|at| at <= now) {
            self.recall(now);
            self.cluster.told_of_stragglers(now);
        }
        while let Some((_, key)) = self.hopeless.first().filter(|(at, _)| *at <= now) {
            self.give_up_hopeless(key as LaneId, now);
        }
        while let Some((_, key)) = self.windows.first().filter(|(at, _)| *at <= now) {
            self.windows.set(key, Instant::NEVER);
            self.consider(key as LaneId, now);
        }
    }

    /// Ends a step: executors that opened meanwhile get their batch, and who is left without hope is told.
    pub(super) fn settle(&mut self, now: Instant) {
        self.fill_opened(now);
        self.ring(now);
        if let Some(lane) = self.ready.at(0).filter(|_| self.batches.is_empty()) {
            // Held back for the sake of others, of whom none runs: nothing else would call for it again.
            self.consider(lane, now);
        }
        if !self.moved || !self.cluster.all_busy() {
            return;
        }
        while let Some((at, key)) = self.hopeless.first() {
            let lane = key as LaneId;
            if at > self.served_from(lane, now) {
                break;
            }
            self.give_up_hopeless(lane, now);
        }
    }

    /// Looks at all lanes again, after a change of executors or models.
    pub(super) fn review(&mut self, now: Instant) {
        self.refuse_stranded();
        for place in 0..self.active.len() {
            let lane = self.active.at(place).expect("places run to the number of members");
            self.windows.set(key_of(lane), Instant::NEVER);
            self.ready.insert(lane);
        }
        let executors: Vec<_> = self.cluster.ids().collect();
        for executor in executors {
            self.fill(executor, now);
        }
        self.moved = true;
    }

    /// Sets the alarm for the first request that becomes hopeless.
    pub(super) fn watch_hopeless(&mut self, lane: LaneId) {
        let first = self.lanes[lane].first_hopeless();
        let at = if first < Instant::NEVER { first + Duration::from_nanos(1) } else { first };
        if self.lanes[lane].hopeless != at {
            self.lanes[lane].hopeless = at;
            self.hopeless.set(key_of(lane), at);
        }
    }

    /// Answers requests as soon as they can no longer be met, not when an executor comes free.
    pub(super) fn give_up_hopeless(&mut self, lane: LaneId, now: Instant) {
        let start = self.served_from(lane, now);
        let profile = self.lanes[lane].estimate.profile();
        let waiting = self.lanes[lane].batcher.queue().iter();
        let late =
            waiting.filter(|request| start + profile.time(request.rows) > request.deadline.0);
        self.spare.drop.extend(late.map(|request| request.id));
        self.give_up(lane);
        self.watch_hopeless(lane);
    }

    /// Tells those whom the lane's policy will give up when an executor comes free, if that is known by now.
    fn foresee(&mut self, lane: LaneId, now: Instant) {
        if !self.lanes[lane].batcher.foresees() {
            return;
        }
        let variant = self.lanes[lane].variant;
        let planned = self.cluster.earliest_start(variant, now);
        if planned <= now || planned == Instant::NEVER || self.lanes[lane].fits_one_batch(planned) {
            return;
        }
        let start = (planned - self.cluster.sooner(variant, now)).max(now);
        let outside = self.outside(lane, start, now);
        let state = &mut self.lanes[lane];
        state.batcher.foresee(state.estimate.profile(), outside, &mut self.spare.drop);
        self.give_up(lane);
    }

    /// Refuses those of that lane in `spare.drop`, and empties it.
    fn give_up(&mut self, lane: LaneId) {
        let mut hopeless = std::mem::take(&mut self.spare.drop);
        for id in hopeless.drain(..) {
            if self.remove_waiting(lane, id) {
                self.refuse(id, Rejection::DeadlineHopeless);
            }
        }
        self.spare.drop = hopeless;
        self.unload_if_served(self.lanes[lane].variant);
    }

    /// A request has joined that lane: its batch starts where an executor takes one, or else by preemption; who
    /// will be given up is told. On executors that have opened in this step, since their alarm is late, it does not
    /// overtake those who are more urgent.
    pub(super) fn joined(&mut self, lane: LaneId, now: Instant) {
        if !self.spare.opened.is_empty() {
            if self.cluster.count_idle(self.lanes[lane].variant) == 0 {
                self.ready.insert(lane);
            }
            self.fill_opened(now);
        }
        if self.active.contains(lane) {
            self.consider(lane, now);
        }
        if self.cluster.preempts() {
            self.preempt(lane, now);
        }
        self.foresee(lane, now);
    }

    /// Starts what can be started of that lane, on the executor that is free first.
    pub(super) fn consider(&mut self, lane: LaneId, now: Instant) {
        let mut tried = None;
        while let Some(opening) = self.cluster.opening_for(self.lanes[lane].variant, tried, now) {
            match self.wish(lane, opening, now) {
                Wish::Launch(offer) => {
                    self.launch(opening.executor, &offer, now);
                    tried = None;
                }
                Wish::NotHere => tried = Some(opening),
                Wish::Window | Wish::Nothing => return self.ready.remove(lane),
            }
            if !self.active.contains(lane) {
                return;
            }
        }
        self.windows.set(key_of(lane), Instant::NEVER);
        self.ready.insert(lane);
    }

    /// Gives the executors that have opened in this step the most urgent batches.
    fn fill_opened(&mut self, now: Instant) {
        while let Some(executor) = self.spare.opened.pop() {
            self.fill(executor, now);
        }
    }

    /// Gives that executor the most urgent batches that it can take.
    pub(super) fn fill(&mut self, executor: ExecutorId, now: Instant) {
        let mut tried = None;
        while let Some(opening) = self.cluster.opening_of(executor, now) {
            let Some((urgency, lane)) = self.most_urgent(opening, tried, now) else { return };
            match self.wish(lane, opening, now) {
                Wish::Launch(offer) => {
                    let present = self.dispatch.urgency(&offer, now);
                    if present > urgency {
                        // Its batch shrank while it waited, so that another may be more urgent.
                        self.rank(lane, present, self.dispatch.falls(&offer, now));
                        if self.most_urgent(opening, tried, now) != Some((present, lane)) {
                            continue;
                        }
                    }
                    self.launch(executor, &offer, now);
                    tried = None;
                }
                Wish::NotHere => tried = Some((urgency, lane)),
                Wish::Window | Wish::Nothing => self.ready.remove(lane),
            }
        }
    }

    /// Of the ready lanes that executor serves, the most urgent one after `tried`.
    fn most_urgent(
        &mut self,
        opening: Opening,
        tried: Option<(Urgency, LaneId)>,
        now: Instant,
    ) -> Option<(Urgency, LaneId)> {
        let mut first = None;
        for place in 0..self.ready.len() {
            let lane = self.ready.at(place).expect("places run to the number of members");
            let goes_first = |key| {
                tried.is_none_or(|tried| key > tried) && first.is_none_or(|first| key < first)
            };
            let rank = self.ranks[lane];
            let known = now < rank.until;
            if known && !goes_first((rank.urgency, lane)) {
                continue;
            }
            // Asked last: where a variant is lies scattered in memory.
            if !self.cluster.has(opening.executor, self.lanes[lane].variant) {
                continue;
            }
            let urgency = if known { rank.urgency } else { self.look(lane, opening, now) };
            if known || goes_first((urgency, lane)) {
                first = Some((urgency, lane));
            }
        }
        first
    }

    /// How urgent a lane's batch is. One that has no batch is looked at first, so that it leaves the ready ones.
    fn look(&mut self, lane: LaneId, opening: Opening, now: Instant) -> Urgency {
        let candidate = self.plan(lane, opening.start, now);
        self.spare.drop.clear();
        let offer = candidate.and_then(|candidate| self.offer(lane, candidate));
        let urgency = offer.map_or((0, 0), |offer| self.dispatch.urgency(&offer, now));
        let until = offer.map_or(Instant::NEVER, |offer| self.dispatch.falls(&offer, now));
        self.rank(lane, urgency, until);
        urgency
    }

    /// Notes how urgent a lane's batch is, and until when that need not be looked at again.
    fn rank(&mut self, lane: LaneId, urgency: Urgency, until: Instant) {
        self.ranks[lane] = Rank { urgency, until };
    }

    /// What that lane's policy would do; requests to give up are left in `spare.drop`.
    pub(super) fn plan(&mut self, lane: LaneId, start: Instant, now: Instant) -> Option<Candidate> {
        let outside = self.outside(lane, start, now);
        let state = &mut self.lanes[lane];
        state.batcher.plan(state.estimate.profile(), outside, &mut self.spare.drop)
    }

    /// What a lane's policy sees beside its queue.
    fn outside(&self, lane: LaneId, start: Instant, now: Instant) -> Outside {
        let variant = self.lanes[lane].variant;
        let (executors, idle) = (self.cluster.count(variant), self.cluster.count_idle(variant));
        let rivals = self.active.len() - usize::from(self.active.contains(lane));
        let rivals = u32::try_from(rivals).unwrap_or(u32::MAX);
        let (running, load) = (self.lanes[lane].running, self.load.view(self.lanes.len()));
        Outside { now, start, executors, idle, running, rivals, load }
    }

    fn offer(&self, lane: LaneId, candidate: Candidate) -> Option<Offer> {
        let state = &self.lanes[lane];
        let head = state.batcher.queue().head()?;
        let (priority, arrived) = (head.priority, head.arrived);
        Some(Offer { lane, variant: state.variant, candidate, priority, arrived })
    }

    /// What that lane has for an executor that takes a batch.
    pub(super) fn wish(&mut self, lane: LaneId, opening: Opening, now: Instant) -> Wish {
        let Opening { executor, start, .. } = opening;
        let candidate = self.plan(lane, start, now);
        if !self.spare.drop.is_empty() {
            // Another executor that frees sooner may still serve them; its own turn decides.
            if start > self.cluster.earliest_start(self.lanes[lane].variant, now) {
                self.spare.drop.clear();
                return Wish::NotHere;
            }
            self.give_up(lane);
        }
        let Some(candidate) = candidate else { return Wish::Nothing };
        if candidate.earliest > start {
            self.windows.set(key_of(lane), candidate.earliest);
            return Wish::Window;
        }
        let candidate = self.within_courtesy(lane, executor, candidate, now);
        let offer = candidate.and_then(|candidate| self.offer(lane, candidate));
        offer.map_or(Wish::NotHere, Wish::Launch)
    }

    /// Cuts a batch that would hold its executor for so long that a tighter model in use has little to spare, unless another
    /// executor will be free for that model in time. Where no other executor would take it, or nothing runs whose end
    /// would call for it again, even a long batch of one must start. It is not cut to less than keeps up with what is asked,
    /// since many short runs hold the executor for longer than few long ones: as far as the tighter model can wait, or
    /// even farther once those who wait here are at risk themselves.
    pub(super) fn within_courtesy(
        &self,
        lane: LaneId,
        executor: ExecutorId,
        candidate: Candidate,
        now: Instant,
    ) -> Option<Candidate> {
        let state = &self.lanes[lane];
        let profile = state.estimate.profile();
        let Some(limit) = self.courtesy(state.variant, executor, now) else {
            return Some(candidate);
        };
        let easy = limit.mul_f64(EASY);
        if profile.time(candidate.rows) <= easy {
            return Some(candidate);
        }
        let within = profile.largest_batch_within(limit);
        let takes = |other: ExecutorId| {
            let limit = self.courtesy(state.variant, other, now);
            limit.is_none_or(|limit| profile.time(1) <= limit)
        };
        let mut others = self.cluster.with(state.variant).filter(|&other| other != executor);
        if within == 0 && !self.batches.is_empty() && others.any(takes) {
            return None;
        }
        let keeps_up = match self.sustained(lane, candidate.rows) {
            Some(rows) if at_risk(state, now) => rows,
            Some(rows) => rows.min(within),
            None => within,
        };
        let rows_max = profile.largest_batch_within(easy).max(keeps_up).clamp(1, candidate.rows);
        prefix_within_deadlines(state.batcher.queue().iter(), profile, rows_max, candidate.earliest)
    }

    /// The smallest batch, of at most `rows_max`, in which that lane's executors keep up with what it is asked.
    fn sustained(&self, lane: LaneId, rows_max: u32) -> Option<u32> {
        let state = &self.lanes[lane];
        let executors = f64::from(self.cluster.count(state.variant));
        let rate = state.batcher.queue().arrivals().per_nano() / executors;
        let busy = |rows| rate * nanos(state.estimate.profile().median(rows)) / f64::from(rows);
        (1..=rows_max).find(|&rows| busy(rows) <= SUSTAINED)
    }

    /// The longest time that a batch of `variant` may hold that executor for the sake of tighter models in use.
    fn courtesy(&self, variant: VariantId, executor: ExecutorId, now: Instant) -> Option<Duration> {
        let tighter = self.variant(variant).map(|variant| variant.tighter.as_slice());
        let tighter = tighter.unwrap_or_default().iter().copied();
        let tighter = tighter.filter(|&tight| self.cluster.has(executor, tight));
        let patiences = tighter.filter_map(|tight| {
            let patience = self.patience(tight, now)?;
            let mut others = self.cluster.with(tight).filter(|&other| other != executor);
            let by = now + patience;
            let elsewhere = others.any(|other| self.cluster.planned_start(other, tight, now) <= by);
            (!elsewhere).then_some(patience)
        });
        patiences.min()
    }

    /// How long a model in use can find all its executors held and still meet its objective: those who come meanwhile
    /// are served before the last of them, too, as far as they can be kept up with at all.
    fn patience(&self, variant: VariantId, now: Instant) -> Option<Duration> {
        let state = self.variant(variant)?;
        let slo = state.spec.slo?.latency;
        let lanes = state.lanes.iter().map(|&(_, lane)| &self.lanes[lane]);
        let in_use = lanes.filter(|lane| now.since(lane.batcher.queue().last_offer()) < IN_USE);
        let (run, load) = in_use.fold((None, 0.0), |(run, load), lane| {
            let own = lane.estimate.profile().time(1);
            let arrivals = lane.batcher.queue().arrivals();
            (run.max(Some(own)), load + arrivals.per_nano() * nanos(lane.row))
        });
        let load = load / f64::from(self.cluster.count(variant));
        Some(slo.saturating_sub(run?).div_f64(1.0 + load.min(1.0)))
    }

    pub(super) fn launch(&mut self, executor: ExecutorId, offer: &Offer, now: Instant) {
        let Offer { lane, variant, candidate, .. } = *offer;
        let id = BatchId(self.batch_next);
        self.batch_next += 1;
        let mut requests = self.spare.requests.pop().unwrap_or_default();
        requests.reserve(BATCH_USUAL);
        let state = &mut self.lanes[lane];
        state.batcher.take(&candidate, &mut requests);
        state.running += 1;
        let profile = state.estimate.profile();
        let times = (profile.median(candidate.rows), profile.time(candidate.rows));
        let start = self.cluster.launch(executor, id, times, now);
        self.dispatch.launched(offer, Launch { executor, time: times.0, now });
        self.load.started(times.0, now);
        if !self.store.is_empty() {
            self.store.touch(executor, variant, now);
        }
        self.forget_waiting(lane, requests.len());
        self.tally.batches += 1;
        self.tally.rows += u64::from(candidate.rows);
        self.moved = true;
        let (rows, latest) = (candidate.rows, candidate.latest);
        let deadline = requests.iter().map(|request| request.deadline.0).min();
        let hopeless = deadline.map_or(Instant::NEVER, |deadline| deadline - times.0);
        let hopeless = if hopeless < start { Instant::NEVER } else { hopeless };
        let time = times.0;
        let batch =
            Batch { executor, variant, requests, rows, start, latest, hopeless, lane, time };
        self.batches.insert(id, batch);
        self.actions.push_back(Action::Launch { executor, batch: id, variant, rows });
    }
}

/// The first of that lane has waited for long, or more wait than its largest batch takes.
fn at_risk(lane: &Lane, now: Instant) -> bool {
    let queue = lane.batcher.queue();
    let Some(head) = queue.head() else { return false };
    let objective = head.deadline.slack(head.arrived);
    now.since(head.arrived) >= objective.mul_f64(AT_RISK) || queue.rows() > lane.batch_max
}
