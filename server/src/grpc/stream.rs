//! The answers of a stream: in the order of its requests, though several are in flight.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use batcher::Instant;
use prost::Message as _;
use tokio_stream::Stream;
use tonic::Status;

use super::call::Call;
use super::encode::{self, Asked};
use super::inference::{ModelInferRequest, ModelStreamInferResponse};
use super::{Infer, decode, refusal};
use crate::budget::Claim;
use crate::clock::Clock;
use crate::owed::Promise;
use crate::status::Failure;

/// Most requests of one stream that are accepted and not yet answered. No more are read until one is: HTTP/2's flow
/// control then stops the client.
pub(super) const IN_FLIGHT_MAX: usize = 64;

/// What holds for all requests of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terms {
    /// When the client gives up on the whole stream, by a clock that began with it.
    pub(super) until: Option<(Clock, Instant)>,
    /// How long each request may take.
    pub(super) each: Option<Duration>,
    /// The first failure ends the stream with its status, instead of being one of the answers.
    pub(super) failure_ends: bool,
}

/// The answers to the requests `R`. Dropping it drops all requests in flight.
pub(super) struct Answers<I, R> {
    infer: Arc<I>,
    terms: Terms,
    /// `None` when no more are to be read.
    requests: Option<R>,
    waiting: VecDeque<Waiting>,
    /// The status after the last answer.
    end: Option<Status>,
    /// The stream's own call, which holds what arrives.
    call: Option<Arc<Call>>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

type Answer = Result<ModelStreamInferResponse, (Asked, Failure)>;

enum Waiting {
    Running(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Done(Answer),
}

impl<I, R> Answers<I, R>
where
    I: Infer,
    R: Stream<Item = Result<ModelInferRequest, Status>> + Unpin,
{
    /// Reads no more requests once `stopped` is ready.
    pub(super) fn new(
        infer: Arc<I>,
        requests: R,
        terms: Terms,
        call: Option<Arc<Call>>,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            infer,
            call,
            terms,
            requests: Some(requests),
            waiting: VecDeque::new(),
            end: None,
            stopped: Box::pin(stopped),
        }
    }

    fn close(&mut self, end: Option<Status>) {
        self.requests = None;
        self.end = end;
    }

    fn read(&mut self, cx: &mut Context<'_>) {
        if self.requests.is_some() && self.stopped.as_mut().poll(cx).is_ready() {
            self.close(Some(Status::unavailable("the server is shutting down")));
        }
        while let Some(requests) =
            self.requests.as_mut().filter(|_| self.waiting.len() < IN_FLIGHT_MAX)
        {
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(request))) => {
                    let held = self.call.as_ref().map(|call| call.message(request.encoded_len()));
                    let answer = answer(Arc::clone(&self.infer), request, held, self.terms);
                    self.waiting.push_back(Waiting::Running(Box::pin(answer)));
                }
                Poll::Ready(Some(Err(status))) => self.close(Some(refusal::too_large(status))),
                Poll::Ready(None) => self.close(None),
            }
        }
    }

    /// Polls what is in flight, which is little: a request in flight waits for one message.
    fn progress(&mut self, cx: &mut Context<'_>) {
        for waiting in &mut self.waiting {
            if let Waiting::Running(future) = waiting
                && let Poll::Ready(answer) = future.as_mut().poll(cx)
            {
                *waiting = Waiting::Done(answer);
            }
        }
    }

    /// The next answer, if the oldest request has one.
    fn pop(&mut self) -> Option<Answer> {
        match self.waiting.pop_front()? {
            Waiting::Done(answer) => Some(answer),
            running @ Waiting::Running(_) => {
                self.waiting.push_front(running);
                None
            }
        }
    }
}

impl<I, R> Stream for Answers<I, R>
where
    I: Infer,
    R: Stream<Item = Result<ModelInferRequest, Status>> + Unpin,
{
    type Item = Result<ModelStreamInferResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut answer = this.pop();
        if answer.is_none() {
            this.read(cx);
            this.progress(cx);
            answer = this.pop();
        }
        match answer {
            Some(Ok(response)) => Poll::Ready(Some(Ok(response))),
            Some(Err((_, failure))) if this.terms.failure_ends => {
                this.close(None);
                this.waiting.clear();
                Poll::Ready(Some(Err(refusal::status(&failure))))
            }
            Some(Err((asked, failure))) => {
                Poll::Ready(Some(Ok(encode::streamed_error(asked, &failure))))
            }
            None if this.requests.is_none() && this.waiting.is_empty() => {
                Poll::Ready(this.end.take().map(Err))
            }
            None => Poll::Pending,
        }
    }
}

/// What a message holds until it is answered, if it is a call's.
type Held = Option<Result<(Claim, Promise), Failure>>;

async fn answer<I: Infer>(
    infer: Arc<I>,
    request: ModelInferRequest,
    held: Held,
    terms: Terms,
) -> Answer {
    let asked = Asked {
        model: request.model_name.clone(),
        version: request.model_version.clone(),
        id: request.id.clone(),
    };
    let remaining = terms.until.map(|(clock, until)| clock.until(until));
    let deadline = remaining.into_iter().chain(terms.each).min();
    let answered = match held.transpose() {
        Ok(_held) => match decode::decode(request, deadline) {
            Ok(request) => infer.infer(request).await,
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    answered.map(encode::streamed).map_err(|failure| (asked, failure))
}
