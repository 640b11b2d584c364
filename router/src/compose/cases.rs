//! Compositions under test: members that answer, refuse, fail and come late as a test or chance has it.

use batcher::Instant;
use models::{Confidence, Goals};
use proptest::prelude::*;

use super::cascade::{Cascade, Stage};
use super::ensemble::{Ballots, Ensemble, Voter};
use super::hedge::Hedge;
use super::{AskId, Claim, Compose, End, Heard, Limits, Step, Vote, Why};

/// A vote of that confidence.
pub(super) fn sure(class: u32, confidence: f64) -> Vote {
    Vote { class, confidence: confidence.try_into().unwrap() }
}

/// All steps at hand.
pub(super) fn heard_all(composition: &mut impl Compose) -> Vec<Step> {
    std::iter::from_fn(|| composition.poll_step()).collect()
}

/// What chance does next to what is asked.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Which of those that are open.
    which: usize,
    kind: u8,
    class: u32,
    confidence: f64,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (0..8_usize, 0..10_u8, 0..3_u32, 0.0..=1.0_f64)
        .prop_map(|(which, kind, class, confidence)| Fate { which, kind, class, confidence });
    prop::collection::vec(fate, 64)
}

/// What five members claim, and a ceiling of cost and a floor of accuracy.
fn limits() -> impl Strategy<Value = Limits> {
    let claim = (0.0..=1.0_f64, 0.0..=9.0_f64).prop_map(|(accuracy, cost)| Claim {
        accuracy: accuracy.try_into().unwrap(),
        cost: cost.try_into().unwrap(),
    });
    let claims = prop::collection::vec(claim, 5);
    let goals = (prop::option::of(0.0..=1.0_f64), prop::option::of(0.0..=20.0_f64));
    (claims, goals).prop_map(|(claims, (least, most))| {
        let min_accuracy = least.map(|least| least.try_into().unwrap());
        let max_cost = most.map(|most| most.try_into().unwrap());
        let goals = Goals { min_accuracy, max_cost, ..Goals::default() };
        Limits { until: Instant::from_nanos(20), goals, claims }
    })
}

/// Who was asked for how many rows, and whether he refused.
type Paid = Vec<(usize, usize, bool)>;

fn check_limits(end: &End, rows: u32, limits: &Limits, paid: &Paid) {
    let goals = limits.goals;
    let paid_for = |(member, rows, refused): &(usize, usize, bool)| {
        if *refused { 0.0 } else { f64::from(limits.claim(*member).cost) * *rows as f64 }
    };
    let sum: f64 = paid.iter().map(paid_for).sum();
    if let Some(most) = goals.max_cost {
        assert!(sum <= f64::from(most) * f64::from(rows) + 1e-3, "{sum} of {most} for {rows}");
    }
    if end.why.short() {
        let least = goals.min_accuracy.unwrap_or_default();
        let accuracy = |ask: &AskId| limits.claim(paid[ask.index()].0).accuracy;
        assert!(end.rows.iter().all(|ask| accuracy(ask) >= least), "{end:?} below {least}");
    }
}

/// Plays a composition to its end, and holds it to what every one must keep.
fn play(composition: &mut dyn Compose, rows: u32, fates: &[Fate], limits: &Limits) -> End {
    let mut paid = Paid::new();
    let mut open: Vec<(AskId, Vec<u32>)> = Vec::new();
    let mut answered: Vec<(AskId, Vec<u32>)> = Vec::new();
    let mut asked = 0;
    for (step, fate) in fates.iter().enumerate() {
        let now = Instant::from_nanos(step as u64);
        while let Some(step) = composition.poll_step() {
            match step {
                Step::Ask { ask, rows: wanted, member } => {
                    paid.push((member, wanted.len(), false));
                    assert_eq!(ask, AskId(asked), "asks are numbered in order");
                    assert!(wanted.windows(2).all(|pair| pair[0] < pair[1]), "{wanted:?}");
                    assert!(wanted.iter().all(|row| *row < rows) && !wanted.is_empty());
                    asked += 1;
                    open.push((ask, wanted));
                }
                Step::Cancel(ask) => {
                    let found = open.iter().position(|(open, _)| *open == ask);
                    open.remove(found.expect("only what is open is cancelled"));
                }
                Step::End(end) => {
                    assert!(open.is_empty(), "nobody is left asked: {open:?}");
                    assert_eq!(composition.poll_step(), None, "the end is the last step");
                    composition.heard(AskId(0), Heard::Refused, now);
                    composition.time_passed(Instant::NEVER);
                    assert_eq!(composition.poll_step(), None, "a request ends once");
                    check_end(&end, rows, &answered, limits.goals.min_accuracy.is_some());
                    check_limits(&end, rows, limits, &paid);
                    return end;
                }
            }
        }
        assert!(!open.is_empty(), "a request that has not ended waits for somebody");
        if fate.kind == 0 && composition.poll_timeout() < Instant::NEVER {
            composition.time_passed(composition.poll_timeout());
            continue;
        }
        let (ask, wanted) = open.remove(fate.which % open.len());
        match fate.kind {
            0 | 1 => {
                paid[ask.index()].2 = true;
                composition.heard(ask, Heard::Refused, now);
            }
            2 => composition.heard(ask, Heard::Failed, now),
            _ => {
                let votes: Vec<_> =
                    wanted.iter().map(|_| sure(fate.class, fate.confidence)).collect();
                composition.heard(ask, Heard::Answered(&votes), now);
                answered.push((ask, wanted));
            }
        }
    }
    panic!("no end after {} steps", fates.len());
}

fn check_end(end: &End, rows: u32, answered: &[(AskId, Vec<u32>)], floor: bool) {
    let nobody = end.why == Why::Nobody;
    assert!(nobody || !answered.is_empty(), "{end:?} of {answered:?}");
    assert!(!nobody || floor || answered.is_empty(), "{end:?} of {answered:?}");
    assert_eq!(end.rows.len(), if nobody { 0 } else { rows as usize });
    for (row, by) in (0..).zip(&end.rows) {
        let own = answered.iter().any(|(ask, rows)| ask == by && rows.contains(&row));
        assert!(own, "row {row} of {end:?} is none that was answered: {answered:?}");
    }
}

proptest! {
    #[test]
    fn every_cascade_ends_once_whatever_becomes_of_its_members(
        fates in fates(),
        rows in 1..5_u32,
        thresholds in prop::collection::vec(0.0..=1.0_f64, 1..6),
        limits in limits(),
    ) {
        let stage = |(member, threshold): (usize, &f64)| Stage {
            member,
            threshold: Confidence::try_from(*threshold).unwrap(),
        };
        let stages: Vec<_> = thresholds.iter().enumerate().map(stage).collect();
        let mut cascade = Cascade::new(stages, rows, limits.clone());
        play(&mut cascade, rows, &fates, &limits);
    }

    #[test]
    fn every_ensemble_ends_once_whatever_becomes_of_its_members(
        fates in fates(),
        rows in 1..5_u32,
        weights in prop::collection::vec(0..9_u32, 1..6),
        at_once in 1..6_usize,
        agreement in prop::option::of(0.0..=1.0_f64),
        limits in limits(),
    ) {
        let voter = |(member, &weight): (usize, &u32)| Voter { member, weight };
        let voters = weights.iter().enumerate().map(voter).collect();
        let agreement = agreement.map(|share| Confidence::try_from(share).unwrap());
        let ballots = Ballots { voters, at_once, agreement };
        let mut ensemble = Ensemble::new(ballots, rows, limits.clone());
        play(&mut ensemble, rows, &fates, &limits);
    }

    #[test]
    fn every_hedge_ends_once_whatever_becomes_of_its_members(
        fates in fates(),
        rows in 1..5_u32,
        members in 1..4_usize,
        patience in 0.0..3.0_f64,
    ) {
        let mut hedge = Hedge::new((0..members).collect(), rows, patience);
        hedge.heard(AskId(0), Heard::Entered(std::time::Duration::from_nanos(5)), Instant::ZERO);
        play(&mut hedge, rows, &fates, &Limits::from(Instant::NEVER));
    }
}
