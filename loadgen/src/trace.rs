//! Recorded arrivals of one or several functions, and how they are played: scaled in time and in number.

mod read;

use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Gamma, Poisson};
use rand_pcg::Pcg64Mcg;

use crate::Error;

const SECOND_NS: f64 = 1e9;

/// Recorded arrivals.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Who asked, in the order of the file or of the folder's file names.
    pub functions: Vec<Function>,
}

/// The arrivals of one function (or application) of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name in the trace; empty where the trace has one alone.
    pub name: String,
    /// When it was asked.
    pub recorded: Recorded,
}

/// When a function was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Each arrival, in nanoseconds from the start, never falling.
    Times(Vec<u64>),
    /// Arrivals in each of equal spans from the start.
    Counts {
        /// The length of a span in nanoseconds.
        every_ns: u64,
        /// By span.
        counts: Vec<u64>,
    },
}

/// How arrivals lie within a span of which only their number is known: `"poisson"`, `"even"`, or `"gamma:CV"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Within {
    /// At random: a Poisson process of the span's rate.
    #[default]
    Poisson,
    /// At equal gaps.
    Even,
    /// In clumps: gamma gaps with that coefficient of variation, brought to the span's length.
    Gamma {
        /// Standard deviation over mean.
        cv: u32,
    },
}

impl TryFrom<String> for Within {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let cv = text.strip_prefix("gamma:").and_then(|cv| cv.parse().ok()).filter(|cv| *cv > 0);
        match (text.as_str(), cv) {
            ("poisson", _) => Ok(Self::Poisson),
            ("even", _) => Ok(Self::Even),
            (_, Some(cv)) => Ok(Self::Gamma { cv }),
            (_, None) => Err(format!(
                "unknown arrivals within a span {text:?}: allowed are \"poisson\", \"even\", \"gamma:CV\""
            )),
        }
    }
}

impl Within {
    /// So many instants of a span of that length.
    fn spread(self, count: u64, every_ns: u64, rng: &mut Pcg64Mcg) -> Vec<u64> {
        match self {
            Self::Poisson => (0..count).map(|_| rng.random_range(0..every_ns)).collect(),
            Self::Even => (0..count).map(|position| every_ns * position / count).collect(),
            Self::Gamma { cv } => {
                let shape = f64::from(cv).powi(-2);
                let gaps = Gamma::new(shape, 1.0 / shape).expect("the shape is positive");
                let mut at = 0.0;
                let sums = (0..=count).map(|_| {
                    at += gaps.sample(rng);
                    at
                });
                let sums: Vec<f64> = sums.collect();
                // Turned at random: else all functions would begin their clumps together.
                let turn = rng.random_range(0..every_ns);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of the span"
                )]
                let place = |sum: &f64| {
                    let share = sum / at.max(f64::MIN_POSITIVE);
                    ((share * every_ns as f64) as u64 + turn) % every_ns
                };
                sums.iter().take(sums.len() - 1).map(place).collect()
            }
        }
    }
}

/// How a trace is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replay {
    /// Where in the recording the run begins, in nanoseconds.
    pub from_ns: u64,
    /// How long the run is, in nanoseconds.
    pub length_ns: u64,
    /// Recorded seconds a second of the run: 2 is twice as fast, at twice the rate.
    pub speed: f64,
    /// Arrivals for each recorded one.
    pub copies: f64,
    /// How arrivals lie where only their number is known.
    pub within: Within,
}

impl Replay {
    /// All of a recording, as it was.
    pub const PLAIN: Self =
        Self { from_ns: 0, length_ns: u64::MAX, speed: 1.0, copies: 1.0, within: Within::Poisson };
}

impl Trace {
    /// Arrivals that a trace may hold: 100 million, 0.8 GB of times.
    pub const ARRIVALS_MAX: u64 = 100_000_000;
    /// Spans that a trace of counts may have: about two years of minutes.
    pub const SPANS_MAX: u64 = 1 << 20;

    /// Reads a trace; what it is, its first line says.
    ///
    /// `seconds` or `t_seconds,...`: a time a line, a second column `model` names the function. `minute,count`,
    /// `second,count` or `minute,model,count` (Azure Functions): counts. `[...]`: JSON gaps in seconds (Orion). Three
    /// numbers and no header (Proteus): milliseconds and two columns that are not used. Blank lines and lines starting
    /// with `#` are passed over.
    ///
    /// # Errors
    /// The first line that is wrong, by number.
    pub fn parse(text: &str) -> Result<Self, Error> {
        read::parse(text)
    }

    /// Reads a trace file, also one packed by gzip, or a folder in which each file is a function.
    ///
    /// # Errors
    /// A file that cannot be read, or its first wrong line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        read::read(path)
    }

    /// Arrivals a second of all functions together, as recorded.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let span = self.functions.iter().map(|function| function.recorded.span_ns()).max();
        let arrivals = self.functions.iter().map(|function| function.recorded.len()).sum::<u64>();
        arrivals as f64 / (span.unwrap_or(0).max(1) as f64 / SECOND_NS)
    }
}

impl Recorded {
    /// How many arrivals there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Times(times) => times.len() as u64,
            Self::Counts { counts, .. } => counts.iter().sum(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From the start to the last arrival, or to the end of the last span.
    #[must_use]
    pub fn span_ns(&self) -> u64 {
        match self {
            Self::Times(times) => times.last().copied().unwrap_or(0),
            Self::Counts { every_ns, counts } => every_ns * counts.len() as u64,
        }
    }

    /// The send times of a run in nanoseconds from its start, never falling, the same for the same seed.
    #[must_use]
    pub fn offsets(&self, replay: &Replay, seed: u64) -> Vec<u64> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut offsets = Vec::new();
        match self {
            Self::Times(times) => {
                let until = replay.recorded(replay.length_ns);
                let from = times.partition_point(|&at| at < replay.from_ns);
                for (index, &at) in times.iter().enumerate().skip(from) {
                    if at >= until {
                        break;
                    }
                    let gap = times.get(index + 1).map_or(0, |next| next - at);
                    for copy in 0..replay.copies_of(1, &mut rng) {
                        // Further copies lie at random in the gap that follows: bursts stay bursts.
                        let shift = if copy > 0 && gap > 0 { rng.random_range(0..gap) } else { 0 };
                        offsets.push(replay.played(at + shift));
                    }
                }
            }
            Self::Counts { every_ns, counts } => {
                let skip = usize::try_from(replay.from_ns / every_ns).unwrap_or(usize::MAX);
                for (index, &count) in (0_u64..).zip(counts).skip(skip) {
                    let start = index * every_ns;
                    if start >= replay.recorded(replay.length_ns) {
                        break;
                    }
                    let drawn = replay.copies_of(count, &mut rng);
                    let spread = replay.within.spread(drawn, *every_ns, &mut rng);
                    let spread = spread.into_iter().map(|at| start + at);
                    let later = spread.filter(|&at| at >= replay.from_ns);
                    offsets.extend(later.map(|at| replay.played(at)));
                }
            }
        }
        offsets.sort_unstable();
        offsets.truncate(offsets.partition_point(|&at| at < replay.length_ns));
        offsets
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and counts, none below zero"
)]
impl Replay {
    /// The recorded instant of a played one.
    fn recorded(&self, played: u64) -> u64 {
        self.from_ns.saturating_add((played as f64 * self.speed).round() as u64)
    }

    fn played(&self, recorded: u64) -> u64 {
        ((recorded - self.from_ns) as f64 / self.speed).round() as u64
    }

    /// How many arrivals stand for `count` recorded ones: as many on average as `copies` says.
    fn copies_of(&self, count: u64, rng: &mut Pcg64Mcg) -> u64 {
        let mean = count as f64 * self.copies;
        let whole = mean.floor();
        if mean == whole || count <= 1 || self.within == Within::Even {
            return whole as u64 + u64::from(rng.random::<f64>() < mean - whole);
        }
        Poisson::new(mean).map_or(whole as u64, |poisson| poisson.sample(rng) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[u64]) -> Recorded {
        Recorded::Counts { every_ns: 60_000_000_000, counts: counts.to_vec() }
    }

    #[test]
    fn a_plain_replay_gives_the_recorded_times() {
        let times = Recorded::Times(vec![0, 5, 5, 900]);
        assert_eq!(times.offsets(&Replay::PLAIN, 1), [0, 5, 5, 900]);
    }

    #[test]
    fn counts_are_spread_within_their_minute_and_evenly_if_asked() {
        let recorded = counts(&[100, 0, 50]);
        let offsets = recorded.offsets(&Replay::PLAIN, 3);
        assert_eq!(offsets.len(), 150);
        assert!(offsets.is_sorted());
        assert_eq!(offsets.iter().filter(|at| **at < 60_000_000_000).count(), 100);
        assert_eq!(offsets, recorded.offsets(&Replay::PLAIN, 3));
        assert_ne!(offsets, recorded.offsets(&Replay::PLAIN, 4));
        let even = Replay { within: Within::Even, ..Replay::PLAIN };
        assert_eq!(counts(&[3]).offsets(&even, 1), [0, 20_000_000_000, 40_000_000_000]);
    }

    #[test]
    fn gamma_gaps_within_a_span_keep_its_count_and_come_in_clumps() {
        let recorded = counts(&[2000, 1000]);
        let close = |within| {
            let offsets = recorded.offsets(&Replay { within, ..Replay::PLAIN }, 3);
            assert_eq!(offsets.len(), 3000);
            assert_eq!(offsets.partition_point(|at| *at < 60_000_000_000), 2000);
            offsets.windows(2).filter(|pair| pair[1] - pair[0] < 1_000_000).count()
        };
        // Of Poisson gaps of 30 and 60 ms 1 in 40 is below 1 ms.
        assert!(close(Within::Poisson) < 120 && close(Within::Gamma { cv: 4 }) > 1500);
        assert_eq!("gamma:4".to_owned().try_into(), Ok(Within::Gamma { cv: 4 }));
        assert!(Within::try_from("gamma:0".to_owned()).is_err());
    }

    #[test]
    fn a_replay_begins_and_ends_where_asked_and_is_faster_if_asked() {
        let times = Recorded::Times((0..1000).map(|at| at * 10).collect());
        let part = Replay { from_ns: 100, length_ns: 50, ..Replay::PLAIN };
        assert_eq!(times.offsets(&part, 1), [0, 10, 20, 30, 40]);
        let fast = Replay { speed: 2.0, ..part };
        assert_eq!(times.offsets(&fast, 1), [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
    }

    #[test]
    fn copies_multiply_the_number_of_arrivals() {
        let times = Recorded::Times((0..10_000).map(|at| at * 10).collect());
        for recorded in [times, counts(&[5000, 5000])] {
            for copies in [0.25, 1.0, 2.5] {
                let replay = Replay { copies, ..Replay::PLAIN };
                let found = recorded.offsets(&replay, 7).len() as f64;
                assert!((found / (10_000.0 * copies) - 1.0).abs() < 0.05, "{found} at {copies}");
            }
        }
    }
}
