//! `punctual-bench find`: the highest load that keeps an objective.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use loadgen::chart::number;
use loadgen::client::Target;
use loadgen::result::{Finding, Kind, Point, ResultFile};
use loadgen::{Arrivals, Border, Error, Workload, highest_good, parse_duration};

use super::asked::{Asked, positive};
use super::measure::{Measure, Seen};
use super::out::{Out, finish};
use super::run::percent;
use super::sweep::open;

/// The part of requests that --p99 wants to be answered by then.
const P99: f64 = 0.99;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("objective").required(true).multiple(true).args(["p99", "attainment"]))]
pub(crate) struct Find {
    /// The server: http://HOST:PORT, https, grpc or grpcs.
    #[arg(long)]
    url: Target,
    /// 99 % of the requests are answered within that time; refused ones and failures are not.
    #[arg(long, value_parser = parse_duration)]
    p99: Option<Duration>,
    /// That part of the requests is answered within its deadline, such as 99%.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    attainment: Option<f64>,
    /// The first rate that is tried, or multiple of the workload.
    #[arg(long, value_name = "LOAD", value_parser = positive)]
    from: Option<f64>,
    /// How near to each other the highest good and the lowest bad load are to be.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    step: f64,
    /// Runs under each load, of which most must keep the objective.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    repeats: u32,
    /// Gaps of the open loops: constant, poisson, gamma:CV, or bursts:TIMES,BURST,CALM.
    #[arg(long, default_value = "poisson", conflicts_with = "workload")]
    arrivals: Arrivals,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    out: Out,
}

/// Why a search ends early.
enum End {
    Interrupted,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Find {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let made = self.out.made()?;
        let first = self.from.unwrap_or(if self.asked.has_file() { 0.1 } else { 100.0 });
        let mut measure =
            Measure::new(&self.asked, &self.seen, &self.url, &self.workload(first, 0)?)?;
        let found = highest_good(first, self.step, |load| self.good(&mut measure, load));
        let title = format!("Highest load of {}", self.asked.name());
        let mut result = ResultFile::new(Kind::Find, &title, &made);
        let interrupted = measure.interrupted();
        result.series.push(measure.series);
        match found {
            Ok(border) => result.findings.push(self.finding(border, &result)),
            Err(End::Interrupted) => {}
            Err(End::Failed(error)) => return Err(error),
        }
        finish(&result, &self.out, made.began, interrupted)
    }

    fn workload(&self, load: f64, repeat: u32) -> Result<Workload, Error> {
        let workload = self.asked.workload(open(load, self.arrivals))?;
        let mut workload = if self.asked.has_file() { workload.times(load) } else { workload };
        workload.seed = workload.seed.wrapping_add(repeat.into());
        Ok(workload)
    }

    /// Whether most runs under that load keep the objective; those that no longer matter are left out.
    fn good(&self, measure: &mut Measure<'_>, load: f64) -> Result<bool, End> {
        let most = self.repeats / 2 + 1;
        let (mut good, mut bad) = (0, 0);
        for repeat in 0..self.repeats {
            measure.run(&self.workload(load, repeat)?, None)?;
            if measure.interrupted() {
                return Err(End::Interrupted);
            }
            if self.keeps(measure.last()) {
                good += 1
            } else {
                bad += 1
            }
            if good == most || bad > self.repeats - most {
                break;
            }
        }
        Ok(good == most)
    }

    /// A client that could not send that much has not shown that the server can answer it.
    fn keeps(&self, point: &Point) -> bool {
        let report = &point.report;
        let all = report.tally.requests.max(1) as f64;
        let within = |time: Duration| point.latencies.within(time) as f64 / all;
        self.p99.is_none_or(|time| within(time) >= P99)
            && self.attainment.is_none_or(|part| report.attainment >= part)
    }

    fn finding(&self, border: Border, result: &ResultFile) -> Finding {
        let p99 = self.p99.map(|time| format!("99 % answered within {time:?}"));
        let part = self.attainment.map(|part| format!("{} % in time", 100.0 * part));
        let objectives: Vec<String> = p99.into_iter().chain(part).collect();
        let runs = result.points().count();
        let doubted = result.points().filter(|(_, point)| !point.trusted()).count();
        let mut note = match border.bad {
            Some(bad) => format!("{} was too much; {runs} runs", number(bad)),
            None => format!("no load was too much; {runs} runs"),
        };
        if doubted > 0 {
            note += &format!(", {doubted} of them not trusted");
        }
        let unit = if self.asked.has_file() { "times the workload" } else { "requests/s" };
        Finding {
            what: format!("Highest load with {}", objectives.join(" and ")),
            value: border.good,
            unit: unit.to_owned(),
            interval: None,
            note,
        }
    }
}
