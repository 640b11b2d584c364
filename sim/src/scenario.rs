//! A scenario: models, executors, who asks for what, and how the router is set. Unknown keys are refused.

use std::time::Duration;

use loadgen::Arrivals;
use models::{LatencyProfile, deserialize_duration, deserialize_duration_option};
use router::RouterSettings;
use serde::Deserialize;

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
    /// How the router is set.
    #[serde(default)]
    pub router: RouterChoice,
    /// Kinds of executor.
    #[serde(rename = "executor")]
    pub executors: Vec<ExecutorSpec>,
    /// What is served, and who asks for it.
    #[serde(rename = "model")]
    pub models: Vec<ModelSpec>,
}

/// The router's settings as a scenario names them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterChoice {
    /// The admission policy; the default one if absent.
    pub admission: Option<String>,
    /// The dispatch policy; the default one if absent.
    pub dispatch: Option<String>,
    /// How long before its batch ends an executor is given the next one.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub lead: Option<Duration>,
}

/// Equal executors.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutorSpec {
    /// How many.
    pub count: u32,
    /// Relative spread of run times (log-normal).
    pub noise: f64,
    /// Share of runs that take `straggler_factor` times as long.
    pub straggler_share: f64,
    /// How much longer a straggler takes.
    pub straggler_factor: f64,
    /// True time over profiled time: 1 when the profile is right.
    pub speed_error: f64,
    /// Share of runs that fail.
    pub failure_share: f64,
    /// Mean time between breakdowns of an executor; none if absent.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub breakdown_every: Option<Duration>,
}

impl Default for ExecutorSpec {
    fn default() -> Self {
        Self {
            count: 1,
            noise: 0.0,
            straggler_share: 0.0,
            straggler_factor: 5.0,
            speed_error: 1.0,
            failure_share: 0.0,
            breakdown_every: None,
        }
    }
}

/// A model and its clients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Its name in reports.
    pub name: String,
    /// What a run takes.
    pub profile: ProfileSpec,
    /// The most rows of a batch of several requests; the profile's largest by default.
    #[serde(default)]
    pub batch_max: Option<u32>,
    /// The most requests that wait.
    #[serde(default = "default_queue_max")]
    pub queue_max: usize,
    /// The batching policy; the default one if absent.
    #[serde(default)]
    pub policy: Option<String>,
    /// How long the oldest may wait for company.
    #[serde(default, deserialize_with = "deserialize_duration_option")]
    pub delay: Option<Duration>,
    /// From arrival to deadline; none for best effort.
    #[serde(default, deserialize_with = "deserialize_duration_option")]
    pub slo: Option<Duration>,
    /// Requests a second.
    pub rate: f64,
    /// `"constant"`, `"poisson"`, or `"gamma:CV"`.
    #[serde(default = "default_arrivals")]
    pub arrivals: String,
    /// Rows of a request, drawn evenly from 1 to this.
    #[serde(default = "one")]
    pub rows_max: u32,
    /// Priority levels, drawn evenly from 1 to this.
    #[serde(default = "one")]
    pub priorities: u32,
    /// Different shapes, drawn evenly.
    #[serde(default = "one")]
    pub shapes: u32,
    /// Share of clients that leave at a random moment before their deadline.
    #[serde(default)]
    pub cancel_share: f64,
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

/// What a run takes: a line, or measured points.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum ProfileSpec {
    /// `fixed + per_item * rows`.
    Linear {
        /// The time of a run without rows.
        #[serde(deserialize_with = "deserialize_duration")]
        fixed: Duration,
        /// The time of each row.
        #[serde(deserialize_with = "deserialize_duration")]
        per_item: Duration,
        /// The largest batch.
        batch_max: u32,
    },
    /// Lines of `batch,median_us,p99_us,runs`, as in `models/profiles`.
    Csv {
        /// The text of the file.
        csv: String,
    },
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
    /// A policy's name is not known.
    #[error("{0}")]
    Policy(String),
}

impl Scenario {
    /// Reads a scenario file; `file` is for messages.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn from_text(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let wrong = |error: toml::de::Error| ScenarioError::File {
            file: file.to_owned(),
            reason: error.to_string(),
        };
        let scenario: Self = toml::from_str(text).map_err(wrong)?;
        for model in &scenario.models {
            model.latency_profile()?;
            model.arrivals()?;
        }
        Ok(scenario)
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
}

impl ModelSpec {
    fn wrong(&self, reason: impl std::fmt::Display) -> ScenarioError {
        ScenarioError::Model { model: self.name.clone(), reason: reason.to_string() }
    }

    /// Time by batch size.
    ///
    /// # Errors
    /// Where the points make no profile.
    pub fn latency_profile(&self) -> Result<LatencyProfile, ScenarioError> {
        match &self.profile {
            ProfileSpec::Linear { batch_max: 0, .. } => {
                Err(self.wrong("batch_max must be at least 1"))
            }
            ProfileSpec::Linear { fixed, per_item, .. } if (*fixed + *per_item).is_zero() => {
                Err(self.wrong("a run takes some time"))
            }
            ProfileSpec::Linear { fixed, per_item, batch_max } => {
                Ok(LatencyProfile::linear(*fixed, *per_item, *batch_max))
            }
            ProfileSpec::Csv { csv } => {
                LatencyProfile::from_csv(csv).map_err(|error| self.wrong(error))
            }
        }
    }

    /// When its clients ask.
    ///
    /// # Errors
    /// Where the arrival process or its rate is not known.
    pub fn arrivals(&self) -> Result<Arrivals, ScenarioError> {
        let arrivals: Arrivals = self.arrivals.parse().map_err(|error| self.wrong(error))?;
        arrivals.offsets(self.rate, 0).map_err(|error| self.wrong(error))?;
        Ok(arrivals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_impossible_numbers_are_refused_with_their_place() {
        let text = "duration = \"1s\"\n[[executor]]\ncuont = 2\n[[model]]\nname = \"m\"\nrate = 1\nprofile = { fixed = \"1ms\", per_item = \"1ms\", batch_max = 1 }\n";
        let error = Scenario::from_text("s.toml", text).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("unknown field `cuont`"), "{error}");
        let error = Scenario::from_text(
            "s.toml",
            &text.replace("cuont", "count").replace("rate = 1", "rate = 0"),
        )
        .unwrap_err();
        assert!(error.to_string().starts_with("model \"m\": "), "{error}");
    }
}
