//! Executors: run a batch on a device or on a share of one.

mod executor;

pub use executor::{
    Batch, Completion, Executor, InputPart, LoadError, LoadedModel, ModelSource, Output, RunError,
    Timing,
};
