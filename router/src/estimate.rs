//! Corrects a measured profile by the time of every batch that is run.
//!
//! The estimator of TCP's retransmission timer (Jacobson, SIGCOMM'88): a smoothed mean of measured over profiled
//! time, and its smoothed absolute deviation. Plans use the mean and a margin of some deviations: as many as keep answers
//! in time, since a wider one is paid for in smaller batches. A profile has few sizes and straight lines
//! between them, but matrix kernels work in tiles, so that 13 rows may take a fifth longer than the line says: each size
//! has a factor of its own beside the common mean.

use std::time::Duration;

use models::LatencyProfile;

/// Share of a new measurement in the mean and in the deviation.
const GAIN: f64 = 1.0 / 16.0;
/// The same in a size's own factor, at the least: a device that slows down slows all sizes, so the mean follows faster.
const FACTOR_GAIN_MIN: f64 = 1.0 / 64.0;
/// Before its first run a size's factor is believed as if it had been seen that often; its first run weighs [`GAIN`].
const RUNS_BELIEVED: u32 = 15;
/// Deviations between the mean and the planned time, at the most. A normal spread exceeds 4 mean absolute deviations in
/// 1 run of 1000; of recorded runs on a shared machine, whose spread has a longer tail, 1 to 2 of 100 did.
const DEVIATIONS_MAX: f64 = 4.0;
/// Up to that deviation so many are taken in any case: a margin of 4 % costs nearly nothing.
const FINE: f64 = 0.01;
/// Beyond, that many at first and at the least.
const DEVIATIONS_MIN: f64 = 2.5;
/// As many more as keep that share of answers late: of the one in a hundred that goodput forgives less than half.
const LATE_SHARE: f64 = 0.004;
/// So many more for a late answer.
const LATE_STEP: f64 = 0.1;
/// One run counts as at most this much above what was expected of it, so that a stall of the machine does not close
/// the door.
const EXCESS_MAX: f64 = 1.0;
/// The first of several in a row, or else so many deviations; the next twice as much: one is a stall, several are the device.
const EXCESS_FIRST: f64 = 0.2;
const EXCESS_DEVIATIONS: f64 = 8.0;
/// Corrections below this are not worth a new table.
const STEP_MIN: f64 = 0.005;

/// The current belief about the time of one variant with one shape.
#[derive(Debug)]
pub(crate) struct Estimate {
    base: LatencyProfile,
    current: LatencyProfile,
    mean: f64,
    deviation: f64,
    /// How many deviations plans keep, beyond the fine ones.
    deviations: f64,
    /// What the run before exceeded its expectation by, as it would count now; 0 if it was a usual one.
    excess: f64,
    /// The factor of the sizes that ran lately: that of sizes which never ran.
    typical: f64,
    /// Of batch `i + 1`, up to the largest measured one.
    sizes: Vec<Size>,
    /// Mean and planned time over the mean in the current profile.
    applied: (f64, f64),
    error: f64,
    runs: u64,
}

/// What one batch size takes beside the common mean.
#[derive(Clone, Copy, Debug)]
struct Size {
    factor: f64,
    /// The factor in the current profile.
    applied: f64,
    runs: u32,
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
        let deviation = (spread - 1.0).min(EXCESS_MAX) / DEVIATIONS_MAX;
        let sizes = vec![Size { factor: 1.0, applied: 1.0, runs: 0 }; base.batch_max() as usize];
        Self {
            current: base.clone(),
            base,
            mean: 1.0,
            deviation,
            deviations: DEVIATIONS_MIN,
            excess: 0.0,
            typical: 1.0,
            sizes,
            applied: (1.0, spread),
            error: 0.0,
            runs: 0,
        }
    }

    /// The corrected profile.
    pub(crate) fn profile(&self) -> &LatencyProfile {
        &self.current
    }

    /// The median of that many rows as it was measured, uncorrected.
    pub(crate) fn measured(&self, rows: u32) -> Duration {
        self.base.median(rows)
    }

    /// Learns from a run.
    pub(crate) fn correct(&mut self, rows: u32, elapsed: Duration) {
        let ratio = elapsed.as_secs_f64() / self.base.median(rows).as_secs_f64();
        let last = self.sizes.len() - 1;
        let place = (rows.max(1) as usize - 1).min(last);
        if self.sizes[place].runs == 0 {
            self.sizes[place].factor = self.typical;
        }
        let expected = self.mean * self.sizes[place].factor;
        let miss = ratio / expected - 1.0;
        self.error += GAIN * (miss.abs() - self.error);
        let miss = self.counted(miss);
        self.deviation += GAIN * (miss.abs() - self.deviation);
        let ratio = expected * (1.0 + miss);
        let size = &mut self.sizes[place];
        self.mean += GAIN * (ratio / size.factor - self.mean);
        size.runs = size.runs.saturating_add(1);
        let gain = 1.0 / f64::from(size.runs.saturating_add(RUNS_BELIEVED));
        size.factor += gain.max(FACTOR_GAIN_MIN) * (ratio / self.mean - size.factor);
        self.typical += GAIN * (size.factor - self.typical);
        let factor = (size.factor, size.applied);
        self.runs += 1;
        let moved = |new: f64, old: f64| (new / old - 1.0).abs() > STEP_MIN;
        if moved(self.mean, self.applied.0)
            || moved(self.planned(), self.applied.1)
            || moved(factor.0, factor.1)
        {
            self.apply();
        }
    }

    /// Learns from how many of the answers of a run were late.
    #[expect(clippy::cast_precision_loss, reason = "a batch has fewer rows than 2^53")]
    pub(crate) fn answered(&mut self, late: u64, answers: u64) {
        let surplus = late as f64 - LATE_SHARE * answers as f64;
        let wanted = self.deviations + LATE_STEP * surplus;
        self.deviations = wanted.clamp(DEVIATIONS_MIN, DEVIATIONS_MAX);
    }

    /// What counts of a run that missed its expectation by that share.
    fn counted(&mut self, miss: f64) -> f64 {
        let usual = (EXCESS_DEVIATIONS * self.deviation).clamp(EXCESS_FIRST, EXCESS_MAX);
        let allowed = self.excess.max(usual);
        self.excess = if miss > usual { (2.0 * allowed).min(EXCESS_MAX) } else { 0.0 };
        miss.min(allowed)
    }

    /// The planned time over the mean.
    fn planned(&self) -> f64 {
        let fine = self.deviation.min(FINE);
        1.0 + DEVIATIONS_MAX * fine + self.deviations * (self.deviation - fine)
    }

    fn apply(&mut self) {
        let planned = self.planned();
        for size in &mut self.sizes {
            size.applied = if size.runs == 0 { self.typical } else { size.factor };
        }
        let (mean, sizes) = (self.mean, &self.sizes);
        self.current.correct(&self.base, |index| {
            let median = mean * sizes[index].applied;
            (median, median * planned)
        });
        self.applied = (mean, planned);
    }

    /// How well runs were predicted so far.
    pub(crate) fn prediction(&self) -> Prediction {
        Prediction { ratio: self.mean * self.typical, error: self.error, runs: self.runs }
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
        // By less than a tenth, though the run took a hundred times as long.
        assert!(estimate.profile().time(1) < 11 * MS / 2, "{:?}", estimate.profile().time(1));
        for _ in 0..100 {
            estimate.correct(1, 5 * MS);
        }
        assert!(estimate.profile().time(1) < 6 * MS);
    }

    #[test]
    fn several_long_runs_in_a_row_are_believed_at_once() {
        let mut estimate = Estimate::new(LatencyProfile::linear(4 * MS, MS, 16));
        (0..20).for_each(|_| estimate.correct(1, 15 * MS));
        assert!(estimate.profile().time(1) > 10 * MS, "{:?}", estimate.profile().time(1));
    }

    #[test]
    fn where_runs_spread_the_margin_is_as_wide_as_answers_need_it() {
        let margin = |late: u64| {
            let mut estimate = Estimate::new(LatencyProfile::linear(40 * MS, 10 * MS, 16));
            for run in 0..4000 {
                estimate.answered(late * u64::from(run % 100 == 0), 10);
                estimate.correct(1, if run % 2 == 0 { 45 * MS } else { 55 * MS });
            }
            estimate.profile().time(1).as_secs_f64() / 0.05 - 1.0
        };
        // The deviation is 0.1 (so each run counts anew); nobody late, 2 of 1,000 answers, 20.
        let (none, some, many) = (margin(0), margin(2), margin(20));
        assert!((0.24..0.29).contains(&none), "{none}");
        assert!((some - none).abs() < 0.03, "{some}");
        assert!((0.38..0.42).contains(&many), "{many}");
    }

    #[test]
    fn a_fine_spread_is_planned_with_in_full_whether_or_not_answers_are_late() {
        let mut estimate = Estimate::new(LatencyProfile::linear(4 * MS, MS, 16));
        for run in 0..4000 {
            estimate.answered(0, 10);
            estimate.correct(1, if run % 2 == 0 { MS * 4980 / 1000 } else { MS * 5020 / 1000 });
        }
        let planned = estimate.profile().time(1).as_secs_f64();
        assert!((planned / 0.005 - 1.016).abs() < 0.003, "{planned}");
    }

    #[test]
    fn a_size_that_takes_longer_than_the_line_is_planned_so_and_its_neighbours_are_not() {
        let mut estimate = Estimate::new(LatencyProfile::linear(4 * MS, MS, 16));
        for _ in 0..200 {
            estimate.correct(12, 16 * MS);
            estimate.correct(11, 15 * MS);
            estimate.correct(13, 22 * MS);
        }
        let profile = estimate.profile();
        let near = |time: Duration, wanted: Duration| {
            (time.as_secs_f64() / wanted.as_secs_f64() - 1.0).abs() < 0.03
        };
        assert!(near(profile.median(13), 22 * MS), "{:?}", profile.median(13));
        assert!(near(profile.time(13), 22 * MS), "{:?}", profile.time(13));
        assert!(near(profile.time(12), 16 * MS), "{:?}", profile.time(12));
        assert!(near(profile.time(11), 15 * MS), "{:?}", profile.time(11));
    }

    #[test]
    fn a_batch_beyond_the_profile_teaches_the_largest_measured_size() {
        let mut estimate = Estimate::new(LatencyProfile::linear(4 * MS, MS, 2));
        for _ in 0..200 {
            estimate.correct(4, 16 * MS);
        }
        let time = estimate.profile().time(2);
        assert!((time.as_secs_f64() / 0.012 - 1.0).abs() < 0.05, "{time:?}");
    }
}
