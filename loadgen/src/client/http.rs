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

use super::connection::{Connector, short};
use super::inputs::requests as requests_of;
use super::tensor::{InputMetadata, Tensor};
use super::turns::Turns;
use super::{Answer, Plan, Target};
use crate::{Error, Share};

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Connections that are being opened at a time: more may overflow the server's backlog, and are then a second late.
const OPENING_MAX: usize = 16;
/// What nginx and others say for a request whose client has left.
const CLIENT_CLOSED: u16 = 499;

/// The connections of a run and its encoded requests, by share.
pub(super) struct Pool {
    connector: Connector,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    permits: Semaphore,
    opening: Semaphore,
    requests: Turns<Prepared>,
}

/// A request that is encoded once and sent many times.
#[derive(Debug)]
struct Prepared {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Pool {
    /// Reads the metadata of all models and encodes their requests.
    pub(super) async fn open(plan: &Plan, connector: Connector) -> Result<Self, Error> {
        let mut rng = Pcg64Mcg::seed_from_u64(plan.seed);
        let mut requests = Vec::new();
        for (index, share) in plan.mix.shares().iter().enumerate() {
            let metadata = match plan.inputs.get(&share.model) {
                Some(inputs) => Some(inputs.clone()),
                None if plan.needs_metadata(index) => Some(inputs(&connector, &share.model).await?),
                None => None,
            };
            let tensors = requests_of(plan, index, metadata.as_deref(), &mut rng)?;
            let prepared = tensors.iter().map(|one| Prepared::new(&plan.target, share, one));
            requests.push(prepared.collect::<Result<_, _>>()?);
        }
        Ok(Self {
            connector,
            idle: Mutex::default(),
            permits: Semaphore::new(plan.connections),
            opening: Semaphore::new(OPENING_MAX),
            requests: Turns::new(requests),
        })
    }

    pub(super) async fn call(&self, share: usize) -> Answer {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let Ok(mut sender) = self.sender().await else { return Answer::ConnectionLost };
        let request = self.requests.next(share).request();
        let Ok(response) = sender.send_request(request).await else {
            return Answer::ConnectionLost;
        };
        let answer = read(response).await;
        self.idle.lock().expect("no holder panics").push(sender);
        answer
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        if let Some(sender) = self.idle().await {
            return Ok(sender);
        }
        let _opening = self.opening.acquire().await.expect("the semaphore is never closed");
        match self.idle().await {
            Some(sender) => Ok(sender),
            None => open(&self.connector).await,
        }
    }

    /// A connection that is open and not in use.
    async fn idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut sender = self.idle.lock().expect("no holder panics").pop()?;
            // The server may have closed it meanwhile; nothing was sent on it, so nothing is lost.
            if sender.ready().await.is_ok() {
                return Some(sender);
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
    if status.as_u16() == CLIENT_CLOSED {
        return Answer::Cancelled;
    }
    Answer::Error(short(&format!("{} {}", status.as_u16(), error_text(&body))))
}

fn error_text(body: &[u8]) -> String {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    problem.error.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

/// The inputs of a model, from its metadata.
async fn inputs(connector: &Connector, model: &str) -> Result<Vec<InputMetadata>, Error> {
    let path = format!("/v2/models/{model}");
    let (status, body) = fetch(connector, "GET", &path, Bytes::new()).await?;
    if status == 200 {
        let metadata: Result<Metadata, _> = serde_json::from_slice(&body);
        return metadata.map(|metadata| metadata.inputs).map_err(|_| {
            connector.not_oip(format!("GET {path} is not answered with a model's metadata"))
        });
    }
    // Any server says that a path is unknown; one of the protocol says who it is.
    let (server, metadata) = fetch(connector, "GET", "/v2", Bytes::new()).await?;
    if server != 200 || serde_json::from_slice::<Map<String, Value>>(&metadata).is_err() {
        let reason = format!("GET {path} is answered with {status}, GET /v2 with {server}");
        return Err(connector.not_oip(reason));
    }
    let status_text = format!("{status} {}", short(&error_text(&body)));
    // Triton says 400 where others say 404.
    if status == 404 || status == 400 {
        return Err(Error::UnknownModel { model: model.to_owned(), status: status_text });
    }
    Err(Error::Refused { what: format!("GET {path}"), status: status_text })
}

/// One request on a connection of its own.
pub(super) async fn fetch(
    connector: &Connector,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes), Error> {
    let mut sender = open(connector).await?;
    let path = format!("{}{path}", connector.target.base);
    let request = Request::builder()
        .method(method)
        .uri(&path)
        .header(HOST, host(&connector.target)?)
        .body(Full::new(body))
        .map_err(|_| Error::Url(path))?;
    let lost = |error: hyper::Error| lost(connector, &error);
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await.map_err(lost)?.to_bytes()))
}

/// A connection that ended, or that carries something else than HTTP.
fn lost(connector: &Connector, error: &hyper::Error) -> Error {
    if error.is_parse() {
        return connector.not_oip("it does not answer in HTTP/1.1");
    }
    connector.unreachable(error)
}

async fn open(connector: &Connector) -> Result<SendRequest<Full<Bytes>>, Error> {
    let stream = connector.connect().await?;
    let (sender, connection) =
        http1::handshake(stream).await.map_err(|error| connector.unreachable(error))?;
    // Its end reaches the requests through their sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn host(target: &Target) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(&target.address).map_err(|_| Error::Url(target.address.clone()))
}
