//! Recorded arrivals, read from CSV text: a time in seconds a line, or a count for each minute.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::Error;

const SECOND_NS: f64 = 1e9;
const MINUTE_NS: u64 = 60_000_000_000;

/// Recorded arrivals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Each arrival, in nanoseconds from the start, never falling. Header of the file: `seconds`.
    Times(Vec<u64>),
    /// Arrivals in each minute from the start; minutes that the file leaves out have none. Header: `minute,count`.
    Counts(Vec<u64>),
}

impl Trace {
    /// Arrivals that a trace may hold: 100 million, 0.8 GB of times.
    pub const ARRIVALS_MAX: u64 = 100_000_000;
    /// Minutes that a trace of counts may span: about two years.
    pub const MINUTES_MAX: u64 = 1 << 20;

    /// Reads a trace. Empty lines and lines starting with `#` are passed over.
    ///
    /// # Errors
    /// The first line that is wrong, by number.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        match lines.next() {
            Some((_, "seconds")) => times(lines),
            Some((_, "minute,count")) => counts(lines),
            Some((line, header)) => Err(wrong(
                line,
                format!("the header is '{header}'; allowed are 'seconds' and 'minute,count'"),
            )),
            None => {
                Err(wrong(1, "the file is empty; the header is 'seconds' or 'minute,count'".into()))
            }
        }
    }

    /// The send times in nanoseconds from the start; where only counts are known, drawn evenly within each minute.
    #[must_use]
    pub fn offsets(&self, seed: u64) -> Vec<u64> {
        match self {
            Self::Times(times) => times.clone(),
            Self::Counts(counts) => {
                let mut rng = Pcg64Mcg::seed_from_u64(seed);
                let mut offsets = Vec::new();
                for (minute, count) in (0u64..).zip(counts) {
                    let from = offsets.len();
                    offsets.extend(
                        (0..*count).map(|_| minute * MINUTE_NS + rng.random_range(0..MINUTE_NS)),
                    );
                    offsets[from..].sort_unstable();
                }
                offsets
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be within 0 and MINUTES_MAX minutes"
)]
fn times<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Trace, Error> {
    let mut times: Vec<u64> = Vec::new();
    for (line, text) in lines {
        let seconds = text
            .parse::<f64>()
            .map_err(|_| wrong(line, format!("'{text}' is not a number of seconds")))?;
        if !(0.0..(Trace::MINUTES_MAX * 60) as f64).contains(&seconds) {
            return Err(wrong(
                line,
                format!("'{text}' is not between 0 and {} seconds", Trace::MINUTES_MAX * 60),
            ));
        }
        let at = (seconds * SECOND_NS).round() as u64;
        if times.last().is_some_and(|last| *last > at) {
            return Err(wrong(line, format!("{text} is earlier than the line before")));
        }
        if times.len() as u64 == Trace::ARRIVALS_MAX {
            return Err(wrong(line, format!("more than {} arrivals", Trace::ARRIVALS_MAX)));
        }
        times.push(at);
    }
    Ok(Trace::Times(times))
}

fn counts<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Trace, Error> {
    let mut counts: Vec<u64> = Vec::new();
    let mut total = 0;
    for (line, text) in lines {
        let (minute, count) = text
            .split_once(',')
            .and_then(|(minute, count)| {
                Some((minute.trim().parse::<u64>().ok()?, count.trim().parse::<u64>().ok()?))
            })
            .ok_or_else(|| wrong(line, format!("'{text}' is not a minute and a count")))?;
        if minute < counts.len() as u64 {
            return Err(wrong(line, format!("minute {minute} is not after the line before")));
        }
        if minute >= Trace::MINUTES_MAX {
            return Err(wrong(
                line,
                format!("minute {minute} is not below {}", Trace::MINUTES_MAX),
            ));
        }
        total = u64::saturating_add(total, count);
        if total > Trace::ARRIVALS_MAX {
            return Err(wrong(line, format!("more than {} arrivals", Trace::ARRIVALS_MAX)));
        }
        counts.extend((counts.len() as u64..minute).map(|_| 0));
        counts.push(count);
    }
    Ok(Trace::Counts(counts))
}

fn wrong(line: usize, problem: String) -> Error {
    Error::Trace { line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_to_the_nanosecond() {
        let trace = Trace::parse("# from a log\nseconds\n0\n0.000000001\n\n1.5\n").unwrap();
        assert_eq!(trace.offsets(1), [0, 1, 1_500_000_000]);
    }

    #[test]
    fn counts_are_spread_within_their_minute() {
        let trace = Trace::parse("minute,count\n0,100\n2,50\n").unwrap();
        let offsets = trace.offsets(3);
        assert_eq!(offsets.len(), 150);
        assert!(offsets.is_sorted());
        assert_eq!(offsets.iter().filter(|at| **at < MINUTE_NS).count(), 100);
        assert_eq!(
            offsets.iter().filter(|at| **at >= 2 * MINUTE_NS && **at < 3 * MINUTE_NS).count(),
            50
        );
        assert_eq!(offsets, trace.offsets(3));
        assert_ne!(offsets, trace.offsets(4));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let cases = [
            ("", 1),
            ("time\n1", 1),
            ("seconds\n1\nx", 3),
            ("seconds\n2\n1", 3),
            ("seconds\n-1", 2),
            ("seconds\nnan", 2),
            ("minute,count\n1", 2),
            ("minute,count\n1,1\n1,1", 3),
            ("minute,count\n0,99999999999", 2),
            ("minute,count\n99999999999,1", 2),
        ];
        for (text, line) in cases {
            let Err(Error::Trace { line: found, .. }) = Trace::parse(text) else {
                panic!("{text:?} was read")
            };
            assert_eq!(found, line, "{text:?}");
        }
    }
}
