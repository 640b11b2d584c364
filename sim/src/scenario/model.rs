//! A model of a scenario and its clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use loadgen::{Trace, Within};
use models::{
    Accuracy, Cost, LatencyProfile, deserialize_duration, deserialize_duration_option,
    parse_duration,
};
use serde::Deserialize;

use super::ScenarioError;
use super::check::{BATCH_MAX, RUN_MAX};
use crate::published;

/// A model, or several equal ones, and the clients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Its name in reports.
    pub name: String,
    /// Its name in tables of pairs, where executors share devices; `name` if absent.
    #[serde(default)]
    pub known_as: Option<String>,
    /// How many equal models; their names get numbers.
    #[serde(default = "one")]
    pub count: u32,
    /// How `rate` is divided among them.
    #[serde(default)]
    pub popularity: Popularity,
    /// What a run takes.
    pub profile: ProfileSpec,
    /// The most rows of a batch of several requests; the profile's largest by default.
    #[serde(default)]
    pub batch_max: Option<u32>,
    /// The most requests that wait.
    #[serde(default = "default_queue_max")]
    pub queue_max: usize,
    /// The batching policy; the scenario's if absent.
    #[serde(default)]
    pub policy: Option<String>,
    /// How long the oldest may wait for company.
    #[serde(default, deserialize_with = "deserialize_duration_option")]
    pub delay: Option<Duration>,
    /// Sizes to stop at rather than wait for more.
    #[serde(default)]
    pub preferred: Vec<u32>,
    /// From arrival to deadline; none for best effort.
    #[serde(default, deserialize_with = "deserialize_duration_option")]
    pub slo: Option<Duration>,
    /// Requests a second of all `count` models together; a trace's own if absent.
    #[serde(default)]
    pub rate: Option<f64>,
    /// `"constant"`, `"poisson"`, `"gamma:CV"`, or `"bursts:TIMES,BURST,CALM"`.
    #[serde(default = "default_arrivals")]
    pub arrivals: String,
    /// Recorded arrivals, in place of a process.
    #[serde(default)]
    pub trace: Option<TraceSpec>,
    /// Rows of a request, drawn evenly from 1 to this.
    #[serde(default = "one")]
    pub rows_max: u32,
    /// Priority levels, drawn evenly from 1 to this.
    #[serde(default = "one")]
    pub priorities: u32,
    /// The level of all its requests, in place of drawn ones.
    #[serde(default)]
    pub priority: Option<u32>,
    /// Its share of executor time next to the others', where the dispatch policy shares it out.
    #[serde(default = "one_time")]
    pub weight: f64,
    /// On how many executors it is, of the first ones; all if absent.
    #[serde(default)]
    pub executors: Option<u32>,
    /// Different shapes, drawn evenly.
    #[serde(default = "one")]
    pub shapes: u32,
    /// Share of clients that leave at a random moment before their deadline.
    #[serde(default)]
    pub cancel_share: f64,
    /// The task whose requests it can answer: its clients, if it has any, ask for the task.
    #[serde(default)]
    pub answers: Option<Answers>,
    /// Megabytes (10^6 bytes) of its weights.
    #[serde(default)]
    pub weights_mb: f64,
    /// Megabytes of a row that are copied in before its run, where executors have a `copy`.
    #[serde(default)]
    pub input_mb: f64,
    /// The stages of the pipelines in which groups of devices can run it, in place of `profile`.
    #[serde(default)]
    pub pipelines: Vec<Stages>,
    /// From when the executor is free again to the answer: the rest of a pipeline.
    #[serde(default, deserialize_with = "deserialize_duration")]
    pub tail: Duration,
}

/// What a model is as a variant of a task.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// The task's name; models that name the same one are its variants.
    pub task: String,
    /// How often it is right.
    pub accuracy: Accuracy,
    /// What an answer costs next to the others'.
    #[serde(default)]
    pub cost: Cost,
}

/// What each stage of a pipeline takes, as texts such as `"99ms"`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Stages(pub Vec<Duration>);

impl TryFrom<Vec<String>> for Stages {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let stages =
            texts.iter().map(|text| parse_duration(text)).collect::<Result<Vec<_>, _>>()?;
        if stages.iter().any(Duration::is_zero) || stages.is_empty() {
            return Err("a pipeline has stages that take some time".to_owned());
        }
        Ok(Self(stages))
    }
}

fn default_queue_max() -> usize {
    models::QUEUE_MAX
}

fn default_arrivals() -> String {
    "poisson".into()
}

fn one() -> u32 {
    1
}

pub(super) fn one_time() -> f64 {
    1.0
}

/// How requests are divided among equal models: `"even"` or `"zipf:S"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Popularity {
    /// All the same.
    #[default]
    Even,
    /// The n-th gets 1 / n^s.
    Zipf(f64),
}

impl TryFrom<String> for Popularity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let exponent = text.strip_prefix("zipf:").and_then(|exponent| exponent.parse().ok());
        match exponent {
            _ if text == "even" => Ok(Self::Even),
            Some(exponent) if (0.0..=10.0).contains(&exponent) => Ok(Self::Zipf(exponent)),
            Some(_) | None => Err(format!(
                "unknown popularity {text:?}: allowed are \"even\" and \"zipf:S\" with S from 0 to 10"
            )),
        }
    }
}

impl Popularity {
    /// The shares of so many models; their sum is 1.
    #[must_use]
    pub fn shares(self, count: u32) -> Vec<f64> {
        let weight = |place: u32| match self {
            Self::Even => 1.0,
            Self::Zipf(exponent) => f64::from(place).powf(-exponent),
        };
        let sum: f64 = (1..=count).map(weight).sum();
        (1..=count).map(|place| weight(place) / sum).collect()
    }
}

/// Recorded arrivals and how they are played. A trace that ends before the run begins again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// A file, or a folder with a file for each function, from the scenario's folder.
    pub file: PathBuf,
    /// Where the run begins in the recording.
    #[serde(default, deserialize_with = "deserialize_duration")]
    pub from: Duration,
    /// Recorded seconds a second of the run.
    #[serde(default = "one_time")]
    pub speed: f64,
    /// What `rate` and `load` change.
    #[serde(default)]
    pub scale: Scale,
    /// How arrivals lie in a span of which only their number is known.
    #[serde(default)]
    pub within: Within,
    /// How requests come to the models.
    #[serde(default)]
    pub split: Split,
    /// What was read; shared, since traces are long.
    #[serde(skip)]
    pub(crate) read: Option<Arc<Trace>>,
}

impl TraceSpec {
    /// That trace from its beginning, brought to rates in time, each request to a random model.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(file: &Path) -> Result<Self, loadgen::Error> {
        let read = Trace::read(file)?;
        Ok(Self {
            file: file.to_owned(),
            from: Duration::ZERO,
            speed: 1.0,
            scale: Scale::Time,
            within: Within::Poisson,
            split: Split::Requests,
            read: Some(Arc::new(read)),
        })
    }

    /// How many requests are recorded.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let functions = self.read.iter().flat_map(|trace| &trace.functions);
        functions.map(|function| function.recorded.len()).sum()
    }
}

/// How a trace is brought to a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// More or fewer requests in the same time.
    #[default]
    Count,
    /// The same requests in less or more time.
    Time,
}

/// How requests of a trace come to several models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Functions are dealt to the models in turn, as Clockwork and AlpaServe do.
    #[default]
    Functions,
    /// Each request goes to a model drawn by popularity.
    Requests,
}

/// What a run takes: a line, measured points, or a file of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "ProfileKeys")]
pub enum ProfileSpec {
    /// `fixed + per_item * rows`.
    Linear {
        /// The time of a run without rows.
        fixed: Duration,
        /// The time of each row.
        per_item: Duration,
        /// The largest batch.
        batch_max: u32,
    },
    /// Lines of `batch,median_us,p99_us,runs`, as in `models/profiles`.
    Csv {
        /// The text of the file.
        csv: String,
    },
    /// A file of such lines, from the scenario's folder.
    File {
        /// Which.
        file: PathBuf,
    },
    /// A published profile: `SOURCE/MODEL`, see [`published::SOURCES`].
    Published {
        /// Which.
        published: String,
    },
}

/// The keys of a profile as a file has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileKeys {
    fixed: Option<String>,
    per_item: Option<String>,
    batch_max: Option<u32>,
    csv: Option<String>,
    file: Option<PathBuf>,
    published: Option<String>,
}

impl TryFrom<ProfileKeys> for ProfileSpec {
    type Error = String;

    fn try_from(keys: ProfileKeys) -> Result<Self, String> {
        let ProfileKeys { fixed, per_item, batch_max, csv, file, published } = keys;
        match (fixed, per_item, batch_max, (csv, file, published)) {
            (Some(fixed), Some(per_item), Some(batch_max), (None, None, None)) => {
                let (fixed, per_item) = (parse_duration(&fixed)?, parse_duration(&per_item)?);
                Ok(Self::Linear { fixed, per_item, batch_max })
            }
            (None, None, None, (Some(csv), None, None)) => Ok(Self::Csv { csv }),
            (None, None, None, (None, Some(file), None)) => Ok(Self::File { file }),
            (None, None, None, (None, None, Some(published))) => Ok(Self::Published { published }),
            _ => Err("a profile is { fixed, per_item, batch_max }, or { csv }, or { file }, or \
                      { published }"
                .to_owned()),
        }
    }
}

impl ModelSpec {
    /// A model with that profile and rate, and defaults for the rest.
    #[must_use]
    pub fn new(name: &str, profile: ProfileSpec, rate: f64) -> Self {
        Self {
            name: name.to_owned(),
            known_as: None,
            count: 1,
            popularity: Popularity::Even,
            profile,
            batch_max: None,
            queue_max: default_queue_max(),
            policy: None,
            delay: None,
            preferred: Vec::new(),
            slo: None,
            rate: Some(rate),
            arrivals: default_arrivals(),
            trace: None,
            rows_max: 1,
            priorities: 1,
            priority: None,
            weight: 1.0,
            executors: None,
            shapes: 1,
            cancel_share: 0.0,
            answers: None,
            weights_mb: 0.0,
            input_mb: 0.0,
            pipelines: Vec::new(),
            tail: Duration::ZERO,
        }
    }

    /// Its name in tables of pairs.
    pub(crate) fn known(&self) -> &str {
        self.known_as.as_ref().unwrap_or(&self.name)
    }

    pub(super) fn wrong(&self, reason: impl std::fmt::Display) -> ScenarioError {
        ScenarioError::Model { model: self.name.clone(), reason: reason.to_string() }
    }

    /// Reads the files that the model names.
    pub(super) fn read_files(&mut self, folder: &Path) -> Result<(), ScenarioError> {
        if let ProfileSpec::File { file } = &self.profile {
            let path = folder.join(file);
            let csv = std::fs::read_to_string(&path)
                .map_err(|error| self.wrong(format!("{}: {error}", path.display())))?;
            self.profile = ProfileSpec::Csv { csv };
        }
        if let ProfileSpec::Published { published } = &self.profile {
            let profile = published::read(published).map_err(|error| self.wrong(error))?;
            self.profile = ProfileSpec::Csv { csv: profile.to_csv() };
        }
        if let Some(trace) = &mut self.trace {
            let read = Trace::read(&folder.join(&trace.file));
            trace.read = Some(Arc::new(read.map_err(|error| ScenarioError::Model {
                model: self.name.clone(),
                reason: error.to_string(),
            })?));
        }
        Ok(())
    }

    /// Time by batch size.
    ///
    /// # Errors
    /// Where the points make no profile.
    pub fn latency_profile(&self) -> Result<LatencyProfile, ScenarioError> {
        match &self.profile {
            ProfileSpec::Linear { batch_max, .. } if !(1..=BATCH_MAX).contains(batch_max) => {
                Err(self.wrong(format!("batch_max must be from 1 to {BATCH_MAX}, not {batch_max}")))
            }
            ProfileSpec::Linear { fixed, per_item, .. }
                if fixed.is_zero() && per_item.is_zero() =>
            {
                Err(self.wrong("fixed and per_item must not both be 0: a run takes some time"))
            }
            ProfileSpec::Linear { fixed, per_item, .. } if (*fixed).max(*per_item) > RUN_MAX => {
                Err(self.wrong(format!("fixed and per_item must be at most {RUN_MAX:?} each")))
            }
            ProfileSpec::Linear { fixed, per_item, batch_max } => {
                Ok(LatencyProfile::linear(*fixed, *per_item, *batch_max))
            }
            ProfileSpec::Csv { csv } => {
                LatencyProfile::from_csv(csv).map_err(|error| self.wrong(error))
            }
            ProfileSpec::File { .. } | ProfileSpec::Published { .. } => {
                Err(self.wrong("its profile has not been read"))
            }
        }
    }

    /// Requests a second, as stated or as recorded.
    pub(crate) fn rate_alone(&self) -> Result<f64, ScenarioError> {
        let recorded = self.trace.as_ref().and_then(|trace| Some((trace.read.as_ref()?, trace)));
        let recorded = recorded.map(|(read, trace)| read.rate() * trace.speed);
        let none = || self.wrong("a model needs a rate, or a trace that has one");
        self.rate.or(recorded).ok_or_else(none)
    }
}
