//! Latencies of any number of answers in bounded memory: exact while few, then in a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;

/// So many are kept one by one; more are counted in bins of 0.1 % width.
const EXACT_MAX: usize = 1 << 14;

/// Times from arrival to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    kept: Kept,
}

#[derive(Clone, Debug, PartialEq)]
enum Kept {
    /// In nanoseconds.
    Exact(Vec<u64>),
    Binned(Histogram<u32>),
}

impl Default for Latencies {
    fn default() -> Self {
        Self { kept: Kept::Exact(Vec::new()) }
    }
}

impl Latencies {
    /// Counts an answer.
    pub fn push(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        match &mut self.kept {
            Kept::Exact(all) if all.len() < EXACT_MAX => all.push(nanos),
            Kept::Exact(all) => {
                let mut bins = empty();
                all.iter().for_each(|&nanos| count(&mut bins, nanos));
                count(&mut bins, nanos);
                self.kept = Kept::Binned(bins);
            }
            Kept::Binned(bins) => count(bins, nanos),
        }
    }

    /// Counts all of another collection.
    pub fn add(&mut self, other: &Self) {
        match &other.kept {
            Kept::Exact(all) => {
                all.iter().for_each(|&nanos| self.push(Duration::from_nanos(nanos)));
            }
            Kept::Binned(others) => {
                if let Kept::Exact(all) = &self.kept {
                    let mut bins = empty();
                    all.iter().for_each(|&nanos| count(&mut bins, nanos));
                    self.kept = Kept::Binned(bins);
                }
                if let Kept::Binned(bins) = &mut self.kept {
                    bins.add(others).expect("the histogram resizes itself");
                }
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.kept {
            Kept::Exact(all) => all.len() as u64,
            Kept::Binned(bins) => bins.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The latency that this share of the answers stayed within; zero of none.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        let nanos = match &self.kept {
            Kept::Exact(all) => {
                let mut sorted = all.clone();
                sorted.sort_unstable();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of a length"
                )]
                let rank = (sorted.len() as f64 * share).ceil() as usize;
                sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
            }
            Kept::Binned(bins) => bins.value_at_quantile(share),
        };
        Duration::from_nanos(nanos)
    }
}

fn empty() -> Histogram<u32> {
    Histogram::new(3).expect("three digits are allowed")
}

fn count(bins: &mut Histogram<u32>, nanos: u64) {
    bins.record(nanos).expect("the histogram resizes itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        values.for_each(|value| latencies.push(Duration::from_micros(value)));
        latencies
    }

    #[test]
    fn few_latencies_are_exact_and_many_are_within_a_thousandth() {
        let few = of((1..=100).rev());
        assert_eq!(few.percentile(0.99), Duration::from_micros(99));
        assert_eq!(of(0..0).percentile(0.5), Duration::ZERO);
        let many = of(1..=100_000);
        assert_eq!(many.len(), 100_000);
        for (share, exact) in [(0.5, 50_000e-6), (0.999, 99_900e-6)] {
            let found = many.percentile(share).as_secs_f64();
            assert!((found / exact - 1.0).abs() < 0.002, "{found} for {exact}");
        }
    }

    #[test]
    fn adding_counts_every_latency_once_exact_or_binned() {
        for (first, second) in [(10, 20), (10, 40_000), (40_000, 10), (40_000, 40_000)] {
            let mut sum = of(1..=first);
            sum.add(&of(1..=second));
            assert_eq!(sum.len(), first + second);
        }
    }
}
