//! What both protocols ask of the server, in plain types: the HTTP and gRPC layers only translate.

mod cached;
mod coded;
mod composed;
mod deciding;
mod feedback;
mod inference;
mod places;
mod policies;
mod refusal;
mod seams;
mod tasks;
mod types;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use batcher::PolicySettings;
use models::VariantId;
use parking_lot::Mutex;
use prost_reflect::DynamicMessage;
use router::{Router, VariantSpec};

use self::places::Places;
pub use self::places::Placing;
pub use self::policies::PolicyChoice;
use self::policies::Unnamed;
pub use self::seams::{Control, Later, Loaded, Movable, ServiceOptions};
pub use self::types::{IndexEntry, LoadOverrides, ModelMetadata, ServerMetadata, TensorMetadata};
use crate::carrier::{Carrier, MetricsTable};
use crate::clock::Clock;
use crate::driver::Driver;
pub use crate::logging::LogSettings;
use crate::logging::Logging;
use crate::metrics::Metrics;
use crate::record::Recorder;
use crate::served::{Catalog, Served};
pub use crate::statistics::{
    BatchStatistics, InferenceStatistics, MemoryUsage, ModelStatistics, StatisticDuration,
};
use crate::status::Failure;
use crate::tasks::Tasks;
use crate::{served, statistics};

/// The protocol extensions that work.
const EXTENSIONS: [&str; 8] = [
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
];

/// How often the end of the server looks whether the accepted work is done.
const IDLE_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Called when a withdrawn version has answered all that it accepted.
pub type Gone = Box<dyn FnOnce() + Send>;

/// Everything that HTTP and gRPC offer. Shared by all connections.
pub struct Service {
    options: ServiceOptions,
    /// Held while a variant is loaded, so that none misses a change of policies.
    unnamed: Mutex<Unnamed>,
    catalog: Catalog,
    tasks: Tasks,
    driver: Arc<Driver>,
    metrics: Arc<Metrics>,
    variants: Arc<MetricsTable>,
    leaving: Arc<Mutex<BTreeMap<VariantId, Gone>>>,
    places: Option<Places>,
    variant_next: AtomicU32,
    control: OnceLock<Arc<dyn Control>>,
    logging: OnceLock<Logging>,
    stopping: AtomicBool,
    clock: Clock,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("options", &self.options)
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service without models on executors of those cores.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        options: ServiceOptions,
        router: Router,
        executors: &[Vec<usize>],
        recorder: Option<Recorder>,
    ) -> std::io::Result<Arc<Self>> {
        let variants: Arc<MetricsTable> = Arc::default();
        let table = Arc::clone(&variants);
        let on_batch = move |variant: VariantId,
                             rows,
                             timing: &gpu::Timing,
                             prediction: Option<router::Prediction>| {
            if let Some(metrics) = table.read().get(&variant) {
                metrics.batch_ran(rows, timing);
                if let Some(prediction) = prediction {
                    metrics.prediction(prediction.ratio, prediction.error);
                }
            }
        };
        let leaving: Arc<Mutex<BTreeMap<VariantId, Gone>>> = Arc::default();
        let (left, table) = (Arc::clone(&leaving), Arc::clone(&variants));
        let unloaded: Arc<OnceLock<Arc<Carrier>>> = Arc::default();
        let carrier = Arc::clone(&unloaded);
        let on_unloaded = move |variant: VariantId| {
            if let Some(carrier) = carrier.get() {
                carrier.forget(variant);
            }
            tracing::debug!(variant = variant.0, "unloaded");
            // A batch that ends only now had lost all its clients: it is counted nowhere.
            table.write().remove(&variant);
            let gone = left.lock().remove(&variant);
            if let Some(gone) = gone {
                gone();
            }
        };
        let driver =
            Driver::start(router, executors, recorder, Box::new(on_batch), Box::new(on_unloaded))?;
        let place = |placing| Places::start(placing, &driver, Arc::clone(&variants));
        let places = options.placing.as_ref().map(place).transpose()?;
        if let Some(places) = &places {
            drop(unloaded.set(Arc::clone(&places.carrier)));
        }
        Ok(Arc::new(Self {
            unnamed: Mutex::new(Unnamed::new(options.policy.clone())),
            options,
            catalog: Catalog::default(),
            tasks: Tasks::default(),
            driver,
            metrics: Metrics::new(),
            variants,
            leaving,
            places,
            variant_next: AtomicU32::new(0),
            control: OnceLock::new(),
            logging: OnceLock::new(),
            stopping: AtomicBool::new(false),
            clock: Clock::start(),
        }))
    }

    /// A service without executors and models, for tests of the protocols.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        let router = Router::new(router::RouterSettings::default())
            .expect("the defaults are known policies");
        Self::start(ServiceOptions::default(), router, &[], None).expect("a thread can be started")
    }

    /// Says who decides which models are there. Only the first call counts.
    pub fn set_control(&self, control: Arc<dyn Control>) {
        drop(self.control.set(control));
    }

    /// Says where the log is set. Only the first call counts.
    pub fn set_log(&self, logging: Logging) {
        drop(self.logging.set(logging));
    }

    /// Puts a loaded version in place of the one of the same number, if there is one. Requests that found the older
    /// one are still answered by it; it is unloaded after the last of them.
    pub fn install(&self, loaded: Loaded) {
        let variant = VariantId(self.variant_next.fetch_add(1, Ordering::Relaxed));
        let Loaded {
            description,
            version,
            profile,
            profiled_elements,
            batch_max,
            alone_because,
            executors,
            weights,
        } = loaded;
        let metrics = self.metrics.model(&description.name, &version.to_string());
        metrics.profiled(&profile);
        self.variants.write().insert(variant, Arc::clone(&metrics));
        let mut unnamed = self.unnamed.lock();
        let own = description.policy.as_ref();
        let policy = unnamed.policy_of(variant, own, &self.variants.read());
        let settings = PolicySettings {
            batch_max,
            preferred: description.preferred.clone(),
            delay: description.delay,
        };
        let spec = VariantSpec {
            variant,
            profile: profile.clone(),
            profiled_elements,
            slo: description.slo,
            queue_max: description.queue_max,
            policy,
            settings,
            weight: description.weight,
            executors: executors.iter().map(|(executor, _)| *executor).collect(),
            weights: weights.as_ref().map(|movable| movable.weights),
        };
        if let (Some(places), Some(movable)) = (&self.places, weights) {
            places.carrier.know(variant, movable.origin);
        }
        self.driver.load(spec, executors);
        drop(unnamed);
        let measured = served::Measured { profile, batch_max, alone_because };
        let retire = served::Retire::new(&self.driver, variant);
        let served = Served::new(description, version, measured, metrics, retire);
        let replaced = self.catalog.insert(Arc::new(served));
        self.tasks.refresh(&self.catalog, &self.driver);
        drop(replaced);
        self.tasks.look_again(&self.catalog, &self.driver);
    }

    /// Takes a version, or a task, away from new requests; it is unloaded, and `gone` called, when its accepted ones are answered.
    pub fn withdraw(&self, model: &str, version: u64, gone: Gone) {
        match self.catalog.remove(model, version) {
            None => {
                self.withdraw_task(model);
                gone();
            }
            Some(served) => {
                self.leaving.lock().insert(served.variant, gone);
                self.metrics.forget(model, &version.to_string());
                self.tasks.refresh(&self.catalog, &self.driver);
            }
        }
    }

    /// The process answers.
    #[must_use]
    pub fn live(&self) -> bool {
        true
    }

    /// All start-up models are ready and the server is not shutting down.
    #[must_use]
    pub fn ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
            && self.control.get().is_some_and(|control| control.ready())
    }

    /// That model (version) answers inference requests.
    #[must_use]
    pub fn model_ready(&self, model: &str, version: Option<&str>) -> bool {
        let found = || match self.catalog.find(model, version) {
            Ok(served) => self.reachable(served.variant),
            Err(_) => self.task(model, version).is_some_and(|task| {
                task.members.iter().any(|member| self.reachable(member.served.variant))
            }),
        };
        !self.stopping.load(Ordering::Relaxed) && found()
    }

    /// Name, version and extensions.
    #[must_use]
    pub fn metadata(&self) -> ServerMetadata {
        let version = env!("CARGO_PKG_VERSION").into();
        ServerMetadata { name: self.options.id.clone(), version, extensions: EXTENSIONS.to_vec() }
    }

    /// The names of all models of the repositories, in order.
    #[must_use]
    pub fn model_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.index(false).into_iter().map(|entry| entry.name).collect();
        names.dedup();
        names
    }

    /// Inputs, outputs and versions of a model.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn model_metadata(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<ModelMetadata, Failure> {
        if let Some(task) = self.task(model, version) {
            return Ok(Self::task_metadata(&task));
        }
        let served = self.served(model, version)?;
        Ok(ModelMetadata {
            name: model.to_owned(),
            versions: self
                .catalog
                .versions(model)
                .iter()
                .map(|served| served.version.to_string())
                .collect(),
            platform: "onnxruntime_onnx",
            inputs: served.signature.inputs.iter().map(types::tensor).collect(),
            outputs: served.signature.outputs.iter().map(types::tensor).collect(),
        })
    }

    /// The configuration of a model with defaults filled in, an `inference.ModelConfig`.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn model_config(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<DynamicMessage, Failure> {
        if let Some(task) = self.task(model, version) {
            return Ok(Self::task_config(&task));
        }
        self.served(model, version).map(|served| served.config.message().clone())
    }

    /// The same in Triton's JSON form.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn model_config_json(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<serde_json::Value, Failure> {
        if let Some(task) = self.task(model, version) {
            return Ok(Self::task_config_json(&task));
        }
        self.served(model, version).map(|served| served.config.to_json())
    }

    /// The measured latency profile of a model, and how good its predictions are.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn profile_json(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<serde_json::Value, Failure> {
        let served = self.served(model, version)?;
        let (waiting, prediction) = self.driver.view(served.variant);
        let mut profile = types::profile_json(&served, waiting, prediction);
        if let Some(places) = self.places_json(served.variant) {
            profile["placement"] = places;
        }
        Ok(profile)
    }

    /// What a model has done, every version if none is named; every model if none is named.
    ///
    /// # Errors
    /// Unknown model or version.
    pub fn statistics(
        &self,
        model: Option<&str>,
        version: Option<&str>,
    ) -> Result<Vec<ModelStatistics>, Failure> {
        let statistics = statistics::read(&self.metrics, model, version);
        match model {
            Some(model) if statistics.is_empty() => {
                Err(Failure::Invalid(format!("requested model '{model}' is not available")))
            }
            Some(_) | None => Ok(statistics),
        }
    }

    /// The metrics page.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        for served in self.catalog.all() {
            served.metrics.waiting(self.driver.view(served.variant).0);
            served.cache.iter().for_each(|cache| cache.note_bytes());
        }
        self.metrics.memory(self.memory());
        self.metrics.render()
    }

    /// The repository index; only ready models if `ready`.
    #[must_use]
    pub fn index(&self, ready: bool) -> Vec<IndexEntry> {
        self.control.get().map(|control| control.index(ready)).unwrap_or_default()
    }

    /// Loads or reloads a model and returns once it is ready.
    ///
    /// # Errors
    /// What was wrong with the model, or the control mode forbids it.
    pub async fn load(&self, model: &str, overrides: LoadOverrides) -> Result<(), Failure> {
        match self.control.get() {
            Some(control) => control.load(model, overrides).await,
            None => Err(Failure::Internal(format!(
                "failed to load '{model}', failed to poll from model repository"
            ))),
        }
    }

    /// Starts unloading a model: it is refused to new requests at once, and gone when its accepted ones are answered.
    ///
    /// # Errors
    /// The control mode forbids it.
    pub async fn unload(&self, model: &str) -> Result<(), Failure> {
        match self.control.get() {
            Some(control) => control.unload(model).await,
            None => Ok(()),
        }
    }

    /// The log settings in force.
    #[must_use]
    pub fn logging(&self) -> LogSettings {
        self.logging.get().map(Logging::settings).unwrap_or_default()
    }

    /// Changes the log settings.
    ///
    /// # Errors
    /// A setting that cannot be changed at run time.
    pub fn set_logging(&self, settings: LogSettings) -> Result<LogSettings, Failure> {
        match self.logging.get() {
            Some(logging) => logging.set(settings).map_err(Failure::Invalid),
            None => Ok(settings),
        }
    }

    /// The largest request body accepted, in bytes.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        self.options.body_bytes_max
    }

    /// Whether answers carry the `x-punctual-*` timing headers.
    #[must_use]
    pub fn timing_headers(&self) -> bool {
        self.options.timing_headers
    }

    /// Begins the end: not ready any more, new requests are refused, accepted ones are still answered.
    pub fn refuse_all(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.driver.drain();
    }

    /// Nothing waits and nothing runs.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.driver.idle()
    }

    /// Completes when nothing waits and nothing runs; for the end of the server.
    pub async fn finished(&self) {
        while !self.idle() {
            tokio::time::sleep(IDLE_LOOK_EVERY).await;
        }
    }

    /// Hands out the answers of batches; for one task on the IO threads.
    pub async fn deliver(&self) {
        self.driver.deliver().await;
    }

    /// Ends the executors' threads and writes the recording out; what still waits is refused.
    pub fn stop(&self) {
        self.driver.stop();
    }

    /// The scheduler's own counters.
    #[must_use]
    pub fn tally(&self) -> router::Tally {
        self.driver.tally()
    }
}
