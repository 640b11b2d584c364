//! Starts as late as one more request could still have joined in time.
//!
//! Symphony (arXiv 2308.07470): a candidate of `b` requests with earliest deadline `D` may start from
//! `min(D - l(b + 1), D - l(b))` on ("frontrun") and is invalid after `D - l(b)`, so that idle executors stagger and
//! batches grow. *Reading:* a batch that no request can join starts at once; requests without a deadline are deferred
//! by the operator's delay, since nothing else bounds the wait.

use super::prefix::{give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "deferred",
    summary: "as late as a batch of one more would still be in time",
    source: "Symphony (arXiv 2308.07470), deferred batch scheduling",
    promises: Promises { in_time: true, drops_only_hopeless: true },
    build: |settings| Box::new(Deferred { settings: settings.clone() }),
};

struct Deferred {
    settings: PolicySettings,
}

impl BatchPolicy for Deferred {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let (profile, batch_max) = (view.profile, self.settings.batch_max);
        let run = prefix_in_time(left(view.queue, drop), profile, batch_max, view.start)?;
        let until = if run.full(batch_max, view.queue.len() - drop.len()) {
            view.start
        } else if run.deadline == Instant::NEVER {
            run.oldest + self.settings.delay
        } else {
            (run.deadline - profile.time(run.rows + 1)).min(run.latest(profile))
        };
        Some(run.in_time(until.max(view.start), profile))
    }
}

#[cfg(test)]
mod tests {
    use models::{LatencyProfile, ProfilePoint};

    use super::super::cases::{Case, MS, NEVER, batch};
    use super::*;

    #[test]
    fn the_window_opens_when_one_more_would_just_fit_and_ends_when_these_do() {
        let table = [
            (Case::wanted_at(&[100]), batch(1, 94.0, 95.0)),
            (Case::wanted_at(&[100; 3]), batch(3, 92.0, 93.0)),
            (Case::wanted_at(&[100, 200, 200]), batch(3, 92.0, 93.0)),
            (Case::wanted_at(&[100; 3]).at(93), batch(3, 93.0, 93.0)),
            (Case::wanted_at(&[100; 8]), batch(8, 0.0, 88.0)), // full
            (Case::wanted_at(&[7, 99, 99, 99]), batch(3, 0.0, 0.0)), // the fourth does not fit
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
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
