//! What holds of every placement policy, and the small cases of the papers.

use std::time::Duration;

use models::{ExecutorId, LatencyProfile, VariantId};
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn wanted(memory: u64, run: Duration, rate: f64) -> Wanted {
    let profile = LatencyProfile::linear(run - run / 2, run / 2, 4);
    Wanted { memory, load: Duration::ZERO, profile, within: None, rate }
}

fn policy(name: &str) -> &'static PlacementEntry {
    PLACEMENTS.iter().find(|entry| entry.name == name).unwrap()
}

fn solved(name: &str, problem: &Problem) -> Placement {
    let previous = Placement::empty(problem.memory.len());
    policy(name).solve(problem, &previous, &mut Fluid)
}

fn count(placement: &Placement, variant: u32) -> usize {
    placement.of(VariantId(variant)).count()
}

fn problems() -> impl Strategy<Value = Problem> {
    let variant = (1_u64..40, 1_u32..50, 0_u32..30)
        .prop_map(|(memory, run, rate)| wanted(memory, MS * run, f64::from(rate)));
    let executors = proptest::collection::vec(1_u64..100, 1..7);
    (proptest::collection::vec(variant, 1..14), executors, 0_usize..30).prop_map(
        |(variants, memory, moves_max)| Problem {
            variants,
            memory,
            moves_max,
            ..Problem::default()
        },
    )
}

proptest! {
    #[test]
    fn no_executor_holds_more_than_its_memory_and_moves_are_bounded(
        problem in problems(), before in problems(), policy in 0..PLACEMENTS.len()
    ) {
        let free = Problem { moves_max: usize::MAX, ..before.clone() };
        let previous = PLACEMENTS[policy].solve(&free, &Placement::default(), &mut Fluid);
        let placement = PLACEMENTS[policy].solve(&problem, &previous, &mut Fluid);
        prop_assert!(placement.fits(&problem), "{placement:?}");
        prop_assert!(placement.loads_from(&previous) <= problem.moves_max);
    }

    #[test]
    fn whoever_is_asked_for_and_has_no_place_fits_nowhere(
        problem in problems(), policy in 0..PLACEMENTS.len()
    ) {
        let problem = Problem { moves_max: usize::MAX, ..problem };
        let placement = PLACEMENTS[policy].solve(&problem, &Placement::default(), &mut Fluid);
        for (variant, wanted) in problem.variants.iter().enumerate() {
            if wanted.rate > 0.0 && placement.count(variant) == 0 {
                let takes = (0..problem.memory.len())
                    .any(|executor| placement.takes(&problem, executor, variant));
                prop_assert!(!takes, "{variant} in {placement:?}");
            }
        }
    }

    #[test]
    fn where_all_fit_with_room_for_the_largest_everyone_asked_for_is_placed(
        problem in problems(), policy in 0..PLACEMENTS.len()
    ) {
        let all: u64 = problem.variants.iter().map(|one| one.memory).sum();
        let largest = problem.variants.iter().map(|one| one.memory).max().unwrap();
        let executors = problem.memory.len() as u64;
        // Worst fit finds room as long as each executor could waste less than the largest.
        let memory = vec![all.div_ceil(executors) + largest; problem.memory.len()];
        let problem = Problem { memory, moves_max: usize::MAX, ..problem };
        let placement = PLACEMENTS[policy].solve(&problem, &Placement::default(), &mut Fluid);
        // Where executor time is short that policy spends it on whoever it answers most of.
        let alone = |one: &Wanted| one.rate * one.profile.time(1).as_secs_f64();
        let short = problem.variants.iter().map(alone).sum::<f64>() > 0.5 * executors as f64;
        let chooses = short && PLACEMENTS[policy].name == "by_accuracy";
        for (variant, wanted) in problem.variants.iter().enumerate() {
            let asked = wanted.rate > 0.0 && !chooses;
            prop_assert!(!asked || placement.count(variant) > 0, "{placement:?}");
        }
    }

    #[test]
    fn with_few_moves_whoever_was_placed_and_is_asked_for_stays_placed(
        problem in problems(), policy in 0..PLACEMENTS.len()
    ) {
        let free = Problem { moves_max: usize::MAX, ..problem.clone() };
        let previous = policy_of_rates(&free).solve(&free, &Placement::default(), &mut Fluid);
        let few = Problem { moves_max: problem.moves_max.min(3), ..problem };
        let placement = PLACEMENTS[policy].solve(&few, &previous, &mut Fluid);
        let changed = placement != PLACEMENTS[policy].solve(&free, &previous, &mut Fluid);
        // That policy weighs what it takes away against what it brings.
        let changed = changed && PLACEMENTS[policy].name != "by_accuracy";
        for (variant, wanted) in few.variants.iter().enumerate() {
            if changed && wanted.rate > 0.0 && previous.count(variant) > 0 {
                prop_assert!(placement.count(variant) > 0, "{variant} in {placement:?}");
            }
        }
    }
}

fn policy_of_rates(_: &Problem) -> &'static PlacementEntry {
    policy("by_rate")
}

/// AlpaServe's introduction: two models, two devices, each of which holds one replica more than its own model.
#[test]
fn two_models_that_fit_twice_stand_on_both_devices_for_the_sake_of_bursts() {
    let two = Problem {
        variants: vec![wanted(5, 100 * MS, 3.0), wanted(5, 100 * MS, 3.0)],
        memory: vec![13, 13],
        moves_max: usize::MAX,
        ..Problem::default()
    };
    for name in ["all_everywhere", "selective_replication"] {
        assert_eq!(solved(name, &two).places(), 4, "{name}");
    }
}

#[test]
fn selective_replication_evens_out_the_bursts_that_variants_stand() {
    // Loads 0.6, 0.3, 0.1 and ten places: 6, 3, 1 would stand the same, but an executor takes each only once.
    let problem = Problem {
        variants: vec![
            wanted(1, 10 * MS, 60.0),
            wanted(1, 10 * MS, 30.0),
            wanted(1, 10 * MS, 10.0),
        ],
        memory: vec![1; 10],
        moves_max: usize::MAX,
        ..Problem::default()
    };
    let placement = solved("selective_replication", &problem);
    assert_eq!([0, 1, 2].map(|variant| count(&placement, variant)), [6, 3, 1]);
}

#[test]
fn replicas_by_rate_follow_the_share_of_the_load() {
    let problem = Problem {
        variants: vec![wanted(1, 10 * MS, 60.0), wanted(1, 20 * MS, 15.0), wanted(1, MS, 1.0)],
        memory: vec![9; 10],
        moves_max: usize::MAX,
        ..Problem::default()
    };
    let placement = solved("by_rate", &problem);
    assert_eq!([0, 1, 2].map(|variant| count(&placement, variant)), [7, 3, 1]);
}

#[test]
fn packing_leaves_executors_empty_and_cuts_what_is_too_heavy_for_one() {
    let light = Problem {
        variants: vec![wanted(4, 10 * MS, 20.0); 4],
        memory: vec![16; 5],
        moves_max: usize::MAX,
        ..Problem::default()
    };
    let placement = solved("bin_pack", &light);
    let used = (0..5).filter(|&executor| placement.on(ExecutorId(executor)).count() > 0).count();
    assert_eq!((placement.places(), used), (4, 1));
    let heavy = Problem { variants: vec![wanted(4, 10 * MS, 200.0)], ..light };
    assert_eq!(solved("bin_pack", &heavy).places(), 3);
}

#[test]
fn greedy_gives_places_to_whom_the_oracle_says_is_served_worst() {
    let problem = Problem {
        variants: vec![wanted(1, 10 * MS, 10.0); 3],
        memory: vec![2; 3],
        moves_max: usize::MAX,
        ..Problem::default()
    };
    let mut asked = 0;
    let mut oracle = |problem: &Problem, placement: &Placement| {
        asked += 1;
        let places = placement.count(1) as f64;
        let mut unserved = vec![0.0; problem.variants.len()];
        unserved[1] = 10.0 / places;
        Foresight { attainment: places / 4.0, unserved, busy: vec![0.0; problem.memory.len()] }
    };
    let placement = policy("greedy").solve(&problem, &Placement::default(), &mut oracle);
    assert_eq!(count(&placement, 1), 3);
    assert_eq!(asked, 3);
    // The memory that is left is not left empty.
    assert_eq!(placement.places(), 6);
}

#[test]
fn a_placement_that_differs_only_in_the_numbers_of_equal_executors_moves_nothing() {
    let problem = Problem {
        variants: (1..9).map(|rate| wanted(5, 10 * MS, f64::from(rate))).collect(),
        memory: vec![10; 4],
        moves_max: usize::MAX,
        ..Problem::default()
    };
    let found = solved("bin_pack", &problem);
    let turned = found.reordered(&[2, 3, 1, 0]);
    let again = policy("bin_pack").solve(&problem, &turned, &mut Fluid);
    assert_eq!(again.loads_from(&turned), 0);
}

#[test]
fn a_beam_finds_what_always_helping_the_worst_served_first_does_not() {
    // One place is left. The first variant loses most, but a second place does not help it; one for the other does.
    let mut oracle = |problem: &Problem, placement: &Placement| {
        let attainment = if placement.count(1) == 2 { 0.9 } else { 0.5 };
        let busy = vec![0.0; problem.memory.len()];
        Foresight { attainment, unserved: vec![9.0, 1.0], busy }
    };
    let narrow = Problem {
        variants: vec![wanted(1, MS, 1.0); 2],
        memory: vec![2, 1],
        moves_max: usize::MAX,
        ..Problem::default()
    };
    let wide = Problem { beam: 2, ..narrow.clone() };
    let mut found = |problem: &Problem| {
        policy("greedy").solve(problem, &Placement::empty(2), &mut oracle).count(1)
    };
    assert_eq!((found(&narrow), found(&wide)), (1, 2));
}
