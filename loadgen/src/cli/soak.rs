//! `punctual-bench soak`: the same load for hours, and whether anything drifts.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use loadgen::client::Target;
use loadgen::result::{Finding, Kind, Point, ResultFile};
use loadgen::{Error, parse_duration, slope};

use super::asked::{Asked, PaceArgs};
use super::measure::{Measure, Seen};
use super::out::{Out, finish};

const HOUR_S: f64 = 3600.0;
const MIB: f64 = 1_048_576.0;

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// The server: http://HOST:PORT, https, grpc or grpcs.
    #[arg(long)]
    url: Target,
    /// How long in all, in rounds of --duration with connections of their own.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    total: Duration,
    /// A process of this machine whose memory is read after each round.
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    out: Out,
}

impl Soak {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let made = self.out.made()?;
        let base = self.asked.workload(self.pace.pace()?)?;
        self.pid.map_or(Ok(0), memory_bytes)?;
        let mut measure = Measure::new(&self.asked, &self.seen, &self.url, &base)?;
        let rounds = self.total.as_secs_f64() / base.duration.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let rounds = rounds.ceil().max(1.0) as u64;
        for round in 0..rounds {
            let mut workload = base.clone();
            workload.seed = base.seed.wrapping_add(round);
            measure.run(&workload, None)?;
            let memory = self.pid.map(memory_bytes).transpose()?;
            measure.last_mut().memory_bytes = memory;
            if measure.interrupted() {
                break;
            }
        }
        let title = format!("Soak of {}", self.asked.name());
        let mut result = ResultFile::new(Kind::Soak, &title, &made);
        result.findings = findings(&measure.series.points);
        let interrupted = measure.interrupted();
        result.series.push(measure.series);
        finish(&result, &self.out, made.began, interrupted)
    }
}

/// What is watched for drift, its unit, and how it is read.
type Number = (&'static str, &'static str, fn(&Point) -> Option<f64>);
const NUMBERS: [Number; 3] = [
    ("Drift of the 99th percentile", "ms an hour", |point| Some(point.report.latency.p99_ms)),
    ("Drift of goodput", "/s an hour", |point| Some(point.report.goodput)),
    ("Growth of memory", "MiB an hour", |point| point.memory_bytes.map(|bytes| bytes as f64 / MIB)),
];

fn findings(points: &[Point]) -> Vec<Finding> {
    let drift = |(what, unit, of): &Number| {
        let mut at_s = 0.0;
        let mut values = Vec::new();
        for point in points {
            at_s += point.report.duration_s;
            values.push((at_s / HOUR_S, of(point)?));
        }
        let estimate = slope(&values)?;
        let steady = estimate.interval.is_some_and(|it| it.low <= 0.0 && it.high >= 0.0);
        Some(Finding {
            what: (*what).to_owned(),
            value: Some(estimate.value),
            unit: (*unit).to_owned(),
            interval: estimate.interval.map(|interval| [interval.low, interval.high]),
            note: format!("{} rounds{}", values.len(), if steady { ": none shown" } else { "" }),
        })
    };
    NUMBERS.iter().filter_map(drift).collect()
}

/// Memory of a process in use.
fn memory_bytes(pid: u32) -> Result<u64, Error> {
    let file = format!("/proc/{pid}/status");
    let wrong = |reason: String| Error::File { file: file.clone(), reason };
    let text = std::fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| wrong("has no VmRSS".to_owned()))
}
