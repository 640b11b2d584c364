//! Starts at once with as many of the most urgent requests as still meet the earliest deadline among them; a run that
//! can be broken off gives way to a batch that is so many times larger.
//!
//! Shepherd's FLEX (NSDI'23), after the public implementation in Symphony's repository (`tools/shepherd` there): the
//! batch of a model is a run from the front of its queue, and only the hopeless are given up. *Largest* is the order
//! among models, which is the dispatch policy `largest_batch`: with any other this is `deadline`. Of preemption the
//! rule is here, and what it is asked about in the router.

use super::prefix::{give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, Promises, View};
use crate::RequestId;

pub(super) const ENTRY: Entry = Entry {
    name: "largest",
    summary: "at once, with as many of the most urgent as still meet the earliest deadline among them; with the dispatch policy `largest_batch`",
    source: "Shepherd (NSDI'23), the online algorithm FLEX, with preemption where executors can",
    promises: Promises { in_time: true, drops_only_hopeless: true },
    build: |settings| Box::new(Largest { rows_max: settings.batch_max }),
};

/// How many times the rows of a run a batch must have to preempt it: the lambda of FLEX in Shepherd (NSDI'23), on which
/// its competitive ratio rests, as second-hand descriptions round it.
const PREEMPTS_TIMES: f64 = 3.03;

struct Largest {
    rows_max: u32,
}

impl BatchPolicy for Largest {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let run = prefix_in_time(left(view.queue, drop), view.profile, self.rows_max, view.start)?;
        Some(run.in_time(view.start, view.profile))
    }

    fn preempts(&self, rows: u32, running: u32) -> bool {
        f64::from(rows) >= PREEMPTS_TIMES * f64::from(running)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PolicySettings;
    use super::super::cases::{Answer, Case, batch};
    use super::*;

    #[test]
    fn the_batch_is_a_run_from_the_front_whatever_larger_one_stands_behind_it() {
        let table = [
            (Case::wanted_at(&[100; 20]), batch(8, 0.0, 88.0)),
            (Case::wanted_at(&[6, 90, 90, 90]), batch(2, 0.0, 0.0)),
            (Case::wanted_at(&[6, 6, 6, 8, 90, 90, 90]), batch(2, 0.0, 0.0)),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn only_who_cannot_be_met_even_alone_is_given_up() {
        let answer = Case::wanted_at(&[3, 6, 90, 90, 90]).answer(&ENTRY);
        assert_eq!(answer, Answer { dropped: vec![0], ..batch(2, 0.0, 0.0) });
    }

    #[test]
    fn a_run_gives_way_to_a_batch_of_more_than_three_times_its_rows() {
        let policy = (ENTRY.build)(&PolicySettings::default());
        let gives_way = |rows, running| policy.preempts(rows, running);
        assert!(gives_way(4, 1) && gives_way(100, 33) && gives_way(304, 100));
        assert!(!gives_way(3, 1) && !gives_way(99, 33) && !gives_way(303, 101));
    }
}
