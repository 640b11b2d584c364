//! The Open Inference Protocol over HTTP/1.1 and cleartext HTTP/2, and the metrics page.

pub mod answer;
pub mod body;
pub mod coding;
pub mod connection;
pub mod decode;
pub mod encode;
pub mod endpoints;
pub mod feedback;
pub mod route;
mod words;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use serde::Deserialize;
use tokio::net::TcpListener;

use self::answer::Body;
use self::words::Object;
use crate::budget::Budget;
use crate::owed::Owed;
use crate::service::Service;
use crate::status::Failure;

/// What a client may cost, whatever it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; further ones are answered 503 and closed.
    pub connections_max: usize,
    /// Bytes of the request line and headers.
    pub header_bytes_max: usize,
    /// How long a connection may be idle, or take over its headers.
    pub header_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a client may take next to nothing of its answers while memory is scarce.
    pub send_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_bytes_max: 32 << 10,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
        }
    }
}

/// Serves the protocol until `shutdown` completes; returns when every request that had arrived is answered. Bodies are
/// held within `budget`, against which answers count, and answered 503 beyond. Dropping the future closes all connections at once.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    limits: Limits,
    budget: Arc<Budget>,
    shutdown: impl Future<Output = ()>,
) {
    let answering = |owed: Arc<Owed>| {
        let service = Arc::clone(&service);
        service_fn(move |request: Request<Incoming>| {
            let (service, owed) = (Arc::clone(&service), Arc::clone(&owed));
            async move {
                let timeout = limits.body_timeout;
                Ok::<_, Infallible>(endpoints::answer(&service, request, timeout, &owed).await)
            }
        })
    };
    connection::accept(listener, (limits, &budget), answering, shutdown).await;
}

/// Serves `render()` as `/metrics` until `shutdown` completes. Pages count against `budget`.
pub async fn serve_metrics(
    listener: TcpListener,
    render: impl Fn() -> String + Send + Sync + 'static,
    budget: Arc<Budget>,
    shutdown: impl Future<Output = ()>,
) {
    let render = Arc::new(render);
    let answering = |owed: Arc<Owed>| {
        let render = Arc::clone(&render);
        service_fn(move |request: Request<Incoming>| {
            let (render, promise) = (Arc::clone(&render), owed.promise());
            async move {
                Ok::<_, Infallible>(metrics_page(&request, &*render).map(|body| body.owed(promise)))
            }
        })
    };
    // Scrapers are few: a small limit keeps this port harmless.
    let limits = Limits { connections_max: 64, ..Limits::default() };
    connection::accept(listener, (limits, &budget), answering, shutdown).await;
}

fn metrics_page<B>(request: &Request<B>, render: impl Fn() -> String) -> Response<Body> {
    if request.uri().path() != "/metrics" {
        return answer::failure(&Failure::NotFound("metrics are at /metrics".to_owned()));
    }
    if request.method() != Method::GET {
        return answer::failure(&Failure::Method);
    }
    let mut page = Response::new(Body::from(render()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    page.headers_mut().insert(CONTENT_TYPE, text);
    page
}

/// Parses a JSON body, which is an object.
///
/// # Errors
/// It is not JSON, or not of the shape expected: 400 with the place.
fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    let object: Result<Object<T>, _> = serde_json::from_slice(body);
    object.map(|Object(fields)| fields).map_err(|error| {
        Failure::Invalid(format!("failed to parse the request JSON buffer: {error}"))
    })
}
