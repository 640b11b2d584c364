//! Waits for the largest batch that is expected to fill and still to end within the slack.
//!
//! Nanily (HPCC'19): the remaining slack of the queue bounds the wait, and the batch is the largest whose time fits
//! into it. Its text is not freely available. *Reading:* of the sizes up to the limit, the largest `b` with
//! `(b - waiting) / rate + l(b) <= D - start` is the goal, at the observed arrival rate and the earliest deadline `D`;
//! the wait ends when it is full, or at `D - l(b)`. Its autoscaling is not a queue's.

use super::prefix::{Prefix, give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "slack_bounded",
    summary: "when the largest batch that arrivals are expected to fill within the slack is full, or can no longer be",
    source: "Nanily (HPCC'19), batch size from the remaining slack",
    promises: Promises { in_time: true, drops_only_hopeless: true },
    build: |settings| Box::new(SlackBounded { settings: settings.clone() }),
};

struct SlackBounded {
    settings: PolicySettings,
}

impl BatchPolicy for SlackBounded {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let (profile, batch_max) = (view.profile, self.settings.batch_max);
        let run = prefix_in_time(left(view.queue, drop), profile, batch_max, view.start)?;
        let until = if run.full(batch_max, view.queue.len() - drop.len()) {
            view.start
        } else if run.deadline == Instant::NEVER {
            run.oldest + self.settings.delay
        } else {
            let goal = goal(&run, view, batch_max);
            if goal == run.rows { view.start } else { run.deadline - profile.time(goal) }
        };
        let until = until.min(run.latest(profile)).max(view.start);
        Some(run.in_time(until, profile))
    }
}

/// The largest size that is expected to fill in time; that of the run if none is.
fn goal(run: &Prefix, view: &View<'_>, batch_max: u32) -> u32 {
    let slack = run.deadline.since(view.start).as_secs_f64();
    let rate = view.queue.arrivals().per_nano() * 1e9;
    let in_time = |rows: &u32| {
        let fill = f64::from(rows - run.rows) / rate;
        fill + view.profile.time(*rows).as_secs_f64() <= slack
    };
    (run.rows + 1..=batch_max).take_while(in_time).last().unwrap_or(run.rows)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, NEVER, batch};
    use super::*;

    #[test]
    fn it_waits_for_as_many_as_the_rate_brings_within_the_slack() {
        let table = [
            (Case::wanted_at(&[100; 2]), batch(2, 0.0, 94.0)), // nobody is expected
            (Case::wanted_at(&[100; 2]).every(2), batch(2, 88.0, 94.0)), // all 8 fit
            (Case::wanted_at(&[16; 2]).every(2), batch(2, 7.0, 10.0)), // 5: 3 more in 6 ms and l(5) = 9
            (Case::wanted_at(&[8; 2]).every(2), batch(2, 0.0, 2.0)),   // a third would be too late
            (Case::wanted_at(&[100; 8]).every(2), batch(8, 0.0, 88.0)),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn without_deadlines_it_waits_for_the_operators_delay() {
        assert_eq!(Case::of(&[(0, 0)]).delay(5).answer(&ENTRY), batch(1, 5.0, NEVER));
    }
}
