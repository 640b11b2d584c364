//! Makes one version ready: described, in place on its executors, checked, measured, warmed up.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use batcher::Instant;
use gpu::measure::{Batching, Probe};
use gpu::{LoadedModel, ModelSource};
use models::{
    BatchingMode, DeviceKind, Dim, ExecutorId, LatencyProfile, ModelDescription, ModelFiles,
    ProfilePoint, QUEUE_MAX, Signature, TaskSettings,
};

use parking_lot::Mutex;

use super::Prepare;
use super::files::{self, Beside};
use super::limits;
use super::loader::Load;
use super::origin::Origin;
use super::place::{Place, load_on, threads_on};
use super::sessions::Sessions;
use crate::clock::Clock;
use crate::config::Config;
use crate::profiles::{ProfileKey, ProfileStore, Subject, cpu_name};
use crate::service::{Loaded, Movable};

/// Where a model that cannot be measured is assumed to be, until its runs say better.
const UNMEASURED: Duration = Duration::from_millis(10);

/// Prepares models for a set of executors.
pub struct Workshop {
    places: Arc<[Place]>,
    store: ProfileStore,
    sessions: Arc<Sessions>,
    runtime: String,
    cpu: String,
    settings: WorkshopSettings,
    /// Models with what was said of them since their last load began: once, not for each version.
    said: Mutex<BTreeSet<(String, String)>>,
}

/// What the operator says of all models.
#[derive(Clone, Copy, Debug)]
pub struct WorkshopSettings {
    /// The longest that measuring a model may take.
    pub budget: Duration,
    /// Models without config.pbtxt are served.
    pub auto_complete: bool,
    /// Requests that may wait where a model does not say.
    pub queue_max: usize,
    /// Measured again though a profile is kept.
    pub anew: bool,
    /// Bytes of models on the executor that holds most; `None` where every model is on every executor.
    pub memory_max: Option<u64>,
}

impl WorkshopSettings {
    /// Those of `punctual serve`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (budget, auto_complete) = (config.models.profile_budget, config.models.auto_complete);
        let placement = config.placement.as_ref();
        let memory_max =
            placement.map(|placement| placement.memory.iter().copied().max().unwrap_or(0));
        Self { budget, auto_complete, queue_max: config.queue_max, anew: false, memory_max }
    }
}

/// What was found out about a version on one kind of executor.
struct Measured {
    kind: DeviceKind,
    profile: LatencyProfile,
    shapes: Vec<Vec<i64>>,
    batching: Batching,
    /// How long it took to load.
    load: Duration,
}

impl Workshop {
    /// A workshop for those executors. `runtime` names what runs models, with its version.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(
        places: Vec<Place>,
        store: ProfileStore,
        runtime: String,
        settings: WorkshopSettings,
    ) -> std::io::Result<Self> {
        let sessions = Arc::new(Sessions::start()?);
        let (places, cpu, said) = (places.into(), cpu_name(), Mutex::default());
        Ok(Self { places, store, sessions, runtime, cpu, settings, said })
    }

    /// The places of a model: as many as it asks for, beginning at one that its name chooses, so that models of one
    /// place each do not all meet on the first.
    fn places_of(&self, description: &ModelDescription) -> impl Iterator<Item = &Place> {
        let count = description.executors.map_or(self.places.len(), |count| count as usize);
        let mut hash = DefaultHasher::new();
        description.name.hash(&mut hash);
        let first = usize::try_from(hash.finish() % self.places.len().max(1) as u64).unwrap_or(0);
        let all = self.places.iter().cycle().skip(first);
        all.take(count.min(self.places.len()))
    }

    fn measure(
        &self,
        place: &Place,
        model: &mut dyn LoadedModel,
        source: &ModelSource,
        kept: (Subject<'_>, &str),
    ) -> Result<Measured, String> {
        let kind = place.executor.kind();
        let fixed = fixed_shapes(&source.signature);
        if let (Some(profile), Some(shapes)) = (&place.known, fixed) {
            let profile = profile.clone();
            return Ok(Measured {
                kind,
                profile,
                shapes,
                batching: by_signature(&source.signature),
                load: Duration::ZERO,
            });
        }
        let mut probe = match Probe::new(model, source, &kind, None) {
            Ok(probe) => probe,
            Err(error) => return Ok(unmeasured(kind, source, &error.to_string())),
        };
        let shapes = probe.inner_shapes().to_vec();
        if let Some(profile) = place.known.clone() {
            return Ok(Measured {
                kind,
                profile,
                shapes,
                batching: by_signature(&source.signature),
                load: Duration::ZERO,
            });
        }
        let batching = probe.batching().map_err(|error| error.to_string())?;
        let (subject, model_hash) = kept;
        let key = ProfileKey {
            model: model_hash.to_owned(),
            runtime: self.runtime.clone(),
            cpu: self.cpu.clone(),
            device: kind.clone(),
            threads: source.threads,
            rows_max: source.rows_max,
            shapes: Some(shapes.clone()),
        };
        let kept = self.store.find(subject, &key).filter(|_| !self.settings.anew);
        let profile = match kept {
            Some(profile) => profile,
            None => {
                let profile = probe.profile(self.settings.budget);
                let profile = profile.map_err(|error| error.to_string())?;
                self.store.keep(subject, &key, &profile);
                profile
            }
        };
        Ok(Measured { kind, profile, shapes, batching, load: Duration::ZERO })
    }
}

impl Prepare for Workshop {
    fn task(
        &self,
        load: &Load,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Option<TaskSettings>, String> {
        let Some(mut task) = files::task(load, known)? else { return Ok(None) };
        let kinds = self.places.iter().map(|place| place.executor.kind().family()).collect();
        let mut warnings = task.warnings();
        warnings.extend(task.keep_to(&kinds));
        for warning in warnings {
            tracing::warn!(task = load.model, "{warning}");
        }
        Ok(Some(task))
    }

    fn wanted(&self, load: &Load) -> Result<BTreeSet<u64>, String> {
        self.said.lock().retain(|(model, _)| *model != load.model);
        limits::versions(load)
    }

    fn prepare(&self, load: &Load, version: u64) -> Result<Loaded, String> {
        let beside = Beside::read(load)?;
        if beside.config.is_none() && !self.settings.auto_complete {
            let folder = load.found.folder.display();
            return Err(format!(
                "{folder}: config.pbtxt is missing; needed by --disable-auto-complete-config"
            ));
        }
        let file = models::model_filename(beside.config.as_ref().map(|(_, config)| config));
        let path = files::model_file(&load.found, version, &file);
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut description = describe(load, &beside, (&path.display().to_string(), &bytes))?;
        let places: Vec<_> = self.places_of(&description).collect();
        let clamped = limits::clamped(self.places.len(), &places, &description, &beside);
        for warning in description.warnings.iter().cloned().chain(clamped) {
            if self.said.lock().insert((load.model.clone(), warning.clone())) {
                tracing::warn!(model = load.model, "{warning}");
            }
        }
        let asked = beside.settings.as_ref().map(|(_, settings)| settings);
        if description.queue_max == QUEUE_MAX && asked.is_none_or(|asked| asked.queue_max.is_none())
        {
            description.queue_max = self.settings.queue_max;
        }
        let hash = files::hash(&load.found, version, (&path, &bytes))?;
        drop(bytes);
        let source = ModelSource {
            name: format!("{} version {version}", load.model),
            path,
            signature: description.signature.clone(),
            rows_max: description.rows_max,
            threads: 1,
        };
        let subject = Subject { repository: &load.found.repository, model: &load.model, version };
        let bytes = self.memory_of(load, version, asked.and_then(|asked| asked.memory))?;
        let (placed, measured) = self.put(&description, source.clone(), (subject, &hash))?;
        let weights = bytes.map(|bytes| {
            let origin = self.origin((load, version), source, (&description, &measured));
            let load = measured.iter().map(|measured| measured.load).max().unwrap_or_default();
            Movable { weights: router::Weights { bytes, load }, origin }
        });
        let batch_max_asked = asked.and_then(|asked| asked.batch_max);
        let loaded = assemble((load, version), description, placed, measured, batch_max_asked);
        Ok(Loaded { weights, ..loaded })
    }
}

type Placed = Vec<(ExecutorId, Box<dyn LoadedModel>)>;

impl Workshop {
    /// What a version takes of an executor's memory; `None` where that is not limited.
    fn memory_of(
        &self,
        load: &Load,
        version: u64,
        stated: Option<u64>,
    ) -> Result<Option<u64>, String> {
        let Some(max) = self.settings.memory_max else { return Ok(None) };
        let files = load.found.versions.get(&version).into_iter().flatten();
        let bytes = stated.unwrap_or_else(|| files.map(|(_, stamp)| stamp.bytes).sum());
        if bytes > max {
            return Err(format!(
                "the model takes {bytes} bytes of memory, and no executor holds more than {max} (--device-memory)"
            ));
        }
        Ok(Some(bytes))
    }

    /// Where executors get that version from later.
    fn origin(
        &self,
        (load, version): (&Load, u64),
        source: ModelSource,
        (description, measured): (&ModelDescription, &[Measured]),
    ) -> Arc<Origin> {
        let files = load.found.versions.get(&version).cloned().unwrap_or_default();
        Arc::new(Origin {
            places: Arc::clone(&self.places),
            sessions: Arc::clone(&self.sessions),
            source,
            threads: description.threads,
            shapes: measured.first().map(|first| first.shapes.clone()).unwrap_or_default(),
            files: (load.found.folder.join(version.to_string()), files),
            _overridden: load.files.clone(),
        })
    }

    /// Loads a model on all of its places, measures it once on each kind of them and warms it up on the others. Where
    /// executors load models later it is loaded on one place of each kind alone.
    fn put(
        &self,
        description: &ModelDescription,
        mut source: ModelSource,
        kept: (Subject<'_>, &str),
    ) -> Result<(Placed, Vec<Measured>), String> {
        let mut placed = Placed::new();
        let mut measured: Vec<Measured> = Vec::new();
        for place in self.places_of(description) {
            source.threads = threads_on(place, description.threads);
            let kind = place.executor.kind();
            let known = measured.iter().find(|measured| measured.kind == kind);
            if known.is_some() && self.settings.memory_max.is_some() {
                continue;
            }
            let clock = Clock::start();
            let mut model = load_on(place, &source, &self.sessions)?;
            let load = clock.now().since(Instant::ZERO);
            match known {
                None => {
                    let found = self.measure(place, &mut *model, &source, kept)?;
                    measured.push(Measured { load, ..found });
                }
                Some(_) if place.known.is_some() => {}
                Some(measured) => {
                    let shapes = Some(measured.shapes.clone());
                    let warm = Probe::new(&mut *model, &source, &kind, shapes);
                    // What cannot be run with made-up inputs was warned of at its measuring.
                    drop(warm.map(|_| ()));
                }
            }
            placed.push((place.id, model));
        }
        if placed.is_empty() {
            return Err("there is no executor".into());
        }
        Ok((placed, measured))
    }
}

fn describe(load: &Load, beside: &Beside, onnx: (&str, &[u8])) -> Result<ModelDescription, String> {
    let description = models::describe(ModelFiles {
        model: &load.model,
        onnx,
        config: beside.config.as_ref().map(|(file, config)| (file.as_str(), config)),
        settings: beside.settings.as_ref().map(|(file, settings)| (file.as_str(), settings)),
        labels: &beside.labels,
    });
    let description = description.map_err(|error| error.to_string())?;
    if let (Some(policy), Some((file, settings))) = (&description.policy, &beside.settings) {
        let line = settings.line(&["policy"]);
        batcher::by_name(policy).map_err(|error| format!("{file}:{line}: `policy`: {error}"))?;
    }
    Ok(description)
}

/// Shapes of one row, where all inner dimensions are fixed.
fn fixed_shapes(signature: &Signature) -> Option<Vec<Vec<i64>>> {
    let skip = usize::from(signature.batched);
    let length = |dim: &Dim| match dim {
        Dim::Fixed(_) => Some(dim.protocol()),
        Dim::Any(_) => None,
    };
    signature.inputs.iter().map(|input| input.dims[skip..].iter().map(length).collect()).collect()
}

/// Batching on a device that computes nothing: as true as the model's first axis says.
fn by_signature(signature: &Signature) -> Batching {
    if signature.batched {
        Batching::True
    } else {
        Batching::False { reason: "the model has no batch axis".into() }
    }
}

/// A model that runs with no made-up input is served all the same, alone, from a guess.
fn unmeasured(kind: DeviceKind, source: &ModelSource, reason: &str) -> Measured {
    tracing::warn!(
        model = source.name,
        reason,
        "the model cannot be measured: its requests run alone, and its first predictions are guesses"
    );
    let skip = usize::from(source.signature.batched);
    let length = |dim: &Dim| match dim {
        Dim::Fixed(_) => dim.protocol(),
        Dim::Any(_) => 1,
    };
    let inputs = source.signature.inputs.iter();
    Measured {
        kind,
        profile: LatencyProfile::linear(Duration::ZERO, UNMEASURED, 1),
        shapes: inputs.map(|input| input.dims[skip..].iter().map(length).collect()).collect(),
        batching: Batching::False { reason: "the model cannot be measured".into() },
        load: Duration::ZERO,
    }
}

fn assemble(
    (load, version): (&Load, u64),
    description: ModelDescription,
    placed: Placed,
    measured: Vec<Measured>,
    batch_max_asked: Option<u32>,
) -> Loaded {
    let untrue = measured.iter().map(|measured| &measured.batching);
    let batching = untrue.fold(Batching::True, |all, one| match all {
        Batching::True => one.clone(),
        Batching::False { .. } => all,
    });
    let profile = slowest(measured.iter().map(|measured| &measured.profile));
    let batch_max = batch_max(&description, &batching, &profile, batch_max_asked);
    if let (Batching::False { reason }, true) = (&batching, description.batch_max > 1) {
        let (model, mode) = (&load.model, description.batching);
        match mode {
            BatchingMode::Auto => {
                tracing::warn!(model, version, reason, "requests of this model do not share runs");
            }
            BatchingMode::Always => {
                tracing::warn!(
                    model,
                    version,
                    reason,
                    "requests share runs, as punctual.toml insists"
                );
            }
            BatchingMode::Never => {}
        }
    }
    let alone_because = match (&batching, batch_max) {
        (Batching::False { reason }, 1) => reason.clone(),
        (Batching::True, 1) if description.batching == BatchingMode::Never => {
            "its settings forbid it".into()
        }
        (Batching::True, 1) => "by its profile it would not pay".into(),
        _ => String::new(),
    };
    let shapes = measured.into_iter().next().map(|first| first.shapes).unwrap_or_default();
    Loaded {
        description,
        version,
        profile,
        profiled_elements: elements(&shapes),
        batch_max,
        alone_because,
        executors: placed,
        weights: None,
    }
}

/// Elements of one row of all inputs.
fn elements(shapes: &[Vec<i64>]) -> u64 {
    shapes.iter().map(|dims| dims.iter().map(|dim| dim.unsigned_abs()).product::<u64>()).sum()
}

/// The most rows of a run of several requests: where batching is true, as many as pay, unless the model's settings
/// state how many.
fn batch_max(
    description: &ModelDescription,
    batching: &Batching,
    profile: &LatencyProfile,
    asked: Option<u32>,
) -> u32 {
    let shared = match (description.batching, batching) {
        (BatchingMode::Never, _) | (BatchingMode::Auto, Batching::False { .. }) => false,
        (BatchingMode::Always, _) | (BatchingMode::Auto, Batching::True) => true,
    };
    if !shared {
        return 1;
    }
    let pays = if asked.is_some() { u32::MAX } else { profile.batch_that_pays() };
    description.batch_max.min(pays).max(1)
}

/// The longest time for each batch size that all profiles have.
fn slowest<'a>(mut profiles: impl Iterator<Item = &'a LatencyProfile>) -> LatencyProfile {
    let first = profiles.next().expect("a placed model was measured").clone();
    profiles.fold(first, |slowest, other| {
        let points = slowest.points().iter().filter(|point| point.batch <= other.batch_max());
        let points = points.map(|point| ProfilePoint {
            median: point.median.max(other.median(point.batch)),
            p99: point.p99.max(other.time(point.batch)),
            ..*point
        });
        LatencyProfile::new(points.collect()).expect("the longer of two times is in order")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn executors_of_different_kinds_are_planned_with_the_slowest() {
        let steep = LatencyProfile::linear(ms(0), ms(4), 8);
        let flat = LatencyProfile::linear(ms(9), ms(1), 4);
        let both = slowest([&steep, &flat].into_iter());
        assert_eq!((both.time(1), both.batch_max()), (ms(10), 1));
        let both = slowest([&flat, &steep].into_iter());
        assert_eq!((both.time(1), both.time(4), both.batch_max()), (ms(10), ms(16), 4));
    }
}
