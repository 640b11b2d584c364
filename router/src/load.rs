//! How busy the whole house is: smoothed sums over the last moments, for policies that look beyond their own queue.

use std::time::Duration;

use batcher::{Instant, Rate, nanos};

/// Rates are averaged over so long: long against a batch, short against a change of load.
const WINDOW_NANOS: f64 = 100e6;
/// The share of one arrival in the mean share of a lane.
const SHARE_GAIN: f64 = 1.0 / 256.0;
/// Before so many arrivals nothing is known of how they are spread.
const ARRIVALS_MIN: u64 = 2048;
/// So many arrivals in a row without a loss are calm: with one loss in a hundred, the most that goodput forgives, such
/// a row never happens.
const CALM: u64 = 4096;
/// The share of one arrival in the share of losses.
const LOSS_GAIN: f64 = 1.0 / 512.0;
/// More losses than that are an overload: well above the hundredth that goodput, as the field counts it, forgives.
const OVERLOAD: f64 = 0.06;
/// The door chooses sooner: who is refused there learns it at once.
const CHOOSY: f64 = 0.02;

/// What the router knows of its load.
#[derive(Debug)]
pub(crate) struct Load {
    /// Executor time of what was started.
    started: Rate,
    rows: Rate,
    /// Mean share of a row's own lane in all rows.
    share: f64,
    arrivals: u64,
    /// Arrivals at the last loss.
    lost_at: Option<u64>,
    /// The share of arrivals of late that were lost.
    losses: f64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            started: Rate::default(),
            rows: Rate::default(),
            share: 1.0,
            arrivals: 0,
            lost_at: None,
            losses: 0.0,
        }
    }
}

impl Load {
    /// Rows ask in a lane that has that arrival rate (rows a nanosecond).
    pub(crate) fn asked(&mut self, rows: u32, lane_rate: f64, now: Instant) {
        self.rows.note(f64::from(rows), WINDOW_NANOS, now);
        let share = (lane_rate / self.rows.per_nano()).min(1.0);
        self.share += SHARE_GAIN * (share - self.share);
        self.losses -= LOSS_GAIN * self.losses;
        self.arrivals += 1;
    }

    /// A batch of that median time starts.
    pub(crate) fn started(&mut self, time: Duration, now: Instant) {
        self.started.note(nanos(time), WINDOW_NANOS, now);
    }

    /// A request was refused for its deadline, or answered late.
    pub(crate) fn lost(&mut self) {
        self.lost_at = Some(self.arrivals);
        self.losses += LOSS_GAIN;
    }

    /// More is asked than can be done: more is lost than goodput forgives, so that the door chooses.
    pub(crate) fn choosy(&self) -> bool {
        self.losses > CHOOSY
    }

    /// What policies may know of it.
    pub(crate) fn view(&self) -> batcher::Load {
        let known = self.arrivals >= ARRIVALS_MIN;
        batcher::Load {
            busy: self.started.per_nano(),
            queues: if known { 1.0 / self.share } else { f64::INFINITY },
            overloaded: self.losses > OVERLOAD,
            calm: self.lost_at.is_none_or(|at| self.arrivals - at > CALM),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn four_equal_lanes_count_as_four_and_a_thin_fifth_hardly_counts() {
        let mut load = Load::default();
        let mut now = Instant::ZERO;
        for arrival in 0..6000 {
            now = now + MS;
            let thin = arrival % 100 == 0;
            load.asked(1, if thin { 10e-9 } else { 247.5e-9 }, now);
        }
        let queues = load.view().queues;
        assert!((3.8..4.4).contains(&queues), "{queues}");
    }

    #[test]
    fn executors_kept_busy_are_the_time_started_over_the_time_passed() {
        let mut load = Load::default();
        let mut now = Instant::ZERO;
        for _ in 0..1000 {
            now = now + 2 * MS;
            load.started(5 * MS, now);
        }
        let busy = load.view().busy;
        assert!((2.4..2.6).contains(&busy), "{busy}");
    }

    #[test]
    fn a_loss_ends_the_calm_until_enough_arrivals_went_well() {
        let mut load = Load::default();
        assert!(load.view().calm);
        load.lost();
        for _ in 0..=CALM {
            assert!(!load.view().calm);
            load.asked(1, 1e-6, Instant::ZERO);
        }
        assert!(load.view().calm);
    }
}
