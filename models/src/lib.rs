//! What can be served and what it costs: models, their signatures, latency profiles and settings.
//!
//! Plain data with the questions one asks of it. No clock, no IO: parsers take text or bytes, the shells read files.

mod datatype;
mod device;
mod id;
mod profile;
mod signature;
mod slo;

pub use datatype::DataType;
pub use device::DeviceKind;
pub use id::{BatchId, ExecutorId, VariantId};
pub use profile::{LatencyProfile, ProfileError, ProfilePoint};
pub use signature::{Dim, Signature, TensorSpec};
pub use slo::Slo;
