//! `punctual-bench mlperf`: the scenarios of MLPerf's LoadGen, by its definitions.
//!
//! As in mlcommons/inference `loadgen/mlperf.conf` and the MLPerf inference rules: a run takes at least 600 s. Single stream
//! sends a query when the one before has ended, at least 1,024, and reports their 90th percentile. Server sends queries as a
//! Poisson process, at least 270,336 so that the 99th percentile is known to 0.05 %, and reports the scheduled rate if 99 % kept
//! the latency bound. Offline sends all samples, at least 24,576, at once and reports samples a second. A query is one request
//! and a sample is one row here. Early stopping is not done.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use loadgen::client::{Load, Target};
use loadgen::result::{Finding, Kind, Point, ResultFile};
use loadgen::{Arrivals, Error, Pace, Workload};

use super::asked::{Asked, positive};
use super::measure::{Measure, Seen};
use super::out::{Out, finish};
use super::sweep::open;

/// Of every scenario.
const DURATION_MIN: Duration = Duration::from_secs(600);
const SINGLE_STREAM_QUERIES: u64 = 1024;
const SERVER_QUERIES: u64 = 270_336;
const SERVER_PART: f64 = 0.99;
const OFFLINE_SAMPLES: u64 = 24_576;
/// An offline query is one piece of work: nothing of it is given up before.
const OFFLINE_PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// One request at a time; reports the 90th percentile of latency.
    SingleStream,
    /// Poisson arrivals at --rate; valid if 99 % are answered within --deadline.
    Server,
    /// All --samples at once; reports samples per second.
    Offline,
}

#[derive(Debug, Args)]
pub(crate) struct Mlperf {
    /// Which scenario.
    scenario: Scenario,
    /// The server: http://HOST:PORT, https, grpc or grpcs.
    #[arg(long)]
    url: Target,
    /// Of the server scenario: requests per second.
    #[arg(long, value_parser = positive, required_if_eq("scenario", "server"))]
    rate: Option<f64>,
    /// Of the offline scenario: requests that are sent at once.
    #[arg(long, default_value_t = OFFLINE_SAMPLES, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    samples: u64,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    out: Out,
}

impl Mlperf {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let made = self.out.made()?;
        let workload = self.workload()?;
        let mut measure = Measure::new(&self.asked, &self.seen, &self.url, &workload)?;
        match self.scenario {
            Scenario::SingleStream | Scenario::Server => drop(measure.run(&workload, None)?),
            Scenario::Offline => {
                let mut plan = self.asked.plan(&workload, &self.url)?;
                let samples = usize::try_from(self.samples).unwrap_or(usize::MAX);
                plan.load = Load::Open(vec![0; samples]);
                let (mut played, server) = measure.play(&plan, None)?;
                // The rate of an offline run is that until its last answer.
                let last = played.records.iter().map(|record| record.latency_ns).max();
                played.duration = Duration::from_nanos(last.unwrap_or(1));
                let load = format!("{samples} at once");
                measure.add(Point { load, server, ..Point::played(&played, &workload.names()) });
            }
        }
        let name = self.scenario.name();
        let title = format!("MLPerf {name} of {}", self.asked.name());
        let mut result = ResultFile::new(Kind::Mlperf, &title, &made);
        result.findings.push(self.finding(measure.last()));
        let interrupted = measure.interrupted();
        result.series.push(measure.series);
        finish(&result, &self.out, made.began, interrupted)
    }

    /// The workload at the pace of the scenario, for as long as its rules ask.
    fn workload(&self) -> Result<Workload, Error> {
        let rate = self.rate.unwrap_or(1.0);
        let pace = match self.scenario {
            Scenario::SingleStream => Pace::Closed { concurrency: 1, think_time: Duration::ZERO },
            Scenario::Server => open(rate, Arrivals::Poisson),
            // What is sent at once replaces these requests; the connections are those of an open loop.
            Scenario::Offline => open(1.0, Arrivals::Constant),
        };
        let mut workload = self.asked.workload(pace.clone())?;
        workload.clients.iter_mut().for_each(|clients| clients.pace = None);
        workload.pace = Some(pace);
        if !self.asked.has_duration() {
            workload.duration = match self.scenario {
                Scenario::SingleStream | Scenario::Offline => DURATION_MIN,
                Scenario::Server => {
                    DURATION_MIN.max(Duration::from_secs_f64(SERVER_QUERIES as f64 / rate))
                }
            };
        }
        if self.scenario == Scenario::Offline {
            workload.duration = Duration::from_secs(2);
            workload.timeout = workload.timeout.or(Some(OFFLINE_PATIENCE));
        }
        Ok(workload)
    }

    fn finding(&self, point: &Point) -> Finding {
        let (report, tally) = (&point.report, &point.report.tally);
        let (value, unit) = match self.scenario {
            Scenario::SingleStream => (Some(report.latency.p90_ms), "ms"),
            Scenario::Server => {
                let valid = report.attainment >= SERVER_PART && point.report.tally.requests > 0;
                (valid.then_some(report.offered_rate), "queries/s")
            }
            Scenario::Offline => (Some(report.throughput), "requests/s"),
        };
        let (metric, queries_min) = match self.scenario {
            Scenario::SingleStream => ("90th percentile of latency", SINGLE_STREAM_QUERIES),
            Scenario::Server => ("scheduled rate with 99 % in time", SERVER_QUERIES),
            Scenario::Offline => ("throughput", OFFLINE_SAMPLES),
        };
        let mut notes = Vec::new();
        if tally.requests < queries_min {
            notes.push(format!("{} of {queries_min} queries", tally.requests));
        }
        if report.duration_s < DURATION_MIN.as_secs_f64() {
            notes.push(format!("{:.0} of 600 s", report.duration_s));
        }
        if tally.answered() < tally.requests {
            notes.push(format!("{} not answered", tally.requests - tally.answered()));
        }
        let short = if notes.is_empty() {
            String::new()
        } else {
            format!("not by the rules: {}", notes.join(", "))
        };
        Finding {
            what: format!("{}, {metric}", self.scenario.name()),
            value,
            unit: unit.to_owned(),
            interval: None,
            note: short,
        }
    }
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::SingleStream => "SingleStream",
            Self::Server => "Server",
            Self::Offline => "Offline",
        }
    }
}
