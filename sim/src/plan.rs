//! Capacity planning: the fewest executors with which enough requests are answered in time.

use crate::compare::Choice;
use crate::goodput::SimError;
use crate::{Report, Scenario, World, parallel};

/// More executors are not tried.
pub const EXECUTORS_MAX: u32 = 1 << 14;

/// The fewest executors for one choice of policies.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many, or where groups run pipelines how many devices; `None` where [`EXECUTORS_MAX`] are too few.
    pub executors: Option<u32>,
    /// What happened with them.
    pub report: Report,
    /// Worlds that were run.
    pub runs: u32,
}

/// The fewest executors, all of the scenario's first kind, with which that share of the requests is answered in time.
///
/// Found by doubling and bisection, which takes for granted that more executors do not make it worse.
///
/// # Errors
/// Where the scenario makes no sense.
pub fn fewest(scenario: &Scenario, attainment: f64) -> Result<Plan, SimError> {
    let mut runs = 0;
    let group = scenario.placement.as_ref().map_or(1, |placement| placement.group.max(1));
    let mut run = |count: u32| -> Result<Report, SimError> {
        runs += 1;
        let mut scenario = scenario.clone();
        scenario.executors.truncate(1);
        scenario.executors[0].count = count * group;
        let seed = scenario.seed;
        let world = World::new(&scenario)?.unchecked();
        let ran = world.run().map_err(|violation| SimError::Violation { seed, violation });
        Ok(ran?.0)
    };
    let mut high = 1;
    let mut report = run(high)?;
    while report.attainment() < attainment {
        if high * group >= EXECUTORS_MAX {
            return Ok(Plan { executors: None, report, runs });
        }
        high *= 2;
        report = run(high)?;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let found = run(middle)?;
        if found.attainment() < attainment {
            low = middle;
        } else {
            (high, report) = (middle, found);
        }
    }
    Ok(Plan { executors: Some(high * group), report, runs })
}

/// The plan of every choice, in order.
///
/// # Errors
/// The first world that has no answer.
pub fn plans(
    scenario: &Scenario,
    choices: &[Choice],
    attainment: f64,
    threads: Option<usize>,
) -> Result<Vec<Plan>, SimError> {
    let plan = |choice: &Choice| fewest(&choice.in_scenario(scenario), attainment);
    let threads = parallel::threads(threads, choices.len());
    parallel::map(choices, threads, Choice::to_string, plan).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(rate: u32) -> Scenario {
        let text = format!(
            "duration = \"2s\"\n[[executor]]\n[[model]]\nname = \"m\"\nrate = {rate}\nslo = \"30ms\"\n\
             profile = {{ fixed = \"5ms\", per_item = \"1ms\", batch_max = 32 }}\n"
        );
        Scenario::from_text("s.toml", &text).unwrap()
    }

    #[test]
    fn one_executor_less_is_too_few() {
        let scenario = scenario(3000);
        let plan = fewest(&scenario, 0.99).unwrap();
        let count = plan.executors.unwrap();
        assert!(count > 2 && plan.report.attainment() >= 0.99, "{plan:?}");
        let mut fewer = scenario;
        fewer.executors[0].count = count - 1;
        let report = World::new(&fewer).unwrap().run().unwrap().0;
        assert!(report.attainment() < 0.99);
    }

    #[test]
    fn an_objective_that_no_executor_meets_has_no_plan() {
        let mut scenario = scenario(100);
        scenario.models[0].slo = Some(std::time::Duration::from_millis(5));
        scenario.duration = std::time::Duration::from_millis(100);
        assert_eq!(fewest(&scenario, 0.5).unwrap().executors, None);
    }
}
