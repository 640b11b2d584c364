//! Virtual time: a heap of happenings drives the router, as threads and clocks do in the server.

mod arrivals;
mod coded;
mod composed;
mod crowd;
mod forms;
mod part;
mod places;
mod progress;
mod runs;
pub mod speed;
mod tasks;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, RequestId};
use loadgen::Outcome;
use models::{BatchId, ExecutorId, LatencyProfile, Slo, TaskId, VariantId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use router::{Action, Event, Line, Rejection, Router, ShapeId, VariantSpec};

use composed::Compositions;
use crowd::{Client, Crowd};
use part::{Part, Told};
use places::Places;
use router::compose::coded::Seat;
use router::place::Placement;
use tasks::Tasks;

use crate::check::{BatchRules, Checker};
use crate::executor::SimExecutor;
use crate::scenario::{Demand, Source};
use crate::window::Window;
use crate::{ModelReport, ModelSpec, Report, Scenario, ScenarioError, Violation, parallel};

/// How long a broken executor stays away.
const REPAIR: Duration = Duration::from_millis(200);

/// Elements of a row of the shape that profiles are for.
const ELEMENTS: u64 = 1000;

/// Calls of the router at one instant: more mean that it waits for a moment that has come.
const STILL_MAX: u32 = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival { model: usize },
    Due { share: usize },
    Again { of: usize },
    Leaving { id: RequestId, shape: u32 },
    End { executor: ExecutorId, life: u32, batch: BatchId, fails: bool },
    Breakdown { executor: ExecutorId },
    Repair { executor: ExecutorId },
    Loaded { executor: ExecutorId, life: u32, variant: VariantId, fails: bool },
    Epoch,
    Mix,
    Wake { whole: u64 },
    LastMoment { task: TaskId, seat: Seat },
}

struct Model {
    spec: Arc<ModelSpec>,
    policy: &'static str,
    profile: LatencyProfile,
    arrivals: Source,
    rules: BatchRules,
}

impl Model {
    /// How often it is right; 0 where nothing is known of that.
    fn accuracy(&self) -> f64 {
        self.spec.answers.as_ref().map_or(0.0, |answers| answers.accuracy.into())
    }
}

/// A request without its end.
struct Asked {
    model: usize,
    shape: u32,
    arrived: Instant,
    deadline: Deadline,
    waits: bool,
    client: Option<Client>,
    /// It is asked for another, which is what counts.
    part: Option<Part>,
}

/// A batch that an executor holds.
struct Held {
    model: usize,
    rows: u32,
    requests: Vec<RequestId>,
    /// It was launched after the warm-up.
    counted: bool,
}

/// A simulated world.
pub struct World {
    now: Instant,
    sequence: u64,
    heap: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    rng: Pcg64Mcg,
    router: Router,
    executors: Vec<SimExecutor>,
    models: Vec<Model>,
    /// Where models are; all on all if absent.
    places: Option<Places>,
    /// Who asks besides the models' own arrivals.
    crowd: Option<Box<Crowd>>,
    tasks: Tasks,
    compositions: Compositions,
    asked: Window<Asked>,
    held: Window<Held>,
    /// Memory of ended batches, used again.
    spare: Vec<Vec<RequestId>>,
    request_next: u64,
    until: Instant,
    /// Requests that arrive before are not counted.
    counted_from: Instant,
    /// The run ends early when more than that are late, refused or failed.
    bad_max: u64,
    checker: Option<Checker>,
    /// Says how far it is.
    shown: bool,
    report: Report,
    history: History,
}

/// Everything that the router was given and decided, in order: equal for equal seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// In the form of a flight recording; empty unless asked for.
    pub lines: Vec<Line>,
    kept: bool,
}

impl History {
    fn note(&mut self, line: impl FnOnce() -> Line) {
        if self.kept {
            self.lines.push(line());
        }
    }
}

impl World {
    /// The world of that scenario before anything happens.
    ///
    /// # Errors
    /// Where the scenario makes no sense.
    pub fn new(scenario: &Scenario) -> Result<Self, ScenarioError> {
        Self::placed(&scenario.grouped()?, None)
    }

    /// The world of a scenario of executors, with models where they are given to be.
    fn placed(scenario: &Scenario, given: Option<&Placement>) -> Result<Self, ScenarioError> {
        let settings = scenario.router_settings();
        let router =
            Router::new(settings).map_err(|error| ScenarioError::Policy(error.to_string()))?;
        let mut world = Self {
            now: Instant::ZERO,
            sequence: 0,
            heap: BinaryHeap::new(),
            rng: Pcg64Mcg::seed_from_u64(scenario.seed),
            router,
            executors: SimExecutor::all(&scenario.executors),
            models: Vec::new(),
            places: None,
            crowd: None,
            tasks: Tasks::default(),
            compositions: Compositions::new(scenario),
            asked: Window::default(),
            held: Window::default(),
            spare: Vec::new(),
            request_next: 0,
            until: Instant::ZERO + scenario.duration,
            checker: Some(Checker::default()),
            counted_from: Instant::ZERO + scenario.warmup,
            bad_max: u64::MAX,
            shown: false,
            report: Report {
                duration: scenario.duration.saturating_sub(scenario.warmup),
                executors: scenario.executor_count(),
                busy_by_executor: vec![Duration::ZERO; scenario.executor_count() as usize],
                ..Report::default()
            },
            history: History::default(),
        };
        let mut entries = Vec::new();
        for spec in &scenario.models {
            let policy = scenario.policy_of(spec)?;
            entries.push((Arc::new(spec.clone()), spec.latency_profile()?, policy));
        }
        let mut rates = Vec::new();
        for Demand { entry, name, rate, arrivals } in scenario.demands()? {
            rates.push(rate);
            let (spec, profile, policy) = &entries[entry];
            let batch_max = spec.batch_max.unwrap_or(profile.batch_max());
            let rules = BatchRules { batch_max, in_time: policy.promises.in_time };
            let accuracy = spec.answers.as_ref().map(|answers| answers.accuracy.into());
            world.report.models.push(ModelReport {
                name,
                entry,
                accuracy,
                ..ModelReport::default()
            });
            let (spec, profile, policy) = (spec.clone(), profile.clone(), policy.name);
            world.models.push(Model { spec, policy, profile, arrivals, rules });
        }
        let answers = world.models.iter().map(|model| model.spec.answers.as_ref());
        world.tasks = Tasks::new(scenario, answers)?;
        world.places = Places::new(scenario, &world.models, &rates, given)?;
        world.compose(&scenario.compositions);
        Ok(world)
    }

    /// Keeps the history, for golden files and replays.
    pub fn keep_history(&mut self, scenario: &Scenario) {
        self.history =
            History { lines: vec![Line::Settings(scenario.router_settings())], kept: true };
    }

    /// Does without the invariants' checks: for the many runs of a comparison, once a checked run has passed.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.checker = None;
        self
    }

    /// Ends the run as soon as more than so many requests are late, refused or failed; its report then says so.
    #[must_use]
    pub fn stop_beyond(mut self, bad_max: u64) -> Self {
        self.bad_max = bad_max;
        self
    }

    /// Asks the checker, if there is one.
    fn check(
        &mut self,
        ask: impl FnOnce(&mut Checker) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.checker.as_mut().map_or(Ok(()), ask)
    }

    /// Lets everything happen.
    ///
    /// # Errors
    /// The first thing that happened and never must.
    pub fn run(mut self) -> Result<(Report, History), Violation> {
        self.go()?;
        Ok((self.report, self.history))
    }

    fn go(&mut self) -> Result<(), Violation> {
        let went = self.go_on();
        if self.shown {
            parallel::clear();
        }
        went
    }

    fn go_on(&mut self) -> Result<(), Violation> {
        self.begin()?;
        let mut still = 0;
        for step in 0_u64.. {
            self.show(step);
            let next = self.heap.peek().map(|Reverse((at, ..))| *at);
            let timeout = self.router.poll_timeout().map(|(at, _)| at.max(self.now));
            match (next, timeout) {
                (None, None) => break,
                (Some(at), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                    let Reverse((at, _, happening)) = self.heap.pop().expect("it was just seen");
                    // Clients may come at one instant in any number.
                    let comes = matches!(happening, Happening::Arrival { .. });
                    still = if at > self.now { 0 } else { still + u32::from(!comes) };
                    self.move_to(at)?;
                    self.happen(happening)?;
                    self.tell()?;
                }
                (_, timeout) => {
                    let at = timeout.expect("one of the two is there");
                    still = if at > self.now { 0 } else { still + 1 };
                    self.move_to(at)?;
                    self.history.note(|| Line::Timeout(at));
                    self.router.handle_timeout(at);
                    self.carry_out()?;
                    self.tell()?;
                }
            }
            if self.report.bad > self.bad_max {
                self.report.stopped = true;
                self.report.span = self.now.max(self.counted_from).since(self.counted_from);
                return Ok(());
            }
            if still > STILL_MAX {
                return Err(
                    self.violation("the router asks to be called again and again at one instant")
                );
            }
        }
        let open = self.compositions.open();
        if open > 0 {
            return Err(self.violation(&format!("{open} requests of several variants never ended")));
        }
        let ended = self.now.max(self.until);
        self.report.span = ended.since(self.counted_from);
        let tally = self.router.tally();
        self.check(|checker| checker.finished(&tally))
    }

    fn violation(&self, what: &str) -> Violation {
        Violation { at: self.now, what: what.to_owned() }
    }

    fn begin(&mut self) -> Result<(), Violation> {
        let executors: Vec<_> =
            (0_u32..).zip(&self.executors).map(|(id, _)| ExecutorId(id)).collect();
        for &executor in &executors {
            self.executor_up(executor)?;
            self.state_memory(executor)?;
            self.plan_breakdown(executor);
        }
        self.begin_places();
        for index in 0..self.models.len() {
            let places = self.places.as_ref().map(|places| places.at_first(index));
            let spec = self.variant_spec(index, places.unwrap_or_else(|| executors.clone()));
            self.feed(Event::VariantLoaded { spec: Box::new(spec) })?;
            self.plan_arrival(index);
        }
        self.begin_crowd();
        self.begin_tasks()
    }

    fn executor_up(&mut self, executor: ExecutorId) -> Result<(), Violation> {
        let preemptible = self.executors[executor.index()].preemptible();
        self.feed(Event::ExecutorUp { executor, preemptible })
    }

    fn variant_spec(&self, index: usize, mut executors: Vec<ExecutorId>) -> VariantSpec {
        let Model { spec, policy, profile, rules, .. } = &self.models[index];
        executors.retain(|executor| spec.executors.is_none_or(|count| executor.0 < count));
        VariantSpec {
            variant: variant(index),
            profile: profile.clone(),
            profiled_elements: ELEMENTS,
            slo: spec.slo.map(|latency| Slo { latency: latency.saturating_sub(spec.tail) }),
            queue_max: spec.queue_max,
            policy: (*policy).to_owned(),
            settings: PolicySettings {
                batch_max: rules.batch_max,
                preferred: spec.preferred.clone(),
                delay: spec.delay.unwrap_or_default(),
            },
            weight: spec.weight,
            executors,
            weights: self.weights_of(index),
        }
    }

    fn push(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, happening)));
    }

    fn move_to(&mut self, at: Instant) -> Result<(), Violation> {
        self.now = at;
        self.check(|checker| checker.time(at))
    }

    fn plan_arrival(&mut self, model: usize) {
        let at = self.models[model].arrivals.next().map(Instant::from_nanos);
        if let Some(at) = at.filter(|&at| at < self.until) {
            self.push(at, Happening::Arrival { model });
        }
    }

    fn plan_breakdown(&mut self, executor: ExecutorId) {
        let Some(every) = self.executors[executor.index()].breakdown_every() else { return };
        let at = self.now + every.mul_f64(self.rng.random::<f64>() * 2.0);
        if at < self.until {
            self.push(at, Happening::Breakdown { executor });
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Arrival { model } => self.arrive(model),
            Happening::Due { share } => self.due(share),
            Happening::Again { of } => self.again(of),
            Happening::Leaving { id, shape } => self.leave(id, shape),
            Happening::End { executor, life, batch, fails } => {
                self.end(executor, life, batch, fails)
            }
            Happening::Breakdown { executor } => {
                let state = &mut self.executors[executor.index()];
                (state.up, state.life) = (false, state.life + 1);
                state.runs = false;
                for (batch, _) in state.held.drain(..) {
                    self.held.remove(batch.0);
                }
                if let Some(checker) = &mut self.checker {
                    checker.lost(executor);
                }
                self.lose_weights(executor);
                self.push(self.now + REPAIR, Happening::Repair { executor });
                self.feed(Event::ExecutorDown { executor })
            }
            Happening::Repair { executor } => {
                self.executors[executor.index()].up = true;
                self.plan_breakdown(executor);
                self.executor_up(executor)?;
                if self.places.is_some() {
                    return self.restore_weights(executor);
                }
                for index in 0..self.models.len() {
                    let spec = Box::new(self.variant_spec(index, vec![executor]));
                    self.feed(Event::VariantLoaded { spec })?;
                }
                Ok(())
            }
            Happening::Loaded { executor, life, variant, fails } => {
                self.loaded(executor, life, (variant, fails))
            }
            Happening::Epoch => self.epoch(),
            Happening::Mix => self.plan_mix(),
            Happening::Wake { whole } => self.wake(whole),
            Happening::LastMoment { task, seat } => self.last_moment(task, seat),
        }
    }

    fn leave(&mut self, id: RequestId, shape: u32) -> Result<(), Violation> {
        if !self.asked.get(id.0).is_some_and(|asked| asked.waits) {
            return Ok(());
        }
        let asked = self.asked.remove(id.0).expect("it was just seen");
        let model = asked.model;
        self.report.models[model].cancelled += u64::from(asked.arrived >= self.counted_from);
        self.check(|checker| checker.ended(id))?;
        self.feed(Event::RequestCancelled { id, variant: variant(model), shape: ShapeId(shape) })
    }

    fn feed(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.now;
        self.history.note(|| Line::Event(now, event.clone()));
        self.router.handle(event, now);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Result<(), Violation> {
        while let Some(action) = self.router.poll_action() {
            self.history.note(|| Line::Action(action.clone()));
            match action {
                Action::Launch { executor, batch, variant, rows } => {
                    self.launch(executor, batch, variant, rows)?
                }
                Action::Withdraw { executor, batch } => self.withdraw(executor, batch)?,
                Action::Abort { executor, batch } => self.abort(executor, batch)?,
                Action::Reply { id, rejection } => self.refuse(id, &rejection)?,
                Action::Load { executor, variant } => self.load(executor, variant)?,
                Action::Evict { executor, variant } => self.evict(executor, variant)?,
                Action::Choose { id, variant, predicted, .. } => {
                    self.chosen(id, variant, predicted);
                }
                Action::Unload { .. } => {}
            }
        }
        Ok(())
    }

    fn refuse(&mut self, id: RequestId, rejection: &Rejection) -> Result<(), Violation> {
        if let Some(asked) = self.asked.remove(id.0) {
            if let Some(part) = asked.part {
                self.note_part(part, Told::Refused(*rejection));
            } else if asked.arrived >= self.counted_from {
                self.report.models[asked.model].refused[rejection.index()] += 1;
                self.report.bad += 1;
            }
            self.heard(&asked, self.now, || Outcome::Refused(rejection.name().into()));
        }
        self.check(|checker| checker.ended(id))
    }
}

fn variant(index: usize) -> VariantId {
    VariantId(u32::try_from(index).expect("a scenario has few models"))
}
