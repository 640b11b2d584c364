//! 95 % confidence intervals by batch means: the run is cut into equal spans of time, whose numbers are nearly independent
//! where a span is much longer than what its requests have in common.
//!
//! Schmeiser, "Batch size effects in the analysis of simulation output" (1982), finds 10 to 30 batches right; Law,
//! "Simulation modeling and analysis", section 9.5, has the method, also for percentiles.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Outcome, Record};

/// Spans that a run is cut into.
const BATCHES: usize = 20;
/// Student's t for 95 % on both sides and 19 degrees of freedom.
const T_95: f64 = 2.093;
/// Answers beyond a percentile that a batch needs for its own one to mean something.
const BEYOND_MIN: f64 = 1.0;

/// Where the true number lies, for 95 of 100 runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "its two ends")]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Half its width, relative to its middle.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.high <= self.low {
            return 0.0;
        }
        (self.high - self.low) / (self.high + self.low).abs()
    }

    fn around(middle: f64, batches: &[f64]) -> Self {
        let count = batches.len() as f64;
        let mean = batches.iter().sum::<f64>() / count;
        let squares: f64 = batches.iter().map(|value| (value - mean).powi(2)).sum();
        let half = T_95 * (squares / (count - 1.0) / count).sqrt();
        Self { low: (middle - half).max(0.0), high: middle + half }
    }
}

/// How well a run's numbers are known; none where it is too short to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Of the answers in time per second.
    pub goodput: Option<Interval>,
    /// Of the median latency of answers, in milliseconds.
    pub p50_ms: Option<Interval>,
    /// Of their 99th percentile.
    pub p99_ms: Option<Interval>,
}

/// What a confidence is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the request was due, in nanoseconds.
    pub intended_ns: u64,
    /// Until its answer, if there was one.
    pub latency_ns: Option<u64>,
    /// Whether that was in time.
    pub in_time: bool,
}

impl From<&Record> for Sample {
    fn from(record: &Record) -> Self {
        let in_time = record.outcome == Outcome::InTime;
        let answered = in_time || record.outcome == Outcome::Late;
        let latency_ns = answered.then_some(record.latency_ns);
        Self { intended_ns: record.intended_ns, latency_ns, in_time }
    }
}

impl Confidence {
    /// Of the requests that were due within `duration`.
    #[must_use]
    pub fn of(samples: impl IntoIterator<Item = Sample>, duration: Duration) -> Self {
        let length_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) / BATCHES as u64;
        if length_ns == 0 {
            return Self::default();
        }
        let mut in_time = [0.0; BATCHES];
        let mut latencies: [Vec<u64>; BATCHES] = Default::default();
        for sample in samples {
            let batch = usize::try_from(sample.intended_ns / length_ns).unwrap_or(BATCHES);
            if let Some(latencies) = latencies.get_mut(batch) {
                latencies.extend(sample.latency_ns);
                in_time[batch] += f64::from(u8::from(sample.in_time));
            }
        }
        let seconds = length_ns as f64 / 1e9;
        let rates = in_time.map(|count| count / seconds);
        let goodput = rates.iter().sum::<f64>() / BATCHES as f64;
        let [p50_ms, p99_ms] = [0.5, 0.99].map(|part| percentile(&mut latencies, part));
        Self { goodput: Some(Interval::around(goodput, &rates)), p50_ms, p99_ms }
    }

    /// Whether goodput and 99th percentile are known to within that part of themselves.
    #[must_use]
    pub fn within(&self, relative: f64) -> bool {
        let narrow =
            |interval: Option<Interval>| interval.is_some_and(|it| it.relative() <= relative);
        narrow(self.goodput) && narrow(self.p99_ms)
    }
}

fn percentile(batches: &mut [Vec<u64>; BATCHES], part: f64) -> Option<Interval> {
    let beyond = |batch: &Vec<u64>| batch.len() as f64 * (1.0 - part).min(part);
    if batches.iter().any(|batch| beyond(batch) < BEYOND_MIN - 1e-9) {
        return None;
    }
    let each = batches.each_mut().map(|batch| at(batch, part));
    let mut all = batches.concat();
    Some(Interval::around(at(&mut all, part), &each))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place among what is in memory"
)]
fn at(latencies: &mut [u64], part: f64) -> f64 {
    let place = (latencies.len() as f64 * part).ceil() as usize;
    let (_, found, _) = latencies.select_nth_unstable(place.saturating_sub(1));
    *found as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, Exp1};
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::Arrivals;

    /// Twenty seconds at 500 requests per second with exponential latencies of a mean of 10 ms, nine of ten in time.
    fn run(seed: u64) -> Confidence {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let due = Arrivals::Poisson.offsets(500.0, seed).unwrap();
        let samples: Vec<Sample> = due
            .take_while(|at| *at < 20_000_000_000)
            .map(|intended_ns| {
                let mean_10_ms: f64 = Exp1.sample(&mut rng);
                let latency = Duration::from_secs_f64(mean_10_ms * 0.01);
                Sample {
                    intended_ns,
                    latency_ns: Some(latency.as_nanos().try_into().unwrap()),
                    in_time: rng.random::<f64>() < 0.9,
                }
            })
            .collect();
        Confidence::of(samples, Duration::from_secs(20))
    }

    #[test]
    fn the_true_number_lies_within_95_of_100_intervals() {
        let truths = [450.0, 10.0 * std::f64::consts::LN_2, 10.0 * 100_f64.ln()];
        let mut hits = [0; 3];
        for seed in 0..1000 {
            let run = run(seed);
            let intervals = [run.goodput, run.p50_ms, run.p99_ms].map(Option::unwrap);
            for (hits, (interval, truth)) in hits.iter_mut().zip(intervals.iter().zip(truths)) {
                *hits += i32::from(interval.low <= truth && truth <= interval.high);
            }
        }
        // 950 and 5 standard deviations of 6.9 on either side.
        assert!(hits.iter().all(|hits| (915..=985).contains(hits)), "{hits:?}");
    }

    #[test]
    fn a_run_that_is_too_short_for_a_percentile_does_not_state_one() {
        let sample =
            |at| Sample { intended_ns: at * 1_000_000, latency_ns: Some(at), in_time: true };
        let few = Confidence::of((0..1999).map(sample), Duration::from_secs(2));
        assert!(few.p99_ms.is_none() && few.p50_ms.is_some() && !few.within(1e9));
        let enough = Confidence::of((0..2000).map(sample), Duration::from_secs(2));
        assert!(enough.p99_ms.is_some());
        assert_eq!(enough.goodput.unwrap(), Interval { low: 1000.0, high: 1000.0 });
    }
}
