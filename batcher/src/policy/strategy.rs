//! Starts at once with the largest of 1, 2, 4, 8.. requests that meets the earliest deadline, in a window that ends at
//! the latest start.
//!
//! Clockwork (OSDI'20): a model has one strategy for each batch size that was compiled, and the largest that is still
//! in time is taken; which model goes first is the dispatch policy `earliest_latest_start`, and the rejection of what
//! cannot be met is the admission policy `feasible`. *Reading:* times are the corrected profile's 99th percentile in
//! place of that of the last 10 runs; a batch takes the time of its rows, not that of its padded engine.

use super::prefix::{give_up_hopeless, left, prefix_of_powers};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::RequestId;

pub(super) const ENTRY: Entry = Entry {
    name: "strategy",
    summary: "at once, with the most of 1, 2, 4, 8.. rows that meet the earliest deadline among them",
    source: "Clockwork (OSDI'20), strategies of compiled batch sizes",
    promises: Promises { in_time: true, drops_only_hopeless: true },
    build: |settings| Box::new(Strategy { settings: settings.clone() }),
};

struct Strategy {
    settings: PolicySettings,
}

impl BatchPolicy for Strategy {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let waiting = left(view.queue, drop);
        let run = prefix_of_powers(waiting, self.settings.batch_max, |run| {
            view.start + view.profile.time(run.rows) <= run.deadline
        })?;
        Some(run.in_time(view.start, view.profile))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Answer, Case, batch};
    use super::*;

    #[test]
    fn the_largest_compiled_size_in_time_starts_before_its_latest_start() {
        let table = [
            (Case::wanted_at(&[100; 7]), batch(4, 0.0, 92.0)),
            (Case::wanted_at(&[100; 20]), batch(8, 0.0, 88.0)),
            (Case::wanted_at(&[11; 7]), batch(4, 0.0, 3.0)), // 7 would be in time, 8 not
            (Case::wanted_at(&[7; 7]), batch(2, 0.0, 1.0)),
            (Case::wanted_at(&[4, 9]), Answer { dropped: vec![0], ..batch(1, 0.0, 4.0) }),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }
}
