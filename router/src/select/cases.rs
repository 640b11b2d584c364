//! What holds for every selection policy, and what each chooses from one small table.

use std::time::Duration;

use models::VariantId;
use proptest::prelude::*;

use super::{Ask, Prospect, SELECTIONS};

/// Four variants of 20, 10, 5 and 1 ms, the less accurate the sooner and the cheaper, all behind that wait.
pub(super) fn prospects(wait_ms: u64) -> Vec<Prospect> {
    let table = [(0_u32, 0.99, 8.0, 20), (1, 0.97, 4.0, 10), (2, 0.95, 2.0, 5), (3, 0.9, 1.0, 1)];
    let prospect = |(id, accuracy, cost, time): (u32, f64, f64, u64)| Prospect {
        variant: VariantId(id),
        // The operator lists them in another order.
        place: [2, 0, 1, 3][id as usize],
        accuracy: accuracy.try_into().unwrap(),
        cost: cost.try_into().unwrap(),
        wait: Duration::from_millis(wait_ms),
        time: Duration::from_millis(time),
        measured: Duration::from_millis(time),
        work: Duration::from_millis(time),
    };
    table.into_iter().map(prospect).collect()
}

#[test]
fn a_look_at_who_would_be_chosen_changes_nothing() {
    let budget = Duration::from_millis(40);
    for entry in &SELECTIONS {
        let one = |looks: usize| {
            let mut policy = (entry.build)();
            policy.follow(&[(VariantId(0), 0.5), (VariantId(2), 0.5)]);
            let mut ask = |look: bool, wait| {
                let mut given = prospects(wait).into_iter();
                let mut ask = Ask { budget, prospects: &mut given };
                let found = if look { policy.peek(&mut ask) } else { policy.choose(&mut ask) };
                found.unwrap().variant.0
            };
            let mut chosen = Vec::new();
            for wait in (0..30).rev() {
                let looked: Vec<_> = (0..looks).map(|_| ask(true, wait)).collect();
                chosen.push(ask(false, wait));
                assert!(
                    looked.iter().all(|seen| *seen == chosen[chosen.len() - 1]),
                    "{}",
                    entry.name
                );
            }
            chosen
        };
        assert_eq!(one(0), one(3), "{}", entry.name);
    }
}

fn choose(policy: &str, wait_ms: u64, budget: Duration) -> u32 {
    let entry = SELECTIONS.iter().find(|entry| entry.name == policy).unwrap();
    let mut prospects = prospects(wait_ms).into_iter();
    let mut ask = Ask { budget, prospects: &mut prospects };
    (entry.build)().choose(&mut ask).unwrap().variant.0
}

#[test]
fn each_policy_chooses_by_wait_and_budget_as_its_summary_says() {
    // Wait, budget, and the variant chosen.
    let table = [
        (
            "most_accurate_in_time",
            [(0, 20, 0), (0, 19, 1), (4, 13, 2), (4, 12, 3), (4, 9, 3), (50, 9, 3)],
        ),
        ("fixed", [(0, 20, 1), (0, 19, 1), (4, 11, 1), (4, 10, 1), (4, 9, 1), (50, 9, 1)]),
        ("fastest", [(0, 20, 3), (0, 19, 3), (4, 11, 3), (4, 10, 3), (4, 9, 3), (50, 9, 3)]),
        ("cheapest", [(0, 20, 3), (0, 19, 3), (4, 11, 3), (4, 10, 3), (4, 9, 3), (50, 9, 3)]),
        ("slack_buckets", [(0, 20, 0), (0, 19, 1), (4, 11, 2), (4, 10, 2), (4, 9, 2), (50, 9, 3)]),
    ];
    for (policy, cases) in table {
        for (wait, budget, chosen) in cases {
            let found = choose(policy, wait, Duration::from_millis(budget));
            assert_eq!(found, chosen, "{policy}: wait {wait}, budget {budget}");
        }
    }
}

#[test]
fn without_a_deadline_the_most_accurate_answers_where_accuracy_decides() {
    for policy in ["most_accurate_in_time", "slack_buckets", "expected_accuracy"] {
        assert_eq!(choose(policy, 500, Duration::MAX), 0, "{policy}");
    }
}

proptest! {
    #[test]
    fn every_policy_chooses_one_of_those_that_may_answer(
        times in prop::collection::vec((0_u64..1_000_000, 0_u64..1_000_000), 0..20),
        budget in prop::option::of(0_u64..2_000_000),
    ) {
        let prospect = |(index, &(wait, time)): (usize, &(u64, u64))| Prospect {
            variant: VariantId(u32::try_from(index).unwrap()),
            place: index,
            accuracy: (1.0 - 0.01 * f64::from(u32::try_from(index).unwrap())).try_into().unwrap(),
            cost: 1.0.try_into().unwrap(),
            wait: Duration::from_nanos(wait),
            time: Duration::from_nanos(time),
            measured: Duration::from_nanos(time),
            work: Duration::from_nanos(time),
        };
        let all: Vec<_> = times.iter().enumerate().map(prospect).collect();
        for entry in &SELECTIONS {
            let mut given = all.iter().copied();
            let budget = budget.map_or(Duration::MAX, Duration::from_nanos);
            let chosen = (entry.build)().choose(&mut Ask { budget, prospects: &mut given });
            prop_assert_eq!(chosen.is_some(), !all.is_empty(), "{}", entry.name);
            if let Some(chosen) = chosen {
                prop_assert!(all.contains(&chosen), "{}", entry.name);
            }
        }
    }
}
