//! Offers for the tests of dispatch policies.

use batcher::{Candidate, Instant};
use models::VariantId;

use super::Offer;

pub(super) fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// A batch of one row without a deadline, of priority 1, that arrived at the beginning.
pub(super) fn offer(variant: u32) -> Offer {
    let candidate =
        Candidate { requests: 1, rows: 1, earliest: Instant::ZERO, latest: Instant::NEVER };
    let variant = VariantId(variant);
    Offer { lane: variant.index(), variant, candidate, priority: 1, arrived: Instant::ZERO }
}
