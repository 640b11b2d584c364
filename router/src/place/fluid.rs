//! Foresees by arithmetic alone: demand as a fluid that a variant's executors share evenly.

use super::{Foresight, Oracle, Placement, Problem};

/// The oracle of those who have no simulator: what exceeds an executor's time is lost, and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fluid;

impl Oracle for Fluid {
    fn foresee(&mut self, problem: &Problem, placement: &Placement) -> Foresight {
        let busy = loads(problem, placement);
        let mut unserved = vec![0.0; problem.variants.len()];
        let (mut asked, mut lost) = (0.0, 0.0);
        for (variant, wanted) in problem.variants.iter().enumerate() {
            let places: Vec<usize> =
                (0..busy.len()).filter(|&executor| placement.holds(executor, variant)).collect();
            let kept = |executor: &usize| (1.0 / busy[*executor]).min(1.0);
            let served = places.iter().map(kept).sum::<f64>() / places.len().max(1) as f64;
            unserved[variant] = wanted.rate * (1.0 - served);
            asked += wanted.rate;
            lost += unserved[variant];
        }
        let attainment = if asked > 0.0 { 1.0 - lost / asked } else { 1.0 };
        Foresight { attainment, unserved, busy }
    }
}

/// By executor, its share of the load of its variants, each of which is shared out evenly.
pub(super) fn loads(problem: &Problem, placement: &Placement) -> Vec<f64> {
    let mut counts = vec![0_u32; problem.variants.len()];
    for executor in 0..placement.executors() {
        placement.variants(executor).for_each(|variant| counts[variant] += 1);
    }
    let share = |variant: usize| problem.variants[variant].load() / f64::from(counts[variant]);
    let of = |executor: usize| placement.variants(executor).map(share).sum();
    (0..placement.executors()).map(of).collect()
}
