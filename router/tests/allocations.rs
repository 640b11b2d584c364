//! Deciding allocates nothing once the router has seen its load.
#![cfg(test)]
#![expect(unsafe_code, reason = "a counting allocator, for this test alone")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use models::{BatchId, ExecutorId, Goals, LatencyProfile, Slo, TaskId, VariantId};
use router::{
    Action, Choice, Event, Router, RouterSettings, SELECTIONS, Shape, ShapeId, TaskSpec,
    VariantSpec,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: it hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const EXECUTORS: u32 = 4;
const MODELS: u32 = 3;

struct Drive {
    router: Router,
    ends: BinaryHeap<Reverse<(Instant, BatchId, Duration)>>,
    now: Instant,
    requests: u64,
    profile: LatencyProfile,
    /// All requests ask for it, in place of a model each.
    task: Option<TaskId>,
}

impl Drive {
    fn new(policy: &str) -> Self {
        let mut router = Router::new(RouterSettings::default()).unwrap();
        for executor in (0..EXECUTORS).map(ExecutorId) {
            router.handle(Event::ExecutorUp { executor, preemptible: false }, Instant::ZERO);
        }
        for variant in (0..MODELS).map(VariantId) {
            let spec = Box::new(VariantSpec {
                variant,
                profile: profile(),
                profiled_elements: 1,
                slo: Some(Slo { latency: Duration::from_millis(30) }),
                queue_max: 1000,
                policy: policy.to_owned(),
                settings: PolicySettings { batch_max: 32, ..PolicySettings::default() },
                weight: 1.0,
                executors: (0..EXECUTORS).map(ExecutorId).collect(),
                weights: None,
            });
            router.handle(Event::VariantLoaded { spec }, Instant::ZERO);
        }
        let ends = BinaryHeap::with_capacity(64);
        Self { router, ends, now: Instant::ZERO, requests: 0, profile: profile(), task: None }
    }

    /// The models are variants of one task.
    fn choosing(selection: &str) -> Self {
        let mut drive = Self::new(batcher::ALL[0].name);
        let choice = |variant: VariantId| Choice {
            variant,
            accuracy: (0.9 - 0.1 * f64::from(variant.0)).try_into().unwrap(),
            cost: 1.0.try_into().unwrap(),
        };
        let task = TaskId(0);
        let choices = (0..MODELS).map(VariantId).map(choice).collect();
        let spec = Box::new(TaskSpec { task, policy: selection.to_owned(), choices });
        drive.router.handle(Event::TaskLoaded { spec }, Instant::ZERO);
        drive.task = Some(task);
        drive
    }

    /// A plan is made of what was asked so far, if that policy follows one.
    fn plan(&mut self) {
        if let Some(survey) = self.router.survey(self.now) {
            let mix = survey.plan();
            self.router.handle(Event::MixPlanned { mix }, self.now);
        }
    }

    /// A request for each model in turn every 300 us: more than the executors can do. What is due before comes first.
    fn arrive(&mut self) {
        let at = self.now + Duration::from_micros(300);
        loop {
            let end = self.ends.peek().map(|Reverse((end, ..))| *end);
            let timeout = self.router.poll_timeout().map(|(timeout, _)| timeout);
            let Some(due) = [end, timeout].into_iter().flatten().min().filter(|&due| due <= at)
            else {
                break;
            };
            self.now = due;
            if end == Some(due) {
                let Reverse((_, batch, elapsed)) = self.ends.pop().unwrap();
                self.router.handle(Event::BatchFinished { batch, elapsed }, due);
            } else {
                self.router.handle_timeout(due);
            }
            self.carry_out();
        }
        self.now = at;
        let id = RequestId(self.requests);
        let variant = VariantId(u32::try_from(self.requests % u64::from(MODELS)).unwrap());
        self.requests += 1;
        let deadline = Deadline(at + Duration::from_millis(30));
        let request = Request { id, rows: 1, priority: 1, arrived: at, deadline };
        let shape = Shape { id: ShapeId(0), elements: 1 };
        let event = match self.task {
            None => Event::RequestArrived { request, variant, shape },
            Some(task) => Event::TaskArrived { request, task, goals: Goals::default(), shape },
        };
        self.router.handle(event, at);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.router.poll_action() {
            if let Action::Launch { batch, rows, .. } = action {
                let start = self.router.batch(batch).unwrap().start;
                let elapsed = self.profile.median(rows);
                self.ends.push(Reverse((start.max(self.now) + elapsed, batch, elapsed)));
            }
        }
    }
}

fn profile() -> LatencyProfile {
    LatencyProfile::linear(Duration::from_micros(5204), Duration::from_micros(1082), 32)
}

#[test]
fn after_a_warm_up_no_policy_allocates_for_a_decision() {
    for entry in &batcher::ALL {
        let mut drive = Drive::new(entry.name);
        for _ in 0..60_000 {
            drive.arrive();
        }
        let before = ALLOCATIONS.with(Cell::get);
        for _ in 0..2000 {
            drive.arrive();
        }
        let decided = ALLOCATIONS.with(Cell::get) - before;
        assert_eq!(decided, 0, "{} allocated {decided} times in 2000 arrivals", entry.name);
    }
}

#[test]
fn after_a_warm_up_no_choice_of_a_variant_allocates() {
    for entry in &SELECTIONS {
        let mut drive = Drive::choosing(entry.name);
        for _ in 0..30 {
            (0..2000).for_each(|_| drive.arrive());
            drive.plan();
        }
        let before = ALLOCATIONS.with(Cell::get);
        (0..2000).for_each(|_| drive.arrive());
        let chosen = ALLOCATIONS.with(Cell::get) - before;
        assert_eq!(chosen, 0, "{} allocated {chosen} times in 2000 arrivals", entry.name);
    }
}
