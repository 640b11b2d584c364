//! `punctual-sim bound`.

use std::path::PathBuf;

use clap::Args;
use sim::bound::{Case, Point, closed_forms, in_time_max, optimum, rate_max, small_case};
use sim::{Scenario, SimError, Table, World, parallel};

/// At most 1 % lost, searched to 0.1 %.
const BAD_MAX: (f64, f64) = (0.01, 0.001);
/// The most requests of a search of clairvoyant optima.
const SEARCHED_MAX: usize = 3000;

#[derive(Debug, Args)]
pub(crate) struct Bound {
    /// The scenario (see sim/scenarios)
    scenario: PathBuf,
    /// Also finds what one who knows the future could do with the first so many requests of a scenario of one model:
    /// thousands on one executor, about 20 on two, about 9 on eight; what is too many is refused
    #[arg(long, value_name = "REQUESTS")]
    optimum: Option<usize>,
    /// Threads; one a core if absent. The results are the same
    #[arg(long)]
    threads: Option<usize>,
}

/// What is computed beside the others.
#[derive(Clone, Copy, Debug)]
enum Part {
    OwnArrivals,
    RateMax,
    Answered(&'static str),
    OptimumRate,
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::OwnArrivals => "bound of the scenario's own arrivals".to_owned(),
            Self::RateMax => "highest rate by the bound".to_owned(),
            Self::Answered(policy) => format!("policy {policy}"),
            Self::OptimumRate => "highest rate of a clairvoyant".to_owned(),
        }
    }
}

impl Bound {
    pub(crate) fn run(self) -> Result<String, String> {
        if self.optimum == Some(0) {
            return Err("--optimum must be at least 1 request".to_owned());
        }
        let scenario = Scenario::read(&self.scenario).map_err(|error| error.to_string())?;
        let mut text = forms(&scenario).map_err(|error| error.to_string())?;
        let mut parts = vec![Part::OwnArrivals, Part::RateMax];
        let bounds = parts.len();
        let mut answers = String::new();
        let case = self.optimum.map(|requests| small_case(&scenario, requests)).transpose();
        let case = case.map_err(|error| error.to_string())?;
        if let Some(case) = &case {
            parallel::progress(0, 1, "the clairvoyant optimum");
            let best = optimum(case);
            parallel::clear();
            let (best, asked) = (best.map_err(|error| error.to_string())?, case.arrivals.len());
            parts.extend(batcher::ALL.iter().map(|policy| Part::Answered(policy.name)));
            parts.extend((case.executors == 1 && asked > 0).then_some(Part::OptimumRate));
            answers =
                format!("\nof the first {asked} requests a clairvoyant answers {best} in time\n");
        }
        let threads = parallel::threads(self.threads, parts.len());
        let found =
            parallel::map(&parts, threads, Part::name, |part| part.of(&scenario, case.as_ref()));
        for (index, lines) in found.into_iter().enumerate() {
            if index == bounds {
                text += &answers;
            }
            text += &lines?;
        }
        Ok(text)
    }
}

impl Part {
    /// Its lines.
    fn of(self, scenario: &Scenario, case: Option<&Case>) -> Result<String, String> {
        match self {
            Self::OwnArrivals => own_arrivals(scenario).map_err(|error| error.to_string()),
            Self::RateMax => {
                let highest = rate_max(scenario, BAD_MAX, |scenario| {
                    in_time_max(scenario).map(|(most, offered)| (offered - most, offered))
                });
                let highest = highest.map_err(|error: sim::ScenarioError| error.to_string())?;
                Ok(format!(
                    "of such arrivals 99 % can be in time at no rate above {highest:.1}/s\n"
                ))
            }
            Self::Answered(policy) => answered(scenario, policy, case),
            Self::OptimumRate => {
                let requests = case.map_or(0, |case| case.arrivals.len()).min(SEARCHED_MAX);
                let lost = |scenario: &Scenario| -> Result<(u64, u64), SimError> {
                    let case = small_case(scenario, requests)?;
                    let best = optimum(&case).unwrap_or_default();
                    Ok(((case.arrivals.len() - best) as u64, case.arrivals.len() as u64))
                };
                let rate = rate_max(scenario, BAD_MAX, lost).map_err(|error| error.to_string())?;
                Ok(format!(
                    "a clairvoyant answers 99 % of the first {requests} in time at no rate above {rate:.1}/s\n"
                ))
            }
        }
    }
}

fn own_arrivals(scenario: &Scenario) -> Result<String, sim::ScenarioError> {
    let (most, offered) = in_time_max(scenario)?;
    let share = 100.0 * most as f64 / offered.max(1) as f64;
    let rate = most as f64 / scenario.duration.as_secs_f64();
    Ok(format!(
        "\nof the scenario's own {offered} requests at most {most} can be in time: {share:.2} %, {rate:.1}/s\n"
    ))
}

/// How many of a case's requests a policy answers in time.
fn answered(scenario: &Scenario, policy: &str, case: Option<&Case>) -> Result<String, String> {
    let Some(&last) = case.and_then(|case| case.arrivals.last()) else { return Ok(String::new()) };
    let mut world = scenario.with_batching(policy);
    world.duration = std::time::Duration::from_nanos(last + 1);
    world.warmup = std::time::Duration::ZERO;
    let world = World::new(&world).map_err(|error| error.to_string())?;
    let (report, _) = world.run().map_err(|violation| violation.to_string())?;
    Ok(format!("  {policy:<24} {}\n", report.total().in_time))
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
