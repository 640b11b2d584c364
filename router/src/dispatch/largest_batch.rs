//! The batch of the most rows goes first; of equal ones that of the earliest latest start.
//!
//! The order of FLEX, the online algorithm of Shepherd (NSDI'23): a free executor runs the largest feasible batch of
//! all models. That FLEX also preempts a run for a batch some three times as large is the batching policy's, `largest`;
//! on executors that run what they began to its end its bound does not hold. Thin queues starve beside thick ones,
//! wherefore Shepherd groups streams of like rates beforehand. Priority levels are ignored, as there.

use batcher::Instant;

use super::{Dispatch, DispatchEntry, Offer, Urgency, latest_start};

pub(super) const ENTRY: DispatchEntry = DispatchEntry {
    name: "largest_batch",
    summary: "the batch of the most rows, whatever its priority level",
    source: "Shepherd (NSDI'23), the order of FLEX",
    build: || Box::new(LargestBatch),
};

struct LargestBatch;

impl Dispatch for LargestBatch {
    fn urgency(&self, offer: &Offer, _now: Instant) -> Urgency {
        (u32::MAX - offer.candidate.rows, latest_start(offer).as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::cases::{at, offer};

    #[test]
    fn more_rows_go_first_and_of_equal_ones_the_earlier_latest_start() {
        let sized = |rows, latest| {
            let mut offer = Offer { priority: rows, ..offer(0) };
            (offer.candidate.rows, offer.candidate.latest) = (rows, at(latest));
            LargestBatch.urgency(&offer, Instant::ZERO)
        };
        assert!(sized(8, 900) < sized(7, 1));
        assert!(sized(8, 1) < sized(8, 2));
    }
}
