//! Starts when a preferred size is reached or the oldest request has waited long enough, blind to deadlines.
//!
//! Triton's dynamic batcher (`dynamic_batching { preferred_batch_size, max_queue_delay_microseconds }`): the baseline
//! that most users mean by batching.

use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, Queue, RequestId};

pub(super) const ENTRY: Entry = Entry {
    name: "timeout",
    summary: "when a preferred size is reached or the oldest has waited for the delay, blind to deadlines",
    source: "Triton Inference Server's dynamic batcher",
    promises: Promises { in_time: false, drops_only_hopeless: true },
    build: |settings| Box::new(TimeoutPolicy { settings: settings.clone() }),
};

struct TimeoutPolicy {
    settings: PolicySettings,
}

impl BatchPolicy for TimeoutPolicy {
    fn plan(&mut self, view: &View<'_>, _drop: &mut Vec<RequestId>) -> Option<Candidate> {
        let (queue, start) = (view.queue, view.start);
        let (requests, rows) = self.largest(queue)?;
        let full = rows >= self.settings.batch_max || requests < queue.len();
        let reached = full || self.settings.preferred.contains(&rows);
        let oldest = queue.iter().map(|request| request.arrived).min().unwrap_or(start);
        let earliest = if reached { start } else { (oldest + self.settings.delay).max(start) };
        Some(Candidate { requests, rows, earliest, latest: Instant::NEVER })
    }
}

impl TimeoutPolicy {
    /// The requests from the front that make the largest preferred size, else the largest allowed one.
    fn largest(&self, queue: &Queue) -> Option<(usize, u32)> {
        let mut rows = 0;
        let mut largest = None;
        let mut preferred = None;
        for (index, request) in queue.iter().enumerate() {
            rows += request.rows;
            if index > 0 && rows > self.settings.batch_max {
                break;
            }
            largest = Some((index + 1, rows));
            if self.settings.preferred.contains(&rows) {
                preferred = largest;
            }
        }
        preferred.or(largest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use models::LatencyProfile;

    use super::*;
    use crate::Load;
    use crate::{Deadline, Queue, Request};

    #[test]
    fn it_starts_at_a_preferred_size_or_after_the_delay() {
        let delay = Duration::from_millis(5);
        let settings = PolicySettings { batch_max: 8, preferred: vec![4], delay };
        let profile = LatencyProfile::linear(Duration::from_millis(1), Duration::from_millis(1), 8);
        let start = Instant::from_nanos(1_000_000);
        let table = [
            (1, 1, 5_000_000),
            (3, 3, 5_000_000),
            (4, 4, 1_000_000),
            (5, 4, 1_000_000),
            (20, 4, 1_000_000),
        ];
        for (waiting, size, earliest) in table {
            let mut queue = Queue::default();
            for id in 0..waiting {
                let id = RequestId(id);
                queue.push(Request {
                    id,
                    rows: 1,
                    priority: 1,
                    arrived: Instant::ZERO,
                    deadline: Deadline::NONE,
                });
            }
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
            let candidate = (ENTRY.build)(&settings).plan(&view, &mut Vec::new()).unwrap();
            assert_eq!(
                (candidate.requests, candidate.earliest.as_nanos()),
                (size, earliest),
                "{waiting} wait"
            );
        }
    }
}
