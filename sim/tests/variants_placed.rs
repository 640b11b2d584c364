//! Variants of a task on executors that hold one of them each: where they are follows what is asked for.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::time::Duration;

use batcher::Instant;
use models::VariantId;
use router::{Action, Event, Line};
use sim::{Report, Scenario, World};

const SECOND: Duration = Duration::from_secs(1);
const EXECUTORS: usize = 4;

/// Requests a second in each of three phases of this length.
const PHASE: u32 = 20;
const CALM: u32 = 280;
const BUSY: u32 = 700;

/// Variants of 10 ms and 1 ms, right in 0.9 and 0.7 of cases, on executors of which each holds one.
fn scenario(name: &str, placement: &str, more: &str) -> Scenario {
    let folder = std::env::temp_dir().join(format!("punctual-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let phases = [CALM, BUSY, CALM];
    let phase = |(phase, rate): (u32, u32)| {
        (0..PHASE * rate).map(move |n| f64::from(phase * PHASE) + f64::from(n) / f64::from(rate))
    };
    let times = (0..).zip(phases).flat_map(phase);
    let lines = times.map(|at| format!("{at:.6},f\n")).collect::<String>();
    std::fs::write(folder.join("t.csv"), format!("t_seconds,model\n{lines}")).unwrap();
    let text = format!(
        r#"
        seed = 1
        duration = "{}s"
        [placement]
        {placement}
        [[executor]]
        count = {EXECUTORS}
        memory_mb = 6
        copy = {{ mb_per_s = 100, base = "50ms" }}
        {more}
        [[model]]
        name = "best"
        profile = {{ fixed = "0s", per_item = "10ms", batch_max = 1 }}
        weights_mb = 6
        answers = {{ task = "t", accuracy = 0.9, cost = 10 }}
        slo = "100ms"
        trace = {{ file = "t.csv" }}
        [[model]]
        name = "fast"
        profile = {{ fixed = "0s", per_item = "1ms", batch_max = 1 }}
        weights_mb = 4
        answers = {{ task = "t", accuracy = 0.7, cost = 1 }}
        slo = "100ms"
        "#,
        PHASE * 3
    );
    Scenario::from_text(&folder.join("s.toml").display().to_string(), &text).unwrap()
}

fn run(scenario: &Scenario) -> (Report, Vec<Line>) {
    let mut world = World::new(scenario).unwrap();
    world.keep_history(scenario);
    let (report, history) = world.run().unwrap();
    (report, history.lines)
}

/// How many executors were to have each variant by the last placement before that second.
fn placed(lines: &[Line], second: u32) -> (usize, usize) {
    let before = Instant::ZERO + SECOND * second;
    let mut placements = lines.iter().filter_map(|line| match line {
        Line::Event(at, Event::PlacementDecided { placement }) if *at < before => Some(placement),
        Line::Settings(_) | Line::Event(..) | Line::Timeout(_) | Line::Action(_) => None,
    });
    let last = placements.next_back().unwrap();
    (last.of(VariantId(0)).count(), last.of(VariantId(1)).count())
}

/// The most loads between two placements.
fn loads_max(lines: &[Line]) -> usize {
    let (mut most, mut loads) = (0, 0);
    for line in lines {
        match line {
            Line::Event(_, Event::PlacementDecided { .. }) => loads = 0,
            Line::Action(Action::Load { .. }) => loads += 1,
            Line::Settings(_) | Line::Event(..) | Line::Timeout(_) | Line::Action(_) => {}
        }
        most = most.max(loads);
    }
    most
}

#[test]
fn a_demand_that_rises_downgrades_as_few_executors_as_it_needs_and_one_that_falls_upgrades_them() {
    let placement = "policy = \"by_accuracy\"\nevery = \"2s\"\nmoves_max = 1";
    let (report, lines) = run(&scenario("follows", placement, ""));
    assert_eq!(placed(&lines, PHASE), (4, 0));
    let (best, fast) = placed(&lines, 2 * PHASE);
    assert!(best >= 2 && fast >= 1 && best + fast == EXECUTORS, "{best} {fast}");
    assert_eq!(placed(&lines, 3 * PHASE), (4, 0));
    assert_eq!(loads_max(&lines), 1);
    assert!(report.attainment() > 0.95, "{report}");
    let accuracy = report.accuracy().unwrap();
    assert!(accuracy > 0.78 && accuracy < 0.89, "{accuracy}");
}

#[test]
fn a_placement_loads_no_more_than_its_bound_whatever_the_bound() {
    for bound in [0, 1, 2, 3] {
        let placement = format!("policy = \"by_accuracy\"\nevery = \"2s\"\nmoves_max = {bound}");
        let (_, lines) = run(&scenario("bound", &placement, ""));
        assert!(loads_max(&lines) <= bound, "{bound}");
    }
}

#[test]
fn loads_that_fail_cost_no_request_its_one_end() {
    let placement = "policy = \"by_accuracy\"\nevery = \"2s\"\nmoves_max = 1";
    let (report, lines) = run(&scenario("fails", placement, "load_failure_share = 0.5"));
    let failed = |line: &&Line| matches!(line, Line::Event(_, Event::WeightsFailed { .. }));
    assert!(lines.iter().filter(failed).count() > 0);
    let total = report.total();
    let ended = total.in_time + total.late + total.refused_total() + total.cancelled;
    assert_eq!(total.offered, ended + total.failed, "{report}");
}
