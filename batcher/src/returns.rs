//! What a queue learns of clients that ask again once they are answered: a closed loop.
//!
//! Of a closed loop nothing is known at the door, but it shows: most rows come soon after a batch has ended, while rows of
//! an open loop come at any time. The distance of the two distributions is Kolmogorov's and Smirnov's: the share of the
//! rows that came within a time after the end, less that time's share of the whole time.

use std::time::Duration;

use crate::{Instant, nanos};

/// Delays after an end are counted in classes that double, the first up to 16 us, the last beyond 8 ms.
const CLASSES: usize = 11;
const FIRST_BITS: u32 = 14;
/// The share by which each end ages what was counted before it.
const AGEING: f32 = 1.0 / 32.0;
/// At that distance from even arrivals a queue is one of a closed loop.
const DISTANCE_MIN: f32 = 0.6;
/// The share of those that come back in the counted time who must have done so within the time they are given.
const BACK: f32 = 0.9;
/// Nothing is known before so many ends.
const ENDS_MIN: f32 = 8.0;

/// When the rows of a queue come, counted from the last end of one of its batches.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    by_delay: [f32; CLASSES],
    ends: f32,
    answered: f32,
    nanos: f32,
    last_end: Instant,
    /// Rows that were answered then.
    last_rows: u32,
    /// Rows since then.
    since: u32,
    habit: Option<Habit>,
}

/// Of the rows that a batch answers such a share comes back within a time after its end.
#[derive(Clone, Copy, Debug)]
struct Habit {
    share: f32,
    within: Duration,
}

impl Returns {
    /// Rows are offered, admitted or not.
    pub(crate) fn note(&mut self, rows: u32, now: Instant) {
        let delay = now.since(self.last_end).as_nanos() >> FIRST_BITS;
        let class = (u128::BITS - delay.leading_zeros()) as usize;
        self.by_delay[class.min(CLASSES - 1)] += weight(rows);
        self.since = self.since.saturating_add(rows);
    }

    /// A batch of so many rows of this queue has ended.
    #[expect(clippy::cast_possible_truncation, reason = "a part in a million of an average")]
    pub(crate) fn end(&mut self, rows: u32, now: Instant) {
        let kept = 1.0 - AGEING;
        self.by_delay.iter_mut().for_each(|rows| *rows *= kept);
        self.ends = kept * (self.ends + 1.0);
        self.nanos = kept * (self.nanos + nanos(now.since(self.last_end)) as f32);
        self.answered = kept * (self.answered + weight(rows));
        (self.last_end, self.last_rows, self.since) = (now, rows, 0);
        self.habit = self.learned();
    }

    fn learned(&self) -> Option<Habit> {
        let all: f32 = self.by_delay.iter().sum();
        if self.ends < ENDS_MIN || all <= 0.0 {
            return None;
        }
        let cycle = self.nanos / self.ends;
        let within = |class: usize| {
            let back: f32 = self.by_delay[..=class].iter().sum();
            (back, back / all - class_end(class).as_secs_f32() * 1e9 / cycle)
        };
        let known = 0..CLASSES - 1;
        let (most, distance) = known.clone().map(within).max_by(|a, b| a.1.total_cmp(&b.1))?;
        if distance < DISTANCE_MIN {
            return None;
        }
        let class = known.into_iter().find(|&class| within(class).0 >= BACK * most)?;
        Some(Habit { share: (most / self.answered).min(1.0), within: class_end(class) })
    }

    /// How many rows are still to come back after the last end, or after the one at `next` if such a batch runs, and until
    /// when; `None` if this is no closed loop, or that time has passed.
    pub(crate) fn returning(&self, now: Instant, next: Option<Instant>) -> Option<(f64, Instant)> {
        let Habit { share, within } = self.habit?;
        let back = f64::from(share) * f64::from(self.last_rows);
        if let Some(next) = next.filter(|&next| next > now) {
            return Some((back, next + within));
        }
        let until = self.last_end + within;
        (until > now).then(|| ((back - f64::from(self.since)).max(0.0), until))
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows of a batch")]
fn weight(rows: u32) -> f32 {
    rows as f32
}

/// Where a class of delays ends.
fn class_end(class: usize) -> Duration {
    Duration::from_nanos(1 << (FIRST_BITS as usize + class))
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// Batches that end every 10 ms, and rows that come so many microseconds after the end before.
    fn rounds(delays_us: impl Fn(u32) -> Vec<u32>) -> (Returns, Instant) {
        let (mut returns, mut now) = (Returns::default(), Instant::ZERO);
        for round in 0..100 {
            let delays = delays_us(round);
            let rows = u32::try_from(delays.len()).unwrap();
            returns.end(rows, now);
            delays.into_iter().for_each(|delay| returns.note(1, now + US * delay));
            now = now + US * 10_000;
            if round == 99 {
                returns.end(rows, now);
            }
        }
        (returns, now)
    }

    #[test]
    fn clients_that_ask_again_are_awaited_until_most_are_back() {
        let (mut returns, now) = rounds(|_| vec![300, 350, 400, 900]);
        // The last one comes too late to wait for: beyond 524 us.
        let (rows, until) = returns.returning(now, None).unwrap();
        assert!((3.9..4.1).contains(&rows), "{rows}");
        assert_eq!(until.since(now), US * 1048 + Duration::from_nanos(576));
        returns.note(3, now + US * 350);
        let (rows, _) = returns.returning(now + US * 350, None).unwrap();
        assert!((0.9..1.1).contains(&rows), "{rows}");
        assert!(returns.returning(until, None).is_none());
    }

    #[test]
    fn the_end_of_a_batch_that_still_runs_counts_from_its_start_on() {
        let (returns, now) = rounds(|_| vec![100; 8]);
        let end = now + US * 200;
        let (rows, until) = returns.returning(now, Some(end)).unwrap();
        assert!(rows > 7.9 && until > end, "{rows} {until:?}");
    }

    #[test]
    fn an_open_loop_is_not_awaited() {
        let even = rounds(|_| (0..10).map(|row| row * 1000).collect());
        let (returns, now) = even;
        assert!(returns.returning(now, None).is_none());
        // Bursts of ten, anywhere between two ends.
        let (returns, now) = rounds(|round| vec![(round * 7919) % 9000; 10]);
        assert!(returns.returning(now, None).is_none());
    }

    #[test]
    fn before_a_few_ends_nothing_is_known() {
        let mut returns = Returns::default();
        for round in 0..6 {
            returns.end(1, Instant::ZERO + US * 10_000 * round);
            returns.note(1, Instant::ZERO + US * 10_000 * round);
        }
        assert!(returns.returning(Instant::ZERO + US * 50_001, None).is_none());
    }
}
