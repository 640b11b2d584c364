//! The shell: HTTP and gRPC in, clock, configuration and metrics; drives the router.

pub mod answer;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cores;
pub mod driver;
pub mod gather;
pub mod grpc;
pub mod http;
pub mod infer;
pub mod logging;
pub mod metrics;
pub mod pad;
pub mod post;
pub mod profiles;
pub mod record;
pub mod repository;
pub mod served;
pub mod service;
pub mod shutdown;
pub mod statistics;
pub mod status;
pub mod tensor;
pub mod way_out;
