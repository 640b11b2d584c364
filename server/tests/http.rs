//! The HTTP front over real sockets: routes, limits, and clients that misbehave.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use server::budget::Budget;
use server::http::{Limits, serve, serve_metrics};
use server::service::Service;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than any answer takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { stopped.await.unwrap_or(()) };
    let ended = tokio::spawn(serve(
        listener,
        Service::empty(),
        limits,
        Arc::new(Budget::new(1 << 30)),
        shutdown,
    ));
    Server { address, stop, ended }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a fresh connection and returns all that comes back until the server closes it.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_all(&mut stream).await
    }

    async fn get(&self, path: &str) -> String {
        self.exchange(
            format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        self.exchange((head + body).as_bytes()).await
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is a closed connection too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server closes in time");
    String::from_utf8(answer).unwrap()
}

fn assert_answer(answer: &str, status: u16, part: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("content-type: application/json"), "{answer}");
    assert!(answer.contains(part), "{answer}");
}

#[tokio::test]
async fn routes_answer_json_with_their_status() {
    let server = start(Limits::default()).await;
    let cases = [
        ("/v2", 200, r#"{"name":"punctual""#),
        ("/base/v2/health/live", 200, r#"{"live":true}"#),
        ("/v2/health/ready", 503, r#"{"ready":false}"#),
        ("/v2/models", 200, r#"{"models":[]}"#),
        ("/v2/models/stats", 200, r#"{"model_stats":[]}"#),
        ("/v2/models/a%20b", 404, "Request for unknown model: 'a b' is not found"),
        ("/v2/models/m/config", 404, "unknown model"),
        ("/v2/models/m/stats", 400, "requested model 'm' is not available"),
        ("/v2/models/m/ready", 503, r#"{"name":"m","ready":false}"#),
        ("/v2/logging", 200, r#""log_verbose_level":0"#),
        ("/v2/systemsharedmemory/status", 200, "\r\n\r\n[]"),
        ("/v2/trace/setting", 501, "tracing is not supported"),
        ("/v2/models/m/infer", 405, r#"{"error":"Method Not Allowed"}"#),
        ("/metrics", 404, "there is nothing at '/metrics'"),
    ];
    for (path, status, part) in cases {
        assert_answer(&server.get(path).await, status, part);
    }
}

#[tokio::test]
async fn posts_answer_as_clients_expect() {
    let server = start(Limits::default()).await;
    assert_answer(
        &server.post("/v2/repository/index", "", "{\"ready\":true}").await,
        200,
        "\r\n\r\n[]",
    );
    assert_answer(
        &server.post("/v2/repository/models/m/load", "", "").await,
        500,
        "failed to load 'm'",
    );
    let wrong = [
        ("/v2/repository/index", "[]", "expected an object"),
        ("/v2/repository/models/m/load", "[{}]", "expected an object"),
        ("/v2/repository/models/m/load", "{\"parameters\":[]}", "expected an object"),
        ("/v2/logging", "[]", "expected an object"),
        ("/v2/logging", "{\"log_verbose_level\":\"1\"}", "expected a whole number"),
        ("/v2/logging", "{\"log_verbose_level\":-1}", "'log_verbose_level' is 0 or"),
        ("/v2/tasks/t/feedback", "[\"a\",1]", "expected an object"),
        ("/v2/tasks/t/feedback", "{\"id\":\"a\",\"loss\":\"b\"}", "expected a number"),
    ];
    for (path, body, part) in wrong {
        assert_answer(&server.post(path, "", body).await, 400, part);
    }
    assert_answer(
        &server.post("/v2/logging", "", "{\"log_colour\":1}").await,
        400,
        "unknown field `log_colour`",
    );
    assert_answer(
        &server.post("/v2/models/m/infer", "", "{\"inputs\":[]}").await,
        404,
        "Request for unknown model: 'm' is not found",
    );
    assert_answer(
        &server.post("/v2/systemsharedmemory/region/r/register", "", "{}").await,
        501,
        "shared memory",
    );
    assert_answer(&server.post("/v2/health/live", "", "").await, 405, "allow: GET");
    let unregistered = server.post("/v2/cudasharedmemory/unregister", "", "").await;
    assert!(unregistered.starts_with("HTTP/1.1 200 "), "{unregistered}");
}

#[tokio::test]
async fn malformed_infer_bodies_are_4xx_with_a_sentence() {
    let server = start(Limits::default()).await;
    let cases = [
        ("", "{", 400, "failed to parse the request JSON buffer"),
        ("content-encoding: gzip\r\n", "x", 400, "failed to decompress the gzip request body"),
        ("content-encoding: br\r\n", "x", 415, "unsupported Content-Encoding 'br'"),
        (
            "inference-header-content-length: 9\r\n",
            "{}",
            400,
            "inference header size should be in range (0, 2), got: 9",
        ),
        ("x-punctual-deadline-ms: soon\r\n", "{}", 400, "x-punctual-deadline-ms"),
    ];
    for (headers, body, status, part) in cases {
        assert_answer(&server.post("/v2/models/m/infer", headers, body).await, status, part);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let server = start(Limits::default()).await;
    let pipeline = "GET /v2/health/live HTTP/1.1\r\nhost: h\r\n\r\nGET /v2/models HTTP/1.1\r\nhost: h\r\n\r\n\
        POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n{\
        GET /v2/health/ready HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let answers = server.exchange(pipeline.as_bytes()).await;
    let places: Vec<_> =
        [r#"{"live":true}"#, r#"{"models":[]}"#, "failed to parse", r#"{"ready":false}"#]
            .map(|part| answers.find(part).unwrap())
            .into();
    assert!(places.is_sorted(), "{answers}");
}

#[tokio::test]
async fn chunked_bodies_and_expect_continue_work() {
    let server = start(Limits::default()).await;
    let head = "POST /v2/repository/index HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n";
    let chunks = "5\r\n{\"rea\r\nD\r\ndy\":true}    \r\n0\r\n\r\n";
    assert_answer(&server.exchange(format!("{head}\r\n{chunks}").as_bytes()).await, 200, "[]");

    let mut stream = server.connect().await;
    stream.write_all(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(chunks.as_bytes()).await.unwrap();
    assert_answer(&read_all(&mut stream).await, 200, "[]");
}

#[tokio::test]
async fn a_body_declared_too_large_is_413_before_it_is_sent() {
    let server = start(Limits::default()).await;
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 67108865\r\n\r\n";
    assert_answer(&server.exchange(head.as_bytes()).await, 413, "larger than the 67108864 bytes");
}

#[tokio::test]
async fn a_client_that_sends_too_much_without_asking_still_reads_the_413() {
    let server = start(Limits::default()).await;
    for framing in
        ["content-length: 67108865\r\n\r\n", "transfer-encoding: chunked\r\n\r\n4000001\r\n"]
    {
        let mut stream = server.connect().await;
        let head = format!(
            "POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{framing}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; 67_108_865]).await.unwrap();
        if framing.starts_with("transfer") {
            stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
        }
        assert_answer(&read_all(&mut stream).await, 413, "larger than the 67108864 bytes");
    }
}

#[tokio::test]
async fn clients_that_never_finish_are_let_go() {
    let limits = Limits {
        header_timeout: Duration::from_millis(50),
        body_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = start(limits).await;
    for start in ["", "P", "GET /v2 HT", "GET /v2 HTTP/1.1\r\nhost: h\r\nx-slow: "] {
        assert_eq!(server.exchange(start.as_bytes()).await, "", "{start:?}");
    }
    let answer = server
        .exchange(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{")
        .await;
    assert_answer(&answer, 400, "the request body did not arrive within 0.05 s");
}

#[tokio::test]
async fn a_half_closed_or_truncated_request_is_refused_or_closed() {
    let server = start(Limits::default()).await;
    let truncated = [
        "GET /v2 HTTP/1.1\r\nhost",
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{",
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{",
    ];
    for request in truncated {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_answer(&server.get("/v2/health/live").await, 200, "true");
}

#[tokio::test]
async fn what_is_not_http_is_refused_or_closed() {
    let server = start(Limits::default()).await;
    let huge = format!("GET /v2 HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let smuggled = "POST /v2 HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
    for request in ["\0\u{1}\u{2}\u{3}\u{4}\u{5}\r\n\r\n", "GET\r\n\r\n", &huge, smuggled] {
        let mut stream = server.connect().await;
        // The server may close before all is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = read_all(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_and_closed() {
    let server = start(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut held = server.connect().await;
    held.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    held.read_exact(&mut [0; 15]).await.unwrap();
    let mut refused = server.connect().await;
    let answer = read_all(&mut refused).await;
    assert_answer(&answer, 503, r#"{"error":"too many connections are open"}"#);
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(answer.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
}

#[tokio::test]
async fn shutdown_closes_connections_without_a_whole_request_and_ends() {
    let server = start(Limits::default()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 15]).await.unwrap();
    let mut silent = server.connect().await;
    let half = "POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{";
    let mut unfinished = Vec::new();
    for length in [1, 30, half.len()] {
        let mut stream = server.connect().await;
        stream.write_all(&half.as_bytes()[..length]).await.unwrap();
        unfinished.push(stream);
    }
    server.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, server.ended).await.expect("serving ends").unwrap();
    assert!(read_all(&mut idle).await.ends_with(r#"{"live":true}"#));
    assert_eq!(read_all(&mut silent).await, "");
    for mut stream in unfinished {
        assert_eq!(read_all(&mut stream).await, "");
    }
}

#[tokio::test]
async fn http2_without_tls_is_served_on_the_same_port() {
    let server = start(Limits::default()).await;
    let connector =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .http2_only(true)
            .build_http::<http_body_util::Empty<bytes::Bytes>>();
    let url = format!("http://{}/v2/health/live", server.address).parse().unwrap();
    let answer = connector.get(url).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (hyper::Version::HTTP_2, 200));
}

#[tokio::test]
async fn the_metrics_port_serves_metrics_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let budget = Arc::new(Budget::new(1 << 20));
    tokio::spawn(serve_metrics(listener, || "up 1\n".to_owned(), budget, std::future::pending()));
    let (stop, _) = oneshot::channel();
    let server = Server { address, stop, ended: tokio::spawn(async {}) };
    let page = server.get("/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("\r\n\r\nup 1\n"), "{page}");
    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    assert_answer(&server.get("/v2").await, 404, "metrics are at /metrics");
}
