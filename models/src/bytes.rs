//! Sizes as text: a number and a unit, `"120MiB"`, `"2GiB"`, `"500MB"`.

use serde::Deserializer;

use crate::text::deserialize_text;

const UNITS: [(&str, f64); 9] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

/// Reads a size such as `"120MiB"`, in bytes.
///
/// # Errors
/// A sentence that says what is allowed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("expected a size such as \"120MiB\", \"2GiB\" or \"500MB\", found {text:?}");
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    let bytes = (number * bytes).round();
    // What a signed count of bytes holds; no machine has more.
    if (0.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// For serde's `deserialize_with`.
///
/// # Errors
/// As [`parse_bytes`].
pub fn deserialize_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserialize_text(deserializer, "a size as text, such as \"64MiB\"", parse_bytes)
}

/// For serde's `deserialize_with` of an optional size.
///
/// # Errors
/// As [`parse_bytes`].
pub fn deserialize_bytes_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    deserialize_bytes(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_sizes_and_nothing_else_is() {
        let table = [
            ("0B", 0),
            ("120MiB", 120 << 20),
            ("2 GiB", 2 << 30),
            ("1.5kB", 1500),
            ("500MB", 500_000_000),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "25", "MB", "-5MB", "5 mb", "1.2.3MB", "99999999TiB"] {
            let error = parse_bytes(text).unwrap_err();
            assert!(error.starts_with("expected a size such as"), "{error}");
        }
    }
}
