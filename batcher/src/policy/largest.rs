//! Starts the largest batch that is in time at once, passing over heads whose slack forbids it.
//!
//! Shepherd's FLEX (NSDI'23): a free executor runs the largest feasible batch. *Reading:* a head that is passed over
//! would be hopeless once that batch has run, since its deadline comes before the batch's end, and is given up; it is
//! not passed over while another executor is idle, which serves the next batch. A run that the executor can break off
//! gives way to a batch that is so much larger and cannot wait for its end. That the largest batch of all models goes
//! first is for a dispatch policy, not for one queue's.

use super::prefix::{Prefix, give_up_first, give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::RequestId;

pub(super) const ENTRY: Entry = Entry {
    name: "largest",
    summary: "at once, with the largest batch in time that is anywhere in the queue, giving up those before it",
    source: "Shepherd (NSDI'23), the online algorithm FLEX, with preemption where executors can",
    promises: Promises { in_time: true, drops_only_hopeless: false },
    build: |settings| Box::new(Largest { settings: settings.clone() }),
};

/// How many times the rows of a run a batch must have to preempt it: the lambda of FLEX in Shepherd (NSDI'23), on which
/// its competitive ratio rests, as second-hand descriptions round it.
const PREEMPTS_TIMES: f64 = 3.03;

struct Largest {
    settings: PolicySettings,
}

impl BatchPolicy for Largest {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let batch_max = self.settings.batch_max;
        let run = prefix_in_time(left(view.queue, drop), view.profile, batch_max, view.start)?;
        let cut = run.rows < batch_max && run.full(batch_max, view.queue.len() - drop.len());
        let (passed, run) =
            if cut && view.idle <= 1 { self.search(view, drop, run) } else { (0, run) };
        give_up_first(passed, view.queue, drop);
        Some(run.in_time(view.start, view.profile))
    }

    fn preempts(&self, rows: u32, running: u32) -> bool {
        f64::from(rows) >= PREEMPTS_TIMES * f64::from(running)
    }
}

impl Largest {
    /// The largest run of the queue, and how many requests stand before it: as few as can be.
    fn search(&self, view: &View<'_>, drop: &[RequestId], first: Prefix) -> (usize, Prefix) {
        let (profile, start) = (view.profile, view.start);
        let mut best = (0, first);
        let mut waiting = left(view.queue, drop);
        let mut rows: u32 = waiting.clone().map(|request| request.rows).sum();
        let mut passed = 0;
        while let Some(head) = waiting.next() {
            rows -= head.rows;
            passed += 1;
            let most = rows.min(self.settings.batch_max);
            if most <= best.1.rows {
                break;
            }
            let Some(next) = waiting.clone().next() else { break };
            if start + profile.time(best.1.rows + 1) > next.deadline.0 {
                continue;
            }
            let run = prefix_in_time(waiting.clone(), profile, self.settings.batch_max, start);
            if let Some(run) = run.filter(|run| run.rows > best.1.rows) {
                best = (passed, run);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Answer, Case, batch};
    use super::*;

    #[test]
    fn the_largest_feasible_batch_starts_and_tight_heads_before_it_are_given_up() {
        let given_up = |dropped: &[u64], answer| Answer { dropped: dropped.to_vec(), ..answer };
        let table = [
            (Case::wanted_at(&[100; 20]), batch(8, 0.0, 88.0)),
            (Case::wanted_at(&[6, 90, 90, 90]), given_up(&[0], batch(3, 0.0, 83.0))),
            (Case::wanted_at(&[6, 90]), batch(2, 0.0, 0.0)),
            // Passing over one for a batch of the same size gains nothing.
            (Case::wanted_at(&[6, 6, 90]), batch(2, 0.0, 0.0)),
            (Case::wanted_at(&[6, 6, 6, 8, 90, 90, 90]), given_up(&[0, 1, 2], batch(4, 0.0, 0.0))),
            (Case::wanted_at(&[3, 6, 90, 90, 90]), given_up(&[0, 1], batch(3, 0.0, 83.0))),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn a_run_gives_way_to_a_batch_of_more_than_three_times_its_rows() {
        let policy = (ENTRY.build)(&PolicySettings::default());
        let gives_way = |rows, running| policy.preempts(rows, running);
        assert!(gives_way(4, 1) && gives_way(100, 33) && gives_way(304, 100));
        assert!(!gives_way(3, 1) && !gives_way(99, 33) && !gives_way(303, 101));
    }

    #[test]
    fn no_one_is_passed_over_while_another_executor_is_idle() {
        let case = Case::wanted_at(&[6, 90, 90, 90]).idle(2);
        assert_eq!(case.answer(&ENTRY), batch(2, 0.0, 0.0));
    }
}
