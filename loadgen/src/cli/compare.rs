//! `punctual-bench compare`: two servers in turn under the same load, and how many times one is the other.

use std::process::ExitCode;

use clap::Args;
use loadgen::client::Target;
use loadgen::result::{Finding, Kind, Point, ResultFile, Series};
use loadgen::{Error, ratio};

use super::asked::{Asked, PaceArgs};
use super::measure::{Measure, Seen};
use super::out::{Out, finish};

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The first server: http://HOST:PORT, https, grpc or grpcs.
    a: Target,
    /// The second.
    b: Target,
    /// Rounds: in each both servers are asked for --duration, and the other one first than in the round before.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// What reports call the first server; by default the name and version that it gives.
    #[arg(long, value_name = "NAME")]
    name_a: Option<String>,
    /// What reports call the second one.
    #[arg(long, value_name = "NAME")]
    name_b: Option<String>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    out: Out,
}

/// What is compared, and in which words.
type Number = (&'static str, fn(&Point) -> f64);
const NUMBERS: [Number; 4] = [
    ("Goodput", |point| point.report.goodput),
    ("Part in time", |point| point.report.attainment),
    ("Median latency", |point| point.report.latency.p50_ms),
    ("99th percentile", |point| point.report.latency.p99_ms),
];

impl Compare {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let made = self.out.made()?;
        let base = self.asked.workload(self.pace.pace()?)?;
        let open = |target: &Target, name: &Option<String>| {
            Measure::new(&self.asked, &Seen::named(name.clone()), target, &base)
        };
        let (mut a, mut b) = (open(&self.a, &self.name_a)?, open(&self.b, &self.name_b)?);
        if a.series.name == b.series.name {
            (a.series.name, b.series.name) = (format!("A: {}", self.a), format!("B: {}", self.b));
        }
        for round in 0..self.rounds {
            let mut workload = base.clone();
            workload.seed = base.seed.wrapping_add(round.into());
            let order = if round % 2 == 0 { [&mut a, &mut b] } else { [&mut b, &mut a] };
            for measure in order {
                measure.run(&workload, None)?;
                if measure.interrupted() {
                    break;
                }
            }
            if a.interrupted() || b.interrupted() {
                break;
            }
        }
        let interrupted = a.interrupted() || b.interrupted();
        let title = format!("{}: {} against {}", self.asked.name(), a.series.name, b.series.name);
        let mut result = ResultFile::new(Kind::Compare, &title, &made);
        result.findings =
            NUMBERS.iter().filter_map(|number| finding(number, &a.series, &b.series)).collect();
        result.series = vec![a.series, b.series];
        finish(&result, &self.out, made.began, interrupted)
    }
}

fn finding((what, of): &Number, a: &Series, b: &Series) -> Option<Finding> {
    let pairs: Vec<(f64, f64)> =
        a.points.iter().zip(&b.points).map(|(one, other)| (of(one), of(other))).collect();
    let estimate = ratio(&pairs)?;
    let apart = estimate.interval.is_none_or(|interval| interval.low > 1.0 || interval.high < 1.0);
    let verdict = if apart { "" } else { ": no difference shown" };
    Some(Finding {
        what: format!("{what}, {} over {}", a.name, b.name),
        value: Some(estimate.value),
        unit: "times".to_owned(),
        interval: estimate.interval.map(|interval| [interval.low, interval.high]),
        note: format!("{} rounds{verdict}", pairs.len()),
    })
}
