//! What a queue learns of clients that ask again once they are answered: a closed loop.
//!
//! Of a closed loop nothing is known at the door, but it shows: most rows come soon after a batch has ended, while rows of
//! an open loop come at any time. The distance of the two distributions is Kolmogorov's and Smirnov's: the share of the
//! rows that came within a time after the end, less that time's share of the whole time.

use std::time::Duration;

use crate::{Instant, nanos};

/// Delays after an end are counted in units of 8.2 us, two classes to an octave, the last beyond 8.4 ms.
const CLASSES: usize = 21;
const UNIT_BITS: u32 = 13;
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
    /// From when the time is counted that they are given: from then, or from the first of them if none came in time.
    given_from: Instant,
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
        self.by_delay[class_of(now.since(self.last_end))] += weight(rows);
        if self.since == 0 && self.habit.is_some_and(|habit| now > self.last_end + habit.within) {
            // Whatever held all of them up, they come together.
            self.given_from = now;
        }
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
        (self.last_end, self.last_rows, self.since, self.given_from) = (now, rows, 0, now);
        self.habit = self.learned();
    }

    #[expect(clippy::cast_possible_truncation, reason = "a part in a million of a time")]
    fn learned(&self) -> Option<Habit> {
        let all: f32 = self.by_delay.iter().sum();
        if self.ends < ENDS_MIN || all <= 0.0 {
            return None;
        }
        let cycle = self.nanos / self.ends;
        let mut back = self.by_delay;
        (1..CLASSES).for_each(|class| back[class] += back[class - 1]);
        let distance = |class: usize| back[class] / all - nanos(class_end(class)) as f32 / cycle;
        let mut known = 0..CLASSES - 1;
        let last = known.clone().max_by(|&a, &b| distance(a).total_cmp(&distance(b)))?;
        if distance(last) < DISTANCE_MIN {
            return None;
        }
        let most = back[last];
        let class = known.find(|&class| back[class] >= BACK * most)?;
        Some(Habit { share: (most / self.answered).min(1.0), within: class_end(class) })
    }

    /// How many rows are still to come back after the last end, and until when; where a batch of so many rows is `ending`
    /// at `start`, after that. `None` if this is no closed loop, or that time has passed.
    pub(crate) fn returning(
        &self,
        now: Instant,
        start: Instant,
        ending: u32,
    ) -> Option<(f64, Instant)> {
        let Habit { share, within } = self.habit?;
        if ending > 0 {
            return Some((f64::from(share) * f64::from(ending), start + within));
        }
        let back = f64::from(share) * f64::from(self.last_rows);
        let until = self.given_from + within;
        (until > now).then(|| ((back - f64::from(self.since)).max(0.0), until))
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows of a batch")]
fn weight(rows: u32) -> f32 {
    rows as f32
}

/// The class of a delay.
fn class_of(delay: Duration) -> usize {
    let last = CLASSES - 1;
    let units = usize::try_from(delay.as_nanos() >> UNIT_BITS).unwrap_or(usize::MAX);
    match units.checked_ilog2() {
        None | Some(0) => units,
        Some(octave) => last.min(2 * octave as usize + (units >> (octave - 1) & 1)),
    }
}

/// Where a class of delays ends.
fn class_end(class: usize) -> Duration {
    let units = if class < 2 { class + 1 } else { (3 + class % 2) << (class / 2 - 1) };
    Duration::from_nanos((units as u64) << UNIT_BITS)
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
        let (rows, until) = returns.returning(now, now, 0).unwrap();
        assert!((3.9..4.1).contains(&rows), "{rows}");
        assert_eq!(until.since(now), US * 1048 + Duration::from_nanos(576));
        returns.note(3, now + US * 350);
        let (rows, _) = returns.returning(now + US * 350, now + US * 350, 0).unwrap();
        assert!((0.9..1.1).contains(&rows), "{rows}");
        assert!(returns.returning(until, until, 0).is_none());
    }

    #[test]
    fn of_a_batch_that_still_runs_its_own_rows_are_awaited_from_its_end_on() {
        let (returns, now) = rounds(|_| vec![100; 8]);
        let end = now + US * 200;
        let (rows, until) = returns.returning(now, end, 50).unwrap();
        assert!((49.0..51.0).contains(&rows) && until > end, "{rows} {until:?}");
        // Another queue's batch tells nothing of those who come here.
        let (rows, until) = returns.returning(now, end, 0).unwrap();
        assert!((7.9..8.1).contains(&rows) && until < end, "{rows} {until:?}");
    }

    #[test]
    fn clients_that_were_all_held_up_are_awaited_from_the_first_of_them_on() {
        let (mut returns, now) = rounds(|_| vec![100; 8]);
        let late = now + US * 5000;
        assert!(returns.returning(late, late, 0).is_none());
        returns.note(1, late);
        let (rows, until) = returns.returning(late, late, 0).unwrap();
        assert!((6.9..7.1).contains(&rows) && until > late, "{rows} {until:?}");
        // Where some came in time, the rest had theirs.
        let (mut returns, now) = rounds(|_| vec![100; 8]);
        returns.note(1, now + US * 100);
        returns.note(1, now + US * 5000);
        assert!(returns.returning(now + US * 5000, now + US * 5000, 0).is_none());
    }

    #[test]
    fn classes_of_delays_follow_each_other() {
        for class in 0..CLASSES - 1 {
            let end = class_end(class);
            assert_eq!(class_of(end - Duration::from_nanos(1)), class);
            assert_eq!(class_of(end), class + 1);
        }
        assert_eq!(class_of(Duration::MAX), CLASSES - 1);
    }

    #[test]
    fn an_open_loop_is_not_awaited() {
        let even = rounds(|_| (0..10).map(|row| row * 1000).collect());
        let (returns, now) = even;
        assert!(returns.returning(now, now, 0).is_none());
        // Bursts of ten, anywhere between two ends.
        let (returns, now) = rounds(|round| vec![(round * 7919) % 9000; 10]);
        assert!(returns.returning(now, now, 0).is_none());
    }

    #[test]
    fn before_a_few_ends_nothing_is_known() {
        let mut returns = Returns::default();
        for round in 0..6 {
            returns.end(1, Instant::ZERO + US * 10_000 * round);
            returns.note(1, Instant::ZERO + US * 10_000 * round);
        }
        assert!(
            returns
                .returning(Instant::ZERO + US * 50_001, Instant::ZERO + US * 50_001, 0)
                .is_none()
        );
    }
}
