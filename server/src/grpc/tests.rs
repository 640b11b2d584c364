//! The front over real sockets, with inferences that do what the name of the model says.

mod limits;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::inference::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::InferInputTensor;
use super::inference::*;
use super::*;
use crate::budget::Budget;
use crate::infer::{OutputTensor, RequestTiming};
use crate::shutdown::Shutdown;
use crate::status::Refusal;

/// Answers with its inputs, once `permits` lets it, and tells `events` what happens.
struct Scripted {
    permits: Semaphore,
    events: mpsc::UnboundedSender<Event>,
}

#[derive(Debug, PartialEq)]
enum Event {
    Started { id: String, timeout: Option<Duration> },
    Dropped(String),
    Answered(String),
}

struct Running<'a>(&'a Scripted, Option<String>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.1.take() {
            let _ = self.0.events.send(Event::Dropped(id));
        }
    }
}

impl Infer for Scripted {
    async fn infer(&self, request: InferRequest) -> Result<InferResponse, Failure> {
        let id = request.id.clone();
        let _ = self.events.send(Event::Started { id: id.clone(), timeout: request.timeout });
        let mut running = Running(self, Some(id.clone()));
        match request.model.as_str() {
            "gated" => self.permits.acquire().await.unwrap().forget(),
            "refused" => return Err(Failure::Refused(refusal())),
            _ => {}
        }
        running.1 = None;
        let _ = self.events.send(Event::Answered(id));
        let echo = |input: crate::infer::InputTensor| OutputTensor {
            name: input.name,
            datatype: input.datatype.unwrap(),
            shape: input.shape,
            data: input.data,
        };
        Ok(InferResponse {
            model: request.model,
            version: "1".into(),
            id: request.id,
            outputs: request.inputs.into_iter().map(echo).collect(),
            choice: None,
            cached: None,
            timing: RequestTiming {
                queue: Duration::from_micros(7),
                batch: 3,
                ..RequestTiming::default()
            },
        })
    }
}

fn refusal() -> Refusal {
    let (predicted, deadline) = (Some(Duration::from_millis(9)), Some(Duration::from_millis(5)));
    Refusal {
        error: "too late".into(),
        reason: "deadline_unreachable",
        predicted,
        deadline,
        retry_after: Some(Duration::ZERO),
    }
}

struct Server {
    scripted: Arc<Scripted>,
    events: mpsc::UnboundedReceiver<Event>,
    address: std::net::SocketAddr,
    channel: Channel,
    shutdown: Shutdown,
    budget: Arc<Budget>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start() -> Self {
        Self::start_within(Limits::default(), 1 << 30).await
    }

    async fn start_within(limits: Limits, bytes_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, budget) = (Shutdown::default(), Arc::new(Budget::new(bytes_max)));
        let (sender, events) = mpsc::unbounded_channel();
        let scripted = Arc::new(Scripted { permits: Semaphore::new(0), events: sender });
        let service = Service::empty();
        let served = tokio::spawn({
            let (shutdown, budget) = (shutdown.clone(), Arc::clone(&budget));
            let front = (service, Arc::clone(&scripted));
            async move { serve_with(listener, front, limits, budget, &shutdown).await }
        });
        let url = format!("http://{address}");
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Self { scripted, events, address, channel, shutdown, budget, served }
    }

    fn client(&self) -> Client<Channel> {
        Client::new(self.channel.clone())
    }

    async fn stop(self) {
        self.shutdown.begin();
        self.shutdown.close();
        self.served.await.unwrap().unwrap();
    }

    async fn started(&mut self) -> String {
        match self.events.recv().await.unwrap() {
            Event::Started { id, .. } => id,
            event @ (Event::Dropped(_) | Event::Answered(_)) => panic!("{event:?}"),
        }
    }
}

fn request(model: &str, id: &str) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![1, 2],
        ..Default::default()
    };
    ModelInferRequest {
        model_name: model.into(),
        id: id.into(),
        inputs: vec![input],
        raw_input_contents: vec![[1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat().into()],
        ..Default::default()
    }
}

fn answered_id(answer: &ModelStreamInferResponse) -> &str {
    &answer.infer_response.as_ref().unwrap().id
}

#[tokio::test]
async fn an_inference_is_answered_raw_with_timing_in_the_metadata() {
    let server = Server::start().await;
    let response = server.client().model_infer(request("echo", "a")).await.unwrap();
    assert_eq!(response.metadata().get("x-punctual-queue-us").unwrap(), "7");
    assert_eq!(response.metadata().get("x-punctual-batch").unwrap(), "3");
    let response = response.into_inner();
    assert_eq!((response.id.as_str(), response.model_version.as_str()), ("a", "1"));
    assert_eq!(
        (response.outputs[0].datatype.as_str(), &response.outputs[0].shape[..]),
        ("FP32", &[1, 2][..])
    );
    assert_eq!(response.raw_output_contents, request("echo", "a").raw_input_contents);
    assert!(response.parameters.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn the_clients_own_timeout_is_the_deadline() {
    let mut server = Server::start().await;
    let mut timed = Request::new(request("echo", "a"));
    timed.set_timeout(Duration::from_secs(5));
    server.client().model_infer(timed).await.unwrap();
    let timeout = Some(Duration::from_secs(5));
    assert_eq!(server.events.recv().await.unwrap(), Event::Started { id: "a".into(), timeout });
}

#[tokio::test]
async fn refusals_say_their_numbers() {
    let server = Server::start().await;
    let status = server.client().model_infer(request("refused", "a")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "too late"));
    assert_eq!(
        status.metadata().get("x-punctual-refusal").unwrap().to_str().unwrap(),
        refusal().to_json()
    );
    assert!(!status.details().is_empty());
}

#[tokio::test]
async fn a_cancelled_call_drops_its_waiting_request() {
    let mut server = Server::start().await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.model_infer(request("gated", "a")).await });
    assert_eq!(server.started().await, "a");
    call.abort();
    assert_eq!(server.events.recv().await.unwrap(), Event::Dropped("a".into()));
}

#[tokio::test]
async fn answers_of_a_stream_come_in_the_order_of_its_requests() {
    let mut server = Server::start().await;
    let requests =
        tokio_stream::iter([request("gated", "a"), request("echo", "b"), request("echo", "c")]);
    let answers = server.client().model_stream_infer(requests).await.unwrap().into_inner();
    loop {
        if server.events.recv().await.unwrap() == Event::Answered("c".into()) {
            break;
        }
    }
    server.scripted.permits.add_permits(1);
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.iter().map(answered_id).collect::<Vec<_>>(), ["a", "b", "c"]);
    for answer in &answers {
        let parameters = &answer.infer_response.as_ref().unwrap().parameters;
        assert_eq!(
            parameters["triton_final_response"].parameter_choice,
            Some(ParameterChoice::BoolParam(true))
        );
    }
}

#[tokio::test]
async fn a_stream_takes_a_bounded_number_of_requests_ahead_of_its_answers() {
    let mut server = Server::start().await;
    let most = stream::IN_FLIGHT_MAX;
    let requests: Vec<_> = (0..most + 1).map(|i| request("gated", &i.to_string())).collect();
    let mut answers = server
        .client()
        .model_stream_infer(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    for i in 0..most {
        assert_eq!(server.started().await, i.to_string());
    }
    // A call made after all of them is answered, so the stream has had its turn.
    server.client().server_live(ServerLiveRequest {}).await.unwrap();
    assert!(server.events.try_recv().is_err());
    server.scripted.permits.add_permits(most + 1);
    for i in 0..=most {
        assert_eq!(answered_id(&answers.next().await.unwrap().unwrap()), i.to_string());
    }
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn failures_of_a_stream_are_answers_and_it_goes_on() {
    let server = Server::start().await;
    let mut wrong = request("echo", "wrong");
    wrong.raw_input_contents.clear();
    let requests = tokio_stream::iter([wrong, request("refused", "late"), request("echo", "good")]);
    let answers = server.client().model_stream_infer(requests).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.iter().map(answered_id).collect::<Vec<_>>(), ["wrong", "late", "good"]);
    assert_eq!(
        answers[0].error_message,
        "unable to find data for input tensor 'x' for model 'echo' in request."
    );
    assert_eq!(answers[1].error_message, "too late");
    let parameters = &answers[1].infer_response.as_ref().unwrap().parameters;
    let json = ParameterChoice::StringParam(refusal().to_json());
    assert_eq!(parameters["x-punctual-refusal"].parameter_choice, Some(json));
    assert_eq!(answers[2].error_message, "");
}

#[tokio::test]
async fn a_stream_that_asks_for_statuses_ends_with_the_first_failure() {
    let server = Server::start().await;
    let mut call = Request::new(tokio_stream::iter([
        request("echo", "good"),
        request("refused", "late"),
        request("echo", "no"),
    ]));
    call.metadata_mut().insert("triton_grpc_error", "true".parse().unwrap());
    let answers = server.client().model_stream_infer(call).await.unwrap().into_inner();
    let answers: Vec<Result<_, Status>> = answers.collect().await;
    assert_eq!(answers.len(), 2);
    assert_eq!(answered_id(answers[0].as_ref().unwrap()), "good");
    assert_eq!(answers[1].as_ref().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_cancelled_stream_drops_all_its_waiting_requests() {
    let mut server = Server::start().await;
    let (sender, receiver) = mpsc::channel(2);
    let answers = server.client().model_stream_infer(ReceiverStream::new(receiver)).await.unwrap();
    for id in ["a", "b"] {
        sender.send(request("gated", id)).await.unwrap();
        assert_eq!(server.started().await, id);
    }
    drop((answers, sender));
    let dropped = [server.events.recv().await.unwrap(), server.events.recv().await.unwrap()];
    assert_eq!(dropped, [Event::Dropped("a".into()), Event::Dropped("b".into())]);
}

#[tokio::test]
async fn shutting_down_answers_what_was_accepted_and_ends_streams() {
    let mut server = Server::start().await;
    let (sender, receiver) = mpsc::channel(2);
    let mut answers = server
        .client()
        .model_stream_infer(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    sender.send(request("gated", "a")).await.unwrap();
    assert_eq!(server.started().await, "a");
    server.shutdown.begin();
    server.scripted.permits.add_permits(1);
    assert_eq!(answered_id(&answers.next().await.unwrap().unwrap()), "a");
    assert_eq!(answers.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    // Until serving ends, other calls are answered.
    server.client().server_live(ServerLiveRequest {}).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn answers_are_compressed_only_for_clients_that_compress() {
    let server = Server::start().await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut reader = server.client().accept_compressed(encoding);
        let plain = reader.model_infer(request("echo", "a")).await.unwrap();
        assert!(plain.metadata().get("grpc-encoding").is_none());
        let packed =
            reader.send_compressed(encoding).model_infer(request("echo", "a")).await.unwrap();
        assert!(packed.metadata().get("grpc-encoding").is_some());
        assert_eq!(packed.into_inner(), plain.into_inner());
    }
}

#[tokio::test]
async fn questions_about_unknown_models_get_tritons_answers() {
    let server = Server::start().await;
    let mut client = server.client();
    let name = || "nope".to_owned();
    let ready =
        client.model_ready(ModelReadyRequest { name: name(), ..Default::default() }).await.unwrap();
    assert!(!ready.into_inner().ready);
    let metadata = client
        .model_metadata(ModelMetadataRequest { name: name(), ..Default::default() })
        .await
        .unwrap_err();
    let config = client
        .model_config(ModelConfigRequest { name: name(), ..Default::default() })
        .await
        .unwrap_err();
    for status in [metadata, config] {
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "Request for unknown model: 'nope' is not found");
    }
    let stats = client
        .model_statistics(ModelStatisticsRequest { name: name(), ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(
        (stats.code(), stats.message()),
        (Code::InvalidArgument, "requested model 'nope' is not available")
    );
}

#[tokio::test]
async fn shared_memory_is_forgotten_but_never_registered() {
    let server = Server::start().await;
    let mut client = server.client();
    client
        .system_shared_memory_unregister(SystemSharedMemoryUnregisterRequest::default())
        .await
        .unwrap();
    client
        .cuda_shared_memory_unregister(CudaSharedMemoryUnregisterRequest::default())
        .await
        .unwrap();
    let status = client
        .system_shared_memory_status(SystemSharedMemoryStatusRequest::default())
        .await
        .unwrap();
    assert!(status.into_inner().regions.is_empty());
    let system = client
        .system_shared_memory_register(SystemSharedMemoryRegisterRequest::default())
        .await
        .unwrap_err();
    let cuda = client
        .cuda_shared_memory_register(CudaSharedMemoryRegisterRequest::default())
        .await
        .unwrap_err();
    let trace = client.trace_setting(TraceSettingRequest::default()).await.unwrap_err();
    assert_eq!([system.code(), cuda.code(), trace.code()], [Code::Unimplemented; 3]);
}

#[tokio::test]
async fn repositories_have_no_names_and_loads_take_only_known_parameters() {
    let server = Server::start().await;
    let mut client = server.client();
    let index = RepositoryIndexRequest { repository_name: "r".into(), ready: false };
    assert_eq!(client.repository_index(index).await.unwrap_err().code(), Code::Unimplemented);
    let mut load = RepositoryModelLoadRequest { model_name: "m".into(), ..Default::default() };
    load.parameters.insert("config".into(), ModelRepositoryParameter::default());
    assert_eq!(client.repository_model_load(load).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn log_settings_are_told_and_unknown_ones_refused() {
    let server = Server::start().await;
    let told =
        server.client().log_settings(LogSettingsRequest::default()).await.unwrap().into_inner();
    assert_eq!(told.settings.len(), 6);
    let mut unknown = LogSettingsRequest::default();
    unknown.settings.insert("log_loudly".into(), log_settings_request::SettingValue::default());
    assert_eq!(
        server.client().log_settings(unknown).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn health_knows_the_server_and_refuses_unknown_names() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let named = |service: &str| HealthCheckRequest { service: service.into() };
    let not_ready = HealthCheckResponse { status: ServingStatus::NotServing.into() };
    assert_eq!(health.check(named("")).await.unwrap().into_inner(), not_ready);
    assert_eq!(health.check(named("nope")).await.unwrap_err().code(), Code::NotFound);
    let mut watched = health.watch(named("")).await.unwrap().into_inner();
    assert_eq!(watched.next().await.unwrap().unwrap(), not_ready);
    server.shutdown.close();
    assert!(watched.next().await.is_none());
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let server = Server::start().await;
    let mut grpc = tonic::client::Grpc::new(server.channel.clone());
    for path in ["/inference.GRPCInferenceService/Nope", "/nope.Nope/Nope"] {
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ServerLiveRequest, ServerLiveResponse>::default();
        let answer =
            grpc.unary(Request::new(ServerLiveRequest {}), path.parse().unwrap(), codec).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn reflection_lists_and_describes_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let server = Server::start().await;
    let ask =
        |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let questions = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("inference.ModelConfig".into())),
    ]);
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();
    let mut next = async || answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = next().await else { panic!("no list") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
}
