//! The shell: HTTP and gRPC in, clock, configuration and metrics; drives the router.

pub mod config;
pub mod infer;
pub mod logging;
pub mod service;
pub mod shutdown;
pub mod status;
