//! What the service answers, in the protocol's own keys.

use std::time::Duration;

use router::Prediction;
use serde_json::json;

use crate::served::Served;

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

/// An input or output in the protocol's words.
pub(super) fn tensor(spec: &models::TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.name(),
        shape: spec.dims.iter().map(models::Dim::protocol).collect(),
    }
}

/// `GET /v2/models/{m}/profile`.
pub(super) fn profile_json(
    served: &Served,
    waiting: usize,
    prediction: Option<Prediction>,
) -> serde_json::Value {
    let micros = |time: Duration| (time.as_secs_f64() * 1e9).round() / 1e3;
    let points: Vec<_> = served.measured.profile.points().iter().map(|point| {
        json!({
            "batch": point.batch,
            "median_us": micros(point.median),
            "p99_us": micros(point.p99),
            "runs": point.runs,
            "rows_per_second": (f64::from(point.batch) / point.median.as_secs_f64() * 10.0).round() / 10.0,
        })
    }).collect();
    let prediction = prediction.map(|prediction| {
        json!({ "measured_over_profiled": prediction.ratio, "mean_error": prediction.error, "batches": prediction.runs })
    });
    json!({
        "model": served.model,
        "version": served.version.to_string(),
        "points": points,
        "batch_max": served.measured.batch_max,
        "alone_because": served.measured.alone_because,
        "batching_gain": served.measured.profile.batching_gain(),
        "slo_ms": served.slo.map(|slo| slo.latency.as_secs_f64() * 1e3),
        "waiting": waiting,
        "prediction": prediction,
    })
}
