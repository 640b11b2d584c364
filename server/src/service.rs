//! What both protocols ask of the server, in plain types: the HTTP and gRPC layers only translate.

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
