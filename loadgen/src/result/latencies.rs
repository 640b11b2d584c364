//! Histograms of latencies in the form of HdrHistogram, which other tools read and merge.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::ResultFile;
use crate::{Outcome, Record};

/// An hour in nanoseconds: longer latencies count as that.
const NS_MAX: u64 = 3_600_000_000_000;
/// Significant digits: a value is at most 0.1 % too high.
const DIGITS: u8 = 3;

/// A histogram of nanoseconds.
///
/// Its text is that of a line of a histogram log: the compressed V2 encoding in base64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, NS_MAX, DIGITS).expect("the bounds are allowed"))
    }
}

impl Latencies {
    /// Those of the answered requests.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut latencies = Self::default();
        for record in records {
            match record.outcome {
                Outcome::InTime | Outcome::Late => latencies.0.saturating_record(record.latency_ns),
                Outcome::Refused(_)
                | Outcome::Error(_)
                | Outcome::Timeout
                | Outcome::Cancelled
                | Outcome::ConnectionLost => {}
            }
        }
        latencies
    }

    /// Counts those of another run as well.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are at most so long, to the precision of the histogram.
    #[must_use]
    pub fn within(&self, time: Duration) -> u64 {
        self.0.count_between(0, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(NS_MAX))
    }

    /// Milliseconds that this share of the answers stayed within.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e6
    }
}

impl From<Latencies> for String {
    fn from(latencies: Latencies) -> Self {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&latencies.0, &mut bytes)
            .expect("a vector takes all and counts are below i64::MAX");
        STANDARD.encode(bytes)
    }
}

impl TryFrom<String> for Latencies {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            |what: &dyn std::fmt::Display| format!("not a histogram of HdrHistogram: {what}");
        let bytes = STANDARD.decode(text.trim()).map_err(|error| wrong(&error))?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| wrong(&error))?;
        let mut latencies = Self::default();
        latencies.0.add(&read).map_err(|error| wrong(&error))?;
        Ok(latencies)
    }
}

/// The log of all points, one line each with the series as its tag, readable by HdrHistogram's tools.
#[must_use]
pub fn log(result: &ResultFile, began: SystemTime) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment(&format!("[{}: {}; values in nanoseconds]", result.program, result.title))
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(1e6);
    let mut writer =
        builder.begin_log_with(&mut text, &mut serializer).expect("a vector takes all");
    let mut at = Duration::ZERO;
    for (series, point) in result.points() {
        let lasts = Duration::try_from_secs_f64(point.report.duration_s).unwrap_or_default();
        // Tags end at a comma, a space or a line's end.
        let tag: String =
            series.name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        writer
            .write_histogram(&point.latencies.0, at, lasts, Tag::new(&tag))
            .expect("a vector takes all and counts are below i64::MAX");
        at += lasts;
    }
    text
}
