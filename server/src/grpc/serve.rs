//! Connections: HTTP/2 without TLS, its limits, and the drain.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::server::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

use super::call::{Answering, Arriving, Call};
use super::front::Front;
use super::health::ServiceHealth;
use super::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::{Infer, refusal};
use crate::budget::Budget;
use crate::gather::gathered;
use crate::owed::Owed;
use crate::packed::Packed;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::wire::{LOOKS_OF_MANY, Opening, Patience, Wire, see_through};

/// What a connection must begin with, and the head of the settings that must follow.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

/// Most connections that speak; more wait for a place as long as one may be silent.
const CONNECTIONS_MAX: usize = 4096;
/// Most calls at once on one connection; a client keeps more to itself.
const STREAMS_MAX: u32 = 1024;
/// Bytes a client may send ahead in one call: a tensor of a few MB needs no round trip.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes a client may send ahead in all calls of a connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Larger frames than HTTP/2's 16 KiB: fewer wake-ups for a large tensor.
const FRAME_MAX: u32 = 256 << 10;
/// Bytes of metadata accepted, gRPC's usual 8 KiB and room.
const METADATA_MAX: u32 = 64 << 10;
/// A quiet connection is asked for a sign of life so often, and closed when it gives none within [`PING_TIMEOUT`].
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// After an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const INFERENCE_PATH: &str = "/inference.GRPCInferenceService/";
const STREAM_PATH: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
const INFERENCE_DESCRIPTORS: &[u8] = include_bytes!("../../proto/inference.bin");
const MESSAGE_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What a client may cost, whatever it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest message, decompressed.
    pub message_bytes_max: usize,
    /// How long a message may take to arrive; for the one of a call without a stream, from the call on.
    pub message_timeout: Duration,
    /// How long a connection may take to say that it speaks HTTP/2.
    pub opening_timeout: Duration,
    /// How long a client may take next to nothing of its answers while memory is scarce.
    pub send_timeout: Duration,
    /// Connections that have not said so yet, or wait for a place; the oldest goes for one more.
    pub openings_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest that the protocol's clients send.
            message_bytes_max: i32::MAX as usize,
            message_timeout: Duration::from_secs(60),
            opening_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(60),
            openings_max: 1024,
        }
    }
}

/// Serves gRPC until `shutdown` closes; returns when every call that had arrived is answered. Once `shutdown` has begun,
/// streams end behind the requests that they have read. Messages are held within `budget`, against which
/// answers count.
///
/// # Errors
/// The reflection service cannot be built.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    limits: Limits,
    budget: Arc<Budget>,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let infer = Arc::new(Arc::clone(&service));
    serve_with(listener, (service, infer), limits, budget, shutdown).await
}

/// [`serve`], with inferences run by something else.
///
/// # Errors
/// The reflection service cannot be built.
pub async fn serve_with<I: Infer>(
    listener: TcpListener,
    (service, infer): (Arc<Service>, Arc<I>),
    limits: Limits,
    budget: Arc<Budget>,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let (drain, draining) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let calls = Calls::new((service, infer), (limits, budget), (draining, stopping))?;
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut openings = Openings { waiting: VecDeque::new(), most: limits.openings_max };
    let (mut begun, mut closed) = (pin!(shutdown.begun()), pin!(shutdown.closed()));
    loop {
        let accepted = tokio::select! {
            () = &mut closed => break,
            () = &mut begun, if !*drain.borrow() => {
                drain.send_replace(true);
                continue;
            }
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let opened = Arc::<AtomicBool>::default();
                let place = (Arc::clone(&free), Arc::clone(&opened));
                openings.add(connections.spawn(connection(calls.clone(), stream, place)), opened);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a gRPC connection");
                // Most often there are too many open files.
                openings.drop_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drain.send_replace(true);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Connections that have not yet said what they are, the oldest first. They take no place from those that have.
struct Openings {
    waiting: VecDeque<(AbortHandle, Arc<AtomicBool>)>,
    most: usize,
}

impl Openings {
    /// One more, for which the oldest goes where there are too many: a client that means to speak does so at once.
    fn add(&mut self, connection: AbortHandle, opened: Arc<AtomicBool>) {
        self.waiting.push_back((connection, opened));
        while self.waiting.len() > self.most || self.waiting.front().is_some_and(has_spoken) {
            self.drop_oldest();
        }
    }

    /// Closes the oldest of them, unless it has spoken.
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.waiting.pop_front()
            && !has_spoken(&oldest)
        {
            oldest.0.abort();
        }
    }
}

fn has_spoken((connection, opened): &(AbortHandle, Arc<AtomicBool>)) -> bool {
    connection.is_finished() || opened.load(Ordering::Relaxed)
}

/// Serves one connection until the client leaves, or until its calls are answered once the server stops.
async fn connection<I: Infer>(
    calls: Calls<I>,
    mut stream: TcpStream,
    (free, opened): (Arc<Semaphore>, Arc<AtomicBool>),
) {
    let mut stopping = calls.stopping.clone();
    // Answers are small and wanted at once. Failing to say so costs latency only.
    let _ = stream.set_nodelay(true);
    let open = async {
        let opening = Opening::read(&mut stream, PREFACE, FRAME_HEAD_BYTES).await.ok();
        let opening = opening.filter(|opening| opening.is(PREFACE))?;
        Some((opening, free.acquire_owned().await.ok()?))
    };
    let begun = tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => return,
        begun = tokio::time::timeout(calls.limits.opening_timeout, open) => begun,
    };
    let Ok(Some((opening, _place))) = begun else { return };
    opened.store(true, Ordering::Relaxed);
    let owed = Owed::new(calls.owed.budget());
    let patience =
        Patience { looks_at_end: LOOKS_OF_MANY, send_timeout: calls.limits.send_timeout };
    let calls = Calls { owed: Arc::clone(&owed), ..calls };
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(METADATA_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let wire = Packed::new(Wire { opening, stream, owed: Arc::clone(&owed) });
    let connection = http.serve_connection(TokioIo::new(wire.clone()), calls);
    let connection = see_through(connection, &owed, stopping, patience);
    if let Err(error) = gathered(connection, |cx| wire.end_turn(cx)).await {
        tracing::debug!(%error, "a gRPC connection ended with an error");
    }
}

type InferenceServer<I> = GrpcInferenceServiceServer<Front<I>>;

/// All calls of all services.
struct Calls<I> {
    /// For clients that compress what they send: only those are answered compressed, although all say they could read
    /// it, as compressing small tensors costs more than sending them.
    compressing: InferenceServer<I>,
    plain: InferenceServer<I>,
    /// Health and reflection.
    others: Routes,
    limits: Limits,
    /// What the connection of these calls owes.
    owed: Arc<Owed>,
    stopping: watch::Receiver<bool>,
}

impl<I> Clone for Calls<I> {
    fn clone(&self) -> Self {
        Self {
            compressing: self.compressing.clone(),
            plain: self.plain.clone(),
            others: self.others.clone(),
            limits: self.limits,
            owed: Arc::clone(&self.owed),
            stopping: self.stopping.clone(),
        }
    }
}

impl<I: Infer> Calls<I> {
    fn new(
        (service, infer): (Arc<Service>, Arc<I>),
        (limits, budget): (Limits, Arc<Budget>),
        (draining, stopping): (watch::Receiver<bool>, watch::Receiver<bool>),
    ) -> io::Result<Self> {
        let reflection = || {
            Reflection::configure()
                .register_encoded_file_descriptor_set(INFERENCE_DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let health = ServiceHealth { service: Arc::clone(&service), stopping: stopping.clone() };
        let others = Routes::new(HealthServer::new(health))
            .add_service(reflection().build_v1().map_err(io::Error::other)?)
            .add_service(reflection().build_v1alpha().map_err(io::Error::other)?)
            .prepare();
        let plain = GrpcInferenceServiceServer::new(Front { service, infer, stopping: draining })
            .max_decoding_message_size(limits.message_bytes_max)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate);
        let compressing = plain
            .clone()
            .send_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Deflate);
        let owed = Owed::new(&budget);
        Ok(Self { compressing, plain, others, limits, owed, stopping })
    }
}

impl<I: Infer> hyper::service::Service<Request<Incoming>> for Calls<I> {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        let (inference, stream) = (path.starts_with(INFERENCE_PATH), path == STREAM_PATH);
        let compressed =
            request.headers().get(MESSAGE_ENCODING).is_some_and(|encoding| encoding != "identity");
        let call = Call::new(&self.owed);
        let timeout = self.limits.message_timeout;
        let mut request = request
            .map(|body| Arriving::new(body, Arc::clone(&call), timeout, inference && !stream));
        if !inference {
            let answer = self.others.clone().call(request);
            return Box::pin(
                async move { Ok(answer.await?.map(|body| Answering::new(body, call))) },
            );
        }
        // What a message holds beyond the bytes that arrived is known where it is decoded.
        if compressed || stream {
            request.extensions_mut().insert(Arc::clone(&call));
        }
        let mut server = if compressed { self.compressing.clone() } else { self.plain.clone() };
        let answer = server.call(request);
        Box::pin(async move {
            Ok(refusal::of_size(answer.await?).map(|body| Answering::new(body, call)))
        })
    }
}
