//! The default policies against what no policy can exceed.

use std::time::Duration;

use sim::bound::{closed_forms, in_time_max, optimum, rate_max, small_case};
use sim::{Scenario, Search, SimError, World};

use crate::grid::{ARRIVALS, Grid, Spot};
use crate::{Bar, verdict};

/// The objective at which the stagger bound is asked for, in multiples of a lone run; devices, and what of the bound
/// is to be reached.
const STAGGERED: (f64, [(u32, f64); 2]) = (4.0, [(8, 0.94), (64, 0.99)]);
/// Requests of a run by which goodput is searched.
const SEARCHED: u64 = 30_000;
/// Objectives and loads, in multiples of the capacity, at which a clairvoyant is asked on one device.
const CLAIRVOYANT: ([f64; 2], [f64; 2]) = ([2.0, 5.0], [0.8, 2.0]);
/// Requests that a clairvoyant is asked about: on one device, and on two.
const SMALL: [(u32, usize); 2] = [(1, 600), (2, 14)];
/// Small cases that are counted together.
const SEEDS: u64 = 5;
/// What of the clairvoyant's answers is to be reached.
const OF_OPTIMUM: f64 = 0.9;

/// Goodput on Poisson arrivals of one model over the stagger bound, and over the bound of the very arrivals.
///
/// # Errors
/// Where a world has no answer.
pub fn staggered(grid: &Grid, profile: usize, seed: u64) -> Result<Vec<String>, SimError> {
    let (slo, devices) = STAGGERED;
    let mut lines = Vec::new();
    for (devices, bar) in devices {
        let spot = Spot { profile, slo, devices, models: 1, arrivals: poisson(grid) };
        let named = &grid.profiles[profile];
        let forms = closed_forms(&named.profile, grid.slo(&spot), devices);
        let Some(bound) = forms.staggered else { continue };
        let search = Search { requests: Some(SEARCHED), ..Search::default() };
        let scenario = grid.scenario(&spot, seed);
        let found = search.goodput(&scenario)?.rate;
        let highest = rate_max(&scenario, (search.bad_max, search.step), |tried| {
            let tried = Scenario { duration: lasting(SEARCHED, tried)?, ..tried.clone() };
            let (most, offered) = in_time_max(&tried)?;
            Ok::<_, SimError>((offered - most, offered))
        })?;
        let what = format!(
            "{}, {devices} devices: goodput of the stagger bound ({:.3} of the bound of the very arrivals)",
            named.name,
            found / highest
        );
        lines.push(verdict(&what, found / bound.goodput, Bar::AtLeast(bar)).0);
    }
    Ok(lines)
}

fn lasting(requests: u64, scenario: &Scenario) -> Result<Duration, SimError> {
    Ok(Duration::from_secs_f64(requests as f64 / scenario.offered_rate()?))
}

fn poisson(grid: &Grid) -> usize {
    grid.arrivals.iter().position(|name| *name == ARRIVALS[0]).expect("every grid has it")
}

/// Answers in time over those of a policy that knows the future, on small cases of one model.
///
/// # Errors
/// Where a world has no answer.
pub fn clairvoyant(grid: &Grid, profile: usize, seed: u64) -> Result<Vec<String>, SimError> {
    let mut lines = Vec::new();
    let (slos, loads) = CLAIRVOYANT;
    for (devices, requests) in SMALL {
        for slo in slos {
            let spot = Spot { profile, slo, devices, models: 1, arrivals: poisson(grid) };
            for load in loads {
                let (mut ours, mut best) = (0, 0);
                let seeds = if requests > 100 { 1 } else { SEEDS };
                for seed in seed..seed + seeds {
                    let mut scenario = grid.scenario(&spot, seed);
                    scenario.load = load * scenario.capacity()?;
                    scenario.duration = lasting(2 * requests as u64, &scenario)?;
                    let Some(pair) = against_optimum(&scenario, requests)? else { continue };
                    (ours, best) = (ours + pair.0, best + pair.1);
                }
                if best > 0 {
                    let name = grid.profiles[profile].name;
                    let what = format!(
                        "{name}, {devices} devices, slo {slo} l(1), load {load}: answers of the clairvoyant's {best}"
                    );
                    let share = ours as f64 / best as f64;
                    lines.push(verdict(&what, share, Bar::AtLeast(OF_OPTIMUM)).0);
                }
            }
        }
    }
    Ok(lines)
}

/// What we and a clairvoyant answer in time of the first so many requests; none where that is too much to find out.
fn against_optimum(scenario: &Scenario, requests: usize) -> Result<Option<(u64, u64)>, SimError> {
    let case = small_case(scenario, requests)?;
    let (Ok(best), Some(&last)) = (optimum(&case), case.arrivals.last()) else { return Ok(None) };
    let mut world = scenario.clone();
    world.duration = Duration::from_nanos(last + 1);
    let seed = world.seed;
    let world = World::new(&world)?.unchecked();
    let (report, _) = world.run().map_err(|violation| SimError::Violation { seed, violation })?;
    Ok(Some((report.total().in_time, best as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_one_answers_more_than_a_clairvoyant() {
        let grid = Grid::present().unwrap();
        let spot = Spot { profile: 0, slo: 3.0, devices: 1, models: 1, arrivals: poisson(&grid) };
        let mut scenario = grid.scenario(&spot, 1);
        scenario.load = scenario.capacity().unwrap();
        scenario.duration = lasting(400, &scenario).unwrap();
        let (ours, best) = against_optimum(&scenario, 200).unwrap().unwrap();
        assert!(ours <= best && best <= 200 && ours > 100, "{ours} {best}");
    }
}
