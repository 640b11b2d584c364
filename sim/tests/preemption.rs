//! FLEX on a device that can break off a run.

use std::path::Path;
use std::time::Duration;

use sim::{History, Report, Scenario, Times, Validation, World, validate};

fn scenario(preemption: bool) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/preemption.toml");
    let mut scenario = Scenario::read(&file).expect("the shipped scenario is right");
    (scenario.duration, scenario.warmup) = (Duration::from_secs(10), Duration::ZERO);
    assert!(scenario.executors[0].preemption);
    scenario.executors[0].preemption = preemption;
    scenario
}

fn run(scenario: &Scenario) -> (Report, History) {
    let mut world = World::new(scenario).expect("the scenario makes sense");
    world.keep_history(scenario);
    world.run().expect("no invariant breaks")
}

#[test]
fn bursts_are_answered_by_breaking_off_runs_that_have_time() {
    let lost = |report: &Report, model: usize| {
        let model = &report.models[model];
        (model.offered - model.in_time) as f64 / model.offered as f64
    };
    for seed in 1..4 {
        let [with, without] = [true, false].map(|preemption| {
            let (report, _) = run(&Scenario { seed, ..scenario(preemption) });
            report
        });
        assert!(with.aborted > 20 && without.aborted == 0, "seed {seed}: {}", with.aborted);
        assert!(lost(&without, 1) > 0.1, "seed {seed}: {without}");
        // The others pay for it, but not as much.
        let in_time = |report: &Report| report.total().in_time;
        assert!(lost(&with, 1) < 0.03, "seed {seed}: {with}");
        assert!(in_time(&with) > in_time(&without), "seed {seed}: {with}\n{without}");
        // What runs lost by being broken off is time of the device all the same, and no more than it took.
        assert!(with.busy > without.busy && with.busy < Duration::from_millis(10_500), "{with}");
    }
}

#[test]
fn a_recording_with_runs_broken_off_is_predicted_as_it_was() {
    let (report, history) = run(&scenario(true));
    assert!(report.aborted > 20);
    let lines = history.lines.iter().map(|line| serde_json::to_string(line).expect("it is plain"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let warmup = Duration::ZERO;
    let validation = Validation { times: Times::Profile, warmup, runs: 1, seed: 1 };
    let validated = validate(&text, &validation).expect("it is decided the same again");
    for model in validated {
        assert_eq!(model.goodput.ratio(), 1.0, "{model:?}");
        assert_eq!(model.batch.ratio(), 1.0, "{model:?}");
    }
}
