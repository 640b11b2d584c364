//! The most accurate answers that anyone could give who knew all arrivals: a linear program for each epoch.

use std::time::Duration;

use models::{ExecutorId, LatencyProfile, TaskId, VariantId};
use router::mix::{Contender, Demand, Survey};
use sim::{Scenario, ScenarioError};

/// What the clairvoyant reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clairvoyant {
    /// How often its answers are right.
    pub accuracy: f64,
    /// The share of the requests that it answers.
    pub answered: f64,
}

/// Of a scenario in which all models are variants of one task and all are on all executors.
///
/// It knows how many requests each epoch brings, spreads them evenly over it, never waits for company, and runs each
/// variant in the batches that need least time a row, of those that take no longer than `batch`.
///
/// # Errors
/// Where the scenario makes no sense.
pub fn clairvoyant(
    scenario: &Scenario,
    epoch: Duration,
    batch: Duration,
) -> Result<Clairvoyant, ScenarioError> {
    let executors: Vec<_> = (0..scenario.executor_count()).map(ExecutorId).collect();
    let mut variants = Vec::new();
    for (id, model) in (0_u32..).map(VariantId).zip(&scenario.models) {
        let Some(answers) = &model.answers else { continue };
        let profile = model.latency_profile()?;
        let Some(row_seconds) = row_seconds(&profile, batch) else { continue };
        let (accuracy, executors) = (answers.accuracy.into(), executors.clone());
        variants.push(Contender { variant: id, accuracy, row_seconds, executors });
    }
    let (mut right, mut answered, mut asked) = (0.0, 0.0, 0.0);
    for counts in scenario.epochs(Some(epoch))? {
        let count = f64::from(counts.iter().sum::<u32>());
        if count == 0.0 {
            continue;
        }
        let rate = count / epoch.as_secs_f64();
        let demand = Demand { task: TaskId(0), rate, variants: variants.clone() };
        let survey = Survey { tasks: vec![demand], taken: Vec::new() };
        let (accuracy, served) = worth(&survey);
        right += accuracy * served.min(1.0) * count;
        answered += served.min(1.0) * count;
        asked += count;
    }
    Ok(Clairvoyant { accuracy: right / answered, answered: answered / asked })
}

/// How often the answers of the plan for one task are right, and what share of its rows the executors carry.
fn worth(survey: &Survey) -> (f64, f64) {
    let demand = &survey.tasks[0];
    let mix = survey.plan();
    let shares = mix.tasks.first().map(|(_, shares)| shares.as_slice()).unwrap_or_default();
    let (mut accuracy, mut seconds, mut executors) = (0.0, 0.0, 0);
    for contender in &demand.variants {
        let share = shares.iter().find(|(variant, _)| *variant == contender.variant);
        let share = share.map_or(0.0, |(_, share)| *share);
        accuracy += share * contender.accuracy;
        seconds += share * contender.row_seconds;
        executors = contender.executors.len();
    }
    (accuracy, executors as f64 / (seconds * demand.rate))
}

/// Executor time of a row in the best batch within that time; `None` where not even one row is.
fn row_seconds(profile: &LatencyProfile, within: Duration) -> Option<f64> {
    let sizes = 1..=profile.largest_batch_within(within);
    sizes.map(|rows| profile.median(rows).as_secs_f64() / f64::from(rows)).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(rate: u32) -> Scenario {
        let text = format!(
            "duration = \"10s\"\n[[executor]]\ncount = 2\n\
             [[model]]\nname = \"good\"\nslo = \"1s\"\nrate = {rate}\narrivals = \"constant\"\n\
             profile = {{ fixed = \"10ms\", per_item = \"10ms\", batch_max = 4 }}\n\
             answers = {{ task = \"t\", accuracy = 0.9 }}\n\
             [[model]]\nname = \"fast\"\nprofile = {{ fixed = \"5ms\", per_item = \"5ms\", batch_max = 4 }}\n\
             answers = {{ task = \"t\", accuracy = 0.8 }}\n"
        );
        Scenario::from_text("s.toml", &text).unwrap()
    }

    #[test]
    fn it_mixes_as_much_of_the_better_variant_as_fits() {
        // Two executors carry 160 rows/s of the better one, 320 of the faster one; halfway between, 240.
        let reached = |rate, accuracy: f64, answered: f64| {
            let second = Duration::from_secs(1);
            let found = clairvoyant(&scenario(rate), second, second).unwrap();
            assert!((found.accuracy - accuracy).abs() < 0.002, "{rate}: {found:?}");
            assert!((found.answered - answered).abs() < 0.01, "{rate}: {found:?}");
        };
        reached(100, 0.9, 1.0);
        reached(240, 0.8 + 0.1 / 3.0, 1.0);
        reached(640, 0.8, 0.5);
    }
}
