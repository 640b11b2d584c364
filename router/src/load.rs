//! How busy the whole house is: smoothed sums over the last moments, for policies that look beyond their own queue.

use std::time::Duration;

use batcher::{Arrivals, Instant, Rate, nanos};

/// Rates are averaged over so long: long against a batch, short against a change of load.
const WINDOW_NANOS: f64 = 100e6;
/// The share of one arrival in the mean share of a lane.
const SHARE_GAIN: f64 = 1.0 / 256.0;
/// Before so many arrivals the rates of lanes say too little of how they are spread: pairs of arrivals are counted.
const ARRIVALS_MIN: u64 = 2048;
/// Until pairs are counted all lanes are believed to be asked alike, as so many pairs of one lane would say.
const PAIRS: f64 = 64.0;
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
    /// Of each start the square of its executor time.
    squares: Rate,
    rows: Rate,
    /// Executor time of what was asked, each row alone.
    alone: Rate,
    /// Mean share of a row's own lane in all rows.
    share: f64,
    arrivals: u64,
    /// Pairs of the first arrivals that were of one lane.
    alike: u64,
    /// Arrivals at the last loss.
    lost_at: Option<u64>,
    /// The share of arrivals of late that were lost.
    losses: f64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            started: Rate::default(),
            squares: Rate::default(),
            rows: Rate::default(),
            alone: Rate::default(),
            share: 1.0,
            arrivals: 0,
            alike: 0,
            lost_at: None,
            losses: 0.0,
        }
    }
}

impl Load {
    /// Rows that take so long alone ask in a lane whose arrivals, these among them, are those.
    pub(crate) fn asked(&mut self, rows: u32, alone: Duration, lane: &Arrivals, now: Instant) {
        self.alone.note(f64::from(rows) * nanos(alone), WINDOW_NANOS, now);
        self.rows.note(f64::from(rows), WINDOW_NANOS, now);
        let share = (lane.per_nano() / self.rows.per_nano()).min(1.0);
        self.share += SHARE_GAIN * (share - self.share);
        self.losses -= LOSS_GAIN * self.losses;
        self.arrivals += 1;
        if self.arrivals < ARRIVALS_MIN {
            self.alike += lane.count() - 1;
        }
    }

    /// A batch of that median time starts.
    pub(crate) fn started(&mut self, time: Duration, now: Instant) {
        self.started.note(nanos(time), WINDOW_NANOS, now);
        self.squares.note(nanos(time) * nanos(time), WINDOW_NANOS, now);
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

    /// The mean run, each counted for as long as it takes.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between the shortest and the longest run"
    )]
    fn run(&self) -> Duration {
        let (squares, all) = (self.squares.per_nano(), self.started.per_nano());
        Duration::from_nanos(if all > 0.0 { (squares / all) as u64 } else { 0 })
    }

    /// What policies may know of it, where there are so many lanes.
    pub(crate) fn view(&self, lanes: usize) -> batcher::Load {
        batcher::Load {
            busy: self.started.per_nano(),
            alone: self.alone.per_nano(),
            run: self.run(),
            queues: self.queues(lanes),
            overloaded: self.losses > OVERLOAD,
            since_loss: self.lost_at.map_or(u64::MAX, |at| self.arrivals - at),
        }
    }

    /// How many equal lanes would be as likely to be asked twice in a row.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
    fn queues(&self, lanes: usize) -> f64 {
        if self.arrivals >= ARRIVALS_MIN {
            return 1.0 / self.share;
        }
        let pairs = self.arrivals as f64 * (self.arrivals as f64 - 1.0) / 2.0;
        (pairs + PAIRS * lanes as f64) / (self.alike as f64 + PAIRS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn four_equal_lanes_count_as_four_and_a_thin_fifth_hardly_counts() {
        let mut load = Load::default();
        let mut lanes: [Arrivals; 5] = Default::default();
        let mut now = Instant::ZERO;
        for arrival in 0..6000 {
            now = now + MS;
            let lane = if arrival % 100 == 0 { 4 } else { arrival % 4 };
            lanes[lane].note(1, now);
            load.asked(1, MS, &lanes[lane], now);
        }
        let queues = load.view(5).queues;
        assert!((3.8..4.4).contains(&queues), "{queues}");
    }

    #[test]
    fn before_rates_tell_anything_pairs_of_arrivals_do_and_before_those_the_number_of_lanes() {
        let mut load = Load::default();
        assert_eq!(load.view(1).queues, 1.0);
        assert_eq!(load.view(100).queues, 100.0);
        // Of 100 lanes four are asked.
        let mut lanes: [Arrivals; 4] = Default::default();
        let mut now = Instant::ZERO;
        for arrival in 0..1000 {
            now = now + MS;
            lanes[arrival % 4].note(1, now);
            load.asked(1, MS, &lanes[arrival % 4], now);
        }
        let queues = load.view(100).queues;
        assert!((3.9..4.3).contains(&queues), "{queues}");
    }

    #[test]
    fn executors_kept_busy_are_the_time_started_over_the_time_passed() {
        let mut load = Load::default();
        let mut now = Instant::ZERO;
        for _ in 0..1000 {
            now = now + 2 * MS;
            load.started(5 * MS, now);
        }
        let busy = load.view(1).busy;
        assert!((2.4..2.6).contains(&busy), "{busy}");
    }

    #[test]
    fn what_is_asked_would_keep_so_many_executors_busy_if_each_row_ran_alone() {
        let (mut load, mut lane) = (Load::default(), Arrivals::default());
        let mut now = Instant::ZERO;
        for _ in 0..1000 {
            now = now + 2 * MS;
            lane.note(3, now);
            load.asked(3, 4 * MS, &lane, now);
        }
        let alone = load.view(1).alone;
        assert!((5.9..6.1).contains(&alone), "{alone}");
    }

    #[test]
    fn the_run_that_a_moment_meets_is_rather_a_long_one() {
        let mut load = Load::default();
        assert_eq!(load.view(1).run, Duration::ZERO);
        let mut now = Instant::ZERO;
        for start in 0..2000 {
            now = now + MS;
            load.started(if start % 2 == 0 { MS } else { 9 * MS }, now);
        }
        let run = load.view(1).run.as_secs_f64() * 1e3;
        assert!((8.1..8.3).contains(&run), "(1 + 81) / (1 + 9) ms: {run}");
    }

    #[test]
    fn requests_are_counted_from_the_last_loss_on() {
        let mut load = Load::default();
        let since = |load: &Load| load.view(1).since_loss;
        assert_eq!(since(&load), u64::MAX);
        load.lost();
        assert_eq!(since(&load), 0);
        let mut lane = Arrivals::default();
        for asked in 1..=3 {
            lane.note(1, Instant::ZERO);
            load.asked(1, MS, &lane, Instant::ZERO);
            assert_eq!(since(&load), asked);
        }
    }
}
