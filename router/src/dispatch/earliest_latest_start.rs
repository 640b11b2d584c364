//! The batch that must start first goes first, within its priority level.
//!
//! The order of Clockwork's strategy queue (OSDI'20). A batch without deadlines is treated as if it had to start
//! within [`PATIENCE`] of its arrival, so that it is not starved by a stream of deadlines.

use std::time::Duration;

use super::{Dispatch, DispatchEntry, Offer};

/// How long a request without a deadline gives way to deadlines: a person's patience with a web page.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) const ENTRY: DispatchEntry = DispatchEntry {
    name: "earliest_latest_start",
    summary: "the batch whose latest start comes first, within its priority level",
    source: "the strategy queue of Clockwork (OSDI'20)",
    build: || Box::new(EarliestLatestStart),
};

struct EarliestLatestStart;

impl Dispatch for EarliestLatestStart {
    fn choose(&mut self, offers: &[Offer]) -> Option<usize> {
        let urgency = |offer: &Offer| {
            let latest = offer.candidate.latest.min(offer.arrived + PATIENCE);
            (offer.priority, latest, offer.lane)
        };
        (0..offers.len()).min_by_key(|&index| urgency(&offers[index]))
    }
}

#[cfg(test)]
mod tests {
    use batcher::{Candidate, Instant};
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
        let table: [(&[Offer], Option<usize>); 4] = [
            (&[], None),
            (&[offer(0, 2, 1, 0), offer(1, 1, 9, 0)], Some(1)),
            (&[offer(0, 1, 9, 0), offer(1, 1, 5, 0)], Some(1)),
            (&[offer(0, 1, 1500, 900), offer(1, 1, never, 100)], Some(1)),
        ];
        for (offers, chosen) in table {
            assert_eq!(EarliestLatestStart.choose(offers), chosen, "{offers:?}");
        }
    }
}
