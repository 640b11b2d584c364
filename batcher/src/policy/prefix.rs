//! Runs of requests from the front of a queue: what policies make their candidates of.

use models::LatencyProfile;

use super::{Candidate, View};
use crate::{Instant, Queue, Request, RequestId};

/// The first so many requests of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) requests: usize,
    pub(super) rows: u32,
    /// The earliest among them; [`Instant::NEVER`] if none has one.
    pub(super) deadline: Instant,
    /// When the first of them arrived.
    pub(super) oldest: Instant,
    /// When the last of them arrived.
    pub(super) newest: Instant,
}

impl Prefix {
    const EMPTY: Self = Self {
        requests: 0,
        rows: 0,
        deadline: Instant::NEVER,
        oldest: Instant::NEVER,
        newest: Instant::ZERO,
    };

    fn add(&mut self, request: &Request) {
        self.requests += 1;
        self.rows = self.rows.saturating_add(request.rows);
        self.deadline = self.deadline.min(request.deadline.0);
        self.oldest = self.oldest.min(request.arrived);
        self.newest = self.newest.max(request.arrived);
    }

    /// The latest start at which all of them are in time.
    pub(super) fn latest(&self, profile: &LatencyProfile) -> Instant {
        self.deadline - profile.time(self.rows)
    }

    /// The batch of these from `earliest` on, for as long as they are in time.
    pub(super) fn in_time(self, earliest: Instant, profile: &LatencyProfile) -> Candidate {
        let latest = self.latest(profile);
        Candidate { requests: self.requests, rows: self.rows, earliest, latest }
    }

    /// The batch of these from `earliest` on, whatever their deadlines.
    pub(super) fn blind(self, earliest: Instant) -> Candidate {
        let latest = Instant::NEVER;
        Candidate { requests: self.requests, rows: self.rows, earliest, latest }
    }

    /// No request can join: `rows_max` is reached, or the next of those left does not go with them.
    pub(super) fn full(&self, rows_max: u32, left: usize) -> bool {
        self.rows >= rows_max || self.requests < left
    }
}

/// Adds to `drop` what cannot be met even alone, in the order of the queue.
pub(super) fn give_up_hopeless(view: &View<'_>, drop: &mut Vec<RequestId>) {
    let View { queue, profile, start, .. } = view;
    if queue.first_hopeless(profile) <= *start {
        let late = |request: &&Request| *start + profile.time(request.rows) > request.deadline.0;
        drop.extend(queue.iter().filter(late).map(|request| request.id));
    }
}

/// Adds the first `count` requests that are not in `drop` to it.
pub(super) fn give_up_first(count: usize, queue: &Queue, drop: &mut Vec<RequestId>) {
    let (mut given_up, hopeless) = (0, drop.len());
    let mut place = 0;
    for request in queue.iter() {
        if given_up == count {
            return;
        }
        if place < hopeless && drop[place] == request.id {
            place += 1;
        } else {
            drop.push(request.id);
            given_up += 1;
        }
    }
}

/// The requests of a queue without those in `drop`, which are in the order of the queue.
pub(super) fn left<'a>(
    queue: &'a Queue,
    drop: &'a [RequestId],
) -> impl Iterator<Item = &'a Request> + Clone {
    let mut dropped = drop.iter().peekable();
    queue.iter().filter(move |request| dropped.next_if(|&&id| id == request.id).is_none())
}

/// The longest run of at most `rows_max` rows. The first request is never cut for its size.
pub(super) fn prefix_up_to<'a>(
    waiting: impl Iterator<Item = &'a Request>,
    rows_max: u32,
) -> Option<Prefix> {
    longest(waiting, rows_max, |_| true)
}

/// The longest run of at most `rows_max` rows that, started together at `start`, all meet their deadlines. The first
/// request is never cut for its size, only for its deadline.
///
/// Adding a request makes the run longer and the earliest deadline earlier, so the first that does not fit ends it.
pub(super) fn prefix_in_time<'a>(
    waiting: impl Iterator<Item = &'a Request>,
    profile: &LatencyProfile,
    rows_max: u32,
    start: Instant,
) -> Option<Prefix> {
    longest(waiting, rows_max, |run| start + profile.time(run.rows) <= run.deadline)
}

fn longest<'a>(
    waiting: impl Iterator<Item = &'a Request>,
    rows_max: u32,
    fits: impl Fn(&Prefix) -> bool,
) -> Option<Prefix> {
    let mut run = Prefix::EMPTY;
    let mut best = None;
    for request in waiting {
        run.add(request);
        if (run.requests > 1 && run.rows > rows_max) || !fits(&run) {
            break;
        }
        best = Some(run);
    }
    best
}

/// The longest run that fills an engine of 1, 2, 4, 8.. rows, of at most `rows_max` and as far as `fits`.
///
/// An engine is full when it has all its rows, or when the next request would not go into it. The first request runs
/// alone if nothing more fits.
pub(super) fn prefix_of_powers<'a>(
    waiting: impl Iterator<Item = &'a Request>,
    rows_max: u32,
    fits: impl Fn(&Prefix) -> bool,
) -> Option<Prefix> {
    let mut run = Prefix::EMPTY;
    let mut best = None;
    let mut waiting = waiting.peekable();
    while let Some(request) = waiting.next() {
        run.add(request);
        let first = run.requests == 1;
        if (!first && run.rows > rows_max) || !fits(&run) {
            break;
        }
        let next = waiting.peek().map_or(0, |next| next.rows);
        let engine = run.rows.checked_next_power_of_two().unwrap_or(u32::MAX);
        if first || run.rows == engine || run.rows.saturating_add(next) > engine {
            best = Some(run);
        }
    }
    best
}

/// The longest batch in time: as many from the front as meet their deadlines when started together at `start`.
pub fn prefix_within_deadlines<'a>(
    waiting: impl Iterator<Item = &'a Request>,
    profile: &LatencyProfile,
    rows_max: u32,
    start: Instant,
) -> Option<Candidate> {
    let run = prefix_in_time(waiting, profile, rows_max, start)?;
    Some(run.in_time(start, profile))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Deadline;

    fn queue_of(rows: &[u32]) -> Queue {
        let mut queue = Queue::default();
        for (id, &rows) in (0..).zip(rows) {
            let (arrived, deadline) = (Instant::from_nanos(id), Deadline::NONE);
            queue.push(Request { id: RequestId(id), rows, priority: 1, arrived, deadline });
        }
        queue
    }

    #[test]
    fn engines_of_powers_of_two_are_filled_as_far_as_requests_go_into_them() {
        let table: [(&[u32], u32, u32); 7] = [
            (&[1; 5], 32, 4),
            (&[1; 20], 12, 8),
            (&[3], 32, 3),
            (&[3, 3], 32, 3),
            (&[3, 3, 3], 32, 6), // a third does not go into the engine of 8
            (&[1, 2, 3, 3], 32, 6),
            (&[9, 1], 4, 9), // never cut for its size
        ];
        for (rows, rows_max, run) in table {
            let found = prefix_of_powers(queue_of(rows).iter(), rows_max, |_| true);
            assert_eq!(found.map(|found| found.rows), Some(run), "{rows:?}, at most {rows_max}");
        }
    }

    #[test]
    fn what_is_left_is_the_queue_without_what_was_given_up() {
        let queue = queue_of(&[1; 6]);
        let mut drop = vec![RequestId(1), RequestId(4)];
        let ids: Vec<_> = left(&queue, &drop).map(|request| request.id.0).collect();
        assert_eq!(ids, [0, 2, 3, 5]);
        give_up_first(2, &queue, &mut drop);
        assert_eq!(drop, [1, 4, 0, 2].map(RequestId));
    }

    #[test]
    fn a_run_knows_its_earliest_deadline_and_its_oldest_and_newest_request() {
        let mut queue = Queue::default();
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        for (id, (arrived, deadline)) in (0..).zip([(3, 20), (1, 30), (2, 40)]) {
            let (arrived, deadline) = (at(arrived), Deadline(at(deadline)));
            queue.push(Request { id: RequestId(id), rows: 2, priority: 1, arrived, deadline });
        }
        let profile = LatencyProfile::linear(Duration::from_millis(4), Duration::from_millis(1), 8);
        let run = prefix_in_time(queue.iter(), &profile, 4, at(12)).unwrap();
        assert_eq!((run.requests, run.rows, run.deadline), (2, 4, at(20)));
        assert_eq!((run.oldest, run.newest, run.latest(&profile)), (at(1), at(3), at(12)));
    }
}
