//! The seam of the batching policies: one policy, one file, one row in [`ALL`].
//!
//! *Contract* (holds for every policy, tested over [`ALL`]): sizes are legal, a non-empty queue makes progress,
//! `wake_at` is not before the asking, and a plan depends only on its arguments and the policy itself.
//! *Promises* are flags in a row, checked only where set, because honest baselines break them.

mod deadline;
mod timeout;
mod window;

use std::time::Duration;

use models::LatencyProfile;
use serde::{Deserialize, Serialize};

use crate::{Instant, Queue, Request, RequestId};

/// Decides which waiting requests run together, and when.
pub trait BatchPolicy: Send {
    /// The batch on offer, if a request is left; requests to give up are added to `drop`. The batch is the first so
    /// many requests of the queue once those are gone.
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate>;

    /// A batch of this queue has run: for policies that learn.
    fn ran(&mut self, _ran: &Ran) {}
}

/// What a policy may look at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The waiting requests, most urgent first.
    pub queue: &'a Queue,
    /// Corrected times of a run by batch size.
    pub profile: &'a LatencyProfile,
    /// The present.
    pub now: Instant,
    /// When a batch launched now would start: the present on an idle executor, later behind another batch.
    pub start: Instant,
    /// Executors that have the variant.
    pub executors: u32,
    /// How many of those hold no batch.
    pub idle: u32,
    /// Other queues in which requests wait.
    pub rivals: u32,
    /// The load of all queues.
    pub load: Load,
}

/// How busy the whole house is.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Executors that what was started of late keeps busy.
    pub busy: f64,
    /// How many equally busy queues would compete as these do; infinite while that is not known.
    pub queues: f64,
    /// For long no request was refused for its deadline or answered late.
    pub calm: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self { busy: 0.0, queues: f64::INFINITY, calm: true }
    }
}

/// A batch of a queue that has run.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Its rows.
    pub rows: u32,
    /// How long its executor was taken by it.
    pub elapsed: Duration,
    /// The shortest time from arrival to deadline of its requests; [`Duration::MAX`] if none has a deadline.
    pub slo: Duration,
    /// All of its deadlines were met.
    pub in_time: bool,
}

/// A batch on offer: the first so many requests of the queue, with its launch window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How many requests, from the front of the queue.
    pub requests: usize,
    /// Rows of those requests.
    pub rows: u32,
    /// Not before this: more requests may still join.
    pub earliest: Instant,
    /// A start after this makes a request of the batch late.
    pub latest: Instant,
}

/// What an operator can set of a policy. Each policy uses what it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySettings {
    /// The most rows of a batch of several requests.
    pub batch_max: u32,
    /// Sizes to stop at rather than wait for more; empty for any size (Triton's `preferred_batch_size`).
    pub preferred: Vec<u32>,
    /// How long the oldest request may wait for others to join (Triton's `max_queue_delay_microseconds`).
    pub delay: Duration,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { batch_max: 1, preferred: Vec::new(), delay: Duration::ZERO }
    }
}

/// What a policy guarantees beyond the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// Every candidate meets all its deadlines if started in its window.
    pub in_time: bool,
    /// Only requests that cannot be met even alone are dropped.
    pub drops_only_hopeless: bool,
}

/// One row of the table of policies.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in settings.
    pub name: &'static str,
    /// When it launches, in a sentence.
    pub summary: &'static str,
    /// Whose idea it is.
    pub source: &'static str,
    /// What it guarantees.
    pub promises: Promises,
    /// Makes one for one queue.
    pub build: fn(&PolicySettings) -> Box<dyn BatchPolicy>,
}

/// Every batching policy; the first is the default.
pub const ALL: [Entry; 3] = [window::ENTRY, deadline::ENTRY, timeout::ENTRY];

/// No policy has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown batching policy {name:?}; known are: {}", names().join(", "))]
pub struct UnknownPolicy {
    /// The name asked for.
    pub name: String,
}

fn names() -> Vec<&'static str> {
    ALL.iter().map(|entry| entry.name).collect()
}

/// The policy of that name.
///
/// # Errors
/// Names the known ones.
pub fn by_name(name: &str) -> Result<&'static Entry, UnknownPolicy> {
    ALL.iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| UnknownPolicy { name: name.to_owned() })
}

/// Adds to `drop` what cannot be met even alone.
fn give_up_hopeless(view: &View<'_>, drop: &mut Vec<RequestId>) {
    let View { queue, profile, start, .. } = view;
    if queue.first_hopeless(profile) <= *start {
        let late = |request: &&Request| *start + profile.time(request.rows) > request.deadline.0;
        drop.extend(queue.iter().filter(late).map(|request| request.id));
    }
}

/// Honours an operator's delay for a batch that is not full, as far as the deadlines allow.
fn within_delay(settings: &PolicySettings, candidate: Candidate, queue: &Queue) -> Candidate {
    let full = candidate.rows >= settings.batch_max || candidate.requests < queue.len();
    if full || settings.delay.is_zero() {
        return candidate;
    }
    let oldest = queue.iter().map(|request| request.arrived).min().unwrap_or(candidate.earliest);
    let earliest = (oldest + settings.delay).clamp(candidate.earliest, candidate.latest);
    Candidate { earliest, ..candidate }
}

/// The longest run of requests from the front of the queue that, started together at `start`, all meet their
/// deadlines, of at most `rows_max` rows. The first request is never cut for its size, only for its deadline.
///
/// Adding a request makes the run longer and the earliest deadline earlier, so the first that does not fit ends it.
pub fn prefix_within_deadlines<'a>(
    waiting: impl Iterator<Item = &'a Request>,
    profile: &LatencyProfile,
    rows_max: u32,
    start: Instant,
) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    let mut deadline = Instant::NEVER;
    let mut rows = 0;
    for (index, request) in waiting.enumerate() {
        rows += request.rows;
        if index > 0 && rows > rows_max {
            break;
        }
        deadline = deadline.min(request.deadline.0);
        let time = profile.time(rows);
        if start + time > deadline {
            break;
        }
        best =
            Some(Candidate { requests: index + 1, rows, earliest: start, latest: deadline - time });
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Deadline;

    fn queue_of(deadlines_us: &[(u64, u32, u32)]) -> Queue {
        let mut queue = Queue::default();
        for (id, &(deadline, rows, priority)) in deadlines_us.iter().enumerate() {
            let deadline = Deadline(Instant::from_nanos(deadline * 1000));
            let id = RequestId(id as u64);
            queue.push(Request { id, rows, priority, arrived: Instant::ZERO, deadline });
        }
        queue
    }

    proptest! {
        #[test]
        fn every_policy_keeps_the_contract_and_its_promises(
            waiting in prop::collection::vec((0_u64..40_000, 1_u32..4, 1_u32..3), 1..40),
            batch_max in 1_u32..16, fixed in 1_u64..2000, per_item in 1_u64..1000,
            start in 0_u64..30_000, delay in 0_u64..5000,
        ) {
            let profile = LatencyProfile::linear(Duration::from_micros(fixed), Duration::from_micros(per_item), 32);
            let start = Instant::from_nanos(start * 1000);
            let settings = PolicySettings { batch_max, preferred: vec![2, 4], delay: Duration::from_micros(delay) };
            for entry in &ALL {
                let mut queue = queue_of(&waiting);
                let mut policy = (entry.build)(&settings);
                let view = View { queue: &queue, profile: &profile, now: start, start, executors: 1, idle: 1, rivals: 0, load: Load::default() };
                let mut drop = Vec::new();
                let candidate = policy.plan(&view, &mut drop);
                for id in &drop {
                    let dropped = queue.remove(*id).expect("only waiting requests are dropped");
                    let hopeless = start + profile.time(dropped.rows) > dropped.deadline.0;
                    prop_assert!(hopeless || !entry.promises.drops_only_hopeless, "{}", entry.name);
                }
                prop_assert!(candidate.is_some() || queue.is_empty(), "{} makes no progress", entry.name);
                let Some(candidate) = candidate else { continue };
                let taken: Vec<_> = queue.iter().take(candidate.requests).collect();
                prop_assert_eq!(taken.len(), candidate.requests);
                prop_assert_eq!(taken.iter().map(|request| request.rows).sum::<u32>(), candidate.rows);
                prop_assert!(candidate.rows <= batch_max || candidate.requests == 1);
                prop_assert!(candidate.earliest >= start && candidate.latest >= candidate.earliest);
                if entry.promises.in_time {
                    let end = candidate.latest + profile.time(candidate.rows);
                    prop_assert!(taken.iter().all(|request| end <= request.deadline.0), "{}", entry.name);
                }
            }
        }
    }

    #[test]
    fn an_unknown_policy_is_refused_with_the_known_names() {
        let text = by_name("clockwork").map(|entry| entry.name).unwrap_err().to_string();
        assert_eq!(
            text,
            "unknown batching policy \"clockwork\"; known are: window, deadline, timeout"
        );
    }
}
