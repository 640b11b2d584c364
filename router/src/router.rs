//! The scheduler's root state machine: events in, actions out.

mod demand;
mod door;
mod lanes;
mod mixes;
mod policies;
mod preempt;
mod step;
mod tasks;
mod weights;
mod withdraw;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use batcher::{Instant, Ran, Request, RequestId};
use models::{BatchId, ExecutorId, VariantId};
use serde::{Deserialize, Serialize};

pub use self::demand::{Demand, MemberDemand, TaskDemand, VariantDemand};
use self::tasks::Task;
use crate::admit::{ADMISSIONS, Admission};
use crate::agenda::Agenda;
use crate::cluster::Cluster;
use crate::dispatch::{DISPATCHES, Dispatch, Rank};
use crate::estimate::Prediction;
use crate::lane::{Lane, LaneId};
use crate::load::Load;
use crate::roster::Roster;
use crate::select::{Run, Verdict};
use crate::store::Store;
use crate::{Action, Event, Rejection, ShapeId, Tally, VariantSpec, admit, dispatch};

/// Room for so many actions from the start, so that the list need not grow in the first burst of refusals.
const ACTIONS_USUAL: usize = 256;

/// What an operator can set of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSettings {
    /// The name of the admission policy.
    pub admission: String,
    /// The name of the dispatch policy.
    pub dispatch: String,
    /// How long before its batch is expected to end an executor is given the next one: the time of a thread's wake-up
    /// with a wide margin, short against a batch. Zero: not before it has ended.
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
    /// A run that another batch is behind has become a straggler.
    Straggler,
}

/// A batch that an executor holds.
#[derive(Debug)]
pub struct Batch {
    /// Where it runs.
    pub executor: ExecutorId,
    /// Which model.
    pub variant: VariantId,
    /// Its requests, in the order of their rows.
    pub requests: Vec<Request>,
    /// Rows of those requests.
    pub rows: u32,
    /// When it is expected to start.
    pub start: Instant,
    /// A start after this makes one of its requests late, as planned at its launch.
    pub latest: Instant,
    /// A start after this makes one of its requests late even if the run takes no longer than the median. Never, where
    /// that was so at its launch already: a policy that is blind to deadlines runs it all the same.
    pub hopeless: Instant,
    lane: LaneId,
    /// How long it takes at the median, as believed at its launch.
    time: Duration,
}

impl Batch {
    /// The shortest time from an arrival to its deadline.
    fn slo(&self) -> Duration {
        let slos = self.requests.iter().map(|request| request.deadline.slack(request.arrived));
        slos.min().unwrap_or(Duration::MAX)
    }
}

#[derive(Debug)]
struct Variant {
    spec: VariantSpec,
    lanes: Vec<(ShapeId, LaneId)>,
    waiting: usize,
    retired: bool,
    /// Rows asked of it by its own name, where weights move.
    asked: u64,
    /// Variants with a much shorter objective: see `within_courtesy`.
    tighter: Vec<VariantId>,
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
    tasks: Vec<Option<Task>>,
    lanes: Vec<Lane>,
    /// By lane.
    ranks: Vec<Rank>,
    /// Lanes in which requests wait.
    active: Roster,
    /// Of those, the ones whose window is open and that wait for an executor.
    ready: Roster,
    /// By lane, when the first of its requests becomes hopeless.
    hopeless: Agenda,
    /// By lane, when the window of its batch opens.
    windows: Agenda,
    /// Looked up by id, never walked over.
    batches: HashMap<BatchId, Batch>,
    batch_next: u64,
    actions: VecDeque<Action>,
    /// Executors became busier or freer in this step.
    moved: bool,
    load: Load,
    store: Store,
    draining: bool,
    tally: Tally,
    spare: Spare,
}

/// Memory that is used again, so that deciding does not allocate.
#[derive(Default)]
struct Spare {
    drop: Vec<RequestId>,
    opened: Vec<ExecutorId>,
    requests: Vec<Vec<Request>>,
    victims: Vec<VariantId>,
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
        let admission = admit::by_name(&settings.admission).ok_or_else(|| {
            let known = ADMISSIONS.iter().map(|entry| entry.name);
            unknown("admission", &settings.admission, known.collect())
        })?;
        let dispatch = dispatch::by_name(&settings.dispatch).ok_or_else(|| {
            let known = DISPATCHES.iter().map(|entry| entry.name);
            unknown("dispatch", &settings.dispatch, known.collect())
        })?;
        Ok(Self {
            admission: (admission.build)(),
            dispatch: (dispatch.build)(),
            cluster: Cluster::new(settings.lead),
            settings,
            variants: Vec::new(),
            tasks: Vec::new(),
            lanes: Vec::new(),
            ranks: Vec::new(),
            active: Roster::default(),
            ready: Roster::default(),
            hopeless: Agenda::default(),
            windows: Agenda::default(),
            batches: HashMap::new(),
            batch_next: 0,
            actions: VecDeque::with_capacity(ACTIONS_USUAL),
            moved: false,
            load: Load::default(),
            store: Store::default(),
            draining: false,
            tally: Tally::default(),
            spare: Spare::default(),
        })
    }

    /// Takes note of an event and decides what follows from it.
    pub fn handle(&mut self, event: Event, now: Instant) {
        self.open_leads(now);
        match event {
            Event::RequestArrived { request, variant, shape } => {
                self.arrived(&request, variant, shape, now)
            }
            Event::TaskArrived { request, task, goals, shape } => {
                self.task_arrived(&request, task, (goals, shape), now)
            }
            Event::RequestCancelled { id, variant, shape } => self.cancelled(id, variant, shape),
            Event::BatchFinished { batch, elapsed } => self.finished(batch, Some(elapsed), now),
            Event::BatchFailed { batch } => self.finished(batch, None, now),
            Event::VariantLoaded { spec } => self.loaded(*spec, now),
            Event::VariantRetired { variant } => self.retired(variant),
            Event::TaskLoaded { spec } => self.task_loaded(*spec),
            Event::TaskRetired { task } => self.task_retired(task),
            Event::Feedback { task, variant, draw, loss } => {
                self.told(task, &Verdict { variant, draw, loss })
            }
            Event::ExecutorUp { executor, preemptible } => {
                self.cluster.up(executor, preemptible);
                self.review(now);
            }
            Event::ExecutorDown { executor } => self.executor_down(executor, now),
            Event::PoliciesChanged { policies } => self.follow(&policies, now),
            Event::MemoryStated { executor, bytes, on_demand } => {
                self.memory_stated(executor, bytes, on_demand)
            }
            Event::WeightsLoaded { executor, variant } => {
                self.weights_loaded(executor, variant, now)
            }
            Event::WeightsFailed { executor, variant } => {
                self.weights_failed(executor, variant, now)
            }
            Event::PlacementDecided { placement } => self.placement_decided(placement, now),
            Event::MixPlanned { mix } => self.mix_planned(&mix),
            Event::Draining => self.draining = true,
        }
        self.settle(now);
    }

    /// The next thing to do; `None` when all is said.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let hopeless = self.hopeless.first().map(|(at, _)| (at, Reason::Hopeless));
        let window = self.windows.first().map(|(at, _)| (at, Reason::Window));
        let lead = self.cluster.next_lead().filter(|_| !self.ready.is_empty());
        let lead = lead.map(|at| (at, Reason::Lead));
        let straggler = self.cluster.next_straggler().map(|at| (at, Reason::Straggler));
        [hopeless, window, lead, straggler].into_iter().flatten().min()
    }

    /// Decides what follows from the passing of time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.open_leads(now);
        self.settle(now);
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

    fn refuse(&mut self, id: RequestId, rejection: Rejection) {
        if rejection.for_deadline() {
            self.load.lost();
        }
        self.tally.refused[rejection.index()] += 1;
        self.actions.push_back(Action::Reply { id, rejection });
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

    /// So many requests left that lane.
    fn forget_waiting(&mut self, lane: LaneId, requests: usize) {
        let variant = self.lanes[lane].variant;
        self.variant_mut(variant).waiting -= requests;
        self.ranks[lane] = Rank::UNKNOWN;
        if self.lanes[lane].batcher.queue().is_empty() {
            self.active.remove(lane);
            self.ready.remove(lane);
            self.windows.set(key_of(lane), Instant::NEVER);
        }
        self.watch_hopeless(lane);
    }

    fn variant_mut(&mut self, variant: VariantId) -> &mut Variant {
        let slot = self.variants.get_mut(variant.index());
        slot.and_then(Option::as_mut).expect("a variant with requests is in the table")
    }

    /// A batch left its executor: with its time if it ran, without if it failed.
    fn finished(&mut self, id: BatchId, elapsed: Option<Duration>, now: Instant) {
        // A batch of an executor that went down is gone already.
        let Some(batch) = self.batches.remove(&id) else { return };
        let executor = batch.executor;
        self.cluster.finish(executor, id);
        let withdrawn = self.go_on(executor, now);
        let requests = batch.requests.len() as u64;
        let (mut late, mut hurried) = (0, 0);
        for request in &batch.requests {
            late += u64::from(request.deadline.0 < now);
            hurried += u64::from(request.deadline.0 < Instant::NEVER);
        }
        let lane = &mut self.lanes[batch.lane];
        lane.running -= 1;
        if let Some(elapsed) = elapsed {
            let run = Run { measured: lane.estimate.measured(batch.rows), elapsed };
            lane.estimate.answered(late, hurried);
            lane.estimate.correct(batch.rows, elapsed);
            let ran = Ran { rows: batch.rows, elapsed, slo: batch.slo(), in_time: late == 0 };
            lane.batcher.ran(&ran, now);
            for task in self.tasks.iter_mut().flatten() {
                task.ran(run);
            }
            self.tally.finished += requests;
            self.tally.late += late;
            if late > 0 {
                self.load.lost();
            }
            self.watch_hopeless(batch.lane);
        } else {
            self.tally.failed += requests;
        }
        self.unload_if_served(batch.variant);
        self.reuse(batch.requests);
        self.moved = true;
        if let Some(lane) = withdrawn {
            self.give_up_hopeless(lane, now);
        }
        if !self.store.is_empty() {
            self.pursue(executor, now);
        }
        self.recall(now);
        self.fill(executor, now);
        if let Some(lane) = withdrawn.filter(|&lane| self.active.contains(lane)) {
            // Other executors may be idle.
            self.consider(lane, now);
        }
    }

    /// Keeps the memory of a batch that is gone.
    fn reuse(&mut self, mut requests: Vec<Request>) {
        requests.clear();
        self.spare.requests.push(requests);
    }

    fn executor_down(&mut self, executor: ExecutorId, now: Instant) {
        let held = self.cluster.down(executor);
        self.store.lose(executor);
        for id in held.into_iter().flatten() {
            let batch = self.batches.remove(&id).expect("a held batch is in the table");
            self.lanes[batch.lane].running -= 1;
            for request in batch.requests {
                self.refuse(request.id, Rejection::ExecutorLost);
            }
            self.unload_if_served(batch.variant);
        }
        self.review(now);
    }
}

/// The key of a lane in the agendas.
fn key_of(lane: LaneId) -> u32 {
    u32::try_from(lane).expect("fewer lanes than a u32 counts")
}
