//! Policies beside each other: every choice of policies in every scenario at every load.

mod choice;
mod setting;
mod tune;

use crate::goodput::SimError;
use crate::{Goodput, Report, Scenario, Search, World, parallel};

pub use choice::{Asked, Choice, choices};
pub use setting::{Delay, Setting, sizes, tried};
pub use tune::tuned;

/// What one choice of policies did in one scenario.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Which scenario, by its place.
    pub scenario: usize,
    /// Which choice of that scenario, by its place.
    pub choice: usize,
    /// The multiple of the scenario's rates.
    pub load: f64,
    /// Requests a second that the scenario states at that load.
    pub offered: f64,
    /// What happened.
    pub report: Report,
}

/// Runs every choice of every scenario at every load; the first world of each choice is checked for what must never
/// happen. There are equally many choices of each scenario.
///
/// # Errors
/// The first world that has no answer.
pub fn compare(
    scenarios: &[(String, Scenario)],
    choices: &[Vec<Choice>],
    loads: &[f64],
    threads: Option<usize>,
) -> Result<Vec<Cell>, SimError> {
    let mut jobs = Vec::new();
    for (scenario, choices) in choices.iter().enumerate() {
        for choice in 0..choices.len() {
            jobs.extend(loads.iter().enumerate().map(|(at, &load)| (scenario, choice, load, at)));
        }
    }
    let name = |&(scenario, choice, load, _): &(usize, usize, f64, usize)| {
        format!("{} {} x{load}", scenarios[scenario].0, choices[scenario][choice])
    };
    let run = |&(scenario, choice, load, at): &(usize, usize, f64, usize)| {
        let mut world = choices[scenario][choice].in_scenario(&scenarios[scenario].1);
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
    choices: &[Vec<Choice>],
    search: Search,
    threads: Option<usize>,
) -> Result<Vec<Goodput>, SimError> {
    let jobs: Vec<(usize, usize)> = (0..scenarios.len())
        .flat_map(|scenario| (0..choices[scenario].len()).map(move |choice| (scenario, choice)))
        .collect();
    let name = |&(scenario, choice): &(usize, usize)| {
        format!("{} {}", scenarios[scenario].0, choices[scenario][choice])
    };
    let run = |&(scenario, choice): &(usize, usize)| {
        search.goodput(&choices[scenario][choice].in_scenario(&scenarios[scenario].1))
    };
    let found = parallel::map(&jobs, parallel::threads(threads, jobs.len()), name, run);
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_scenario;

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let scenarios: Vec<(String, Scenario)> =
            (0..2).map(|seed| (seed.to_string(), random_scenario(seed))).collect();
        let choices = vec![choices(Asked::default()).unwrap(); 2];
        let run = |threads| compare(&scenarios, &choices, &[0.5, 1.0], Some(threads)).unwrap();
        let (one, three) = (run(1), run(3));
        assert_eq!(one.len(), 2 * 2 * choices[0].len());
        for (one, three) in one.iter().zip(&three) {
            assert_eq!(one.report, three.report);
        }
    }
}
