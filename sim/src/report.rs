//! What happened, by model and by reason.

use std::fmt;
use std::time::Duration;

use router::Rejection;

use crate::Latencies;

/// What happened to the requests of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Requests that asked.
    pub offered: u64,
    /// Answered within their deadline, or without one.
    pub in_time: u64,
    /// Answered after their deadline.
    pub late: u64,
    /// Refused, by [`Rejection::index`].
    pub refused: [u64; Rejection::ALL.len()],
    /// Of batches that failed.
    pub failed: u64,
    /// Left while they waited.
    pub cancelled: u64,
    /// Batches run.
    pub batches: u64,
    /// Rows of those batches.
    pub rows: u64,
    /// From arrival to answer, of those answered.
    pub latencies: Latencies,
}

impl ModelReport {
    /// All refusals.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }
}

/// What happened in a simulated world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How long requests arrived.
    pub duration: Duration,
    /// By model, in the scenario's order.
    pub models: Vec<ModelReport>,
}

impl Report {
    /// Requests answered in time, a second.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        self.models.iter().map(|model| model.in_time).sum::<u64>() as f64
            / self.duration.as_secs_f64()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>9} {:>9} {:>7} {:>9} {:>7} {:>9} {:>7} {:>9} {:>9}",
            "model",
            "offered",
            "in time",
            "late",
            "refused",
            "failed",
            "cancelled",
            "batch",
            "p50 ms",
            "p99 ms"
        )?;
        for model in &self.models {
            let ms = |share| model.latencies.percentile(share).as_secs_f64() * 1e3;
            writeln!(
                f,
                "{:<16} {:>9} {:>9} {:>7} {:>9} {:>7} {:>9} {:>7.2} {:>9.3} {:>9.3}",
                model.name,
                model.offered,
                model.in_time,
                model.late,
                model.refused_total(),
                model.failed,
                model.cancelled,
                model.rows as f64 / model.batches.max(1) as f64,
                ms(0.5),
                ms(0.99)
            )?;
            for (reason, count) in
                Rejection::ALL.iter().zip(model.refused).filter(|(_, count)| *count > 0)
            {
                writeln!(f, "{:<16} {count:>9} refused: {}", "", reason.name())?;
            }
        }
        write!(f, "goodput {:.1} requests/s", self.goodput())
    }
}
