//! Measured time of a run by batch size on one kind of device, and the questions a scheduler asks of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One measured batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilePoint {
    /// Rows run together.
    pub batch: u32,
    /// Half of the runs took at most this long.
    pub median: Duration,
    /// 99 of 100 runs took at most this long.
    pub p99: Duration,
    /// How many runs were measured; 0 for a published or derived number.
    pub runs: u32,
}

/// Why points do not make a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No point at all.
    #[error("a latency profile needs at least one batch size")]
    Empty,
    /// Batch sizes must rise from 1.
    #[error("batch sizes must rise, starting at 1: found {found} after {previous}")]
    Order {
        /// The size before.
        previous: u32,
        /// The size that does not follow.
        found: u32,
    },
    /// A time of zero, or a p99 below the median.
    #[error("batch {batch}: the median must be above 0 and the p99 at least the median")]
    Time {
        /// The size whose times are wrong.
        batch: u32,
    },
    /// A line of a CSV file that is not `batch,median_us,p99_us[,runs]`.
    #[error("line {line}: expected batch,median_us,p99_us,runs but found {found:?}")]
    Csv {
        /// Counted from 1.
        line: usize,
        /// The text of the line.
        found: String,
    },
}

/// Per-item time must fall by at least this share for a larger batch to pay: below it, batching only adds delay.
/// Chosen above the run-to-run spread seen on CPUs (2-4 %), below the smallest real gain in our models (MiniLM, 8 %).
const PAYS_SHARE: f64 = 0.05;

/// Time of a run by batch size: measured points, straight lines between them, the last slope beyond them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<ProfilePoint>", into = "Vec<ProfilePoint>")]
pub struct LatencyProfile {
    points: Vec<ProfilePoint>,
    /// Planned time in nanoseconds of batch `i + 1`, at the 99th percentile, up to the largest measured batch.
    planned: Vec<u64>,
    /// Median time in nanoseconds, likewise.
    median: Vec<u64>,
}

impl LatencyProfile {
    /// Builds a profile from points whose batch sizes rise from 1.
    ///
    /// # Errors
    /// Where there is no point, sizes do not rise from 1, or a time cannot be.
    pub fn new(points: Vec<ProfilePoint>) -> Result<Self, ProfileError> {
        let mut previous = 0;
        for point in &points {
            if point.batch <= previous || (previous == 0 && point.batch != 1) {
                return Err(ProfileError::Order { previous, found: point.batch });
            }
            if point.median.is_zero() || point.p99 < point.median {
                return Err(ProfileError::Time { batch: point.batch });
            }
            previous = point.batch;
        }
        if previous == 0 {
            return Err(ProfileError::Empty);
        }
        let planned = table(&points, |point| point.p99);
        let median = table(&points, |point| point.median);
        Ok(Self { points, planned, median })
    }

    /// The profile `l(b) = per_item * b + fixed` up to `batch_max`, exact: for published linear models and tests.
    ///
    /// # Panics
    /// If `batch_max` is 0 or both times are zero.
    #[must_use]
    pub fn linear(fixed: Duration, per_item: Duration, batch_max: u32) -> Self {
        let point = |batch: u32| {
            let time = fixed + per_item * batch;
            ProfilePoint { batch, median: time, p99: time, runs: 0 }
        };
        let points = if batch_max == 1 { vec![point(1)] } else { vec![point(1), point(batch_max)] };
        Self::new(points).expect("a positive linear profile is in order")
    }

    /// Reads `batch,median_us,p99_us,runs` lines; blank lines, `#` comments and one header line are skipped.
    ///
    /// # Errors
    /// Names the line that cannot be read, or the rule that the points break.
    pub fn from_csv(text: &str) -> Result<Self, ProfileError> {
        let mut points = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with("batch,") {
                continue;
            }
            let point = csv_point(line)
                .ok_or_else(|| ProfileError::Csv { line: index + 1, found: line.to_owned() })?;
            points.push(point);
        }
        Self::new(points)
    }

    /// The lines that [`Self::from_csv`] reads back.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::from("batch,median_us,p99_us,runs\n");
        for point in &self.points {
            let (median, p99) = (point.median.as_nanos(), point.p99.as_nanos());
            text.push_str(&format!(
                "{},{}.{:03},{}.{:03},{}\n",
                point.batch,
                median / 1000,
                median % 1000,
                p99 / 1000,
                p99 % 1000,
                point.runs
            ));
        }
        text
    }

    /// The measured points.
    #[must_use]
    pub fn points(&self) -> &[ProfilePoint] {
        &self.points
    }

    /// The largest measured batch.
    #[must_use]
    pub fn batch_max(&self) -> u32 {
        self.points.last().map_or(1, |point| point.batch)
    }

    /// The time to plan with for a run of `rows`: the 99th percentile.
    #[must_use]
    pub fn time(&self, rows: u32) -> Duration {
        Duration::from_nanos(look_up(&self.planned, rows))
    }

    /// The median time of a run of `rows`.
    #[must_use]
    pub fn median(&self, rows: u32) -> Duration {
        Duration::from_nanos(look_up(&self.median, rows))
    }

    /// The largest batch whose planned time is within `budget`; 0 if not even one row is.
    #[must_use]
    pub fn largest_batch_within(&self, budget: Duration) -> u32 {
        let budget = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
        // Times need not rise with the batch (algorithm changes), so look from the top.
        let fits = self.planned.iter().rposition(|&time| time <= budget);
        fits.map_or(0, |index| u32::try_from(index + 1).expect("a table is as long as a u32 batch"))
    }

    /// The largest measured batch that still pays: it takes less median time an item than every smaller one,
    /// by `PAYS_SHARE` for each doubling.
    #[must_use]
    pub fn batch_that_pays(&self) -> u32 {
        let mut best = self.points[0];
        for point in &self.points[1..] {
            let doublings = f64::from(point.batch / best.batch).log2().max(1.0);
            let needed = per_item(&best) * (1.0 - PAYS_SHARE).powf(doublings);
            if per_item(point) <= needed {
                best = *point;
            }
        }
        best.batch
    }

    /// How many times more rows a second the batch that pays gives than batch 1.
    #[must_use]
    pub fn batching_gain(&self) -> f64 {
        let pays = self.batch_that_pays();
        self.median(1).as_secs_f64() * f64::from(pays) / self.median(pays).as_secs_f64()
    }

    /// Makes the tables those of `base` with the median of each size, counted from 0, multiplied by the first factor of
    /// `factors`, and a planned time of the second times the base's median. The points stay as measured. Allocates
    /// nothing.
    ///
    /// # Panics
    /// If `base` has other batch sizes.
    pub fn correct(&mut self, base: &Self, factors: impl Fn(usize) -> (f64, f64)) {
        assert_eq!(self.median.len(), base.median.len(), "a correction keeps the batch sizes");
        for (index, &time) in base.median.iter().enumerate() {
            let (median, planned) = factors(index);
            self.median[index] = multiply(time, median);
            self.planned[index] = multiply(time, planned.max(median));
        }
    }

    /// The same profile with every time multiplied, for a shape that needs more or less work.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |time: Duration| time.mul_f64(factor).max(Duration::from_nanos(1));
        let points = self.points.iter();
        let points = points.map(|point| ProfilePoint {
            median: scale(point.median),
            p99: scale(point.p99).max(scale(point.median)),
            ..*point
        });
        Self::new(points.collect()).expect("scaling keeps a profile in order")
    }
}

impl TryFrom<Vec<ProfilePoint>> for LatencyProfile {
    type Error = ProfileError;

    fn try_from(points: Vec<ProfilePoint>) -> Result<Self, ProfileError> {
        Self::new(points)
    }
}

impl From<LatencyProfile> for Vec<ProfilePoint> {
    fn from(profile: LatencyProfile) -> Self {
        profile.points
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "run times"
)]
fn multiply(nanos: u64, factor: f64) -> u64 {
    ((nanos as f64 * factor).round() as u64).max(1)
}

fn per_item(point: &ProfilePoint) -> f64 {
    point.median.as_secs_f64() / f64::from(point.batch)
}

fn csv_point(line: &str) -> Option<ProfilePoint> {
    let mut fields = line.split(',').map(str::trim);
    let batch = fields.next()?.parse().ok()?;
    let mut time = || {
        let micros: f64 = fields.next()?.parse().ok()?;
        Duration::try_from_secs_f64(micros / 1e6).ok()
    };
    let (median, p99) = (time()?, time()?);
    let runs = fields.next().map_or(Some(0), |runs| runs.parse().ok())?;
    Some(ProfilePoint { batch, median, p99, runs })
}

/// Times of batch 1, 2, 3.. up to the largest point, in nanoseconds, straight lines between the points.
fn table(points: &[ProfilePoint], time: impl Fn(&ProfilePoint) -> Duration) -> Vec<u64> {
    let nanos = |point: &ProfilePoint| u64::try_from(time(point).as_nanos()).unwrap_or(u64::MAX);
    let mut times = vec![nanos(&points[0])];
    for pair in points.windows(2) {
        let (from, to) = (nanos(&pair[0]) as f64, nanos(&pair[1]) as f64);
        let steps = pair[1].batch - pair[0].batch;
        for step in 1..=steps {
            let share = f64::from(step) / f64::from(steps);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between two u64 times"
            )]
            times.push((from + (to - from) * share).round() as u64);
        }
    }
    times
}

/// The time of `rows`, by the last slope where `rows` is beyond the table.
fn look_up(times: &[u64], rows: u32) -> u64 {
    let index = (rows.max(1) - 1) as usize;
    if let Some(&time) = times.get(index) {
        return time;
    }
    let last = times[times.len() - 1];
    let slope = match times.len() {
        1 => last,
        n => last.saturating_sub(times[0]) / (n as u64 - 1),
    };
    last.saturating_add(slope.saturating_mul((index + 1 - times.len()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn measured(times: &[(u32, u64)]) -> LatencyProfile {
        let point = |&(batch, time): &(u32, u64)| ProfilePoint {
            batch,
            median: ms(time),
            p99: ms(time),
            runs: 10,
        };
        LatencyProfile::new(times.iter().map(point).collect()).unwrap()
    }

    #[test]
    fn times_between_points_lie_on_a_line_and_beyond_on_the_mean_slope() {
        let profile = measured(&[(1, 10), (2, 12), (4, 20)]);
        let times: Vec<_> = (1..=6).map(|rows| profile.time(rows)).collect();
        let slope = Duration::from_nanos(3_333_333);
        assert_eq!(times, [ms(10), ms(12), ms(16), ms(20), ms(20) + slope, ms(20) + slope * 2]);
    }

    #[test]
    fn the_largest_batch_within_a_budget_is_found_though_times_fall() {
        let profile = measured(&[(1, 10), (2, 30), (4, 20)]);
        assert_eq!(profile.largest_batch_within(ms(20)), 4);
        assert_eq!(profile.largest_batch_within(ms(9)), 0);
    }

    #[test]
    fn batching_pays_for_a_gemm_and_not_for_a_convolution() {
        // An MLP of three 1024-wide layers and a ResNet-50, measured on one AVX2 core.
        let gemm = measured(&[(1, 41), (2, 48), (4, 53), (8, 84), (16, 117)]);
        assert_eq!(gemm.batch_that_pays(), 16);
        assert!(gemm.batching_gain() > 5.0);
        let conv = measured(&[(1, 95), (2, 202), (4, 425), (8, 854)]);
        assert_eq!(conv.batch_that_pays(), 1);
    }

    #[test]
    fn csv_is_read_back_as_written_and_errors_name_the_line() {
        let profile = measured(&[(1, 10), (2, 12)]);
        assert_eq!(LatencyProfile::from_csv(&profile.to_csv()), Ok(profile));
        let error = LatencyProfile::from_csv("# source\n1,5,5,0\n2;6;6;0\n").unwrap_err();
        assert_eq!(error, ProfileError::Csv { line: 3, found: "2;6;6;0".into() });
    }

    #[test]
    fn impossible_profiles_are_refused() {
        assert_eq!(LatencyProfile::new(vec![]), Err(ProfileError::Empty));
        let error = LatencyProfile::from_csv("2,1,1,0").unwrap_err();
        assert_eq!(error, ProfileError::Order { previous: 0, found: 2 });
        assert_eq!(LatencyProfile::from_csv("1,2,1,0"), Err(ProfileError::Time { batch: 1 }));
    }
}
