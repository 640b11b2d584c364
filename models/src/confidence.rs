//! How sure a variant is of an answer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How sure a variant is of an answer, as a share of 1, to the billionth: nets that are too sure of themselves are told
/// apart only far behind the point.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "f64", into = "f64")]
pub struct Confidence(u32);

const BILLION: f64 = 1e9;

impl Confidence {
    /// Not at all.
    pub const NONE: Self = Self(0);
    /// Without a doubt.
    pub const FULL: Self = Self(1_000_000_000);
}

impl TryFrom<f64> for Confidence {
    type Error = String;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "held to 0 to 1 billion"
    )]
    fn try_from(share: f64) -> Result<Self, String> {
        match (0.0..=1.0).contains(&share) {
            true => Ok(Self((share * BILLION).round() as u32)),
            false => Err(format!("expected a share from 0 to 1, found {share}")),
        }
    }
}

impl From<Confidence> for f64 {
    fn from(confidence: Confidence) -> Self {
        Self::from(confidence.0) / BILLION
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confidence_is_a_share_of_1_and_reads_as_it_was_written() {
        let sure = Confidence::try_from(0.999_999_25).unwrap();
        assert!(sure < Confidence::FULL && sure > Confidence::NONE);
        let text = serde_json::to_string(&sure).unwrap();
        assert_eq!(serde_json::from_str::<Confidence>(&text).unwrap(), sure);
        for wrong in [1.5, -0.1, f64::NAN] {
            assert!(Confidence::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
