//! Starts whatever waits at once, in batches of 1, 2, 4, 8.. rows, and never waits.
//!
//! Ebird (ICCD'19): an elastic batch does not wait for the next one to fill, since engines of several granularities run
//! concurrently. *Reading:* a stream of their engine is one of our executors, so that concurrency is as wide as the
//! cluster; a batch is the largest granularity that those waiting fill. Deadlines are not looked at.

use super::prefix::prefix_of_powers;
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::RequestId;

pub(super) const ENTRY: Entry = Entry {
    name: "elastic",
    summary: "at once, with the most of 1, 2, 4, 8.. rows that those waiting fill, blind to deadlines",
    source: "Ebird (ICCD'19), multi-granularity engines",
    promises: Promises { in_time: false, drops_only_hopeless: true },
    build: |settings| Box::new(Elastic { settings: settings.clone() }),
};

struct Elastic {
    settings: PolicySettings,
}

impl BatchPolicy for Elastic {
    fn plan(&mut self, view: &View<'_>, _drop: &mut Vec<RequestId>) -> Option<Candidate> {
        let run = prefix_of_powers(view.queue.iter(), self.settings.batch_max, |_| true)?;
        Some(run.blind(view.start))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, NEVER, batch};
    use super::*;

    #[test]
    fn those_waiting_start_at_once_in_the_largest_engine_that_they_fill() {
        for (waiting, size) in [(1, 1), (2, 2), (3, 2), (5, 4), (7, 4), (20, 8)] {
            let case = Case::wanted_at(&vec![1; waiting]).at(9);
            assert_eq!(case.answer(&ENTRY), batch(size, 9.0, NEVER), "{waiting} wait");
        }
    }
}
