//! A thousand random worlds with failures, stalls and clients that leave: nothing that must never happen happens.

use router::{Action, Line};
use sim::{World, random_scenario};

/// The seeds of every run; `punctual-sim fuzz` tries others.
const SEEDS: u64 = 1000;
/// Of worlds in which all models have one policy, for each policy.
const SEEDS_EACH: u64 = 100;

#[test]
fn no_seed_breaks_an_invariant() {
    let mut offered = 0;
    let mut in_time = 0;
    for seed in 0..SEEDS {
        let world = World::new(&random_scenario(seed)).unwrap();
        let (report, _) =
            world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        offered += report.models.iter().map(|model| model.offered).sum::<u64>();
        in_time += report.models.iter().map(|model| model.in_time).sum::<u64>();
    }
    // The worlds must be worth the name: many requests, a good part of them served.
    assert!(offered > 100_000 && in_time > offered / 10, "{in_time} of {offered}");
}

#[test]
fn no_seed_breaks_an_invariant_under_any_one_policy() {
    for policy in &batcher::ALL {
        let mut in_time = 0;
        for seed in 0..SEEDS_EACH {
            let mut scenario = random_scenario(seed);
            scenario.router.batching = Some(policy.name.to_owned());
            scenario.models.iter_mut().for_each(|model| model.policy = None);
            let world = World::new(&scenario).unwrap();
            let (report, _) = world
                .run()
                .unwrap_or_else(|violation| panic!("{}, seed {seed}: {violation}", policy.name));
            in_time += report.models.iter().map(|model| model.in_time).sum::<u64>();
        }
        assert!(in_time > 1000, "{} answers {in_time} requests in time", policy.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_history_and_it_replays() {
    let mut withdrawn = 0;
    for seed in 0..20 {
        let scenario = random_scenario(seed);
        let history = || {
            let mut world = World::new(&scenario).unwrap();
            world.keep_history(&scenario);
            world.run().unwrap().1
        };
        let first = history();
        assert!(first == history(), "seed {seed} gave two histories");
        let withdraws = |line: &&Line| matches!(line, Line::Action(Action::Withdraw { .. }));
        withdrawn += first.lines.iter().filter(withdraws).count();
        let lines: Vec<String> =
            first.lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        let replayed = sim::replay(lines.iter().map(String::as_str))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(replayed.events > 0 && replayed.actions > 0);
    }
    assert!(withdrawn > 0, "no batch was withdrawn");
}

#[test]
fn a_replay_names_the_first_line_that_differs() {
    let scenario = random_scenario(3);
    let mut world = World::new(&scenario).unwrap();
    world.keep_history(&scenario);
    let lines = world.run().unwrap().1.lines;
    let mut lines: Vec<String> =
        lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    let at = lines.iter().position(|line| line.starts_with("{\"Action\"")).unwrap();
    lines.remove(at);
    let error = sim::replay(lines.iter().map(String::as_str)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("line {}", at + 1)), "{error}");
}

#[test]
fn of_a_recording_that_is_cut_off_within_a_line_the_whole_lines_are_replayed() {
    let scenario = random_scenario(3);
    let mut world = World::new(&scenario).unwrap();
    world.keep_history(&scenario);
    let lines = world.run().unwrap().1.lines;
    let text = |line: &Line| serde_json::to_string(line).unwrap() + "\n";
    let text: String = lines.iter().map(text).collect();
    let whole = sim::replay(text.lines()).unwrap();
    assert_eq!(whole.cut_off, None);
    let cut = sim::replay(text[..text.len() - 5].lines()).unwrap();
    assert_eq!(cut.cut_off, Some(lines.len()));
    assert_eq!(cut.events + cut.actions + 1, whole.events + whole.actions);
    // Within the recording such a line is an error, and so is a last one that is whole and wrong.
    let wrong = text.replacen("}\n", "\n", 2);
    assert!(sim::replay(wrong.lines()).unwrap_err().to_string().starts_with("line 1: EOF"));
    assert!(sim::replay((text + "{\"Nothing\":1}").lines()).is_err());
}

#[test]
fn no_seed_breaks_an_invariant_where_all_runs_may_be_broken_off_and_all_replay() {
    let mut aborted = 0;
    for seed in 0..300 {
        let mut scenario = random_scenario(seed);
        scenario.router.batching = Some("largest".to_owned());
        scenario.router.admission = (seed % 2 == 0).then(|| "always".to_owned());
        scenario.models.iter_mut().for_each(|model| model.policy = None);
        scenario.executors.iter_mut().for_each(|executor| executor.preemption = true);
        let mut world = World::new(&scenario).unwrap();
        world.keep_history(&scenario);
        let (report, history) =
            world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        aborted += report.aborted;
        let lines: Vec<String> =
            history.lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        sim::replay(lines.iter().map(String::as_str))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(aborted > 1000, "only {aborted} runs were broken off");
}
