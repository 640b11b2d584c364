//! One point of the grid: the goodput of every policy, each at its best setting, beside the bounds.

use std::time::Duration;

use batcher::Entry;
use router::{ADMISSIONS, DISPATCHES};
use sim::bound::{ClosedForms, closed_forms};
use sim::compare::{sizes, tried};
use sim::{Goodput, Report, Scenario, Search, SimError, World, clock};

use crate::grid::{Grid, Spot};

/// Every cell has so many objectives of time at least, so that more than the beginning is measured.
const SLOS_MIN: u32 = 50;
/// The share of a run's requests that is counted: the rest is its warm-up.
const COUNTED: f64 = 0.9;

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
    /// Requests of each run.
    pub requests: u64,
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
/// policy, and for those that do not promise to be in time several delays, largest and preferred batches.
///
/// # Errors
/// Where a world has no answer.
pub fn contest(grid: &Grid, spot: &Spot, seed: u64, requests: u32) -> Result<Contest, SimError> {
    let begin = clock::thread_cpu();
    let scenario = grid.scenario(spot, seed);
    let requests = grid.whole_recordings(spot, sized(&scenario, grid.slo(spot), requests)?);
    let arena = Arena::of(grid, spot, scenario, requests);
    let found = batcher::ALL.iter().map(|entry| arena.highest(entry));
    let found = found.collect::<Result<Vec<_>, SimError>>()?;
    let best = found.iter().map(|(_, found)| found.rate).fold(0.0, f64::max);
    let entrants = batcher::ALL.iter().zip(found);
    let entrants = entrants.map(|(entry, found)| arena.entrant(entry, found, best));
    let entrants = entrants.collect::<Result<_, SimError>>()?;
    let cpu = clock::thread_cpu() - begin;
    Ok(Contest { spot: *spot, entrants, forms: arena.forms, requests, cpu })
}

/// The same contest with some policies run anew; the others stay as they were, and so does the rate that all are offered
/// beyond the best goodput.
///
/// # Errors
/// Where a world has no answer.
pub fn again(
    grid: &Grid,
    known: &Contest,
    policies: &[&str],
    seed: u64,
) -> Result<Contest, SimError> {
    let scenario = grid.scenario(&known.spot, seed);
    let arena = Arena::of(grid, &known.spot, scenario, known.requests);
    let best = known.entrants.iter().map(|entrant| entrant.goodput).fold(0.0, f64::max);
    let mut contest = known.clone();
    for (entrant, entry) in contest.entrants.iter_mut().zip(&batcher::ALL) {
        if policies.contains(&entry.name) {
            *entrant = arena.entrant(entry, arena.highest(entry)?, best)?;
        }
    }
    Ok(contest)
}

/// Where policies meet.
struct Arena<'a> {
    spot: &'a Spot,
    scenario: Scenario,
    search: Search,
    forms: ClosedForms,
}

impl<'a> Arena<'a> {
    fn of(grid: &Grid, spot: &'a Spot, scenario: Scenario, requests: u64) -> Self {
        let profile = &grid.profiles[spot.profile].profile;
        let forms = closed_forms(profile, grid.slo(spot), spot.devices);
        let search = Search { requests: Some(requests), ..Search::default() };
        Self { spot, scenario, search, forms }
    }

    /// The highest good rate of a policy, and the setting in which it has it.
    fn highest(&self, entry: &Entry) -> Result<(Setting, Goodput), SimError> {
        let scenario = self.scenario.with_batching(entry.name);
        let found = self.search.goodput(&scenario)?;
        let default = (Setting { scenario, text: String::new() }, found);
        if entry.name == batcher::ALL[0].name {
            return Ok(default);
        }
        tuned(entry, (self.spot, &self.forms), self.search, default)
    }

    /// What a policy reached, and what it answers at twice the best goodput.
    fn entrant(
        &self,
        entry: &Entry,
        (set, found): (Setting, Goodput),
        best: f64,
    ) -> Result<Entrant, SimError> {
        let overload = if best > 0.0 {
            run(&self.search.world_at(&set.scenario, 2.0 * best)?)?.goodput()
        } else {
            0.0
        };
        Ok(Entrant { policy: entry.name, goodput: found.rate, overload, setting: set.text })
    }
}

fn run(scenario: &Scenario) -> Result<Report, SimError> {
    let seed = scenario.seed;
    let world = World::new(scenario)?.unchecked();
    Ok(world.run().map_err(|violation| SimError::Violation { seed, violation })?.0)
}

/// How many requests a run of a point has: so many counted ones at least, and enough for a number of objectives even
/// where all executors always run the best batches.
fn sized(scenario: &Scenario, slo: Duration, requests: u32) -> Result<u64, SimError> {
    let by_time = scenario.capacity()? * (slo * SLOS_MIN).as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let requests = (by_time.max(f64::from(requests)) / COUNTED).ceil() as u64;
    Ok(requests)
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

/// Admission, dispatch, delay, largest batch, preferred batch.
const AXES: usize = 5;

/// The best of several settings, tried one axis after the other; a setting that is no better costs one run.
fn tuned(
    entry: &Entry,
    (spot, forms): (&Spot, &ClosedForms),
    search: Search,
    (mut best, mut found): (Setting, Goodput),
) -> Result<(Setting, Goodput), SimError> {
    for axis in 0..AXES {
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
        2.. if knobs => {
            let found = tried(axis - 2, &sim::compare::Setting::default(), &sizes(forms));
            let settings = found.into_iter().map(|setting| {
                let text = setting.to_string().trim().to_owned();
                from.with(text, |scenario| setting.apply(scenario))
            });
            settings.collect()
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
        let scenario = grid.scenario(&spot, 1);
        let time = Duration::from_secs_f64(contest.requests as f64 / scenario.capacity().unwrap());
        assert!(contest.requests >= 300 && time >= grid.slo(&spot) * SLOS_MIN, "{contest:?}");
        let search = Search { requests: Some(contest.requests), ..Search::default() };
        for entrant in &contest.entrants {
            let plain = search.goodput(&scenario.with_batching(entrant.policy)).unwrap();
            assert!(entrant.goodput >= plain.rate, "{entrant:?} is below {}", plain.rate);
            assert!(entrant.overload > 0.0 && entrant.overload.is_finite());
        }
        assert!(contest.ratio().unwrap() > 0.0);
    }

    #[test]
    fn a_policy_run_again_reaches_the_same_and_the_others_stay_as_they_were() {
        let grid = Grid::present().unwrap();
        let spot = Spot { profile: 0, slo: 5.0, devices: 1, models: 1, arrivals: 0 };
        let first = contest(&grid, &spot, 1, 300).unwrap();
        let mut known = first.clone();
        // As if another build had answered less.
        known.entrants[1].overload = 1.0;
        known.entrants[2].overload = 1.0;
        let policies = [first.entrants[1].policy];
        let anew = again(&grid, &known, &policies, 1).unwrap();
        assert_eq!(anew.entrants[1].overload, first.entrants[1].overload);
        assert_eq!(anew.entrants[2].overload, 1.0);
        let goodputs = |contest: &Contest| -> Vec<f64> {
            contest.entrants.iter().map(|entrant| entrant.goodput).collect()
        };
        assert_eq!(goodputs(&anew), goodputs(&first));
    }
}
