//! Starts at once, or when the next request is expected, whichever makes the sum of completion times less.
//!
//! Irina (APNet'20): at each arrival and end, the choice among starting, batching with what comes, stacking and
//! preempting is made by the predicted sum of completion times. *Reading:* of those, start or append; the next request
//! is expected one mean gap after the last, and once: when that moment has passed, those waiting start. An executor
//! runs one batch at a time, so that stacking is a second executor and nothing is preempted. Deadlines are not looked
//! at.

use std::time::Duration;

use super::prefix::{Prefix, prefix_up_to};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "mean_completion",
    summary: "at once, or when the next request is expected if that lowers the mean completion time, blind to deadlines",
    source: "Irina (APNet'20), scheduling by the predicted sum of completion times",
    promises: Promises { in_time: false, drops_only_hopeless: true },
    build: |settings| Box::new(MeanCompletion { settings: settings.clone() }),
};

struct MeanCompletion {
    settings: PolicySettings,
}

impl BatchPolicy for MeanCompletion {
    fn plan(&mut self, view: &View<'_>, _drop: &mut Vec<RequestId>) -> Option<Candidate> {
        let run = prefix_up_to(view.queue.iter(), self.settings.batch_max)?;
        let next = expected(&run, view);
        let waits = !run.full(self.settings.batch_max, view.queue.len())
            && next > view.start
            && pays(&run, next.since(view.start), view);
        Some(run.blind(if waits { next } else { view.start }))
    }
}

/// When the next request is expected.
fn expected(run: &Prefix, view: &View<'_>) -> Instant {
    let gap = Duration::try_from_secs_f64(1.0 / (view.queue.arrivals().per_nano() * 1e9));
    run.newest + gap.unwrap_or(Duration::MAX)
}

/// The sum of completion times is less if those of `run` wait for so long and take the next one along.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 requests wait")]
fn pays(run: &Prefix, wait: Duration, view: &View<'_>) -> bool {
    let time = |rows: u32| view.profile.median(rows).as_secs_f64();
    let (members, wait) = (run.requests as f64, wait.as_secs_f64());
    let (these, both) = (time(run.rows), time(run.rows + 1));
    let busy = if view.idle > 1 { 0.0 } else { (these - wait).max(0.0) };
    let at_once = members * these + busy + time(1);
    let together = members * (wait + both) + both;
    together < at_once
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, NEVER, batch};
    use super::*;

    #[test]
    fn it_waits_for_the_next_while_the_sum_of_completion_times_falls() {
        let table = [
            (Case::of(&[(10, 0)]).at(10), batch(1, 10.0, NEVER)), // no one is expected
            // 5 + (5 - 1) + 5 at once, (1 + 6) + 6 together.
            (Case::of(&[(10, 0)]).at(10).every(1), batch(1, 11.0, NEVER)),
            // 5 + (5 - 2) + 5 against (2 + 6) + 6.
            (Case::of(&[(10, 0)]).at(10).every(2), batch(1, 10.0, NEVER)),
            // With a second executor idle, the next one need not wait.
            (Case::of(&[(10, 0)]).at(10).every(1).idle(2), batch(1, 10.0, NEVER)),
            // Many lose more by a wait than one gains.
            (Case::of(&[(10, 0); 4]).at(10).every(1), batch(4, 10.0, NEVER)),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn who_does_not_come_when_expected_is_not_waited_for() {
        let case = Case::of(&[(10, 0)]).at(11).every(1);
        assert_eq!(case.answer(&ENTRY), batch(1, 11.0, NEVER));
    }
}
