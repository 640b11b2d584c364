//! A server that sends back what it gets, over HTTP/1.1 or gRPC, plain or encrypted: the least that a client can meet.

use std::convert::Infallible;
use std::future::ready;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::reference::{listen, runtime};
use crate::{Error, Served};

/// For localhost; the tests of the load generator have them too.
const CERTIFICATE: &[u8] = include_bytes!("../../loadgen/tests/tls/cert.pem");
const KEY: &[u8] = include_bytes!("../../loadgen/tests/tls/key.pem");

/// Starts this program again as that server, by its hidden subcommand `echo` or `echo-tls`.
///
/// # Errors
/// It does not start.
pub fn start_echo(encrypted: bool, core: Option<usize>) -> Result<Served, Error> {
    let program = std::env::current_exe().map_err(Error::system("cannot find this program"))?;
    let mut command = Command::new(program);
    command.arg(if encrypted { "echo-tls" } else { "echo" });
    Served::start(command, core)
}

/// Serves both protocols on this thread until the process is ended; writes its port to that file.
///
/// # Errors
/// No port, or no file.
pub fn serve_echo(ports_file: &Path, encrypted: bool) -> Result<(), Error> {
    let tls = encrypted.then(acceptor).transpose()?;
    runtime()?.block_on(async {
        let listener = listen(ports_file).await?;
        loop {
            let (stream, _) = listener.accept().await.map_err(Error::system("cannot accept"))?;
            drop(stream.set_nodelay(true));
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => serve(stream).await,
                    // A client that does not trust us leaves.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream).await;
                        }
                    }
                }
            });
        }
    })
}

fn acceptor() -> Result<TlsAcceptor, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Server(format!("the certificate: {error}"));
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_slice(KEY).map_err(|error| wrong(&error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(|error| wrong(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let mut server = Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(None);
    drop(server.serve_connection(TokioIo::new(stream), service_fn(echo)).await);
}

async fn echo(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let grpc = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/grpc");
    let body = Full::new(request.into_body().collect().await?.to_bytes());
    if !grpc {
        return Ok(Response::new(body.boxed()));
    }
    let trailers = HeaderMap::from_iter([(
        hyper::header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let mut response = Response::new(body.with_trailers(ready(Some(Ok(trailers)))).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}
