//! Starts at once with as many of the most urgent requests as still meet the earliest deadline among them.
//!
//! Earliest deadline first with batch sizes from the measured profile: Nexus (SOSP'19) and Clockwork (OSDI'20) size
//! batches this way. It is work-conserving: it never waits for company unless the operator set a delay.

use super::prefix::{Prefix, give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "deadline",
    summary: "at once, with as many of the most urgent as still meet the earliest deadline among them",
    source: "earliest deadline first with profiled batch sizes, as in Nexus (SOSP'19) and Clockwork (OSDI'20)",
    promises: Promises { in_time: true, drops_only_hopeless: true },
    build: |settings| Box::new(DeadlinePolicy { settings: settings.clone() }),
};

struct DeadlinePolicy {
    settings: PolicySettings,
}

impl BatchPolicy for DeadlinePolicy {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let rows_max = self.settings.batch_max;
        let run = prefix_in_time(left(view.queue, drop), view.profile, rows_max, view.start)?;
        let full = run.full(rows_max, view.queue.len() - drop.len());
        let earliest = if full { view.start } else { self.delayed(&run, view) };
        Some(run.in_time(earliest, view.profile))
    }
}

impl DeadlinePolicy {
    /// Honours an operator's delay for a batch that is not full, as far as the deadlines allow.
    fn delayed(&self, run: &Prefix, view: &View<'_>) -> Instant {
        (run.oldest + self.settings.delay).clamp(view.start, run.latest(view.profile))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Answer, Case, batch};
    use super::*;

    #[test]
    fn the_batch_is_as_large_as_the_earliest_deadline_allows() {
        let table = [
            (Case::wanted_at(&[100; 20]), batch(8, 0.0, 88.0)), // full
            (Case::wanted_at(&[7, 100, 100, 100]), batch(3, 0.0, 0.0)), // the first must end by 7 = 4 + 3
            (Case::wanted_at(&[5, 100]), batch(1, 0.0, 0.0)),
            (Case::wanted_at(&[100, 100]), batch(2, 0.0, 94.0)),
            (Case::wanted_at(&[12, 12, 12, 12]).at(6), batch(2, 6.0, 6.0)),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn what_cannot_be_met_alone_is_dropped_and_the_rest_runs() {
        let answer = Case::wanted_at(&[4, 100, 100]).answer(&ENTRY);
        assert_eq!(answer, Answer { dropped: vec![0], ..batch(2, 0.0, 94.0) });
    }

    #[test]
    fn an_operators_delay_is_kept_as_far_as_the_deadline_allows() {
        let case = |deadline| Case::wanted_at(&[deadline]).delay(10);
        assert_eq!(case(100).answer(&ENTRY), batch(1, 10.0, 95.0));
        assert_eq!(case(9).answer(&ENTRY), batch(1, 4.0, 4.0));
    }
}
