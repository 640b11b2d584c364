//! How long runs take: as a recording shows, or as the profiles that were loaded say.

use std::collections::BTreeMap;
use std::time::Duration;

use batcher::Instant;
use models::{LatencyProfile, VariantId};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

/// Where the run times of a prediction come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Drawn from the runs that were recorded at about the same time, scaled to their rows.
    Recorded,
    /// The median of the profile measured at load, spread as far as its 99th percentile says.
    Profile,
}

/// One run, as its executor and as the scheduler saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// From when its executor could begin to when the scheduler heard of its end.
    pub(super) wall: Duration,
    /// What its executor measured.
    pub(super) elapsed: Duration,
}

/// The runs of a recording, and the profiles of its variants.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) profiles: BTreeMap<VariantId, LatencyProfile>,
    /// By variant, in the order in which they began.
    seen: BTreeMap<VariantId, Vec<Seen>>,
    /// By variant and rows, what a run usually takes; none where too few ran.
    usual: BTreeMap<(VariantId, u32), Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    began: Instant,
    rows: u32,
    run: Run,
}

/// The median of so many runs is what a number of rows usually takes.
const USUAL_MIN: usize = 20;
/// A run is drawn from so many that began at about the same time: a machine that is slow for a while was slow for all.
const NEAR: usize = 32;
/// The 99th percentile of the normal distribution, in deviations.
const P99_DEVIATIONS: f64 = 2.326;

impl Runs {
    pub(super) fn note(&mut self, variant: VariantId, rows: u32, began: Instant, run: Run) {
        self.seen.entry(variant).or_default().push(Seen { began, rows, run });
    }

    /// To be called once all are noted: finds out what they usually take.
    pub(super) fn settle(&mut self) {
        for (&variant, seen) in &mut self.seen {
            seen.sort_by_key(|seen| seen.began);
            let mut by_rows: BTreeMap<u32, Vec<Duration>> = BTreeMap::new();
            for seen in seen {
                by_rows.entry(seen.rows).or_default().push(seen.run.elapsed);
            }
            for (rows, mut times) in
                by_rows.into_iter().filter(|(_, times)| times.len() >= USUAL_MIN)
            {
                times.sort();
                self.usual.insert((variant, rows), times[times.len() / 2]);
            }
        }
    }

    /// The time of a run that begins then; none where nothing is known of the variant.
    pub(super) fn draw(
        &self,
        times: Times,
        (variant, rows): (VariantId, u32),
        begins: Instant,
        rng: &mut Pcg64Mcg,
    ) -> Option<Run> {
        let profile = self.profiles.get(&variant)?;
        let recorded = match times {
            Times::Recorded => self.as_then(variant, rows, begins, rng),
            Times::Profile => None,
        };
        Some(recorded.unwrap_or_else(|| profiled(profile, rows, rng)))
    }

    /// What these rows usually take, at the pace of the runs that began at about that time, and off it by as much as one
    /// of those was.
    fn as_then(
        &self,
        variant: VariantId,
        rows: u32,
        begins: Instant,
        rng: &mut Pcg64Mcg,
    ) -> Option<Run> {
        let seen = self.seen.get(&variant)?;
        let after = seen.partition_point(|seen| seen.began < begins);
        let first = after.saturating_sub(NEAR / 2).min(seen.len().saturating_sub(NEAR));
        let near = &seen[first..(first + NEAR).min(seen.len())];
        let drawn = near.get(rng.random_range(0..near.len().max(1)))?;
        let mut pace: Vec<f64> = near
            .iter()
            .filter_map(|seen| Some(ratio(seen.run.elapsed, self.usually(variant, seen.rows)?)))
            .collect();
        pace.sort_by(f64::total_cmp);
        let pace = pace[pace.len() / 2];
        let [expected, own] =
            [rows, drawn.rows].map(|rows| Some(self.usually(variant, rows)?.mul_f64(pace)));
        // A core that is taken away for a while is away as long whatever it was doing.
        let elapsed = (expected? + drawn.run.elapsed).saturating_sub(own?);
        let elapsed = elapsed.max(expected? / 2);
        let beside = drawn.run.wall.saturating_sub(drawn.run.elapsed);
        Some(Run { wall: elapsed + beside, elapsed })
    }

    /// What so many rows usually take: measured, or as much longer or shorter than the nearest measured number of rows as
    /// the profile says.
    fn usually(&self, variant: VariantId, rows: u32) -> Option<Duration> {
        let profile = self.profiles.get(&variant)?;
        let measured = self.usual.range((variant, 0)..=(variant, u32::MAX));
        let nearest = measured.min_by_key(|((_, size), _)| (size.abs_diff(rows), *size));
        Some(nearest.map_or(profile.median(rows), |(&(_, size), usual)| {
            usual.mul_f64(ratio(profile.median(rows), profile.median(size)))
        }))
    }

    /// Median of measured over profiled time, of the runs of a variant.
    pub(super) fn over_profile(&self, variant: VariantId) -> f64 {
        let Some(profile) = self.profiles.get(&variant) else { return f64::NAN };
        let seen = self.seen.get(&variant).map(Vec::as_slice).unwrap_or_default();
        let mut ratios: Vec<f64> =
            seen.iter().map(|seen| ratio(seen.run.elapsed, profile.median(seen.rows))).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn ratio(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.as_secs_f64().max(1e-9)
}

fn profiled(profile: &LatencyProfile, rows: u32, rng: &mut Pcg64Mcg) -> Run {
    let median = profile.median(rows);
    let spread = ratio(profile.time(rows), median).max(1.0).ln() / P99_DEVIATIONS;
    let deviation: f64 = StandardNormal.sample(rng);
    let elapsed = median.mul_f64((deviation * spread).exp());
    Run { wall: elapsed, elapsed }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const MODEL: VariantId = VariantId(3);
    const MS: Duration = Duration::from_millis(1);

    /// Runs of so many rows, one after the other, each so many times as long as the profile says and heard of 1 ms later.
    fn runs(of: &[(u32, u32)]) -> Runs {
        let mut runs = Runs::default();
        let profile = LatencyProfile::linear(MS, MS, 8);
        let mut began = Instant::ZERO;
        for &(rows, times) in of {
            let elapsed = profile.median(rows) * times;
            runs.note(MODEL, rows, began, Run { wall: elapsed + MS, elapsed });
            began = began + elapsed + MS;
        }
        runs.profiles.insert(MODEL, profile);
        runs.settle();
        runs
    }

    fn draw(runs: &Runs, times: Times, rows: u32, begins: Instant) -> Run {
        runs.draw(times, (MODEL, rows), begins, &mut Pcg64Mcg::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn a_run_takes_as_long_as_those_of_its_time() {
        let runs = runs(&[[(1, 1); 50], [(1, 3); 50]].concat());
        let early = draw(&runs, Times::Recorded, 1, Instant::ZERO);
        assert_eq!(early, Run { wall: 3 * MS, elapsed: 2 * MS });
        let late = draw(&runs, Times::Recorded, 1, Instant::NEVER);
        assert_eq!(late, Run { wall: 7 * MS, elapsed: 6 * MS });
    }

    #[test]
    fn other_rows_are_scaled_by_what_they_usually_take_and_else_by_the_profile() {
        let runs = runs(&[[(1, 1); 50], [(4, 2); 50]].concat());
        // Those of 4 rows took 10 ms though the profile says 5; 3 rows are nearest to them.
        assert_eq!(draw(&runs, Times::Recorded, 4, Instant::ZERO).elapsed, 10 * MS);
        assert_eq!(draw(&runs, Times::Recorded, 3, Instant::ZERO).elapsed, 8 * MS);
    }

    #[test]
    fn by_the_profile_only_its_own_spread_matters() {
        let runs = runs(&[(1, 9); 50]);
        let run = draw(&runs, Times::Profile, 3, Instant::ZERO);
        assert_eq!(run, Run { wall: 4 * MS, elapsed: 4 * MS });
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        assert!(runs.draw(Times::Profile, (VariantId(9), 1), Instant::ZERO, &mut rng).is_none());
    }

    #[test]
    fn the_ratio_to_the_profile_is_the_median() {
        let runs = runs(&[(1, 2), (2, 2), (3, 2), (1, 90)]);
        assert!((runs.over_profile(MODEL) - 2.0).abs() < 1e-9);
    }
}
