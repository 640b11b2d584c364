//! How sure a variant is of an answer.

use crate::whole::whole;

whole! {
    /// How sure a variant is of an answer, as a share of 1, to the billionth: nets that are too sure of themselves are told
    /// apart only far behind the point.
    Confidence: "a share" from 0 to 1.0 in 1e9
}

impl Confidence {
    /// Not at all.
    pub const NONE: Self = Self(0);
    /// Without a doubt.
    pub const FULL: Self = Self(1_000_000_000);
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
