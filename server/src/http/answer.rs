//! Responses: their body, JSON ones, and every failure as `{"error": ...}`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::coding::Coding;
use super::decode::HEADER_LENGTH;
use super::encode::Encoded;
use crate::infer::{InferResponse, RequestTiming};
use crate::owed::Promise;
use crate::status::Failure;

/// Microseconds from arrival to the start of the batch.
pub const QUEUE_US: HeaderName = HeaderName::from_static("x-punctual-queue-us");
/// Microseconds of the batch: inputs, run, outputs.
pub const COMPUTE_US: HeaderName = HeaderName::from_static("x-punctual-compute-us");
/// Rows of the batch.
pub const BATCH: HeaderName = HeaderName::from_static("x-punctual-batch");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Answers smaller than this are sent plain even to clients that take compression: it would cost more than it saves.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// A body in memory: one piece, or a head and the slices behind it.
#[derive(Debug, Default)]
pub struct Body {
    first: Bytes,
    rest: std::vec::IntoIter<Bytes>,
    left: usize,
    _promise: Option<Promise>,
}

impl Body {
    fn new(first: Bytes, rest: Vec<Bytes>) -> Self {
        let left = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
        Self { first, rest: rest.into_iter(), left, _promise: None }
    }

    /// The body of an answer that is owed until it is sent or dropped.
    pub(super) fn owed(self, promise: Promise) -> Self {
        let first = promise.counted(self.first);
        let rest: Vec<_> = self.rest.map(|piece| promise.counted(piece)).collect();
        Self { first, rest: rest.into_iter(), left: self.left, _promise: Some(promise) }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::new(bytes.into(), Vec::new())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut next = std::mem::take(&mut self.first);
        while next.is_empty() {
            match self.rest.next() {
                Some(piece) => next = piece,
                None => return Poll::Ready(None),
            }
        }
        self.left -= next.len();
        Poll::Ready(Some(Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// A JSON answer with that status.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text =
        serde_json::to_vec(value).expect("our own answers have string keys, so they are JSON");
    typed(status, JSON, text.into())
}

/// `200` with no body: what `load` and `unload` answer.
#[must_use]
pub fn empty() -> Response<Body> {
    Response::new(Body::default())
}

fn typed(status: StatusCode, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[derive(Serialize)]
struct ErrorText<'a> {
    error: &'a str,
}

/// A failure with its status, its sentence and, for a refusal, its numbers.
#[must_use]
pub fn failure(failure: &Failure) -> Response<Body> {
    let status =
        StatusCode::from_u16(failure.http()).expect("the table of failures holds HTTP statuses");
    match failure {
        Failure::Refused(refusal) | Failure::Crowded(refusal) => {
            let mut response = typed(status, JSON, refusal.to_json().into());
            if let Some(after) = refusal.retry_after {
                // The header knows whole seconds only, and a client must not come back too early.
                let seconds = after.as_nanos().div_ceil(1_000_000_000);
                let seconds = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            response
        }
        Failure::Encoding(error) => {
            let mut response = json(status, &ErrorText { error });
            response
                .headers_mut()
                .insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
            response
        }
        Failure::Method => json(status, &ErrorText { error: &failure.to_string() }),
        Failure::Invalid(error)
        | Failure::NotFound(error)
        | Failure::Unsupported(error)
        | Failure::TooLarge(error)
        | Failure::Unavailable(error)
        | Failure::Cancelled(error)
        | Failure::Internal(error) => json(status, &ErrorText { error }),
    }
}

/// 405, with the methods that the route does have.
#[must_use]
pub fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = failure(&Failure::Method);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The answer to an inference, compressed if the client takes that and it is large enough to pay.
#[must_use]
pub fn inference(
    encoded: Encoded,
    coding: Option<Coding>,
    timing: Option<RequestTiming>,
) -> Response<Body> {
    let Encoded { json_length, head, tensors } = encoded;
    let length = head.len() + tensors.iter().map(Bytes::len).sum::<usize>();
    let coding = coding.filter(|_| length >= COMPRESSED_BYTES_MIN);
    // Compressing into memory cannot fail; if it did, the plain answer is right too.
    let packed = coding.and_then(|coding| {
        Some((coding, coding.compress([&head].into_iter().chain(&tensors)).ok()?))
    });
    let (body, coding) = match packed {
        Some((coding, packed)) => (packed.into(), Some(coding)),
        None => (Body::new(head, tensors), None),
    };
    let mut response =
        typed(StatusCode::OK, if json_length.is_some() { BINARY } else { JSON }, body);
    let headers = response.headers_mut();
    if let Some(length) = json_length {
        headers.insert(HEADER_LENGTH, length.into());
    }
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    if let Some(timing) = timing {
        insert_timing(headers, timing);
    }
    response
}

/// Says who answered a task's request, and whether the answer was kept, each as `x-punctual-*`.
pub fn insert_told(headers: &mut HeaderMap, response: &InferResponse) {
    for (name, value) in response.told() {
        let name = HeaderName::try_from(format!("x-punctual-{}", name.replace('_', "-")));
        // A model's name may hold what a header cannot; the body has it too.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.to_string())) {
            headers.insert(name, value);
        }
    }
}

fn insert_timing(headers: &mut HeaderMap, timing: RequestTiming) {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    headers.insert(QUEUE_US, micros(timing.queue).into());
    headers.insert(COMPUTE_US, micros(timing.input + timing.infer + timing.output).into());
    headers.insert(BATCH, timing.batch.into());
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::status::Refusal;

    async fn text(response: Response<Body>) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec())
            .unwrap()
    }

    #[tokio::test]
    async fn every_failure_has_its_status_and_one_sentence_as_json() {
        let word = || "w".to_owned();
        let cases = [
            (Failure::Invalid(word()), 400),
            (Failure::NotFound(word()), 404),
            (Failure::Unsupported(word()), 501),
            (Failure::TooLarge(word()), 413),
            (Failure::Encoding(word()), 415),
            (Failure::Unavailable(word()), 503),
            (Failure::Cancelled(word()), 400),
            (Failure::Internal(word()), 500),
        ];
        for (case, status) in cases {
            let response = failure(&case);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            assert_eq!(text(response).await, r#"{"error":"w"}"#);
        }
        assert_eq!(text(method_not_allowed("GET")).await, r#"{"error":"Method Not Allowed"}"#);
    }

    #[tokio::test]
    async fn a_refusal_says_why_and_when_to_come_back() {
        let refusal = Refusal {
            error: "too late".into(),
            reason: "deadline_unreachable",
            predicted: Some(Duration::from_micros(7500)),
            deadline: None,
            retry_after: Some(Duration::from_millis(1001)),
        };
        let response = failure(&Failure::Refused(refusal.clone()));
        assert_eq!(
            (response.status().as_u16(), response.headers()[RETRY_AFTER].to_str().unwrap()),
            (503, "2")
        );
        assert_eq!(
            text(response).await,
            r#"{"error":"too late","reason":"deadline_unreachable","predicted_ms":7.5,"deadline_ms":null,"retry_after_ms":1001}"#
        );
        let at =
            |retry_after| failure(&Failure::Refused(Refusal { retry_after, ..refusal.clone() }));
        assert_eq!(at(Some(Duration::ZERO)).headers()[RETRY_AFTER], "1");
        let never = at(None);
        assert_eq!(never.status().as_u16(), 400);
        assert!(!never.headers().contains_key(RETRY_AFTER));
        assert!(text(never).await.ends_with(r#","retry_after_ms":null}"#));
    }

    #[tokio::test]
    async fn a_large_answer_is_compressed_and_the_header_counts_plain_bytes() {
        let encoded = Encoded {
            json_length: Some(2),
            head: Bytes::from_static(b"{}"),
            tensors: vec![Bytes::from(vec![0; 5000])],
        };
        let timing =
            RequestTiming { queue: Duration::from_micros(3), batch: 4, ..Default::default() };
        let response = inference(encoded.clone(), Some(Coding::Deflate), Some(timing));
        assert_eq!(response.headers()[CONTENT_ENCODING], "deflate");
        assert_eq!(response.headers()[HEADER_LENGTH], "2");
        assert_eq!(
            (&response.headers()[QUEUE_US], &response.headers()[BATCH]),
            (&"3".parse().unwrap(), &"4".parse().unwrap())
        );
        let packed = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(Coding::Deflate.decompress(&packed, 6000).unwrap().len(), 5002);
        let plain = inference(encoded, None, None);
        assert_eq!(hyper::body::Body::size_hint(plain.body()).exact(), Some(5002));
        assert_eq!(plain.into_body().collect().await.unwrap().to_bytes().len(), 5002);
    }

    #[test]
    fn a_small_answer_is_sent_plain() {
        let encoded =
            Encoded { json_length: None, head: Bytes::from_static(b"{}"), tensors: Vec::new() };
        let response = inference(encoded, Some(Coding::Gzip), None);
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }
}
