//! What both protocols ask of the server, in plain types: the HTTP and gRPC layers only translate.

use std::collections::BTreeMap;

use prost_reflect::DynamicMessage;

use crate::infer::{InferRequest, InferResponse};
use crate::status::Failure;

/// Everything that HTTP and gRPC offer. Shared by all connections.
#[derive(Debug)]
pub struct Service {}

/// `GET /v2`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ServerMetadata {
    /// `punctual`.
    pub name: String,
    /// The crate's version.
    pub version: String,
    /// Only what works.
    pub extensions: Vec<&'static str>,
}

/// `GET /v2/models/{m}`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ModelMetadata {
    /// The model's name.
    pub name: String,
    /// The versions served.
    pub versions: Vec<String>,
    /// `onnxruntime_onnx`.
    pub platform: &'static str,
    /// In the model's order.
    pub inputs: Vec<TensorMetadata>,
    /// In the model's order.
    pub outputs: Vec<TensorMetadata>,
}

/// One input or output of [`ModelMetadata`].
#[derive(Clone, Debug, serde::Serialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// The protocol's type name.
    pub datatype: &'static str,
    /// -1 where it varies, the batch axis included.
    pub shape: Vec<i64>,
}

/// One line of the repository index.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct IndexEntry {
    /// The model's name.
    pub name: String,
    /// Absent for a model that was never loaded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `READY`, `UNAVAILABLE`, `LOADING`, `UNLOADING`, or absent.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What one version of a model has done since it was loaded: an entry of `GET /v2/models/stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ModelStatistics {
    /// The model's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Milliseconds since 1970; 0 for none.
    pub last_inference: u64,
    /// Rows of the successful requests.
    pub inference_count: u64,
    /// Batches run.
    pub execution_count: u64,
    /// By requests.
    pub inference_stats: InferStatistics,
    /// By responses of decoupled models, which there are none of.
    pub response_stats: BTreeMap<String, StatisticDuration>,
    /// By batches, a row for each size that ran.
    pub batch_stats: Vec<BatchStatistics>,
    /// Memory held by the model.
    pub memory_usage: Vec<MemoryUsage>,
}

/// Where the time of requests went. The three `compute_*` counts are equal: perf_analyzer stops if they are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "Triton's own keys")]
pub struct InferStatistics {
    pub success: StatisticDuration,
    pub fail: StatisticDuration,
    pub queue: StatisticDuration,
    pub compute_input: StatisticDuration,
    pub compute_infer: StatisticDuration,
    pub compute_output: StatisticDuration,
    pub cache_hit: StatisticDuration,
    pub cache_miss: StatisticDuration,
}

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "Triton's own keys")]
pub struct StatisticDuration {
    pub count: u64,
    pub ns: u64,
}

/// Where the time of the batches of one size went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "Triton's own keys")]
pub struct BatchStatistics {
    pub batch_size: u64,
    pub compute_input: StatisticDuration,
    pub compute_infer: StatisticDuration,
    pub compute_output: StatisticDuration,
}

/// Memory of one kind held by a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryUsage {
    /// `CPU`, `GPU`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The device's number.
    pub id: i64,
    /// Bytes.
    pub byte_size: u64,
}

/// What `load` may override.
#[derive(Clone, Debug, Default)]
pub struct LoadOverrides {
    /// A whole model configuration as JSON text, in place of config.pbtxt.
    pub config: Option<String>,
    /// Files by path inside the model's folder (`1/model.onnx`), in place of the repository's. Needs `config`.
    pub files: Vec<(String, bytes::Bytes)>,
}

/// `GET /v2/logging`, in Triton's keys.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "Triton's own keys")]
pub struct LogSettings {
    pub log_file: String,
    pub log_info: bool,
    pub log_warning: bool,
    pub log_error: bool,
    pub log_verbose_level: u32,
    pub log_format: String,
}

impl Service {
    /// Runs one inference. Dropping the future cancels the request if it still waits.
    ///
    /// # Errors
    /// Bad requests, refusals by the scheduler, failures of the model: see [`Failure`].
    pub async fn infer(&self, _request: InferRequest) -> Result<InferResponse, Failure> {
        Err(Failure::Unavailable("no model is served".into()))
    }

    /// The process answers.
    #[must_use]
    pub fn live(&self) -> bool {
        true
    }

    /// All start-up models are ready and the server is not shutting down.
    #[must_use]
    pub fn ready(&self) -> bool {
        false
    }

    /// That model (version) answers inference requests.
    #[must_use]
    pub fn model_ready(&self, _model: &str, _version: Option<&str>) -> bool {
        false
    }

    /// Name, version and extensions.
    #[must_use]
    pub fn metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: "punctual".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: Vec::new(),
        }
    }

    /// The names of all models of the repositories, in order.
    #[must_use]
    pub fn model_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Inputs, outputs and versions of a model.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn model_metadata(
        &self,
        model: &str,
        _version: Option<&str>,
    ) -> Result<ModelMetadata, Failure> {
        Err(Failure::NotFound(format!("Request for unknown model: '{model}' is not found")))
    }

    /// The configuration of a model with defaults filled in, an `inference.ModelConfig`.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn model_config(
        &self,
        model: &str,
        _version: Option<&str>,
    ) -> Result<DynamicMessage, Failure> {
        Err(Failure::NotFound(format!("Request for unknown model: '{model}' is not found")))
    }

    /// The same in Triton's JSON form.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn model_config_json(
        &self,
        model: &str,
        _version: Option<&str>,
    ) -> Result<serde_json::Value, Failure> {
        Err(Failure::NotFound(format!("Request for unknown model: '{model}' is not found")))
    }

    /// The measured latency profile of a model, and how good its predictions are.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn profile_json(
        &self,
        model: &str,
        _version: Option<&str>,
    ) -> Result<serde_json::Value, Failure> {
        Err(Failure::NotFound(format!("Request for unknown model: '{model}' is not found")))
    }

    /// What a model has done, every version if none is named; every model if none is named.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn statistics(
        &self,
        model: Option<&str>,
        _version: Option<&str>,
    ) -> Result<Vec<ModelStatistics>, Failure> {
        match model {
            Some(model) => {
                Err(Failure::Invalid(format!("requested model '{model}' is not available")))
            }
            None => Ok(Vec::new()),
        }
    }

    /// The repository index; only ready models if `ready`.
    #[must_use]
    pub fn index(&self, _ready: bool) -> Vec<IndexEntry> {
        Vec::new()
    }

    /// Loads or reloads a model and returns once it is ready.
    ///
    /// # Errors
    /// What was wrong with the model, or the control mode forbids it.
    pub async fn load(&self, model: &str, _overrides: LoadOverrides) -> Result<(), Failure> {
        Err(Failure::Internal(format!(
            "failed to load '{model}', failed to poll from model repository"
        )))
    }

    /// Starts unloading a model: it is refused to new requests at once, and gone when its accepted ones are answered.
    ///
    /// # Errors
    /// The control mode forbids it.
    pub async fn unload(&self, _model: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// The log settings in force.
    #[must_use]
    pub fn logging(&self) -> LogSettings {
        LogSettings {
            log_file: String::new(),
            log_info: true,
            log_warning: true,
            log_error: true,
            log_verbose_level: 0,
            log_format: "default".into(),
        }
    }

    /// Changes the log settings.
    ///
    /// # Errors
    /// A setting that cannot be changed at run time.
    pub fn set_logging(&self, _settings: LogSettings) -> Result<LogSettings, Failure> {
        Ok(self.logging())
    }

    /// The largest request body accepted, in bytes.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        64 << 20
    }

    /// Whether answers carry the `x-punctual-*` timing headers.
    #[must_use]
    pub fn timing_headers(&self) -> bool {
        true
    }
}
