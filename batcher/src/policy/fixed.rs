//! Waits until a batch of one fixed size is full, but never so long that it could no longer run in time.
//!
//! What static batching servers do, with the least mercy that makes it usable under deadlines: when the earliest
//! deadline leaves just the time of a full batch, those that wait start as they are. Requests without a deadline wait
//! for the operator's delay at most.

use super::prefix::{give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "fixed",
    summary: "when the first preferred size is full, or the earliest deadline leaves no more than the time of a full batch",
    source: "static batching, the baseline",
    promises: Promises { in_time: true, drops_only_hopeless: true },
    build: |settings| Box::new(Fixed { settings: settings.clone() }),
};

struct Fixed {
    settings: PolicySettings,
}

impl BatchPolicy for Fixed {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let batch_max = self.settings.batch_max.max(1);
        let size = self.settings.preferred.first().map_or(batch_max, |&size| size.min(batch_max));
        let run = prefix_in_time(left(view.queue, drop), view.profile, size, view.start)?;
        let until = if run.full(size, view.queue.len() - drop.len()) {
            view.start
        } else if run.deadline == Instant::NEVER {
            run.oldest + self.settings.delay
        } else {
            (run.deadline - view.profile.time(size)).min(run.latest(view.profile))
        };
        Some(run.in_time(until.max(view.start), view.profile))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, NEVER, batch};
    use super::*;

    #[test]
    fn it_waits_for_its_size_as_long_as_a_full_batch_is_in_time() {
        let table = [
            (Case::wanted_at(&[100; 8]), batch(8, 0.0, 88.0)),
            (Case::wanted_at(&[100; 20]), batch(8, 0.0, 88.0)),
            (Case::wanted_at(&[100; 3]), batch(3, 88.0, 93.0)), // 100 - l(8)
            (Case::wanted_at(&[100; 3]).at(90), batch(3, 90.0, 93.0)),
            (Case::wanted_at(&[100; 3]).preferred(&[4, 2]), batch(3, 92.0, 93.0)),
            (Case::wanted_at(&[6, 100, 100]), batch(2, 0.0, 0.0)), // the third would make the first late
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn without_deadlines_it_waits_for_the_operators_delay() {
        let case = Case::of(&[(1, 0), (3, 0)]).at(4);
        assert_eq!(case.answer(&ENTRY), batch(2, 4.0, NEVER));
        assert_eq!(case.delay(7).answer(&ENTRY), batch(2, 8.0, NEVER));
    }
}
