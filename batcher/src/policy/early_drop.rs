//! Starts a batch of the planned size at once, giving up those at the front whose slack would force a smaller one.
//!
//! Nexus (SOSP'19): the planned size `b` is the largest with `2 l(b) <= SLO`, since a request may just miss a batch; a
//! window of that size slides over the queue to the first request with time for the whole window, and all before it
//! are given up. *Reading:* the objective is that of the most urgent request; heads are given up only while a full
//! window waits behind them, else the longest run in time starts. Nexus gives each GPU a queue of its own; here all
//! executors share one.

use std::time::Duration;

use super::prefix::{Prefix, give_up_first, give_up_hopeless, left, prefix_in_time, prefix_up_to};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Deadline, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "early_drop",
    summary: "at once, with the planned size that fits twice into the objective, giving up heads that force a smaller one",
    source: "Nexus (SOSP'19), early drop with planned batch sizes",
    promises: Promises { in_time: true, drops_only_hopeless: false },
    build: |settings| Box::new(EarlyDrop { settings: settings.clone() }),
};

struct EarlyDrop {
    settings: PolicySettings,
}

impl BatchPolicy for EarlyDrop {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let size = self.planned(view, left(view.queue, drop).next()?);
        let found = full_window(view, drop, size);
        let run = match found {
            Some((passed, run)) => {
                give_up_first(passed, view.queue, drop);
                run
            }
            None => prefix_in_time(left(view.queue, drop), view.profile, size, view.start)?,
        };
        Some(run.in_time(view.start, view.profile))
    }
}

impl EarlyDrop {
    fn planned(&self, view: &View<'_>, head: &crate::Request) -> u32 {
        let batch_max = self.settings.batch_max.max(1);
        if head.deadline == Deadline::NONE {
            return batch_max;
        }
        let objective: Duration = head.deadline.slack(head.arrived);
        view.profile.largest_batch_within(objective / 2).clamp(1, batch_max)
    }
}

/// The first full window with time for the planned size, and how many requests stand before it.
fn full_window(view: &View<'_>, drop: &[RequestId], size: u32) -> Option<(usize, Prefix)> {
    let mut waiting = left(view.queue, drop);
    let requests = view.queue.len() - drop.len();
    for passed in 0..requests {
        let window = waiting.clone();
        let head = waiting.next()?;
        let end = view.start + view.profile.time(size.max(head.rows));
        if end > head.deadline.0 {
            continue;
        }
        let run = prefix_up_to(window, size)?;
        if run.rows < size && passed + run.requests == requests {
            return None;
        }
        // A smaller run may take longer than a full one, where kernels change at a size.
        if end.max(view.start + view.profile.time(run.rows)) <= run.deadline {
            return Some((passed, run));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Answer, Case, batch, ms};
    use super::*;
    use crate::{Instant, Request};

    #[test]
    fn the_planned_size_fits_twice_into_the_objective() {
        let table = [
            (Case::wanted_at(&[100; 20]), batch(8, 0.0, 88.0)),
            (Case::wanted_at(&[20; 20]), batch(6, 0.0, 10.0)), // 2 l(6) = 20
            (Case::wanted_at(&[20; 4]), batch(4, 0.0, 12.0)),
            (Case::wanted_at(&[9; 20]), batch(1, 0.0, 4.0)),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn heads_that_force_a_smaller_batch_are_given_up_while_a_full_one_waits_behind_them() {
        let waiting = |tight: usize, loose: usize| {
            let mut waiting = vec![(0, 20); tight];
            waiting.extend(vec![(5, 30); loose]);
            Case::of(&waiting)
        };
        let table = [
            (waiting(2, 6).at(10), batch(6, 10.0, 10.0)),
            (waiting(2, 6).at(11), Answer { dropped: vec![0, 1], ..batch(6, 11.0, 20.0) }),
            (waiting(2, 5).at(11), batch(5, 11.0, 11.0)), // five are no full window
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn a_window_is_full_when_the_next_request_does_not_go_into_it() {
        let mut case = Case::of(&[]);
        for (id, rows) in (0..).zip([3, 3, 2, 2]) {
            let deadline = Deadline(ms(16)); // 2 l(4) = 16
            let arrived = Instant::ZERO;
            case.queue.push(Request { id: RequestId(id), rows, priority: 1, arrived, deadline });
        }
        assert_eq!(case.answer(&ENTRY), batch(1, 0.0, 9.0));
    }
}
