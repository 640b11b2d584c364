//! A simulated executor: runs take what the profile says, with seeded noise, stragglers and failures.

use std::collections::VecDeque;
use std::time::Duration;

use models::BatchId;
use rand::RngExt;
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg64Mcg;

use crate::ExecutorSpec;

/// One executor and the batches that it holds.
#[derive(Debug)]
pub(crate) struct SimExecutor {
    spec: ExecutorSpec,
    /// The batch that runs is in front.
    pub(crate) held: VecDeque<(BatchId, Duration)>,
    pub(crate) up: bool,
    /// Rises with each breakdown, so that the ends of lost batches are not heeded.
    pub(crate) life: u32,
}

/// How one run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) takes: Duration,
    pub(crate) fails: bool,
}

impl SimExecutor {
    pub(crate) fn new(spec: ExecutorSpec) -> Self {
        Self { spec, held: VecDeque::new(), up: true, life: 0 }
    }

    /// Draws how a run of that profiled time goes.
    pub(crate) fn run(&self, profiled: Duration, rng: &mut Pcg64Mcg) -> Run {
        let mut factor = self.spec.speed_error;
        if self.spec.noise > 0.0 {
            let noise = LogNormal::new(0.0, self.spec.noise).expect("the spread is positive");
            factor *= noise.sample(rng);
        }
        if self.spec.straggler_share > 0.0 && rng.random::<f64>() < self.spec.straggler_share {
            factor *= self.spec.straggler_factor;
        }
        let fails = self.spec.failure_share > 0.0 && rng.random::<f64>() < self.spec.failure_share;
        Run { takes: profiled.mul_f64(factor).max(Duration::from_nanos(1)), fails }
    }

    /// Mean time between breakdowns.
    pub(crate) fn breakdown_every(&self) -> Option<Duration> {
        self.spec.breakdown_every
    }
}
