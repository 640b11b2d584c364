//! The RPCs of `GRPCInferenceService`, each a translation.

use std::collections::BTreeMap;
use std::sync::Arc;

use batcher::Instant;
use prost::Message as _;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::call::Call;
use super::inference::grpc_inference_service_server::GrpcInferenceService;
use super::inference::*;
use super::refusal::status;
use super::stream::{Answers, Terms};
use super::{Infer, change, deadline, decode, describe, encode};
use crate::clock::Clock;
use crate::service::Service;
use crate::status::Failure;

/// What answers the RPCs.
pub(super) struct Front<I> {
    pub(super) service: Arc<Service>,
    pub(super) infer: Arc<I>,
    /// Becomes true when the server drains: streams then end.
    pub(super) stopping: watch::Receiver<bool>,
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, Failure>) -> Answer<T> {
    result.map(Response::new).map_err(|failure| status(&failure))
}

/// Protobuf's empty string stands for no version, no name.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn no_shared_memory<T>() -> Answer<T> {
    answer(Err(Failure::Unsupported(
        "shared memory is not supported by this server: send tensors in the message".to_owned(),
    )))
}

#[tonic::async_trait]
impl<I: Infer> GrpcInferenceService for Front<I> {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        answer(Ok(ServerLiveResponse { live: self.service.live() }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        answer(Ok(ServerReadyResponse { ready: self.service.ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.get_ref();
        answer(Ok(ModelReadyResponse { ready: self.service.model_ready(name, given(version)) }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Answer<ServerMetadataResponse> {
        answer(Ok(self.service.metadata().into()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Answer<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.get_ref();
        answer(self.service.model_metadata(name, given(version)).map(Into::into))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let (metadata, extensions, message) = request.into_parts();
        // Only where it came compressed; its bytes as they came are held already.
        let held = extensions.get::<Arc<Call>>().map(|call| call.hold(message.encoded_len()));
        let decoded = held
            .transpose()
            .and_then(|_| deadline::of_call(&metadata))
            .and_then(|deadline| decode::decode(message, deadline))
            .and_then(|request| deadline::with_goals(request, &metadata));
        let result = match decoded {
            Ok(request) => self.infer.infer(request).await,
            Err(failure) => Err(failure),
        };
        let result = result.map_err(|failure| status(&failure))?;
        let timing = result.timing;
        let mut response = Response::new(encode::response(result));
        if self.service.timing_headers() {
            encode::put_timing(response.metadata_mut(), &timing);
        }
        Ok(response)
    }

    type ModelStreamInferStream = Answers<I, Streaming<ModelInferRequest>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let (metadata, extensions, requests) = request.into_parts();
        let call = extensions.get::<Arc<Call>>().cloned();
        let terms = || {
            let client = deadline::of_client(&metadata)?;
            Ok(Terms {
                until: client.map(|timeout| (Clock::start(), Instant::ZERO + timeout)),
                each: deadline::of_request(&metadata)?,
                failure_ends: metadata
                    .get("triton_grpc_error")
                    .is_some_and(|value| value == "true"),
            })
        };
        let mut stopping = self.stopping.clone();
        let stopped = async move {
            // An error means that the server is gone, and so is this stream.
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        answer(
            terms()
                .map(|terms| Answers::new(Arc::clone(&self.infer), requests, terms, call, stopped)),
        )
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Answer<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.get_ref();
        let config = self
            .service
            .model_config(name, given(version))
            .and_then(|config| describe::config(&config));
        answer(config.map(|config| ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.get_ref();
        let models = self.service.statistics(given(name), given(version));
        answer(models.map(|models| ModelStatisticsResponse {
            model_stats: models.into_iter().map(Into::into).collect(),
        }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let RepositoryIndexRequest { repository_name, ready } = request.get_ref();
        let models = |()| self.service.index(*ready).into_iter().map(Into::into).collect();
        answer(
            change::no_repository_name(repository_name)
                .map(models)
                .map(|models| RepositoryIndexResponse { models }),
        )
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let RepositoryModelLoadRequest { repository_name, model_name, parameters } =
            request.into_inner();
        let overrides = change::no_repository_name(&repository_name)
            .and_then(|()| change::overrides(parameters));
        let loaded = match overrides {
            Ok(overrides) => self.service.load(&model_name, overrides).await,
            Err(failure) => Err(failure),
        };
        answer(loaded.map(|()| RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        // `unload_dependents` has nothing to say: no model here depends on another.
        let RepositoryModelUnloadRequest { repository_name, model_name, parameters: _ } =
            request.into_inner();
        let unloaded = match change::no_repository_name(&repository_name) {
            Ok(()) => self.service.unload(&model_name).await,
            Err(failure) => Err(failure),
        };
        answer(unloaded.map(|()| RepositoryModelUnloadResponse {}))
    }

    async fn system_shared_memory_status(
        &self,
        _: Request<SystemSharedMemoryStatusRequest>,
    ) -> Answer<SystemSharedMemoryStatusResponse> {
        answer(Ok(SystemSharedMemoryStatusResponse { regions: BTreeMap::new() }))
    }

    async fn system_shared_memory_register(
        &self,
        _: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Answer<SystemSharedMemoryRegisterResponse> {
        no_shared_memory()
    }

    /// Succeeds, as with Triton for an unknown region: perf_analyzer starts with it.
    async fn system_shared_memory_unregister(
        &self,
        _: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<SystemSharedMemoryUnregisterResponse> {
        answer(Ok(SystemSharedMemoryUnregisterResponse {}))
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<CudaSharedMemoryStatusRequest>,
    ) -> Answer<CudaSharedMemoryStatusResponse> {
        answer(Ok(CudaSharedMemoryStatusResponse { regions: BTreeMap::new() }))
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Answer<CudaSharedMemoryRegisterResponse> {
        no_shared_memory()
    }

    /// Succeeds, as with Triton for an unknown region: perf_analyzer starts with it.
    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Answer<CudaSharedMemoryUnregisterResponse> {
        answer(Ok(CudaSharedMemoryUnregisterResponse {}))
    }

    async fn trace_setting(&self, _: Request<TraceSettingRequest>) -> Answer<TraceSettingResponse> {
        answer(Err(Failure::Unsupported("tracing is not supported by this server".to_owned())))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Answer<LogSettingsResponse> {
        let log = match change::log_settings(request.into_inner(), self.service.logging()) {
            Ok(Some(changed)) => self.service.set_logging(changed),
            Ok(None) => Ok(self.service.logging()),
            Err(failure) => Err(failure),
        };
        answer(log.map(change::log_response))
    }
}
