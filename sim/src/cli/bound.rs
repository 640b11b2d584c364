//! `punctual-sim bound`.

use std::path::PathBuf;

use clap::Args;
use sim::bound::{Point, closed_forms, in_time_max, optimum, rate_max, small_case};
use sim::{Scenario, Table, World};

/// At most 1 % lost, searched to 0.1 %.
const BAD_MAX: (f64, f64) = (0.01, 0.001);
/// The most requests of a search of clairvoyant optima.
const SEARCHED_MAX: usize = 3000;

#[derive(Debug, Args)]
pub(crate) struct Bound {
    /// The scenario (see sim/scenarios)
    scenario: PathBuf,
    /// Also finds what one who knows the future could do with the first so many requests of a scenario of one model:
    /// thousands on one executor, about 20 on several
    #[arg(long, value_name = "REQUESTS")]
    optimum: Option<usize>,
}

impl Bound {
    pub(crate) fn run(self) -> Result<String, String> {
        let scenario = Scenario::read(&self.scenario).map_err(|error| error.to_string())?;
        let mut text = forms(&scenario).map_err(|error| error.to_string())?;
        let (most, offered) = in_time_max(&scenario).map_err(|error| error.to_string())?;
        let share = 100.0 * most as f64 / offered.max(1) as f64;
        let rate = most as f64 / scenario.duration.as_secs_f64();
        let highest = rate_max(&scenario, BAD_MAX, |scenario| {
            in_time_max(scenario).map(|(most, offered)| (offered - most, offered))
        });
        let highest = highest.map_err(|error| error.to_string())?;
        text += &format!(
            "\nof the scenario's own {offered} requests at most {most} can be in time: {share:.2} %, {rate:.1}/s\n\
             of such arrivals 99 % can be in time at no rate above {highest:.1}/s\n"
        );
        if let Some(requests) = self.optimum {
            text += &clairvoyant(&scenario, requests)?;
        }
        Ok(text)
    }
}

fn forms(scenario: &Scenario) -> Result<String, sim::ScenarioError> {
    let head = [
        "model alone on all executors",
        "slo/l(1)",
        "uncoordinated/s",
        "batch",
        "staggered/s",
        "batch",
        "capacity/s",
        "batch",
    ];
    let mut table = Table::new(&head);
    for model in &scenario.models {
        let profile = model.latency_profile()?;
        let Some(slo) = model.slo else { continue };
        let forms = closed_forms(&profile, slo, scenario.executor_count());
        let mut row = vec![
            model.name.clone(),
            format!("{:.2}", slo.as_secs_f64() / profile.median(1).as_secs_f64()),
        ];
        for point in [forms.uncoordinated, forms.staggered, forms.capacity] {
            row.extend(cells(point));
        }
        table.push(row);
    }
    Ok(table.to_string())
}

fn cells(point: Option<Point>) -> [String; 2] {
    point.map_or(["none".to_owned(), "-".to_owned()], |point| {
        [format!("{:.1}", point.goodput), point.batch.to_string()]
    })
}

fn clairvoyant(scenario: &Scenario, requests: usize) -> Result<String, String> {
    let case = small_case(scenario, requests).map_err(|error| error.to_string())?;
    let best = optimum(&case).map_err(|error| error.to_string())?;
    let asked = case.arrivals.len();
    let mut text = format!("of the first {asked} requests a clairvoyant answers {best} in time");
    let Some(&last) = case.arrivals.last() else { return Ok(text) };
    for policy in &batcher::ALL {
        let mut world = scenario.with_batching(policy.name);
        world.duration = std::time::Duration::from_nanos(last + 1);
        world.warmup = std::time::Duration::ZERO;
        let world = World::new(&world).map_err(|error| error.to_string())?;
        let (report, _) = world.run().map_err(|violation| violation.to_string())?;
        text += &format!("\n  {:<24} {}", policy.name, report.total().in_time);
    }
    if case.executors == 1 {
        let rate = rate_max(scenario, BAD_MAX, |scenario| -> Result<(u64, u64), sim::SimError> {
            let case = small_case(scenario, requests.min(SEARCHED_MAX))?;
            let best = optimum(&case).unwrap_or_default();
            Ok(((case.arrivals.len() - best) as u64, case.arrivals.len() as u64))
        });
        let rate = rate.map_err(|error| error.to_string())?;
        text += &format!(
            "\na clairvoyant answers 99 % of so many in time at no rate above {rate:.1}/s"
        );
    }
    Ok(text)
}
