//! Receives a request's body within its limits: bytes of this one, bytes of all together, time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::EXPECT;

use super::coding::{self, Coding};
use crate::budget::{Budget, Claim};
use crate::status::Failure;

/// From here on decompressing or parsing a body takes longer than a hop to another thread would.
const OFF_THREAD_BYTES: usize = 256 << 10;

/// How much of a refused body is read and thrown away, so that the client gets to read the refusal.
const DISCARDED_BYTES_MAX: usize = 256 << 20;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A received body, counted against the budget until dropped.
#[derive(Debug)]
pub struct Received {
    /// The body, decompressed.
    pub bytes: Bytes,
    _claim: Claim,
}

/// What one body may cost.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits<'a> {
    /// Bytes, compressed as well as decompressed.
    pub bytes_max: usize,
    /// Time until it has arrived.
    pub timeout: Duration,
    /// What all bodies share.
    pub budget: &'a Arc<Budget>,
}

/// Receives and decompresses the body.
///
/// # Errors
/// Too large, too slow, broken off, damaged, or of an unknown coding.
pub async fn receive<B>(
    headers: &HeaderMap,
    body: B,
    limits: BodyLimits<'_>,
) -> Result<Received, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut claim = Claim::of_held(limits.budget, 0);
    let coding = Coding::of_body(headers)?;
    if body.size_hint().exact().is_some_and(|bytes| bytes > limits.bytes_max as u64) {
        // A client that waits for `100 Continue` must not get it: it reads the refusal instead.
        if !headers.contains_key(EXPECT) {
            discard(body).await;
        }
        return Err(coding::too_large(limits.bytes_max));
    }
    let bytes =
        match tokio::time::timeout(limits.timeout, collect(body, limits.bytes_max, &mut claim))
            .await
        {
            Ok(collected) => collected?,
            Err(_) => {
                let seconds = limits.timeout.as_secs_f64();
                return Err(Failure::Invalid(format!(
                    "the request body did not arrive within {seconds} s"
                )));
            }
        };
    let Some(coding) = coding else { return Ok(Received { bytes, _claim: claim }) };
    let bytes_max = limits.bytes_max;
    let bytes = off_thread(bytes.len(), move || coding.decompress(&bytes, bytes_max)).await?;
    claim.grow(bytes.len())?;
    Ok(Received { bytes, _claim: claim })
}

async fn collect<B>(mut body: B, bytes_max: usize, claim: &mut Claim) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let declared = body.size_hint().exact();
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Failure::Invalid(format!("the request body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + joined.len() + data.len() > bytes_max {
            discard(body).await;
            return Err(coding::too_large(bytes_max));
        }
        claim.grow(data.len())?;
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            let length = declared
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(2 * (first.len() + data.len()));
            joined.reserve(length);
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Reads on for a while, so that the client, still sending, does not lose the answer to a reset.
pub(super) async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let reading = async {
        let mut left = DISCARDED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Past either limit the connection is closed, which is all that is left to do.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

/// Runs `work` on a body of so many bytes where it does not hold up other connections.
///
/// # Errors
/// Those of `work`, and its panic as an internal failure.
pub(super) async fn off_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if bytes < OFF_THREAD_BYTES {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Failure::Internal(format!("reading the request body failed: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::header::CONTENT_ENCODING;

    use super::*;

    fn frames(parts: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames: Vec<_> =
            parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part)))).collect();
        StreamBody::new(tokio_stream::iter(frames))
    }

    async fn receive_parts(
        parts: &[&'static [u8]],
        bytes_max: usize,
        budget: &Arc<Budget>,
    ) -> Result<Received, Failure> {
        let limits = BodyLimits { bytes_max, timeout: Duration::from_secs(60), budget };
        receive(&HeaderMap::new(), frames(parts), limits).await
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let piece: &'static [u8] = b"abc";
        let received = receive_parts(&[piece], 3, &Arc::new(Budget::new(3))).await.unwrap();
        assert_eq!(received.bytes.as_ptr(), piece.as_ptr());
    }

    #[tokio::test]
    async fn pieces_are_joined_and_limited_while_they_arrive() {
        let budget = Arc::new(Budget::new(100));
        assert_eq!(receive_parts(&[b"ab", b"c", b"de"], 5, &budget).await.unwrap().bytes, "abcde");
        assert_eq!(receive_parts(&[b"ab", b"c", b"de"], 4, &budget).await.unwrap_err().http(), 413);
    }

    #[tokio::test]
    async fn all_bodies_together_stay_within_the_budget() {
        let budget = Arc::new(Budget::new(5));
        let held = receive_parts(&[b"abc"], 9, &budget).await.unwrap();
        let refused = receive_parts(&[b"abc"], 9, &budget).await.unwrap_err();
        assert!(
            matches!(&refused, Failure::Crowded(refusal) if refusal.reason == "bodies_full"),
            "{refused:?}"
        );
        assert_eq!((refused.http(), refused.grpc()), (503, tonic::Code::ResourceExhausted));
        drop(held);
        assert!(receive_parts(&[b"abc"], 9, &budget).await.is_ok());
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let budget = Arc::new(Budget::new(5));
        let limits =
            BodyLimits { bytes_max: 5, timeout: Duration::from_millis(1), budget: &budget };
        let never = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let failure = receive(&HeaderMap::new(), never, limits).await.unwrap_err();
        assert_eq!(
            failure,
            Failure::Invalid("the request body did not arrive within 0.001 s".to_owned())
        );
    }

    #[tokio::test]
    async fn what_a_body_grows_to_counts_too() {
        let packed = Coding::Gzip.compress([&Bytes::from(vec![0; 1000])]).unwrap();
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, "gzip".parse().unwrap())]);
        let body = || http_body_util::Full::new(packed.clone());
        let budget = Arc::new(Budget::new(1000));
        let limits =
            BodyLimits { bytes_max: 2000, timeout: Duration::from_secs(1), budget: &budget };
        assert_eq!(receive(&headers, body(), limits).await.unwrap_err().http(), 503);
        let budget = Arc::new(Budget::new(2000));
        let limits = BodyLimits { budget: &budget, ..limits };
        assert_eq!(receive(&headers, body(), limits).await.unwrap().bytes.len(), 1000);
    }
}
