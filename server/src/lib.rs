//! The shell: HTTP and gRPC in, clock, configuration and metrics; drives the router.

pub mod infer;
pub mod service;
pub mod status;
