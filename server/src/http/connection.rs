//! The accept loop and one connection: version by its first bytes, limits, an orderly end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Limits;
use super::answer::Body;
use crate::budget::Budget;
use crate::gather::gathered;
use crate::owed::Owed;
use crate::packed::Packed;
use crate::wire::{LOOKS_OF_MANY, LOOKS_OF_ONE, Opening, Patience, Wire, see_through};

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

/// Accepts until `shutdown`, then lets every connection answer the requests that have arrived. `answering` makes what
/// answers one connection; bytes of answers count against `budget`.
pub(super) async fn accept<S>(
    listener: TcpListener,
    (limits, budget): (Limits, &Arc<Budget>),
    answering: impl Fn(Arc<Owed>) -> S,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let mut shutdown = pin!(shutdown);
    let (stop, stopped) = watch::channel(false);
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
                let owed = Owed::new(budget);
                let answer = answering(Arc::clone(&owed));
                connections.spawn(serve((stream, owed), limits, answer, stopped.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(stopped);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn serve<S>(
    (mut stream, owed): (TcpStream, Arc<Owed>),
    limits: Limits,
    answer: S,
    stop: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    // Answers are small and wanted at once. Failing to say so costs latency only.
    let _ = stream.set_nodelay(true);
    let opening = Opening::read(&mut stream, &PREFACE, 0);
    let mut ends = stop.clone();
    let opening = tokio::select! {
        opening = tokio::time::timeout(limits.header_timeout, opening) => opening,
        _ = ends.wait_for(|stop| *stop) => return,
    };
    let Ok(Ok(opening)) = opening else { return };
    let is_http2 = opening.is(&PREFACE);
    let wire = Wire { opening, stream, owed: Arc::clone(&owed) };
    let patience = |looks_at_end| Patience { looks_at_end, send_timeout: limits.send_timeout };
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let wire = Packed::new(wire);
        let connection = builder.serve_connection(TokioIo::new(wire.clone()), answer);
        let connection = see_through(connection, &owed, stop, patience(LOOKS_OF_MANY));
        gathered(connection, |cx| wire.end_turn(cx)).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.header_bytes_max);
        let connection = builder.serve_connection(TokioIo::new(wire), answer);
        see_through(connection, &owed, stop, patience(LOOKS_OF_ONE)).await
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
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
        let answering = move |_| {
            let (on_arrival, on_drop) = (Arc::clone(&on_arrival), Arc::clone(&on_drop));
            service_fn(move |_: Request<Incoming>| {
                let guard = Dropped(Arc::clone(&on_drop));
                on_arrival.notify_one();
                async move {
                    let _guard = guard;
                    std::future::pending().await
                }
            })
        };
        tokio::spawn(async move {
            let budget = Arc::new(Budget::new(1 << 20));
            accept(listener, (Limits::default(), &budget), answering, std::future::pending()).await;
        });
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

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_cut_off_and_holds_no_memory() {
        /// More than the system's buffers hold.
        const ANSWER_BYTES: usize = 64 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let budget = Arc::new(Budget::new(1 << 20));
        let held = Arc::clone(&budget);
        let until = async |holds: fn(usize) -> bool| {
            let held = async {
                while !holds(held.held()) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), held).await.expect("it comes to hold");
        };
        let answering = |owed: Arc<Owed>| {
            service_fn(move |_: Request<Incoming>| {
                let promise = owed.promise();
                async move { Ok(Response::new(Body::from(vec![0_u8; ANSWER_BYTES]).owed(promise))) }
            })
        };
        let limits = Limits { send_timeout: Duration::from_millis(50), ..Limits::default() };
        tokio::spawn(async move {
            accept(listener, (limits, &budget), answering, std::future::pending()).await;
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        until(|held| held == ANSWER_BYTES).await;
        until(|held| held == 0).await;
        let mut answer = Vec::new();
        drop(tokio::io::AsyncReadExt::read_to_end(&mut client, &mut answer).await);
        assert!(answer.len() < ANSWER_BYTES, "it was cut off");
    }
}
