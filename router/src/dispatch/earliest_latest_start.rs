//! The batch that must start first goes first, within its priority level.
//!
//! The order of Clockwork's strategy queue (OSDI'20). A batch without deadlines is treated as if it had to start
//! within `PATIENCE` of its arrival, so that it is not starved by a stream of deadlines.

use batcher::Instant;

use super::{Dispatch, DispatchEntry, Offer, Urgency, latest_start};

pub(super) const ENTRY: DispatchEntry = DispatchEntry {
    name: "earliest_latest_start",
    summary: "the batch whose latest start comes first, within its priority level",
    source: "the strategy queue of Clockwork (OSDI'20)",
    build: || Box::new(EarliestLatestStart),
};

struct EarliestLatestStart;

impl Dispatch for EarliestLatestStart {
    fn urgency(&self, offer: &Offer, _now: Instant) -> Urgency {
        (offer.priority, latest_start(offer).as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use batcher::Candidate;
    use models::VariantId;

    use super::*;

    fn offer(lane: usize, priority: u32, latest_ms: u64, arrived_ms: u64) -> Offer {
        let ms = |ms: u64| Instant::from_nanos(ms.saturating_mul(1_000_000));
        let candidate =
            Candidate { requests: 1, rows: 1, earliest: Instant::ZERO, latest: ms(latest_ms) };
        Offer { lane, variant: VariantId(0), candidate, priority, arrived: ms(arrived_ms) }
    }

    #[test]
    fn priority_comes_before_urgency_and_urgency_before_order() {
        let never = u64::MAX;
        let before = [
            (offer(0, 1, 9, 0), offer(1, 2, 1, 0)),
            (offer(0, 1, 5, 0), offer(1, 1, 9, 0)),
            (offer(0, 1, never, 100), offer(1, 1, 1500, 900)),
        ];
        let urgency = |offer: &Offer| EarliestLatestStart.urgency(offer, Instant::ZERO);
        for (first, second) in before {
            assert!(urgency(&first) < urgency(&second), "{first:?} {second:?}");
        }
    }
}
