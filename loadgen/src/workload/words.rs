//! A workload in the words of reports.

use super::{Pace, Workload};
use crate::chart::number;
use crate::{Arrivals, Rate};

impl Workload {
    /// How its clients ask, in a few words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let own = self.clients.iter().filter_map(|clients| clients.pace.as_ref());
        let paces: Vec<String> = self.pace.iter().chain(own).map(Pace::in_words).collect();
        paces.join(" + ")
    }

    /// The deadline, if all clients have the same.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<f64> {
        let slo = self.clients.first()?.slo?;
        let same = self.clients.iter().all(|clients| clients.slo == Some(slo));
        same.then_some(slo.latency.as_secs_f64() * 1e3)
    }
}

impl Pace {
    /// In a few words, such as `poisson 500/s` or `8 at a time`.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Open { rate, arrivals } => {
                let mean = number(rate.mean());
                let shape = match rate {
                    Rate::Flat(_) => "",
                    Rate::Pieces(_) => " in steps",
                    Rate::Sine { .. } => " in waves",
                };
                format!("{} {mean}/s{shape}", arrivals.in_words())
            }
            Self::Closed { concurrency, think_time } if think_time.is_zero() => {
                format!("{concurrency} at a time")
            }
            Self::Closed { concurrency, think_time } => {
                format!("{concurrency} at a time, thinking {think_time:?}")
            }
            Self::Recorded(recording) => {
                let mut words = "trace".to_owned();
                for (factor, what) in [(recording.speed, "speed"), (recording.copies, "number")] {
                    if (factor - 1.0).abs() > f64::EPSILON {
                        words += &format!(", {} times its {what}", number(factor));
                    }
                }
                words
            }
        }
    }
}

impl Arrivals {
    fn in_words(self) -> String {
        match self {
            Self::Constant => "constant".to_owned(),
            Self::Poisson => "poisson".to_owned(),
            Self::Gamma { cv } => format!("gamma:{cv}"),
            Self::Bursts { times, burst, calm } => format!("bursts:{times},{burst:?},{calm:?}"),
        }
    }
}
