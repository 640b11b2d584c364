//! Starts at once with what waits, up to the largest size whose 99th percentile, learned from the batches that ran,
//! meets the objective.
//!
//! Clipper (NSDI'17): quantile regression of batch time on batch size. *Reading:* the line that
//! minimises the pinball loss over the last batches is found anew every few batches; while all had one size, time is
//! believed to be proportional to it, which errs to the safe side. Deadlines and the profile are not looked at.

use std::time::Duration;

use super::prefix::prefix_up_to;
use super::{BatchPolicy, Candidate, Entry, Promises, Ran, View};
use crate::RequestId;

/// "99th percentile" is the paper's; the rest is ours: a percentile needs about a hundred batches, and fitting costs
/// some microseconds, so that it is not done for each.
const QUANTILE: f64 = 0.99;
const WINDOW: usize = 128;
const FIT_EVERY: u32 = 16;
/// Golden-section steps: the slope is found to a hundred-thousandth of the longest time.
const STEPS: u32 = 24;
const GOLDEN: f64 = 0.618_033_988_749_895;
/// So much beyond the objective is the search's own error.
const TOLERANCE: f64 = 1e-3;

pub(super) const ENTRY: Entry = Entry {
    name: "quantile",
    summary: "at once, up to the size whose learned 99th percentile of batch time meets the objective",
    source: "Clipper (NSDI'17), quantile regression",
    promises: Promises { in_time: false, drops_only_hopeless: true },
    build: |settings| Box::new(Quantile::new(settings.batch_max.max(1))),
};

struct Quantile {
    size_max: u32,
    /// The present limit.
    size: u32,
    /// Rows and seconds of the last batches, oldest overwritten first.
    runs: Vec<(f64, f64)>,
    next: usize,
    /// Batches since the last fit.
    fresh: u32,
    /// Scratch space of a fit.
    rests: Vec<f64>,
}

impl Quantile {
    fn new(size_max: u32) -> Self {
        let (runs, rests) = (Vec::with_capacity(WINDOW), Vec::with_capacity(WINDOW));
        Self { size_max, size: 1, runs, next: 0, fresh: 0, rests }
    }

    fn note(&mut self, run: (f64, f64)) {
        if self.runs.len() < WINDOW {
            self.runs.push(run);
        } else {
            self.runs[self.next] = run;
        }
        self.next = (self.next + 1) % WINDOW;
        self.fresh += 1;
    }

    /// Intercept and slope of the line below which [`QUANTILE`] of the runs lie, in seconds.
    fn fit(&mut self) -> (f64, f64) {
        let first = self.runs[0].0;
        if self.runs.iter().all(|run| (run.0 - first).abs() < 0.5) {
            let (intercept, _) = self.intercept(0.0);
            return (0.0, intercept / first);
        }
        // The loss is convex in the slope, for the best intercept of each.
        let longest = self.runs.iter().fold(0.0, |longest: f64, run| longest.max(run.1));
        let (mut low, mut high) = (0.0, longest);
        for _ in 0..STEPS {
            let third = (high - low) * GOLDEN;
            let (left, right) = (high - third, low + third);
            if self.intercept(left).1 <= self.intercept(right).1 {
                high = right;
            } else {
                low = left;
            }
        }
        let slope = f64::midpoint(low, high);
        (self.intercept(slope).0, slope)
    }

    /// The best intercept for that slope, and its pinball loss.
    fn intercept(&mut self, slope: f64) -> (f64, f64) {
        self.rests.clear();
        self.rests.extend(self.runs.iter().map(|(rows, time)| time - slope * rows));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among at most WINDOW"
        )]
        let place = ((self.rests.len() as f64 * QUANTILE) as usize).min(self.rests.len() - 1);
        let (_, &mut intercept, _) = self.rests.select_nth_unstable_by(place, f64::total_cmp);
        let pinball = |rest: &f64| {
            let above = rest - intercept;
            if above > 0.0 { above * QUANTILE } else { -above * (1.0 - QUANTILE) }
        };
        (intercept, self.rests.iter().map(pinball).sum())
    }

    fn largest_within(&mut self, objective: Duration) -> u32 {
        let (intercept, slope) = self.fit();
        let budget = objective.as_secs_f64() * (1.0 + TOLERANCE);
        let fits = |&rows: &u32| intercept + slope * f64::from(rows) <= budget;
        (1..=self.size_max).rev().find(fits).unwrap_or(1)
    }
}

impl BatchPolicy for Quantile {
    fn plan(&mut self, view: &View<'_>, _drop: &mut Vec<RequestId>) -> Option<Candidate> {
        Some(prefix_up_to(view.queue.iter(), self.size)?.blind(view.start))
    }

    fn ran(&mut self, ran: &Ran) {
        self.note((f64::from(ran.rows), ran.elapsed.as_secs_f64()));
        // The first batches teach the most.
        if self.fresh >= FIT_EVERY || self.runs.len() < FIT_EVERY as usize {
            self.fresh = 0;
            self.size = self.largest_within(ran.slo);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, NEVER, batch, ran};
    use super::*;

    fn size_after(runs: impl IntoIterator<Item = (u32, u64)>, slo_ms: u64) -> usize {
        let case = Case::wanted_at(&[1; 40]).batch_max(32);
        let mut policy = case.policy(&ENTRY);
        for (rows, elapsed) in runs {
            policy.ran(&ran(rows, elapsed, slo_ms));
        }
        let answer = case.ask(policy.as_mut()).unwrap();
        assert_eq!(answer, batch(answer.requests, 0.0, NEVER));
        answer.requests
    }

    #[test]
    fn the_limit_follows_the_line_through_the_batches_that_ran() {
        assert_eq!(size_after([], 20), 1);
        assert_eq!(size_after([(1, 5)], 20), 4); // proportional: 5 ms a row
        let line = || (0..200).map(|run| (1 + run % 8, 4 + 1 + u64::from(run % 8)));
        assert_eq!(size_after(line(), 20), 16); // 4 + b ms
        assert_eq!(size_after(line(), 3), 1); // not even one is within the objective
        assert_eq!(size_after(line(), 1_000), 32);
    }

    #[test]
    fn a_tenth_of_slow_batches_lowers_it_and_one_in_two_hundred_does_not() {
        let slow_each = |each: u32| {
            let time = move |run: u32| {
                let usual = 4 + 1 + u64::from(run % 7);
                if run % each == each - 1 { usual + 8 } else { usual }
            };
            (0..400).map(move |run| (1 + run % 7, time(run)))
        };
        assert_eq!(size_after(slow_each(10), 20), 8); // 12 + b ms
        assert_eq!(size_after(slow_each(200), 20), 16);
    }

    #[test]
    fn a_slower_device_is_learned_anew() {
        let fast = (0..200).map(|run| (1 + run % 8, 5 + u64::from(run % 8)));
        let slow = (0..200).map(|run| (1 + run % 8, 10 + 2 * u64::from(run % 8)));
        assert_eq!(size_after(fast.chain(slow), 20), 6); // 8 + 2b ms
    }
}
