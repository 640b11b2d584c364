//! Where models are loaded.

use std::sync::Arc;

use gpu::{Executor, LoadedModel, ModelSource};
use models::{ExecutorId, LatencyProfile};

use super::sessions::Sessions;

/// An executor as the loader sees it.
#[derive(Clone)]
pub struct Place {
    /// Its number.
    pub id: ExecutorId,
    /// Its backend.
    pub executor: Arc<dyn Executor>,
    /// Its cores; 1 for other devices.
    pub cores: u32,
    /// The time of any model, where it needs no measuring: that of an emulated device.
    pub known: Option<LatencyProfile>,
}

/// Threads of a run there, of a model that asks for so many.
pub(super) fn threads_on(place: &Place, asked: Option<u32>) -> u32 {
    asked.unwrap_or(place.cores).clamp(1, place.cores.max(1))
}

/// Loads a model on a place. Threads that a runtime starts inherit the priority of the thread that loads, so
/// where there are any it must not be this one.
pub(super) fn load_on(
    place: &Place,
    source: &ModelSource,
    sessions: &Sessions,
) -> Result<Box<dyn LoadedModel>, String> {
    let loaded = if source.threads > 1 {
        let (executor, source) = (Arc::clone(&place.executor), source.clone());
        sessions.run(move || executor.load(&source))
    } else {
        place.executor.load(source)
    };
    loaded.map_err(|error| error.to_string())
}
