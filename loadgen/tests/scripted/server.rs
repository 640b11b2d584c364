//! A tiny server whose answers a test scripts, request by request.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use prost::Message;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;
pub(crate) type Reply =
    Pin<Box<dyn Future<Output = Result<Response<Body>, std::io::Error>> + Send>>;

/// Serves on a port of its own, on a thread of its own, until the process ends. `script` is given the number of each
/// inference request, from 0; an error closes the connection.
pub(crate) fn serve(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> SocketAddr {
    start(Arc::new(move |number, _| script(number)), None, pending())
}

/// The same until the sender sends; then the listener and all connections are gone at once.
pub(crate) fn serve_until(
    killed: oneshot::Receiver<()>,
    script: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> SocketAddr {
    let killed = async move { drop(killed.await) };
    start(Arc::new(move |number, _| script(number)), None, killed)
}

/// Gives the body of each inference request to `answer`.
pub(crate) fn serve_bodies(
    answer: impl Fn(&Bytes) -> Response<Body> + Send + Sync + 'static,
) -> SocketAddr {
    let script = move |_, body: &Bytes| -> Reply { Box::pin(ready(Ok(answer(body)))) };
    start(Arc::new(script), None, pending())
}

/// Gives the body of each inference request to `script`.
pub(crate) fn serve_requests(
    script: impl Fn(&Bytes) -> Reply + Send + Sync + 'static,
) -> SocketAddr {
    start(Arc::new(move |_, body: &Bytes| script(body)), None, pending())
}

/// Serves over TLS, with a certificate for localhost and 127.0.0.1 of the authority in `tests/tls/ca.pem`.
pub(crate) fn serve_tls(
    protocol: &str,
    script: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../tls/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../tls/key.pem")).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    start(Arc::new(move |number, _| script(number)), Some(Arc::new(config).into()), pending())
}

/// Answers the first bytes of each connection with that text and closes it.
pub(crate) fn serve_text(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(text.as_bytes()));
            drop(stream.shutdown(Shutdown::Write));
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
        }
    });
    address
}

type Script = Arc<dyn Fn(usize, &Bytes) -> Reply + Send + Sync>;

fn start(
    script: Script,
    tls: Option<TlsAcceptor>,
    killed: impl Future<Output = ()> + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::select! {
                () = accept(listener, script, tls) => {}
                () = killed => {}
            }
        });
    });
    address
}

async fn accept(listener: tokio::net::TcpListener, script: Script, tls: Option<TlsAcceptor>) {
    let asked = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (script, asked, tls) = (Arc::clone(&script), Arc::clone(&asked), tls.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
            async move { answer(request, &*script, &asked).await }
        });
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            match tls {
                None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    // A client that does not trust us leaves.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                }
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    script: &(dyn Fn(usize, &Bytes) -> Reply + Send + Sync),
    asked: &AtomicUsize,
) -> Result<Response<Body>, std::io::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    match path.as_str() {
        "/v2" => Ok(status(200, r#"{"name":"scripted"}"#)),
        "/v2/models/m" => {
            Ok(status(200, r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}]}"#))
        }
        "/inference.GRPCInferenceService/ModelMetadata" => Ok(grpc(0, "", metadata())),
        "/v2/models/m/infer" | "/inference.GRPCInferenceService/ModelInfer" => {
            script(asked.fetch_add(1, Ordering::SeqCst), &body).await
        }
        _ => Ok(status(404, r#"{"error":"no such model"}"#)),
    }
}

fn metadata() -> Bytes {
    let input = loadgen::client::InferTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![-1, 4],
    };
    let input = input.encode_to_vec();
    let mut message = vec![0x22, u8::try_from(input.len()).unwrap()];
    message.extend(input);
    message.into()
}

/// An HTTP answer.
pub(crate) fn status(code: u16, body: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(body.as_bytes()))
        .map_err(|never: Infallible| match never {})
        .boxed();
    Response::builder().status(code).body(body).unwrap()
}

/// A gRPC answer.
pub(crate) fn grpc(code: u32, message: &'static str, body: Bytes) -> Response<Body> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    trailers.insert("grpc-message", message.parse().unwrap());
    let body = Full::new(Bytes::from(frame)).with_trailers(ready(Some(Ok(trailers))));
    let body = body.map_err(|never: Infallible| match never {}).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
