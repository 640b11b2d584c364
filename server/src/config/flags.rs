//! The flags of `punctual serve`, which are also the keys of its settings file.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::device::DeviceChoice;
use super::size::Size;
use super::span::Span;

/// What a settings file or the command line says; nothing where it is silent. Triton's names where Triton has the
/// flag. In the file, repeatable flags are lists.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Flags {
    /// Settings file (TOML) with the same names as these flags, which win over it
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Name of this server in its metadata [default: punctual]
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub id: Option<String>,
    /// Threads that read and write connections [default: cores that no executor has, at least 1]
    #[arg(long, value_name = "N", help_heading = "Server")]
    pub io_threads: Option<usize>,
    /// Seconds that accepted requests get to finish after SIGTERM, before the exit code is 1 [default: 30]
    #[arg(long, value_name = "SECONDS", help_heading = "Server")]
    pub exit_timeout_secs: Option<u64>,
    /// Bytes of all requests and answers held at once, of HTTP and gRPC together; more requests are refused [default: 1073741824]
    #[arg(long, alias = "http-bodies-bytes-max", value_name = "BYTES", help_heading = "Server")]
    #[serde(alias = "http-bodies-bytes-max")]
    pub bodies_bytes_max: Option<usize>,
    /// How long a client may take next to nothing of its answers, at least 40ms, while more than half of those bytes are
    /// held, before it is cut off [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Server")]
    pub send_timeout: Option<Span>,
    /// Memory that is touched before the server is ready and kept for requests; freed memory is not given back to the system
    /// [default: 128MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Server")]
    pub memory_ready: Option<Size>,
    /// File that gets the bound ports as JSON, once the server listens; ports may then be 0
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub ports_file: Option<PathBuf>,
    /// File that gets every event of the scheduler, for `punctual-sim replay`
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub record: Option<PathBuf>,

    /// Folder of models in Triton's layout; may be given several times
    #[arg(long, alias = "model-store", value_name = "FOLDER", help_heading = "Models")]
    pub model_repository: Option<Vec<PathBuf>>,
    /// When models are loaded: none = all at the start, poll = also when files change, explicit = on request
    /// [default: none]
    #[arg(long, value_name = "MODE", help_heading = "Models")]
    pub model_control_mode: Option<ControlMode>,
    /// Seconds between two looks at the repositories, in mode poll [default: 15]
    #[arg(long, value_name = "SECONDS", help_heading = "Models")]
    pub repository_poll_secs: Option<u64>,
    /// Model to load at the start, in mode explicit; `*` for all; may be given several times
    #[arg(long, value_name = "MODEL", help_heading = "Models")]
    pub load_model: Option<Vec<String>>,
    /// Ready only when every model to be loaded at the start is ready [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "Models")]
    pub strict_readiness: Option<bool>,
    /// Exit when a model cannot be loaded at the start [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "Models")]
    pub exit_on_error: Option<bool>,
    /// Refuse models that have no config.pbtxt, instead of reading all from the model file
    #[arg(long, num_args = 0, default_missing_value = "true", value_parser = truth, help_heading = "Models")]
    pub disable_auto_complete_config: Option<bool>,
    /// Threads that load models, all of the lowest priority [default: 1]
    #[arg(long, value_name = "N", help_heading = "Models")]
    pub model_load_thread_count: Option<usize>,
    /// Longest time that measuring a model may take when it is loaded the first time [default: 2s]
    #[arg(long, value_name = "TIME", help_heading = "Models")]
    pub profile_budget: Option<Span>,

    /// cpu | cpu:N | cpu:NxT (N executors of T cores) | cuda:K | emulated:PROFILE; may be given several times
    /// [default: cpu, which is an executor for each core but one]
    #[arg(long, value_name = "DEVICE", help_heading = "Devices")]
    pub device: Option<Vec<DeviceChoice>>,
    /// Memory for models on each executor, such as 2GiB: once for all, or once for each [default: unlimited, every model on
    /// every executor]
    #[arg(long, value_name = "SIZE", help_heading = "Devices")]
    pub device_memory: Option<Vec<Size>>,
    /// The ONNX Runtime library, or its folder [default: beside the program, or target/onnxruntime/lib]
    #[arg(long, value_name = "PATH", help_heading = "Devices")]
    pub onnxruntime: Option<PathBuf>,

    /// Which requests run together, and when [default: window]
    #[arg(long, value_name = "NAME", help_heading = "Scheduling")]
    pub policy: Option<String>,
    /// Which requests may enter [default: feasible]
    #[arg(long, value_name = "NAME", help_heading = "Scheduling")]
    pub admission: Option<String>,
    /// Which batch gets an idle executor [default: earliest_latest_start]
    #[arg(long, value_name = "NAME", help_heading = "Scheduling")]
    pub dispatch: Option<String>,
    /// Requests that may wait for one model, where the model does not say [default: 1000]
    #[arg(long, value_name = "N", help_heading = "Scheduling")]
    pub queue_max: Option<usize>,
    /// Which models are on which executors, decided anew each epoch from what was asked for [default: by_accuracy, where
    /// --device-memory is given]
    #[arg(long, value_name = "NAME", help_heading = "Scheduling")]
    pub placement: Option<String>,
    /// Time between two placements [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Scheduling")]
    pub placement_epoch: Option<Span>,
    /// The most loads that one placement begins [default: 4]
    #[arg(long, value_name = "N", help_heading = "Scheduling")]
    pub placement_moves: Option<usize>,
    /// Load a model for a request that no executor could answer in time, where that helps [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "Scheduling")]
    pub placement_on_demand: Option<bool>,

    /// Serve HTTP [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "HTTP")]
    pub allow_http: Option<bool>,
    /// Port of HTTP, 0 for any free one [default: 8000]
    #[arg(long, value_name = "PORT", help_heading = "HTTP")]
    pub http_port: Option<u16>,
    /// Address of HTTP [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS", help_heading = "HTTP")]
    pub http_address: Option<IpAddr>,
    /// Bytes of the largest body accepted, decompressed [default: 67108864]
    #[arg(long, value_name = "BYTES", help_heading = "HTTP")]
    pub http_max_input_size: Option<usize>,
    /// Leave out the x-punctual-* timing headers
    #[arg(long, num_args = 0, default_missing_value = "true", value_parser = truth, help_heading = "HTTP")]
    pub no_timing_headers: Option<bool>,
    /// Connections open at once [default: 4096]
    #[arg(long, value_name = "N", help_heading = "HTTP")]
    pub http_connections_max: Option<usize>,
    /// Bytes of a request's line and headers [default: 32768]
    #[arg(long, value_name = "BYTES", help_heading = "HTTP")]
    pub http_header_bytes_max: Option<usize>,
    /// How long a connection may be idle, or take over its headers [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "HTTP")]
    pub http_header_timeout: Option<Span>,
    /// How long a body may take to arrive [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "HTTP")]
    pub http_body_timeout: Option<Span>,

    /// Serve gRPC [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "gRPC")]
    pub allow_grpc: Option<bool>,
    /// Port of gRPC, 0 for any free one [default: 8001]
    #[arg(long, value_name = "PORT", help_heading = "gRPC")]
    pub grpc_port: Option<u16>,
    /// Address of gRPC [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS", help_heading = "gRPC")]
    pub grpc_address: Option<IpAddr>,
    /// Bytes of the largest message accepted, decompressed [default: 2147483647, or --bodies-bytes-max if that is less]
    #[arg(long, value_name = "BYTES", help_heading = "gRPC")]
    pub grpc_max_input_size: Option<usize>,
    /// How long a message may take to arrive [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "gRPC")]
    pub grpc_message_timeout: Option<Span>,

    /// Serve metrics [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "Metrics")]
    pub allow_metrics: Option<bool>,
    /// Port of metrics, 0 for any free one [default: 8002]
    #[arg(long, value_name = "PORT", help_heading = "Metrics")]
    pub metrics_port: Option<u16>,
    /// Address of metrics [default: that of HTTP]
    #[arg(long, value_name = "ADDRESS", help_heading = "Metrics")]
    pub metrics_address: Option<IpAddr>,

    /// 0 for no verbose lines, 1 for details, 2 for a line for each request [default: 0]
    #[arg(long, value_name = "LEVEL", help_heading = "Logging")]
    pub log_verbose: Option<u32>,
    /// Log lines of level INFO [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "Logging")]
    pub log_info: Option<bool>,
    /// Log lines of level WARN [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "Logging")]
    pub log_warning: Option<bool>,
    /// Log lines of level ERROR [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth, help_heading = "Logging")]
    pub log_error: Option<bool>,
    /// default and ISO8601 are text, json is one object a line [default: default]
    #[arg(long, value_name = "FORMAT", help_heading = "Logging")]
    pub log_format: Option<String>,
    /// File that gets the log [default: standard error]
    #[arg(long, value_name = "FILE", help_heading = "Logging")]
    pub log_file: Option<PathBuf>,
}

/// When models are loaded and unloaded.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlMode {
    /// All at the start, none later.
    #[default]
    None,
    /// All at the start, and what changes in the repositories later.
    Poll,
    /// Those named at the start, and what clients ask for later.
    Explicit,
}

/// Triton's booleans.
fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true, false, 1 and 0 are allowed".into()),
    }
}
