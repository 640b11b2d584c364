//! Random scenarios: small clusters in trouble, from a seed.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use router::place::PLACEMENTS;
use router::{ADMISSIONS, DISPATCHES, SELECTIONS};

use crate::scenario::RouterChoice;
use crate::{
    Answers, CodedSpec, CompositionSpec, CopyIn, EnsembleSpec, ExecutorSpec, ModelSpec,
    PlacementSpec, ProfileSpec, Scenario, StageSpec, VoterSpec,
};

/// The scenario of that seed: up to four executors that stall, fail, break down and may be preempted, up to five models with and without
/// deadlines, some with memory for a part of them, some variants of a task, under any policies, from idle to several times overloaded, with clients that leave.
#[must_use]
pub fn random_scenario(seed: u64) -> Scenario {
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0x5eed);
    let duration = Duration::from_millis(rng.random_range(200..1500));
    let executors = (0..rng.random_range(1..=3)).map(|_| random_executor(&mut rng)).collect();
    let models = (0..rng.random_range(1..=5)).map(|index| random_model(index, &mut rng)).collect();
    let admission =
        rng.random_bool(0.4).then(|| any(&ADMISSIONS.map(|entry| entry.name), &mut rng));
    let dispatch = rng.random_bool(0.6).then(|| any(&DISPATCHES.map(|entry| entry.name), &mut rng));
    let lead = rng.random_bool(0.3).then(|| Duration::from_micros(rng.random_range(0..2000)));
    let batching =
        rng.random_bool(0.5).then(|| any(&batcher::ALL.map(|entry| entry.name), &mut rng));
    let router = RouterChoice { admission, batching, selection: None, lead, dispatch };
    let mut scenario = Scenario {
        seed,
        duration,
        warmup: Duration::ZERO,
        load: 1.0,
        router,
        placement: None,
        executors,
        models,
        compositions: Vec::new(),
    };
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0x9_1ace);
    if rng.random_bool(0.3) {
        give_memory(&mut scenario, &mut rng);
    }
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0x7a5c);
    if rng.random_bool(0.3) {
        give_task(&mut scenario, &mut rng);
    }
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0xc0de);
    if rng.random_bool(0.1) && scenario.placement.is_none() {
        give_task(&mut scenario, &mut rng);
        give_composition(&mut scenario, &mut rng);
    }
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0xf1e7);
    for executor in &mut scenario.executors {
        executor.preemption = rng.random_bool(0.4);
    }
    scenario
}

/// That task is answered by a cascade of all models, by votes of all, by one and another, or by one with parity requests.
fn give_composition(scenario: &mut Scenario, rng: &mut Pcg64Mcg) {
    for model in &mut scenario.models {
        (model.count, model.cancel_share) = (1, 0.0);
    }
    let mut composition = CompositionSpec {
        alike: if rng.random_bool(0.5) { 1.0 } else { rng.random_range(0.0..1.0) },
        ..CompositionSpec::new("task")
    };
    match rng.random_range(0..4) {
        0 if scenario.models.len() > 1 => {
            composition.ensemble = Some(random_ensemble(&scenario.models, rng));
        }
        0 | 1 => {
            let mut stage = |model: &ModelSpec| StageSpec {
                model: model.name.clone(),
                threshold: rng.random_range(0.0..1.0_f64).try_into().expect("a share of 1"),
            };
            composition.cascade = Some(scenario.models.iter().map(&mut stage).collect());
        }
        2 => composition.hedge = Some(rng.random_range(0.0..3.0)),
        _ => composition.coded = Some(random_code(scenario, rng)),
    }
    if composition.coded.is_none() && rng.random_bool(0.3) {
        let costs = scenario.models.iter().filter_map(|model| model.answers.as_ref());
        let mut costs: Vec<f64> = costs.map(|answers| answers.cost.into()).collect();
        costs.sort_by(f64::total_cmp);
        // Whoever else is left out, two that vote are not.
        let least: f64 = costs.iter().rev().take(2).sum();
        composition.max_cost = (least * rng.random_range(1.0..2.0) + 0.001).try_into().ok();
    }
    scenario.compositions = vec![composition];
}

/// All models vote, some with weights of their own, up to all at once.
fn random_ensemble(models: &[ModelSpec], rng: &mut Pcg64Mcg) -> EnsembleSpec {
    let mut voter = |model: &ModelSpec| VoterSpec {
        model: model.name.clone(),
        weight: rng.random_bool(0.5).then(|| rng.random_range(0.0..5.0)),
    };
    let members = models.iter().map(&mut voter).collect();
    let at_once = rng.random_range(0..=3);
    let agreement = rng.random_bool(0.5).then(|| rng.random_range(0.0..1.0_f64));
    let agreement = agreement.map(|share| share.try_into().expect("a share of 1"));
    EnsembleSpec { members, at_once: NonZeroU32::new(at_once), agreement }
}

/// Any model answers, and any answers sums.
fn random_code(scenario: &mut Scenario, rng: &mut Pcg64Mcg) -> CodedSpec {
    scenario.models.iter_mut().for_each(|model| model.shapes = 1);
    let names: Vec<&str> = scenario.models.iter().map(|model| model.name.as_str()).collect();
    let (group, model) = (rng.random_range(2..=4), any(&names, rng));
    let parity = rng.random_bool(0.5).then(|| any(&names, rng));
    CodedSpec { group, model, parity }
}

/// A task that all models can answer; some executors cannot load them now and then.
fn give_task(scenario: &mut Scenario, rng: &mut Pcg64Mcg) {
    let fraction = |rng: &mut Pcg64Mcg| rng.random_range(0.0..1.0_f64);
    for model in &mut scenario.models {
        let accuracy = fraction(rng).try_into().expect("a share of 1");
        let cost = fraction(rng).try_into().expect("a cost above 0");
        model.answers = Some(Answers { task: "task".to_owned(), accuracy, cost });
    }
    scenario.router.selection =
        rng.random_bool(0.6).then(|| any(&SELECTIONS.map(|entry| entry.name), rng));
    if let Some(placement) = &mut scenario.placement {
        placement.foresight = false;
    }
    for executor in &mut scenario.executors {
        executor.load_failure_share = if rng.random_bool(0.5) { rng.random::<f64>() } else { 0.0 };
    }
}

/// Memory that is too small for all, and weights that come and go.
fn give_memory(scenario: &mut Scenario, rng: &mut Pcg64Mcg) {
    let policy = rng.random_bool(0.8).then(|| any(&PLACEMENTS.map(|entry| entry.name), rng));
    let every = policy.as_ref().filter(|_| rng.random_bool(0.5));
    let every = every.map(|_| Duration::from_millis(rng.random_range(20..400)));
    scenario.placement = Some(PlacementSpec {
        every,
        foresight: rng.random_bool(0.5),
        free: rng.random_bool(0.2),
        moves_max: rng.random_bool(0.3).then(|| rng.random_range(0..3)),
        on_demand: policy.is_none() || rng.random_bool(0.5),
        policy,
        ..PlacementSpec::default()
    });
    for executor in &mut scenario.executors {
        executor.memory_mb = Some(rng.random_range(5.0..60.0));
        let base = Duration::from_micros(rng.random_range(0..3000));
        let copy = CopyIn { mb_per_s: rng.random_range(500.0..20_000.0), base };
        executor.copy = rng.random_bool(0.8).then_some(copy);
    }
    for model in &mut scenario.models {
        model.weights_mb = rng.random_range(1.0..30.0);
        model.input_mb = if rng.random_bool(0.3) { rng.random_range(0.0..2.0) } else { 0.0 };
        model.executors = None;
    }
}

fn any(names: &[&str], rng: &mut Pcg64Mcg) -> String {
    names[rng.random_range(0..names.len())].to_owned()
}

fn random_executor(rng: &mut Pcg64Mcg) -> ExecutorSpec {
    let some = |rng: &mut Pcg64Mcg, chance: f64, upto: f64| {
        if rng.random_bool(chance) { rng.random::<f64>() * upto } else { 0.0 }
    };
    ExecutorSpec {
        count: rng.random_range(1..=2),
        noise: some(rng, 0.6, 0.3),
        straggler_share: some(rng, 0.3, 0.05),
        straggler_factor: rng.random_range(2.0..20.0),
        speed_error: if rng.random_bool(0.3) { rng.random_range(0.5..3.0) } else { 1.0 },
        failure_share: some(rng, 0.3, 0.1),
        breakdown_every: rng
            .random_bool(0.2)
            .then(|| Duration::from_millis(rng.random_range(50..1000))),
        ..ExecutorSpec::default()
    }
}

fn random_model(index: u32, rng: &mut Pcg64Mcg) -> ModelSpec {
    let fixed = Duration::from_micros(rng.random_range(10..10_000));
    let per_item = Duration::from_micros(rng.random_range(1..2000));
    let batch_max = rng.random_range(1..=32);
    let alone = (fixed + per_item).as_secs_f64();
    let profile = ProfileSpec::Linear { fixed, per_item, batch_max };
    let rate = (rng.random_range(0.05..4.0) / alone).min(5000.0);
    ModelSpec {
        batch_max: rng.random_bool(0.3).then(|| rng.random_range(1..=batch_max)),
        queue_max: if rng.random_bool(0.3) { rng.random_range(1..20) } else { 1000 },
        policy: rng.random_bool(0.3).then(|| any(&batcher::ALL.map(|entry| entry.name), rng)),
        delay: rng.random_bool(0.3).then(|| Duration::from_micros(rng.random_range(0..5000))),
        slo: rng
            .random_bool(0.8)
            .then(|| Duration::from_secs_f64(alone * rng.random_range(0.5..20.0))),
        arrivals: ["poisson", "constant", "gamma:3"][rng.random_range(0..3)].to_owned(),
        rows_max: if rng.random_bool(0.2) { rng.random_range(1..=batch_max) } else { 1 },
        priorities: rng.random_range(1..=3),
        weight: if rng.random_bool(0.3) { rng.random_range(0.1..10.0) } else { 1.0 },
        executors: rng.random_bool(0.2).then(|| rng.random_range(1..=3)),
        shapes: if rng.random_bool(0.2) { rng.random_range(1..=100) } else { 1 },
        cancel_share: if rng.random_bool(0.4) { rng.random::<f64>() * 0.5 } else { 0.0 },
        ..ModelSpec::new(&format!("model-{index}"), profile, rate)
    }
}
