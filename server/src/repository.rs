//! The model repositories: what lies in them, what of it is loaded, and the threads that load.

mod files;
mod limits;
pub mod loader;
mod origin;
pub mod overrides;
pub mod place;
pub mod prepare;
pub mod scan;
mod sessions;
pub mod state;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use models::{ModelConfig, TaskSettings};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::loader::{Answer, Load, Loader, STOPPED};
use self::overrides::Overridden;
pub use self::scan::{Changes, FoundModel, Scan, changes};
use crate::config::{ControlMode, ModelsConfig};
use crate::service::{Control, Gone, IndexEntry, Later, LoadOverrides, Loaded, Service};
use crate::status::Failure;

/// Makes versions ready, away from serving.
pub trait Prepare: Send + Sync {
    /// The versions that the model's policy asks for, of those found.
    ///
    /// # Errors
    /// Where the model's settings are wrong, by file, line and key.
    fn wanted(&self, load: &Load) -> Result<BTreeSet<u64>, String>;

    /// What the folder says if it is a task's and not a model's; `known` says whether a name is in a repository.
    ///
    /// # Errors
    /// Where that is wrong, by file, line and key.
    fn task(
        &self,
        load: &Load,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Option<TaskSettings>, String>;

    /// Reads, loads, checks, measures and warms up one version.
    ///
    /// # Errors
    /// Where that fails, by what and where.
    fn prepare(&self, load: &Load, version: u64) -> Result<Loaded, String>;
}

/// Takes what is ready into service, and out of it.
pub trait Sink: Send + Sync {
    /// Requests that come from now on are answered by this; one of the same name and version is replaced by it and
    /// still answers what it accepted.
    fn place(&self, loaded: Loaded);

    /// Requests for the task that come from now on are answered by variants as that says.
    ///
    /// # Errors
    /// What of it cannot be, by file and line.
    fn place_task(&self, name: &str, task: TaskSettings) -> Result<(), String>;

    /// A version gets no more requests; `gone` is called when those it accepted are answered.
    fn retire(&self, model: &str, version: u64, gone: Gone);
}

impl Sink for Service {
    fn place(&self, loaded: Loaded) {
        self.install(loaded);
    }

    fn place_task(&self, name: &str, task: TaskSettings) -> Result<(), String> {
        self.install_task(name, task)
    }

    fn retire(&self, model: &str, version: u64, gone: Gone) {
        self.withdraw(model, version, gone);
    }
}

/// The repositories and what is loaded of them.
#[derive(Debug)]
pub struct Repository {
    config: ModelsConfig,
    loader: Loader,
    seen: Mutex<Seen>,
    /// All models of the start are ready.
    started: AtomicBool,
    stopped: watch::Sender<bool>,
}

/// Loads under way.
#[derive(Debug)]
pub struct Loads(Vec<(String, Answer)>);

impl Loads {
    /// Waits for all of them; returns what could not be loaded, by model. What the end of the server stopped is none of
    /// it.
    pub async fn finish(self) -> Vec<(String, String)> {
        let mut failures = Vec::new();
        for (model, answer) in self.0 {
            let loaded = answer.await.unwrap_or_else(|_| Err("loading ended".into()));
            if let Err(reason) = loaded
                && reason != STOPPED
            {
                failures.push((model, reason));
            }
        }
        failures
    }
}

/// What was last seen and asked for.
#[derive(Debug, Default)]
struct Seen {
    scan: Scan,
    /// Models that were loaded with files or settings of a request: the next load reads all anew.
    overridden: BTreeSet<String>,
}

impl Repository {
    /// The repositories of `config`, loaded by `loader`.
    #[must_use]
    pub fn new(config: ModelsConfig, loader: Loader) -> Self {
        let started = AtomicBool::new(!config.strict_readiness);
        let (seen, stopped) = (Mutex::default(), watch::Sender::new(false));
        Self { config, loader, seen, started, stopped }
    }

    /// Loads what is to be loaded at the start; returns what could not be, by model.
    ///
    /// # Errors
    /// Where a repository cannot be read, or a model that was named is not there.
    pub async fn start(&self) -> Result<Vec<(String, String)>, String> {
        let scan = Scan::of(&self.config.repositories)?;
        for name in scan.models.keys() {
            self.loader.index(|index| index.found(name));
        }
        let asked = &self.config.load;
        let all =
            self.config.control != ControlMode::Explicit || asked.iter().any(|name| name == "*");
        if let Some(absent) =
            asked.iter().find(|name| *name != "*" && !scan.models.contains_key(*name))
        {
            return Err(format!("--load-model: '{absent}' is in no repository"));
        }
        let models = scan.models.iter().filter(|(name, _)| all || asked.contains(name));
        let load = |(name, found): (&String, &FoundModel)| {
            (name.clone(), self.loader.load(whole(name, found)))
        };
        // Tasks come when their variants are there to be held against each other.
        let (models, tasks): (Vec<_>, Vec<_>) =
            models.partition(|(_, found)| !found.versions.is_empty());
        let mut failures = Loads(models.into_iter().map(load).collect()).finish().await;
        let tasks = Loads(tasks.into_iter().map(load).collect());
        failures.extend(tasks.finish().await);
        self.seen.lock().scan = scan;
        self.loader.started();
        if failures.is_empty() && !self.loader.stopped() {
            self.started.store(true, Ordering::Relaxed);
        }
        Ok(failures)
    }

    /// Looks at the repositories again and follows what changed, for the timer of mode poll. Returns the loads that
    /// this began, which nobody need wait for.
    pub fn poll(&self) -> Loads {
        let mut seen = self.seen.lock();
        let scan = match Scan::of(&self.config.repositories) {
            Ok(scan) => scan,
            Err(reason) => {
                tracing::warn!(reason, "the repositories are looked at again later");
                return Loads(Vec::new());
            }
        };
        let changes = changes(&seen.scan, &scan);
        for model in &changes.unload {
            tracing::info!(model, "the folder is gone: the model is taken out of service");
            self.loader.unload(model);
            self.loader.index(|index| index.gone(model));
        }
        let loads = changes.load.into_iter().map(|(model, touched)| {
            let load = Load { touched, ..whole(&model, &scan.models[&model]) };
            let answer = self.loader.load(load);
            (model, answer)
        });
        let loads = Loads(loads.collect());
        seen.scan = scan;
        loads
    }

    /// Loads or reloads a model; returns once it is ready.
    ///
    /// # Errors
    /// What was wrong with the model, or the control mode forbids it.
    pub async fn load(&self, model: &str, overrides: LoadOverrides) -> Result<(), Failure> {
        self.require_explicit()?;
        let own = overrides.config.clone();
        if let Some(config) = &own {
            // Of the text alone nothing but the client is to blame.
            ModelConfig::from_json(config)
                .map_err(|error| Failure::Invalid(format!("failed to load '{model}', {error}")))?;
        }
        let done = self.loader.load(self.request(model, overrides)?);
        let mut stopped = self.stopped.subscribe();
        let result = tokio::select! {
            biased;
            result = done => result.unwrap_or_else(|_| Err(STOPPED.into())),
            // The sender lives as long as this.
            _ = stopped.wait_for(|&stopped| stopped) => Err(STOPPED.into()),
        };
        result.map_err(|reason| {
            let text = format!("failed to load '{model}', {reason}");
            if reason == STOPPED {
                Failure::Unavailable(text)
            } else if own.is_some() && reason.contains(ModelConfig::OF_REQUEST) {
                Failure::Invalid(text)
            } else {
                Failure::Internal(text)
            }
        })
    }

    /// Whether [`Self::stop`] was called.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.loader.stopped()
    }

    /// Takes a model out of service; it is gone when its accepted requests are answered.
    ///
    /// # Errors
    /// The control mode forbids it.
    pub fn unload(&self, model: &str) -> Result<(), Failure> {
        self.require_explicit()?;
        self.loader.unload(model);
        Ok(())
    }

    /// Loads nothing more: whoever waits for a load is told so at once.
    pub fn stop(&self) {
        self.loader.stop();
        self.stopped.send_replace(true);
    }

    /// The repository index; only ready models if `ready`.
    #[must_use]
    pub fn index(&self, ready: bool) -> Vec<IndexEntry> {
        self.loader.index(|index| index.entries(ready))
    }

    fn require_explicit(&self) -> Result<(), Failure> {
        let refused = |reason: &str| Err(Failure::Unavailable(reason.to_owned()));
        match self.config.control {
            ControlMode::Explicit => Ok(()),
            // Triton's sentence.
            ControlMode::Poll => {
                refused("explicit model load / unload is not allowed if polling is enabled")
            }
            ControlMode::None => refused(
                "explicit model load / unload is not allowed unless the server runs with --model-control-mode explicit",
            ),
        }
    }

    /// The load that a request asks for.
    fn request(&self, model: &str, overrides: LoadOverrides) -> Result<Load, Failure> {
        let mut seen = self.seen.lock();
        if overrides.files.is_empty() {
            let scan = Scan::of(&self.config.repositories).map_err(Failure::Internal)?;
            // Triton's sentence.
            let absent =
                || format!("failed to load '{model}', failed to poll from model repository");
            let found = scan.models.get(model).ok_or_else(|| Failure::Internal(absent()))?;
            let anew = seen.overridden.remove(model) || overrides.config.is_some();
            if overrides.config.is_some() {
                seen.overridden.insert(model.to_owned());
            }
            let changes = changes(&seen.scan, &scan);
            let changed = changes.load.get(model).cloned().unwrap_or_default();
            let touched = if anew { found.versions.keys().copied().collect() } else { changed };
            let load = Load { config: overrides.config, touched, ..whole(model, found) };
            seen.scan.models.insert(model.to_owned(), found.clone());
            return Ok(load);
        }
        if overrides.config.is_none() {
            // Triton's sentence.
            return Err(Failure::Invalid(format!(
                "failed to load '{model}', override model directory requires `config` parameter"
            )));
        }
        if !plain_name(model) {
            return Err(Failure::Invalid(format!("'{model}' cannot be a model's name")));
        }
        let files = Overridden::write(&overrides.files).map_err(Failure::Invalid)?;
        let found = FoundModel::of(&self.config.repositories[0], files.folder());
        seen.overridden.insert(model.to_owned());
        let files = Some(Arc::new(files));
        let load = Load { config: overrides.config, files, ..whole(model, &found) };
        Ok(load)
    }
}

impl Control for Repository {
    fn index(&self, ready: bool) -> Vec<IndexEntry> {
        Self::index(self, ready)
    }

    fn load<'a>(&'a self, model: &'a str, overrides: LoadOverrides) -> Later<'a, ()> {
        Box::pin(Self::load(self, model, overrides))
    }

    fn unload<'a>(&'a self, model: &'a str) -> Later<'a, ()> {
        Box::pin(std::future::ready(Self::unload(self, model)))
    }

    fn ready(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }
}

/// A load of all versions of a model.
fn whole(model: &str, found: &FoundModel) -> Load {
    Load {
        model: model.to_owned(),
        found: found.clone(),
        config: None,
        touched: found.versions.keys().copied().collect(),
        files: None,
    }
}

/// A name that is one folder's: profiles are kept below it.
fn plain_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name)
}
