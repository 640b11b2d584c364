//! A simulated executor: runs take what the profile says, with seeded noise, stragglers, drift, stalls and failures.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use batcher::Instant;
use models::BatchId;
use rand::RngExt;
use rand_distr::{Distribution, Exp1, LogNormal};
use rand_pcg::Pcg64Mcg;

use crate::{ExecutorSpec, Neighbours, Stall};

/// No run takes longer, whatever is drawn: eleven days.
const RUN_MAX_S: f64 = 1e6;

/// One executor and the batches that it holds.
#[derive(Debug)]
pub(crate) struct SimExecutor {
    spec: ExecutorSpec,
    /// The batch that runs, or starts next, is in front.
    pub(crate) held: VecDeque<(BatchId, Duration)>,
    /// The batch in front has started.
    pub(crate) runs: bool,
    /// When it did.
    pub(crate) began: Instant,
    /// Batches that were broken off, whose ends are not heeded.
    pub(crate) aborted: BTreeSet<BatchId>,
    pub(crate) up: bool,
    /// Rises with each breakdown, so that the ends of lost batches are not heeded.
    pub(crate) life: u32,
    /// The first of the executors that share its device, and the one after the last.
    pub(crate) device: (usize, usize),
    /// When the next stall begins.
    stall_next: Option<Instant>,
}

/// How one run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) takes: Duration,
    pub(crate) fails: bool,
}

impl SimExecutor {
    /// All executors of a scenario.
    pub(crate) fn all(specs: &[ExecutorSpec]) -> Vec<Self> {
        let mut all = Vec::new();
        for spec in specs {
            let begin = all.len();
            let end = begin + spec.count as usize;
            let size = spec.neighbours.as_ref().map_or(1, |neighbours| neighbours.count as usize);
            all.extend((begin..end).map(|index| {
                let first = begin + (index - begin) / size * size;
                let device = (first, (first + size).min(end));
                let held = VecDeque::new();
                Self {
                    spec: spec.clone(),
                    held,
                    runs: false,
                    began: Instant::ZERO,
                    aborted: BTreeSet::new(),
                    up: true,
                    life: 0,
                    device,
                    stall_next: None,
                }
            }));
        }
        all
    }

    /// Draws how a run of that profiled time goes that starts at `now` and takes `beside` times as long for its neighbours.
    pub(crate) fn run(
        &mut self,
        profiled: Duration,
        now: Instant,
        beside: f64,
        rng: &mut Pcg64Mcg,
    ) -> Run {
        let mut factor = self.spec.speed_error * beside;
        if self.spec.noise > 0.0 {
            let noise = LogNormal::new(0.0, self.spec.noise).expect("the spread is positive");
            factor *= noise.sample(rng);
        }
        if self.spec.straggler_share > 0.0 && rng.random::<f64>() < self.spec.straggler_share {
            factor *= self.spec.straggler_factor;
        }
        if let Some(drift) = self.spec.drift {
            factor *= drift.at(now.since(Instant::ZERO));
        }
        let fails = self.spec.failure_share > 0.0 && rng.random::<f64>() < self.spec.failure_share;
        let takes = (profiled.as_secs_f64() * factor).min(RUN_MAX_S);
        let mut takes = Duration::from_secs_f64(takes).max(Duration::from_nanos(1));
        if let Some(stall) = self.spec.stall {
            takes = self.stalled(stall, now, takes, rng);
        }
        Run { takes, fails }
    }

    /// Adds the stalls that fall into a run, and what is left of one that it starts in.
    fn stalled(
        &mut self,
        stall: Stall,
        now: Instant,
        mut takes: Duration,
        rng: &mut Pcg64Mcg,
    ) -> Duration {
        let mut gap = || -> Duration {
            let gap: f64 = Exp1.sample(rng);
            stall.every.mul_f64(gap)
        };
        let mut begins = self.stall_next.unwrap_or_else(|| Instant::ZERO + gap());
        while begins <= now + takes {
            let ends = begins + stall.lasts;
            takes += ends.since(begins.max(now));
            begins = ends + gap();
        }
        self.stall_next = Some(begins);
        takes
    }

    /// How those that share its device slow it down.
    pub(crate) fn neighbours(&self) -> Option<&Neighbours> {
        self.spec.neighbours.as_ref()
    }

    /// How long so many megabytes of inputs are copied in before a run.
    pub(crate) fn copy_in(&self, mb: f64) -> Duration {
        match self.spec.copy {
            Some(copy) if mb > 0.0 => copy.time(mb),
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Share of loads of weights that fail.
    pub(crate) fn load_failure_share(&self) -> f64 {
        self.spec.load_failure_share
    }

    /// Whether it can break off a run.
    pub(crate) fn preemptible(&self) -> bool {
        self.spec.preemption
    }

    /// Mean time between breakdowns.
    pub(crate) fn breakdown_every(&self) -> Option<Duration> {
        self.spec.breakdown_every
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::{Drift, DriftShape};

    const SECOND: Duration = Duration::from_secs(1);

    fn executor(spec: ExecutorSpec) -> SimExecutor {
        SimExecutor::all(&[spec]).remove(0)
    }

    #[test]
    fn stalls_add_their_share_of_time_to_long_work() {
        let stall = Stall { every: 9 * SECOND, lasts: SECOND };
        let mut executor = executor(ExecutorSpec { stall: Some(stall), ..ExecutorSpec::default() });
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut now = Instant::ZERO;
        for _ in 0..10_000 {
            now = now + executor.run(SECOND, now, 1.0, &mut rng).takes;
        }
        // Of each 10 seconds one is lost.
        let share = 10_000.0 / now.since(Instant::ZERO).as_secs_f64();
        assert!((share - 0.9).abs() < 0.01, "{share}");
    }

    #[test]
    fn drift_and_busy_neighbours_make_runs_longer() {
        let drift = Drift { shape: DriftShape::Linear, factor: 3.0, over: 10 * SECOND };
        let neighbours = Neighbours { count: 2, slowdown: Some(1.5), table: None, share: None };
        let spec = ExecutorSpec {
            count: 3,
            drift: Some(drift),
            neighbours: Some(neighbours),
            ..ExecutorSpec::default()
        };
        let mut all = SimExecutor::all(&[spec]);
        let devices: Vec<_> = all.iter().map(|executor| executor.device).collect();
        assert_eq!(devices, [(0, 2), (0, 2), (2, 3)]);
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut takes = |now, beside| all[0].run(SECOND, now, beside, &mut rng).takes;
        assert_eq!(takes(Instant::ZERO, 1.5), SECOND * 3 / 2);
        assert_eq!(takes(Instant::ZERO + 5 * SECOND, 1.0), 2 * SECOND);
    }
}
