//! What a queue learns of its arrivals: how many come, and how soon one follows another.

use crate::{Instant, nanos};

/// Over which time the present rate is averaged: long against a batch, short against a change of load.
const PRESENT_NANOS: f64 = 100e6;
/// Over which time the steady rate is averaged: long against a burst.
const STEADY_NANOS: f64 = 1e9;
/// Gaps between arrivals are counted in classes that double, the first up to 16 us, the last beyond 68 s.
const CLASSES: usize = 24;
const FIRST_BITS: u32 = 14;
/// Nanoseconds that the first lump is believed to stand for.
const FIRST_GAP: f64 = 1e6;
/// The share by which each arrival ages the counts before it.
const AGEING: f32 = 1.0 / 128.0;

/// The share of one gap in the mean gap and the mean of its square: many bursts.
const GAP_GAIN: f64 = 1.0 / 512.0;

/// A rate per nanosecond of something that comes in lumps, averaged over a window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    per_nano: f64,
    first: Option<Instant>,
    last: Instant,
}

impl Rate {
    /// Adds a lump to an average over `window` nanoseconds, or over all there was, if that is less.
    pub fn note(&mut self, amount: f64, window: f64, now: Instant) {
        let first = *self.first.get_or_insert(now);
        let gap = if first == now { FIRST_GAP } else { nanos(now.since(self.last)) };
        let window = window.min(nanos(self.last.since(first)));
        self.per_nano = (self.per_nano * window + amount) / (window + gap).max(FIRST_GAP);
        self.last = now;
    }

    /// How much came in each nanosecond of the last moments.
    #[must_use]
    pub fn per_nano(&self) -> f64 {
        self.per_nano
    }
}

/// Rates and gaps of the rows offered to one queue.
#[derive(Debug, Default)]
pub struct Arrivals {
    present: Rate,
    steady: Rate,
    /// By class of the gap before them, how many arrivals, aged.
    gaps: [f32; CLASSES],
    spread: Spread,
    count: u64,
    last: Instant,
}

/// Smoothed mean and mean square, and the weight of what was averaged in both.
#[derive(Debug, Default)]
struct Spread {
    mean: f64,
    square: f64,
    weight: f64,
}

impl Arrivals {
    /// Rows are offered, admitted or not.
    pub fn note(&mut self, rows: u32, now: Instant) {
        let gap = now.since(self.last);
        if self.present.first.is_some() {
            self.spread.note(nanos(gap));
        }
        let class = (u128::BITS - (gap.as_nanos() >> FIRST_BITS).leading_zeros()) as usize;
        self.gaps.iter_mut().for_each(|count| *count -= AGEING * *count);
        self.gaps[class.min(CLASSES - 1)] += 1.0;
        self.present.note(f64::from(rows), PRESENT_NANOS, now);
        self.steady.note(f64::from(rows), STEADY_NANOS, now);
        self.count += 1;
        self.last = now;
    }

    /// How often rows were offered.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When rows were last offered.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.last
    }

    /// Rows that the last moments brought in each nanosecond.
    #[must_use]
    pub fn per_nano(&self) -> f64 {
        self.present.per_nano
    }

    /// Rows that each nanosecond brought over a time that is long against a burst.
    #[must_use]
    pub fn steady_per_nano(&self) -> f64 {
        self.steady.per_nano
    }

    /// How unevenly they come: the square of the gaps' coefficient of variation, at least 1, as of Poisson arrivals. Of a
    /// renewal process it is the variance of the number that comes in a long time over its mean (Cox, Renewal Theory).
    #[must_use]
    pub fn dispersion(&self) -> f64 {
        let Spread { mean, square, weight } = self.spread;
        (square * weight / (mean * mean) - 1.0).max(1.0)
    }

    /// Rows to count on from `now` until `until`: of the present and the steady rate the lower, so that a burst is not
    /// taken for what is to come.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, never negative"
    )]
    pub fn expected_rows(&self, now: Instant, until: Instant) -> u32 {
        (self.present.per_nano.min(self.steady.per_nano) * nanos(until.since(now))) as u32
    }

    /// Until when waiting for the next arrival pays, if that arrival is worth `saving` nanoseconds and each nanosecond
    /// of waiting costs `price`; `now`, if it does not pay at all.
    ///
    /// The next gap is believed to be drawn from those seen, of which it already outlasts some. The wait that gains
    /// most is taken: under even arrivals the hazard of the next one is flat and waiting pays throughout or not at
    /// all; in a burst it is high at first and falls.
    #[must_use]
    pub fn wait_until(&self, saving: f64, price: f64, now: Instant) -> Instant {
        let elapsed = nanos(now.since(self.last));
        let first = (0..CLASSES).find(|&class| class_end(class) > elapsed).unwrap_or(CLASSES - 1);
        let outlasting: f32 = self.gaps[first..].iter().sum();
        let (mut best, mut until, mut ended) = (0.0, now, 0.0);
        for class in first..CLASSES {
            ended += self.gaps[class];
            let cost = (class_end(class) - elapsed) * price;
            let gain = f64::from(ended / outlasting.max(f32::MIN_POSITIVE)) * saving - cost;
            if gain > best {
                (best, until) =
                    (gain, self.last + std::time::Duration::from_nanos(class_nanos(class)));
            }
        }
        until
    }
}

impl Spread {
    fn note(&mut self, value: f64) {
        self.mean += GAP_GAIN * (value - self.mean);
        self.square += GAP_GAIN * (value * value - self.square);
        self.weight += GAP_GAIN * (1.0 - self.weight);
    }
}

/// Where a class of gaps ends.
fn class_nanos(class: usize) -> u64 {
    1 << (FIRST_BITS as usize + class)
}

#[expect(clippy::cast_precision_loss, reason = "a power of two")]
fn class_end(class: usize) -> f64 {
    class_nanos(class) as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn every(gaps_us: &[u64], times: usize) -> (Arrivals, Instant) {
        let (mut arrivals, mut now) = (Arrivals::default(), Instant::ZERO);
        for &gap in std::iter::repeat_n(gaps_us, times).flatten() {
            now = now + Duration::from_micros(gap);
            arrivals.note(1, now);
        }
        (arrivals, now)
    }

    #[test]
    fn the_rate_follows_the_offers() {
        let (arrivals, now) = every(&[1000], 4000);
        let expected = arrivals.expected_rows(now, now + Duration::from_millis(50));
        assert!(
            (46..=52).contains(&expected),
            "1000 rows/s bring about 50 in 50 ms, not {expected}"
        );
    }

    #[test]
    fn a_burst_is_not_taken_for_the_steady_rate() {
        let (mut arrivals, mut now) = every(&[10_000], 400);
        for _ in 0..50 {
            now = now + Duration::from_micros(10);
            arrivals.note(1, now);
        }
        assert!(arrivals.per_nano() * 1e9 > 400.0);
        let expected = arrivals.expected_rows(now, now + Duration::from_millis(100));
        assert!((10..=15).contains(&expected), "{expected}");
    }

    #[test]
    fn dispersion_is_one_for_even_arrivals_and_grows_with_bursts() {
        assert_eq!(Arrivals::default().dispersion(), 1.0);
        assert_eq!(every(&[1000], 4000).0.dispersion(), 1.0);
        // Of 10 gaps one is long: variance over squared mean is 0.09 (89.9 / 9.09)^2 = 8.8.
        let (bursts, _) = every(&[90_000, 100, 100, 100, 100, 100, 100, 100, 100, 100], 400);
        assert!((8.5..9.1).contains(&bursts.dispersion()), "{}", bursts.dispersion());
    }

    #[test]
    fn waiting_pays_within_a_burst_and_not_beyond_it() {
        // Pairs 20 us apart, every 50 ms: the next of a pair is worth 1 ms.
        let (arrivals, now) = every(&[50_000, 20], 200);
        let wait = |elapsed: u64| {
            let now = now + Duration::from_micros(elapsed);
            arrivals.wait_until(1e6, 1.0, now).since(now)
        };
        let wait_now = wait(0);
        assert!(wait_now > Duration::ZERO && wait_now < Duration::from_micros(100), "{wait_now:?}");
        assert_eq!(wait(200), Duration::ZERO);
        // Even arrivals 50 ms apart are not worth 1 ms.
        let (even, now) = every(&[50_000], 200);
        assert_eq!(even.wait_until(1e6, 1.0, now), now);
    }
}
