//! `punctual-sim plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use models::parse_duration;
use sim::compare::Choice;
use sim::plan::{EXECUTORS_MAX, plans};
use sim::{Scenario, Table};

use super::Policies;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The scenario (see sim/scenarios); its number of executors does not matter
    scenario: PathBuf,
    /// The share of requests that must be answered in time
    #[arg(long, default_value_t = 0.99)]
    attainment: f64,
    /// From arrival to deadline, in place of the models' own
    #[arg(long, value_parser = parse_duration)]
    slo: Option<Duration>,
    #[command(flatten)]
    policies: Policies,
}

impl Plan {
    pub(crate) fn run(self) -> Result<String, String> {
        if !(self.attainment > 0.0 && self.attainment <= 1.0) {
            return Err(format!(
                "--attainment must be above 0, at most 1, not {}",
                self.attainment
            ));
        }
        let mut scenario = Scenario::read(&self.scenario).map_err(|error| error.to_string())?;
        if let Some(slo) = self.slo {
            scenario.models.iter_mut().for_each(|model| model.slo = Some(slo));
            scenario.check().map_err(|error| error.to_string())?;
        }
        let choices = self.policies.choices()?;
        let found = plans(&scenario, &choices, self.attainment, self.policies.threads)
            .map_err(|error| error.to_string())?;
        let head = ["policy", "executors", "in time %", "busy %", "batch", "p50 ms", "p99 ms"];
        let mut table = Table::new(&head);
        for (choice, plan) in choices.iter().zip(&found) {
            let total = plan.report.total();
            let ms =
                |share| format!("{:.3}", total.latencies.percentile(share).as_secs_f64() * 1e3);
            let too_few = || format!("> {EXECUTORS_MAX}");
            table.push(vec![
                choice.to_string(),
                plan.executors.map_or_else(too_few, |count| count.to_string()),
                format!("{:.3}", 100.0 * plan.report.attainment()),
                format!("{:.1}", 100.0 * plan.report.busy_share()),
                format!("{:.2}", total.batch_mean()),
                ms(0.5),
                ms(0.99),
            ]);
        }
        let (share, seed) = (100.0 * self.attainment, scenario.seed);
        let objective = self.slo.map_or(String::new(), |slo| format!(" at {slo:?}"));
        let mut text =
            format!("fewest executors for {share} % in time{objective}, seed {seed}\n{table}");
        // Of equally few executors, those that answer more in time.
        let answered = choices
            .iter()
            .zip(&found)
            .filter_map(|(choice, plan)| Some((choice, plan.executors?, plan.report.attainment())));
        let better = |one: &(&Choice, u32, f64), other: &(&Choice, u32, f64)| {
            one.1.cmp(&other.1).then(other.2.total_cmp(&one.2))
        };
        text += &match answered.min_by(better) {
            Some((choice, 1, _)) => format!("best: 1 executor with {choice}"),
            Some((choice, executors, _)) => format!("best: {executors} executors with {choice}"),
            None => format!("none answers so many in time with {EXECUTORS_MAX} executors"),
        };
        Ok(text)
    }
}
