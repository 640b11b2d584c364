//! The shell: HTTP and gRPC in, clock, configuration and metrics; drives the router.

pub mod answer;
pub mod check;
pub mod clock;
pub mod driver;
pub mod http;
pub mod grpc;
pub mod infer;
pub mod metrics;
pub mod record;
pub mod served;
pub mod service;
pub mod statistics;
pub mod status;
pub mod tensor;
