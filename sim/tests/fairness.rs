//! Who gets how much of the executors, and who may delay whom.

use std::path::Path;
use std::time::Duration;

use sim::{ModelReport, Scenario, World};

const SEEDS: std::ops::Range<u64> = 1..4;

fn scenario(name: &str, seed: u64) -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut scenario = Scenario::read(&folder.join(name)).expect("the shipped scenario is right");
    scenario.seed = seed;
    scenario.duration = Duration::from_secs(8);
    scenario
}

fn run(scenario: &Scenario) -> Vec<ModelReport> {
    let world = World::new(scenario).expect("the scenario makes sense");
    world.run().expect("no invariant breaks").0.models
}

/// The greatest executor time over the weight as a multiple of the least.
fn spread(scenario: &Scenario) -> f64 {
    let weights = scenario.models.iter().flat_map(|spec| vec![spec.weight; spec.count as usize]);
    let reports = run(scenario);
    let service =
        reports.iter().zip(weights).map(|(model, weight)| model.busy.as_secs_f64() / weight);
    let (least, greatest) = service
        .fold((f64::MAX, 0.0_f64), |(least, greatest), one| (least.min(one), greatest.max(one)));
    greatest / least
}

#[test]
fn tenants_of_which_one_asks_for_ten_times_as_much_get_equal_time_by_weight() {
    for seed in SEEDS {
        for weight in [1.0, 0.5] {
            for batching in ["window", "deadline", "timeout"] {
                let mut scenario = scenario("shares.toml", seed).with_batching(batching);
                scenario.models[0].weight = weight;
                let spread = spread(&scenario);
                assert!(spread <= 1.2, "seed {seed}, weight {weight}, {batching}: {spread}");
            }
        }
    }
}

#[test]
fn by_latest_start_alone_their_times_differ() {
    let mut scenario = scenario("shares.toml", 1).with_batching("window");
    scenario.router.dispatch = Some("earliest_latest_start".to_owned());
    assert!(spread(&scenario) > 1.2);
}

/// The p99 of the interactive tenant beside the bulk tenant as a multiple of its p99 alone.
fn moved(with_bulk: &Scenario) -> f64 {
    let mut alone = with_bulk.clone();
    alone.models.truncate(1);
    let p99 = |scenario: &Scenario| run(scenario)[0].latencies.percentile(0.99).as_secs_f64();
    p99(with_bulk) / p99(&alone)
}

#[test]
fn a_bulk_tenant_on_its_share_of_executors_moves_the_p99_of_the_interactive_one_by_less_than_5_percent()
 {
    for seed in SEEDS {
        let scenario = scenario("bulk.toml", seed);
        let moved = moved(&scenario);
        assert!((0.95..=1.05).contains(&moved), "seed {seed}: {moved}");
    }
}

#[test]
fn priority_alone_does_not_keep_a_bulk_tenant_from_moving_it() {
    let mut scenario = scenario("bulk.toml", 1);
    scenario.models[1].executors = None;
    assert!(moved(&scenario) > 1.5);
}

/// Requests of the bulk tenant that are answered in eight seconds of an overload of the most urgent level.
fn starved(dispatch: &str) -> u64 {
    // A policy that never empties a queue by giving up: else the bulk tenant gets the gaps as well.
    let mut scenario = scenario("bulk.toml", 1).with_batching("deadline");
    scenario.router.dispatch = Some(dispatch.to_owned());
    scenario.executors[0].count = 1;
    scenario.models[0].rate = Some(8000.0);
    let answered = |seconds| {
        let duration = Duration::from_secs(seconds);
        run(&Scenario { duration, ..scenario.clone() })[1].in_time
    };
    // What waits when the arrivals end is served in both.
    answered(16) - answered(8)
}

#[test]
fn a_starved_priority_level_gets_a_batch_as_often_as_the_bound_says_and_no_more() {
    // A batch of the third level needs two rises of a second; of its 16 rows only 13 take no longer than the people can wait,
    // who fill the executor: (20 ms - l(1)) / 2.
    let answered = starved("priority_classes");
    assert!((3 * 13..=4 * 13).contains(&answered), "{answered}");
    assert_eq!(starved("earliest_latest_start"), 0);
}
