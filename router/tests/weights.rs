//! Weights that the router brings to executors: for a request that nobody could answer in time, and for a placement.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use models::{BatchId, ExecutorId, Goals, LatencyProfile, Slo, TaskId, VariantId};
use router::place::{Fluid, PLACEMENTS, Placement, Problem, Wanted};
use router::{
    Action, Choice, Event, Rejection, Router, RouterSettings, Shape, ShapeId, TaskSpec,
    VariantSpec, Weights,
};

const MS: Duration = Duration::from_millis(1);
/// A run of a row takes so long, and a load.
const RUN: Duration = Duration::from_millis(10);
const LOAD: Duration = Duration::from_millis(5);

struct House {
    router: Router,
    now: Instant,
    requests: u64,
}

/// Models of one byte, in place nowhere, and executors that hold so many.
fn house(models: u32, memory: &[u64], on_demand: bool) -> House {
    let router =
        Router::new(RouterSettings { lead: Duration::ZERO, ..Default::default() }).unwrap();
    let mut house = House { router, now: Instant::ZERO, requests: 0 };
    for (executor, &bytes) in (0..).map(ExecutorId).zip(memory) {
        house.tell(Event::ExecutorUp { executor, preemptible: false });
        house.tell(Event::MemoryStated { executor, bytes, on_demand });
    }
    for model in 0..models {
        house.tell(Event::VariantLoaded { spec: Box::new(spec(model)) });
    }
    house
}

fn spec(model: u32) -> VariantSpec {
    VariantSpec {
        variant: VariantId(model),
        profile: LatencyProfile::linear(Duration::ZERO, RUN, 1),
        profiled_elements: 1,
        slo: Some(Slo { latency: 100 * MS }),
        queue_max: 100,
        policy: "deadline".to_owned(),
        settings: PolicySettings { batch_max: 1, ..PolicySettings::default() },
        weight: 1.0,
        executors: Vec::new(),
        weights: Some(Weights { bytes: 1, load: LOAD }),
    }
}

impl House {
    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.router.handle(event, self.now);
        std::iter::from_fn(|| self.router.poll_action()).collect()
    }

    fn ask(&mut self, model: u32, within: Duration) -> Vec<Action> {
        self.requests += 1;
        let (id, arrived) = (RequestId(self.requests), self.now);
        let deadline = Deadline(self.now + within);
        let request = Request { id, rows: 1, priority: 1, arrived, deadline };
        let shape = Shape { id: ShapeId(0), elements: 1 };
        self.tell(Event::RequestArrived { request, variant: VariantId(model), shape })
    }

    fn loaded(&mut self, executor: u32, model: u32) -> Vec<Action> {
        self.now = self.now + LOAD;
        let (executor, variant) = (ExecutorId(executor), VariantId(model));
        self.tell(Event::WeightsLoaded { executor, variant })
    }

    fn finished(&mut self, batch: u64) -> Vec<Action> {
        self.now = self.now + RUN;
        self.tell(Event::BatchFinished { batch: BatchId(batch), elapsed: RUN })
    }
}

fn load(executor: u32, model: u32) -> Action {
    Action::Load { executor: ExecutorId(executor), variant: VariantId(model) }
}

fn evict(executor: u32, model: u32) -> Action {
    Action::Evict { executor: ExecutorId(executor), variant: VariantId(model) }
}

fn launch(executor: u32, batch: u64, model: u32) -> Action {
    let (executor, variant) = (ExecutorId(executor), VariantId(model));
    Action::Launch { executor, batch: BatchId(batch), variant, rows: 1 }
}

#[test]
fn a_model_that_is_nowhere_is_loaded_and_runs_when_it_is_there() {
    let mut house = house(1, &[1], true);
    assert_eq!(house.ask(0, 100 * MS), [load(0, 0)]);
    // A second one waits for the same load.
    assert_eq!(house.ask(0, 100 * MS), []);
    assert_eq!(house.loaded(0, 0), [launch(0, 0, 0)]);
    assert_eq!(house.finished(0), [launch(0, 1, 0)]);
}

#[test]
fn nothing_is_loaded_for_whom_a_load_comes_too_late() {
    let mut house = house(1, &[1], true);
    let refused = Action::Reply { id: RequestId(1), rejection: Rejection::NoExecutor };
    assert_eq!(house.ask(0, LOAD + RUN - MS), [refused]);
    assert_eq!(house.ask(0, LOAD + RUN), [load(0, 0)]);
}

#[test]
fn a_request_without_deadline_has_its_model_loaded_too() {
    let mut house = house(1, &[1], true);
    house.requests += 1;
    let (id, deadline) = (RequestId(1), Deadline::NONE);
    let request = Request { id, rows: 1, priority: 1, arrived: house.now, deadline };
    let shape = Shape { id: ShapeId(0), elements: 1 };
    let asked = Event::RequestArrived { request, variant: VariantId(0), shape };
    assert_eq!(house.tell(asked), [load(0, 0)]);
    assert_eq!(house.loaded(0, 0), [launch(0, 0, 0)]);
}

#[test]
fn nothing_is_loaded_on_demand_where_that_was_not_asked_for() {
    let mut house = house(1, &[1], false);
    let refused = Action::Reply { id: RequestId(1), rejection: Rejection::NoExecutor };
    assert_eq!(house.ask(0, 100 * MS), [refused]);
}

#[test]
fn the_least_lately_used_makes_room_but_never_weights_in_use() {
    let mut house = house(4, &[2], true);
    assert_eq!(house.ask(0, 100 * MS), [load(0, 0)]);
    assert_eq!(house.loaded(0, 0), [launch(0, 0, 0)]);
    assert_eq!(house.finished(0), []);
    assert_eq!(house.ask(1, 100 * MS), [load(0, 1)]);
    assert_eq!(house.loaded(0, 1), [launch(0, 1, 1)]);
    assert_eq!(house.finished(1), []);
    // Model 0 is the older one, but in use.
    assert_eq!(house.ask(0, 100 * MS), [launch(0, 2, 0)]);
    assert_eq!(house.ask(2, 100 * MS), [evict(0, 1), load(0, 2)]);
    // Neither what runs nor what is on its way can go.
    let refused = Action::Reply { id: RequestId(5), rejection: Rejection::NoExecutor };
    assert_eq!(house.ask(3, 100 * MS), [refused]);
}

#[test]
fn a_queue_that_waits_long_gets_one_more_executor() {
    let mut house = house(1, &[1, 1], true);
    house.ask(0, 100 * MS);
    house.ask(0, 100 * MS);
    house.ask(0, 100 * MS);
    house.ask(0, 100 * MS);
    assert_eq!(house.loaded(0, 0), [launch(0, 0, 0)]);
    house.finished(0);
    house.finished(1);
    // The last has waited for more than a quarter of its time.
    house.now = house.now + MS;
    assert_eq!(house.ask(0, 100 * MS), [load(1, 0)]);
    assert_eq!(house.loaded(1, 0), [launch(1, 3, 0)]);
}

#[test]
fn who_waits_for_weights_is_told_when_their_executor_is_gone_and_late_weights_are_not_heeded() {
    let mut house = house(1, &[1], true);
    house.ask(0, 100 * MS);
    let refused = Action::Reply { id: RequestId(1), rejection: Rejection::NoExecutor };
    assert_eq!(house.tell(Event::ExecutorDown { executor: ExecutorId(0) }), [refused]);
    house.tell(Event::ExecutorUp { executor: ExecutorId(0), preemptible: false });
    assert_eq!(house.loaded(0, 0), []);
    let refused = Action::Reply { id: RequestId(2), rejection: Rejection::NoExecutor };
    assert_eq!(house.ask(0, 100 * MS), [refused]);
}

/// The placement of models with these rates.
fn placement(rates: &[f64], memory: &[u64]) -> Placement {
    let profile = LatencyProfile::linear(Duration::ZERO, RUN, 1);
    let wanted = |&rate: &f64| Wanted {
        memory: 1,
        load: LOAD,
        profile: profile.clone(),
        within: None,
        rate,
    };
    let variants = rates.iter().map(wanted).collect();
    let memory = memory.to_vec();
    let problem = Problem { variants, memory, moves_max: usize::MAX, ..Problem::default() };
    PLACEMENTS[0].solve(&problem, &Placement::default(), &mut Fluid)
}

#[test]
fn a_placement_is_reached_one_load_at_a_time_and_what_runs_ends_first() {
    let mut house = house(3, &[2], false);
    let decided = |rates: &[f64]| Event::PlacementDecided { placement: placement(rates, &[2]) };
    assert_eq!(house.tell(decided(&[1.0, 1.0, 0.0])), [load(0, 0)]);
    assert_eq!(house.loaded(0, 0), [load(0, 1)]);
    assert_eq!(house.ask(0, 100 * MS), [launch(0, 0, 0)]);
    assert_eq!(house.loaded(0, 1), []);
    // Model 0 should make room for 2, but runs.
    assert_eq!(house.tell(decided(&[0.0, 1.0, 1.0])), []);
    assert_eq!(house.finished(0), [evict(0, 0), load(0, 2)]);
    // Who asks for what is coming waits.
    assert_eq!(house.ask(2, 100 * MS), []);
    assert_eq!(house.loaded(0, 2), [launch(0, 1, 2)]);
}

#[test]
fn what_must_go_gets_no_more_batches_so_that_it_goes_under_load_too() {
    let mut house = house(2, &[1, 1], false);
    let decided = |rates: &[f64]| Event::PlacementDecided { placement: placement(rates, &[1, 1]) };
    house.tell(decided(&[1.0, 0.0]));
    house.loaded(0, 0);
    house.loaded(1, 0);
    for _ in 0..4 {
        house.ask(0, Duration::from_secs(9));
    }
    // One executor is to change over; both run, and requests wait.
    assert_eq!(house.tell(decided(&[1.0, 1.0])), []);
    let changes = house.finished(0);
    assert!(changes[0] == launch(0, 2, 0) || changes == [evict(0, 0), load(0, 1)], "{changes:?}");
    let ended = house.finished(1);
    let moved = changes.iter().chain(&ended).any(|action| matches!(action, Action::Load { .. }));
    assert!(moved, "{changes:?} {ended:?}");
}

#[test]
fn what_was_loaded_on_demand_stays_until_the_next_placement() {
    let mut house = house(2, &[1], true);
    let decided = |rates: &[f64]| Event::PlacementDecided { placement: placement(rates, &[1]) };
    assert_eq!(house.tell(decided(&[1.0, 0.0])), [load(0, 0)]);
    assert_eq!(house.loaded(0, 0), []);
    assert_eq!(house.ask(1, 100 * MS), [evict(0, 0), load(0, 1)]);
    assert_eq!(house.loaded(0, 1), [launch(0, 0, 1)]);
    assert_eq!(house.finished(0), []);
    assert_eq!(house.tell(decided(&[1.0, 0.0])), [evict(0, 1), load(0, 0)]);
}

#[test]
fn who_waits_for_weights_that_a_placement_takes_away_for_good_is_told() {
    let mut house = house(2, &[1], false);
    let decided = |rates: &[f64]| Event::PlacementDecided { placement: placement(rates, &[1]) };
    house.tell(decided(&[1.0, 0.0]));
    house.loaded(0, 0);
    assert_eq!(house.ask(0, Duration::from_secs(9)), [launch(0, 0, 0)]);
    house.ask(0, Duration::from_secs(9));
    let refused = Action::Reply { id: RequestId(2), rejection: Rejection::NoExecutor };
    assert_eq!(house.tell(decided(&[0.0, 1.0])), [refused]);
    assert_eq!(house.finished(0), [evict(0, 0), load(0, 1)]);
    assert_eq!(house.loaded(0, 1), []);
}

#[test]
fn whoever_asks_for_what_is_nowhere_and_will_not_come_is_told_under_any_admission() {
    for entry in router::ADMISSIONS {
        let settings = RouterSettings { admission: entry.name.to_owned(), ..Default::default() };
        let router = Router::new(settings).unwrap();
        let mut house = House { router, now: Instant::ZERO, requests: 0 };
        house.tell(Event::VariantLoaded { spec: Box::new(spec(0)) });
        let refused = Action::Reply { id: RequestId(1), rejection: Rejection::NoExecutor };
        assert_eq!(house.ask(0, Duration::from_secs(9)), [refused], "{}", entry.name);
    }
}

fn failed(house: &mut House, executor: u32, model: u32) -> Vec<Action> {
    house.now = house.now + LOAD;
    let (executor, variant) = (ExecutorId(executor), VariantId(model));
    house.tell(Event::WeightsFailed { executor, variant })
}

#[test]
fn who_waits_for_weights_that_fail_is_told_why_and_nobody_else_notices() {
    let mut house = house(2, &[2], true);
    assert_eq!(house.ask(1, 100 * MS), [load(0, 1)]);
    assert_eq!(house.loaded(0, 1), [launch(0, 0, 1)]);
    assert_eq!(house.ask(0, 100 * MS), [load(0, 0)]);
    assert_eq!(house.ask(1, 100 * MS), []);
    let told = |id| Action::Reply { id: RequestId(id), rejection: Rejection::LoadFailed };
    assert_eq!(failed(&mut house, 0, 0), [told(2)]);
    assert_eq!(house.finished(0), [launch(0, 1, 1)]);
    assert_eq!(house.router.tally().loads_failed, 1);
}

#[test]
fn a_failed_load_is_tried_again_after_a_second_then_after_two_and_not_in_between() {
    let mut house = house(1, &[1], true);
    let told = |id| Action::Reply { id: RequestId(id), rejection: Rejection::LoadFailed };
    assert_eq!(house.ask(0, 100 * MS), [load(0, 0)]);
    failed(&mut house, 0, 0);
    for (pause, request) in [(1000, 2), (2000, 4), (4000, 6)] {
        house.now = house.now + pause * MS - MS;
        assert_eq!(house.ask(0, 100 * MS), [told(request)]);
        house.now = house.now + MS;
        assert_eq!(house.ask(0, 100 * MS), [load(0, 0)]);
        assert_eq!(failed(&mut house, 0, 0), [told(request + 1)]);
    }
    // A load that succeeds ends the series.
    house.now = house.now + 8000 * MS;
    assert_eq!(house.ask(0, 100 * MS), [load(0, 0)]);
    assert_eq!(house.loaded(0, 0).len(), 1);
}

#[test]
fn a_failed_load_frees_its_room_for_what_else_the_placement_wants() {
    let mut house = house(3, &[2], false);
    let decided = Event::PlacementDecided { placement: placement(&[1.0, 1.0, 0.0], &[2]) };
    assert_eq!(house.tell(decided.clone()), [load(0, 0)]);
    assert_eq!(failed(&mut house, 0, 0), [load(0, 1)]);
    assert_eq!(house.router.memory(ExecutorId(0)), Some((1, 2)));
    assert_eq!(house.loaded(0, 1), []);
    // The next epoch tries again, once the pause is over.
    assert_eq!(house.tell(decided.clone()), []);
    house.now = house.now + 1000 * MS;
    assert_eq!(house.tell(decided), [load(0, 0)]);
}

/// The task of all models, of which each is less accurate than the one before.
fn with_task(mut house: House, models: u32) -> House {
    let choice = |model: u32| Choice {
        variant: VariantId(model),
        accuracy: (0.9 - 0.1 * f64::from(model)).try_into().unwrap(),
        cost: 1.0.try_into().unwrap(),
    };
    let policy = router::SELECTIONS[0].name.to_owned();
    let spec = TaskSpec { task: TaskId(0), policy, choices: (0..models).map(choice).collect() };
    house.tell(Event::TaskLoaded { spec: Box::new(spec) });
    house
}

fn ask_task(house: &mut House, within: Duration, goals: Goals) -> Vec<Action> {
    house.requests += 1;
    let (id, arrived) = (RequestId(house.requests), house.now);
    let request =
        Request { id, rows: 1, priority: 1, arrived, deadline: Deadline(arrived + within) };
    let shape = Shape { id: ShapeId(0), elements: 1 };
    house.tell(Event::TaskArrived { request, task: TaskId(0), goals, shape })
}

fn chosen(actions: &[Action]) -> Option<u32> {
    let chosen = |action: &Action| match action {
        Action::Choose { variant, .. } => Some(variant.0),
        Action::Launch { .. }
        | Action::Withdraw { .. }
        | Action::Abort { .. }
        | Action::Reply { .. }
        | Action::Load { .. }
        | Action::Evict { .. }
        | Action::Unload { .. } => None,
    };
    actions.iter().find_map(chosen)
}

#[test]
fn a_task_of_which_nothing_is_in_place_has_its_best_variant_loaded_and_then_whoever_is_there_answers()
 {
    let mut house = with_task(house(2, &[2], true), 2);
    let first = ask_task(&mut house, 100 * MS, Goals::default());
    assert_eq!((chosen(&first), first[0].clone()), (Some(0), load(0, 0)));
    assert_eq!(house.loaded(0, 0), [launch(0, 0, 0)]);
    // The other one is nowhere, and not needed.
    assert_eq!(chosen(&ask_task(&mut house, 100 * MS, Goals::default())), Some(0));
    house.finished(0);
    house.finished(1);
    let costly = Goals { min_accuracy: 0.85.try_into().ok(), ..Goals::default() };
    assert_eq!(chosen(&ask_task(&mut house, 100 * MS, costly)), Some(0));
}

#[test]
fn a_task_whose_weights_fail_is_told_so() {
    let mut house = with_task(house(1, &[2], true), 1);
    ask_task(&mut house, 100 * MS, Goals::default());
    let told = |id| Action::Reply { id: RequestId(id), rejection: Rejection::LoadFailed };
    assert_eq!(failed(&mut house, 0, 0), [told(1)]);
    assert_eq!(ask_task(&mut house, 100 * MS, Goals::default()), [told(2)]);
}

#[test]
fn demand_counts_who_would_answer_if_all_were_there_and_idle() {
    let mut house = with_task(house(2, &[1], false), 2);
    let spec = VariantSpec { executors: vec![ExecutorId(0)], ..spec(1) };
    house.tell(Event::VariantLoaded { spec: Box::new(spec) });
    for _ in 0..3 {
        assert_eq!(chosen(&ask_task(&mut house, 100 * MS, Goals::default())), Some(1));
    }
    house.ask(0, 100 * MS);
    let demand = house.router.demand();
    let rows: Vec<_> = demand.tasks[0].members.iter().map(|member| member.rows).collect();
    assert_eq!(rows, [3, 0]);
    assert_eq!(demand.tasks[0].deadlines, (3, 300 * MS));
    let asked: Vec<_> = demand.variants.iter().map(|variant| variant.rows).collect();
    assert_eq!(asked, [1, 0]);
}
