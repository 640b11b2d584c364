//! When requests are sent: seeded arrival processes as offsets from the start, in integer nanoseconds.

use std::str::FromStr;

use rand::SeedableRng;
use rand_distr::{Distribution, Exp1, Gamma};
use rand_pcg::Pcg64Mcg;

use crate::Error;

const SECOND_NS: f64 = 1e9;

/// A kind of arrival process; its rate is given when it is started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Equal gaps.
    Constant,
    /// Exponential gaps: independent clients.
    Poisson,
    /// Gamma gaps with that coefficient of variation: burstier than Poisson above 1, smoother below.
    Gamma {
        /// Standard deviation of the gap over its mean.
        cv: f64,
    },
}

impl Arrivals {
    /// The send times of a process of `rate` requests per second: endless, never falling, the same for the same seed.
    ///
    /// # Errors
    /// A rate or a coefficient of variation that is not a positive number.
    pub fn offsets(self, rate: f64, seed: u64) -> Result<Offsets, Error> {
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Error::Rate(rate.to_string()));
        }
        let gap_ns = SECOND_NS / rate;
        let gaps = match self {
            Self::Constant => Gaps::Constant,
            Self::Poisson => Gaps::Exponential,
            Self::Gamma { cv } => {
                let shape = 1.0 / (cv * cv);
                Gaps::Gamma(
                    Gamma::new(shape, 1.0 / shape)
                        .map_err(|_| Error::Arrivals(format!("gamma:{cv}")))?,
                )
            }
        };
        Ok(Offsets { gaps, gap_ns, rng: Pcg64Mcg::seed_from_u64(seed), sent: 0, at_ns: 0.0 })
    }
}

impl FromStr for Arrivals {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::Arrivals(text.to_owned());
        match text.split_once(':') {
            None if text == "constant" => Ok(Self::Constant),
            None if text == "poisson" => Ok(Self::Poisson),
            Some(("gamma", cv)) => match cv.parse::<f64>() {
                Ok(cv) if cv.is_finite() && cv > 0.0 => Ok(Self::Gamma { cv }),
                Ok(_) | Err(_) => Err(unknown()),
            },
            None | Some(_) => Err(unknown()),
        }
    }
}

/// The send times of a running process, in nanoseconds from the start.
#[derive(Clone, Debug)]
pub struct Offsets {
    gaps: Gaps,
    gap_ns: f64,
    rng: Pcg64Mcg,
    sent: u64,
    at_ns: f64,
}

/// Gaps of mean 1.
#[derive(Clone, Debug)]
enum Gaps {
    Constant,
    Exponential,
    Gamma(Gamma<f64>),
}

impl Iterator for Offsets {
    type Item = u64;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of gaps, none below zero; 580 years fit"
    )]
    fn next(&mut self) -> Option<u64> {
        self.sent += 1;
        let gap: f64 = match &self.gaps {
            Gaps::Constant => {
                self.at_ns = self.sent as f64 * self.gap_ns;
                return Some(self.at_ns.round() as u64);
            }
            Gaps::Exponential => Exp1.sample(&mut self.rng),
            Gaps::Gamma(gamma) => gamma.sample(&mut self.rng),
        };
        self.at_ns += gap * self.gap_ns;
        Some(self.at_ns.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: Arrivals, rate: f64, seed: u64) -> Vec<f64> {
        let offsets: Vec<u64> = arrivals.offsets(rate, seed).unwrap().take(100_001).collect();
        offsets.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect()
    }

    fn mean_and_cv(gaps: &[f64]) -> (f64, f64) {
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_of_the_rate_and_the_asked_variation() {
        let cases = [
            (Arrivals::Poisson, 1.0),
            (Arrivals::Gamma { cv: 0.5 }, 0.5),
            (Arrivals::Gamma { cv: 3.0 }, 3.0),
        ];
        for (arrivals, wanted) in cases {
            let (mean, cv) = mean_and_cv(&gaps(arrivals, 2000.0, 7));
            assert!((mean / 500_000.0 - 1.0).abs() < 0.03, "{arrivals:?}: mean gap {mean} ns");
            assert!((cv / wanted - 1.0).abs() < 0.05, "{arrivals:?}: variation {cv}");
        }
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        let third_gaps = Arrivals::Constant.offsets(3.0, 1).unwrap().nth(2_999_999).unwrap();
        assert!(third_gaps.abs_diff(1_000_000_000_000_000) < 1_000, "{third_gaps}");
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
        assert_eq!(gaps(Arrivals::Poisson, 10.0, 1), gaps(Arrivals::Poisson, 10.0, 1));
        assert_ne!(gaps(Arrivals::Poisson, 10.0, 1), gaps(Arrivals::Poisson, 10.0, 2));
    }

    #[test]
    fn arrivals_are_read_from_their_names() {
        assert_eq!("poisson".parse(), Ok(Arrivals::Poisson));
        assert_eq!("gamma:2.5".parse(), Ok(Arrivals::Gamma { cv: 2.5 }));
        for wrong in ["gamma", "gamma:0", "gamma:nan", "uniform", "poisson:1"] {
            assert_eq!(wrong.parse::<Arrivals>(), Err(Error::Arrivals(wrong.to_owned())));
        }
    }

    #[test]
    fn a_rate_that_is_not_positive_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Arrivals::Poisson.offsets(rate, 1).is_err(), "{rate}");
        }
    }
}
