//! A part of 1, to the millionth: whole numbers, so that recordings replay exactly.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of 1: a chance, or the loss that an answer was.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(u32);

const MILLION: f64 = 1e6;

impl TryFrom<f64> for Share {
    type Error = String;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "held to 0 to 1 million"
    )]
    fn try_from(share: f64) -> Result<Self, String> {
        match (0.0..=1.0).contains(&share) {
            true => Ok(Self((share * MILLION).round() as u32)),
            false => Err(format!("expected a number from 0 to 1, found {share}")),
        }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        Self::from(share.0) / MILLION
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_whole_number_of_millionths_and_no_less_than_none_or_more_than_all() {
        let third = Share::try_from(1.0 / 3.0).unwrap();
        assert_eq!(serde_json::to_string(&third).unwrap(), "0.333333");
        assert_eq!(serde_json::from_str::<Share>("0.333333").unwrap(), third);
        for wrong in [-0.1, 1.7, f64::NAN] {
            let text = Share::try_from(wrong).unwrap_err();
            assert_eq!(text, format!("expected a number from 0 to 1, found {wrong}"));
        }
    }
}
