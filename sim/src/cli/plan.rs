//! `punctual-sim plan`.

use std::path::PathBuf;

use clap::Args;
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
        let scenario = Scenario::read(&self.scenario).map_err(|error| error.to_string())?;
        let choices = self.policies.choices()?;
        let found = plans(&scenario, &choices, self.attainment, self.policies.threads)
            .map_err(|error| error.to_string())?;
        let head = ["policy", "executors", "in time %", "busy %", "batch", "p50 ms", "p99 ms"];
        let mut table = Table::new(&head);
        for (choice, plan) in choices.iter().zip(&found) {
            let total = plan.report.total();
            let ms =
                |share| format!("{:.3}", total.latencies.percentile(share).as_secs_f64() * 1e3);
            let time = scenario.duration.as_secs_f64() * f64::from(plan.report.executors);
            let too_few = || format!("> {EXECUTORS_MAX}");
            table.push(vec![
                choice.to_string(),
                plan.executors.map_or_else(too_few, |count| count.to_string()),
                format!("{:.3}", 100.0 * plan.report.attainment()),
                format!("{:.1}", 100.0 * plan.report.busy.as_secs_f64() / time),
                format!("{:.2}", total.batch_mean()),
                ms(0.5),
                ms(0.99),
            ]);
        }
        let (share, seed) = (100.0 * self.attainment, scenario.seed);
        Ok(format!("fewest executors for {share} % in time, seed {seed}\n{table}"))
    }
}
