//! Starts the most urgent request alone, at once: no batching.
//!
//! The baseline of every paper on batching. It is otherwise as able as the others: earliest deadline first, and what
//! cannot be met is given up.

use super::prefix::{give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, Promises, View};
use crate::RequestId;

pub(super) const ENTRY: Entry = Entry {
    name: "single",
    summary: "at once, each request alone",
    source: "no batching, the baseline",
    promises: Promises { in_time: true, drops_only_hopeless: true },
    build: |_| Box::new(Single),
};

struct Single;

impl BatchPolicy for Single {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let head = prefix_in_time(left(view.queue, drop), view.profile, 1, view.start)?;
        Some(head.in_time(view.start, view.profile))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Answer, Case, batch};
    use super::*;

    #[test]
    fn each_runs_alone_until_its_latest_start() {
        let table = [
            (Case::wanted_at(&[100]), batch(1, 0.0, 95.0)),
            (Case::wanted_at(&[100; 20]), batch(1, 0.0, 95.0)),
            (Case::wanted_at(&[3, 9]), Answer { dropped: vec![0], ..batch(1, 0.0, 4.0) }),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }
}
