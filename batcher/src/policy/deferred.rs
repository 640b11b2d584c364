//! Starts as late as one more request could still have joined in time, and gives up heads that would keep the batch small.
//!
//! Symphony (arXiv 2308.07470), after its public code (`dispatcher/batch_policy.cpp`, `batch_size_estimator.cpp` and
//! `rankmt/model_thread.cpp` there). A candidate of `b` requests with earliest deadline `D` may start from
//! `min(D - l(b + 1), D - l(b))` on ("frontrun") and is invalid after `D - l(b)`, so that idle executors stagger and
//! batches grow. The *target* is the largest batch with `l(b) + b / rate <= SLO`: the stagger bound, for as many
//! executors as the rate needs. A window of that size, or of all who wait if they are fewer, slides over the queue: heads
//! with which it would be late are given up. Beyond the target the batch takes whoever still goes with its head.
//!
//! *Reading:* a batch that no request can join starts at once; requests without a deadline are deferred by the
//! operator's delay, since nothing else bounds the wait. What the code takes off deadlines for its network stack is left
//! out, since a run here takes what its profile says.

use std::time::Duration;

use models::LatencyProfile;

use super::prefix::{Prefix, give_up_first, give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Arrivals, Instant, Request, RequestId, nanos};

pub(super) const ENTRY: Entry = Entry {
    name: "deferred",
    summary: "as late as a batch of one more would still be in time, giving up heads that keep it below a target",
    source: "Symphony (arXiv 2308.07470), deferred batch scheduling",
    promises: Promises { in_time: true, drops_only_hopeless: false },
    build: |settings| Box::new(Deferred { settings: settings.clone() }),
};

/// The target is for a rate so many deviations above the mean of windows of so many nanoseconds, as in the public code.
const DEVIATIONS: f64 = 2.0;
const WINDOW_NANOS: f64 = 50e6;

struct Deferred {
    settings: PolicySettings,
}

impl BatchPolicy for Deferred {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let (profile, batch_max) = (view.profile, self.settings.batch_max);
        let mut run = prefix_in_time(left(view.queue, drop), profile, batch_max, view.start)?;
        let mut waiting = view.queue.len() - drop.len();
        if run.full(batch_max, waiting) {
            let passed = self.slide(view, drop, &run);
            let rest = left(view.queue, drop).skip(passed);
            run = prefix_in_time(rest, profile, batch_max, view.start)?;
            give_up_first(passed, view.queue, drop);
            waiting -= passed;
        }
        let until = if run.full(batch_max, waiting) {
            view.start
        } else if run.deadline == Instant::NEVER {
            run.oldest + self.settings.delay
        } else {
            (run.deadline - profile.time(run.rows + 1)).min(run.latest(profile))
        };
        Some(run.in_time(until.max(view.start), profile))
    }
}

impl Deferred {
    /// How many heads stand in the way of the window.
    fn slide(&self, view: &View<'_>, drop: &[RequestId], run: &Prefix) -> usize {
        let mut waiting = left(view.queue, drop).peekable();
        let Some(head) = waiting.peek() else { return 0 };
        let objective = head.deadline.slack(head.arrived);
        let target = target(view.profile, view.queue.arrivals(), objective);
        let target = target.min(self.settings.batch_max);
        if run.rows >= target {
            return 0;
        }
        let mut rows: u32 = waiting.clone().map(|request| request.rows).sum();
        let late = |head: &Request, rows: u32| {
            view.start + view.profile.time(target.min(rows)) > head.deadline.0
        };
        let mut passed = 0;
        while let Some(head) = waiting.next_if(|head| rows > head.rows && late(head, rows)) {
            rows -= head.rows;
            passed += 1;
        }
        passed
    }
}

/// The largest batch that comes together and runs within the objective; as long as the rate is unknown, that runs within
/// half of it.
fn target(profile: &LatencyProfile, arrivals: &Arrivals, objective: Duration) -> u32 {
    let mean = arrivals.steady_per_nano();
    if mean <= 0.0 {
        return profile.largest_batch_within(objective / 2).max(1);
    }
    let rate = mean + DEVIATIONS * (arrivals.dispersion() * mean / WINDOW_NANOS).sqrt();
    let comes_together =
        |rows: u32| nanos(profile.time(rows)) + f64::from(rows) / rate <= nanos(objective);
    // Both terms rise with the batch, as the public code has it too by evening out its profiles.
    let (mut fits, mut beyond) = (1, profile.batch_max() + 1);
    while beyond - fits > 1 {
        let middle = u32::midpoint(fits, beyond);
        if comes_together(middle) { fits = middle } else { beyond = middle }
    }
    fits
}

#[cfg(test)]
mod tests {
    use models::ProfilePoint;

    use super::super::cases::{Answer, Case, MS, NEVER, batch};
    use super::*;

    #[test]
    fn the_window_opens_when_one_more_would_just_fit_and_ends_when_these_do() {
        let table = [
            (Case::wanted_at(&[100]), batch(1, 94.0, 95.0)),
            (Case::wanted_at(&[100; 3]), batch(3, 92.0, 93.0)),
            (Case::wanted_at(&[100, 200, 200]), batch(3, 92.0, 93.0)),
            (Case::wanted_at(&[100; 3]).at(93), batch(3, 93.0, 93.0)),
            (Case::wanted_at(&[100; 8]), batch(8, 0.0, 88.0)), // full
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    /// One row a millisecond for long, and requests that have 20 ms in all: the target is 8, as `4 + b + b / 1.28 <= 20`.
    fn steady(deadlines_ms: &[u64]) -> Case {
        let waiting: Vec<_> = deadlines_ms.iter().map(|&wanted| (wanted - 20, wanted)).collect();
        Case::of(&waiting).every(1).batch_max(32).at(2000)
    }

    fn given_up(dropped: &[u64], answer: Answer) -> Answer {
        Answer { dropped: dropped.to_vec(), ..answer }
    }

    #[test]
    fn heads_with_which_the_target_would_be_late_are_given_up() {
        // Eight take 12 ms.
        let waiting = [2006, 2011, 2012, 2013, 2013, 2013, 2013, 2013, 2013, 2013, 2013];
        let answer = steady(&waiting).answer(&ENTRY);
        assert_eq!(answer, given_up(&[0, 1], batch(8, 2000.0, 2000.0)));
    }

    #[test]
    fn beyond_the_target_those_run_who_go_with_the_head_and_nobody_is_given_up_for_more() {
        assert_eq!(steady(&[2013; 12]).answer(&ENTRY), batch(9, 2000.0, 2000.0));
    }

    #[test]
    fn of_fewer_than_the_target_all_go_together_or_the_head_goes() {
        let answer = steady(&[2007, 2019, 2019, 2019]).answer(&ENTRY);
        assert_eq!(answer, given_up(&[0], batch(3, 2011.0, 2012.0)));
        assert_eq!(steady(&[2008, 2019, 2019, 2019]).answer(&ENTRY), batch(4, 2000.0, 2000.0));
    }

    #[test]
    fn the_target_comes_together_and_runs_within_the_objective_at_two_deviations_above_the_rate() {
        let profile = LatencyProfile::linear(4 * MS, MS, 64);
        let arrivals = |case: Case| target(&profile, case.queue.arrivals(), 40 * MS);
        // At the mean rates they would be 18 and 3.
        assert_eq!(arrivals(Case::wanted_at(&[100]).every(1)), 20);
        assert_eq!(arrivals(Case::wanted_at(&[100]).every(10)), 5);
        // Nothing was offered yet: what runs within 20 ms.
        assert_eq!(arrivals(Case::wanted_at(&[100])), 16);
    }

    #[test]
    fn where_a_larger_batch_is_faster_these_still_start_in_time() {
        let point = |(batch, time)| ProfilePoint { batch, median: time, p99: time, runs: 0 };
        let mut case = Case::wanted_at(&[100; 2]);
        case.profile =
            LatencyProfile::new([(1, MS), (2, 20 * MS), (3, 10 * MS)].map(point).to_vec()).unwrap();
        assert_eq!(case.answer(&ENTRY), batch(2, 80.0, 80.0));
    }

    #[test]
    fn without_deadlines_the_operators_delay_is_the_deferral() {
        assert_eq!(Case::of(&[(0, 0)]).delay(5).answer(&ENTRY), batch(1, 5.0, NEVER));
    }
}
