//! A router that chooses among many variants of one task under load, with executors that take as long as profiles say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use models::{BatchId, ExecutorId, Goals, LatencyProfile, Objective, TaskId, VariantId};
use router::{
    Action, Choice, Event, Router, RouterSettings, Shape, ShapeId, TaskSpec, VariantSpec, mix,
};

use crate::Error;

const EXECUTORS: u32 = 4;
const TASK: TaskId = TaskId(0);
const SHAPE: Shape = Shape { id: ShapeId(0), elements: 1 };
const BATCH_MAX: u32 = 16;
const SLO: Duration = Duration::from_millis(100);
/// Between requests: so many that variants of the middle of the list have to answer.
const GAP: Duration = Duration::from_micros(600);
/// A row alone, of the most accurate variant; of the last one a tenth.
const SLOWEST: Duration = Duration::from_millis(20);

/// The router, what its executors run, and the time.
pub struct Choosing {
    router: Router,
    ends: BinaryHeap<Reverse<(Instant, BatchId, Duration)>>,
    profiles: Vec<LatencyProfile>,
    now: Instant,
    requests: u64,
    planned_at: Instant,
}

impl Choosing {
    /// So many variants, the more accurate the slower, on four executors; the task has that selection policy.
    ///
    /// # Errors
    /// Where the router cannot be made.
    pub fn new(policy: &str, variants: u32) -> Result<Self, Error> {
        let router = Router::new(RouterSettings::default());
        let mut router = router.map_err(|error| Error::Raw(error.to_string()))?;
        for executor in (0..EXECUTORS).map(ExecutorId) {
            router.handle(Event::ExecutorUp { executor, preemptible: false }, Instant::ZERO);
        }
        let (mut choices, mut profiles) = (Vec::new(), Vec::new());
        for id in 0..variants {
            let place = f64::from(id) / f64::from(variants);
            let row = SLOWEST.mul_f64(0.1_f64.powf(place));
            let profile = LatencyProfile::linear(row / 2, row / 2, BATCH_MAX);
            let spec = Box::new(spec(VariantId(id), profile.clone()));
            router.handle(Event::VariantLoaded { spec }, Instant::ZERO);
            let accuracy = (1.0 - 0.2 * place).try_into().map_err(Error::Raw)?;
            let cost = (2.0 - place).try_into().map_err(Error::Raw)?;
            choices.push(Choice { variant: VariantId(id), accuracy, cost });
            profiles.push(profile);
        }
        let spec = Box::new(TaskSpec { task: TASK, policy: policy.to_owned(), choices });
        router.handle(Event::TaskLoaded { spec }, Instant::ZERO);
        let (now, planned_at) = (Instant::ZERO, Instant::ZERO);
        Ok(Self { router, ends: BinaryHeap::new(), profiles, now, requests: 0, planned_at })
    }

    /// Lets time pass until the next request arrives, which `tell` is then to tell the router.
    pub fn arrive(&mut self, mut tell: impl FnMut(&mut dyn FnMut())) {
        let at = self.now + GAP;
        while let Some(&Reverse((end, batch, elapsed))) =
            self.ends.peek().filter(|end| end.0.0 <= at)
        {
            self.ends.pop();
            self.pass(end);
            self.router.handle(Event::BatchFinished { batch, elapsed }, end);
            self.carry_out(end);
        }
        self.pass(at);
        self.now = at;
        if at > self.planned_at + mix::EPOCH {
            self.planned_at = at;
            if let Some(survey) = self.router.survey(at) {
                self.router.handle(Event::MixPlanned { mix: survey.plan() }, at);
            }
        }
        let id = RequestId(self.requests);
        self.requests += 1;
        let deadline = Deadline(at + SLO);
        let request = Request { id, rows: 1, priority: 1, arrived: at, deadline };
        let goals = Goals::default();
        let event = Event::TaskArrived { request, task: TASK, goals, shape: SHAPE };
        let mut event = Some(event);
        let router = &mut self.router;
        tell(&mut || router.handle(event.take().expect("it is told once"), at));
        self.carry_out(at);
    }

    /// Who would answer a request that nobody can answer in time: every variant is looked at.
    pub fn look(&mut self) {
        let goals = Goals { objective: Some(Objective::Accuracy), ..Goals::default() };
        let found = self.router.preview(TASK, goals, Deadline(self.now), self.now);
        std::hint::black_box(found.is_ok());
    }

    fn pass(&mut self, until: Instant) {
        while let Some((due, _)) = self.router.poll_timeout().filter(|(due, _)| *due < until) {
            self.router.handle_timeout(due);
            self.carry_out(due);
        }
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self.router.poll_action() {
            if let Action::Launch { batch, variant, rows, .. } = action {
                let start = self.router.batch(batch).expect("it was just launched").start.max(now);
                let elapsed = self.profiles[variant.index()].median(rows);
                self.ends.push(Reverse((start + elapsed, batch, elapsed)));
            }
        }
    }
}

fn spec(variant: VariantId, profile: LatencyProfile) -> VariantSpec {
    VariantSpec {
        variant,
        profile,
        profiled_elements: 1,
        slo: None,
        queue_max: 1000,
        policy: batcher::ALL[0].name.to_owned(),
        settings: PolicySettings { batch_max: BATCH_MAX, ..PolicySettings::default() },
        weight: 1.0,
        executors: (0..EXECUTORS).map(ExecutorId).collect(),
        weights: None,
    }
}
