//! `grpc.health.v1`: the server under the empty name and the service's, each model under its own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::service::Service;

/// How often a watched service is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Answers from the state of the service.
pub(super) struct ServiceHealth {
    pub(super) service: Arc<Service>,
    pub(super) stopping: watch::Receiver<bool>,
}

fn serving(service: &Service, name: &str) -> ServingStatus {
    let ready = match name {
        "" | "inference.GRPCInferenceService" => service.ready(),
        model if service.model_ready(model, None) => true,
        model if service.model_names().iter().any(|known| known == model) => false,
        _ => return ServingStatus::ServiceUnknown,
    };
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for ServiceHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = &request.get_ref().service;
        match serving(&self.service, name) {
            ServingStatus::ServiceUnknown => {
                Err(Status::not_found(format!("unknown service or model: '{name}'")))
            }
            status @ (ServingStatus::Unknown
            | ServingStatus::Serving
            | ServingStatus::NotServing) => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(watch_service(Arc::clone(&self.service), name, sender, self.stopping.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

type Sender = mpsc::Sender<Result<HealthCheckResponse, Status>>;

/// Sends the state at once and at each change, until the client leaves or the server stops.
async fn watch_service(
    service: Arc<Service>,
    name: String,
    sender: Sender,
    mut stopping: watch::Receiver<bool>,
) {
    let mut last = None;
    let mut stopped = false;
    loop {
        let status = if stopped { ServingStatus::NotServing } else { serving(&service, &name) };
        if last.replace(status) != Some(status) && sender.send(Ok(response(status))).await.is_err()
        {
            return;
        }
        if stopped {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => stopped = true,
            () = sender.closed() => return,
        }
    }
}
