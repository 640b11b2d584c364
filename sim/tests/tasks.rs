//! Tasks in worlds: requests step down variants under load, and the invariants hold under every policy.
#![cfg(test)]

use router::{Action, Because, Event, Line, SELECTIONS};
use sim::{Report, Scenario, World};

/// Variants of 20, 8 and 2 ms on two executors, that are right in 0.99, 0.95 and 0.85 of cases.
fn scenario(rate: f64, selection: &str) -> Scenario {
    let text = format!(
        r#"
        seed = 3
        duration = "20s"
        [router]
        selection = "{selection}"
        [[executor]]
        count = 2
        noise = 0.05
        [[model]]
        name = "best"
        profile = {{ fixed = "15ms", per_item = "5ms", batch_max = 4 }}
        answers = {{ task = "t", accuracy = 0.99, cost = 10 }}
        slo = "100ms"
        rate = {rate:?}
        cancel_share = 0.05
        [[model]]
        name = "middle"
        profile = {{ fixed = "6ms", per_item = "2ms", batch_max = 4 }}
        answers = {{ task = "t", accuracy = 0.95, cost = 4 }}
        [[model]]
        name = "fast"
        profile = {{ fixed = "1500us", per_item = "500us", batch_max = 4 }}
        answers = {{ task = "t", accuracy = 0.85, cost = 1 }}
        "#
    );
    Scenario::from_text("test.toml", &text).unwrap()
}

fn run(rate: f64, selection: &str) -> Report {
    World::new(&scenario(rate, selection)).unwrap().run().unwrap().0
}

#[test]
fn a_task_steps_down_in_an_overload_of_its_best_variant_and_refuses_next_to_nothing() {
    // Two executors carry 228 requests/s of the best variant, 2280 of the fastest.
    let calm = run(60.0, "most_accurate_in_time");
    assert!(calm.accuracy().unwrap() > 0.989, "{calm}");
    let mut before = calm.accuracy().unwrap();
    for rate in [200.0, 400.0, 800.0, 1600.0] {
        let report = run(rate, "most_accurate_in_time");
        let accuracy = report.accuracy().unwrap();
        assert!(report.attainment() > 0.99, "{rate}: {report}");
        assert!(accuracy <= before, "{rate}: {report}");
        before = accuracy;
    }
    let fixed = run(800.0, "fixed");
    assert!(fixed.attainment() < 0.5, "{fixed}");
}

#[test]
fn requests_of_a_task_are_accounted_for_once_under_every_policy() {
    for entry in &SELECTIONS {
        let report = run(700.0, entry.name);
        let total = report.total();
        let ended = total.in_time + total.late + total.refused_total() + total.cancelled;
        assert_eq!(total.offered, ended + total.failed, "{}: {report}", entry.name);
        assert!(total.in_time > 0, "{}: {report}", entry.name);
    }
}

#[test]
fn a_plan_is_nearly_as_accurate_as_the_best_mix_and_loses_next_to_nothing() {
    // Rows of full batches take 8.75, 3.5 and 0.875 ms of two executors: by hand, the best mixes of two variants.
    for (rate, best) in [(400.0, 0.9614), (600.0, 0.9436), (800.0, 0.9119)] {
        let planned = run(rate, "planned");
        assert!(planned.accuracy().unwrap() > best - 0.015, "{rate}: {planned}");
        assert!(planned.attainment() > 0.999, "{rate}: {planned}");
    }
}

#[test]
fn a_history_with_plans_replays_without_planning_again() {
    let scenario = scenario(500.0, "planned");
    let mut world = World::new(&scenario).unwrap();
    world.keep_history(&scenario);
    let (_, history) = world.run().unwrap();
    let planned = |line: &Line| matches!(line, Line::Event(_, Event::MixPlanned { .. }));
    assert!(history.lines.iter().filter(|line| planned(line)).count() >= 38);
    let lines: Vec<String> =
        history.lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    let replayed = sim::replay(lines.iter().map(String::as_str));
    assert!(replayed.is_ok(), "{replayed:?}");
}

#[test]
fn a_replay_counts_why_variants_were_chosen_also_of_recordings_that_do_not_say() {
    let scenario = scenario(400.0, "most_accurate_in_time");
    let mut world = World::new(&scenario).unwrap();
    world.keep_history(&scenario);
    let (report, mut history) = world.run().unwrap();
    let replayed = |lines: &[Line]| {
        let lines: Vec<_> = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        sim::replay(lines.iter().map(String::as_str)).unwrap()
    };
    let told = replayed(&history.lines);
    let chosen: u64 = told.choices.values().sum();
    assert!(chosen > 0 && chosen <= report.total().offered, "{told}");
    assert!(told.choices[&Because::SteppedDown] > 0, "{told}");
    assert!(told.to_string().contains(", stepped_down "), "{told}");
    for line in &mut history.lines {
        if let Line::Action(Action::Choose { because, .. }) = line {
            *because = None;
        }
    }
    assert_eq!(replayed(&history.lines), told);
}

#[test]
fn an_unknown_selection_policy_is_refused_with_those_known() {
    let error = World::new(&scenario(1.0, "best")).err().unwrap().to_string();
    assert!(error.starts_with("unknown selection policy \"best\"; known are: most_"), "{error}");
}
