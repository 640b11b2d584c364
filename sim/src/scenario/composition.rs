//! A task of a scenario whose requests are answered by more than one of its variants.

use models::{CODED_GROUP_MAX, Confidence};
use serde::Deserialize;

use super::{ModelSpec, Scenario, ScenarioError};

/// How more than one request to variants answers a task's. One of `cascade`, `hedge` and `coded` is there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositionSpec {
    /// The task's name, as its variants say it.
    pub task: String,
    /// Who is asked, one after the other while the answer is less sure than the threshold.
    #[serde(default)]
    pub cascade: Option<Vec<StageSpec>>,
    /// A second one is asked after so many predicted times without an answer.
    #[serde(default)]
    pub hedge: Option<f64>,
    /// Requests share parity requests.
    #[serde(default)]
    pub coded: Option<CodedSpec>,
    /// By how much variants are at most wrong about how sure they may be.
    #[serde(default = "default_noise")]
    pub noise: f64,
}

/// A variant of a cascade.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    /// The model's name.
    pub model: String,
    /// Below which confidence the next is asked.
    #[serde(default)]
    pub threshold: Confidence,
}

/// Requests to one linear model that are coded together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodedSpec {
    /// How many share a parity request.
    pub group: u32,
    /// The name of the model that answers.
    pub model: String,
    /// The one that answers parity requests, of the same weights; `model` by default.
    #[serde(default)]
    pub parity: Option<String>,
}

impl CodedSpec {
    /// The name of the model that answers parity requests.
    #[must_use]
    pub fn parity(&self) -> &str {
        self.parity.as_ref().unwrap_or(&self.model)
    }
}

fn default_noise() -> f64 {
    0.2
}

impl Scenario {
    pub(super) fn check_compositions(&self) -> Result<(), ScenarioError> {
        let mut seen = Vec::new();
        for composition in &self.compositions {
            let name = &composition.task;
            let wrong = |reason: String| {
                Err(ScenarioError::Whole(format!("composition of task {name:?}: {reason}")))
            };
            if seen.contains(&name) {
                return wrong("there are two".into());
            }
            seen.push(name);
            let variants = || {
                self.models.iter().filter(|model| {
                    model.answers.as_ref().is_some_and(|answers| answers.task == *name)
                })
            };
            if variants().next().is_none() {
                return wrong("no model answers it".into());
            }
            if let Some(many) = variants().find(|model| model.count > 1) {
                return wrong(format!("{:?} must be one model, not several equal ones", many.name));
            }
            if variants().any(|model| model.cancel_share > 0.0) || self.placement.is_some() {
                return wrong("clients that leave and placements are not simulated with it".into());
            }
            if !(0.0..=1.0).contains(&composition.noise) {
                return wrong("noise must be from 0 to 1".into());
            }
            let variants: Vec<&ModelSpec> = variants().collect();
            composition.check_form(&variants).or_else(wrong)?;
        }
        Ok(())
    }
}

impl CompositionSpec {
    /// Holds what it asks against the variants of its task.
    fn check_form(&self, variants: &[&ModelSpec]) -> Result<(), String> {
        let known = |name: &str| match variants.iter().any(|model| model.name == name) {
            true => Ok(()),
            false => Err(format!("{name:?} does not answer it")),
        };
        match (&self.cascade, self.hedge, &self.coded) {
            (Some(stages), None, None) => {
                stages.iter().try_for_each(|stage| known(&stage.model))?;
                if stages.is_empty() {
                    return Err("a cascade asks somebody".into());
                }
                Ok(())
            }
            (None, Some(patience), None) => match (0.0..=100.0).contains(&patience) {
                true => Ok(()),
                false => Err("hedge must be from 0 to 100".into()),
            },
            (None, None, Some(coded)) => {
                if !(2..=CODED_GROUP_MAX).contains(&coded.group) {
                    return Err(format!("group must be from 2 to {CODED_GROUP_MAX}"));
                }
                if let Some(model) = variants.iter().find(|model| model.shapes > 1) {
                    return Err(format!(
                        "{:?} has several shapes, which cannot be added up",
                        model.name
                    ));
                }
                known(&coded.model)?;
                known(coded.parity())
            }
            _ => Err("it is one of `cascade`, `hedge` and `coded`".into()),
        }
    }
}
