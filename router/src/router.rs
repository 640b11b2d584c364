//! The scheduler's root state machine: events in, actions out.

mod lanes;
mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use batcher::{Instant, Request, RequestId};
use models::{BatchId, ExecutorId, VariantId};
use serde::{Deserialize, Serialize};

use crate::admit::{ADMISSIONS, Admission, Ask};
use crate::cluster::Cluster;
use crate::dispatch::{DISPATCHES, Dispatch, Offer};
use crate::estimate::Prediction;
use crate::lane::{Lane, LaneId};
use crate::{Action, Event, Rejection, Shape, ShapeId, Tally, VariantSpec};

/// What an operator can set of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSettings {
    /// The name of the admission policy.
    pub admission: String,
    /// The name of the dispatch policy.
    pub dispatch: String,
    /// How long before its batch is expected to end an executor is given the next one: the time of a thread's wake-up
    /// with a wide margin, short against a batch.
    pub lead: Duration,
    /// Queues of different shapes kept apart for one variant.
    pub shapes_max: usize,
}

impl Default for RouterSettings {
    fn default() -> Self {
        let admission = ADMISSIONS[0].name.to_owned();
        let dispatch = DISPATCHES[0].name.to_owned();
        Self { admission, dispatch, lead: Duration::from_micros(200), shapes_max: 64 }
    }
}

/// No policy of that axis has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {axis} policy {name:?}; known are: {known}")]
pub struct UnknownSetting {
    axis: &'static str,
    name: String,
    known: String,
}

/// Why the router wants to be called at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A waiting request becomes hopeless.
    Hopeless,
    /// A batch's launch window opens.
    Window,
    /// A busy executor takes the batch after its present one.
    Lead,
}

/// A batch that an executor holds.
#[derive(Debug)]
pub struct Batch {
    /// Where it runs.
    pub executor: ExecutorId,
    /// Which model.
    pub variant: VariantId,
    /// Its requests, in the order of their rows.
    pub requests: Vec<RequestId>,
    /// Rows of those requests.
    pub rows: u32,
    /// When it is expected to start.
    pub start: Instant,
    /// A start after this makes one of its requests late, as planned at its launch.
    pub latest: Instant,
    lane: LaneId,
    /// The earliest deadline of its requests.
    deadlines: Vec<Instant>,
}

#[derive(Debug)]
struct Variant {
    spec: VariantSpec,
    lanes: Vec<(ShapeId, LaneId)>,
    waiting: usize,
    running: u32,
    retired: bool,
}

/// The whole scheduler as one state machine.
///
/// Drive it so: [`Self::handle`] each event, then drain [`Self::poll_action`], then sleep (or jump) until
/// [`Self::poll_timeout`] and call [`Self::handle_timeout`].
pub struct Router {
    settings: RouterSettings,
    admission: Box<dyn Admission>,
    dispatch: Box<dyn Dispatch>,
    cluster: Cluster,
    variants: Vec<Option<Variant>>,
    lanes: Vec<Lane>,
    /// Lanes in which requests wait.
    active: BTreeSet<LaneId>,
    batches: BTreeMap<BatchId, Batch>,
    batch_next: u64,
    actions: VecDeque<Action>,
    timeout: Option<(Instant, Reason)>,
    draining: bool,
    tally: Tally,
    spare: Spare,
}

/// Memory that is used again, so that deciding does not allocate.
#[derive(Default)]
struct Spare {
    starts: Vec<Instant>,
    offers: Vec<Offer>,
    requests: Vec<Vec<RequestId>>,
    deadlines: Vec<Vec<Instant>>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("tally", &self.tally)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl Router {
    /// A router without executors and models.
    ///
    /// # Errors
    /// Where a policy's name is not known.
    pub fn new(settings: RouterSettings) -> Result<Self, UnknownSetting> {
        let unknown = |axis, name: &str, known: Vec<&str>| UnknownSetting {
            axis,
            name: name.to_owned(),
            known: known.join(", "),
        };
        let admission =
            ADMISSIONS.iter().find(|entry| entry.name == settings.admission).ok_or_else(|| {
                unknown(
                    "admission",
                    &settings.admission,
                    ADMISSIONS.iter().map(|entry| entry.name).collect(),
                )
            })?;
        let dispatch =
            DISPATCHES.iter().find(|entry| entry.name == settings.dispatch).ok_or_else(|| {
                unknown(
                    "dispatch",
                    &settings.dispatch,
                    DISPATCHES.iter().map(|entry| entry.name).collect(),
                )
            })?;
        Ok(Self {
            settings,
            admission: (admission.build)(),
            dispatch: (dispatch.build)(),
            cluster: Cluster::default(),
            variants: Vec::new(),
            lanes: Vec::new(),
            active: BTreeSet::new(),
            batches: BTreeMap::new(),
            batch_next: 0,
            actions: VecDeque::new(),
            timeout: None,
            draining: false,
            tally: Tally::default(),
            spare: Spare::default(),
        })
    }

    /// Takes note of an event and decides what follows from it.
    pub fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::RequestArrived { request, variant, shape } => {
                self.arrived(&request, variant, shape, now)
            }
            Event::RequestCancelled { id, variant, shape } => self.cancelled(id, variant, shape),
            Event::BatchFinished { batch, elapsed } => self.finished(batch, Some(elapsed), now),
            Event::BatchFailed { batch } => self.finished(batch, None, now),
            Event::VariantLoaded { spec } => self.loaded(*spec),
            Event::VariantRetired { variant } => self.retired(variant),
            Event::ExecutorUp { executor } => self.cluster.up(executor),
            Event::ExecutorDown { executor } => self.executor_down(executor),
            Event::Draining => self.draining = true,
        }
        self.step(now);
    }

    /// The next thing to do; `None` when all is said.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.timeout
    }

    /// Decides what follows from the passing of time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.step(now);
    }

    /// A batch that an executor holds; `None` once it has finished.
    #[must_use]
    pub fn batch(&self, batch: BatchId) -> Option<&Batch> {
        self.batches.get(&batch)
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Requests of a variant that wait.
    #[must_use]
    pub fn waiting(&self, variant: VariantId) -> usize {
        self.variant(variant).map_or(0, |variant| variant.waiting)
    }

    /// Nothing waits and nothing runs.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.active.is_empty() && self.batches.is_empty()
    }

    /// How well the runs of a variant were predicted, of its most run shape.
    #[must_use]
    pub fn prediction(&self, variant: VariantId) -> Option<Prediction> {
        let lanes = self.variant(variant)?.lanes.iter();
        lanes
            .map(|&(_, lane)| self.lanes[lane].estimate.prediction())
            .max_by_key(|prediction| prediction.runs)
    }

    fn variant(&self, variant: VariantId) -> Option<&Variant> {
        self.variants.get(variant.index())?.as_ref()
    }

    fn arrived(&mut self, request: &Request, variant: VariantId, shape: Shape, now: Instant) {
        self.tally.arrived += 1;
        if let Err(rejection) = self.enter(request, variant, shape, now) {
            self.refuse(request.id, rejection);
        }
    }

    fn refuse(&mut self, id: RequestId, rejection: Rejection) {
        self.tally.refused[rejection.index()] += 1;
        self.actions.push_back(Action::Reply { id, rejection });
    }

    fn enter(
        &mut self,
        request: &Request,
        id: VariantId,
        shape: Shape,
        now: Instant,
    ) -> Result<(), Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        let variant =
            self.variant(id).filter(|variant| !variant.retired).ok_or(Rejection::NotServed)?;
        let full = variant.waiting >= variant.spec.queue_max;
        let lane = self.lane_for(id, shape).ok_or(Rejection::TooManyShapes)?;
        self.lanes[lane].batcher.note_offer(request.rows, now);
        if full {
            return Err(Rejection::QueueFull);
        }
        self.admit(request, lane, now)?;
        self.lanes[lane].batcher.push(*request).map_err(|_| Rejection::QueueFull)?;
        self.active.insert(lane);
        self.variant_mut(id).waiting += 1;
        Ok(())
    }

    fn admit(&mut self, request: &Request, lane: LaneId, now: Instant) -> Result<(), Rejection> {
        let backlog = self.backlog_ahead_of(request, lane);
        let (id, lane) = (lane, &self.lanes[lane]);
        let mut starts = std::mem::take(&mut self.spare.starts);
        starts.clear();
        starts.extend(
            self.cluster
                .with(lane.variant)
                .map(|executor| self.cluster.planned_start(executor, now)),
        );
        let queue = lane.batcher.queue();
        let (profile, batch_max) = (lane.estimate.profile(), lane.batch_max);
        debug_assert!(id < self.lanes.len());
        let verdict = self.admission.admit(Ask {
            request,
            queue,
            profile,
            batch_max,
            starts: &mut starts,
            backlog,
            now,
        });
        self.spare.starts = starts;
        verdict
    }

    /// Planned time of what waits in other queues, shares an executor with that lane, and is more urgent.
    fn backlog_ahead_of(&self, request: &Request, lane: LaneId) -> Duration {
        let variant = self.lanes[lane].variant;
        let mut backlog = Duration::ZERO;
        for &other in self.active.iter().filter(|&&other| other != lane) {
            let other = &self.lanes[other];
            let shares = || {
                self.cluster.with(variant).any(|executor| self.cluster.has(executor, other.variant))
            };
            let rows = other.batcher.queue().rows_ahead_of(request.priority, request.deadline);
            if rows > 0 && shares() {
                let (full, rest) = (rows / other.batch_max, rows % other.batch_max);
                let profile = other.estimate.profile();
                backlog += profile.time(other.batch_max) * full;
                backlog += if rest > 0 { profile.time(rest) } else { Duration::ZERO };
            }
        }
        backlog
    }

    fn cancelled(&mut self, id: RequestId, variant: VariantId, shape: ShapeId) {
        let lanes =
            self.variant(variant).map(|variant| variant.lanes.as_slice()).unwrap_or_default();
        let Some(&(_, lane)) = lanes.iter().find(|(other, _)| *other == shape) else { return };
        if self.remove_waiting(lane, id) {
            self.tally.cancelled += 1;
            self.unload_if_served(variant);
        }
    }

    /// Takes a request out of its queue; false if it does not wait there.
    fn remove_waiting(&mut self, lane: LaneId, id: RequestId) -> bool {
        let removed = self.lanes[lane].batcher.cancel(id).is_some();
        if removed {
            self.forget_waiting(lane, 1);
        }
        removed
    }

    fn forget_waiting(&mut self, lane: LaneId, requests: usize) {
        if self.lanes[lane].batcher.queue().is_empty() {
            self.active.remove(&lane);
        }
        let variant = self.lanes[lane].variant;
        self.variant_mut(variant).waiting -= requests;
    }

    fn variant_mut(&mut self, variant: VariantId) -> &mut Variant {
        let slot = self.variants.get_mut(variant.index());
        slot.and_then(Option::as_mut).expect("a variant with requests is in the table")
    }

    /// A batch left its executor: with its time if it ran, without if it failed.
    fn finished(&mut self, id: BatchId, elapsed: Option<Duration>, now: Instant) {
        // A batch of an executor that went down is gone already.
        let Some(mut batch) = self.batches.remove(&id) else { return };
        let behind = self.batches.values().find(|other| other.executor == batch.executor);
        let rest = behind.map(|behind| {
            let profile = self.lanes[behind.lane].estimate.profile();
            (profile.median(behind.rows), profile.time(behind.rows))
        });
        self.cluster.finish(batch.executor, rest, now);
        let requests = batch.requests.len() as u64;
        let lane = &mut self.lanes[batch.lane];
        lane.running -= 1;
        if let Some(elapsed) = elapsed {
            lane.estimate.correct(batch.rows, elapsed);
            self.tally.finished += requests;
            self.tally.late +=
                batch.deadlines.iter().filter(|&&deadline| deadline < now).count() as u64;
        } else {
            self.tally.failed += requests;
        }
        self.variant_mut(batch.variant).running -= 1;
        self.unload_if_served(batch.variant);
        batch.requests.clear();
        batch.deadlines.clear();
        self.spare.requests.push(batch.requests);
        self.spare.deadlines.push(batch.deadlines);
    }

    fn executor_down(&mut self, executor: ExecutorId) {
        self.cluster.down(executor);
        let lost = self.batches.iter().filter(|(_, batch)| batch.executor == executor);
        let lost: Vec<_> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            let batch = self.batches.remove(&id).expect("it was just found");
            self.lanes[batch.lane].running -= 1;
            for request in batch.requests {
                self.refuse(request, Rejection::ExecutorLost);
            }
            self.variant_mut(batch.variant).running -= 1;
            self.unload_if_served(batch.variant);
        }
    }
}
