//! Bounded numbers kept as whole ones, so that they compare, hash and replay exactly.

/// Defines a number from 0 to `$max` that is kept in whole parts, `$parts` to 1. What is outside is refused in words that
/// call it `$what`.
macro_rules! whole {
    ($(#[$doc:meta])* $name:ident: $what:literal from 0 to $max:literal in $parts:literal) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            serde::Serialize,
            serde::Deserialize,
        )]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(u32);

        impl TryFrom<f64> for $name {
            type Error = String;

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "held to the range"
            )]
            fn try_from(number: f64) -> Result<Self, String> {
                match (0.0..=$max).contains(&number) {
                    true => Ok(Self((number * $parts).round() as u32)),
                    false => {
                        Err(format!(concat!("expected ", $what, " from 0 to {}, found {}"), $max, number))
                    }
                }
            }
        }

        impl From<$name> for f64 {
            fn from(number: $name) -> Self {
                Self::from(number.0) / $parts
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f64::from(*self).fmt(f)
            }
        }
    };
}

pub(crate) use whole;
