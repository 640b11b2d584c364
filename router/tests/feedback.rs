//! What clients report of answers moves the choice of variants, and costs little until it has.
#![cfg(test)]

use std::time::Duration;

use batcher::{Deadline, Instant, PolicySettings, Request, RequestId};
use models::{ExecutorId, Goals, LatencyProfile, Share, TaskId, VariantId};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use router::{Action, Choice, Draw, Event, Router, RouterSettings, Shape, ShapeId, TaskSpec};
use router::{Line, VariantSpec};

const MS: Duration = Duration::from_millis(1);

/// One executor with as many variants of 1 ms each, in virtual time.
struct World {
    router: Router,
    task: TaskId,
    now: Instant,
    next: u64,
    lines: Vec<Line>,
}

impl World {
    fn new(policy: &str, variants: u32, task: TaskId) -> Self {
        let router = Router::new(RouterSettings::default()).unwrap();
        let mut world = Self { router, task, now: Instant::ZERO, next: 0, lines: Vec::new() };
        world.happens(Event::ExecutorUp { executor: ExecutorId(0), preemptible: false });
        (0..variants).for_each(|id| world.load(id));
        world.serve(policy, variants);
        world
    }

    fn load(&mut self, id: u32) {
        let spec = Box::new(VariantSpec {
            variant: VariantId(id),
            profile: LatencyProfile::linear(Duration::ZERO, MS, 1),
            profiled_elements: 1,
            slo: None,
            queue_max: 10,
            policy: batcher::ALL[0].name.to_owned(),
            settings: PolicySettings { batch_max: 1, ..PolicySettings::default() },
            weight: 1.0,
            executors: vec![ExecutorId(0)],
            weights: None,
        });
        self.happens(Event::VariantLoaded { spec });
    }

    fn serve(&mut self, policy: &str, variants: u32) {
        let choice = |id| Choice {
            variant: VariantId(id),
            accuracy: 0.5.try_into().unwrap(),
            cost: 1.0.try_into().unwrap(),
        };
        let choices = (0..variants).map(choice).collect();
        let spec = Box::new(TaskSpec { task: self.task, policy: policy.to_owned(), choices });
        self.happens(Event::TaskLoaded { spec });
    }

    fn happens(&mut self, event: Event) -> Vec<Action> {
        self.lines.push(Line::Event(self.now, event.clone()));
        self.router.handle(event, self.now);
        let actions: Vec<_> = std::iter::from_fn(|| self.router.poll_action()).collect();
        self.lines.extend(actions.iter().cloned().map(Line::Action));
        actions
    }

    /// Asks, runs the batch, and says who answered.
    fn ask(&mut self) -> (VariantId, Option<Draw>) {
        let id = RequestId(self.next);
        self.next += 1;
        let deadline = Deadline(self.now + 100 * MS);
        let request = Request { id, rows: 1, priority: 1, arrived: self.now, deadline };
        let shape = Shape { id: ShapeId(0), elements: 1 };
        let (task, goals) = (self.task, Goals::default());
        let actions = self.happens(Event::TaskArrived { request, task, goals, shape });
        let mut chosen = None;
        self.now = self.now + MS;
        for action in actions {
            if let Action::Choose { variant, draw, .. } = action {
                chosen = Some((variant, draw));
            } else if let Action::Launch { batch, .. } = action {
                self.happens(Event::BatchFinished { batch, elapsed: MS });
            }
        }
        chosen.expect("an idle executor answers at once")
    }

    fn tell(&mut self, (variant, draw): (VariantId, Option<Draw>), loss: f64) {
        let loss = Share::try_from(loss).unwrap();
        self.happens(Event::Feedback { task: self.task, variant, draw, loss });
    }
}

const FEEDBACKS: usize = 10_000;

/// Losses of the answers beside those of the best variant in hindsight, as a part of all, when the first of variants
/// that are wrong so often becomes wrong as often as `then` half-way.
fn regret(wrong: &[f64], then: f64, seed: u64) -> f64 {
    let count = u32::try_from(wrong.len()).unwrap();
    let mut world = World::new("exp3", count, TaskId(u32::try_from(seed).unwrap()));
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (mut own, mut fixed) = (0.0, vec![0.0; wrong.len()]);
    for round in 0..FEEDBACKS {
        let wrong_now =
            |arm: usize| if arm == 0 && round >= FEEDBACKS / 2 { then } else { wrong[arm] };
        let mut loss = |arm| f64::from(random.next_u32()) / 2_f64.powi(32) < wrong_now(arm);
        let losses: Vec<f64> = (0..wrong.len()).map(|arm| f64::from(u8::from(loss(arm)))).collect();
        let chosen = world.ask();
        let loss = losses[chosen.0.index()];
        own += loss;
        fixed.iter_mut().zip(&losses).for_each(|(sum, loss)| *sum += loss);
        world.tell(chosen, loss);
        world.lines.clear();
    }
    let best = fixed.into_iter().fold(f64::INFINITY, f64::min);
    (own - best) / FEEDBACKS as f64
}

#[test]
fn with_one_variant_degraded_half_way_the_regret_is_at_most_2_of_100_feedbacks() {
    let cases: [(&[f64], f64); 4] = [
        (&[0.05, 0.15, 0.25, 0.35, 0.5], 0.8),
        (&[0.05, 0.15, 0.25, 0.35, 0.5], 0.05),
        (&[0.0167, 0.0223, 0.0301, 0.0379, 0.0624, 0.0835], 0.5),
        (&[0.1, 0.2], 0.6),
    ];
    for (wrong, then) in cases {
        for seed in 0..10 {
            let regret = regret(wrong, then, seed);
            assert!(regret <= 0.02, "{wrong:?}, then {then}, seed {seed}: {regret}");
        }
    }
}

#[test]
fn feedback_of_a_recording_replays_to_the_same_draws() {
    let mut world = World::new("exp3", 4, TaskId(0));
    for round in 0..200_u32 {
        let chosen = world.ask();
        world.tell(chosen, f64::from(round % 3) / 2.0);
    }
    let mut again = World::new("exp3", 4, TaskId(0));
    let recorded = std::mem::take(&mut world.lines);
    for line in recorded.iter().skip(again.lines.len()) {
        let text = serde_json::to_string(line).unwrap();
        let Line::Event(at, event) = serde_json::from_str(&text).unwrap() else { continue };
        again.now = at;
        again.happens(event);
    }
    let draws = |lines: &[Line]| -> Vec<_> {
        let choice = |line: &Line| match line {
            Line::Action(Action::Choose { variant, draw, .. }) => Some((*variant, *draw)),
            Line::Settings(_) | Line::Event(..) | Line::Timeout(_) | Line::Action(_) => None,
        };
        lines.iter().filter_map(choice).collect()
    };
    assert_eq!(draws(&again.lines).len(), 200);
    assert_eq!(draws(&again.lines), draws(&recorded));
    world.now = again.now;
    assert_eq!(again.ask(), world.ask(), "both have learnt the same");
}

#[test]
fn what_was_learnt_outlives_a_variant_that_comes_or_goes() {
    let mut world = World::new("exp3", 3, TaskId(0));
    let second = |world: &mut World| (0..200).filter(|_| world.ask().0 == VariantId(1)).count();
    for _ in 0..2000 {
        let chosen = world.ask();
        world.tell(chosen, if chosen.0 == VariantId(1) { 0.1 } else { 0.6 });
    }
    assert!(second(&mut world) > 180);
    world.serve("exp3", 2);
    assert!(second(&mut world) > 180, "one went");
    world.serve("exp4", 2);
    world.serve("exp3", 2);
    assert!(second(&mut world) < 150, "another policy begins anew");
}
