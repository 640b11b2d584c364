//! What deciding costs: CPU time of the router on many executors and models, apart from that of the world around it.
//!
//! The workload is that of Symphony's scheduler stress test: equal models of the profile 1.082 b + 5.204 ms, Poisson
//! arrivals, an objective of 100 ms. The world runs once and notes what the router is told. A fresh router is then told
//! the same again with nothing around it, once in one go and once with the clock read around every call.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use loadgen::Arrivals;
use models::{BatchId, ExecutorId, LatencyProfile, Slo, VariantId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use router::{Action, Event, Router, RouterSettings, Shape, ShapeId, VariantSpec};

use crate::bound::closed_forms;
use crate::{Latencies, ScenarioError, clock, parallel};

/// What is scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Stress {
    /// Executors, each with all models.
    pub executors: u32,
    /// Equal models, asked equally often.
    pub models: u32,
    /// The offered rate as a share of the staggered bound.
    pub rate_factor: f64,
    /// From arrival to deadline.
    pub slo: Duration,
    /// Requests that are counted; others come before and after.
    pub requests: u64,
    /// The batching policy.
    pub batching: String,
    /// Of the arrivals.
    pub seed: u64,
}

/// The three ways into the router that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Arrival,
    End { batch: BatchId, elapsed: Duration },
    Timeout,
}

/// Calls of one kind, each with the draining of what it decided.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// What the router was told.
    pub kind: &'static str,
    /// CPU time of each.
    pub times: Latencies,
}

/// What scheduling cost.
#[derive(Clone, Debug)]
pub struct Speed {
    /// Requests that were counted.
    pub requests: u64,
    /// Offered requests a second of virtual time.
    pub rate: f64,
    /// The share answered in time.
    pub attainment: f64,
    /// Rows of a batch, on average.
    pub batch_mean: f64,
    /// CPU time of the router alone.
    pub router: Duration,
    /// CPU time of the world with its router.
    pub whole: Duration,
    /// What reading the clock costs; taken off each call.
    pub clock: Duration,
    /// By [`ROWS`].
    pub calls: Vec<Calls>,
}

/// Elements of a row.
const ELEMENTS: u64 = 1000;
/// The largest batch of Symphony's stress test is not stated; no larger one is in time at 100 ms.
const BATCH_MAX: u32 = 128;
/// Requests of so many objectives of time come before those that are counted: all models start at once.
const WARMUP_SLOS: f64 = 5.0;
/// And after: whatever is counted is decided within one.
const TAIL_SLOS: f64 = 2.0;
/// The kinds of calls: what the router is told.
pub const KINDS: [&str; 3] = ["arrival", "batch end", "timeout"];

/// What calls are told apart by: all of them; what they decided (batches are launched by calls of all kinds); and what the
/// router was told.
pub const ROWS: [&str; 6] =
    ["all", "launches a batch", "launches none", "arrival", "batch end", "timeout"];

/// Measures.
///
/// # Errors
/// Where an objective or a rate makes no sense.
///
/// # Panics
/// If the router launches what it was not given.
pub fn measure(stress: &Stress) -> Result<Speed, ScenarioError> {
    let (profile, rate, before) = rate(stress)?;
    let counted = before..before + stress.requests;
    // Those that come after let the counted ones be answered as in the middle of a run.
    let after = requests_in(rate, stress.slo, TAIL_SLOS);
    let asked = arrivals(stress, rate, counted.end + after)?;
    let mut world = Loop::new(stress, &profile, &asked)?;
    parallel::progress(0, 3, "the world");
    let (steps, counted_steps, whole) = world.run(counted, clock::thread_cpu);
    let served = world.in_time as f64 / stress.requests as f64;
    let batch_mean = world.rows as f64 / world.batches.max(1) as f64;
    let (before, measured) = (&steps[..counted_steps.start], &steps[counted_steps.clone()]);
    parallel::progress(1, 3, "the router alone");
    let mut router = router(stress, &profile)?;
    tell(&mut router, &asked, before, stress.slo);
    let begin = clock::thread_cpu();
    tell(&mut router, &asked[arrivals_in(before)..], measured, stress.slo);
    let alone = clock::thread_cpu() - begin;
    parallel::progress(2, 3, "single calls");
    let (clock, calls) = each(stress, &profile, &asked, (&steps, counted_steps.clone()))?;
    parallel::clear();
    Ok(Speed {
        requests: arrivals_in(measured) as u64,
        rate,
        attainment: served,
        batch_mean,
        router: alone,
        whole,
        clock,
        calls,
    })
}

/// The profile, the offered rate, and how many requests come before those that are counted.
fn rate(stress: &Stress) -> Result<(LatencyProfile, f64, u64), ScenarioError> {
    let whole = |reason: String| ScenarioError::Whole(reason);
    if stress.executors == 0 || stress.models == 0 || stress.requests == 0 {
        return Err(whole("executors, models and requests must be at least 1".to_owned()));
    }
    let profile = profile();
    let forms = closed_forms(&profile, stress.slo, stress.executors);
    let bound = forms.staggered.or(forms.capacity).ok_or_else(|| {
        whole(format!("no batch of 1.082 b + 5.204 ms is done within {:?}", stress.slo))
    })?;
    let rate = bound.goodput * stress.rate_factor;
    let before = requests_in(rate, stress.slo, WARMUP_SLOS).max(stress.requests / 10);
    Ok((profile, rate, before))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn requests_in(rate: f64, slo: Duration, count: f64) -> u64 {
    (rate * slo.as_secs_f64() * count).ceil() as u64
}

/// What a router was told in a stress, to be told again.
pub struct Script {
    stress: Stress,
    profile: LatencyProfile,
    asked: Vec<Asked>,
    steps: Vec<(Instant, Step)>,
    counted: Range<usize>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("counted", &self.counted).finish_non_exhaustive()
    }
}

impl Script {
    /// Plays a stress once, and notes what its router is told.
    ///
    /// # Errors
    /// Where an objective or a rate makes no sense.
    pub fn of(stress: &Stress) -> Result<Self, ScenarioError> {
        let (profile, rate, before) = rate(stress)?;
        let counted = before..before + stress.requests;
        // Those that come after let the counted ones be answered as in the middle of a run.
        let after = requests_in(rate, stress.slo, TAIL_SLOS);
        let asked = arrivals(stress, rate, counted.end + after)?;
        let (steps, counted, _) =
            Loop::new(stress, &profile, &asked)?.run(counted, || Duration::ZERO);
        Ok(Self { stress: stress.clone(), profile, asked, steps, counted })
    }

    /// Tells a fresh router all of it. Each call that counts is handed to `counted` by its kind, which makes it.
    ///
    /// # Errors
    /// Where there is no such policy.
    pub fn play(
        &self,
        mut counted: impl FnMut(usize, &mut dyn FnMut()),
    ) -> Result<(), ScenarioError> {
        let mut router = router(&self.stress, &self.profile)?;
        let mut asked = self.asked.iter();
        for (index, &(at, step)) in self.steps.iter().enumerate().take(self.counted.end) {
            let mut told = event(step, &mut asked, self.stress.slo);
            let mut tell = || {
                call(&mut router, at, told.take());
            };
            if index < self.counted.start { tell() } else { counted(step.kind(), &mut tell) }
        }
        Ok(())
    }
}

impl Step {
    /// Its place in [`KINDS`].
    fn kind(self) -> usize {
        match self {
            Self::Arrival => 0,
            Self::End { .. } => 1,
            Self::Timeout => 2,
        }
    }
}

fn profile() -> LatencyProfile {
    LatencyProfile::linear(Duration::from_micros(5204), Duration::from_micros(1082), BATCH_MAX)
}

fn arrivals(stress: &Stress, rate: f64, count: u64) -> Result<Vec<Asked>, ScenarioError> {
    let wrong = |error: loadgen::Error| ScenarioError::Whole(error.to_string());
    let offsets = Arrivals::Poisson.offsets(rate, stress.seed).map_err(wrong)?;
    let mut rng = Pcg64Mcg::seed_from_u64(!stress.seed);
    let asked = offsets.zip(0..count).map(|(at, id)| {
        let model = rng.random_range(0..stress.models);
        Asked { at: Instant::from_nanos(at), id: RequestId(id), model: VariantId(model) }
    });
    Ok(asked.collect())
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    id: RequestId,
    model: VariantId,
}

impl Asked {
    fn event(&self, slo: Duration) -> Event {
        let deadline = Deadline(self.at + slo);
        let request = Request { id: self.id, rows: 1, priority: 1, arrived: self.at, deadline };
        let shape = Shape { id: ShapeId(1), elements: ELEMENTS };
        Event::RequestArrived { request, variant: self.model, shape }
    }
}

/// A router with all executors and models in place.
fn router(stress: &Stress, profile: &LatencyProfile) -> Result<Router, ScenarioError> {
    batcher::by_name(&stress.batching).map_err(|error| ScenarioError::Policy(error.to_string()))?;
    let mut router = Router::new(RouterSettings::default())
        .map_err(|error| ScenarioError::Policy(error.to_string()))?;
    let executors: Vec<_> = (0..stress.executors).map(ExecutorId).collect();
    for &executor in &executors {
        router.handle(Event::ExecutorUp { executor, preemptible: false }, Instant::ZERO);
    }
    for model in 0..stress.models {
        let spec = VariantSpec {
            variant: VariantId(model),
            profile: profile.clone(),
            profiled_elements: ELEMENTS,
            slo: Some(Slo { latency: stress.slo }),
            queue_max: models::QUEUE_MAX,
            policy: stress.batching.clone(),
            settings: PolicySettings { batch_max: BATCH_MAX, ..PolicySettings::default() },
            weight: 1.0,
            executors: executors.clone(),
            weights: None,
        };
        router.handle(Event::VariantLoaded { spec: Box::new(spec) }, Instant::ZERO);
    }
    while router.poll_action().is_some() {}
    Ok(router)
}

/// The smallest world that drives a router: no noise, no checks.
struct Loop<'a> {
    router: Router,
    profile: &'a LatencyProfile,
    asked: &'a [Asked],
    slo: Duration,
    ends: BinaryHeap<Reverse<(Instant, ExecutorId)>>,
    held: Vec<VecDeque<(BatchId, Duration)>>,
    counted: Range<u64>,
    in_time: u64,
    batches: u64,
    rows: u64,
}

impl<'a> Loop<'a> {
    fn new(
        stress: &Stress,
        profile: &'a LatencyProfile,
        asked: &'a [Asked],
    ) -> Result<Self, ScenarioError> {
        let held = (0..stress.executors).map(|_| VecDeque::new()).collect();
        let router = router(stress, profile)?;
        Ok(Self {
            router,
            profile,
            asked,
            slo: stress.slo,
            ends: BinaryHeap::new(),
            held,
            counted: 0..0,
            in_time: 0,
            batches: 0,
            rows: 0,
        })
    }

    /// What the router was told and when, from the first counted request to the one after the last, and the time of
    /// `clock` between.
    fn run(
        &mut self,
        counted: Range<u64>,
        clock: impl Fn() -> Duration,
    ) -> (Vec<(Instant, Step)>, Range<usize>, Duration) {
        let mut steps = Vec::with_capacity(self.asked.len() * 3);
        let (mut range, mut begin, mut took) = (0..0, Duration::ZERO, Duration::ZERO);
        self.counted = counted.clone();
        let mut next = 0;
        // The last requests are left unanswered: an idle end would look fast.
        while let Some(asked) = self.asked.get(next) {
            let end = self.ends.peek().map_or(Instant::NEVER, |Reverse((at, _))| *at);
            let timeout = self.router.poll_timeout().map_or(Instant::NEVER, |(at, _)| at);
            let (at, step) = if asked.at <= end && asked.at <= timeout {
                if next as u64 == counted.start {
                    (range.start, begin) = (steps.len(), clock());
                } else if next as u64 == counted.end {
                    (range.end, took) = (steps.len(), clock() - begin);
                }
                next += 1;
                self.router.handle(asked.event(self.slo), asked.at);
                (asked.at, Step::Arrival)
            } else if end <= timeout {
                self.end()
            } else {
                let at = timeout.max(steps.last().map_or(Instant::ZERO, |(at, _)| *at));
                self.router.handle_timeout(at);
                (at, Step::Timeout)
            };
            steps.push((at, step));
            self.carry_out(at);
        }
        (steps, range, took)
    }

    fn end(&mut self) -> (Instant, Step) {
        let Reverse((at, executor)) = self.ends.pop().expect("it was just seen");
        let held = &mut self.held[executor.index()];
        let (batch, elapsed) = held.pop_front().expect("what ends was held");
        if let Some((_, takes)) = held.front() {
            self.ends.push(Reverse((at + *takes, executor)));
        }
        let requests = &self.router.batch(batch).expect("what ends was held").requests;
        let met = requests.iter().map(|request| request.id).filter(|id| {
            let index = usize::try_from(id.0).expect("requests are in memory");
            self.counted.contains(&id.0) && at <= self.asked[index].at + self.slo
        });
        self.in_time += met.count() as u64;
        self.router.handle(Event::BatchFinished { batch, elapsed }, at);
        (at, Step::End { batch, elapsed })
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self.router.poll_action() {
            debug_assert!(!matches!(action, Action::Withdraw { .. }), "runs take what was said");
            let Action::Launch { executor, batch, rows, .. } = action else { continue };
            let takes = self.profile.median(rows);
            (self.batches, self.rows) = (self.batches + 1, self.rows + u64::from(rows));
            let held = &mut self.held[executor.index()];
            held.push_back((batch, takes));
            if held.len() == 1 {
                self.ends.push(Reverse((now + takes, executor)));
            }
        }
    }
}

fn arrivals_in(steps: &[(Instant, Step)]) -> usize {
    steps.iter().filter(|(_, step)| *step == Step::Arrival).count()
}

/// One call and the draining of what it decided, as a server does it; how many batches it launched.
fn call(router: &mut Router, at: Instant, event: Option<Event>) -> u32 {
    let mut launched = 0;
    match event {
        Some(event) => router.handle(event, at),
        None => router.handle_timeout(at),
    }
    while let Some(action) = router.poll_action() {
        if let Action::Launch { batch, .. } = action {
            black_box(router.batch(batch));
            launched += 1;
        }
    }
    black_box(router.poll_timeout());
    launched
}

fn event(step: Step, asked: &mut std::slice::Iter<'_, Asked>, slo: Duration) -> Option<Event> {
    match step {
        Step::Arrival => asked.next().map(|asked| asked.event(slo)),
        Step::End { batch, elapsed } => Some(Event::BatchFinished { batch, elapsed }),
        Step::Timeout => None,
    }
}

fn tell(router: &mut Router, asked: &[Asked], steps: &[(Instant, Step)], slo: Duration) {
    let mut asked = asked.iter();
    for &(at, step) in steps {
        let event = event(step, &mut asked, slo);
        call(router, at, event);
    }
}

/// The CPU time of each call, less that of reading the clock.
fn each(
    stress: &Stress,
    profile: &LatencyProfile,
    asked: &[Asked],
    (steps, counted): (&[(Instant, Step)], Range<usize>),
) -> Result<(Duration, Vec<Calls>), ScenarioError> {
    let mut reading = Latencies::default();
    for _ in 0..1000 {
        let begin = clock::thread_cpu();
        reading.push(clock::thread_cpu() - begin);
    }
    let clock = reading.percentile(0.5);
    let mut calls = ROWS.map(|kind| Calls { kind, times: Latencies::default() });
    let mut router = router(stress, profile)?;
    let mut asked = asked.iter();
    for (index, &(at, step)) in steps.iter().enumerate().take(counted.end) {
        let event = event(step, &mut asked, stress.slo);
        let begin = clock::thread_cpu();
        let launched = call(&mut router, at, event);
        let took = (clock::thread_cpu() - begin).saturating_sub(clock);
        if index >= counted.start {
            let decided = if launched > 0 { 1 } else { 2 };
            for row in [0, decided, 3 + step.kind()] {
                calls[row].times.push(took);
            }
        }
    }
    Ok((clock, calls.to_vec()))
}

#[cfg(test)]
mod tests;
