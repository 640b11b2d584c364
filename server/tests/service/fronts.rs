//! Both protocols over real sockets: everyone gets the own rows, refusals are complete, and who hangs up is not run.

use std::sync::Arc;

use server::budget::Budget;
use server::grpc::inference::ModelInferRequest;
use server::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use server::grpc::inference::model_infer_request::InferInputTensor;
use server::http::Limits;
use server::service::Service;
use server::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::Channel;

use crate::order::{ask, blocked};
use crate::world::*;

pub(crate) struct Fronts {
    pub(crate) http: std::net::SocketAddr,
    pub(crate) grpc: Client<Channel>,
}

pub(crate) async fn fronts(service: &Arc<Service>) -> Fronts {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap();
    let never = std::future::pending();
    let budget = Arc::new(Budget::new(1 << 30));
    let limits = Limits::default();
    let served = Arc::clone(service);
    tokio::spawn(server::http::serve(listener, served, limits, Arc::clone(&budget), never));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (served, limits) = (Arc::clone(service), server::grpc::Limits::default());
    tokio::spawn(async move {
        server::grpc::serve(listener, served, limits, budget, &Shutdown::default()).await
    });
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    Fronts { http, grpc: Client::new(channel) }
}

/// Sends an inference of that row over HTTP; the answer is still to be read.
pub(crate) async fn post(address: std::net::SocketAddr, row: &[i64]) -> TcpStream {
    let shape = row.len();
    let input = format!(
        r#"{{"inputs":[{{"name":"x","datatype":"INT64","shape":[1,{shape}],"data":{row:?}}}]}}"#
    );
    post_to(address, "/v2/models/m/infer", &input).await
}

/// Sends a body to a path; the answer is still to be read.
pub(crate) async fn post_to(address: std::net::SocketAddr, path: &str, body: &str) -> TcpStream {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all((head + body).as_bytes()).await.unwrap();
    stream
}

/// Head and JSON body of the answer; null where it has no body.
pub(crate) async fn read(mut stream: TcpStream) -> (String, serde_json::Value) {
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(PATIENCE, read).await.expect("an answer comes").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let body = if body.is_empty() { "null" } else { body };
    (head.to_owned(), serde_json::from_str(body).unwrap())
}

pub(crate) fn message(row: &[i64]) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "INT64".into(),
        shape: vec![1, i64::try_from(row.len()).unwrap()],
        ..Default::default()
    };
    ModelInferRequest {
        model_name: "m".into(),
        inputs: vec![input],
        raw_input_contents: vec![bytes_of(row)],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_hundred_clients_of_shared_batches_each_get_their_own_rows() {
    let (service, gate, first) = blocked(8, 1000).await;
    let Fronts { http, grpc } = fronts(&service).await;
    let over_http = (1..=50).map(|number| async move {
        let (head, body) = read(post(http, &[number, -number]).await).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body["outputs"][0]["data"], serde_json::json!([number, -number]));
        assert_eq!(body["outputs"][0]["shape"], serde_json::json!([1, 2]));
    });
    let over_grpc = (51..=100).map(|number| {
        let mut client = grpc.clone();
        async move {
            let answer =
                client.model_infer(message(&[number, -number])).await.unwrap().into_inner();
            assert_eq!(row_of(&answer.raw_output_contents[0]), [number, -number]);
            assert_eq!(answer.outputs[0].shape, [1, 2]);
        }
    });
    let mut clients: Vec<_> = over_http.map(tokio::spawn).collect();
    clients.extend(over_grpc.map(tokio::spawn));
    until(|| waiting(&service, "m") == 100).await;
    drop(gate);
    for client in clients {
        client.await.unwrap();
    }
    first.await.unwrap().unwrap();
    // The first ran alone; the hundred in batches of 8.
    assert_eq!(metric(&service, "punctual_batches_total", &["rows=\"8\""]), 12);
    assert_eq!(metric(&service, "punctual_batches_total", &[]), 14);
}

#[tokio::test]
async fn a_refusal_is_complete_over_http_and_grpc() {
    let (service, gate, first) = blocked(8, 1).await;
    let waits = ask(&service, request("m", &[0]));
    until(|| waiting(&service, "m") == 1).await;
    let Fronts { http, mut grpc } = fronts(&service).await;
    for (reason, text) in
        [("queue_full", "Exceeds maximum queue size"), ("draining", "the server is shutting down")]
    {
        let expected = serde_json::json!({
            "error": text, "reason": reason, "predicted_ms": null, "deadline_ms": null, "retry_after_ms": 100,
        });
        let (head, body) = read(post(http, &[1]).await).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("content-type: application/json") && head.contains("retry-after: 1"));
        assert_eq!(body, expected);
        let status = grpc.model_infer(message(&[1])).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, text));
        let refusal = status.metadata().get("x-punctual-refusal").unwrap().to_str().unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(refusal).unwrap(), expected);
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert!(details.contains("google.rpc.RetryInfo"), "{details:?}");
        assert!(details.contains(&reason.to_uppercase()), "{details:?}");
        service.refuse_all();
    }
    drop(gate);
    first.await.unwrap().unwrap();
    waits.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_unreachable_deadline_is_refused_with_its_numbers() {
    let (service, gate, first) = blocked(8, 10).await;
    let Fronts { mut grpc, .. } = fronts(&service).await;
    let mut asked = tonic::Request::new(message(&[1, 1]));
    asked.set_timeout(50_000 * MS);
    let status = grpc.model_infer(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let refusal = status.metadata().get("x-punctual-refusal").unwrap().to_str().unwrap();
    let refusal: serde_json::Value = serde_json::from_str(refusal).unwrap();
    assert_eq!(refusal["reason"], "deadline_unreachable");
    let number = |key: &str| refusal[key].as_f64().unwrap();
    // The batch that runs takes 100 s, and so does the one behind it.
    assert!(number("predicted_ms") > 170_000.0 && number("predicted_ms") < 201_000.0, "{refusal}");
    assert!(number("deadline_ms") > 40_000.0 && number("deadline_ms") <= 50_000.0, "{refusal}");
    let gap = number("predicted_ms") - number("deadline_ms");
    assert!((number("retry_after_ms") - gap).abs() < 1.0, "{refusal}");
    drop(gate);
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn clients_that_hang_up_while_they_wait_are_never_run() {
    let (service, gate, first) = blocked(8, 10).await;
    let Fronts { http, mut grpc } = fronts(&service).await;
    let stream = post(http, &[1]).await;
    until(|| waiting(&service, "m") == 1).await;
    drop(stream);
    until(|| waiting(&service, "m") == 0).await;
    let call = tokio::spawn(async move { grpc.model_infer(message(&[2])).await });
    until(|| waiting(&service, "m") == 1).await;
    call.abort();
    until(|| waiting(&service, "m") == 0).await;
    drop(gate);
    first.await.unwrap().unwrap();
    until(|| service.idle()).await;
    let tally = service.tally();
    assert_eq!((tally.cancelled, tally.finished, tally.batches), (2, 1, 1));
    assert_eq!(metric(&service, "punctual_cancellations_total", &[]), 2);
}
