//! Policies beside each other: every choice of policies in every scenario at every load.

use router::place::PLACEMENTS;
use router::{ADMISSIONS, DISPATCHES};

use crate::goodput::SimError;
use crate::{Goodput, PlacementSpec, Report, Scenario, Search, World, parallel};

/// One choice on each axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The batching policy.
    pub batching: String,
    /// The dispatch policy, if not the scenario's.
    pub dispatch: Option<String>,
    /// The admission policy, if not the scenario's.
    pub admission: Option<String>,
    /// The placement policy as [`PlacementSpec::named`] reads it, if not the scenario's.
    pub placement: Option<String>,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.batching)?;
        let others = [
            ("dispatch", &self.dispatch),
            ("admission", &self.admission),
            ("placement", &self.placement),
        ];
        for (axis, name) in others {
            if let Some(name) = name {
                write!(f, " {axis}={name}")?;
            }
        }
        Ok(())
    }
}

impl Choice {
    /// The world with these policies.
    #[must_use]
    pub fn in_scenario(&self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.with_batching(&self.batching);
        scenario.router.dispatch = self.dispatch.clone().or(scenario.router.dispatch);
        scenario.router.admission = self.admission.clone().or(scenario.router.admission);
        if let Some(name) = &self.placement {
            let spec = scenario.placement.unwrap_or_default();
            scenario.placement = Some(spec.named(name).expect("names were read when asked for"));
        }
        scenario
    }
}

/// All combinations of the named policies: names with commas, `all`, or nothing for the default of the axis (all
/// batching policies, the scenario's own of the others).
///
/// # Errors
/// Says which name is not known, and which are.
pub fn choices(
    batching: Option<&str>,
    dispatch: Option<&str>,
    admission: Option<&str>,
    placement: Option<&str>,
) -> Result<Vec<Choice>, String> {
    let batching_names = batcher::ALL.map(|entry| entry.name);
    let batching = named("batching", Some(batching.unwrap_or("all")), &batching_names)?;
    let dispatch = named("dispatch", dispatch, &DISPATCHES.map(|entry| entry.name))?;
    let admission = named("admission", admission, &ADMISSIONS.map(|entry| entry.name))?;
    let placement = placements(placement)?;
    let mut all = Vec::new();
    for batching in batching.into_iter().flatten() {
        for dispatch in &dispatch {
            for admission in &admission {
                all.extend(placement.iter().map(|placement| Choice {
                    batching: batching.clone(),
                    dispatch: dispatch.clone(),
                    admission: admission.clone(),
                    placement: placement.clone(),
                }));
            }
        }
    }
    Ok(all)
}

/// Placements by name, each perhaps with the devices of a group and the time between placements.
fn placements(asked: Option<&str>) -> Result<Vec<Option<String>>, String> {
    let names = PLACEMENTS.map(|entry| entry.name);
    let Some(asked) = asked.filter(|asked| *asked != "all") else {
        return named("placement", asked, &names);
    };
    let read = |name: &str| {
        PlacementSpec::default().named(name.trim()).map(|_| Some(name.trim().to_owned()))
    };
    asked.split(',').map(read).collect()
}

fn named(axis: &str, asked: Option<&str>, known: &[&str]) -> Result<Vec<Option<String>>, String> {
    let Some(asked) = asked else { return Ok(vec![None]) };
    if asked == "all" {
        return Ok(known.iter().map(|name| Some((*name).to_owned())).collect());
    }
    let check = |name: &str| {
        let name = name.trim();
        let unknown =
            || format!("unknown {axis} policy {name:?}; known are: all, {}", known.join(", "));
        known.contains(&name).then(|| Some(name.to_owned())).ok_or_else(unknown)
    };
    asked.split(',').map(check).collect()
}

/// What one choice of policies did in one scenario.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Which scenario, by its place.
    pub scenario: usize,
    /// Which choice, by its place.
    pub choice: usize,
    /// The multiple of the scenario's rates.
    pub load: f64,
    /// Requests a second that the scenario states at that load.
    pub offered: f64,
    /// What happened.
    pub report: Report,
}

/// Runs every choice in every scenario at every load; the first world of each choice is checked for what must never
/// happen.
///
/// # Errors
/// The first world that has no answer.
pub fn compare(
    scenarios: &[(String, Scenario)],
    choices: &[Choice],
    loads: &[f64],
    threads: Option<usize>,
) -> Result<Vec<Cell>, SimError> {
    let mut jobs = Vec::new();
    for scenario in 0..scenarios.len() {
        for choice in 0..choices.len() {
            jobs.extend(loads.iter().enumerate().map(|(at, &load)| (scenario, choice, load, at)));
        }
    }
    let name = |&(scenario, choice, load, _): &(usize, usize, f64, usize)| {
        format!("{} {} x{load}", scenarios[scenario].0, choices[choice])
    };
    let run = |&(scenario, choice, load, at): &(usize, usize, f64, usize)| {
        let mut world = choices[choice].in_scenario(&scenarios[scenario].1);
        world.load *= load;
        let offered = world.offered_rate()?;
        let seed = world.seed;
        let mut world = World::new(&world)?;
        if at > 0 {
            world = world.unchecked();
        }
        let (report, _) =
            world.run().map_err(|violation| SimError::Violation { seed, violation })?;
        Ok(Cell { scenario, choice, load, offered, report })
    };
    let found = parallel::map(&jobs, parallel::threads(threads, jobs.len()), name, run);
    found.into_iter().collect()
}

/// The goodput of every choice in every scenario, by scenario and then choice.
///
/// # Errors
/// The first world that has no answer.
pub fn goodputs(
    scenarios: &[(String, Scenario)],
    choices: &[Choice],
    search: Search,
    threads: Option<usize>,
) -> Result<Vec<Goodput>, SimError> {
    let jobs: Vec<(usize, usize)> = (0..scenarios.len())
        .flat_map(|scenario| (0..choices.len()).map(move |choice| (scenario, choice)))
        .collect();
    let name = |&(scenario, choice): &(usize, usize)| {
        format!("{} {}", scenarios[scenario].0, choices[choice])
    };
    let run = |&(scenario, choice): &(usize, usize)| {
        search.goodput(&choices[choice].in_scenario(&scenarios[scenario].1))
    };
    let found = parallel::map(&jobs, parallel::threads(threads, jobs.len()), name, run);
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_scenario;

    #[test]
    fn choices_are_all_combinations_and_unknown_names_are_refused() {
        let all = choices(None, None, Some("all"), None).unwrap();
        assert_eq!(all.len(), batcher::ALL.len() * ADMISSIONS.len());
        let first = choices(Some(batcher::ALL[0].name), None, None, None).unwrap();
        assert_eq!(first[0].to_string(), batcher::ALL[0].name);
        let error = choices(None, Some("nearest"), None, None).unwrap_err();
        assert!(error.starts_with("unknown dispatch policy \"nearest\"; known are: all, "));
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let scenarios: Vec<(String, Scenario)> =
            (0..2).map(|seed| (seed.to_string(), random_scenario(seed))).collect();
        let choices = choices(None, None, None, None).unwrap();
        let run = |threads| compare(&scenarios, &choices, &[0.5, 1.0], Some(threads)).unwrap();
        let (one, three) = (run(1), run(3));
        assert_eq!(one.len(), 2 * 2 * choices.len());
        for (one, three) in one.iter().zip(&three) {
            assert_eq!(one.report, three.report);
        }
    }
}
