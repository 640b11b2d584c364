//! Starts at once with as many as may join without raising the worst slowdown.
//!
//! DyBatch (CCGrid'20): batches are formed by the slowdown of tasks, completion time over time alone, so that no task
//! envies another's batch. *Reading:* in the order of the queue, the next request joins if the worst slowdown of all
//! of them is then no higher than if it ran alone behind the batch; deadlines are not looked at. That the application
//! with the least device time goes first is for a dispatch policy.

use models::LatencyProfile;

use super::prefix::prefix_up_to;
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, Queue, Request, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "fair_slowdown",
    summary: "at once, with as many as may join without raising the worst slowdown among them, blind to deadlines",
    source: "DyBatch (CCGrid'20), batching by slowdown",
    promises: Promises { in_time: false, drops_only_hopeless: true },
    build: |settings| Box::new(FairSlowdown { settings: settings.clone() }),
};

struct FairSlowdown {
    settings: PolicySettings,
}

impl BatchPolicy for FairSlowdown {
    fn plan(&mut self, view: &View<'_>, _drop: &mut Vec<RequestId>) -> Option<Candidate> {
        let View { queue, profile, start, .. } = *view;
        let mut rows = queue.head()?.rows;
        let mut members = 1;
        while let Some(next) = queue.at(members) {
            let joined = rows.saturating_add(next.rows);
            if joined > self.settings.batch_max {
                break;
            }
            let (end, later) = (start + profile.time(rows), start + profile.time(joined));
            let apart = worst(queue, members, end, profile).max(slowdown(
                next,
                end + profile.time(next.rows),
                profile,
            ));
            if worst(queue, members + 1, later, profile) > apart {
                break;
            }
            (members, rows) = (members + 1, joined);
        }
        Some(prefix_up_to(queue.iter().take(members), rows)?.blind(start))
    }
}

/// Time from its arrival to `end` over the time it takes alone.
fn slowdown(request: &Request, end: Instant, profile: &LatencyProfile) -> f64 {
    end.since(request.arrived).as_secs_f64() / profile.time(request.rows).as_secs_f64()
}

fn worst(queue: &Queue, members: usize, end: Instant, profile: &LatencyProfile) -> f64 {
    let slowdowns = queue.iter().take(members).map(|request| slowdown(request, end, profile));
    slowdowns.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, MS, NEVER, batch};
    use super::*;

    #[test]
    fn a_newcomer_joins_while_the_eldest_loses_less_than_it_would() {
        let table = [
            (Case::of(&[(0, 9); 20]), batch(8, 0.0, NEVER)),
            // It ages by l(2) - l(1) = 1 ms, the newcomer by l(1) = 5 ms less its youth.
            (Case::of(&[(0, 90), (4, 90)]).at(9), batch(2, 9.0, NEVER)),
            (Case::of(&[(0, 90), (5, 90)]).at(9), batch(1, 9.0, NEVER)),
            (Case::of(&[(0, 90), (3, 90), (5, 90)]).at(9), batch(2, 9.0, NEVER)),
        ];
        for (case, answer) in table {
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }

    #[test]
    fn where_batching_gains_nothing_no_one_is_made_to_wait() {
        let mut case = Case::of(&[(0, 90), (1, 90)]).at(2);
        case.profile = LatencyProfile::linear(MS / 1000, 5 * MS, 8);
        assert_eq!(case.answer(&ENTRY), batch(1, 2.0, NEVER));
    }
}
