//! The seam of the batching policies: one policy, one file, one row in [`ALL`].
//!
//! *Contract* (holds for every policy, tested over [`ALL`]): sizes are legal, a non-empty queue makes progress,
//! a window does not open before the start asked about nor stay shut for ever, and a plan depends only on its arguments
//! and the policy itself.
//! *Promises* are flags in a row, checked only where set, because honest baselines break them.

mod aimd;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod contract;
mod deadline;
mod deferred;
mod early_drop;
mod elastic;
mod fair_slowdown;
mod fixed;
mod largest;
mod mean_completion;
mod prefix;
mod quantile;
mod single;
mod slack_bounded;
mod strategy;
mod timeout;
mod window;

use std::time::Duration;

use models::LatencyProfile;
use serde::{Deserialize, Serialize};

use crate::{Instant, Queue, RequestId};

pub use prefix::prefix_within_deadlines;

/// Decides which waiting requests run together, and when.
pub trait BatchPolicy: Send {
    /// The batch on offer, if a request is left; requests to give up are added to `drop`, which comes empty. The batch is
    /// the first so many requests of the queue once those are gone.
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate>;

    /// Adds to `drop`, which comes empty, who will be given up at `view.start` as far as that is known by now, while no
    /// executor is free: whoever cannot be answered learns it the sooner. Asked where it [`foresees`](Self::foresees).
    fn foresee(&mut self, _view: &View<'_>, _drop: &mut Vec<RequestId>) {}

    /// Whom it will give up is known before an executor is free.
    fn foresees(&self) -> bool {
        false
    }

    /// Whether a run of so many rows, of whichever queue, is worth breaking off for a batch of so many, on an executor that
    /// can do that. What the run takes of this queue counts towards the batch.
    fn preempts(&self, _rows: u32, _running: u32) -> bool {
        false
    }

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
    /// Batches of this queue that run, or follow one that runs.
    pub running: u32,
    /// Other queues in which requests wait.
    pub rivals: u32,
    /// How busy the whole house is.
    pub load: Load,
}

/// How busy the whole house is.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Executors that what was started of late keeps busy.
    pub busy: f64,
    /// Executors that what was asked of late would keep busy if each row ran alone.
    pub alone: f64,
    /// How long the runs take that a random moment meets on the executors: the mean of those of late, each counted for as
    /// long as it takes.
    pub run: Duration,
    /// How many equally busy queues would compete as these do.
    pub queues: f64,
    /// Requests asked since one was refused for its deadline or answered late; [`u64::MAX`] while none was.
    pub since_loss: u64,
    /// More is asked than can be done.
    pub overloaded: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            busy: 0.0,
            alone: f64::INFINITY,
            run: Duration::ZERO,
            queues: f64::INFINITY,
            since_loss: u64::MAX,
            overloaded: false,
        }
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
pub const ALL: [Entry; 15] = [
    window::ENTRY,
    deadline::ENTRY,
    single::ENTRY,
    fixed::ENTRY,
    timeout::ENTRY,
    aimd::ENTRY,
    quantile::ENTRY,
    early_drop::ENTRY,
    strategy::ENTRY,
    largest::ENTRY,
    deferred::ENTRY,
    slack_bounded::ENTRY,
    fair_slowdown::ENTRY,
    mean_completion::ENTRY,
    elastic::ENTRY,
];

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
