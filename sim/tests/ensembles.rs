//! Ensembles in worlds: when they stop asking, who is left out, what they are worth, and that wrong ones are refused.
#![cfg(test)]

use sim::{ModelReport, Report, Scenario, World, random_scenario};

const SCENARIO: &str = include_str!("../scenarios/ensemble.toml");
const EARLY: &str = "at_once = 2, agreement = 0.9 }";

/// The scenario with some of its text replaced.
fn with(replaced: &[(&str, &str)]) -> Scenario {
    let mut text = SCENARIO.to_owned();
    for (from, to) in replaced {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Scenario::from_text("test.toml", &text).unwrap()
}

fn run(replaced: &[(&str, &str)]) -> Report {
    World::new(&with(replaced)).unwrap().run().unwrap().0
}

fn votes(report: &Report) -> &ModelReport {
    votes_of(report, "t")
}

fn votes_of<'a>(report: &'a Report, task: &str) -> &'a ModelReport {
    report.models.iter().find(|model| model.name == task).unwrap()
}

/// Requests to variants for each request.
fn asked(report: &Report) -> f64 {
    votes(report).asked as f64 / votes(report).offered as f64
}

fn ended(report: &ModelReport) -> u64 {
    report.in_time + report.late + report.refused_total() + report.failed
}

#[test]
fn votes_of_variants_that_err_apart_are_right_more_often_than_the_best_of_them() {
    let all = [(EARLY, "}"), ("alike = 0.5", "alike = 0.0")];
    let apart = run(&all);
    assert!(votes(&apart).accuracy.unwrap() > 0.98, "{apart}");
    let together = run(&[(EARLY, "}"), ("alike = 0.5", "alike = 1.0")]);
    let own = votes(&together).accuracy.unwrap();
    assert!(own < 0.951, "no more often than the best one: {together}");
}

#[test]
fn agreement_ends_it_before_all_are_asked_and_costs_little_accuracy() {
    let (all, early) = (run(&[(EARLY, "}")]), run(&[]));
    assert_eq!(votes(&all).offered, votes(&early).offered, "the same requests");
    assert_eq!(asked(&all), 5.0, "{all}");
    assert!((2.0..3.5).contains(&asked(&early)), "{early}");
    assert!(early.busy < all.busy, "{:?} of {:?}", early.busy, all.busy);
    let (accuracy, most) = (votes(&early).accuracy.unwrap(), votes(&all).accuracy.unwrap());
    assert!(accuracy > most - 0.01, "{accuracy} beside {most}");
    // Who was left out by agreement was not missing.
    assert_eq!((votes(&early).short, votes(&early).in_time), (0, votes(&early).offered));
}

#[test]
fn without_agreement_nobody_is_asked_whose_vote_can_change_nothing() {
    // Two of 3 of 5 that are alike decide.
    let weights = ["best", "second", "third", "fourth", "fifth"].map(|name| {
        (format!("model = \"{name}\" }}"), format!("model = \"{name}\", weight = 1 }}"))
    });
    let mut replaced: Vec<(&str, &str)> =
        weights.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    replaced.extend([(EARLY, "at_once = 1 }"), ("alike = 0.5", "alike = 1.0")]);
    let report = run(&replaced);
    // Rows on which the first three agree need no other; all are asked only of those between the accuracies.
    assert!((3.0..3.2).contains(&asked(&report)), "{report}");
}

#[test]
fn a_voter_that_would_be_late_is_left_out() {
    // The best takes 20 ms and is refused at the door; the others are in time.
    let report = run(&[(EARLY, "}"), ("\"200ms\"", "\"18ms\""), ("rate = 60.0", "rate = 5.0")]);
    let (own, best) = (votes(&report), &report.models[0]);
    assert_eq!((best.name.as_str(), best.batches), ("best", 0), "{report}");
    assert_eq!((own.in_time, asked(&report)), (own.offered, 5.0), "{report}");
}

#[test]
fn at_the_deadline_whoever_has_answered_decides() {
    // One run in five takes a hundred times as long as predicted.
    let report = run(&[
        (EARLY, "}"),
        ("count = 4\nnoise = 0.05", "count = 8\nstraggler_share = 0.2\nstraggler_factor = 100"),
        ("rate = 60.0", "rate = 2.0"),
    ]);
    let own = votes(&report);
    assert!(own.short > own.offered / 20, "{report}");
    assert_eq!((own.in_time, own.late), (own.offered, 0), "{report}");
    let longest = own.latencies.percentile(1.0).as_secs_f64() * 1e3;
    assert!((199.5..200.5).contains(&longest), "{longest} ms");
}

#[test]
fn in_an_overload_every_request_ends_once() {
    for early in [EARLY, "}"] {
        let report = run(&[(EARLY, early), ("rate = 60.0", "rate = 600.0")]);
        let own = votes(&report);
        assert_eq!(own.offered, ended(own), "{report}");
        assert!(own.short > 0 && own.refused_total() > 0, "{report}");
        assert!(own.in_time > own.offered / 2 && own.late < own.offered / 500, "{report}");
    }
}

#[test]
fn votes_that_would_cost_more_than_may_be_are_not_asked_for() {
    // 10 and 6, not the 4 of the third, but the 2 of the fourth.
    let report = run(&[(EARLY, "}\nmax_cost = 18")]);
    assert_eq!(asked(&report), 3.0, "{report}");
    let ran = |place: usize| report.models[place].batches > 0;
    assert_eq!([0, 1, 2, 3, 4].map(ran), [true, true, false, true, false], "{report}");
}

#[test]
fn random_worlds_with_votes_end_every_request_once() {
    let votes_in = |scenario: &Scenario| {
        scenario.compositions.iter().any(|composition| composition.ensemble.is_some())
    };
    let drawn = (0..2000).map(random_scenario).filter(votes_in).take(15);
    let (mut worlds, mut short, mut answered) = (0, 0, 0);
    for scenario in drawn {
        let (report, _) = World::new(&scenario).unwrap().run().unwrap();
        let own = votes_of(&report, "task");
        assert_eq!(own.offered, ended(own), "seed {}: {report}", scenario.seed);
        worlds += 1;
        short += own.short;
        answered += own.in_time;
    }
    assert_eq!(worlds, 15);
    assert!(answered > 1000 && short > 0, "{answered}, {short}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = || {
        let scenario = with(&[]);
        let mut world = World::new(&scenario).unwrap();
        world.keep_history(&scenario);
        world.run().unwrap()
    };
    assert!(history() == history());
}

#[test]
fn wrong_ensembles_are_refused_with_their_place() {
    let table = [
        ("model = \"second\" }", "model = \"ghost\" }", 11, "\"ghost\" does not answer it"),
        (
            "model = \"second\" }",
            "model = \"best\" }",
            13,
            "ensemble.members: \"best\" votes twice",
        ),
        (
            "model = \"second\" }",
            "model = \"second\", weight = -1.0 }",
            13,
            "ensemble.members: weight must be from 0 to 1000, not -1",
        ),
        ("alike = 0.5", "alike = 1.5", 20, "alike must be from 0 to 1"),
        (
            "alike = 0.5",
            "max_cost = 11",
            20,
            "max_cost must let two voters be asked, and 11 does not",
        ),
        (
            "alike = 0.5",
            "hedge = 1.0",
            13,
            "it is one of `cascade`, `ensemble`, `hedge` and `coded`",
        ),
    ];
    for (from, to, line, reason) in table {
        assert!(SCENARIO.contains(from), "{from}");
        let text = SCENARIO.replace(from, to);
        let error = Scenario::from_text("test.toml", &text).unwrap_err().to_string();
        let wanted = format!("test.toml, line {line}: composition of task \"t\": {reason}");
        assert_eq!(error, wanted);
    }
    let one = "ensemble = { members = [{ model = \"best\" }] }";
    let (before, rest) = SCENARIO.split_once("ensemble = {").unwrap();
    let (_, after) = rest.split_once(EARLY).unwrap();
    let text = format!("{before}{one}{after}");
    let error = Scenario::from_text("test.toml", &text).unwrap_err().to_string();
    assert!(error.ends_with(": ensemble.members must be 2 or more, not 1"), "{error}");
}

#[test]
fn unknown_and_impossible_keys_of_an_ensemble_are_refused_with_their_line() {
    let table = [
        ("at_once = 2", "at_one = 2", "unknown field `at_one`"),
        ("at_once = 2", "at_once = 0", "nonzero"),
        ("agreement = 0.9", "agreement = 1.9", "from 0 to 1"),
        ("model = \"fifth\" }", "model = \"fifth\", wait = 1 }", "unknown field `wait`"),
    ];
    for (from, to, reason) in table {
        assert!(SCENARIO.contains(from), "{from}");
        let error = Scenario::from_text("test.toml", &SCENARIO.replace(from, to)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("line ") && error.contains(reason), "{error}");
    }
}
