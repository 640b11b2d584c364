//! Starts when a preferred size is reached or the oldest request has waited long enough, blind to deadlines.
//!
//! Triton's dynamic batcher (`dynamic_batching { preferred_batch_size, max_queue_delay_microseconds }`): the baseline
//! that most users mean by batching. As there, the largest preferred size that is there starts at once; once the oldest
//! has waited for the delay, all that fit go with it, whatever is preferred; and what passes the largest preferred size
//! is cut before it if it missed every one.

use super::prefix::{Prefix, prefix_up_to};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Queue, RequestId};

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
        let most = prefix_up_to(queue.iter(), self.settings.batch_max)?;
        let due = most.oldest + self.settings.delay;
        let overdue = !self.settings.delay.is_zero() && due <= start;
        if let Some(preferred) = self.preferred(queue, &most).filter(|_| !overdue) {
            return Some(preferred.blind(start));
        }
        let full = most.full(self.settings.batch_max, queue.len());
        Some(most.blind(if full { start } else { due.max(start) }))
    }
}

impl TimeoutPolicy {
    /// The requests from the front that make the largest preferred size; or, where they pass the largest of all and
    /// made none, those up to there.
    fn preferred(&self, queue: &Queue, most: &Prefix) -> Option<Prefix> {
        let preferred = &self.settings.preferred;
        let largest = preferred.iter().copied().max()?;
        let mut rows = 0;
        let mut best = 0;
        let first = queue.head()?.rows;
        for request in queue.iter().take(most.requests) {
            let before = rows;
            rows += request.rows;
            if before > 0 && rows > largest && best == 0 {
                best = before;
            }
            if preferred.contains(&rows) {
                best = rows;
            }
        }
        // The next request may pass it even where it does not go into a batch.
        let next = queue.at(most.requests).map_or(0, |next| next.rows);
        if best == 0 && most.rows + next > largest {
            best = most.rows;
        }
        (best >= first).then(|| prefix_up_to(queue.iter(), best)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, NEVER, batch};
    use super::*;
    use crate::{Deadline, Instant, Request};

    #[test]
    fn it_starts_at_a_preferred_size_or_after_the_delay() {
        let waiting = |count: usize| Case::of(&vec![(0, 1); count]).at(1);
        let table = [
            (1, batch(1, 5.0, NEVER)),
            (3, batch(3, 5.0, NEVER)),
            (4, batch(4, 1.0, NEVER)),
            (5, batch(4, 1.0, NEVER)),
            (20, batch(4, 1.0, NEVER)),
        ];
        for (count, answer) in table {
            let case = waiting(count).preferred(&[4]).delay(5);
            assert_eq!(case.answer(&ENTRY), answer, "{count} wait");
        }
        let mixed = |count| waiting(count).preferred(&[2, 6]).delay(5);
        assert_eq!(mixed(5).answer(&ENTRY), batch(2, 1.0, NEVER));
        assert_eq!(mixed(7).answer(&ENTRY), batch(6, 1.0, NEVER));
    }

    #[test]
    fn after_the_delay_all_that_fit_go_whatever_is_preferred() {
        let case = |count: usize| Case::of(&vec![(0, 1); count]).preferred(&[4]).delay(5).at(5);
        assert_eq!(case(6).answer(&ENTRY), batch(6, 5.0, NEVER));
        assert_eq!(case(20).answer(&ENTRY), batch(8, 5.0, NEVER));
    }

    #[test]
    fn without_a_delay_nothing_waits() {
        let case = |count: usize| Case::of(&vec![(0, 1); count]).preferred(&[4]).at(1);
        assert_eq!(case(3).answer(&ENTRY), batch(3, 1.0, NEVER));
        assert_eq!(case(6).answer(&ENTRY), batch(4, 1.0, NEVER));
    }

    #[test]
    fn requests_that_jump_over_the_largest_preferred_size_start_before_it() {
        let mut case = Case::of(&[]).preferred(&[4]).delay(5).at(1);
        for (id, answer) in [(0, batch(1, 5.0, NEVER)), (1, batch(1, 1.0, NEVER))] {
            let (arrived, deadline) = (Instant::ZERO, Deadline::NONE);
            case.queue.push(Request { id: RequestId(id), rows: 3, priority: 1, arrived, deadline });
            assert_eq!(case.answer(&ENTRY), answer);
        }
    }
}
