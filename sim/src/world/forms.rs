//! How the requests of a scenario's tasks are answered by more than one variant, and what variants say of their rows.
//!
//! What a variant says is a model. Each row has a difficulty u, drawn evenly from 0 to 1, which is the same for all variants or,
//! where they are not alike, drawn anew for each; one that is right a share a of the time is right where u < a, and is sure
//! of it as 1/2 + (a - u) / (2 (1 - a)), give or take a noise drawn anew for each answer. So the hardest rows are wrong, and it
//! is least sure near the border. All that is wrong is of one class.

use std::num::NonZeroU32;

use batcher::Instant;
use models::{Confidence, TaskId, vote_weight};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use router::compose::cascade::{Cascade, Stage};
use router::compose::ensemble::{Ballots, Ensemble, Voter};
use router::compose::hedge::Hedge;
use router::compose::{Compose, Limits, Vote};

use super::coded::Coded;
use super::{Model, World};
use crate::scenario::CompositionSpec;
use crate::{EnsembleSpec, ModelReport};

/// The class of a right answer.
pub(super) const RIGHT: u32 = 0;

/// How a task's requests are answered.
pub(super) struct Composition {
    pub(super) form: Form,
    /// The models that it asks, by member; none where the scheduler chooses them.
    pub(super) members: Vec<usize>,
    /// What it is held to, but for its end.
    pub(super) limits: Limits,
    noise: f64,
    alike: f64,
    /// Its row of the report.
    pub(super) row: usize,
}

pub(super) enum Form {
    Cascade(Vec<Stage>),
    Ensemble(Ballots),
    Hedge(f64),
    Coded(Box<Coded>),
}

impl Composition {
    /// Begins to answer a request of so many rows, for which an answer at hand must be given at `until`; `None` where
    /// requests are not answered one by one.
    pub(super) fn begin(&self, rows: u32, until: Instant) -> Option<Box<dyn Compose>> {
        let limits = || Limits { until, ..self.limits.clone() };
        Some(match &self.form {
            Form::Cascade(stages) => Box::new(Cascade::new(stages.clone(), rows, limits())),
            Form::Ensemble(ballots) => Box::new(Ensemble::new(ballots.clone(), rows, limits())),
            Form::Hedge(patience) => Box::new(Hedge::new(vec![0, 1], rows, *patience)),
            Form::Coded(_) => return None,
        })
    }

    /// What a variant that is right so often says of a row; the difficulty is that which all variants have in common.
    pub(super) fn vote(&self, accuracy: f64, difficulty: f64, rng: &mut Pcg64Mcg) -> Vote {
        let own = self.alike < 1.0 && rng.random::<f64>() >= self.alike;
        let difficulty = if own { rng.random() } else { difficulty };
        let strays = self.noise * (2.0 * rng.random::<f64>() - 1.0);
        vote(accuracy, difficulty, strays)
    }
}

impl World {
    /// Prepares the scenario's compositions, each with a row of the report.
    pub(super) fn compose(&mut self, specs: &[CompositionSpec]) {
        for spec in specs {
            let Some(task) = self.tasks.named(&spec.task) else { continue };
            let place = |name: &str| self.models.iter().position(|model| model.spec.name == name);
            let members: Vec<usize> = spec.members().into_iter().filter_map(place).collect();
            let limits = spec.limits(members.iter().map(|&model| &*self.models[model].spec));
            let coded = spec.coded.as_ref().and_then(|spec| {
                Some(Coded::new([place(&spec.model)?, place(spec.parity())?], spec.group as usize))
            });
            let form = match (coded, spec.hedge, &spec.ensemble) {
                (Some(coded), ..) => Form::Coded(Box::new(coded)),
                (None, Some(patience), _) => Form::Hedge(patience),
                (None, None, Some(ensemble)) => {
                    Form::Ensemble(ballots(ensemble, members.iter().map(|&at| &self.models[at])))
                }
                (None, None, None) => {
                    let stages = spec.cascade.iter().flatten().enumerate();
                    let stage = |(member, stage): (usize, &crate::StageSpec)| Stage {
                        member,
                        threshold: stage.threshold,
                    };
                    Form::Cascade(stages.map(stage).collect())
                }
            };
            self.add_composition(task, spec, (form, members, limits));
        }
    }

    fn add_composition(
        &mut self,
        task: TaskId,
        spec: &CompositionSpec,
        (form, members, limits): (Form, Vec<usize>, Limits),
    ) {
        let row = self.report.models.len();
        let report = ModelReport { name: spec.task.clone(), entry: row, ..ModelReport::default() };
        self.report.models.push(report);
        let CompositionSpec { noise, alike, .. } = *spec;
        let composition = Composition { form, members, limits, noise, alike, row };
        self.compositions.insert(task, composition);
    }
}

/// Of members in the order of the models given.
fn ballots<'a>(ensemble: &EnsembleSpec, models: impl Iterator<Item = &'a Model>) -> Ballots {
    let voters = ensemble.members.iter().zip(models).enumerate();
    let voter = |(member, (spec, model)): (usize, (&crate::VoterSpec, &Model))| {
        let claimed = model.spec.answers.as_ref().map(|answers| answers.accuracy);
        Voter { member, weight: vote_weight(claimed.unwrap_or_default(), spec.weight) }
    };
    let at_once = ensemble.at_once.map_or(ensemble.members.len(), |count: NonZeroU32| {
        usize::try_from(count.get()).unwrap_or(usize::MAX)
    });
    Ballots { voters: voters.map(voter).collect(), at_once, agreement: ensemble.agreement }
}

/// What a variant that is right so often says of a row so hard.
fn vote(accuracy: f64, difficulty: f64, strays: f64) -> Vote {
    let ahead = (accuracy - difficulty) / (2.0 * (1.0 - accuracy).max(f64::EPSILON));
    let sure = (0.5 + ahead + strays).clamp(0.0, 1.0);
    Vote {
        class: if difficulty < accuracy { RIGHT } else { RIGHT + 1 },
        confidence: Confidence::try_from(sure).expect("it was held to the range"),
    }
}
