//! Where the service meets those who fill it: its options, the repository's control, and a loaded version.

use std::pin::Pin;
use std::sync::Arc;

use gpu::LoadedModel;
use models::{ExecutorId, LatencyProfile, ModelDescription};

use super::{IndexEntry, LoadOverrides, Placing};
use crate::carrier::Bring;
use crate::status::Failure;

/// What the service answers a call that takes a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Whoever decides which models are there: the repository with its loader.
pub trait Control: Send + Sync {
    /// The repository index; only ready models if `ready`.
    fn index(&self, ready: bool) -> Vec<IndexEntry>;
    /// Loads or reloads a model; answers once it is ready.
    fn load<'a>(&'a self, model: &'a str, overrides: LoadOverrides) -> Later<'a, ()>;
    /// Starts unloading a model.
    fn unload<'a>(&'a self, model: &'a str) -> Later<'a, ()>;
    /// All models that are to be there from the start are.
    fn ready(&self) -> bool;
}

/// What an operator can set of the service.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// `GET /v2` `name`.
    pub id: String,
    /// The largest request body accepted, in bytes.
    pub body_bytes_max: usize,
    /// Whether answers carry the `x-punctual-*` timing headers.
    pub timing_headers: bool,
    /// The batching policy of models that name none.
    pub policy: String,
    /// How models come to executors; `None` for every model on every executor.
    pub placing: Option<Placing>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        let policy = batcher::ALL[0].name.to_owned();
        Self {
            id: "punctual".into(),
            body_bytes_max: 64 << 20,
            timing_headers: true,
            policy,
            placing: None,
        }
    }
}

/// A model version in place on its executors, measured, ready to take requests.
pub struct Loaded {
    /// All that its files say.
    pub description: ModelDescription,
    /// Which version.
    pub version: u64,
    /// Time by batch size.
    pub profile: LatencyProfile,
    /// Input elements of one row of the profile's shape.
    pub profiled_elements: u64,
    /// The most rows of several requests that are run together: 1 where batching does not pay or is not true.
    pub batch_max: u32,
    /// Why requests do not share a run, where they do not; else empty.
    pub alone_because: String,
    /// The model on each executor.
    pub executors: Vec<(ExecutorId, Box<dyn LoadedModel>)>,
    /// How it comes to other executors; `None` where it is on all that it will ever be on.
    pub weights: Option<Movable>,
}

/// A model that executors load when they are told to.
pub struct Movable {
    /// What it takes of an executor's memory, and how long a load takes.
    pub weights: router::Weights,
    /// Who loads it.
    pub origin: Arc<dyn Bring>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("name", &self.description.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
