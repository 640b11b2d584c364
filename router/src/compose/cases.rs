//! Compositions under test: members that answer, refuse, fail and come late as a test or chance has it.

use batcher::Instant;
use models::Confidence;
use proptest::prelude::*;

use super::cascade::{Cascade, Stage};
use super::ensemble::{Ballots, Ensemble, Voter};
use super::hedge::Hedge;
use super::{AskId, Compose, End, Heard, Step, Vote, Why};

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

/// Plays a composition to its end, and holds it to what every one must keep.
fn play(composition: &mut dyn Compose, rows: u32, fates: &[Fate]) -> End {
    let mut open: Vec<(AskId, Vec<u32>)> = Vec::new();
    let mut answered: Vec<(AskId, Vec<u32>)> = Vec::new();
    let mut asked = 0;
    for (step, fate) in fates.iter().enumerate() {
        let now = Instant::from_nanos(step as u64);
        while let Some(step) = composition.poll_step() {
            match step {
                Step::Ask { ask, rows: wanted, .. } => {
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
                    check_end(&end, rows, &answered);
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
            0 | 1 => composition.heard(ask, Heard::Refused, now),
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

fn check_end(end: &End, rows: u32, answered: &[(AskId, Vec<u32>)]) {
    assert_eq!(end.why == Why::Nobody, answered.is_empty(), "{end:?} of {answered:?}");
    assert_eq!(end.rows.len(), if answered.is_empty() { 0 } else { rows as usize });
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
    ) {
        let stage = |(member, threshold): (usize, &f64)| Stage {
            member,
            threshold: Confidence::try_from(*threshold).unwrap(),
        };
        let stages: Vec<_> = thresholds.iter().enumerate().map(stage).collect();
        let mut cascade = Cascade::new(stages, rows, Instant::from_nanos(20));
        play(&mut cascade, rows, &fates);
    }

    #[test]
    fn every_ensemble_ends_once_whatever_becomes_of_its_members(
        fates in fates(),
        rows in 1..5_u32,
        weights in prop::collection::vec(0..9_u32, 1..6),
        at_once in 1..6_usize,
        agreement in prop::option::of(0.0..=1.0_f64),
    ) {
        let voter = |(member, &weight): (usize, &u32)| Voter { member, weight };
        let voters = weights.iter().enumerate().map(voter).collect();
        let agreement = agreement.map(|share| Confidence::try_from(share).unwrap());
        let ballots = Ballots { voters, at_once, agreement };
        let mut ensemble = Ensemble::new(ballots, rows, Instant::from_nanos(20));
        play(&mut ensemble, rows, &fates);
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
        play(&mut hedge, rows, &fates);
    }
}
