//! Executors: run a batch on a device or on a share of one.

pub mod background;
mod cast;
mod clock;
pub mod device;
pub mod emulated;
mod executor;
mod gather;
pub mod leave;
pub mod measure;
pub mod onnx;
pub mod partition;
pub mod stream;
mod worker;

pub use cast::cast;
pub use emulated::{Emulated, Noise};
pub use executor::{
    Batch, Completion, Executor, InputPart, LoadError, LoadedModel, ModelSource, Output, RunError,
    Timing,
};
pub use gather::gather;
pub use onnx::{OnnxCpu, OnnxCuda};
pub use worker::{OnDone, Worker};
