//! How long requests take beside waiting and running: their way in and out. It is a part of the client's deadline, so
//! the scheduler is given that much less.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Share of a new measurement in the mean and in the deviation, as 1 / 2^4: that of `router::estimate`.
const GAIN_SHIFT: u32 = 4;
/// Deviations above the mean that are allowed for, likewise.
const DEVIATIONS: u64 = 3;
/// At most this part of a deadline is kept back, whatever a busy machine does.
const PART_MAX: u32 = 5;
/// This part is always kept back, for the way that cannot be seen from here: the client's own stack and the network.
/// At twice the capacity, with 14 ms to answer, clients saw 1.5 % of the answers up to 0.5 ms late without it.
const PART_UNSEEN: u32 = 32;
/// And no more than this: a local network's way does not grow with the deadline.
const UNSEEN_MAX: Duration = Duration::from_micros(500);

/// The smoothed mean and deviation of requests' ways. A lost update of two threads at once does no harm.
#[derive(Debug, Default)]
pub struct WayOut {
    mean: AtomicU64,
    deviation: AtomicU64,
}

impl WayOut {
    /// A request took that long beside waiting and running.
    pub fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) >> GAIN_SHIFT;
        let mean = self.mean.load(Ordering::Relaxed);
        let smoothed = mean - (mean >> GAIN_SHIFT) + took;
        self.mean.store(smoothed, Ordering::Relaxed);
        let deviation = self.deviation.load(Ordering::Relaxed);
        let miss = took.abs_diff(mean >> GAIN_SHIFT);
        self.deviation.store(deviation - (deviation >> GAIN_SHIFT) + miss, Ordering::Relaxed);
    }

    /// What to keep back of a deadline that is so far away.
    #[must_use]
    pub fn allowance(&self, within: Duration) -> Duration {
        let mean = self.mean.load(Ordering::Relaxed);
        let expected =
            mean.saturating_add(DEVIATIONS.saturating_mul(self.deviation.load(Ordering::Relaxed)));
        (Duration::from_nanos(expected) + (within / PART_UNSEEN).min(UNSEEN_MAX))
            .min(within / PART_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn a_steady_way_is_allowed_for_and_a_wild_one_at_most_by_a_fifth() {
        let way = WayOut::default();
        assert_eq!(way.allowance(3200 * US), 100 * US);
        for _ in 0..500 {
            way.note(40 * US);
        }
        let allowance = way.allowance(3200 * US);
        assert!(allowance > 139 * US && allowance < 144 * US, "{allowance:?}");
        way.note(Duration::from_secs(1));
        assert_eq!(way.allowance(1000 * US), 200 * US);
    }
}
