//! What no policy can exceed: closed forms for even arrivals, a bound for any arrivals, and clairvoyant optima.

mod optimum;

use std::time::Duration;

use models::LatencyProfile;

use crate::scenario::Source;
use crate::{ModelSpec, Scenario, ScenarioError};

pub use optimum::{Case, TooLarge, optimum, optimum_alone};

/// A batch size and the goodput of all executors with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Rows of each batch.
    pub batch: u32,
    /// Requests a second.
    pub goodput: f64,
}

/// Goodput with evenly spaced arrivals of one model; `None` where no batch is in time.
///
/// Equal models on the same executors reach at most as much: their requests, taken as those of one model, could be
/// batched together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosedForms {
    /// Each executor collects a batch of its own while it runs the one before: `2 l(b) <= slo`.
    pub uncoordinated: Option<Point>,
    /// Executors take turns, so that a batch collects for `l(b) / N`: `l(b) (1 + 1/N) <= slo`.
    pub staggered: Option<Point>,
    /// Every executor always runs batches that are in time: `l(b) <= slo`.
    pub capacity: Option<Point>,
}

/// The closed forms of that profile, objective and number of executors.
#[must_use]
pub fn closed_forms(profile: &LatencyProfile, slo: Duration, executors: u32) -> ClosedForms {
    let best = |waits: f64| {
        let sizes = (1..=profile.batch_max()).filter(|&batch| {
            profile.median(batch).as_secs_f64() * (1.0 + waits) <= slo.as_secs_f64()
        });
        let points = sizes.map(|batch| {
            let rate = f64::from(batch) / profile.median(batch).as_secs_f64();
            Point { batch, goodput: rate * f64::from(executors) }
        });
        points.max_by(|a, b| a.goodput.total_cmp(&b.goodput))
    };
    let executors = f64::from(executors.max(1));
    ClosedForms { uncoordinated: best(1.0), staggered: best(1.0 / executors), capacity: best(0.0) }
}

/// The most requests of a scenario's arrivals that any policy can answer in time, and how many there are.
///
/// A proof for any arrivals, policies that know the future included. Let a batch of `b` requests of one model start at
/// `s`. It is in time only if all its requests arrived in `[s + l(b) - slo, s]`: within a span of `slo - l(b)`. So a
/// request can be in a batch of `b` only if some span of that length around its arrival holds `b` arrivals of its
/// model. Let `c` of a request be the least `l(b) / b` over the `b` that this allows. A batch of `b` uses `l(b)` of an
/// executor, at least the sum of `c` over its requests. All batches run between the first arrival and the last
/// deadline, so the sum of `c` over all requests answered in time is at most that time multiplied by the number of
/// executors; the most requests are answered when those with the smallest `c` are.
///
/// # Errors
/// Where the scenario makes no sense, or has requests of several rows or shapes.
pub fn in_time_max(scenario: &Scenario) -> Result<(u64, u64), ScenarioError> {
    let until = u64::try_from(scenario.duration.as_nanos()).unwrap_or(u64::MAX);
    let mut costs: Vec<f64> = Vec::new();
    let (mut first, mut last) = (u64::MAX, 0);
    for demand in scenario.demands()? {
        let spec = &scenario.models[demand.entry];
        plain(spec)?;
        let times = arrivals(demand.arrivals, until);
        let (Some(&begin), Some(&end)) = (times.first(), times.last()) else { continue };
        let slo = spec.slo.unwrap_or(scenario.duration);
        first = first.min(begin);
        last = last.max(end + u64::try_from(slo.as_nanos()).unwrap_or(u64::MAX / 2));
        costs.extend(least_costs(&times, &spec.latency_profile()?, slo, batch_max(spec)?));
    }
    let offered = costs.len() as u64;
    costs.sort_by(f64::total_cmp);
    let mut budget = last.saturating_sub(first) as f64 / 1e9 * f64::from(scenario.executor_count());
    let fit = costs.iter().take_while(|cost| {
        budget -= **cost;
        budget >= 0.0
    });
    Ok((fit.count() as u64, offered))
}

/// The highest rate in requests a second, in steps of `step`, at which a share of at most `bad_max` must be lost
/// according to `lost`, which counts what is lost and offered. More requests are taken to lose a larger share.
///
/// # Errors
/// Where the scenario makes no sense.
pub fn rate_max<E: From<ScenarioError>>(
    scenario: &Scenario,
    (bad_max, step): (f64, f64),
    lost: impl Fn(&Scenario) -> Result<(u64, u64), E>,
) -> Result<f64, E> {
    let stated = scenario.offered_rate()?;
    let (mut low, mut high) = (0.0, 2.0 * scenario.capacity()?);
    while high - low > step * high {
        let middle = low + (high - low) / 2.0;
        let load = scenario.load * middle / stated;
        let (lost, offered) = lost(&Scenario { load, ..scenario.clone() })?;
        if lost as f64 <= bad_max * offered as f64 {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The arrivals of a scenario's single models before its end.
fn arrivals(source: Source, until: u64) -> Vec<u64> {
    source.take_while(|&at| at < until).collect()
}

fn plain(spec: &ModelSpec) -> Result<(), ScenarioError> {
    if spec.rows_max == 1 && spec.shapes == 1 && spec.cancel_share == 0.0 {
        return Ok(());
    }
    Err(ScenarioError::Model {
        model: spec.name.clone(),
        reason: "bounds are for requests of one row and one shape whose clients stay".to_owned(),
    })
}

fn batch_max(spec: &ModelSpec) -> Result<u32, ScenarioError> {
    Ok(spec.batch_max.unwrap_or(spec.latency_profile()?.batch_max()))
}

/// Of each arrival, the least seconds of an executor that its answer in time can cost; infinite where it has none.
fn least_costs(times: &[u64], profile: &LatencyProfile, slo: Duration, batch_max: u32) -> Vec<f64> {
    let mut costs = vec![f64::INFINITY; times.len()];
    for batch in 1..=batch_max {
        let time = profile.median(batch);
        let Some(span) = slo.checked_sub(time) else { continue };
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let cost = time.as_secs_f64() / f64::from(batch);
        let size = batch as usize;
        // All of a group that fits can have this cost; groups overlap, so remember how far they have been paid.
        let mut paid = 0;
        for end in size..=times.len() {
            let begin = end - size;
            if times[end - 1] - times[begin] <= span {
                for known in &mut costs[begin.max(paid)..end] {
                    *known = known.min(cost);
                }
                paid = end;
            }
        }
    }
    costs
}

/// The first arrivals of a scenario of one model as a small case, for a clairvoyant optimum.
///
/// # Errors
/// Where the scenario has several models, or requests of several rows or shapes.
pub fn small_case(scenario: &Scenario, requests: usize) -> Result<Case, ScenarioError> {
    let [spec] = &scenario.models[..] else {
        return Err(ScenarioError::Whole("an optimum is for a scenario of one model".to_owned()));
    };
    plain(spec)?;
    let slo = spec.slo.ok_or_else(|| {
        ScenarioError::Whole("an optimum needs a model with an objective".to_owned())
    })?;
    let mut demands = scenario.demands()?;
    if demands.len() != 1 {
        return Err(ScenarioError::Whole("an optimum is for a scenario of one model".to_owned()));
    }
    let until = u64::try_from(scenario.duration.as_nanos()).unwrap_or(u64::MAX);
    let source = demands.remove(0).arrivals;
    let profile = spec.latency_profile()?;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok(Case {
        arrivals: arrivals(source, until).into_iter().take(requests).collect(),
        slo: nanos(slo),
        times: (1..=batch_max(spec)?).map(|batch| nanos(profile.median(batch))).collect(),
        executors: scenario.executor_count() as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecutorSpec, ProfileSpec, RouterChoice, World};

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    fn resnet() -> LatencyProfile {
        LatencyProfile::linear(ms(5.204), ms(1.082), 64)
    }

    #[test]
    fn the_closed_forms_give_the_known_points_of_resnet50() {
        // The table of reference points: objective, executors, both bounds in requests a second.
        let table = [
            (13.0, 8, 1273.0, 3769.0),
            (13.0, 64, 10_181.0, 35_060.0),
            (25.0, 1, 513.0, 513.0),
            (25.0, 8, 4104.0, 5599.0),
            (100.0, 8, 6617.0, 6877.0),
        ];
        for (slo, executors, uncoordinated, staggered) in table {
            let found = closed_forms(&resnet(), ms(slo), executors);
            let near = |point: Option<Point>, wanted: f64| {
                (point.unwrap().goodput / wanted - 1.0).abs() < 0.002
            };
            assert!(near(found.uncoordinated, uncoordinated), "{slo} ms x {executors}: {found:?}");
            assert!(near(found.staggered, staggered), "{slo} ms x {executors}: {found:?}");
            assert!(found.capacity.unwrap().goodput >= found.staggered.unwrap().goodput);
        }
        let infeasible = closed_forms(&resnet(), ms(12.0), 1);
        assert_eq!((infeasible.uncoordinated, infeasible.staggered), (None, None));
    }

    fn scenario(rate: f64, slo: f64, executors: u32, arrivals: &str) -> Scenario {
        let profile = ProfileSpec::Linear { fixed: ms(5.204), per_item: ms(1.082), batch_max: 64 };
        let model = ModelSpec {
            slo: Some(ms(slo)),
            arrivals: arrivals.to_owned(),
            ..ModelSpec::new("m", profile, rate)
        };
        Scenario {
            placement: None,
            seed: 5,
            duration: Duration::from_secs(2),
            warmup: Duration::ZERO,
            load: 1.0,
            router: RouterChoice::default(),
            executors: vec![ExecutorSpec { count: executors, ..ExecutorSpec::default() }],
            models: vec![model],
            compositions: Vec::new(),
        }
    }

    #[test]
    fn with_even_arrivals_the_bound_is_the_staggered_one() {
        for (slo, executors) in [(25.0, 8), (13.0, 8), (50.0, 2)] {
            let staggered = closed_forms(&resnet(), ms(slo), executors).staggered.unwrap().goodput;
            let share = |factor: f64| {
                let scenario = scenario(staggered * factor, slo, executors, "constant");
                let (served, offered) = in_time_max(&scenario).unwrap();
                served as f64 / offered as f64
            };
            assert!(share(0.99) > 0.999, "{slo} x {executors}: {}", share(0.99));
            // A batch has whole requests and a span one more than its length holds: a few per cent of room.
            assert!(share(1.15) < 0.999, "{slo} x {executors}: {}", share(1.15));
        }
    }

    #[test]
    fn no_policy_exceeds_the_bound() {
        for (rate, slo, executors) in [(8000.0, 25.0, 8), (900.0, 13.0, 1), (6000.0, 9.0, 4)] {
            for arrivals in ["poisson", "gamma:3"] {
                let scenario = scenario(rate, slo, executors, arrivals);
                let (most, offered) = in_time_max(&scenario).unwrap();
                assert!(most < offered, "{rate} is overload");
                for policy in &batcher::ALL {
                    let world = World::new(&scenario.with_batching(policy.name)).unwrap();
                    let served = world.run().unwrap().0.total().in_time;
                    assert!(served <= most, "{}: {served} of at most {most}", policy.name);
                }
            }
        }
    }
}
