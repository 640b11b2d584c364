//! One call as its connection sees it: the bytes that it holds, the time that its messages take to arrive, and the answer
//! that it is owed once it has arrived.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;

use super::refusal::status;
use crate::budget::Claim;
use crate::owed::{Owed, Promise};
use crate::status::Failure;

/// Before each message: whether it is compressed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

/// A call; its bytes are held until its last owner is gone.
#[derive(Debug)]
pub(super) struct Call {
    owed: Arc<Owed>,
    held: AtomicUsize,
    promise: OnceLock<Promise>,
}

impl Call {
    pub(super) fn new(owed: &Arc<Owed>) -> Arc<Self> {
        Arc::new(Self {
            owed: Arc::clone(owed),
            held: AtomicUsize::new(0),
            promise: OnceLock::new(),
        })
    }

    /// Holds so many bytes more.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Failure> {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.owed.budget().hold(bytes)
    }

    /// All that was asked has arrived.
    fn arrived(&self) {
        self.promise.get_or_init(|| self.owed.promise());
    }

    /// What one message of a stream, of so many bytes when decompressed, holds until it is answered: all that has arrived
    /// since the one before. The beginning of the next message, at most a frame, is counted with it.
    pub(super) fn message(&self, bytes: usize) -> Result<(Claim, Promise), Failure> {
        let held = self.held.swap(0, Ordering::Relaxed);
        let mut claim = Claim::of_held(self.owed.budget(), held);
        claim.grow(bytes.saturating_sub(held))?;
        Ok((claim, self.owed.promise()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.owed.budget().release(*self.held.get_mut());
    }
}

/// The body of a call while it arrives.
#[derive(Debug)]
pub(super) struct Arriving {
    body: Incoming,
    call: Arc<Call>,
    framing: Framing,
    /// The one message that there is must come; else there is time between two.
    single: bool,
    timeout: Duration,
    /// Set while a message is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    pub(super) fn new(body: Incoming, call: Arc<Call>, timeout: Duration, single: bool) -> Self {
        Self { body, call, framing: Framing::default(), single, timeout, timer: None }
    }

    fn late(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(cx).map(|()| {
            let seconds = timeout.as_secs_f64();
            Status::resource_exhausted(format!(
                "the message did not arrive within {seconds} s, which --grpc-message-timeout allows"
            ))
        })
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if let Err(failure) = this.call.hold(data.len()) {
                        return Poll::Ready(Some(Err(status(&failure).into())));
                    }
                    this.framing.feed(data);
                    if !this.framing.is_inside() {
                        this.timer = None;
                    }
                }
                if this.body.is_end_stream() {
                    this.call.arrived();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                this.call.arrived();
                Poll::Ready(None)
            }
            Poll::Pending if this.single || this.framing.is_inside() => {
                this.late(cx).map(|late| Some(Err(late.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where in a message a stream of bytes is.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; PREFIX_BYTES],
    prefix_length: usize,
    left: usize,
}

impl Framing {
    fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(data.len());
                self.left -= taken;
                data = &data[taken..];
                continue;
            }
            let taken = (PREFIX_BYTES - self.prefix_length).min(data.len());
            let (more, rest) = data.split_at(taken);
            self.prefix[self.prefix_length..][..taken].copy_from_slice(more);
            self.prefix_length += taken;
            data = rest;
            if self.prefix_length == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.prefix_length = 0;
            }
        }
    }

    fn is_inside(&self) -> bool {
        self.left > 0 || self.prefix_length > 0
    }
}

/// The body of an answer, which keeps its call until it is sent or dropped.
#[derive(Debug)]
pub(super) struct Answering {
    body: Body,
    call: Arc<Call>,
}

impl Answering {
    pub(super) fn new(body: Body, call: Arc<Call>) -> Self {
        Self { body, call }
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|data| self.call.owed.counted(data)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    #[test]
    fn a_message_is_followed_through_pieces_of_any_size() {
        let messages = [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 0, 1, 9]];
        let bytes = messages.concat();
        let ends = [8, 13, 19];
        for size in 1..=bytes.len() {
            let mut framing = Framing::default();
            for (index, piece) in bytes.chunks(size).enumerate() {
                framing.feed(piece);
                let at = index * size + piece.len();
                assert_eq!(framing.is_inside(), !ends.contains(&at), "{size} {at}");
            }
        }
    }

    #[test]
    fn a_stream_gives_back_what_its_answered_messages_held_and_a_call_the_rest() {
        let budget = Arc::new(Budget::new(100));
        let call = Call::new(&Owed::new(&budget));
        call.hold(40).unwrap();
        let message = call.message(30).unwrap();
        call.hold(50).unwrap();
        assert_eq!(budget.held(), 90);
        // Decompressed, the next is larger than what arrived of it.
        assert_eq!(call.message(70).unwrap_err().grpc(), tonic::Code::ResourceExhausted);
        assert_eq!(budget.held(), 40);
        drop(message);
        call.hold(7).unwrap();
        drop(call);
        assert_eq!(budget.held(), 0);
    }
}
