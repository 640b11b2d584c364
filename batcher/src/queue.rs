//! Waiting requests of one variant and shape, most urgent first: by priority level, then deadline, then arrival.

use std::collections::VecDeque;

use models::LatencyProfile;

use crate::returns::Returns;
use crate::{Arrivals, Deadline, Instant, Request, RequestId};

/// Requests that wait, in the order in which they should be served.
///
/// A sorted deque: requests of one SLO arrive in order of their deadlines, so that inserting is appending.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Request>,
    rows: u32,
    /// How many waiting requests have more than one row: with none, deadline order is also latest-start order.
    wide: usize,
    arrivals: Arrivals,
    returns: Returns,
}

type Urgency = (u32, Deadline, RequestId);

fn urgency(request: &Request) -> Urgency {
    (request.priority, request.deadline, request.id)
}

impl Queue {
    /// Inserts a request at its place in the order.
    pub fn push(&mut self, request: Request) {
        let at = self.position(&request);
        self.waiting.insert(at, request);
        self.rows += request.rows;
        self.wide += usize::from(request.rows > 1);
    }

    /// Where that request would stand.
    #[must_use]
    pub fn position(&self, request: &Request) -> usize {
        let key = urgency(request);
        match self.waiting.back() {
            Some(last) if urgency(last) < key => self.waiting.len(),
            None => 0,
            Some(_) => self.waiting.partition_point(|other| urgency(other) < key),
        }
    }

    /// Removes a request that waits.
    pub fn remove(&mut self, id: RequestId) -> Option<Request> {
        let at = self.waiting.iter().position(|request| request.id == id)?;
        let request = self.waiting.remove(at)?;
        self.forget(&request);
        Some(request)
    }

    /// Removes the most urgent request.
    pub fn pop(&mut self) -> Option<Request> {
        let request = self.waiting.pop_front()?;
        self.forget(&request);
        Some(request)
    }

    fn forget(&mut self, request: &Request) {
        self.rows -= request.rows;
        self.wide -= usize::from(request.rows > 1);
    }

    /// The most urgent request.
    #[must_use]
    pub fn head(&self) -> Option<&Request> {
        self.waiting.front()
    }

    /// The request at that place of the order.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<&Request> {
        self.waiting.get(index)
    }

    /// All that wait, most urgent first.
    pub fn iter(&self) -> impl Iterator<Item = &Request> + Clone {
        self.waiting.iter()
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Rows of all that wait.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Rows of those more urgent than a request of that priority and deadline.
    #[must_use]
    pub fn rows_ahead_of(&self, priority: u32, deadline: Deadline) -> u32 {
        let ahead = |other: &Request| (other.priority, other.deadline) < (priority, deadline);
        if self.waiting.back().is_some_and(ahead) {
            return self.rows;
        }
        let count = self.waiting.partition_point(ahead);
        if self.wide == 0 {
            return u32::try_from(count).expect("as many rows as requests, and those fit a u32");
        }
        self.waiting.iter().take(count).map(|other| other.rows).sum()
    }

    /// The first instant at which some waiting request can no longer be run alone in time.
    #[must_use]
    pub fn first_hopeless(&self, profile: &LatencyProfile) -> Instant {
        let latest_start = |request: &Request| request.deadline.0 - profile.time(request.rows);
        if self.wide > 0 {
            return self.waiting.iter().map(latest_start).min().unwrap_or(Instant::NEVER);
        }
        let mut first = Instant::NEVER;
        let mut at = 0;
        while let Some(head) = self.waiting.get(at) {
            first = first.min(latest_start(head));
            at = self.next_level(head.priority);
        }
        first
    }

    /// Where the requests of the next lower priority level begin.
    fn next_level(&self, priority: u32) -> usize {
        if self.waiting.back().is_some_and(|last| last.priority == priority) {
            return self.waiting.len();
        }
        self.waiting.partition_point(|other| other.priority <= priority)
    }

    /// Counts rows that were offered at `now`, admitted or not.
    pub fn note_offer(&mut self, rows: u32, now: Instant) {
        self.arrivals.note(rows, now);
        self.returns.note(rows, now);
    }

    /// A batch of so many rows from here has ended.
    pub fn note_end(&mut self, rows: u32, now: Instant) {
        self.returns.end(rows, now);
    }

    /// How many rows answered clients are still expected to ask for again, those of a batch that ends at `next` among them,
    /// and until when; `None` where no closed loop is seen.
    #[must_use]
    pub fn returning(&self, now: Instant, next: Option<Instant>) -> Option<(f64, Instant)> {
        self.returns.returning(now, next)
    }

    /// What is known of the arrivals here.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// When a request was last offered.
    #[must_use]
    pub fn last_offer(&self) -> Instant {
        self.arrivals.last()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(id: u64, priority: u32, deadline_ms: u64, rows: u32) -> Request {
        let deadline = Deadline(Instant::from_nanos(deadline_ms * 1_000_000));
        Request { id: RequestId(id), rows, priority, arrived: Instant::ZERO, deadline }
    }

    fn ids(queue: &Queue) -> Vec<u64> {
        queue.iter().map(|request| request.id.0).collect()
    }

    #[test]
    fn requests_are_ordered_by_priority_then_deadline_then_arrival() {
        let mut queue = Queue::default();
        for (id, priority, deadline) in [(1, 2, 5), (2, 1, 9), (3, 2, 4), (4, 1, 9), (5, 1, 3)] {
            queue.push(request(id, priority, deadline, 1));
        }
        assert_eq!(ids(&queue), [5, 2, 4, 3, 1]);
        assert_eq!(queue.rows_ahead_of(2, Deadline(Instant::from_nanos(5_000_000))), 4);
        assert_eq!(queue.rows_ahead_of(3, Deadline::NONE), 5);
    }

    #[test]
    fn rows_follow_pushes_and_removals() {
        let mut queue = Queue::default();
        queue.push(request(1, 1, 5, 3));
        queue.push(request(2, 1, 6, 1));
        assert_eq!(queue.rows(), 4);
        assert_eq!(queue.remove(RequestId(1)).map(|r| r.rows), Some(3));
        assert_eq!(queue.remove(RequestId(1)), None);
        assert_eq!((queue.rows(), queue.len()), (1, 1));
    }

    #[test]
    fn the_first_hopeless_request_may_hide_behind_a_more_urgent_level() {
        let profile = LatencyProfile::linear(Duration::from_millis(1), Duration::from_millis(1), 8);
        let mut queue = Queue::default();
        queue.push(request(1, 1, 50, 1));
        queue.push(request(2, 2, 10, 1));
        assert_eq!(queue.first_hopeless(&profile), Instant::from_nanos(8_000_000));
        queue.push(request(3, 1, 12, 8));
        assert_eq!(queue.first_hopeless(&profile), Instant::from_nanos(3_000_000));
    }
}
