//! Durations as text: `10s`, `25ms`, `1.5m`.

use std::time::Duration;

/// Reads a duration of a number and one of the units `us`, `ms`, `s`, `m` (or `min`) and `h`.
///
/// # Errors
/// A sentence that says what was given and what is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("'{text}' is not a duration: write a number and us, ms, s, m or h, such as 25ms")
    };
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("25ms"), Ok(Duration::from_millis(25)));
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "10", "s", "10d", "-1s", "0ms", "nans", "1e300s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
