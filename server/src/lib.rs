//! The shell: HTTP and gRPC in, clock, configuration and metrics; drives the router.

pub mod clock;
pub mod driver;
pub mod infer;
pub mod record;
pub mod service;
pub mod status;
