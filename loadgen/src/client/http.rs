//! HTTP/1.1: a pool of kept connections, each carrying one request at a time, with binary tensors.

use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::connection::{connect, short, unreachable};
use super::tensor::{InputMetadata, Tensor, tensors};
use super::{Answer, Plan, Target};
use crate::{Error, Share};

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The connections of a run and its encoded requests, by share.
pub(super) struct Pool {
    address: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    permits: Semaphore,
    requests: Vec<Prepared>,
}

/// A request that is encoded once and sent many times.
#[derive(Debug)]
struct Prepared {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Pool {
    /// Reads the metadata of all models, encodes their requests and sends one of each.
    pub(super) async fn open(plan: &Plan) -> Result<Self, Error> {
        let mut rng = Pcg64Mcg::seed_from_u64(plan.seed);
        let mut requests = Vec::new();
        for share in plan.mix.shares() {
            let inputs = match plan.inputs.get(&share.model) {
                Some(inputs) => inputs.clone(),
                None => inputs(&plan.target, &share.model).await?,
            };
            let tensors = tensors(&share.model, &inputs, plan, &mut rng)?;
            requests.push(Prepared::new(&plan.target, share, &tensors)?);
        }
        let pool = Self {
            address: plan.target.address.clone(),
            idle: Mutex::default(),
            permits: Semaphore::new(plan.connections),
            requests,
        };
        for (index, share) in plan.mix.shares().iter().enumerate() {
            match pool.call(index).await {
                // A refusal is an answer of a server that works.
                Answer::Done | Answer::Refused(_) => {}
                Answer::Error(status) => {
                    let what = format!("the first request to '{}'", share.model);
                    return Err(Error::Refused { what, status: status.into() });
                }
                Answer::ConnectionLost => {
                    return Err(unreachable(&pool.address, "the connection was lost"));
                }
            }
        }
        Ok(pool)
    }

    pub(super) async fn call(&self, share: usize) -> Answer {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let Ok(mut sender) = self.sender().await else { return Answer::ConnectionLost };
        let Ok(response) = sender.send_request(self.requests[share].request()).await else {
            return Answer::ConnectionLost;
        };
        let answer = read(response).await;
        self.idle.lock().expect("no holder panics").push(sender);
        answer
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        loop {
            let idle = self.idle.lock().expect("no holder panics").pop();
            let Some(mut sender) = idle else { return open(&self.address).await };
            // The server may have closed it meanwhile; nothing was sent on it, so nothing is lost.
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }
}

impl Prepared {
    fn new(target: &Target, share: &Share, tensors: &[Tensor]) -> Result<Self, Error> {
        let inputs: Vec<Value> = tensors
            .iter()
            .map(|tensor| {
                json!({
                    "name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype.name(),
                    "parameters": {"binary_data_size": tensor.raw.len()},
                })
            })
            .collect();
        let mut parameters = Map::from_iter([("binary_data_output".to_owned(), json!(true))]);
        if let Some(slo) = share.slo {
            parameters.insert(
                "timeout".to_owned(),
                json!(u64::try_from(slo.latency.as_micros()).unwrap_or(u64::MAX)),
            );
        }
        if share.priority > 0 {
            parameters.insert("priority".to_owned(), json!(share.priority));
        }
        let mut body = json!({"inputs": inputs, "parameters": parameters}).to_string().into_bytes();
        let head_len = body.len();
        for tensor in tensors {
            body.extend(&tensor.raw);
        }
        let headers = HeaderMap::from_iter([
            (HOST, host(target)?),
            (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (CONTENT_LENGTH, body.len().into()),
            (HEADER_LENGTH, head_len.into()),
        ]);
        let path = format!("{}/v2/models/{}/infer", target.base, share.model);
        let uri = path.parse().map_err(|_| Error::Url(path))?;
        Ok(Self { uri, headers, body: body.into() })
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// `GET /v2/models/{m}`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Metadata {
    inputs: Vec<InputMetadata>,
}

/// A refusal or an error, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    error: Option<String>,
    reason: Option<String>,
}

async fn read(response: Response<Incoming>) -> Answer {
    let status = response.status();
    let mut body = response.into_body();
    if status == StatusCode::OK {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return Answer::ConnectionLost;
            }
        }
        return Answer::Done;
    }
    let Ok(body) = body.collect().await else { return Answer::ConnectionLost };
    let body = body.to_bytes();
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        return Answer::Refused(
            problem.reason.or(problem.error).map_or("unavailable".into(), |text| short(&text)),
        );
    }
    Answer::Error(short(&format!("{} {}", status.as_u16(), error_text(&body))))
}

fn error_text(body: &[u8]) -> String {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    problem.error.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

/// The inputs of a model, from its metadata.
async fn inputs(target: &Target, model: &str) -> Result<Vec<InputMetadata>, Error> {
    let path = format!("/v2/models/{model}");
    let (status, body) = fetch(target, "GET", &path, Bytes::new()).await?;
    let refused = |text: String| Error::Refused { what: format!("GET {path}"), status: text };
    if status != 200 {
        return Err(refused(format!("{status} {}", error_text(&body))));
    }
    let metadata: Metadata = serde_json::from_slice(&body)
        .map_err(|error| refused(format!("unreadable JSON: {error}")))?;
    Ok(metadata.inputs)
}

/// One request on a connection of its own.
pub(super) async fn fetch(
    target: &Target,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes), Error> {
    let mut sender = open(&target.address).await?;
    let path = format!("{}{path}", target.base);
    let request = Request::builder()
        .method(method)
        .uri(&path)
        .header(HOST, host(target)?)
        .body(Full::new(body))
        .map_err(|_| Error::Url(path))?;
    let lost = |error: hyper::Error| unreachable(&target.address, error);
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await.map_err(lost)?.to_bytes()))
}

async fn open(address: &str) -> Result<SendRequest<Full<Bytes>>, Error> {
    let stream = connect(address).await.map_err(|error| unreachable(address, error))?;
    let (sender, connection) =
        http1::handshake(stream).await.map_err(|error| unreachable(address, error))?;
    // Its end reaches the requests through their sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn host(target: &Target) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(&target.address).map_err(|_| Error::Url(target.address.clone()))
}
