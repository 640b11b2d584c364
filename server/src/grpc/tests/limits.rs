//! What a client may cost: connections that say nothing, messages that never come, and bytes held for all.

use std::convert::Infallible;

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

/// Longer than anything here takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(50);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn closed(stream: &mut TcpStream) {
    let mut said = Vec::new();
    // A reset is an end too.
    drop(timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the server closes"));
}

/// A request for the gated or the echoing model of so many bytes.
fn sized(model: &str, bytes: usize) -> ModelInferRequest {
    let mut request = request(model, "sized");
    request.inputs[0].shape = vec![1, i64::try_from(bytes / 4).unwrap()];
    request.raw_input_contents = vec![vec![0; bytes].into()];
    request
}

impl Server {
    async fn until_nothing_is_held(&self) {
        let empty = async {
            while self.budget.held() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, empty).await.expect("what was held is given back");
    }
}

#[tokio::test]
async fn connections_that_do_not_say_what_they_are_are_closed() {
    let limits = Limits { opening_timeout: SOON, ..Limits::default() };
    let server = Server::start_within(limits, 1 << 30).await;
    for beginning in [&b""[..], b"P", &PREFACE[..23], PREFACE, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        closed(&mut stream).await;
    }
    server.client().server_live(ServerLiveRequest {}).await.unwrap();
}

#[tokio::test]
async fn silent_connections_give_way_to_others() {
    let limits = Limits { opening_timeout: NEVER, openings_max: 3, ..Limits::default() };
    let server = Server::start_within(limits, 1 << 30).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let url = format!("http://{}", server.address);
    let channel = timeout(PATIENCE, Channel::from_shared(url).unwrap().connect()).await;
    Client::new(channel.unwrap().unwrap()).server_live(ServerLiveRequest {}).await.unwrap();
    closed(&mut silent[0]).await;
}

#[tokio::test]
async fn what_owes_nothing_does_not_hold_the_end() {
    let limits = Limits { opening_timeout: NEVER, ..Limits::default() };
    let server = Server::start_within(limits, 1 << 30).await;
    let mut streams = Vec::new();
    for beginning in [&b""[..], PREFACE, &[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        streams.push(stream);
    }
    server.client().server_live(ServerLiveRequest {}).await.unwrap();
    timeout(PATIENCE, server.stop()).await.expect("serving ends");
}

#[tokio::test]
async fn a_message_that_does_not_arrive_is_refused() {
    let limits = Limits { message_timeout: SOON, ..Limits::default() };
    let server = Server::start_within(limits, 1 << 30).await;
    let beginnings = [
        ("ModelInfer", &b""[..]),
        ("ModelInfer", b"\0\0\0\0\x09\x01"),
        ("ModelStreamInfer", b"\0"),
    ];
    for (method, beginning) in beginnings {
        let first = Frame::data(Bytes::from_static(beginning));
        let frames = tokio_stream::once(first).chain(tokio_stream::pending());
        let body = StreamBody::new(frames.map(Ok::<_, Infallible>));
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let url = format!("http://{}/inference.GRPCInferenceService/{method}", server.address);
        let call = hyper::Request::post(url).header("content-type", "application/grpc");
        let answer = timeout(PATIENCE, client.request(call.body(body).unwrap())).await;
        let (head, rest) = answer.expect("the call ends").unwrap().into_parts();
        let rest = http_body_util::BodyExt::collect(rest).await.unwrap();
        let status = Status::from_header_map(rest.trailers().unwrap_or(&head.headers)).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted, "{method} {beginning:?}");
        assert!(status.message().contains("--grpc-message-timeout"), "{status:?}");
    }
}

#[tokio::test]
async fn messages_over_the_limit_are_refused_as_exhausted_resources() {
    let limits = Limits { message_bytes_max: 1 << 20, ..Limits::default() };
    let server = Server::start_within(limits, 1 << 30).await;
    let mut large = request("echo", "a");
    large.raw_input_contents = vec![vec![0; limits.message_bytes_max + 1].into()];
    let status = server.client().model_infer(large.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let bomb = server
        .client()
        .send_compressed(CompressionEncoding::Gzip)
        .model_infer(large.clone())
        .await
        .unwrap_err();
    assert_eq!(bomb.code(), Code::ResourceExhausted, "{bomb:?}");
    let mut answers =
        server.client().model_stream_infer(tokio_stream::once(large)).await.unwrap().into_inner();
    assert_eq!(answers.next().await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn all_messages_together_stay_within_the_budget() {
    let mut server = Server::start_within(Limits::default(), 1 << 20).await;
    let mut client = server.client();
    let held = tokio::spawn(async move { client.model_infer(sized("gated", 700_000)).await });
    assert_eq!(server.started().await, "sized");
    let mut compressing = server.client().send_compressed(CompressionEncoding::Gzip);
    for refused in [
        server.client().model_infer(sized("echo", 700_000)).await,
        compressing.model_infer(sized("echo", 700_000)).await,
    ] {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains("--bodies-bytes-max"), "{status:?}");
    }
    server.scripted.permits.add_permits(1);
    held.await.unwrap().unwrap();
    server.until_nothing_is_held().await;
    server.client().model_infer(sized("echo", 700_000)).await.unwrap();
}

#[tokio::test]
async fn answers_that_a_client_does_not_take_are_held_until_it_is_cut_off() {
    let limits = Limits { send_timeout: SOON, ..Limits::default() };
    let mut server = Server::start_within(limits, 4 << 20).await;
    // Room for the beginning of an answer only, until it is read.
    let endpoint = Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let endpoint =
        endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut client = Client::new(endpoint.connect().await.unwrap());
    let mut streams = Vec::new();
    for _ in 0..4 {
        let asked = tokio_stream::once(sized("echo", 700_000));
        streams.push(client.model_stream_infer(asked).await.unwrap().into_inner());
        while !matches!(server.events.recv().await.unwrap(), Event::Answered(_)) {}
    }
    server.until_nothing_is_held().await;
    for answers in streams {
        let got: Vec<_> = timeout(PATIENCE, answers.collect()).await.expect("it is cut off");
        assert!(got.iter().all(Result::is_err), "{} answers", got.len());
    }
}

#[tokio::test]
async fn a_stream_holds_only_what_it_has_not_answered() {
    let server = Server::start_within(Limits::default(), 1 << 20).await;
    let (sender, receiver) = mpsc::channel(1);
    let answers = server.client().model_stream_infer(ReceiverStream::new(receiver)).await;
    let mut answers = answers.unwrap().into_inner();
    for _ in 0..5 {
        sender.send(sized("echo", 400_000)).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().error_message, "");
    }
    sender.send(sized("echo", 1_200_000)).await.unwrap();
    let status = answers.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    drop((answers, sender));
    server.until_nothing_is_held().await;
}
