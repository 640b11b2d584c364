//! Gives policies their best setting in a scenario, so that none is compared as somebody happened to set it.

use super::choice::Choice;
use super::setting::{AXES, sizes, tried};
use crate::bound::closed_forms;
use crate::goodput::SimError;
use crate::{Scenario, ScenarioError, Search, parallel};

/// Every choice in every scenario with the setting that has the highest goodput, tried one axis after the other; the
/// default policy, and choices with a setting of their own, stay as they are.
///
/// # Errors
/// The first world that has no answer.
pub fn tuned(
    scenarios: &[(String, Scenario)],
    choices: &[Choice],
    search: Search,
    threads: Option<usize>,
) -> Result<Vec<Vec<Choice>>, SimError> {
    let jobs: Vec<(usize, usize)> = (0..scenarios.len())
        .flat_map(|scenario| (0..choices.len()).map(move |choice| (scenario, choice)))
        .collect();
    let name = |&(scenario, choice): &(usize, usize)| {
        format!("settings of {} in {}", choices[choice], scenarios[scenario].0)
    };
    let job = |&(scenario, choice): &(usize, usize)| {
        best(&scenarios[scenario].1, &choices[choice], search)
    };
    let threads = parallel::threads(threads, jobs.len());
    let found: Result<Vec<Choice>, SimError> =
        parallel::map(&jobs, threads, name, job).into_iter().collect();
    let found = found?;
    Ok(found.chunks(choices.len().max(1)).map(<[Choice]>::to_vec).collect())
}

fn best(scenario: &Scenario, choice: &Choice, search: Search) -> Result<Choice, SimError> {
    let set = choice.setting != super::Setting::default();
    if set || choice.batching == batcher::ALL[0].name {
        return Ok(choice.clone());
    }
    let sizes = all_sizes(scenario)?;
    let mut best = choice.clone();
    let mut found = search.goodput(&best.in_scenario(scenario))?;
    for axis in 0..AXES {
        for setting in tried(axis, &best.setting.clone(), &sizes) {
            let other = Choice { setting, ..best.clone() };
            if let Some(higher) = search.higher(&other.in_scenario(scenario), &found)? {
                (best, found) = (other, higher);
            }
        }
    }
    Ok(best)
}

/// The sizes to try of all models together.
fn all_sizes(scenario: &Scenario) -> Result<Vec<u32>, ScenarioError> {
    let mut all = Vec::new();
    for model in &scenario.models {
        let Some(slo) = model.slo else { continue };
        let profile = model.latency_profile()?;
        let forms = closed_forms(&profile, slo, scenario.executor_count());
        all.extend(sizes(&forms));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Asked, choices};

    #[test]
    fn a_blind_policy_is_set_to_its_best_and_the_default_stays_as_it_is() {
        let text = "duration = \"3s\"\n[[executor]]\ncount = 2\n[[model]]\nname = \"m\"\nrate = 500\nslo = \"30ms\"\n\
            profile = { fixed = \"5ms\", per_item = \"1ms\", batch_max = 64 }\n";
        let scenarios = [("s".to_owned(), Scenario::from_text("s.toml", text).unwrap())];
        let batching = Some("window,timeout,fixed:4");
        let asked = choices(Asked { batching, ..Asked::default() }).unwrap();
        let search = Search::default();
        let found = tuned(&scenarios, &asked, search, Some(1)).unwrap().remove(0);
        assert_eq!((&found[0], &found[2]), (&asked[0], &asked[2]));
        let goodput =
            |choice: &Choice| search.goodput(&choice.in_scenario(&scenarios[0].1)).unwrap();
        assert!(found[1] != asked[1] && found[1].batching == "timeout", "{}", found[1]);
        assert!(goodput(&found[1]).rate > goodput(&asked[1]).rate);
        assert_eq!(tuned(&scenarios, &asked, search, Some(3)).unwrap(), [found]);
    }
}
