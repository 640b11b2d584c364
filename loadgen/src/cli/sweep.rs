//! `punctual-bench sweep`: latency and goodput under one load after another.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use loadgen::client::Target;
use loadgen::result::{Kind, ResultFile};
use loadgen::{Arrivals, Error, Pace, Rate, Workload};

use super::asked::{Asked, positive};
use super::measure::{Measure, Seen};
use super::out::{Out, finish};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("loads").required(true).args(["rates", "concurrencies", "times"]))]
pub(crate) struct Sweep {
    /// The server: http://HOST:PORT, https, grpc or grpcs.
    #[arg(long)]
    url: Target,
    /// Open loops of so many requests per second, one after another: 100,200,400.
    #[arg(long, value_delimiter = ',', value_parser = positive, conflicts_with = "workload")]
    rates: Vec<f64>,
    /// Gaps of the open loops: constant, poisson, gamma:CV, or bursts:TIMES,BURST,CALM.
    #[arg(long, default_value = "poisson", conflicts_with_all = ["workload", "concurrencies"])]
    arrivals: Arrivals,
    /// Closed loops of so many clients, one after another: 1,2,4,8.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "workload")]
    concurrencies: Vec<u32>,
    /// So many times the rates and concurrencies of the workload, one after another: 0.2,0.5,1,2,3.
    #[arg(long, value_delimiter = ',', value_parser = positive, requires = "workload")]
    times: Vec<f64>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    out: Out,
}

impl Sweep {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let made = self.out.made()?;
        let workloads = self.workloads()?;
        let first = workloads.first().expect("the command line asks for one load at least");
        let mut measure = Measure::new(&self.asked, &self.seen, &self.url, first)?;
        for workload in &workloads {
            measure.run(workload, None)?;
            if measure.interrupted() {
                break;
            }
        }
        let title = format!("Sweep of {}", self.asked.name());
        let mut result = ResultFile::new(Kind::Sweep, &title, &made);
        let interrupted = measure.interrupted();
        result.series.push(measure.series);
        finish(&result, &self.out, made.began, interrupted)
    }

    fn workloads(&self) -> Result<Vec<Workload>, Error> {
        let rates = self.rates.iter().map(|rate| open(*rate, self.arrivals));
        let closed = self.concurrencies.iter().map(|concurrency| Pace::Closed {
            concurrency: *concurrency as usize,
            think_time: Duration::ZERO,
        });
        let paced: Result<Vec<_>, _> =
            rates.chain(closed).map(|pace| self.asked.workload(pace)).collect();
        let mut workloads = paced?;
        if !self.times.is_empty() {
            // A file has its own pace.
            let base = self.asked.workload(open(1.0, self.arrivals))?;
            workloads.extend(self.times.iter().map(|factor| base.times(*factor)));
        }
        Ok(workloads)
    }
}

/// An open loop of an even rate.
pub(super) fn open(rate: f64, arrivals: Arrivals) -> Pace {
    Pace::Open { rate: Rate::Flat(rate), arrivals }
}
