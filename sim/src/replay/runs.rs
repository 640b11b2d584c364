//! How long runs take: as a recording shows, or as the profiles that were loaded say.

use std::collections::BTreeMap;
use std::time::Duration;

use models::{LatencyProfile, VariantId};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

/// Where the run times of a prediction come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Drawn from the recorded runs of about as many rows.
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
    /// By variant and rows.
    seen: BTreeMap<(VariantId, u32), Vec<Run>>,
}

/// So many runs of about as many rows are drawn from.
const POOL_MIN: usize = 40;
/// The 99th percentile of the normal distribution, in deviations.
const P99_DEVIATIONS: f64 = 2.326;

impl Runs {
    pub(super) fn note(&mut self, variant: VariantId, rows: u32, run: Run) {
        self.seen.entry((variant, rows)).or_default().push(run);
    }

    /// The time of a run; none where nothing is known of the variant.
    pub(super) fn draw(
        &self,
        times: Times,
        variant: VariantId,
        rows: u32,
        rng: &mut Pcg64Mcg,
    ) -> Option<Run> {
        let profile = self.profiles.get(&variant)?;
        let recorded = match times {
            Times::Recorded => self.resampled(variant, rows, profile, rng),
            Times::Profile => None,
        };
        Some(recorded.unwrap_or_else(|| profiled(profile, rows, rng)))
    }

    /// A run of the nearest numbers of rows, as much longer or shorter as the profile says.
    fn resampled(
        &self,
        variant: VariantId,
        rows: u32,
        profile: &LatencyProfile,
        rng: &mut Pcg64Mcg,
    ) -> Option<Run> {
        let mut near: Vec<(u32, &Vec<Run>)> = self
            .seen
            .range((variant, 0)..=(variant, u32::MAX))
            .map(|(&(_, size), runs)| (size, runs))
            .collect();
        near.sort_by_key(|&(size, _)| (size.abs_diff(rows), size));
        let mut total = 0;
        let enough = near.iter().position(|(_, runs)| {
            total += runs.len();
            total >= POOL_MIN
        });
        near.truncate(enough.map_or(near.len(), |last| last + 1));
        let pool = near.iter().map(|(_, runs)| runs.len()).sum::<usize>();
        let mut at = (pool > 0).then(|| rng.random_range(0..pool))?;
        for (size, runs) in near {
            if let Some(run) = runs.get(at) {
                let factor = ratio(profile.median(rows), profile.median(size));
                let scaled = |time: Duration| time.mul_f64(factor);
                return Some(Run { wall: scaled(run.wall), elapsed: scaled(run.elapsed) });
            }
            at -= runs.len();
        }
        None
    }

    /// Median of measured over profiled time, of the runs of a variant.
    pub(super) fn over_profile(&self, variant: VariantId) -> f64 {
        let Some(profile) = self.profiles.get(&variant) else { return f64::NAN };
        let seen = self.seen.range((variant, 0)..=(variant, u32::MAX));
        let mut ratios: Vec<f64> = seen
            .flat_map(|(&(_, rows), runs)| {
                runs.iter().map(move |run| ratio(run.elapsed, profile.median(rows)))
            })
            .collect();
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

    fn runs(sizes: &[(u32, usize)]) -> Runs {
        let mut runs = Runs::default();
        runs.profiles.insert(MODEL, LatencyProfile::linear(MS, MS, 8));
        for &(rows, count) in sizes {
            let run = Run { wall: MS * (rows + 2), elapsed: MS * (rows + 1) };
            (0..count).for_each(|_| runs.note(MODEL, rows, run));
        }
        runs
    }

    #[test]
    fn a_size_that_ran_often_is_drawn_from_its_own_runs() {
        let (runs, mut rng) = (runs(&[(1, 100), (4, 100)]), Pcg64Mcg::seed_from_u64(1));
        let run = runs.draw(Times::Recorded, MODEL, 4, &mut rng).unwrap();
        assert_eq!(run, Run { wall: 6 * MS, elapsed: 5 * MS });
    }

    #[test]
    fn a_size_that_did_not_run_is_scaled_by_the_profile() {
        let (runs, mut rng) = (runs(&[(1, 100)]), Pcg64Mcg::seed_from_u64(1));
        let run = runs.draw(Times::Recorded, MODEL, 3, &mut rng).unwrap();
        // A run of 3 takes 4 ms by the profile, twice that of 1.
        assert_eq!(run, Run { wall: 6 * MS, elapsed: 4 * MS });
    }

    #[test]
    fn by_the_profile_only_its_own_spread_matters() {
        let (runs, mut rng) = (runs(&[(1, 100)]), Pcg64Mcg::seed_from_u64(1));
        let run = runs.draw(Times::Profile, MODEL, 3, &mut rng).unwrap();
        assert_eq!(run, Run { wall: 4 * MS, elapsed: 4 * MS });
        assert!(runs.draw(Times::Profile, VariantId(9), 1, &mut rng).is_none());
    }

    #[test]
    fn the_ratio_to_the_profile_is_the_median() {
        let mut runs = runs(&[(1, 3)]);
        runs.note(MODEL, 1, Run { wall: 90 * MS, elapsed: 90 * MS });
        assert!((runs.over_profile(MODEL) - 1.0).abs() < 1e-9);
    }
}
