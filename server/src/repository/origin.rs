//! Where a model comes from when an executor is told to load it while the server serves.

use std::path::PathBuf;
use std::sync::Arc;

use gpu::measure::Probe;
use gpu::{LoadedModel, ModelSource};
use models::ExecutorId;

use super::overrides::Overridden;
use super::place::{Place, load_on, threads_on};
use super::scan::{Files, stamp};
use super::sessions::Sessions;
use crate::carrier::Bring;

/// A version that was measured: its files as they were then, and what is needed to load them again.
pub(super) struct Origin {
    pub(super) places: Arc<[Place]>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) source: ModelSource,
    /// Threads that the model asks for.
    pub(super) threads: Option<u32>,
    /// The shapes that it was measured with, for a first run.
    pub(super) shapes: Vec<Vec<i64>>,
    /// The version's folder and its files.
    pub(super) files: (PathBuf, Files),
    /// Files of a request, which stay for as long as this.
    pub(super) _overridden: Option<Arc<Overridden>>,
}

impl Bring for Origin {
    fn bring(&self, executor: ExecutorId) -> Result<Box<dyn LoadedModel>, String> {
        self.unchanged()?;
        let place = self.places.iter().find(|place| place.id == executor);
        let place = place.ok_or("there is no such executor")?;
        let mut source = self.source.clone();
        source.threads = threads_on(place, self.threads);
        let mut model = load_on(place, &source, &self.sessions)?;
        if place.known.is_none() {
            let warm =
                Probe::new(&mut *model, &source, &place.executor.kind(), Some(self.shapes.clone()));
            // What cannot be run with made-up inputs was warned of at its measuring.
            drop(warm.map(|_| ()));
        }
        Ok(model)
    }
}

impl Origin {
    /// Other files would be another model, under the profile and the name of this one.
    fn unchanged(&self) -> Result<(), String> {
        let (folder, files) = &self.files;
        for (path, known) in files {
            let file = folder.join(path);
            let found =
                stamp(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            if found != *known {
                return Err(format!(
                    "{} has changed since the model was measured; load the model anew",
                    file.display()
                ));
            }
        }
        Ok(())
    }
}
