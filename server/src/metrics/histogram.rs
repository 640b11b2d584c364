//! Durations in fixed buckets that many threads add to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use metrics::HistogramFn;

/// Upper bounds in microseconds, 1-2-5 from the overhead of a tiny model to a client's patience. They hold the bounds
/// of Triton's `nv_inference_first_response_histogram_ms`, so that one histogram gives both views.
pub(super) const BOUNDS_US: [u64; 19] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

const BOUNDS_NANOS: [u64; BOUNDS_US.len()] = {
    let mut nanos = BOUNDS_US;
    let mut index = 0;
    while index < nanos.len() {
        nanos[index] *= 1_000;
        index += 1;
    }
    nanos
};

/// How many durations fell below each of [`BOUNDS_US`], and their sum. Each number is exact; two of them read together
/// may be one request apart.
#[derive(Debug, Default)]
pub(super) struct DurationHistogram {
    /// One more than there are bounds: the last holds what is above all of them.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    nanos: AtomicU64,
}

impl HistogramFn for DurationHistogram {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "such numbers become the nearest"
    )]
    fn record(&self, seconds: f64) {
        // Exact below 52 days; negative and unknown numbers are zero.
        let nanos = (seconds * 1e9).round() as u64;
        self.buckets[BOUNDS_NANOS.partition_point(|&bound| bound < nanos)].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }
}

impl DurationHistogram {
    /// The sum of all durations.
    pub(super) fn nanos(&self) -> u64 {
        self.nanos.load(Relaxed)
    }

    /// How many were at most that long, by rising bound in microseconds, and how many there were in all.
    pub(super) fn cumulative(&self) -> ([(u64, u64); BOUNDS_US.len()], u64) {
        let mut below = 0;
        let bounds = std::array::from_fn(|index| {
            below += self.buckets[index].load(Relaxed);
            (BOUNDS_US[index], below)
        });
        (bounds, below + self.buckets[BOUNDS_US.len()].load(Relaxed))
    }
}

/// 584 years fit.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_every_bucket_whose_bound_it_does_not_exceed() {
        let histogram = DurationHistogram::default();
        for micros in [0, 10, 11, 500_000, 20_000_000] {
            histogram.record(Duration::from_micros(micros).as_secs_f64());
        }
        let (bounds, count) = histogram.cumulative();
        assert_eq!((bounds[0], bounds[1]), ((10, 2), (20, 3)));
        assert_eq!((bounds[13].1, bounds[14]), (3, (500_000, 4)));
        assert_eq!((bounds[18].1, count), (4, 5));
        assert_eq!(histogram.nanos(), 20_500_021_000);
    }
}
