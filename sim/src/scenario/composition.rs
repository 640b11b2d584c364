//! A task of a scenario whose requests are answered by more than one of its variants.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use batcher::Instant;
use models::{CODED_GROUP_MAX, Confidence, Cost, Goals, VOTE_WEIGHT_MAX};
use router::compose::{Claim, Limits};
use serde::Deserialize;

use super::{ModelSpec, Scenario, ScenarioError};

/// How more than one request to variants answers a task's. One of `cascade`, `ensemble`, `hedge` and `coded` is there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositionSpec {
    /// The task's name, as its variants say it.
    pub task: String,
    /// Who is asked, one after the other while the answer is less sure than the threshold.
    #[serde(default)]
    pub cascade: Option<Vec<StageSpec>>,
    /// Several vote.
    #[serde(default)]
    pub ensemble: Option<EnsembleSpec>,
    /// A second one is asked after so many predicted times without an answer.
    #[serde(default)]
    pub hedge: Option<f64>,
    /// Requests share parity requests.
    #[serde(default)]
    pub coded: Option<CodedSpec>,
    /// What all that is asked for a request may cost, for each of its rows.
    #[serde(default)]
    pub max_cost: Option<Cost>,
    /// By how much variants are at most wrong about how sure they may be.
    #[serde(default = "default_noise")]
    pub noise: f64,
    /// The share of rows that are equally hard for all variants; the others are as hard for each as chance has it.
    #[serde(default = "default_alike")]
    pub alike: f64,
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

/// Variants that vote.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleSpec {
    /// Who votes, in the order in which they are asked.
    pub members: Vec<VoterSpec>,
    /// How many are asked at once; all by default.
    #[serde(default)]
    pub at_once: Option<NonZeroU32>,
    /// Nobody else is asked once so much of the weight asked, times how sure its voters are, is for one class; by default
    /// only once no vote left can change the class.
    #[serde(default)]
    pub agreement: Option<Confidence>,
}

/// A variant of an ensemble.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoterSpec {
    /// The model's name.
    pub model: String,
    /// What its vote counts; by default the logarithm of its odds to be right.
    #[serde(default)]
    pub weight: Option<f64>,
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

fn default_alike() -> f64 {
    1.0
}

impl Scenario {
    pub(super) fn check_compositions(&self) -> Result<(), ScenarioError> {
        let mut seen = BTreeSet::new();
        for composition in &self.compositions {
            let task = &composition.task;
            let mut wrong = self.check_composition(composition).err();
            if !seen.insert(task) {
                wrong = Some("there are two".into());
            }
            if let Some(reason) = wrong {
                return Err(ScenarioError::Composition { task: task.clone(), reason });
            }
        }
        Ok(())
    }

    fn check_composition(&self, composition: &CompositionSpec) -> Result<(), String> {
        let answers = |model: &&ModelSpec| {
            model.answers.as_ref().is_some_and(|answers| answers.task == composition.task)
        };
        let variants: Vec<&ModelSpec> = self.models.iter().filter(answers).collect();
        if variants.is_empty() {
            return Err("no model answers it".into());
        }
        if let Some(many) = variants.iter().find(|model| model.count > 1) {
            return Err(format!("{:?} must be one model, not several equal ones", many.name));
        }
        if variants.iter().any(|model| model.cancel_share > 0.0) || self.placement.is_some() {
            return Err("clients that leave and placements are not simulated with it".into());
        }
        for (name, share) in [("noise", composition.noise), ("alike", composition.alike)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} must be from 0 to 1"));
            }
        }
        composition.check_form(&variants)?;
        composition.check_cost(&variants)
    }
}

impl CompositionSpec {
    /// Of a task of that name: nobody is asked yet.
    #[must_use]
    pub fn new(task: &str) -> Self {
        Self {
            task: task.to_owned(),
            cascade: None,
            ensemble: None,
            hedge: None,
            coded: None,
            max_cost: None,
            noise: default_noise(),
            alike: default_alike(),
        }
    }

    /// The models that it may ask, in the order of the members of what decides; none where the scheduler chooses them.
    pub(crate) fn members(&self) -> Vec<&str> {
        let stages = self.cascade.iter().flatten().map(|stage| &stage.model);
        let voters = self.ensemble.iter().flat_map(|ensemble| &ensemble.members);
        stages.chain(voters.map(|voter| &voter.model)).map(String::as_str).collect()
    }

    /// What it is held to, but for its end, with these members.
    pub(crate) fn limits<'a>(&self, members: impl Iterator<Item = &'a ModelSpec>) -> Limits {
        let claim = |model: &ModelSpec| {
            let answers = model.answers.as_ref();
            answers.map_or(Claim::default(), |answers| Claim {
                accuracy: answers.accuracy,
                cost: answers.cost,
            })
        };
        let goals = Goals { max_cost: self.max_cost, ..Goals::default() };
        Limits { until: Instant::NEVER, goals, claims: members.map(claim).collect() }
    }

    /// Holds what it asks against the variants of its task.
    fn check_form(&self, variants: &[&ModelSpec]) -> Result<(), String> {
        let known = |name: &str| match variants.iter().any(|model| model.name == name) {
            true => Ok(()),
            false => Err(format!("{name:?} does not answer it")),
        };
        match (&self.cascade, &self.ensemble, self.hedge, &self.coded) {
            (Some(stages), None, None, None) => {
                self.members().into_iter().try_for_each(known)?;
                if stages.is_empty() {
                    return Err("a cascade asks somebody".into());
                }
                self.once("cascade", "is asked")
            }
            (None, Some(ensemble), None, None) => {
                self.members().into_iter().try_for_each(known)?;
                ensemble.check()?;
                self.once("ensemble.members", "votes")
            }
            (None, None, Some(patience), None) => match (0.0..=100.0).contains(&patience) {
                true => Ok(()),
                false => Err("hedge must be from 0 to 100".into()),
            },
            (None, None, None, Some(coded)) => {
                coded.check(variants)?;
                known(&coded.model)?;
                known(coded.parity())
            }
            _ => Err("it is one of `cascade`, `ensemble`, `hedge` and `coded`".into()),
        }
    }

    fn once(&self, key: &str, does: &str) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        match self.members().into_iter().find(|name| !seen.insert(*name)) {
            Some(name) => Err(format!("{key}: {name:?} {does} twice")),
            None => Ok(()),
        }
    }

    /// What one request may cost leaves somebody to ask, and two to vote: the server would let one variant answer.
    fn check_cost(&self, variants: &[&ModelSpec]) -> Result<(), String> {
        let Some(most) = self.max_cost else { return Ok(()) };
        if self.coded.is_some() {
            return Err("max_cost has no effect on `coded`: its requests all cost the same".into());
        }
        let of = |name: &str| variants.iter().find(|model| model.name == name).copied();
        let members: Vec<&ModelSpec> = match self.hedge {
            Some(_) => variants.to_vec(),
            None => self.members().into_iter().filter_map(of).collect(),
        };
        let affordable = self.limits(members.iter().copied()).affordable(0..members.len());
        let (least, whom) = match self.ensemble {
            Some(_) => (2, "two voters"),
            None => (1, "anybody"),
        };
        match affordable >= least {
            true => Ok(()),
            false => Err(format!("max_cost must let {whom} be asked, and {most} does not")),
        }
    }
}

impl EnsembleSpec {
    fn check(&self) -> Result<(), String> {
        let count = self.members.len();
        if count < 2 {
            return Err(format!("ensemble.members must be 2 or more, not {count}"));
        }
        let weights = self.members.iter().filter_map(|voter| voter.weight);
        match weights.into_iter().find(|weight| !(0.0..=VOTE_WEIGHT_MAX).contains(weight)) {
            Some(weight) => Err(format!(
                "ensemble.members: weight must be from 0 to {VOTE_WEIGHT_MAX}, not {weight}"
            )),
            None => Ok(()),
        }
    }
}

impl CodedSpec {
    fn check(&self, variants: &[&ModelSpec]) -> Result<(), String> {
        if !(2..=CODED_GROUP_MAX).contains(&self.group) {
            return Err(format!("group must be from 2 to {CODED_GROUP_MAX}"));
        }
        match variants.iter().find(|model| model.shapes > 1) {
            Some(model) => {
                Err(format!("{:?} has several shapes, which cannot be added up", model.name))
            }
            None => Ok(()),
        }
    }
}
