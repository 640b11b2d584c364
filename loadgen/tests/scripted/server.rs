//! A tiny server whose answers a test scripts, request by request.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
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

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;
pub(crate) type Reply =
    Pin<Box<dyn Future<Output = Result<Response<Body>, std::io::Error>> + Send>>;

/// Serves on a port of its own, on a thread of its own, until the process ends. `script` is given the number of each
/// inference request, from 0; an error closes the connection.
pub(crate) fn serve(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (script, asked) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
                    async move { answer(request, |number| script(number), &asked).await }
                });
                tokio::spawn(async move {
                    drop(
                        Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
    });
    address
}

async fn answer(
    request: Request<Incoming>,
    script: impl Fn(usize) -> Reply,
    asked: &AtomicUsize,
) -> Result<Response<Body>, std::io::Error> {
    let path = request.uri().path().to_owned();
    request.into_body().collect().await.map_err(std::io::Error::other)?;
    match path.as_str() {
        "/v2" => Ok(status(200, r#"{"name":"scripted"}"#)),
        "/v2/models/m" => {
            Ok(status(200, r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}]}"#))
        }
        "/inference.GRPCInferenceService/ModelMetadata" => Ok(grpc(0, "", metadata())),
        "/v2/models/m/infer" | "/inference.GRPCInferenceService/ModelInfer" => {
            script(asked.fetch_add(1, Ordering::SeqCst)).await
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
    let body = Full::new(Bytes::from(frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let body = body.map_err(|never: Infallible| match never {}).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
