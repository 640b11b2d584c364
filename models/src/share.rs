//! A part of 1.

use crate::whole::whole;

whole! {
    /// A part of 1, to the millionth: a chance, or the loss that an answer was.
    Share: "a number" from 0 to 1.0 in 1e6
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
