//! A request that names a task is answered by the best variant that can, and refused only when none can.
#![cfg(test)]

use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use models::{ExecutorId, Goals, LatencyProfile, Objective, TaskId, VariantId};
use router::{
    Action, Because, Choice, Event, Rejection, Router, RouterSettings, Shape, ShapeId, TaskSpec,
};
use router::{SELECTIONS, VariantSpec};

const MS: Duration = Duration::from_millis(1);
const TASK: TaskId = TaskId(0);

struct World {
    router: Router,
    now: Instant,
    next: u64,
}

/// Variants of 20, 10 and 1 ms, in that order less accurate and cheaper, on one executor.
fn world(policy: &str) -> World {
    let mut router = Router::new(RouterSettings::default()).unwrap();
    let now = Instant::ZERO;
    router.handle(Event::ExecutorUp { executor: ExecutorId(0), preemptible: false }, now);
    for (id, time) in [(0, 20), (1, 10), (2, 1)] {
        let spec = Box::new(VariantSpec {
            variant: VariantId(id),
            profile: LatencyProfile::linear(Duration::ZERO, time * MS, 1),
            profiled_elements: 1,
            slo: None,
            queue_max: 1000,
            policy: batcher::ALL[0].name.to_owned(),
            settings: PolicySettings { batch_max: 1, ..PolicySettings::default() },
            weight: 1.0,
            executors: vec![ExecutorId(0)],
            weights: None,
        });
        router.handle(Event::VariantLoaded { spec }, now);
    }
    let choice = |id: u32, accuracy: f64, cost: f64| Choice {
        variant: VariantId(id),
        accuracy: accuracy.try_into().unwrap(),
        cost: cost.try_into().unwrap(),
    };
    let choices = vec![choice(2, 0.8, 1.0), choice(0, 0.99, 20.0), choice(1, 0.9, 10.0)];
    let spec = TaskSpec { task: TASK, policy: policy.to_owned(), choices };
    router.handle(Event::TaskLoaded { spec: Box::new(spec) }, now);
    World { router, now, next: 0 }
}

impl World {
    /// The variant that a request of that deadline gets, or why none.
    fn ask(&mut self, within_ms: u32, goals: Goals) -> Result<u32, Rejection> {
        self.ask_why(within_ms, goals).map(|(variant, _)| variant)
    }

    /// The same, and why that one.
    fn ask_why(&mut self, within_ms: u32, goals: Goals) -> Result<(u32, Because), Rejection> {
        let id = RequestId(self.next);
        self.next += 1;
        let deadline = Deadline(self.now + within_ms * MS);
        let request = Request { id, rows: 1, priority: 1, arrived: self.now, deadline };
        let shape = Shape { id: ShapeId(0), elements: 1 };
        self.router.handle(Event::TaskArrived { request, task: TASK, goals, shape }, self.now);
        let mut found = None;
        while let Some(action) = self.router.poll_action() {
            match action {
                Action::Choose { id: other, variant, because, .. } if other == id => {
                    found = Some(Ok((variant.0, because.unwrap())));
                }
                Action::Reply { id: other, rejection } if other == id => {
                    found = Some(Err(rejection));
                }
                Action::Choose { .. }
                | Action::Reply { .. }
                | Action::Launch { .. }
                | Action::Withdraw { .. }
                | Action::Abort { .. }
                | Action::Load { .. }
                | Action::Evict { .. }
                | Action::Unload { .. } => {}
            }
        }
        found.expect("a request of a task is told its variant or its refusal at once")
    }
}

fn goals(min_accuracy: f64, max_cost: f64, objective: Option<Objective>) -> Goals {
    let min_accuracy = Some(min_accuracy.try_into().unwrap());
    let max_cost = max_cost.try_into().ok();
    Goals { min_accuracy, max_cost, objective, ..Goals::default() }
}

#[test]
fn the_variant_steps_down_with_the_queue() {
    let mut world = world("most_accurate_in_time");
    let chosen: Vec<_> = (0..40).map(|_| world.ask(32, Goals::default()).unwrap()).collect();
    assert_eq!((chosen[0], chosen[39]), (0, 2), "{chosen:?}");
    assert!(chosen.is_sorted(), "{chosen:?}");
}

#[test]
fn goals_are_met_or_refused_with_what_comes_nearest() {
    let mut world = world("most_accurate_in_time");
    assert_eq!(world.ask(100, goals(0.85, 15.0, None)), Ok(1));
    assert_eq!(world.ask(100, goals(0.0, 99.0, Some(Objective::Latency))), Ok(2));
    assert_eq!(world.ask(100, goals(0.85, 99.0, Some(Objective::Cost))), Ok(1));
    let nearest = |id| Err(Rejection::GoalsImpossible { nearest: VariantId(id) });
    assert_eq!(world.ask(100, goals(0.995, 15.0, None)), nearest(1));
    assert_eq!(world.ask(100, goals(0.85, 0.5, None)), nearest(1));
    assert_eq!(world.ask(100, goals(0.995, 99.0, None)), nearest(0));
    let late = world.ask(5, goals(0.85, 99.0, None));
    let by = |soonest| match late {
        Err(Rejection::DeadlineUnreachable { soonest: Some(by), .. }) => by == soonest,
        Ok(_) | Err(_) => false,
    };
    assert!(by(VariantId(1)), "the sooner of the two that are accurate enough: {late:?}");
}

#[test]
fn every_choice_says_why() {
    let mut calm = world("most_accurate_in_time");
    assert_eq!(calm.ask_why(100, Goals::default()), Ok((0, Because::MostAccurate)));
    assert_eq!(calm.ask_why(31, Goals::default()).unwrap().1, Because::SteppedDown);
    let latency = goals(0.0, 99.0, Some(Objective::Latency));
    assert_eq!(calm.ask_why(100, latency), Ok((2, Because::Soonest)));
    let cost = goals(0.85, 99.0, Some(Objective::Cost));
    assert_eq!(calm.ask_why(100, cost), Ok((1, Because::Cheapest)));
    assert_eq!(calm.ask_why(1000, goals(0.95, 99.0, None)), Ok((0, Because::Only)));
    for (policy, because) in [
        ("fixed", Because::Listed),
        ("expected_accuracy", Because::Expected),
        ("exp3", Because::Drawn),
        // There is no plan yet.
        ("planned", Because::MostAccurate),
    ] {
        assert_eq!(world(policy).ask_why(100, Goals::default()).unwrap().1, because, "{policy}");
    }
}

#[test]
fn who_answers_in_place_of_one_whose_door_is_shut_says_so() {
    let mut world = world("most_accurate_in_time");
    let late = u32::MAX / 2;
    let entered = (0..1100).filter(|_| world.ask(late, goals(0.95, 99.0, None)).is_ok()).count();
    assert!(entered < 1100, "the queue is full");
    assert_eq!(world.ask_why(late, Goals::default()), Ok((2, Because::Instead)));
}

#[test]
fn a_retired_variant_is_not_chosen_and_a_retired_task_not_served() {
    let mut world = world("most_accurate_in_time");
    world.router.handle(Event::VariantRetired { variant: VariantId(0) }, world.now);
    assert_eq!(world.ask(100, Goals::default()), Ok(1));
    world.router.handle(Event::TaskRetired { task: TASK }, world.now);
    assert_eq!(world.ask(100, Goals::default()), Err(Rejection::NotServed));
}

#[test]
fn under_every_policy_each_request_is_accounted_for_once() {
    for entry in &SELECTIONS {
        let mut world = world(entry.name);
        let chosen: Vec<_> = (0..100).map(|_| world.ask(50, Goals::default())).collect();
        let tally = world.router.tally();
        let refused = chosen.iter().filter(|chosen| chosen.is_err()).count() as u64;
        assert_eq!((tally.arrived, tally.refused_total()), (100, refused), "{}", entry.name);
        assert!(refused < 100, "{}", entry.name);
    }
}
