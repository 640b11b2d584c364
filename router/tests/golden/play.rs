//! Plays a script to a router in virtual time, with executors that take exactly as long as their profile says, and
//! writes down what was decided. It stops at whatever must never happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use models::{BatchId, ExecutorId, LatencyProfile, Slo, VariantId};
use router::{Action, Event, Reason, Router, RouterSettings, Shape, ShapeId, VariantSpec};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// More timeouts at one script's step mean that the router turns in a circle.
const TIMEOUTS_MAX: u32 = 10_000;

/// What a script asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) model: u32,
    pub(crate) rows: u32,
    pub(crate) priority: u32,
    pub(crate) shape: u32,
    /// From arrival.
    pub(crate) within: Option<Duration>,
}

/// A request of one row for `model`, wanted within so long.
pub(crate) fn ask(model: u32, within: Duration) -> Ask {
    Ask { model, rows: 1, priority: 1, shape: 1, within: Some(within) }
}

/// A model that takes `fixed + per_item * b`, in batches of at most 8.
pub(crate) fn model(
    id: u32,
    fixed: Duration,
    per_item: Duration,
    slo: Option<Duration>,
) -> VariantSpec {
    VariantSpec {
        variant: VariantId(id),
        profile: LatencyProfile::linear(fixed, per_item, 8),
        profiled_elements: 100,
        slo: slo.map(|latency| Slo { latency }),
        queue_max: 16,
        policy: batcher::ALL[0].name.to_owned(),
        settings: PolicySettings { batch_max: 8, ..PolicySettings::default() },
        weight: 1.0,
        executors: Vec::new(),
        weights: None,
    }
}

#[derive(Debug, Default)]
struct Held {
    /// The batch that runs is in front, and ends then.
    batches: VecDeque<BatchId>,
    ends: Option<Instant>,
    down: bool,
    preemptible: bool,
}

/// A router, its executors, and the log.
pub(crate) struct Play {
    router: Router,
    pub(crate) now: Instant,
    pub(crate) log: String,
    specs: Vec<VariantSpec>,
    executors: Vec<Held>,
    takes: BTreeMap<BatchId, (Duration, Vec<RequestId>)>,
    /// Requests that have not ended, and whether they run.
    open: BTreeMap<RequestId, (VariantId, ShapeId, bool)>,
    request_next: u64,
    retired: BTreeSet<VariantId>,
    /// How long the next runs take over their profile.
    pub(crate) slowness: f64,
}

impl Play {
    /// Executors with those models, each on the executors that its spec names (all, if none).
    pub(crate) fn new(executors: u32, specs: Vec<VariantSpec>) -> Self {
        Self::with(RouterSettings::default(), (executors, false), specs)
    }

    /// The same with other settings, and executors that can break off a run or not.
    pub(crate) fn with(
        settings: RouterSettings,
        (executors, preemptible): (u32, bool),
        specs: Vec<VariantSpec>,
    ) -> Self {
        let held = || Held { preemptible, ..Held::default() };
        let mut play = Self {
            router: Router::new(settings).unwrap(),
            now: Instant::ZERO,
            log: String::new(),
            specs: Vec::new(),
            executors: (0..executors).map(|_| held()).collect(),
            takes: BTreeMap::new(),
            open: BTreeMap::new(),
            request_next: 0,
            retired: BTreeSet::new(),
            slowness: 1.0,
        };
        let all: Vec<_> = (0..executors).map(ExecutorId).collect();
        for &executor in &all {
            play.feed(Event::ExecutorUp { executor, preemptible });
        }
        for mut spec in specs {
            if spec.executors.is_empty() {
                spec.executors.clone_from(&all);
            }
            play.specs.push(spec.clone());
            play.feed(Event::VariantLoaded { spec: Box::new(spec) });
        }
        play
    }

    /// A request arrives.
    pub(crate) fn arrive(&mut self, ask: Ask) -> RequestId {
        let id = RequestId(self.request_next);
        self.request_next += 1;
        let deadline = ask.within.map_or(Deadline::NONE, |within| Deadline(self.now + within));
        let wanted =
            ask.within.map_or("any time".to_owned(), |_| format!("by {}", time(deadline.0)));
        self.note(&format!("request {} asks model {}, {wanted}", id.0, ask.model));
        let (variant, shape) = (VariantId(ask.model), ShapeId(ask.shape));
        self.open.insert(id, (variant, shape, false));
        let Ask { rows, priority, .. } = ask;
        let request = Request { id, rows, priority, arrived: self.now, deadline };
        let shape = Shape { id: shape, elements: 100 * u64::from(ask.shape) };
        self.feed(Event::RequestArrived { request, variant, shape });
        id
    }

    /// The client of a request leaves; its end, if it waits.
    pub(crate) fn cancel(&mut self, id: RequestId) {
        let Some(&(variant, shape, running)) = self.open.get(&id) else { return };
        self.note(&format!("the client of request {} leaves", id.0));
        if !running {
            self.open.remove(&id);
        }
        self.feed(Event::RequestCancelled { id, variant, shape });
    }

    /// Lets time pass: batches end and the router's timeouts come.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.until(self.now + time);
    }

    /// Lets time pass until nothing will happen any more.
    pub(crate) fn finish(&mut self) {
        self.until(Instant::NEVER);
    }

    fn until(&mut self, until: Instant) {
        for _ in 0..TIMEOUTS_MAX {
            let end = (0_u32..).zip(&self.executors);
            let end = end.filter_map(|(id, held)| Some((held.ends?, id))).min();
            let timeout = self.router.poll_timeout();
            let first = end.map(|(at, _)| at).into_iter().chain(timeout.map(|(at, _)| at)).min();
            let Some(at) = first.filter(|&at| at <= until) else {
                self.now = if until == Instant::NEVER { self.now } else { until };
                return;
            };
            self.now = at;
            match (end, timeout) {
                (Some((ends, executor)), _) if ends == at => self.end(ExecutorId(executor), false),
                (_, Some((_, reason))) => {
                    let why = match reason {
                        Reason::Hopeless => "a request becomes hopeless",
                        Reason::Straggler => "a run straggles",
                        Reason::Window => "a launch window opens",
                        Reason::Lead => "an executor takes the next batch",
                    };
                    self.note(&format!("timeout: {why}"));
                    self.router.handle_timeout(at);
                    self.carry_out();
                }
                (_, None) => unreachable!("the first of the two is there"),
            }
        }
        panic!("the router wants to be called again and again");
    }

    /// The batch that runs there ends, or fails.
    pub(crate) fn end(&mut self, executor: ExecutorId, fails: bool) {
        let Some(batch) = self.executors[executor.index()].batches.pop_front() else { return };
        let (elapsed, requests) = self.takes.remove(&batch).unwrap();
        self.note(&format!("batch {} {}", batch.0, if fails { "fails" } else { "ends" }));
        requests.iter().for_each(|id| self.ended(*id));
        self.executors[executor.index()].ends = None;
        self.feed(if fails {
            Event::BatchFailed { batch }
        } else {
            Event::BatchFinished { batch, elapsed }
        });
        // The router may have withdrawn the batch behind it.
        self.start(executor);
    }

    /// An executor is gone with what it held, or comes back with its models.
    pub(crate) fn switch(&mut self, executor: ExecutorId) {
        let held = &mut self.executors[executor.index()];
        held.down = !held.down;
        held.ends = None;
        if held.down {
            let lost = std::mem::take(&mut held.batches);
            lost.iter().for_each(|batch| drop(self.takes.remove(batch)));
            return self.feed(Event::ExecutorDown { executor });
        }
        let preemptible = self.executors[executor.index()].preemptible;
        self.feed(Event::ExecutorUp { executor, preemptible });
        let there = |spec: &&VariantSpec| {
            spec.executors.contains(&executor) && !self.retired.contains(&spec.variant)
        };
        let there = self.specs.iter().filter(there);
        for spec in there.cloned().collect::<Vec<_>>() {
            self.feed(Event::VariantLoaded { spec: Box::new(spec) });
        }
    }

    /// A model takes no new requests, and does not come back with an executor.
    pub(crate) fn retire(&mut self, variant: VariantId) {
        self.retired.insert(variant);
        self.feed(Event::VariantRetired { variant });
    }

    pub(crate) fn feed(&mut self, event: Event) {
        self.router.handle(event, self.now);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.router.poll_action() {
            match action {
                Action::Launch { executor, batch, variant, rows } => {
                    let requests = &self.router.batch(batch).unwrap().requests;
                    let requests: Vec<_> = requests.iter().map(|request| request.id).collect();
                    let names: Vec<_> = requests.iter().map(|id| id.0.to_string()).collect();
                    let (on, names) = (executor.0, names.join(" "));
                    self.note(&format!("  -> batch {} on executor {on}: {names}", batch.0));
                    self.launch(executor, batch, requests, self.time(variant, rows));
                }
                Action::Withdraw { executor, batch } => {
                    self.note(&format!("  -> batch {} is withdrawn", batch.0));
                    self.withdraw(executor, batch);
                }
                Action::Abort { executor, batch } => {
                    self.note(&format!("  -> batch {} is broken off", batch.0));
                    self.abort(executor, batch);
                }
                Action::Choose { id, variant, predicted, .. } => {
                    let (id, model) = (id.0, variant.0);
                    self.note(&format!("  -> request {id} is for model {model}, in {predicted:?}"));
                }
                Action::Reply { id, rejection } => {
                    self.note(&format!("  -> request {} is refused: {rejection:?}", id.0));
                    self.ended(id);
                }
                Action::Load { executor, variant } => {
                    let (on, model) = (executor.0, variant.0);
                    self.note(&format!("  -> executor {on} loads model {model}"));
                }
                Action::Evict { executor, variant } => {
                    let (on, model) = (executor.0, variant.0);
                    self.note(&format!("  -> executor {on} lets model {model} go"));
                }
                Action::Unload { variant } => {
                    self.note(&format!("  -> model {} is unloaded", variant.0));
                }
            }
        }
        if let Some((at, reason)) = self.router.poll_timeout() {
            assert!(at > self.now, "a timeout at {at:?} for {reason:?}, but it is {:?}", self.now);
        }
    }

    fn time(&self, variant: VariantId, rows: u32) -> Duration {
        let spec = self.specs.iter().find(|spec| spec.variant == variant).unwrap();
        spec.profile.median(rows).mul_f64(self.slowness)
    }

    fn launch(
        &mut self,
        executor: ExecutorId,
        id: BatchId,
        requests: Vec<RequestId>,
        time: Duration,
    ) {
        for request in &requests {
            let (.., running) = self.open.get_mut(request).expect("only open requests run");
            assert!(!std::mem::replace(running, true), "{request:?} runs twice");
        }
        self.takes.insert(id, (time, requests));
        let held = &mut self.executors[executor.index()];
        assert!(!held.down, "{id:?} was launched on an executor that is down");
        held.batches.push_back(id);
        match held.batches.len() {
            1 => self.start(executor),
            2 => {}
            more => panic!("{executor:?} holds {more} batches"),
        }
    }

    /// The first batch there starts, if none runs.
    fn start(&mut self, executor: ExecutorId) {
        let held = &mut self.executors[executor.index()];
        let (None, Some(id)) = (held.ends, held.batches.front()) else { return };
        held.ends = Some(self.now + self.takes[id].0);
        let batch = self.router.batch(*id).unwrap();
        assert!(self.now <= batch.hopeless, "{id:?} runs only to be late:\n{}", self.log);
    }

    /// A batch that has not started goes; its requests wait again.
    fn withdraw(&mut self, executor: ExecutorId, id: BatchId) {
        let held = &mut self.executors[executor.index()];
        let place = held.batches.iter().position(|&batch| batch == id);
        assert!(place.is_some_and(|place| place > 0 || held.ends.is_none()), "{id:?} runs");
        held.batches.retain(|&batch| batch != id);
        self.wait_again(id);
    }

    /// A batch that runs goes; its requests wait again.
    fn abort(&mut self, executor: ExecutorId, id: BatchId) {
        let held = &mut self.executors[executor.index()];
        assert!(held.preemptible && held.ends.is_some(), "{executor:?} breaks nothing off");
        assert_eq!(held.batches.pop_front(), Some(id));
        held.ends = None;
        self.wait_again(id);
    }

    fn wait_again(&mut self, id: BatchId) {
        let (_, requests) = self.takes.remove(&id).unwrap();
        for request in requests {
            self.open.get_mut(&request).expect("only open requests are held").2 = false;
        }
    }

    fn ended(&mut self, id: RequestId) {
        assert!(self.open.remove(&id).is_some(), "{id:?} ends twice");
    }

    /// After [`Self::finish`]: every request has ended, and the router counted each once.
    pub(crate) fn assert_all_ended(&self) {
        assert!(self.open.is_empty(), "never ended: {:?}\n{}", self.open, self.log);
        let tally = self.router.tally();
        let ended = tally.refused_total() + tally.cancelled + tally.finished + tally.failed;
        assert_eq!((tally.arrived, ended), (self.request_next, self.request_next));
        assert!(self.router.idle());
    }

    /// Requests that were answered after their deadline.
    pub(crate) fn late(&self) -> u64 {
        self.router.tally().late
    }

    /// Runs that were broken off.
    pub(crate) fn aborted(&self) -> u64 {
        self.router.tally().aborted
    }

    /// Requests that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.router.tally().refused_total()
    }

    fn note(&mut self, text: &str) {
        writeln!(self.log, "{:>8} {text}", time(self.now)).unwrap();
    }
}

fn time(at: Instant) -> String {
    format!("{:.3}", at.since(Instant::ZERO).as_secs_f64() * 1e3)
}
