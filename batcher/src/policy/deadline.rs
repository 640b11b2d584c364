//! Starts at once with as many of the most urgent requests as still meet the earliest deadline among them.
//!
//! Earliest deadline first with batch sizes from the measured profile: Nexus (SOSP'19) and Clockwork (OSDI'20) size
//! batches this way. It is work-conserving: it never waits for company unless the operator set a delay.

use super::{
    BatchPolicy, Candidate, Entry, PolicySettings, Promises, View, give_up_hopeless,
    prefix_within_deadlines, within_delay,
};
use crate::RequestId;

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
        let hopeful = view.queue.iter().filter(|request| !drop.contains(&request.id));
        let rows_max = self.settings.batch_max;
        let candidate = prefix_within_deadlines(hopeful, view.profile, rows_max, view.start)?;
        Some(within_delay(&self.settings, candidate, view.queue))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Load;
    use models::LatencyProfile;

    use crate::{Deadline, Instant, Queue, Request};

    fn ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn queue_of(deadlines_ms: &[u64]) -> Queue {
        let mut queue = Queue::default();
        for (id, &deadline) in deadlines_ms.iter().enumerate() {
            let (id, deadline) = (RequestId(id as u64), Deadline(ms(deadline)));
            queue.push(Request { id, rows: 1, priority: 1, arrived: Instant::ZERO, deadline });
        }
        queue
    }

    /// l(b) = 4 + b ms.
    fn profile() -> LatencyProfile {
        LatencyProfile::linear(Duration::from_millis(4), Duration::from_millis(1), 32)
    }

    fn plan(
        deadlines_ms: &[u64],
        settings: &PolicySettings,
        start: u64,
    ) -> (Option<Candidate>, Vec<RequestId>) {
        let mut policy = (ENTRY.build)(settings);
        let (queue, profile, start) = (queue_of(deadlines_ms), profile(), ms(start));
        let view = View {
            queue: &queue,
            profile: &profile,
            now: start,
            start,
            executors: 1,
            idle: 1,
            rivals: 0,
            load: Load::default(),
        };
        let mut drop = Vec::new();
        (policy.plan(&view, &mut drop), drop)
    }

    #[test]
    fn the_batch_is_as_large_as_the_earliest_deadline_allows() {
        let settings = PolicySettings { batch_max: 8, ..PolicySettings::default() };
        let table: [(&[u64], u64, usize); 5] = [
            (&[100; 20], 0, 8),          // full
            (&[7, 100, 100, 100], 0, 3), // the first must end by 7 = 4 + 3
            (&[5, 100], 0, 1),
            (&[100, 100], 0, 2),
            (&[12, 12, 12, 12], 6, 2),
        ];
        for (deadlines, start, size) in table {
            let (candidate, drop) = plan(deadlines, &settings, start);
            assert_eq!(candidate.map(|c| c.requests), Some(size), "{deadlines:?} at {start}");
            assert_eq!(drop, []);
        }
    }

    #[test]
    fn what_cannot_be_met_alone_is_dropped_and_the_rest_runs() {
        let settings = PolicySettings { batch_max: 8, ..PolicySettings::default() };
        let (candidate, drop) = plan(&[4, 100, 100], &settings, 0);
        assert_eq!(drop, [RequestId(0)]);
        assert_eq!(candidate.map(|c| c.requests), Some(2));
    }

    #[test]
    fn an_operators_delay_is_kept_as_far_as_the_deadline_allows() {
        let delay = Duration::from_millis(10);
        let settings = PolicySettings { batch_max: 8, delay, ..PolicySettings::default() };
        let window = |deadline| plan(&[deadline], &settings, 0).0.map(|c| (c.earliest, c.latest));
        assert_eq!(window(100), Some((ms(10), ms(95))));
        assert_eq!(window(9), Some((ms(4), ms(4))));
    }
}
