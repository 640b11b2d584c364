//! Requests of worlds that share parity requests: whose answer is reconstructed, and that each has one end.
#![cfg(test)]

use std::time::Duration;

use sim::{CodedSpec, CompositionSpec, ModelReport, Report, Scenario, World, random_scenario};

const MS: Duration = Duration::from_millis(1);

/// Requests of 10 ms, exactly so far apart, on executors of which the first takes a hundred times as long.
fn slow_first(group: u32, rate: f64, rest: &str) -> Scenario {
    let text = format!(
        r#"
duration = "1s"
[[executor]]
speed_error = 100
[[executor]]
count = 3
[[composition]]
task = "t"
coded = {{ group = {group}, model = "linear" }}
[[model]]
name = "linear"
profile = {{ fixed = "9ms", per_item = "1ms", batch_max = 1 }}
answers = {{ task = "t", accuracy = 0.9 }}
arrivals = "constant"
rate = {rate:?}
{rest}
"#
    );
    Scenario::from_text("test.toml", &text).unwrap()
}

fn run(scenario: &Scenario) -> Report {
    World::new(scenario).unwrap().run().unwrap().0
}

fn row<'a>(report: &'a Report, name: &str) -> &'a ModelReport {
    report.models.iter().find(|model| model.name == name).unwrap()
}

fn uncoded(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.compositions.clear();
    scenario.models.iter_mut().for_each(|model| model.answers = None);
    scenario
}

#[test]
fn the_answer_of_a_straggling_executor_is_reconstructed() {
    let scenario = slow_first(2, 150.0, "");
    let (plain, coded) = (run(&uncoded(&scenario)).total(), run(&scenario));
    let own = row(&coded, "t");
    assert!(plain.latencies.percentile(1.0) >= 1000 * MS);
    assert!(own.latencies.percentile(1.0) < 100 * MS, "{coded}");
    assert!(own.reconstructed > 0 && own.reconstructed < own.offered / 4, "{coded}");
    assert_eq!((own.in_time, own.offered), (own.offered, plain.offered), "the same requests");
    assert_eq!(own.asked, own.offered + own.offered / 2, "one for each, and one for two");
    assert!(coded.to_string().contains("answers reconstructed\n"), "{coded}");
}

#[test]
fn a_request_whose_batch_failed_is_reconstructed() {
    let mut scenario = slow_first(2, 150.0, "");
    scenario.executors.remove(0);
    (scenario.duration, scenario.executors[0].failure_share) = (10_000 * MS, 0.05);
    let (plain, coded) = (run(&uncoded(&scenario)).total(), run(&scenario));
    let own = row(&coded, "t");
    // Two of three fail together a tenth as often as one.
    assert!(plain.failed > 50 && own.failed < plain.failed / 4, "{} {coded}", plain.failed);
    assert!(own.reconstructed > plain.failed / 2, "{} {coded}", plain.failed);
}

#[test]
fn a_group_that_never_fills_changes_nothing() {
    // A request is answered long before the next one comes, or none of as many rows comes.
    for (group, rate, rest) in [(2, 20.0, ""), (16, 150.0, "")] {
        let mut scenario = slow_first(group, rate, rest);
        scenario.executors.remove(0);
        let (plain, coded) = (run(&uncoded(&scenario)), run(&scenario));
        let own = row(&coded, "t");
        assert_eq!((own.reconstructed, own.asked), (0, own.offered), "{coded}");
        assert_eq!(own.latencies, plain.total().latencies);
        assert_eq!((own.in_time, coded.busy), (plain.total().in_time, plain.busy));
    }
}

#[test]
fn in_an_overload_each_request_ends_once() {
    let coded = run(&slow_first(2, 1000.0, "slo = \"60ms\""));
    let own = row(&coded, "t");
    assert_eq!(own.offered, own.in_time + own.late + own.refused_total() + own.failed, "{coded}");
    assert!(own.in_time > 50 && own.refused_total() > 100, "{coded}");
    assert_eq!(row(&coded, "linear").offered, 0, "its own requests count as the task's");
}

#[test]
fn no_seed_breaks_an_invariant_where_one_model_is_coded() {
    let (mut reconstructed, mut offered, mut lost) = (0, 0, 0);
    for seed in 0..300 {
        let scenario = coded(seed);
        let mut world = World::new(&scenario).unwrap();
        world.keep_history(&scenario);
        let (report, history) = world.run().unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        let own = row(&report, "task");
        let ended = own.in_time + own.late + own.refused_total() + own.failed;
        assert_eq!(own.offered, ended, "seed {seed}: {report}");
        (reconstructed, offered) = (reconstructed + own.reconstructed, offered + own.offered);
        lost += own.refused_total() + own.failed;
        let lines: Vec<String> =
            history.lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        sim::replay(lines.iter().map(String::as_str))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(reconstructed > 1000 && lost > 1000 && offered > 50_000, "{reconstructed} {offered}");
}

/// The random world of that seed, with a task of all its models of which the first answers.
fn coded(seed: u64) -> Scenario {
    let mut scenario = random_scenario(seed);
    scenario.placement = None;
    scenario.executors.iter_mut().for_each(|executor| executor.memory_mb = None);
    for model in &mut scenario.models {
        let accuracy = 0.9.try_into().unwrap();
        let answers = sim::Answers { task: "task".into(), accuracy, cost: 1.0.try_into().unwrap() };
        (model.count, model.cancel_share, model.shapes) = (1, 0.0, 1);
        model.executors = None;
        model.answers = Some(answers);
    }
    let last = scenario.models.last().unwrap().name.clone();
    let code = CodedSpec {
        group: u32::try_from(2 + seed % 3).unwrap(),
        model: scenario.models[0].name.clone(),
        parity: seed.is_multiple_of(2).then_some(last),
    };
    scenario.compositions =
        vec![CompositionSpec { coded: Some(code), ..CompositionSpec::new("task") }];
    scenario.check().unwrap();
    scenario
}
