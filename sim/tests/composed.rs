//! Cascades and hedges in worlds: what they cost, what they are worth, and that wrong ones are refused.
#![cfg(test)]

use sim::{ModelReport, Report, Scenario, World};

const SCENARIO: &str = include_str!("../scenarios/cascade.toml");

/// The scenario with another composition, or none.
fn with(composition: &str, rate: f64) -> Scenario {
    let (before, rest) = SCENARIO.split_once("[[composition]]").unwrap();
    let (_, models) = rest.split_once("[[model]]").unwrap();
    let models = models.replace("rate = 60.0", &format!("rate = {rate:?}"));
    let text = format!("{before}{composition}\n[[model]]{models}");
    Scenario::from_text("test.toml", &text).unwrap()
}

fn run(composition: &str, rate: f64) -> Report {
    World::new(&with(composition, rate)).unwrap().run().unwrap().0
}

fn row<'a>(report: &'a Report, name: &str) -> &'a ModelReport {
    report.models.iter().find(|model| model.name == name).unwrap()
}

const CASCADE: &str = "[[composition]]\ntask = \"t\"\ncascade = [{ model = \"fast\", threshold = 0.9 }, { model = \"best\" }]";
const BEST: &str = "[[composition]]\ntask = \"t\"\ncascade = [{ model = \"best\" }]";
const HEDGE: &str = "[[composition]]\ntask = \"t\"\nhedge = 1.5";

#[test]
fn a_cascade_is_nearly_as_right_as_its_last_stage_for_less_work() {
    // At a threshold of 0.9 nobody who is wrong is so sure; at 0.5 some are.
    let unsure = CASCADE.replace("0.9", "0.5");
    let (cascade, best) = (run(&unsure, 60.0), run(BEST, 60.0));
    let (own, alone) = (row(&cascade, "t"), row(&best, "t"));
    assert_eq!(own.offered, alone.offered, "the same requests");
    let (accuracy, highest) = (own.accuracy.unwrap(), alone.accuracy.unwrap());
    assert!((highest - 0.99).abs() < 0.005, "{best}");
    assert!(accuracy > 0.95 && accuracy < highest, "{cascade}");
    assert!(cascade.busy < best.busy.mul_f64(0.8), "{:?} of {:?}", cascade.busy, best.busy);
    let asked = own.asked as f64 / own.offered as f64;
    assert!(asked > 1.1 && asked < 1.6, "{cascade}");
    assert_eq!(
        row(&cascade, "fast").offered + row(&cascade, "best").offered,
        0,
        "they count as one"
    );
    assert_eq!(alone.asked, alone.offered);
}

#[test]
fn a_hedge_shortens_the_tail_for_a_little_more_work() {
    let (plain, hedged) = (run("", 20.0), run(HEDGE, 20.0));
    let p = |report: &Report, share| report.total().latencies.percentile(share);
    assert!(p(&hedged, 0.995) < p(&plain, 0.995) / 2, "{hedged}\n{plain}");
    let own = row(&hedged, "t");
    assert_eq!(own.offered, plain.total().offered, "the same requests");
    let again = own.asked as f64 / own.offered as f64;
    assert!(again > 1.0 && again < 1.2, "{again}");
}

#[test]
fn in_an_overload_every_request_ends_once_and_an_answer_at_hand_is_in_time() {
    let cascade = run(CASCADE, 400.0);
    let own = row(&cascade, "t");
    assert_eq!(own.offered, own.in_time + own.late + own.refused_total() + own.failed);
    assert!(own.accuracy.unwrap() < row(&run(CASCADE, 60.0), "t").accuracy.unwrap(), "{cascade}");
}

#[test]
fn stages_and_second_requests_that_would_cost_too_much_are_not_asked() {
    // The first stage costs 1, the second 10.
    let held = run(&format!("{CASCADE}\nmax_cost = 10"), 60.0);
    let own = row(&held, "t");
    assert_eq!(own.asked, own.offered, "{held}");
    assert!((own.accuracy.unwrap() - 0.85).abs() < 0.02 && own.short > 0, "{held}");
    let hedge = |cost: u32| run(&format!("{HEDGE}\nmax_cost = {cost}"), 20.0);
    let (free, held) = (hedge(11), hedge(10));
    assert!(row(&free, "t").asked > row(&free, "t").offered, "{free}");
    assert_eq!(row(&held, "t").asked, row(&held, "t").offered, "{held}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = || {
        let scenario = with(CASCADE, 100.0);
        let mut world = World::new(&scenario).unwrap();
        world.keep_history(&scenario);
        world.run().unwrap()
    };
    assert!(history() == history());
}

#[test]
fn wrong_compositions_are_refused_by_what_is_wrong() {
    let table = [
        ("cascade = []", "a cascade asks somebody"),
        ("cascade = [{ model = \"ghost\" }]", "\"ghost\" does not answer it"),
        ("", "it is one of `cascade`, `ensemble`, `hedge` and `coded`"),
        (
            "hedge = 1.0\ncascade = [{ model = \"fast\" }]",
            "it is one of `cascade`, `ensemble`, `hedge` and `coded`",
        ),
        (
            "cascade = [{ model = \"fast\" }, { model = \"fast\" }]",
            "cascade: \"fast\" is asked twice",
        ),
        ("hedge = 1.0\nmax_cost = 0.5", "max_cost must let anybody be asked, and 0.5 does not"),
        (
            "coded = { group = 2, model = \"fast\" }\nmax_cost = 9",
            "max_cost has no effect on `coded`: its requests all cost the same",
        ),
        ("hedge = -1.0", "hedge must be from 0 to 100"),
        ("hedge = 1.0\nnoise = 2.0", "noise must be from 0 to 1"),
        ("coded = { group = 1, model = \"fast\" }", "group must be from 2 to 16"),
        ("coded = { group = 2, model = \"ghost\" }", "\"ghost\" does not answer it"),
        (
            "coded = { group = 2, model = \"fast\", parity = \"ghost\" }",
            "\"ghost\" does not answer it",
        ),
        (
            "hedge = 1.0\ncoded = { group = 2, model = \"fast\" }",
            "it is one of `cascade`, `ensemble`, `hedge` and `coded`",
        ),
    ];
    for (composition, reason) in table {
        let (before, rest) = SCENARIO.split_once("[[composition]]").unwrap();
        let (_, models) = rest.split_once("[[model]]").unwrap();
        let text =
            format!("{before}[[composition]]\ntask = \"t\"\n{composition}\n[[model]]{models}");
        let error = Scenario::from_text("test.toml", &text).unwrap_err().to_string();
        assert!(error.starts_with("test.toml, line "), "{error}");
        assert!(error.ends_with(&format!(": composition of task \"t\": {reason}")), "{error}");
        let text = text.replace("task = \"t\"\n", "task = \"u\"\n");
        let error = Scenario::from_text("test.toml", &text).unwrap_err().to_string();
        assert!(error.ends_with(": composition of task \"u\": no model answers it"), "{error}");
    }
}
