//! The gRPC front: `GRPCInferenceService`, health and reflection over cleartext HTTP/2.
//!
//! Tensors are slices of the received message. A dropped call (the client's deadline, its cancel, its disconnect)
//! drops the future of [`Service::infer`], which takes a waiting request out of its queue.

mod call;
mod change;
mod codec;
mod deadline;
mod decode;
mod describe;
mod encode;
mod front;
mod health;
mod refusal;
mod serve;
mod stream;

#[cfg(test)]
mod codegen;
#[cfg(test)]
mod tests;

/// Messages, server and client of `proto/grpc_service.proto`, generated.
#[rustfmt::skip]
#[expect(
    missing_docs, unused_qualifications, clippy::all, clippy::pedantic, clippy::restriction,
    reason = "generated code, compared with the .proto files by a test"
)]
pub mod inference;

use std::sync::Arc;

pub use self::serve::{Limits, serve, serve_with};
use crate::infer::{InferRequest, InferResponse};
use crate::service::Service;
use crate::status::Failure;

/// What runs an inference: the [`Service`], or an echo where the cost of this layer alone is measured.
pub trait Infer: Send + Sync + 'static {
    /// Runs one inference. Dropping the future cancels the request if it still waits.
    fn infer(
        &self,
        request: InferRequest,
    ) -> impl Future<Output = Result<InferResponse, Failure>> + Send;
}

impl Infer for Arc<Service> {
    fn infer(
        &self,
        request: InferRequest,
    ) -> impl Future<Output = Result<InferResponse, Failure>> + Send {
        Service::infer(self, request)
    }
}
