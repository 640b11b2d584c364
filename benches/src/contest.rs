//! One point of the grid: the goodput of every policy, each at its best setting, beside the bounds.

use std::time::Duration;

use batcher::Entry;
use router::{ADMISSIONS, DISPATCHES};
use sim::bound::{ClosedForms, closed_forms};
use sim::{Goodput, Report, Scenario, Search, SimError, World, clock};

use crate::grid::{Grid, Spot};

/// Every cell has so many objectives of time at least, so that more than the beginning is measured.
const SLOS_MIN: u32 = 50;
/// A tenth of the time goes by before requests are counted.
const WARMUP: f64 = 0.1;
/// Where the default policy serves less than this share of the capacity, cells are as long as if it served this.
const SHARE_MIN: f64 = 0.02;

/// What one policy reached.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Its name.
    pub policy: &'static str,
    /// The highest rate with at most 1 % late or refused.
    pub goodput: f64,
    /// Answers in time a second when twice the best goodput of the cell is offered.
    pub overload: f64,
    /// How it was set, where that is not the default.
    pub setting: String,
}

/// What all policies reached at one point.
#[derive(Clone, Debug)]
pub struct Contest {
    /// Where.
    pub spot: Spot,
    /// In the order of the table; the first is ours.
    pub entrants: Vec<Entrant>,
    /// What even arrivals would allow one model.
    pub forms: ClosedForms,
    /// Virtual seconds of each run.
    pub length: Duration,
    /// CPU time of this cell.
    pub cpu: Duration,
}

impl Contest {
    /// The best goodput of the other policies.
    #[must_use]
    pub fn best_other(&self) -> f64 {
        self.entrants.iter().skip(1).map(|entrant| entrant.goodput).fold(0.0, f64::max)
    }

    /// Our goodput over the best of the others; `None` where both serve nothing.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (ours, best) = (self.entrants[0].goodput, self.best_other());
        (ours > 0.0 || best > 0.0).then(|| ours / best)
    }
}

/// Lets every policy run at a point, with at least so many requests at the default policy's goodput.
///
/// The first policy runs as it is set by default. The others are given their best: every admission and dispatch
/// policy, and for those that do not promise to be in time several delays and largest batches.
///
/// # Errors
/// Where a world has no answer.
pub fn contest(grid: &Grid, spot: &Spot, seed: u64, requests: u32) -> Result<Contest, SimError> {
    let begin = clock::thread_cpu();
    let slo = grid.slo(spot);
    let forms = closed_forms(&grid.profiles[spot.profile].profile, slo, spot.devices);
    let (scenario, length) = sized(grid.scenario(spot, seed), slo, requests)?;
    let search = Search::default();
    let mut entrants = Vec::new();
    let mut worlds = Vec::new();
    for (index, entry) in batcher::ALL.iter().enumerate() {
        let default = Setting { scenario: scenario.with_batching(entry.name), text: String::new() };
        let found = search.goodput(&default.scenario)?;
        let (set, found) = if index == 0 {
            (default, found)
        } else {
            tuned(entry, spot, &forms, (default, found))?
        };
        let (policy, goodput, setting) = (entry.name, found.rate, set.text.clone());
        entrants.push(Entrant { policy, goodput, overload: 0.0, setting });
        worlds.push(set.scenario);
    }
    let best = entrants.iter().map(|entrant| entrant.goodput).fold(0.0, f64::max);
    for (entrant, world) in entrants.iter_mut().zip(worlds) {
        if best > 0.0 {
            entrant.overload = run(&Scenario { load: 2.0 * best, ..world })?.goodput();
        }
    }
    let cpu = clock::thread_cpu() - begin;
    Ok(Contest { spot: *spot, entrants, forms, length, cpu })
}

fn run(scenario: &Scenario) -> Result<Report, SimError> {
    let seed = scenario.seed;
    let world = World::new(scenario)?.unchecked();
    Ok(world.run().map_err(|violation| SimError::Violation { seed, violation })?.0)
}

/// Sets how long a point's worlds run: the same for all policies.
fn sized(
    mut scenario: Scenario,
    slo: Duration,
    requests: u32,
) -> Result<(Scenario, Duration), SimError> {
    let least = slo * SLOS_MIN;
    let capacity = scenario.capacity()?;
    let set = |scenario: &mut Scenario, rate: f64, requests: f64| {
        let counted = least.max(Duration::from_secs_f64(requests / rate));
        scenario.duration = counted.div_f64(1.0 - WARMUP);
        scenario.warmup = scenario.duration - counted;
    };
    set(&mut scenario, capacity / 4.0, f64::from(requests) / 5.0);
    let guess = Search { step: 0.05, ..Search::default() }.goodput(&scenario)?;
    set(&mut scenario, guess.rate.max(capacity * SHARE_MIN), f64::from(requests));
    let length = scenario.duration;
    Ok((scenario, length))
}

/// A world and what was changed in it.
#[derive(Clone)]
struct Setting {
    scenario: Scenario,
    text: String,
}

impl Setting {
    fn with(&self, text: String, change: impl FnOnce(&mut Scenario)) -> Self {
        let mut scenario = self.scenario.clone();
        change(&mut scenario);
        Self {
            scenario,
            text: format!("{}{}{text}", self.text, if self.text.is_empty() { "" } else { " " }),
        }
    }
}

/// The best of several settings, tried one axis after the other; a setting that is no better costs one run.
fn tuned(
    entry: &Entry,
    spot: &Spot,
    forms: &ClosedForms,
    (mut best, mut found): (Setting, Goodput),
) -> Result<(Setting, Goodput), SimError> {
    let search = Search::default();
    for axis in 0..4 {
        let from = best.clone();
        for setting in settings(axis, &from, entry, (spot, forms)) {
            if let Some(higher) = search.higher(&setting.scenario, &found)? {
                (best, found) = (setting, higher);
            }
        }
    }
    Ok((best, found))
}

/// What is tried on an axis from a setting on.
fn settings(
    axis: usize,
    from: &Setting,
    entry: &Entry,
    (spot, forms): (&Spot, &ClosedForms),
) -> Vec<Setting> {
    // A policy that promises to be in time sets its batches and delays itself.
    let knobs = !entry.promises.in_time;
    let slo = from.scenario.models[0].slo.unwrap_or_default();
    match axis {
        0 => {
            let others = ADMISSIONS.iter().skip(1).map(|admission| {
                from.with(format!("admission={}", admission.name), |scenario| {
                    scenario.router.admission = Some(admission.name.to_owned());
                })
            });
            others.collect()
        }
        1 if spot.models > 1 => {
            let others = DISPATCHES.iter().skip(1).map(|dispatch| {
                from.with(format!("dispatch={}", dispatch.name), |scenario| {
                    scenario.router.dispatch = Some(dispatch.name.to_owned());
                })
            });
            others.collect()
        }
        2 if knobs => {
            let delays = [0.125, 0.25, 0.5].into_iter().map(|share| {
                from.with(format!("delay={share}slo"), |scenario| {
                    scenario.models[0].delay = Some(slo.mul_f64(share));
                })
            });
            delays.collect()
        }
        3 if knobs => {
            let sizes = [forms.uncoordinated, forms.staggered, forms.capacity];
            let mut sizes: Vec<u32> = sizes.iter().flatten().map(|point| point.batch).collect();
            sizes.extend(sizes.clone().iter().map(|size| size.div_ceil(2)));
            sizes.push(1);
            sizes.sort_unstable();
            sizes.dedup();
            let sizes = sizes.into_iter().map(|size| {
                from.with(format!("batch_max={size}"), |scenario| {
                    scenario.models[0].batch_max = Some(size);
                })
            });
            sizes.collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_its_goodput_and_no_setting_makes_a_policy_worse() {
        let grid = Grid::present().unwrap();
        let spot = Spot { profile: 0, slo: 5.0, devices: 2, models: 2, arrivals: 0 };
        let contest = contest(&grid, &spot, 1, 300).unwrap();
        let names: Vec<_> = contest.entrants.iter().map(|entrant| entrant.policy).collect();
        assert_eq!(names, batcher::ALL.map(|entry| entry.name));
        let slo = grid.slo(&spot);
        let (scenario, length) = sized(grid.scenario(&spot, 1), slo, 300).unwrap();
        assert!(length >= slo * SLOS_MIN && contest.length == length);
        for entrant in &contest.entrants {
            let plain = Search::default().goodput(&scenario.with_batching(entrant.policy)).unwrap();
            assert!(entrant.goodput >= plain.rate, "{entrant:?} is below {}", plain.rate);
            assert!(entrant.overload > 0.0 && entrant.overload.is_finite());
        }
        assert!(contest.ratio().unwrap() > 0.0);
    }
}
