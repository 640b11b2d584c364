//! What measurements leave behind: one file format for runs, sweeps and comparisons, real and simulated.
//!
//! docs/load-testing.md describes the JSON form. Readers refuse a later version and ignore what they do not know.

mod csv;
mod date;
mod latencies;
mod server;
mod timeline;

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::client::Played;
use crate::{CLIENT_BUSY_MAX, Confidence, Error, Record, Report, Sample, Tally};
pub use latencies::{Latencies, log};
pub use server::{Batches, Counters, ModelView, ServerView, Snapshot};
pub use timeline::{Bin, Timeline};

/// What stands in `format` of every file.
pub const FORMAT: &str = "punctual-bench result";
/// What stands in `format_version`; it rises when a reader of the version before would be wrong.
pub const FORMAT_VERSION: u32 = 1;

/// One or several measurements, how they came about and what they show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultFile {
    /// [`FORMAT`].
    pub format: String,
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Which question was asked.
    pub kind: Kind,
    /// What was done, such as `sweep of gemm_mlp`.
    pub title: String,
    /// What was typed.
    pub command: String,
    /// When it began, in UTC as `2026-01-31T23:59:59Z`.
    pub date: String,
    /// The program with its version.
    pub program: String,
    /// The machine of the client.
    pub machine: String,
    /// Answers to what was asked, such as the highest rate that keeps an objective.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What was measured, by server.
    pub series: Vec<Series>,
}

/// Which question a measurement asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What happens under this load?
    Run,
    /// What happens under rising loads?
    Sweep,
    /// How much load is too much?
    Find,
    /// Which of two servers is better?
    Compare,
    /// Does it stay so for hours?
    Soak,
    /// What does a scenario of MLPerf's LoadGen report?
    Mlperf,
}

/// An answer in one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is the number of, as a sentence's beginning.
    pub what: String,
    /// The number; absent where there is none.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// The interval of 95 % confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// What a reader must know besides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The points of one server, or of one simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What plots call it.
    pub name: String,
    /// The server's URL; absent of a simulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The server's name and version as it gives them, or the simulator's.
    pub server: String,
    /// Whether no server was asked.
    #[serde(default)]
    pub simulated: bool,
    /// When an answer is too late, where all models have the same deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<f64>,
    /// One for each run, in the order in which they ran.
    pub points: Vec<Point>,
}

/// One run under one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What was asked for, in words, such as `poisson 500/s`.
    pub load: String,
    /// Of the random numbers.
    pub seed: u64,
    /// Counts, rates and percentiles, for all models and each.
    pub report: Report,
    /// How well goodput and percentiles are known.
    #[serde(default)]
    pub confidence: Confidence,
    /// How the requests of the warm-up ended, which count nowhere else.
    #[serde(default)]
    pub warm_up: Tally,
    /// The part of its core that the client used; absent of a simulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_busy: Option<f64>,
    /// Of answered requests, from when they were due; a histogram as HdrHistogram's logs have it, in nanoseconds.
    pub latencies: Latencies,
    /// What happened when.
    pub timeline: Timeline,
    /// What the server says of itself; absent where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerView>,
    /// Of the server's process in use after the run, where it was watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// How a result came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The program with its version.
    pub program: String,
    /// What was typed.
    pub command: String,
    /// When it began.
    pub began: SystemTime,
}

impl ResultFile {
    /// A file without measurements.
    #[must_use]
    pub fn new(kind: Kind, title: &str, made: &Made) -> Self {
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            kind,
            title: title.to_owned(),
            command: made.command.clone(),
            date: date::utc(made.began),
            program: made.program.clone(),
            machine: machine(),
            findings: Vec::new(),
            series: Vec::new(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is not there, is no result, or is one of a later version.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::File { file: file.display().to_string(), reason };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        Self::from_json(&text).map_err(wrong)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            format_version: u32,
        }
        let head: Head = serde_json::from_str(text)
            .map_err(|error| format!("not a result of punctual-bench: {error}"))?;
        if head.format != FORMAT {
            return Err(format!("its format is '{}', not '{FORMAT}'", head.format));
        }
        if head.format_version > FORMAT_VERSION {
            return Err(format!(
                "its format version is {}; this program knows {FORMAT_VERSION}",
                head.format_version
            ));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a result is numbers and text")
    }

    /// All points with the names of their series.
    pub fn points(&self) -> impl Iterator<Item = (&Series, &Point)> {
        self.series.iter().flat_map(|series| series.points.iter().map(move |point| (series, point)))
    }

    /// One line for each point.
    #[must_use]
    pub fn to_csv(&self) -> String {
        csv::points(self)
    }

    /// One line for each bin of each point's timeline.
    #[must_use]
    pub fn timeline_csv(&self) -> String {
        csv::timelines(self)
    }
}

impl Point {
    /// The point of a run of `duration`; `names` are the clients of the workload, by share.
    #[must_use]
    pub fn of(records: &[Record], names: &[&str], duration: Duration) -> Self {
        Self {
            load: String::new(),
            seed: 0,
            report: Report::of(records, names, duration),
            confidence: Confidence::of(records.iter().map(Sample::from), duration),
            warm_up: Tally::default(),
            client_busy: None,
            latencies: Latencies::of(records),
            timeline: Timeline::of(records, duration),
            server: None,
            memory_bytes: None,
        }
    }

    /// The point of a run against a server.
    #[must_use]
    pub fn played(played: &Played, names: &[&str]) -> Self {
        let mut point = Self::of(&played.records, names, played.duration);
        played.warm_up.iter().for_each(|record| point.warm_up.count(&record.outcome));
        point.client_busy = Some(played.client_busy);
        point
    }

    /// Whether the numbers are the server's and not the client's own.
    #[must_use]
    pub fn trusted(&self) -> bool {
        self.report.client_on_time && self.client_busy.is_none_or(|busy| busy <= CLIENT_BUSY_MAX)
    }
}

fn machine() -> String {
    let uname = rustix::system::uname();
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // All of them, and not only those that this process may use.
    let cpus = about.lines().filter(|line| line.starts_with("processor")).count().max(1);
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("processor", |(_, model)| model.trim());
    let system = [uname.sysname(), uname.release()].map(|part| part.to_string_lossy().into_owned());
    format!("{cpus} x {model}, {}", system.join(" "))
}

#[cfg(test)]
mod tests;
