//! What can be served and what it costs: models, their signatures, latency profiles and settings.
//!
//! Plain data with the questions one asks of it. No clock, no IO: parsers take text or bytes, the shells read files.

mod adapter;
mod bytes;
mod catalog;
mod complaint;
mod confidence;
mod config;
mod datatype;
mod device;
mod duration;
mod goals;
mod id;
mod onnx;
mod profile;
mod settings;
mod share;
mod signature;
mod slo;
mod task;
mod text;
mod whole;

pub use adapter::{Adapter, AdapterStep};
pub use bytes::{deserialize_bytes, deserialize_bytes_option, parse_bytes};
pub use catalog::{
    CatalogError, KEPT_BESIDE, ModelDescription, ModelFiles, QUEUE_MAX, ROWS_MAX, VersionPolicy,
    describe, model_filename,
};
pub use complaint::{complaint, line_of};
pub use confidence::Confidence;
pub use config::ModelConfig;
pub use datatype::DataType;
pub use device::DeviceKind;
pub use duration::{deserialize_duration, deserialize_duration_option, parse_duration};
pub use goals::{Accuracy, Cost, Goals, Objective};
pub use id::{BatchId, ExecutorId, TaskId, VariantId};
pub use onnx::read_signature;
pub use profile::{LatencyProfile, ProfileError, ProfilePoint};
pub use settings::{BatchingMode, ModelSettings, PadRule};
pub use share::Share;
pub use signature::{Dim, Signature, TensorSpec};
pub use slo::Slo;
pub use task::{
    AdaptRules, AnswerMode, CODED_GROUP_MAX, CascadeTier, CodedRules, ConfidenceRules,
    EnsembleRules, HedgeRules, Measure, Named, Scores, StageClaim, StepClaim, TaskRules,
    TaskSettings, VOTE_WEIGHT_MAX, VariantClaim, VoterClaim, vote_weight,
};
