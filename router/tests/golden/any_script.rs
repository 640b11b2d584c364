//! What holds of any script: [`Play`] checks it at every step.

use std::time::Duration;

use batcher::RequestId;
use models::{ExecutorId, VariantId};
use proptest::prelude::*;
use router::{Event, PolicyNames, RouterSettings, VariantSpec};

use crate::play::{Ask, MS, Play, ask, model};

const EXECUTORS: u32 = 3;
const MODELS: u32 = 3;

/// A step of a script.
#[derive(Clone, Debug)]
enum Step {
    Arrive(Ask),
    /// The client of the request so many before the last leaves.
    Leave(u64),
    Pass(Duration),
    Slowness(f64),
    Fail(u32),
    /// An executor goes, or comes back.
    Switch(u32),
    Retire(u32),
    /// Other policies: admission, dispatch, and batching of the first models, by their rows.
    Policies(usize, usize, Vec<usize>),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let within = prop_oneof![
        4 => (0_u64..60_000).prop_map(|us| Some(Duration::from_micros(us))),
        1 => Just(None),
        1 => Just(Some(Duration::MAX)),
    ];
    let arrive = (0..MODELS, 1_u32..4, 1_u32..3, 1_u32..4, within);
    let arrive = arrive.prop_map(|(model, rows, priority, shape, within)| {
        Step::Arrive(Ask { model, rows, priority, shape, within })
    });
    prop_oneof![
        40 => arrive,
        8 => (0_u64..6).prop_map(Step::Leave),
        20 => (0_u64..8000).prop_map(|us| Step::Pass(Duration::from_micros(us))),
        3 => (0.1_f64..4.0).prop_map(Step::Slowness),
        3 => (0..EXECUTORS).prop_map(Step::Fail),
        2 => (0..EXECUTORS).prop_map(Step::Switch),
        1 => (0..MODELS).prop_map(Step::Retire),
        2 => policies(),
        1 => Just(Step::Drain),
    ]
}

fn policies() -> impl Strategy<Value = Step> {
    let batching = prop::collection::vec(0..batcher::ALL.len(), 0..=MODELS as usize);
    (0..router::ADMISSIONS.len(), 0..router::DISPATCHES.len(), batching)
        .prop_map(|(admission, dispatch, batching)| Step::Policies(admission, dispatch, batching))
}

fn names(admission: usize, dispatch: usize, batching: &[usize]) -> Event {
    let name = |(id, &row): (u32, &usize)| (VariantId(id), batcher::ALL[row].name.to_owned());
    let policies = PolicyNames {
        admission: router::ADMISSIONS[admission].name.to_owned(),
        dispatch: router::DISPATCHES[dispatch].name.to_owned(),
        batching: (0..).zip(batching).map(name).collect(),
    };
    Event::PoliciesChanged { policies: Box::new(policies) }
}

/// Times, a latency objective, a delay, and the executors that have it as bits; all executors for 0.
fn variant(id: u32) -> impl Strategy<Value = VariantSpec> {
    let slo = prop::option::of((1_u64..80).prop_map(Duration::from_millis));
    let policy = 0..batcher::ALL.len();
    (0_u32..40, 1_u32..5, slo, 0_u32..8, 0_u32..1 << EXECUTORS, policy).prop_map(
        move |(fixed, per_item, slo, delay, places, policy)| {
            let mut spec = model(id, MS * fixed, MS * per_item, slo);
            spec.policy = batcher::ALL[policy].name.to_owned();
            spec.settings.delay = MS * delay;
            let has = |executor: &u32| places & 1 << executor != 0;
            spec.executors = (0..EXECUTORS).filter(has).map(ExecutorId).collect();
            spec
        },
    )
}

fn follow(play: &mut Play, step: &Step, asked: &mut u64) {
    match *step {
        Step::Policies(admission, dispatch, ref batching) => {
            play.feed(names(admission, dispatch, batching));
        }
        Step::Arrive(ask) => *asked = play.arrive(ask).0,
        Step::Leave(before) => play.cancel(RequestId(asked.saturating_sub(before))),
        Step::Pass(time) => play.pass(time),
        Step::Slowness(slowness) => play.slowness = slowness,
        Step::Fail(executor) => play.end(ExecutorId(executor), true),
        Step::Switch(executor) => play.switch(ExecutorId(executor)),
        Step::Retire(model) => play.retire(VariantId(model)),
        Step::Drain => play.feed(Event::Draining),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_request_ends_once_and_no_timeout_lies_in_the_past(
        specs in (variant(0), variant(1), variant(2)),
        steps in prop::collection::vec(step(), 1..120),
        preemptible in any::<bool>(),
    ) {
        let specs = vec![specs.0, specs.1, specs.2];
        let mut play = Play::with(RouterSettings::default(), (EXECUTORS, preemptible), specs);
        let mut asked = 0;
        for step in &steps {
            follow(&mut play, step, &mut asked);
        }
        play.finish();
        play.assert_all_ended();
    }
}

#[test]
fn a_long_model_that_shares_its_only_executor_with_a_tight_one_is_served_all_the_same() {
    let only = |mut spec: VariantSpec| {
        spec.executors = vec![ExecutorId(0)];
        spec
    };
    let tight = only(model(0, MS, MS, Some(10 * MS)));
    let long = only(model(1, 50 * MS, MS, Some(200 * MS)));
    let mut play = Play::new(2, vec![tight, long]);
    play.arrive(ask(0, 10 * MS));
    play.pass(5 * MS);
    play.arrive(ask(1, 200 * MS));
    play.finish();
    assert!(play.log.contains("batch 1 ends"), "{}", play.log);
    play.assert_all_ended();
}
