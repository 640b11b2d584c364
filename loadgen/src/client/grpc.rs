//! gRPC on hyper's HTTP/2: unary calls of messages that are encoded once, so that the client costs less than a server.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioExecutor;
use prost::Message;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;
use tokio::sync::Mutex;
use tonic::{Code, Status};

use super::connection::{Connector, short};
use super::inputs::requests as requests_of;
use super::tensor::{InputMetadata, Tensor};
use super::turns::Turns;
use super::{Answer, Plan, Target};
use crate::{Error, Share};

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const METADATA: &str = "/inference.GRPCInferenceService/ModelMetadata";
/// Answers that may be under way before the client has read them, in bytes.
const WINDOW: u32 = 16 << 20;

/// The connections of a run, taken in turn, and its encoded requests, by share.
pub(super) struct Channels {
    connector: Connector,
    connections: Vec<Mutex<Option<SendRequest<Full<Bytes>>>>>,
    turn: AtomicUsize,
    infer: Uri,
    requests: Turns<Bytes>,
}

impl Channels {
    /// Reads the metadata of all models and encodes their requests.
    pub(super) async fn open(plan: &Plan, connector: Connector) -> Result<Self, Error> {
        let mut channels = Self {
            infer: uri(&connector.target, INFER)?,
            connections: (0..plan.connections.max(1)).map(|_| Mutex::default()).collect(),
            turn: AtomicUsize::new(0),
            requests: Turns::new(Vec::new()),
            connector,
        };
        let mut rng = Pcg64Mcg::seed_from_u64(plan.seed);
        let mut requests = Vec::new();
        for (index, share) in plan.mix.shares().iter().enumerate() {
            let metadata = match plan.inputs.get(&share.model) {
                Some(inputs) => Some(inputs.clone()),
                None if plan.needs_metadata(index) => Some(channels.inputs(&share.model).await?),
                None => None,
            };
            let tensors = requests_of(plan, index, metadata.as_deref(), &mut rng)?;
            let encoded = tensors.into_iter().map(|one| frame(&ModelInferRequest::new(share, one)));
            requests.push(encoded.collect());
        }
        channels.requests = Turns::new(requests);
        Ok(channels)
    }

    async fn inputs(&self, model: &str) -> Result<Vec<InputMetadata>, Error> {
        let request = ModelMetadataRequest { name: model.to_owned() };
        let reply = self.unary(&uri(&self.connector.target, METADATA)?, frame(&request)).await?;
        let reply = reply.and_then(|body| decode::<ModelMetadataResponse>(&body));
        let reply = reply.map_err(|status| {
            let text = format!("{:?} {}", status.code(), short(status.message()));
            if matches!(status.code(), Code::NotFound | Code::InvalidArgument) {
                return Error::UnknownModel { model: model.to_owned(), status: text };
            }
            if matches!(status.code(), Code::Unimplemented | Code::Unknown) {
                let reason = format!("ModelMetadata is answered with {text}");
                return self.connector.not_oip(reason);
            }
            Error::Refused { what: format!("ModelMetadata of '{model}'"), status: text }
        })?;
        Ok(reply.inputs.into_iter().map(Into::into).collect())
    }

    pub(super) async fn call(&self, share: usize) -> Answer {
        match self.unary(&self.infer, self.requests.next(share).clone()).await {
            Ok(Ok(_)) => Answer::Done,
            Ok(Err(status)) if status.code() == Code::Cancelled => Answer::Cancelled,
            Ok(Err(status)) if is_refusal(&status) => Answer::Refused(reason(&status)),
            Ok(Err(status)) => {
                Answer::Error(short(&format!("{:?} {}", status.code(), status.message())))
            }
            Err(_) => Answer::ConnectionLost,
        }
    }

    /// One call; the outer error is a lost connection.
    async fn unary(&self, uri: &Uri, body: Bytes) -> Result<Result<Bytes, Status>, Error> {
        let lost = |error: hyper::Error| lost(&self.connector, &error);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let mut sender = self.sender().await?;
        let response = sender.send_request(request).await.map_err(lost)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Ok(Err(Status::unknown(format!("HTTP status {status}"))));
        }
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Ok(if status.code() == Code::Ok { Ok(Bytes::new()) } else { Err(status) });
        }
        let (message, trailers) = read(response.into_body()).await.map_err(lost)?;
        Ok(match trailers.as_ref().and_then(Status::from_header_map) {
            Some(status) if status.code() == Code::Ok => Ok(message),
            Some(status) => Err(status),
            None => Err(Status::unknown("the answer has no grpc-status")),
        })
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let mut connection = self.connections[turn].lock().await;
        match connection.as_ref() {
            Some(sender) if !sender.is_closed() => Ok(sender.clone()),
            Some(_) | None => {
                let sender = open(&self.connector).await?;
                *connection = Some(sender.clone());
                Ok(sender)
            }
        }
    }
}

/// The whole body and its trailers. An answer in one piece, the common case, is not copied.
async fn read(mut body: hyper::body::Incoming) -> Result<(Bytes, Option<HeaderMap>), hyper::Error> {
    let mut message = Bytes::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if message.is_empty() => message = data,
            Ok(data) => message = [message, data].concat().into(),
            Err(frame) => return Ok((message, frame.into_trailers().ok())),
        }
    }
    Ok((message, None))
}

async fn open(connector: &Connector) -> Result<SendRequest<Full<Bytes>>, Error> {
    let stream = connector.connect().await?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(stream)
        .await
        .map_err(|error| connector.unreachable(error))?;
    // Its end reaches the requests through their sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// A connection that could be made and then carried no answer: during a run it was lost, before it nobody there speaks gRPC.
fn lost(connector: &Connector, error: &hyper::Error) -> Error {
    let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    connector.not_oip(format!("no answer over HTTP/2: {reason}"))
}

fn uri(target: &Target, path: &str) -> Result<Uri, Error> {
    let scheme = if target.tls { "https" } else { "http" };
    let address = &target.address;
    format!("{scheme}://{address}{path}").parse().map_err(|_| Error::Url(address.clone()))
}

fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// The reason in the JSON that our server sends beside the status, else the message.
fn reason(status: &Status) -> Box<str> {
    #[derive(Deserialize)]
    struct Refusal {
        reason: String,
    }
    let json = status.metadata().get("x-punctual-refusal").and_then(|json| json.to_str().ok());
    let refusal = json.and_then(|json| serde_json::from_str::<Refusal>(json).ok());
    short(refusal.as_ref().map_or(status.message(), |refusal| &refusal.reason))
}

/// A message with gRPC's head: not compressed, and its length.
fn frame(message: &impl Message) -> Bytes {
    let length = u32::try_from(message.encoded_len()).expect("requests are far smaller than 4 GiB");
    let mut bytes = BytesMut::with_capacity(length as usize + 5);
    bytes.put_u8(0);
    bytes.put_u32(length);
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

fn decode<M: Message + Default>(body: &Bytes) -> Result<M, Status> {
    let message = body.get(5..).ok_or_else(|| Status::internal("the answer has no message"))?;
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// The request of `ModelInfer`, as far as the load generator fills it.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInferRequest {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// `timeout` and `priority`.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// Names, types and shapes.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<InferTensor>,
    /// The elements of each input.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub raw_input_contents: Vec<Bytes>,
}

/// One input of a [`ModelInferRequest`].
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "the protocol's own names")]
pub struct InferTensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// One parameter of a [`ModelInferRequest`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct InferParameter {
    /// Its value.
    #[prost(oneof = "ParameterChoice", tags = "2")]
    pub choice: Option<ParameterChoice>,
}

/// The value of an [`InferParameter`].
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum ParameterChoice {
    /// The only type of value that is sent.
    #[prost(int64, tag = "2")]
    Int64(i64),
}

#[derive(Clone, PartialEq, Message)]
struct ModelMetadataRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ModelMetadataResponse {
    #[prost(message, repeated, tag = "4")]
    inputs: Vec<InferTensor>,
}

impl From<InferTensor> for InputMetadata {
    fn from(tensor: InferTensor) -> Self {
        Self { name: tensor.name, datatype: tensor.datatype, shape: tensor.shape }
    }
}

impl ModelInferRequest {
    fn new(share: &Share, tensors: Vec<Tensor>) -> Self {
        let int64 = |value: u128| InferParameter {
            choice: Some(ParameterChoice::Int64(i64::try_from(value).unwrap_or(i64::MAX))),
        };
        let mut parameters = BTreeMap::new();
        if let Some(slo) = share.slo {
            parameters.insert("timeout".to_owned(), int64(slo.latency.as_micros()));
        }
        if share.priority > 0 {
            parameters.insert("priority".to_owned(), int64(share.priority.into()));
        }
        let (inputs, raw_input_contents) = tensors
            .into_iter()
            .map(|tensor| {
                let datatype = tensor.datatype.name().to_owned();
                (
                    InferTensor { name: tensor.name, datatype, shape: tensor.shape },
                    tensor.raw.into(),
                )
            })
            .unzip();
        Self { model_name: share.model.clone(), parameters, inputs, raw_input_contents }
    }
}
