//! When requests are sent: seeded arrival processes as offsets from the start, in integer nanoseconds.

mod bursts;

use std::str::FromStr;
use std::time::Duration;

use rand::SeedableRng;
use rand_distr::{Distribution, Exp1, Gamma};
use rand_pcg::Pcg64Mcg;

use bursts::Bursts;

use crate::{Error, Rate, parse_duration};

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
    /// A Poisson process whose rate jumps between two levels at random moments: a Markov-modulated one.
    Bursts {
        /// The rate in a burst over that of the calm between bursts.
        times: f64,
        /// The mean length of a burst.
        burst: Duration,
        /// The mean length of a calm.
        calm: Duration,
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
            Self::Bursts { times, burst, calm } => {
                Gaps::Bursts(Bursts::new(times, burst.as_secs_f64(), calm.as_secs_f64(), rate))
            }
        };
        Ok(Offsets { gaps, gap_ns, rng: Pcg64Mcg::seed_from_u64(seed), sent: 0, at_ns: 0.0 })
    }

    /// The send times of a process whose rate changes in time, as [`Self::offsets`]; it ends where the rate ends at zero.
    /// Lengths of bursts are those at the mean rate: a higher one shortens them.
    ///
    /// # Errors
    /// As [`Self::offsets`].
    pub fn along(self, rate: &Rate, seed: u64) -> Result<impl Iterator<Item = u64>, Error> {
        let (even, rate) = (self.offsets(rate.mean(), seed)?, rate.clone());
        Ok(even.map_while(move |at_ns| match &rate {
            Rate::Flat(_) => Some(at_ns),
            Rate::Pieces(_) | Rate::Sine { .. } => {
                let at_ns = rate.when(at_ns as f64 / SECOND_NS) * SECOND_NS;
                at_ns.is_finite().then(|| whole(at_ns))
            }
        }))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of gaps, none below zero; 580 years fit"
)]
fn whole(at_ns: f64) -> u64 {
    at_ns.round() as u64
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
            Some(("bursts", burst)) => bursts(burst).ok_or_else(unknown),
            None | Some(_) => Err(unknown()),
        }
    }
}

fn bursts(text: &str) -> Option<Arrivals> {
    let mut parts = text.split(',').map(str::trim);
    let times: f64 = parts.next()?.parse().ok()?;
    let (burst, calm) = (parse_duration(parts.next()?).ok()?, parse_duration(parts.next()?).ok()?);
    let right = times.is_finite() && times >= 1.0 && parts.next().is_none();
    right.then_some(Arrivals::Bursts { times, burst, calm })
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
    Bursts(Bursts),
}

impl Iterator for Offsets {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.sent += 1;
        let gap: f64 = match &mut self.gaps {
            Gaps::Constant => {
                self.at_ns = self.sent as f64 * self.gap_ns;
                return Some(whole(self.at_ns));
            }
            Gaps::Exponential => Exp1.sample(&mut self.rng),
            Gaps::Gamma(gamma) => gamma.sample(&mut self.rng),
            Gaps::Bursts(bursts) => bursts.gap(&mut self.rng),
        };
        self.at_ns += gap * self.gap_ns;
        Some(whole(self.at_ns))
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
            // By Fischer and Meier-Hellstern, "The MMPP cookbook" (1993): rates 3000 and 300, left at 1/50 ms and 1/85 ms.
            (
                "bursts:10,50ms,85ms".parse().unwrap(),
                bursts_cv([3000.0, 300.0], [20.0, 1000.0 / 85.0]),
            ),
        ];
        for (arrivals, wanted) in cases {
            let rate = if let Arrivals::Bursts { .. } = arrivals { 1300.0 } else { 2000.0 };
            let (mean, cv) = mean_and_cv(&gaps(arrivals, rate, 7));
            assert!(
                (mean * rate / SECOND_NS - 1.0).abs() < 0.03,
                "{arrivals:?}: mean gap {mean} ns"
            );
            assert!((cv / wanted - 1.0).abs() < 0.05, "{arrivals:?}: variation {cv}");
        }
    }

    /// The variation of the gaps of a process that leaves states of those rates at those.
    fn bursts_cv([high, low]: [f64; 2], [leave_high, leave_low]: [f64; 2]) -> f64 {
        let both = leave_high + leave_low;
        let more = 2.0 * (high - low).powi(2) * leave_high * leave_low
            / (both * both * (high * low + low * leave_high + high * leave_low));
        (1.0 + more).sqrt()
    }

    #[test]
    fn arrivals_follow_a_rate_that_changes() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson, Arrivals::Gamma { cv: 0.5 }] {
            let rate: Rate = "1000@10s,4000@10s".parse().unwrap();
            let offsets = arrivals.along(&rate, 3).unwrap();
            let seconds = offsets.take_while(|at| *at < 20_000_000_000);
            let mut counts = [0_u32; 2];
            seconds.for_each(|at| counts[(at / 10_000_000_000) as usize] += 1);
            assert!(counts[0].abs_diff(10_000) < 400, "{arrivals:?}: {counts:?}");
            assert!(counts[1].abs_diff(40_000) < 800, "{arrivals:?}: {counts:?}");
        }
        let ends: Rate = "100..0@10s".parse().unwrap();
        let count = Arrivals::Constant.along(&ends, 1).unwrap().count();
        assert!(count.abs_diff(500) <= 1, "{count}");
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
        assert_eq!(
            "bursts:10,200ms,2s".parse(),
            Ok(Arrivals::Bursts {
                times: 10.0,
                burst: Duration::from_millis(200),
                calm: Duration::from_secs(2)
            })
        );
        for wrong in [
            "bursts:0.5,1s,1s",
            "bursts:2,1s",
            "gamma",
            "gamma:0",
            "gamma:nan",
            "uniform",
            "poisson:1",
        ] {
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
