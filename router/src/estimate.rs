//! Corrects a measured profile by the time of every batch that is run.
//!
//! The estimator of TCP's retransmission timer (Jacobson, SIGCOMM'88): a smoothed mean of measured over profiled
//! time, and its smoothed absolute deviation. Plans use mean + 3 deviations, which a normal spread exceeds in less
//! than 1 run of 100.

use std::time::Duration;

use models::LatencyProfile;

/// Share of a new measurement in the mean and in the deviation.
const GAIN: f64 = 1.0 / 16.0;
/// Deviations between the mean and the planned time: 3 mean absolute deviations are 2.4 standard ones.
const DEVIATIONS: f64 = 3.0;
/// One run counts as at most this much above the mean, so that a stall of the machine does not close the door.
const EXCESS_MAX: f64 = 1.0;
/// Corrections below this are not worth a new table.
const STEP_MIN: f64 = 0.005;

/// The current belief about the time of one variant with one shape.
#[derive(Debug)]
pub(crate) struct Estimate {
    base: LatencyProfile,
    current: LatencyProfile,
    mean: f64,
    deviation: f64,
    applied: (f64, f64),
    error: f64,
    runs: u64,
}

/// How well runs were predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Measured time over profiled median, smoothed: 1 when the profile is right.
    pub ratio: f64,
    /// Mean absolute error of the predicted median, as a share of it, smoothed.
    pub error: f64,
    /// How many runs were compared.
    pub runs: u64,
}

impl Estimate {
    /// Believes a profile until batches say otherwise.
    pub(crate) fn new(base: LatencyProfile) -> Self {
        let spread =
            base.points().iter().map(|point| point.p99.as_secs_f64() / point.median.as_secs_f64());
        let spread = spread.sum::<f64>() / base.points().len() as f64;
        let deviation = (spread - 1.0).min(EXCESS_MAX) / DEVIATIONS;
        let current = base.clone();
        Self { base, current, mean: 1.0, deviation, applied: (1.0, spread), error: 0.0, runs: 0 }
    }

    /// The corrected profile.
    pub(crate) fn profile(&self) -> &LatencyProfile {
        &self.current
    }

    /// Learns from a run.
    pub(crate) fn correct(&mut self, rows: u32, elapsed: Duration) {
        let ratio = elapsed.as_secs_f64() / self.base.median(rows).as_secs_f64();
        let miss = ratio - self.mean;
        self.error += GAIN * ((miss / self.mean).abs() - self.error);
        let excess = miss.min(EXCESS_MAX);
        self.mean += GAIN * excess;
        self.deviation += GAIN * (excess.abs() - self.deviation);
        self.runs += 1;
        let planned = self.mean + DEVIATIONS * self.deviation;
        let moved = |new: f64, old: f64| (new / old - 1.0).abs() > STEP_MIN;
        if moved(self.mean, self.applied.0) || moved(planned, self.applied.1) {
            self.current.correct(&self.base, self.mean, planned);
            self.applied = (self.mean, planned);
        }
    }

    /// How well runs were predicted so far.
    pub(crate) fn prediction(&self) -> Prediction {
        Prediction { ratio: self.mean, error: self.error, runs: self.runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_steady_device_twice_as_slow_is_believed_and_planned_tightly() {
        let mut estimate = Estimate::new(LatencyProfile::linear(4 * MS, MS, 16));
        for _ in 0..200 {
            estimate.correct(4, 16 * MS);
        }
        let profile = estimate.profile();
        let near = |time: Duration, wanted: Duration| {
            (time.as_secs_f64() / wanted.as_secs_f64() - 1.0).abs() < 0.03
        };
        assert!(near(profile.median(16), 40 * MS), "{:?}", profile.median(16));
        assert!(near(profile.time(16), 40 * MS), "{:?}", profile.time(16));
        assert!(estimate.prediction().error < 0.02);
    }

    #[test]
    fn one_stall_widens_the_plan_for_a_while_and_no_more() {
        let mut estimate = Estimate::new(LatencyProfile::linear(4 * MS, MS, 16));
        estimate.correct(1, 500 * MS);
        assert!(estimate.profile().time(1) < 7 * MS, "{:?}", estimate.profile().time(1));
        for _ in 0..100 {
            estimate.correct(1, 5 * MS);
        }
        assert!(estimate.profile().time(1) < 6 * MS);
    }
}
