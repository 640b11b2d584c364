//! Durations as text: a number and a unit, `"25ms"`, `"1.5s"`, `"200us"`.

use std::time::Duration;

use serde::Deserializer;

use crate::text::deserialize_text;

const UNITS: [(&str, f64); 6] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0)];

/// Reads a duration such as `"25ms"`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("expected a duration such as \"25ms\", \"1.5s\" or \"200us\", found {text:?}");
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// For serde's `deserialize_with`.
///
/// # Errors
/// As [`parse_duration`].
pub fn deserialize_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    deserialize_text(deserializer, "a duration as text, such as \"25ms\"", parse_duration)
}

/// For serde's `deserialize_with` of an optional duration.
///
/// # Errors
/// As [`parse_duration`].
pub fn deserialize_duration_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_durations_and_nothing_else_is() {
        let table = [
            ("25ms", 25_000_000),
            ("1.5s", 1_500_000_000),
            ("200us", 200_000),
            ("7 ns", 7),
            ("1min", 60_000_000_000),
        ];
        for (text, nanos) in table {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "25", "ms", "-5ms", "5 parsecs", "1.2.3s", "99999999999999999999999s"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.starts_with("expected a duration such as"), "{error}");
        }
    }
}
