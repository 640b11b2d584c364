//! The variant of the highest expected accuracy: its own, times how likely it is in time.
//!
//! ALERT (ATC'20): one slow-down of the machine against the measured profiles, common to all variants, followed by a
//! Kalman filter; its mean and variance say how likely each variant, also one that has not run for a while, is in time.
//! An answer that is late is worth nothing, so the expected accuracy is the product.

use std::time::Duration;

use super::{Ask, Because, Prospect, Run, Select, SelectEntry};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "expected_accuracy",
    summary: "the highest accuracy times probability to be in time, by a slow-down common to all variants",
    source: "ALERT (ATC'20)",
    because: Because::Expected,
    build: || Box::new(ExpectedAccuracy::default()),
};

/// The filter's constants, as the paper gives them.
const MEASUREMENT_NOISE: f64 = 0.001;
const PROCESS_NOISE_MIN: f64 = 0.1;
const NOISE_MEMORY: f64 = 0.3;

struct ExpectedAccuracy {
    /// Time over measured time: the mean and variance believed.
    mean: f64,
    variance: f64,
    gain: f64,
    noise: f64,
    innovation: f64,
}

impl Default for ExpectedAccuracy {
    fn default() -> Self {
        Self { mean: 1.0, variance: 0.1, gain: 0.5, noise: PROCESS_NOISE_MIN, innovation: 0.0 }
    }
}

impl ExpectedAccuracy {
    fn value(&self, prospect: &Prospect, budget: Duration) -> f64 {
        let left = budget.saturating_sub(prospect.wait).as_secs_f64();
        let measured = prospect.measured.as_secs_f64().max(1e-9);
        let deviations = (left / measured - self.mean) / self.variance.sqrt().max(1e-6);
        f64::from(prospect.accuracy) * normal(deviations)
    }
}

impl Select for ExpectedAccuracy {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let mut best: Option<(f64, Prospect)> = None;
        for prospect in &mut *ask.prospects {
            let value = self.value(&prospect, ask.budget);
            // With all hope gone the values are all nothing: then the soonest.
            let better = best.is_none_or(|(known, best)| {
                value > known || (value <= HOPELESS && prospect.end() < best.end())
            });
            if better {
                best = Some((value, prospect));
            }
        }
        best.map(|(_, prospect)| prospect)
    }

    fn ran(&mut self, run: Run) {
        let ratio = run.elapsed.as_secs_f64() / run.measured.as_secs_f64().max(1e-9);
        let spread = (self.gain * self.innovation).powi(2);
        self.noise =
            PROCESS_NOISE_MIN.max(NOISE_MEMORY * self.noise + (1.0 - NOISE_MEMORY) * spread);
        let prior = (1.0 - self.gain) * self.variance + self.noise;
        self.gain = prior / (prior + MEASUREMENT_NOISE);
        self.innovation = ratio - self.mean;
        self.mean += self.gain * self.innovation;
        self.variance = prior;
    }
}

/// A chance of being in time that is as good as none.
const HOPELESS: f64 = 1e-6;

/// The normal distribution's share below that many deviations, to 1e-5: Zelen and Severo, in Abramowitz and Stegun
/// 26.2.16.
fn normal(deviations: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.33267 * deviations.abs());
    let tail = (-deviations * deviations / 2.0).exp() / std::f64::consts::TAU.sqrt()
        * t
        * (0.436_183_6 + t * (-0.120_167_6 + t * 0.937_298));
    if deviations < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::cases::prospects;

    #[test]
    fn a_slow_down_of_one_variant_is_expected_of_all() {
        let mut policy = ExpectedAccuracy::default();
        let variant = |policy: &mut ExpectedAccuracy| {
            let mut prospects = prospects(0).into_iter();
            let budget = Duration::from_millis(40);
            let mut ask = Ask { budget, prospects: &mut prospects };
            policy.choose(&mut ask).unwrap().variant.0
        };
        for _ in 0..20 {
            policy
                .ran(Run { measured: Duration::from_millis(2), elapsed: Duration::from_millis(2) });
        }
        assert_eq!(variant(&mut policy), 0);
        for _ in 0..20 {
            policy
                .ran(Run { measured: Duration::from_millis(2), elapsed: Duration::from_millis(8) });
        }
        assert_eq!(variant(&mut policy), 2);
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (deviations, share) in
            [(0.0, 0.5), (1.0, 0.841_345), (-1.96, 0.024_998), (3.0, 0.998_65)]
        {
            assert!((normal(deviations) - share).abs() < 2e-5, "{deviations}");
        }
    }
}
