//! How the default policies keep what they promise where runs do not take what the profile says.

use std::time::Duration;

use models::{LatencyProfile, ProfilePoint};
use sim::{
    Drift, DriftShape, ExecutorSpec, ModelReport, ModelSpec, ProfileSpec, RouterChoice, Scenario,
    Search, SimError, World,
};

use crate::{Bar, verdict};

/// The profile of the stagger bound's table, with runs that spread by a thousandth as a GPU's do (Clockwork, OSDI'20).
const FIXED: Duration = Duration::from_micros(5204);
const PER_ITEM: Duration = Duration::from_micros(1082);
const BATCH_MAX: u32 = 64;
const NOISE: f64 = 0.001;
/// The 99th percentile of the normal distribution, in deviations.
const P99_DEVIATIONS: f64 = 2.326;
/// The objective, in multiples of a lone run.
const SLO: f64 = 5.0;
/// Requests of a run by which goodput is searched.
const SEARCHED: u64 = 30_000;
/// Of a run in which shares of a hundredth are told apart though stragglers are few.
const WEIGHED: u64 = 300_000;
/// Of a run in which late answers are counted: one in 100,000 shows.
const COUNTED: u64 = 1_000_000;
/// While run times rise, so long.
const DRIFT: Duration = Duration::from_secs(60);
/// To how much.
const DRIFT_TO: f64 = 2.0;
/// Exact worlds that stand for the minute, each in the middle of its part.
const PARTS: u32 = 5;

/// A world: how many executors, and how many models share them.
pub const WORLDS: [(u32, u32); 3] = [(1, 1), (8, 1), (8, 8)];

/// What is wrong with the runs, by name.
fn disturbances() -> [(&'static str, ExecutorSpec); 4] {
    let exact = ExecutorSpec { noise: NOISE, ..ExecutorSpec::default() };
    [
        ("10 % longer than the profile says", ExecutorSpec { speed_error: 1.1, ..exact.clone() }),
        ("10 % shorter than the profile says", ExecutorSpec { speed_error: 0.9, ..exact.clone() }),
        ("spread by 10 %", ExecutorSpec { noise: 0.1, ..exact.clone() }),
        (
            "1 % of runs 5 times as long",
            ExecutorSpec { straggler_share: 0.01, straggler_factor: 5.0, ..exact },
        ),
    ]
}

/// Measures in one world and says what was reached, a line for each bar.
///
/// # Errors
/// Where a world has no answer.
pub fn robust(place: (u32, u32), seed: u64) -> Result<Vec<String>, SimError> {
    let search = Search { requests: Some(SEARCHED), ..Search::default() };
    let exact = world(place, seed, 1.0);
    let rate = search.goodput(&exact)?.rate;
    let mut lines = kept(&exact, rate)?;
    for (name, executor) in disturbances() {
        // The exact run is on the same devices: one of which the profile knows how slow they are.
        let known = world(place, seed, executor.speed_error);
        let best = search.goodput(&known)?.rate;
        let mut disturbed = exact.clone();
        disturbed.executors[0] = ExecutorSpec { count: place.0, ..executor };
        lines.extend(disturbed_by(name, &disturbed, (&known, best), rate)?);
    }
    let (ratio, late) = drifting(&exact, rate)?;
    let what = format!("times rise {DRIFT_TO}-fold in a minute");
    lines.push((format!("{what}, in time of the exact"), ratio, Bar::AtLeast(0.9)));
    lines.push((format!("{what}, late answers %"), late * 100.0, Bar::AtMost(1.0)));
    let (devices, models) = place;
    let line = |(what, found, bar): &Line| {
        verdict(&format!("{devices} x {models}: {what}"), *found, *bar).0
    };
    Ok(lines.iter().map(line).collect())
}

/// What was measured, what was found, and what it must reach.
type Line = (String, f64, Bar);

/// How well promises are kept at that rate and beyond it.
fn kept(exact: &Scenario, rate: f64) -> Result<Vec<Line>, SimError> {
    let long = Search { requests: Some(COUNTED), ..Search::default() };
    let mut lines = Vec::new();
    for (load, name) in [(1.0, "at goodput"), (1.5, "at 1.5 times goodput")] {
        let total = run(&long.world_at(exact, load * rate)?)?;
        let late = late_share(&total) * 1e5;
        let what = format!("exact, late of 100,000 answers {name}");
        lines.push((what, late, Bar::AtMost(1.0)));
    }
    Ok(lines)
}

/// What is reached in a disturbed world, of what is reached in the one that is known and has that goodput; `profiled`
/// is the goodput of devices that are as the profile says.
fn disturbed_by(
    name: &str,
    disturbed: &Scenario,
    (known, best): (&Scenario, f64),
    profiled: f64,
) -> Result<Vec<Line>, SimError> {
    let search = Search { requests: Some(SEARCHED), ..Search::default() };
    let long = Search { requests: Some(WEIGHED), ..search };
    let at = |scenario: &Scenario, rate: f64| run(&long.world_at(scenario, rate)?);
    let mut lines = Vec::new();
    let executor = &disturbed.executors[0];
    if executor.straggler_share > 0.0 {
        let rate = 0.9 * best;
        let total = at(disturbed, rate)?;
        let lost = lost_share(&total) - lost_to_stragglers(executor, rate);
        let what = format!("{name}, lost % at 0.9 of the exact's rate, beyond what anybody loses");
        lines.push((what, lost * 100.0, Bar::AtMost(1.0)));
    } else {
        let found = search.goodput(disturbed)?.rate;
        let what = format!(
            "{name}, rate with 1 % lost, of the exact ({:.3} of devices as profiled)",
            found / profiled
        );
        lines.push((what, found / best, Bar::AtLeast(0.9)));
    }
    let ratio = at(disturbed, best)?.in_time as f64 / at(known, best)?.in_time.max(1) as f64;
    lines.push((format!("{name}, in time at the exact's rate"), ratio, Bar::AtLeast(0.9)));
    let total = at(disturbed, 1.5 * best)?;
    let what = format!("{name}, late answers % at 1.5 times");
    lines.push((what, late_share(&total) * 100.0, Bar::AtMost(1.0)));
    Ok(lines)
}

/// The share of requests that stragglers cost at that rate, whoever decides, on devices that run nothing twice and
/// break nothing off: the rows of a batch that turns out to be one, since it takes the whole objective; and where there
/// is no other device, those who come while a lone run behind it would be late.
fn lost_to_stragglers(executor: &ExecutorSpec, rate: f64) -> f64 {
    let run = |rows: u32| (FIXED + PER_ITEM * rows).as_secs_f64();
    let objective = SLO * run(1);
    assert!(executor.straggler_factor >= SLO, "a straggler takes the whole objective");
    let rows_max = (1..=BATCH_MAX).take_while(|&rows| run(rows) <= objective);
    let behind = |rows: u32| {
        let shut = (executor.straggler_factor * run(rows) + run(1) - objective).max(0.0);
        rate * shut / f64::from(rows)
    };
    let behind =
        if executor.count > 1 { 0.0 } else { rows_max.map(behind).fold(f64::MAX, f64::min) };
    executor.straggler_share * (1.0 + behind)
}

/// What is answered in time at that rate while run times rise, over what worlds do that know each part of the rise;
/// and the share of answers that are late.
fn drifting(exact: &Scenario, rate: f64) -> Result<(f64, f64), SimError> {
    let minute = |mut scenario: Scenario, length: Duration| {
        (scenario.duration, scenario.warmup) = (length, Duration::ZERO);
        scenario.load = rate;
        scenario
    };
    let mut drifting = exact.clone();
    let shape = DriftShape::Linear;
    drifting.executors[0].drift = Some(Drift { shape, factor: DRIFT_TO, over: DRIFT });
    let total = run(&minute(drifting, DRIFT))?;
    let mut known = 0;
    for part in 0..PARTS {
        let through = (f64::from(part) + 0.5) / f64::from(PARTS);
        let factor = 1.0 + (DRIFT_TO - 1.0) * through;
        let mut scenario = exact.clone();
        scenario.models[0].profile = profile(factor);
        known += run(&minute(scenario, DRIFT / PARTS))?.in_time;
    }
    Ok((total.in_time as f64 / known.max(1) as f64, late_share(&total)))
}

/// So much longer, with a 99th percentile that knows the spread of a thousandth.
fn profile(factor: f64) -> ProfileSpec {
    let (fixed, per_item) = (FIXED.mul_f64(factor), PER_ITEM.mul_f64(factor));
    let linear = LatencyProfile::linear(fixed, per_item, BATCH_MAX);
    let spread = (P99_DEVIATIONS * NOISE).exp();
    let points = (1..=BATCH_MAX).map(|batch| {
        let median = linear.median(batch);
        ProfilePoint { batch, median, p99: median.mul_f64(spread), runs: 100 }
    });
    let profile = LatencyProfile::new(points.collect()).expect("a line is a profile");
    ProfileSpec::Csv { csv: profile.to_csv() }
}

/// Exact but for a thousandth, at 1 request a second.
fn world((devices, models): (u32, u32), seed: u64, factor: f64) -> Scenario {
    let slo = (FIXED + PER_ITEM).mul_f64(SLO);
    let model = ModelSpec {
        count: models,
        slo: Some(slo),
        ..ModelSpec::new("model", profile(factor), 1.0)
    };
    Scenario {
        compositions: Vec::new(),
        seed,
        duration: Duration::from_secs(1),
        warmup: Duration::ZERO,
        load: 1.0,
        router: RouterChoice::default(),
        placement: None,
        executors: vec![ExecutorSpec { count: devices, noise: NOISE, ..ExecutorSpec::default() }],
        models: vec![model],
    }
}

fn run(scenario: &Scenario) -> Result<ModelReport, SimError> {
    let seed = scenario.seed;
    let world = World::new(scenario)?.unchecked();
    let (report, _) = world.run().map_err(|violation| SimError::Violation { seed, violation })?;
    Ok(report.total())
}

/// Of those that came: late, refused or failed.
fn lost_share(total: &ModelReport) -> f64 {
    1.0 - total.in_time as f64 / total.offered.max(1) as f64
}

fn late_share(total: &ModelReport) -> f64 {
    total.late as f64 / (total.in_time + total.late).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_rises_is_held_against_worlds_that_know_it() {
        let exact = world((1, 1), 1, 1.0);
        let (ratio, late) = drifting(&exact, 50.0).unwrap();
        // Far below what it can do, all is in time whatever the profile says.
        assert!((ratio - 1.0).abs() < 0.05 && late < 1e-3, "{ratio} {late}");
    }

    #[test]
    fn late_answers_are_a_share_of_answers() {
        let total = ModelReport { in_time: 99, late: 1, ..ModelReport::default() };
        assert!((late_share(&total) - 0.01).abs() < 1e-9);
    }
}
