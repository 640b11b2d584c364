//! Connections: HTTP/2 without TLS, its limits, and the drain.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::server::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

use super::front::Front;
use super::health::ServiceHealth;
use super::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::{Infer, refusal};
use crate::gather::gathered;
use crate::service::Service;

/// Most connections; more wait in the listener's backlog.
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
/// A connection that says nothing for so long after it was made is closed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A quiet connection is asked for a sign of life so often, and closed when it gives none within [`PING_TIMEOUT`].
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// After an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const INFERENCE_PATH: &str = "/inference.GRPCInferenceService/";
const INFERENCE_DESCRIPTORS: &[u8] = include_bytes!("../../proto/inference.bin");
const MESSAGE_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Serves gRPC until `shutdown`, then ends streams, answers what was accepted and returns.
///
/// # Errors
/// The reflection service cannot be built.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let infer = Arc::new(Arc::clone(&service));
    serve_with(listener, service, infer, shutdown).await
}

/// [`serve`], with inferences run by something else.
///
/// # Errors
/// The reflection service cannot be built.
pub async fn serve_with<I: Infer>(
    listener: TcpListener,
    service: Arc<Service>,
    infer: Arc<I>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let calls = Calls::new(service, infer, stopping)?;
    let connections = GracefulShutdown::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &free) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                tokio::spawn(connection(calls.clone(), stream, connections.watcher(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a gRPC connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    connections.shutdown().await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// Serves one connection until the client leaves, or until its calls are answered once the server stops.
async fn connection<I: Infer>(
    calls: Calls<I>,
    stream: TcpStream,
    watcher: Watcher,
    _permit: OwnedSemaphorePermit,
) {
    let mut stopping = calls.stopping.clone();
    let spoke = tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => false,
        readable = tokio::time::timeout(SILENCE_MAX, stream.readable()) => matches!(readable, Ok(Ok(()))),
    };
    if !spoke {
        return;
    }
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(METADATA_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = http.serve_connection(TokioIo::new(stream), calls);
    if let Err(error) = gathered(watcher.watch(connection)).await {
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
    stopping: watch::Receiver<bool>,
}

impl<I> Clone for Calls<I> {
    fn clone(&self) -> Self {
        Self {
            compressing: self.compressing.clone(),
            plain: self.plain.clone(),
            others: self.others.clone(),
            stopping: self.stopping.clone(),
        }
    }
}

impl<I: Infer> Calls<I> {
    fn new(
        service: Arc<Service>,
        infer: Arc<I>,
        stopping: watch::Receiver<bool>,
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
        let message_bytes_max = service.body_bytes_max();
        let plain =
            GrpcInferenceServiceServer::new(Front { service, infer, stopping: stopping.clone() })
                .max_decoding_message_size(message_bytes_max)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Deflate);
        let compressing = plain
            .clone()
            .send_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Deflate);
        Ok(Self { compressing, plain, others, stopping })
    }
}

impl<I: Infer> hyper::service::Service<Request<Incoming>> for Calls<I> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if !request.uri().path().starts_with(INFERENCE_PATH) {
            return Box::pin(self.others.clone().call(request));
        }
        let compressed =
            request.headers().get(MESSAGE_ENCODING).is_some_and(|encoding| encoding != "identity");
        let mut server = if compressed { self.compressing.clone() } else { self.plain.clone() };
        let answer = server.call(request);
        Box::pin(async move { Ok(refusal::of_size(answer.await?)) })
    }
}
