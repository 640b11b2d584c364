//! The least that a server can do: bare hyper and tonic servers that send back the bytes they got, and a tonic server
//! that sends back the tensors it got, through the protocol's generated messages.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;

use bytes::{Buf, BufMut, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use server::grpc::inference::model_infer_request::InferInputTensor;
use server::grpc::inference::model_infer_response::InferOutputTensor;
use server::grpc::inference::{ModelInferRequest, ModelInferResponse};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

use crate::{Error, Served};

/// Which of the reference servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// hyper's HTTP/1.1.
    Http,
    /// tonic's gRPC, with messages that are bytes.
    Grpc,
    /// tonic's gRPC, with the generated messages of the protocol.
    GrpcMessages,
}

impl Reference {
    /// Starts this program again as a reference server, by its hidden subcommand of that name.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(self, core: Option<usize>) -> Result<Served, Error> {
        let program = std::env::current_exe().map_err(Error::system("cannot find this program"))?;
        let mut command = Command::new(program);
        command.arg(match self {
            Self::Http => "reference-http",
            Self::Grpc => "reference-grpc",
            Self::GrpcMessages => "reference-grpc-messages",
        });
        Served::start(command, core)
    }
}

/// Serves HTTP on this thread until the process is ended; writes its port to that file.
///
/// # Errors
/// No port, or no file.
pub fn serve_http(ports_file: &Path) -> Result<(), Error> {
    runtime()?.block_on(async {
        let listener = listen(ports_file).await?;
        loop {
            let (stream, _) = listener.accept().await.map_err(Error::system("cannot accept"))?;
            drop(stream.set_nodelay(true));
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                drop(http.serve_connection(TokioIo::new(stream), service_fn(echo)).await);
            });
        }
    })
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}

/// Serves gRPC on this thread until the process is ended; writes its port to that file. Messages are bytes, or those of
/// the protocol.
///
/// # Errors
/// No port, or no file.
pub fn serve_grpc(ports_file: &Path, messages: bool) -> Result<(), Error> {
    runtime()?.block_on(async {
        let listener = listen(ports_file).await?;
        let incoming =
            tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tonic::transport::Server::builder().add_service(Echo { messages });
        let ended = server.serve_with_incoming(incoming).await;
        ended.map_err(|error| Error::Server(error.to_string()))
    })
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(Error::system("cannot start a runtime"))
}

pub(crate) async fn listen(ports_file: &Path) -> Result<TcpListener, Error> {
    let failed = || Error::system("cannot listen");
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed())?;
    let port = listener.local_addr().map_err(failed())?.port();
    let ports = serde_json::json!({"http": port, "grpc": port}).to_string();
    std::fs::write(ports_file, ports).map_err(Error::system(ports_file.display().to_string()))?;
    Ok(listener)
}

/// The inference service with one method, whatever its name.
#[derive(Clone, Copy, Debug)]
struct Echo {
    messages: bool,
}

impl NamedService for Echo {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let echo = *self;
        if self.messages {
            let codec = ProstCodec::<ModelInferResponse, ModelInferRequest>::default();
            Box::pin(async move { Ok(Grpc::new(codec).unary(echo, request).await) })
        } else {
            Box::pin(async move { Ok(Grpc::new(Raw).unary(echo, request).await) })
        }
    }
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = std::future::Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

impl UnaryService<ModelInferRequest> for Echo {
    type Response = ModelInferResponse;
    type Future = std::future::Ready<Result<tonic::Response<ModelInferResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<ModelInferRequest>) -> Self::Future {
        let request = request.into_inner();
        let output = |input: InferInputTensor| InferOutputTensor {
            name: input.name,
            datatype: input.datatype,
            shape: input.shape,
            ..InferOutputTensor::default()
        };
        std::future::ready(Ok(tonic::Response::new(ModelInferResponse {
            model_name: request.model_name,
            model_version: request.model_version,
            id: request.id,
            outputs: request.inputs.into_iter().map(output).collect(),
            raw_output_contents: request.raw_input_contents,
            ..ModelInferResponse::default()
        })))
    }
}

/// A codec that neither encodes nor decodes.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
