//! A task of a scenario whose requests are answered by more than one of its variants.

use models::Confidence;
use serde::Deserialize;

use super::{Scenario, ScenarioError};

/// How more than one variant answers a task's requests. One of `cascade` and `hedge` is there.
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
            match (&composition.cascade, composition.hedge) {
                (Some(stages), None) => {
                    let other = stages
                        .iter()
                        .find(|stage| !variants().any(|model| model.name == stage.model));
                    if let Some(StageSpec { model, .. }) = other {
                        return wrong(format!("{model:?} does not answer it"));
                    }
                    if stages.is_empty() {
                        return wrong("a cascade asks somebody".into());
                    }
                }
                (None, Some(patience)) if (0.0..=100.0).contains(&patience) => {}
                (None, Some(_)) => return wrong("hedge must be from 0 to 100".into()),
                (None, None) | (Some(_), Some(_)) => {
                    return wrong("it is either a cascade or a hedge".into());
                }
            }
        }
        Ok(())
    }
}
