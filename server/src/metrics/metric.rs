//! What a metric is: its name, how it moves and what it counts.

use metrics::Recorder;

/// What is known of a metric before it has numbers.
#[derive(Debug)]
pub struct Metric {
    /// The name on the wire.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// A sentence.
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets: microseconds of a time, else rows; empty for other kinds.
    pub buckets: &'static [u64],
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// A count for each bucket.
    Histogram,
}

impl Metric {
    /// Tells a recorder what this metric is.
    pub(super) fn describe(&self, to: &dyn Recorder) {
        let (name, unit, help) = (self.name.into(), self.unit.described(), self.help.into());
        match self.kind {
            Kind::Counter => to.describe_counter(name, unit, help),
            Kind::Gauge => to.describe_gauge(name, unit, help),
            Kind::Histogram => to.describe_histogram(name, unit, help),
        }
    }
}

impl Kind {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum Unit {
    Requests,
    Rows,
    Batches,
    Models,
    Seconds,
    Milliseconds,
    Microseconds,
    Bytes,
    Ratio,
}

impl Unit {
    /// In the words of the `metrics` crate, which has none for a ratio.
    fn described(self) -> Option<metrics::Unit> {
        match self {
            Self::Requests | Self::Rows | Self::Batches | Self::Models => {
                Some(metrics::Unit::Count)
            }
            Self::Seconds => Some(metrics::Unit::Seconds),
            Self::Milliseconds => Some(metrics::Unit::Milliseconds),
            Self::Microseconds => Some(metrics::Unit::Microseconds),
            Self::Bytes => Some(metrics::Unit::Bytes),
            Self::Ratio => None,
        }
    }
}
