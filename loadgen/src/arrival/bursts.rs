//! A Poisson process whose rate jumps between two levels.

use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

/// Gaps in units of the mean gap.
#[derive(Clone, Debug)]
pub(super) struct Bursts {
    /// Mean lengths of calm and burst, in mean gaps.
    lengths: [f64; 2],
    /// Their rates over the mean rate.
    rates: [f64; 2],
    bursting: bool,
    left: f64,
}

impl Bursts {
    /// Begins with the beginning of a calm.
    pub(super) fn new(times: f64, burst_s: f64, calm_s: f64, rate: f64) -> Self {
        let calm_rate = (burst_s + calm_s) / (times * burst_s + calm_s);
        Self {
            lengths: [calm_s * rate, burst_s * rate],
            rates: [calm_rate, times * calm_rate],
            bursting: true,
            left: 0.0,
        }
    }

    pub(super) fn gap(&mut self, rng: &mut Pcg64Mcg) -> f64 {
        let mut gap = 0.0;
        let exponential = |rng: &mut Pcg64Mcg| -> f64 { Exp1.sample(rng) };
        // An exponential wait has no memory: what is left of it after a jump goes on at the other rate.
        let mut wait = exponential(rng);
        loop {
            let rate = self.rates[usize::from(self.bursting)];
            if wait <= self.left * rate {
                self.left -= wait / rate;
                return gap + wait / rate;
            }
            wait -= self.left * rate;
            gap += self.left;
            self.bursting = !self.bursting;
            self.left = exponential(rng) * self.lengths[usize::from(self.bursting)];
        }
    }
}
