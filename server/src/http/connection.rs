//! The accept loop and one connection: version by its first bytes, limits, an orderly end.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Limits;
use super::answer::Body;
use crate::gather::gathered;

/// The start of the HTTP/2 preface; no method of HTTP/1 is called `PRI`.
const PREFACE: [u8; 4] = *b"PRI ";

/// Time to let the system recover when it has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Pings of an idle HTTP/2 connection find out whether its client still exists.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A window that lets one request of some megabytes through without a round trip for each 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const STREAMS_MAX: u32 = 1024;

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 41\r\n\r\n{\"error\":\"too many connections are open\"}";

/// A timer that ends so soon is always set. Where it is not, each request sets the earliest one of all, that of the wait
/// for its successor, and tokio then wakes itself by a system call.
const TIMER_EVERY: Duration = Duration::from_secs(1);

/// How long the accept loop waits to write that.
const FULL_TIMEOUT: Duration = Duration::from_millis(10);

/// Accepts until `shutdown`, then lets every connection finish the requests it has.
pub(super) async fn accept<S>(
    listener: TcpListener,
    limits: Limits,
    answer: S,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let mut shutdown = pin!(shutdown);
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut timer = tokio::time::interval(TIMER_EVERY);
    loop {
        let accepted = tokio::select! {
            _ = timer.tick() => continue,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((mut stream, _)) if connections.len() >= limits.connections_max => {
                // The socket is fresh, its buffer empty: the sentence fits. If not, the close says enough.
                let _ = tokio::time::timeout(FULL_TIMEOUT, stream.write_all(FULL)).await;
            }
            Ok((stream, _)) => {
                connections.spawn(serve(stream, limits, answer.clone(), stopped.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(stopped);
    stop.send_replace(());
    while connections.join_next().await.is_some() {}
}

async fn serve<S>(mut stream: TcpStream, limits: Limits, answer: S, mut stop: watch::Receiver<()>)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    // Answers are small and wanted at once. Failing to say so costs latency only.
    let _ = stream.set_nodelay(true);
    let start = tokio::select! {
        start = tokio::time::timeout(limits.header_timeout, first_bytes(&mut stream)) => start,
        _ = stop.changed() => return,
    };
    let Ok(Ok(start)) = start else { return };
    let is_http2 = start.bytes == PREFACE;
    let io = TokioIo::new(Rewound { start, stream });
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        gathered(drive(builder.serve_connection(io, answer), stop)).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.header_bytes_max);
        drive(builder.serve_connection(io, answer), stop).await
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke");
    }
}

async fn drive<C: GracefulConnection>(
    connection: C,
    mut stop: watch::Receiver<()>,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        _ = stop.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// Bytes that were read to find out the version.
#[derive(Debug, Default)]
struct Start {
    bytes: [u8; PREFACE.len()],
    length: usize,
    given: usize,
}

/// Reads until the first bytes differ from the HTTP/2 preface, or are it.
async fn first_bytes(stream: &mut TcpStream) -> io::Result<Start> {
    let mut start = Start::default();
    while start.length < PREFACE.len() && start.bytes[..start.length] == PREFACE[..start.length] {
        let read = stream.read(&mut start.bytes[start.length..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        start.length += read;
    }
    Ok(start)
}

/// A stream with its first bytes put back.
#[derive(Debug)]
struct Rewound {
    start: Start,
    stream: TcpStream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Start { bytes, length, given } = &mut self.start;
        if given < length {
            let count = buffer.remaining().min(*length - *given);
            buffer.put_slice(&bytes[*given..*given + count]);
            *given += count;
            // What follows is most often there already: one read, one parse.
            let _ = Pin::new(&mut self.stream).poll_read(cx, buffer)?;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::service::service_fn;
    use tokio::sync::Notify;

    use super::*;

    /// Tells when it is dropped.
    struct Dropped(Arc<Notify>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    /// Starts a server whose answers never come; returns its address, and what is told when a request arrives and
    /// when it is dropped.
    async fn never_answering() -> (std::net::SocketAddr, Arc<Notify>, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (on_arrival, on_drop) = (Arc::clone(&arrived), Arc::clone(&dropped));
        let answer = service_fn(move |_: Request<Incoming>| {
            let guard = Dropped(Arc::clone(&on_drop));
            on_arrival.notify_one();
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        });
        tokio::spawn(accept(listener, Limits::default(), answer, std::future::pending()));
        (address, arrived, dropped)
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_drops_its_request() {
        let (address, arrived, dropped) = never_answering().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        arrived.notified().await;
        drop(client);
        tokio::time::timeout(Duration::from_secs(10), dropped.notified())
            .await
            .expect("the request is dropped");
    }

    #[tokio::test]
    async fn a_first_byte_alone_is_put_back() {
        let (address, arrived, _) = never_answering().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.set_nodelay(true).unwrap();
        for part in [&b"P"[..], b"R", b"OPFIND /x HTTP/1.1\r\nhost: h\r\n\r\n"] {
            client.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        tokio::time::timeout(Duration::from_secs(10), arrived.notified())
            .await
            .expect("the request arrives whole");
    }
}
