//! A scenario: models, executors, who asks for what, and how the router is set. Unknown keys are refused.

mod check;
mod composition;
mod demand;
mod executor;
mod model;
mod pipeline;
mod placement;
mod position;

use std::path::Path;
use std::time::Duration;

use models::{deserialize_duration, deserialize_duration_option};
use router::RouterSettings;
use serde::Deserialize;

pub use composition::{CodedSpec, CompositionSpec, EnsembleSpec, StageSpec, VoterSpec};
pub(crate) use demand::{Demand, Source};
pub use executor::{CopyIn, Drift, DriftShape, ExecutorSpec, Neighbours, PairTable, Stall};
pub use model::{Answers, ModelSpec, Popularity, ProfileSpec, Scale, Split, Stages, TraceSpec};
pub use placement::PlacementSpec;

/// A simulated world, whole. `sim/scenarios/` holds documented ones.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Of all that is random.
    #[serde(default)]
    pub seed: u64,
    /// How long requests arrive; what was accepted is then finished.
    #[serde(deserialize_with = "deserialize_duration")]
    pub duration: Duration,
    /// Requests that arrive before this are served, and not counted.
    #[serde(default, deserialize_with = "deserialize_duration")]
    pub warmup: Duration,
    /// Multiplies all rates.
    #[serde(default = "model::one_time")]
    pub load: f64,
    /// How the router is set.
    #[serde(default)]
    pub router: RouterChoice,
    /// Which models are on which executors; all on all if absent.
    #[serde(default)]
    pub placement: Option<PlacementSpec>,
    /// Kinds of executor.
    #[serde(rename = "executor")]
    pub executors: Vec<ExecutorSpec>,
    /// What is served, and who asks for it.
    #[serde(rename = "model")]
    pub models: Vec<ModelSpec>,
    /// Tasks whose requests more than one variant answers.
    #[serde(rename = "composition", default)]
    pub compositions: Vec<CompositionSpec>,
}

/// The router's settings as a scenario names them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterChoice {
    /// The admission policy; the default one if absent.
    pub admission: Option<String>,
    /// The dispatch policy; the default one if absent.
    pub dispatch: Option<String>,
    /// The batching policy of models that name none; the default one if absent.
    pub batching: Option<String>,
    /// The selection policy of tasks; the default one if absent.
    pub selection: Option<String>,
    /// How long before its batch ends an executor is given the next one.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub lead: Option<Duration>,
}

/// What is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// Not a scenario file.
    #[error("{file}: {reason}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong, with its place.
        reason: String,
    },
    /// A model's numbers make no sense.
    #[error("model {model:?}: {reason}")]
    Model {
        /// Which model.
        model: String,
        /// What is wrong.
        reason: String,
    },
    /// An executor's numbers make no sense.
    #[error("executor {index}: {reason}")]
    Executor {
        /// Counted from 1.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// How a task is answered by more than one variant makes no sense.
    #[error("composition of task {task:?}: {reason}")]
    Composition {
        /// Which task.
        task: String,
        /// What is wrong.
        reason: String,
    },
    /// One of the others, in a file.
    #[error("{file}, line {line}: {error}")]
    At {
        /// Which file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        error: Box<ScenarioError>,
    },
    /// The whole makes no sense.
    #[error("{0}")]
    Whole(String),
    /// A policy's name is not known.
    #[error("{0}")]
    Policy(String),
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| ScenarioError::File {
            file: name.clone(),
            reason: error.to_string(),
        })?;
        Self::from_text(&name, &text)
    }

    /// Reads a scenario's text; `file` is for messages, and the files that the text names are found from its folder.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn from_text(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let wrong = |error: toml::de::Error| ScenarioError::File {
            file: file.to_owned(),
            reason: error.to_string(),
        };
        let mut scenario: Self = toml::from_str(text).map_err(wrong)?;
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let checked = scenario.read_files(folder).and_then(|()| scenario.check());
        checked.map_err(|error| position::placed(file, text, error))?;
        Ok(scenario)
    }

    fn read_files(&mut self, folder: &Path) -> Result<(), ScenarioError> {
        for (index, executor) in self.executors.iter_mut().enumerate() {
            let wrong = |reason| ScenarioError::Executor { index: index + 1, reason };
            executor.read_files(folder).map_err(wrong)?;
        }
        self.models.iter_mut().try_for_each(|model| model.read_files(folder))
    }

    /// The batching policy of a model: its own, else the scenario's, else the default.
    ///
    /// # Errors
    /// Where no policy has that name.
    pub fn policy_of(&self, model: &ModelSpec) -> Result<&'static batcher::Entry, ScenarioError> {
        let name = model.policy.as_ref().or(self.router.batching.as_ref());
        let Some(name) = name else { return Ok(&batcher::ALL[0]) };
        batcher::by_name(name).map_err(|error| ScenarioError::Model {
            model: model.name.clone(),
            reason: error.to_string(),
        })
    }

    /// The same world with another batching policy for all models.
    #[must_use]
    pub fn with_batching(&self, policy: &str) -> Self {
        let mut scenario = self.clone();
        scenario.router.batching = Some(policy.to_owned());
        scenario.models.iter_mut().for_each(|model| model.policy = None);
        scenario
    }

    /// The router's settings with defaults filled in.
    #[must_use]
    pub fn router_settings(&self) -> RouterSettings {
        let mut settings = RouterSettings::default();
        settings.admission = self.router.admission.clone().unwrap_or(settings.admission);
        settings.dispatch = self.router.dispatch.clone().unwrap_or(settings.dispatch);
        settings.lead = self.router.lead.unwrap_or(settings.lead);
        settings
    }

    /// How many executors there are.
    #[must_use]
    pub fn executor_count(&self) -> u32 {
        self.executors.iter().map(|executor| executor.count).sum()
    }
}

#[cfg(test)]
mod tests;
