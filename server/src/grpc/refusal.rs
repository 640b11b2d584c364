//! A [`Failure`] as a gRPC status; refusals by the scheduler with numbers that a client can act on.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use prost::Message;
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::status::{Failure, Refusal};

/// The metadata that holds [`Refusal::to_json`].
pub(super) const METADATA: &str = "x-punctual-refusal";
/// Sentences may quote what the client sent; clients take 8 KiB of metadata in all, where a byte may become three.
const SENTENCE_BYTES_MAX: usize = 1024;
/// Metadata are left out where they would be longer.
const METADATA_BYTES_MAX: usize = 4096;

/// The status of a failure.
pub(super) fn status(failure: &Failure) -> Status {
    let sentence = capped(failure.to_string());
    match failure {
        Failure::Refused(refusal) | Failure::Crowded(refusal) => {
            let mut metadata = MetadataMap::new();
            let json = Some(refusal.to_json()).filter(|json| json.len() <= METADATA_BYTES_MAX);
            if let Some(value) = json.and_then(|json| MetadataValue::try_from(json).ok()) {
                metadata.insert(METADATA, value);
            }
            let details = details(refusal, failure.grpc(), &sentence);
            Status::with_details_and_metadata(failure.grpc(), sentence, details, metadata)
        }
        Failure::Invalid(_)
        | Failure::NotFound(_)
        | Failure::Unsupported(_)
        | Failure::TooLarge(_)
        | Failure::Encoding(_)
        | Failure::Method
        | Failure::Unavailable(_)
        | Failure::Cancelled(_)
        | Failure::Internal(_) => Status::new(failure.grpc(), sentence),
    }
}

/// Tonic says `OUT_OF_RANGE` of a message over the limit; clients know `RESOURCE_EXHAUSTED`. Nothing of ours says
/// `OUT_OF_RANGE`.
pub(super) fn too_large(status: Status) -> Status {
    if status.code() != Code::OutOfRange {
        return status;
    }
    Status::resource_exhausted(format!(
        "the message is larger than --grpc-max-input-size allows: {}",
        status.message()
    ))
}

/// [`too_large`], for a call that tonic has already answered.
pub(super) fn of_size(response: Response<Body>) -> Response<Body> {
    let refused = response.headers().get(Status::GRPC_STATUS).is_some_and(|code| code == "11");
    match response.extensions().get::<Status>() {
        Some(status) if refused => too_large(status.clone()).into_http(),
        Some(_) | None => response,
    }
}

fn capped(mut sentence: String) -> String {
    if sentence.len() > SENTENCE_BYTES_MAX {
        sentence.truncate(sentence.floor_char_boundary(SENTENCE_BYTES_MAX));
        sentence += "...";
    }
    sentence
}

/// `google.rpc.Status`, the form in which gRPC clients read details.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorCause {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// `google.rpc.RetryInfo`: clients with retries wait so long.
#[derive(Clone, PartialEq, Message)]
struct Retry {
    #[prost(message, optional, tag = "1")]
    delay: Option<prost_types::Duration>,
}

fn details(refusal: &Refusal, code: Code, sentence: &str) -> Bytes {
    let milliseconds = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
    let mut metadata = BTreeMap::new();
    for (key, time) in [
        ("predicted_ms", refusal.predicted),
        ("deadline_ms", refusal.deadline),
        ("retry_after_ms", refusal.retry_after),
    ] {
        if let Some(time) = time {
            metadata.insert(key.to_owned(), milliseconds(time));
        }
    }
    let cause = ErrorCause {
        reason: refusal.reason.to_ascii_uppercase(),
        domain: "punctual".to_owned(),
        metadata,
    };
    let mut details = vec![any("ErrorInfo", &cause)];
    if let Some(after) = refusal.retry_after {
        let retry = Retry { delay: prost_types::Duration::try_from(after).ok() };
        details.push(any("RetryInfo", &retry));
    }
    RpcStatus { code: i32::from(code), message: sentence.to_owned(), details }
        .encode_to_vec()
        .into()
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value: message.encode_to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal {
            error: "the queue of 'm' is full".into(),
            reason: "queue_full",
            predicted: Some(Duration::from_micros(31_250)),
            deadline: None,
            retry_after: Some(Duration::from_millis(1500)),
        }
    }

    #[test]
    fn refusals_carry_their_numbers_in_metadata_and_details() {
        let status = status(&Failure::Refused(refusal()));
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "the queue of 'm' is full")
        );
        assert_eq!(status.metadata().get(METADATA).unwrap().to_str().unwrap(), refusal().to_json());

        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!((details.code, details.message.as_str()), (14, "the queue of 'm' is full"));
        let cause = ErrorCause::decode(details.details[0].value.as_slice()).unwrap();
        assert_eq!(
            (cause.reason.as_str(), cause.metadata["predicted_ms"].as_str()),
            ("QUEUE_FULL", "31.250")
        );
        assert!(!cause.metadata.contains_key("deadline_ms"));
        let retry = Retry::decode(details.details[1].value.as_slice()).unwrap();
        assert_eq!(retry.delay, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
    }

    #[test]
    fn sentences_that_quote_long_names_are_cut_at_a_character() {
        let status = status(&Failure::NotFound("ä".repeat(100_000)));
        assert!(
            status.message().len() <= SENTENCE_BYTES_MAX + 3 && status.message().ends_with("ä...")
        );
    }
}
