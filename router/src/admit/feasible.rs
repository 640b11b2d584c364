//! Lets in what can be answered in time, and in an overload only what is predicted to be without making another late.
//!
//! The prediction runs the queue forward, batch by batch, on the executors' planned times: what Clockwork (OSDI'20)
//! calls predictable execution, applied at the door. A request that would head a batch must leave room for the
//! batch that is expected to have formed by its start: else one late-comer with little slack turns a full batch into
//! a batch of one, and goodput collapses just when it is most needed.

use batcher::{Deadline, Instant, Request, nanos};

use super::{Admission, AdmissionEntry, Ask};
use crate::Rejection;

pub(super) const ENTRY: AdmissionEntry = AdmissionEntry {
    name: "feasible",
    summary: "what can be in time; in an overload of arrivals that can be foreseen, what is predicted to be, harming no one who is in, and leaving room for the batch that the overload keeps forming",
    source: "prediction at the door after Clockwork (OSDI'20); room for the expected batch: ours",
    build: || Box::new(Feasible::default()),
};

/// Arrivals of a greater dispersion (Poisson arrivals have 1) come in bursts that nobody foresees. Well above 1, since a
/// busy server reads several requests at once, which then seem to have come together.
const FORESEEN: f64 = 8.0;

#[derive(Default)]
struct Feasible {
    /// Scratch space: when executors could start a batch.
    starts: Vec<Instant>,
}

impl Admission for Feasible {
    fn admit(&mut self, ask: &Ask<'_>) -> Result<(), Rejection> {
        let earliest = ask.outlook.earliest_start();
        if earliest == Instant::NEVER {
            return Err(Rejection::NoExecutor);
        }
        if fits_one_batch(ask, earliest) {
            return Ok(());
        }
        if !ask.outlook.choosy() || ask.queue.arrivals().dispersion() > FORESEEN {
            // Whom to leave out of a burst the batching policy sees better, once it is over.
            let end = earliest + ask.profile.time(ask.request.rows);
            return if end <= ask.request.deadline.0 {
                Ok(())
            } else {
                Err(unreachable_at(end, ask))
            };
        }
        let starts = &mut self.starts;
        ask.outlook.starts(starts);
        let at = ask.queue.position(ask.request);
        let mut batch = Forming::on_earliest(starts);
        for index in 0..=ask.queue.len() {
            let newcomer = index == at;
            let request = if newcomer { ask.request } else { waiting(ask, index, at) };
            if !batch.takes(request, ask) {
                batch = batch.close(starts, ask);
            }
            let first = batch.rows == 0;
            batch.add(request);
            let end = batch.start + ask.profile.time(batch.rows);
            if first && end > request.deadline.0 {
                if index >= at {
                    return Err(unreachable_at(end, ask));
                }
                batch = Forming { start: batch.start, ..Forming::default() };
            } else if first && newcomer {
                batch.leaves_room(starts.len() + 1, ask)?;
            }
        }
        Ok(())
    }
}

/// One batch on the first executor holds all that wait here, and ends in time: the usual case, and quick to see.
///
/// A newcomer that would head that batch is looked at more closely in an overload.
fn fits_one_batch(ask: &Ask<'_>, start: Instant) -> bool {
    let rows = ask.queue.rows() + ask.request.rows;
    let head = ask.queue.head().map_or(ask.request.deadline, |head| head.deadline);
    let end = start + ask.profile.time(rows);
    let heads = ask.queue.is_empty() && ask.outlook.choosy();
    !heads && rows <= ask.batch_max && end <= head.min(ask.request.deadline).0
}

/// The request that stands at `index` once the newcomer has taken place `at`.
fn waiting<'a>(ask: &Ask<'a>, index: usize, at: usize) -> &'a Request {
    let index = if index > at { index - 1 } else { index };
    ask.queue.at(index).expect("the index runs over the queue")
}

fn unreachable_at(end: Instant, ask: &Ask<'_>) -> Rejection {
    Rejection::DeadlineUnreachable { predicted: end.since(ask.now), soonest: None }
}

/// A batch of the prediction, growing.
#[derive(Default)]
struct Forming {
    start: Instant,
    rows: u32,
    deadline: Option<Deadline>,
}

impl Forming {
    /// An empty batch where an executor is free first; that executor leaves the list until the batch is closed.
    fn on_earliest(starts: &mut Vec<Instant>) -> Self {
        let earliest = starts.iter().enumerate().min_by_key(|(_, start)| **start);
        let (index, _) = earliest.expect("some executor has the variant");
        Self { start: starts.swap_remove(index), ..Self::default() }
    }

    fn takes(&self, request: &Request, ask: &Ask<'_>) -> bool {
        let rows = self.rows + request.rows;
        let deadline =
            self.deadline.map_or(request.deadline, |deadline| deadline.min(request.deadline));
        self.rows == 0
            || (rows <= ask.batch_max && self.start + ask.profile.time(rows) <= deadline.0)
    }

    fn add(&mut self, request: &Request) {
        self.rows += request.rows;
        self.deadline =
            Some(self.deadline.map_or(request.deadline, |deadline| deadline.min(request.deadline)));
    }

    fn close(self, starts: &mut Vec<Instant>, ask: &Ask<'_>) -> Self {
        starts.push(self.start + ask.profile.time(self.rows));
        Self::on_earliest(starts)
    }

    /// The batch that this newcomer heads can grow to the size expected at its start.
    fn leaves_room(&self, executors: usize, ask: &Ask<'_>) -> Result<(), Rejection> {
        // Who is counted on has come when the batch before is done, not when it is at the latest.
        let gathered = self.start - ask.outlook.sooner();
        let expected = self
            .rows
            .saturating_add(ask.queue.arrivals().expected_rows(ask.now, gathered))
            .min(sustained(executors, ask));
        let end = self.start + ask.profile.time(expected.max(self.rows));
        if end <= ask.request.deadline.0 { Ok(()) } else { Err(unreachable_at(end, ask)) }
    }
}

/// The largest batch that an overload keeps forming: one whose requests come and run within one objective (docs/policies.md).
///
/// On several executors the gathering of one is disturbed by the starts of the others, so that half of the objective is
/// kept for waiting where a run leaves as much.
fn sustained(executors: usize, ask: &Ask<'_>) -> u32 {
    let slack = ask.request.deadline.slack(ask.now);
    let shares = executors > 1 && ask.profile.time(1) <= slack / 2;
    let within = nanos(if shares { slack / 2 } else { slack });
    let gap = 1.0 / ask.queue.arrivals().per_nano();
    let fits = |rows: u32| nanos(ask.profile.time(rows)) + gap * f64::from(rows) <= within;
    let (mut size, mut above) = (1, ask.batch_max.saturating_add(1));
    while above - size > 1 {
        let rows = size.midpoint(above);
        if fits(rows) { size = rows } else { above = rows }
    }
    size
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use batcher::{Queue, RequestId};
    use models::LatencyProfile;

    use super::*;
    use crate::admit::Outlook;

    fn ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn request(id: u64, deadline_ms: u64) -> Request {
        let deadline = Deadline(ms(deadline_ms));
        Request { id: RequestId(id), rows: 1, priority: 1, arrived: Instant::ZERO, deadline }
    }

    /// Executors that start then.
    struct Then(Vec<Instant>);

    impl Outlook for Then {
        fn earliest_start(&self) -> Instant {
            self.0.iter().copied().min().unwrap_or(Instant::NEVER)
        }

        fn sooner(&self) -> Duration {
            Duration::ZERO
        }

        fn choosy(&self) -> bool {
            true
        }

        fn backlog(&self) -> Duration {
            Duration::ZERO
        }

        fn starts(&self, into: &mut Vec<Instant>) {
            into.clone_from(&self.0);
        }
    }

    /// l(b) = 4 + b ms; batches of at most 4; now is 0.
    fn admit(waiting: &[u64], free_at: &[u64], deadline: u64) -> Result<(), Rejection> {
        let mut queue = Queue::default();
        for (id, &deadline) in waiting.iter().enumerate() {
            queue.push(request(id as u64, deadline));
        }
        let profile = LatencyProfile::linear(Duration::from_millis(4), Duration::from_millis(1), 8);
        let starts: Vec<_> = free_at.iter().map(|&at| ms(at)).collect();
        Feasible::default().admit(&Ask {
            request: &request(99, deadline),
            queue: &queue,
            profile: &profile,
            batch_max: 4,
            outlook: &Then(starts),
            now: Instant::ZERO,
        })
    }

    fn predicted(ms: u64) -> Result<(), Rejection> {
        Err(Rejection::DeadlineUnreachable { predicted: Duration::from_millis(ms), soonest: None })
    }

    #[test]
    fn a_request_enters_exactly_when_its_predicted_end_is_in_time() {
        assert_eq!(admit(&[], &[0], 5), Ok(()));
        assert_eq!(admit(&[], &[0], 4), predicted(5));
        assert_eq!(admit(&[], &[7], 12), Ok(()));
        assert_eq!(admit(&[], &[7], 11), predicted(12));
        // Four wait and fill the first batch (0..8); the fifth runs alone (8..13).
        assert_eq!(admit(&[20, 20, 20, 20], &[0], 20), Ok(()));
        assert_eq!(admit(&[11, 11, 11, 11], &[0], 12), predicted(13));
        // A second executor takes it at once.
        assert_eq!(admit(&[11, 11, 11, 11], &[0, 1], 12), Ok(()));
    }

    #[test]
    fn an_urgent_newcomer_may_not_make_an_accepted_request_late() {
        assert_eq!(admit(&[6], &[0], 5), predicted(10));
        assert_eq!(admit(&[10], &[0], 5), Ok(()));
    }

    #[test]
    fn a_request_that_waits_though_hopeless_refuses_no_one() {
        assert_eq!(admit(&[3], &[0], 6), Ok(()));
    }

    #[test]
    fn without_an_executor_there_is_no_prediction() {
        assert_eq!(admit(&[], &[], 50), Err(Rejection::NoExecutor));
    }

    #[test]
    fn at_a_high_arrival_rate_a_batch_is_not_headed_by_a_request_without_room_for_it() {
        let mut queue = Queue::default();
        for at in 0..2000_u64 {
            queue.note_offer(1, Instant::from_nanos(at * 500_000));
        }
        let now = ms(1000);
        let profile = LatencyProfile::linear(Duration::from_millis(4), Duration::from_millis(1), 8);
        let late = Request { deadline: Deadline(ms(1017)), arrived: now, ..request(1, 0) };
        let ask = Ask {
            request: &late,
            queue: &queue,
            profile: &profile,
            batch_max: 4,
            outlook: &Then(vec![ms(1010)]),
            now,
        };
        assert_eq!(Feasible::default().admit(&ask), predicted(18));
    }

    #[test]
    fn the_batch_to_leave_room_for_is_the_largest_that_gathers_and_runs_within_the_objective() {
        let mut queue = Queue::default();
        (0..2000_u64).for_each(|at| queue.note_offer(1, Instant::from_nanos(at * 500_000)));
        let profile =
            LatencyProfile::linear(Duration::from_millis(4), Duration::from_millis(1), 64);
        let size = |within_ms, executors| {
            let now = ms(1000);
            let deadline = Deadline(now + Duration::from_millis(within_ms));
            let request = Request { deadline, arrived: now, ..request(1, 0) };
            let outlook = Then(Vec::new());
            let (queue, profile) = (&queue, &profile);
            let ask =
                Ask { request: &request, queue, profile, batch_max: 32, outlook: &outlook, now };
            sustained(executors, &ask)
        };
        // Two a millisecond: 10 come in 5 ms and run in 14; of 21 ms two executors share, half holds 4 in 2 ms and 8.
        assert_eq!((size(20, 1), size(18, 1)), (10, 9));
        assert_eq!(size(21, 2), 4);
        // Half of 9 ms is no run: all of it.
        assert_eq!((size(9, 2), size(5, 1), size(500, 1)), (3, 1, 32));
    }

    #[test]
    fn whom_to_leave_out_of_a_burst_is_not_settled_at_the_door() {
        let mut queue = Queue::default();
        let mut now = Instant::ZERO;
        let burst: Vec<_> = std::iter::repeat_n(10, 29).chain([20_000]).collect();
        for gap in burst.repeat(70) {
            now = now + Duration::from_micros(gap);
            queue.note_offer(1, now);
        }
        let deadline = |ms| Deadline(now + Duration::from_millis(ms));
        for id in 0..8 {
            queue.push(Request { deadline: deadline(10), arrived: now, ..request(id, 0) });
        }
        let profile = LatencyProfile::linear(Duration::from_millis(4), Duration::from_millis(1), 8);
        let last = Request { deadline: deadline(10), arrived: now, ..request(99, 0) };
        let outlook = Then(vec![now]);
        let (request, queue, profile) = (&last, &queue, &profile);
        let ask = Ask { request, queue, profile, batch_max: 4, outlook: &outlook, now };
        assert_eq!(Feasible::default().admit(&ask), Ok(()));
    }
}
