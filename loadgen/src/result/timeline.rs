//! What became of the requests of a run, by when they were due.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Outcome, Record};

/// More bins than these say no more on paper: longer runs have wider ones.
const BINS_MAX: u64 = 600;

/// A run in equal spans of whole seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The length of a bin in seconds.
    pub bin_s: f64,
    /// From the beginning; each request is counted where it was due.
    pub bins: Vec<Bin>,
}

/// The requests that were due within a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// All of them.
    pub offered: u64,
    /// Answered within their deadline.
    pub in_time: u64,
    /// Answered after it.
    pub late: u64,
    /// Refused, for any reason.
    pub refused: u64,
    /// Errors, timeouts, cancellations and lost connections.
    pub failed: u64,
    /// Median latency of the answered ones.
    pub p50_ms: Option<f64>,
    /// Its 99th percentile.
    pub p99_ms: Option<f64>,
}

impl Timeline {
    /// The timeline of the requests that were due within `duration`.
    #[must_use]
    pub fn of(records: &[Record], duration: Duration) -> Self {
        let seconds = duration.as_secs_f64().ceil().max(1.0);
        let bin_s = (seconds / BINS_MAX as f64).ceil();
        let place = |at_ns: u64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a few hundred bins"
            )]
            let place = (at_ns as f64 / 1e9 / bin_s) as usize;
            place
        };
        let last_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).saturating_sub(1);
        let mut spans: Vec<(Bin, Vec<u64>)> = vec![Default::default(); place(last_ns) + 1];
        for record in records {
            let Some((bin, answered)) = spans.get_mut(place(record.intended_ns)) else { continue };
            bin.offered += 1;
            match record.outcome {
                Outcome::InTime => bin.in_time += 1,
                Outcome::Late => bin.late += 1,
                Outcome::Refused(_) => bin.refused += 1,
                Outcome::Error(_)
                | Outcome::Timeout
                | Outcome::Cancelled
                | Outcome::ConnectionLost => bin.failed += 1,
            }
            if matches!(record.outcome, Outcome::InTime | Outcome::Late) {
                answered.push(record.latency_ns);
            }
        }
        let bins = spans.into_iter().map(|(mut bin, mut answered)| {
            answered.sort_unstable();
            bin.p50_ms = percentile_ms(&answered, 50);
            bin.p99_ms = percentile_ms(&answered, 99);
            bin
        });
        Self { bin_s, bins: bins.collect() }
    }
}

/// The smallest value that so many of a hundred stay within.
fn percentile_ms(sorted: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).map(|ns| *ns as f64 / 1e6)
}
