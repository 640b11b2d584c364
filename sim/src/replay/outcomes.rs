//! What became of requests, read off the events and actions of a router, of a server's or a simulated one.

use std::collections::BTreeMap;

use batcher::{Instant, Request, RequestId};
use models::{BatchId, VariantId};
use router::{Action, Event, Router};

use crate::Latencies;

/// What became of the requests of one variant.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) in_time: u64,
    pub(super) refused: u64,
    /// From arrival to the end of the batch.
    pub(super) latencies: Latencies,
    /// Batches and their rows.
    pub(super) batches: (u64, u64),
}

/// Follows a router and counts.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// Requests that arrive before are not counted.
    from: Instant,
    pub(super) models: BTreeMap<VariantId, Outcome>,
    open: BTreeMap<RequestId, VariantId>,
    /// A task's request without its variant; one that gets none is of no variant, and not counted.
    asking: Option<RequestId>,
    held: BTreeMap<BatchId, (VariantId, Vec<Request>)>,
}

impl Outcomes {
    pub(super) fn from(from: Instant) -> Self {
        Self { from, ..Self::default() }
    }

    pub(super) fn event(&mut self, event: &Event, at: Instant) {
        match event {
            Event::RequestArrived { request, variant, .. } if request.arrived >= self.from => {
                self.open.insert(request.id, *variant);
                self.models.entry(*variant).or_default().asked += 1;
            }
            Event::BatchFinished { batch, .. } => self.finished(*batch, at),
            Event::BatchFailed { batch } => drop(self.held.remove(batch)),
            Event::TaskArrived { request, .. } if request.arrived >= self.from => {
                self.asking = Some(request.id);
            }
            Event::RequestArrived { .. }
            | Event::TaskArrived { .. }
            | Event::TaskLoaded { .. }
            | Event::TaskRetired { .. }
            | Event::Feedback { .. }
            | Event::RequestCancelled { .. }
            | Event::VariantLoaded { .. }
            | Event::VariantRetired { .. }
            | Event::ExecutorUp { .. }
            | Event::ExecutorDown { .. }
            | Event::PoliciesChanged { .. }
            | Event::MemoryStated { .. }
            | Event::WeightsLoaded { .. }
            | Event::WeightsFailed { .. }
            | Event::PlacementDecided { .. }
            | Event::MixPlanned { .. }
            | Event::Draining => {}
        }
    }

    /// To be called while `router` still holds what it launched.
    pub(super) fn action(&mut self, action: &Action, router: &Router) {
        match action {
            Action::Launch { batch, variant, .. } => {
                let requests = router.batch(*batch).map(|batch| batch.requests.clone());
                self.held.insert(*batch, (*variant, requests.unwrap_or_default()));
            }
            Action::Withdraw { batch, .. } | Action::Abort { batch, .. } => {
                self.held.remove(batch);
            }
            Action::Choose { id, variant, .. } => {
                if self.asking.take_if(|asking| asking == id).is_some() {
                    self.open.insert(*id, *variant);
                    self.models.entry(*variant).or_default().asked += 1;
                }
            }
            Action::Reply { id, .. } => {
                if let Some(variant) = self.open.remove(id) {
                    self.models.entry(variant).or_default().refused += 1;
                }
            }
            Action::Load { .. } | Action::Evict { .. } | Action::Unload { .. } => {}
        }
    }

    fn finished(&mut self, batch: BatchId, at: Instant) {
        let Some((variant, requests)) = self.held.remove(&batch) else { return };
        let outcome = self.models.entry(variant).or_default();
        if requests.iter().all(|request| request.arrived >= self.from) {
            outcome.batches.0 += 1;
            outcome.batches.1 +=
                requests.iter().map(|request| u64::from(request.rows)).sum::<u64>();
        }
        for request in requests {
            if self.open.remove(&request.id).is_some() {
                outcome.answered += 1;
                outcome.in_time += u64::from(at <= request.deadline.0);
                outcome.latencies.push(at.since(request.arrived));
            }
        }
    }
}
