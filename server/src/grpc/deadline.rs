//! When a client wants its answer, as the metadata of a call say it.

use std::time::Duration;

use models::Goals;
use tonic::metadata::MetadataMap;

use crate::goals::{self, Stated};
use crate::infer::InferRequest;
use crate::status::Failure;

/// The earliest of `grpc-timeout` and `x-punctual-deadline-ms`, from the arrival of the call.
///
/// # Errors
/// A value that is not the number it should be.
pub(super) fn of_call(metadata: &MetadataMap) -> Result<Option<Duration>, Failure> {
    Ok(of_client(metadata)?.into_iter().chain(of_request(metadata)?).min())
}

/// `grpc-timeout`: how long the client waits for the whole call, a stream of many requests included.
pub(super) fn of_client(metadata: &MetadataMap) -> Result<Option<Duration>, Failure> {
    number(
        metadata,
        "grpc-timeout",
        "up to eight digits and a unit of H, M, S, m, u or n",
        grpc_timeout,
    )
}

/// `x-punctual-deadline-ms`: how long each request of the call may take.
pub(super) fn of_request(metadata: &MetadataMap) -> Result<Option<Duration>, Failure> {
    number(metadata, "x-punctual-deadline-ms", "a positive number of milliseconds", |text| {
        let milliseconds = text.trim().parse::<f64>().ok().filter(|number| *number > 0.0)?;
        Duration::try_from_secs_f64(milliseconds / 1e3).ok()
    })
}

/// A request with the goals that the metadata of its call state and its parameters do not.
pub(super) fn with_goals(
    mut request: InferRequest,
    metadata: &MetadataMap,
) -> Result<InferRequest, Failure> {
    let mut stated = Goals::default();
    for goal in goals::ALL {
        let Some(value) = metadata.get(goals::header(goal)) else { continue };
        let text = Stated::of_text(value.to_str().unwrap_or("?"));
        let latency = goals::state(&mut stated, goal, &text)?;
        request.timeout = request.timeout.into_iter().chain(latency).min();
    }
    request.goals = goals::first(request.goals, stated);
    Ok(request)
}

fn number(
    metadata: &MetadataMap,
    name: &'static str,
    form: &str,
    parse: impl Fn(&str) -> Option<Duration>,
) -> Result<Option<Duration>, Failure> {
    let Some(value) = metadata.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?");
    parse(text).map(Some).ok_or_else(|| {
        Failure::Invalid(format!(
            "unable to parse the metadata {name}: it must be {form}, got: {text}"
        ))
    })
}

/// The grammar of the gRPC protocol over HTTP/2.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_of_the_metadata_counts() {
        let cases = [
            (&[] as Pairs<'_>, None),
            (&[("grpc-timeout", "25m")], Some(Duration::from_millis(25))),
            (&[("grpc-timeout", "99999999H")], Some(Duration::from_secs(99_999_999 * 3600))),
            (&[("grpc-timeout", "0n")], Some(Duration::ZERO)),
            (&[("x-punctual-deadline-ms", "0.5")], Some(Duration::from_micros(500))),
            (
                &[("grpc-timeout", "1S"), ("x-punctual-deadline-ms", "20")],
                Some(Duration::from_millis(20)),
            ),
            (
                &[("grpc-timeout", "900u"), ("x-punctual-deadline-ms", "20")],
                Some(Duration::from_micros(900)),
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(of_call(&metadata(pairs)), Ok(expected), "{pairs:?}");
        }
    }

    #[test]
    fn deadlines_that_are_no_numbers_are_refused() {
        for text in ["", "5", "m", "123456789m", "-5m", "5 m", "5x", "½m"] {
            assert_eq!(grpc_timeout(text), None, "{text}");
        }
        for text in ["0", "-1", "NaN", "inf", "1e300", "soon"] {
            assert!(of_call(&metadata(&[("x-punctual-deadline-ms", text)])).is_err(), "{text}");
        }
    }

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn metadata(pairs: Pairs<'_>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs {
            metadata.insert(*name, value.parse().unwrap());
        }
        metadata
    }
}
