//! A rate that changes in time: steps, ramps and waves, and the clock of a process that follows it.

use std::f64::consts::{PI, TAU};
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Visitor};

use crate::{Error, parse_duration};

/// Half a nanosecond: nearer an instant need not be found.
const INSTANT_S: f64 = 0.5e-9;

/// Requests per second over time.
#[derive(Clone, Debug, PartialEq)]
pub enum Rate {
    /// Always the same.
    Flat(f64),
    /// One after the other; the last one's end holds on.
    Pieces(Vec<Piece>),
    /// Around a mean, beginning there and rising first.
    Sine {
        /// Requests per second on average.
        mean: f64,
        /// How far above and below it goes, at most the mean.
        amplitude: f64,
        /// Seconds from one peak to the next.
        period_s: f64,
    },
}

/// A step or a ramp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// How long it lasts.
    pub length_s: f64,
    /// The rate at its beginning.
    pub from: f64,
    /// The rate at its end; that of its beginning for a step.
    pub to: f64,
}

impl Piece {
    fn requests(&self) -> f64 {
        self.length_s * f64::midpoint(self.from, self.to)
    }

    /// Seconds from its beginning until so many requests.
    fn seconds(&self, requests: f64) -> f64 {
        let slope = (self.to - self.from) / self.length_s;
        // The root of from t + slope t^2 / 2 in the form that does not cancel, and that a step can use too.
        let root = (self.from * self.from + 2.0 * slope * requests).max(0.0).sqrt();
        2.0 * requests / (self.from + root)
    }
}

impl Rate {
    /// Requests per second on average: over all the pieces, or over whole waves.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::Flat(rate) => *rate,
            Self::Pieces(pieces) => {
                let length: f64 = pieces.iter().map(|piece| piece.length_s).sum();
                pieces.iter().map(Piece::requests).sum::<f64>() / length
            }
            Self::Sine { mean, .. } => *mean,
        }
    }

    /// The highest rate that is reached.
    #[must_use]
    pub fn peak(&self) -> f64 {
        match self {
            Self::Flat(rate) => *rate,
            Self::Pieces(pieces) => {
                pieces.iter().map(|piece| piece.from.max(piece.to)).fold(0.0, f64::max)
            }
            Self::Sine { mean, amplitude, .. } => mean + amplitude,
        }
    }

    /// The same course at `factor` times the rate.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        match self {
            Self::Flat(rate) => Self::Flat(rate * factor),
            Self::Pieces(pieces) => {
                let scaled = |piece: &Piece| Piece {
                    from: piece.from * factor,
                    to: piece.to * factor,
                    ..*piece
                };
                Self::Pieces(pieces.iter().map(scaled).collect())
            }
            Self::Sine { mean, amplitude, period_s } => Self::Sine {
                mean: mean * factor,
                amplitude: amplitude * factor,
                period_s: *period_s,
            },
        }
    }

    /// When a process that runs at the mean rate and is at `even_s` seconds is, if it follows this rate instead; infinite
    /// where the rate has ended at zero.
    #[must_use]
    pub(crate) fn when(&self, even_s: f64) -> f64 {
        match self {
            Self::Flat(_) => even_s,
            Self::Pieces(pieces) => {
                let (mut requests, mut start_s) = (even_s * self.mean(), 0.0);
                for piece in pieces {
                    if requests <= piece.requests() {
                        return start_s
                            + if requests > 0.0 { piece.seconds(requests) } else { 0.0 };
                    }
                    requests -= piece.requests();
                    start_s += piece.length_s;
                }
                start_s + requests / pieces.last().map_or(0.0, |last| last.to)
            }
            Self::Sine { mean, amplitude, period_s } => {
                let (mut low, mut high) =
                    ((even_s - amplitude * period_s / (PI * mean)).max(0.0), even_s);
                while high - low > INSTANT_S {
                    let middle = f64::midpoint(low, high);
                    let wave = amplitude * period_s / TAU * (1.0 - (TAU * middle / period_s).cos());
                    if middle + wave / mean < even_s {
                        low = middle;
                    } else {
                        high = middle;
                    }
                    // Neighbouring numbers of a long run may lie farther apart than that.
                    if middle == low && middle == high {
                        break;
                    }
                }
                high
            }
        }
    }

    fn check(self) -> Option<Self> {
        let number = |rate: f64| rate.is_finite() && rate >= 0.0;
        let numbers = match &self {
            Self::Flat(rate) => number(*rate),
            Self::Pieces(pieces) => {
                pieces.iter().all(|piece| number(piece.from) && number(piece.to))
            }
            Self::Sine { mean, amplitude, .. } => number(*amplitude) && amplitude <= mean,
        };
        (numbers && self.mean().is_finite() && self.mean() > 0.0).then_some(self)
    }
}

impl FromStr for Rate {
    type Err = Error;

    /// Reads `500`, `100@10s,500@10s`, `100..1000@30s` or `sine:500,300,60s`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            if let Some(wave) = text.strip_prefix("sine:") {
                let mut parts = wave.split(',').map(str::trim);
                let (mean, amplitude) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
                let period_s = parse_duration(parts.next()?).ok()?.as_secs_f64();
                return parts.next().is_none().then_some(Self::Sine { mean, amplitude, period_s });
            }
            if let Ok(rate) = text.parse() {
                return Some(Self::Flat(rate));
            }
            text.split(',').map(|part| piece(part.trim())).collect::<Option<_>>().map(Self::Pieces)
        };
        read().and_then(Self::check).ok_or_else(|| Error::Rate(format!("'{text}'")))
    }
}

fn piece(text: &str) -> Option<Piece> {
    let (rate, length) = text.split_once('@')?;
    let (from, to) = rate.split_once("..").unwrap_or((rate, rate));
    let length_s = parse_duration(length).ok()?.as_secs_f64();
    Some(Piece { length_s, from: from.parse().ok()?, to: to.parse().ok()? })
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

/// A number, or the text that the command line takes.
struct Text;

impl Visitor<'_> for Text {
    type Value = Rate;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a rate such as 500 or \"100..1000@30s\"")
    }

    fn visit_i64<E: serde::de::Error>(self, rate: i64) -> Result<Rate, E> {
        self.visit_f64(rate as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, rate: f64) -> Result<Rate, E> {
        Rate::Flat(rate).check().ok_or_else(|| E::custom(Error::Rate(rate.to_string())))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_read_from_text() {
        assert_eq!(rate("2.5"), Rate::Flat(2.5));
        let step = |from, to| Piece { length_s: 10.0, from, to };
        assert_eq!(
            rate("100@10s, 200..300@10s"),
            Rate::Pieces(vec![step(100.0, 100.0), step(200.0, 300.0)])
        );
        assert_eq!(
            rate("sine:500,300,1m"),
            Rate::Sine { mean: 500.0, amplitude: 300.0, period_s: 60.0 }
        );
        for wrong in ["", "0", "-1", "nan", "0@1s", "5@", "1..2", "sine:5,6,1s", "sine:5,1", "x"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_clock_of_a_course_gives_its_number_of_requests_at_each_moment() {
        // Requests until t, integrated by hand.
        let cases: [(&str, f64, f64); 6] = [
            ("100@10s,300@10s", 10.0, 1000.0),
            ("100@10s,300@10s", 15.0, 2500.0),
            ("100@10s,300@10s", 30.0, 7000.0),
            ("0..100@10s", 5.0, 125.0),
            ("100..0@10s", 5.0, 375.0),
            ("sine:100,50,8s", 4.0, 400.0 + 50.0 * 8.0 / PI),
        ];
        for (text, at_s, requests) in cases {
            let rate = rate(text);
            let found = rate.when(requests / rate.mean());
            assert!((found - at_s).abs() < 1e-6, "{text}: {found} and not {at_s}");
        }
        assert!(rate("100..0@10s").when(1000.0).is_infinite());
    }
}
